"""What an experiment is given: settings, options, scorers, kernels, and how it is solved."""
