"""Scores of translations, their significance, and the sentences and words where systems differ."""
