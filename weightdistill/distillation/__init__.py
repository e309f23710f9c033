"""What a student learns from besides its data: soft labels, hidden states, cached teachers, translated corpora."""
