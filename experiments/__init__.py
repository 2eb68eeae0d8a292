"""Experiments: one file each, usable as a command (``mcmc-text NAME``) and as a plain Python function."""
