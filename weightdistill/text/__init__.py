"""Parallel text and test sets, before any model sees them. Imports no torch."""
