"""Copies of traces without what identifies a person or a machine, for bug reports."""
