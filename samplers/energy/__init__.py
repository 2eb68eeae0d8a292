"""Energies as named terms that add up, and the one place where they are called and checked."""
