"""Trace files to columns: one reader per format, and a writer of Kineto traces."""
