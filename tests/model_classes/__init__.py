"""Every class of language model of the installed transformers, tiny, beside our adapters."""
