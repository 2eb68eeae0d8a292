"""Continuations of a prompt."""
