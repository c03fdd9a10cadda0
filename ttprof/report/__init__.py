"""Reports render a finished result as text or files. They compute nothing and need no torch."""
