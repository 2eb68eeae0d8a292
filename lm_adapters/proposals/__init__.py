"""Proposals and distributions over texts, each with its exact densities."""
