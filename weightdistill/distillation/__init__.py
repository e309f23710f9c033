"""What a student learns from besides its data: soft labels, hidden states, cached predictions, translated corpora."""
