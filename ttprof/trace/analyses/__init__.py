"""Analyses of a ``Trace``, one per file, each of which returns frozen structs."""
