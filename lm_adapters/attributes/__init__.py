"""What a text is like, in the eyes of a classifier: labels and coherence as energies."""
