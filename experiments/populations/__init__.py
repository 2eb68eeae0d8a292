"""``--sampler smc``: populations of texts, and what is reported of them."""
