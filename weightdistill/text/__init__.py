"""Parallel text and test sets, before any model reads them. Imports no torch."""
