"""Meanings compared: whitened sentence vectors, a cheap stand-in for a cross-encoder, distances between clouds."""
