"""A progress bar on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(total: int | None, *, shown: bool, unit: str = "step") -> Iterator[tqdm]:
    """A bar that counts, to ``total`` if that is known.

    Silent unless ``shown``, and where stderr is no terminal or ``CI`` is set.
    """
    quiet = not shown or bool(os.environ.get("CI")) or not sys.stderr.isatty()
    with tqdm(total=total, unit=unit, disable=quiet, file=sys.stderr, leave=False, mininterval=0.5) as bar:
        yield bar
