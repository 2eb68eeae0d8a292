"""Constraints that hold by construction: keywords and templates whose tokens no move changes."""
