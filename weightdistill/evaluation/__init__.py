"""Scores of translations, their significance, and where two systems differ."""
