"""Which phrase of a list fits a text: ``mcmc-text choose``."""
