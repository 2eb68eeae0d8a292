"""``mcmc-text run FILE.yaml``: an experiment and its options read from a file, once or for lists of values."""
