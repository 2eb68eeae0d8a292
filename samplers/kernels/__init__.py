"""Markov kernels, one algorithm a file. Each docstring states target, acceptance ratio, proof and cost."""
