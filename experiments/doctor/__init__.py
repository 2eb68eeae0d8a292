"""Energies of the user own, begun, examined and tried: ``mcmc-text new-energy`` and ``mcmc-text check-energy``."""
