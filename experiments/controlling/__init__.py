"""Texts that are to have an attribute."""
