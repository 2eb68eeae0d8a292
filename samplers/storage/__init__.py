"""The folder of a run: atomic files, checked tensor files, commits, and the fingerprint of a run."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
