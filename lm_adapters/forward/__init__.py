"""Forward passes: batching, memory, the vocabulary head at chosen sites, prefix caches."""
