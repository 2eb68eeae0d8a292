"""Markov kernels: one algorithm, one module, each with its target, ratio and proof in the docstring."""
