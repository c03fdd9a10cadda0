"""The order of a run: the only code that knows every stage."""
