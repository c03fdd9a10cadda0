"""Checks of a machine and its set-up: whether times measured on it can be trusted. No torch."""
