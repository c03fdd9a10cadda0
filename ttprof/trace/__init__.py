"""Reads and analyses traces without torch: columns of integer nanoseconds, and their relations."""
