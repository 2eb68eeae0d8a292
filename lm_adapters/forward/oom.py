"""Forward passes that do not fit in memory are run in halves."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar
from weakref import WeakSet

import torch
from torch import Tensor

from lm_adapters.forward.batching import passes
from samplers import OutOfMemory

__all__ = ["in_one", "is_out_of_memory", "run_passes", "split_on_oom"]

T = TypeVar("T")

CPU_SAYS = ("can't allocate memory", "not enough memory")  # the allocator, on Linux and on Windows

_told: WeakSet[object] = WeakSet()  # scorers that have been warned of


def run_passes(
    widths: Tensor, tokens_per_pass: int, run: Callable[[Tensor], T], *, scorer: object
) -> Iterator[tuple[Tensor, T]]:
    """``(rows, run(rows))`` for each of the ``passes``, or for parts of one that do not fit in memory together."""
    for rows in passes(widths, tokens_per_pass):
        yield from split_on_oom(rows, run, scorer=scorer, tokens=widths[rows[-1]])


def split_on_oom(
    rows: Tensor, run: Callable[[Tensor], T], *, scorer: object, tokens: int | Tensor | None = None
) -> Iterator[tuple[Tensor, T]]:
    """``(rows, run(rows))``; where memory does not suffice the same for both halves of ``rows``, and so on.

    ``rows`` are numbers ``int64 [rows]``, or ``[rows, columns]``, which is halved by columns once a row is alone. What
    ``run`` gives for a row must not depend on the others, but for rounding. ``tokens`` is the width of a row. The
    first split of a ``scorer`` is told by a warning. Raises ``OutOfMemory`` where one row alone does not fit.
    """
    done, problem = _tried(rows, run)
    if problem is None:
        yield rows, done[0]
        return
    # The traceback is gone by now, and the tensors of the pass with it.
    torch.cuda.empty_cache()
    width = "" if tokens is None else f" of {int(tokens)} tokens"
    longer = [dim for dim, size in enumerate(rows.shape) if size > 1]
    if not longer:
        raise OutOfMemory(
            f"one row{width} does not fit in the memory that {_name(scorer)} has left ({problem}); "
            "shorten the texts, give --dtype bfloat16, or take a smaller model"
        )
    _warn(scorer, f"{rows.numel()} rows{width}", problem)
    for half in rows.chunk(2, dim=longer[0]):
        yield from split_on_oom(half, run, scorer=scorer, tokens=tokens)


def in_one(run: Callable[[], T], *, scorer: object, tokens: int) -> T:
    """``run()``, of a single row; raises ``OutOfMemory`` where it does not fit."""
    ((_, result),) = split_on_oom(torch.zeros(1), lambda _: run(), scorer=scorer, tokens=tokens)
    return result


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that there is no memory left, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in CPU_SAYS)


def _tried(rows: Tensor, run: Callable[[Tensor], T]) -> tuple[list[T], str | None]:
    """What ``run`` gave, or why memory did not suffice, in words alone: an error would keep the pass alive."""
    try:
        return [run(rows)], None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        said = str(error).partition("\n")[0].rpartition("err == 0. ")[2] or type(error).__name__
        return [], ". ".join(said.split(". ")[:2])  # CUDA goes on with advice


def _warn(scorer: object, what: str, problem: str) -> None:
    if scorer in _told:
        return
    _told.add(scorer)
    # A run must not end of a warning that was turned into an error.
    with suppress(Warning):
        warnings.warn(
            f"{_name(scorer)} has no memory for {what} at once ({problem}); they are run in halves, as small as need "
            "be: the results are the same up to rounding. To save the time of trying, lower tokens_per_pass or the "
            "number of chains",
            stacklevel=4,
        )


def _name(scorer: object) -> str:
    return getattr(scorer, "name", None) or type(scorer).__name__
