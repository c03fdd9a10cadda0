"""Verdicts: what was measured against what was expected. Only ``numerics`` needs torch."""
