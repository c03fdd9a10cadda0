"""Reads and analyses traces without torch: columns of integer nanoseconds, and what relates them."""
