"""Whole texts drawn from left to right: populations that are resampled on the way, rejection that remembers."""
