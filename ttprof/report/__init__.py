"""Reports: a finished result enters, text or files leave. Nothing is computed here, and nothing needs torch."""
