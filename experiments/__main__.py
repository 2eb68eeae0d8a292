"""``python -m experiments``: the command ``mcmc-text``."""

from experiments.cli import main

main()
