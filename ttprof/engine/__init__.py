"""Runs a suite stage by stage; the only package that knows every stage."""
