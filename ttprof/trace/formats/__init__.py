"""Trace files become columns: one reader per format, and one writer."""
