"""The version of the distribution, as ``setup.cfg`` states it."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]


def _installed() -> str:
    try:
        return version("mcmc-text")
    except PackageNotFoundError:  # imported from a checkout that is not installed
        return "unknown"


__version__ = _installed()
