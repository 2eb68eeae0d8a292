"""How the speed of the samplers is measured. ``mcmc-text benchmark`` is the command; nothing here is needed to sample.

A new workload is one function in ``workloads.py``: what is sampled, what its step needs, and how people write it.
"""
