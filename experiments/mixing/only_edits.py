"""Kernels without the moves that write much at once, to compare them with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["ends_too", "only_edits", "without_writing"]

_LEFT: ContextVar[str] = ContextVar("what is left of the moves", default="all")


@contextmanager
def only_edits(*, ends: bool = False) -> Iterator[None]:
    """In here kernels have edits of one or two tokens alone, and with ``ends`` the ends that a scorer writes anew.

    So had those of version 0.1.0. The laws are the same.
    """
    token = _LEFT.set("ends" if ends else "edits")
    try:
        yield
    finally:
        _LEFT.reset(token)


def without_writing() -> bool:
    """Whether whole texts, slots, spans and rewritten texts are left out."""
    return _LEFT.get() != "all"


def ends_too() -> bool:
    return _LEFT.get() != "edits"
