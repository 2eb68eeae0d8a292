"""Forward passes: batching, memory, the vocabulary head at chosen positions, key-value caches."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
