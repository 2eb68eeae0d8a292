"""Experiments on held-out rows, judged beside held-out text and what is trivial to write."""
