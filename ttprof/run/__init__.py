"""Runs modules: pass 1 times them without instruments, pass 2 records them with a collector."""
