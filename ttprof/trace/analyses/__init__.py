"""Questions to a trace, one file each: a ``Trace`` becomes frozen structs."""
