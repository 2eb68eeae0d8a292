"""Run forward passes that do not fit in memory in halves."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TypeVar
from weakref import WeakSet

import torch
from torch import Tensor

from lm_adapters.forward.batching import Together, passes
from samplers import OutOfMemory

__all__ = ["is_out_of_memory", "run_one_row", "run_passes", "split_on_oom"]

T = TypeVar("T")

CPU_MESSAGES = ("can't allocate memory", "not enough memory")  # the allocator, on Linux and on Windows

_warned: WeakSet[object] = WeakSet()  # scorers about which a warning was given


def run_passes(
    widths: Tensor, tokens_per_pass: int, run: Callable[[Tensor], T], *, scorer: object, together: Together = "any"
) -> Iterator[tuple[Tensor, T]]:
    """``(rows, run(rows))`` for each of the ``passes``; a pass that does not fit in memory comes in several parts.

    Arguments as for ``passes`` and ``split_on_oom``. Raises ``OutOfMemory`` where a single row does not fit.
    """
    for rows in passes(widths, tokens_per_pass, together):
        yield from split_on_oom(rows, run, scorer=scorer, tokens=partial(_width, widths, rows))


def split_on_oom(
    rows: Tensor, run: Callable[[Tensor], T], *, scorer: object, tokens: int | Callable[[], int] | None = None
) -> Iterator[tuple[Tensor, T]]:
    """``(rows, run(rows))``; where memory runs out, the same for both halves of ``rows``, and so on.

    ``rows`` are row numbers ``int64 [rows]``, or ``[rows, columns]``, which is halved by columns once a single row is
    left. The result of ``run`` for a row must not depend on the other rows, except for rounding. ``tokens`` is, or
    returns, the width of a row, for messages. The first split for a ``scorer`` gives a warning. Raises ``OutOfMemory``
    where one row alone does not fit.
    """
    done, problem = _try(rows, run)
    if problem is None:
        yield rows, done[0]
        return
    # No traceback is left by now that would keep the tensors of the pass alive.
    torch.cuda.empty_cache()
    width = "" if tokens is None else f" of {tokens() if callable(tokens) else tokens} tokens"
    longer = [dim for dim, size in enumerate(rows.shape) if size > 1]
    if not longer:
        raise OutOfMemory(
            f"one row{width} does not fit in the memory that {_name(scorer)} has left ({problem}); "
            "shorten the texts, load with dtype=bfloat16, or take a smaller model"
        )
    _warn(scorer, f"{rows.numel()} rows{width}", problem)
    for half in rows.chunk(2, dim=longer[0]):
        yield from split_on_oom(half, run, scorer=scorer, tokens=tokens)


def run_one_row(run: Callable[[], T], *, scorer: object, tokens: int) -> T:
    """``run()``, a pass over a single row of ``tokens``; raises ``OutOfMemory`` where it does not fit in memory."""
    ((_, result),) = split_on_oom(torch.zeros(1), lambda _: run(), scorer=scorer, tokens=tokens)
    return result


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` reports that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in CPU_MESSAGES)


def _width(widths: Tensor, rows: Tensor) -> int:
    return int(widths[rows[-1]])


def _try(rows: Tensor, run: Callable[[Tensor], T]) -> tuple[list[T], str | None]:
    """The result of ``run``, or the message of an out-of-memory error; the error itself would keep tensors alive."""
    try:
        return [run(rows)], None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        message = str(error).partition("\n")[0].rpartition("err == 0. ")[2] or type(error).__name__
        return [], ". ".join(message.split(". ")[:2])  # after that CUDA gives advice


def _warn(scorer: object, what: str, problem: str) -> None:
    if scorer in _warned:
        return
    _warned.add(scorer)
    # A warning that was turned into an error must not end a run.
    with suppress(Warning):
        warnings.warn(
            f"{_name(scorer)} has no memory for {what} in one pass ({problem}); they are run in halves, with the same "
            "results up to rounding. To save the time of trying, lower tokens_per_pass or the number of chains",
            stacklevel=4,
        )


def _name(scorer: object) -> str:
    return getattr(scorer, "name", None) or type(scorer).__name__
