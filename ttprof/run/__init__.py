"""Calling modules: timed without instruments in pass 1, recorded by a collector in pass 2."""
