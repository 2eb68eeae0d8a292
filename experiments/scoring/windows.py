"""A stream of lines scored in bounded memory: window by window, lines of similar length together, answers in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

from experiments.scoring.lines import Line, Origin
from experiments.scoring.terms import Term, needs_source

__all__ = ["OnError", "check_lines", "check_reading", "score_lines"]

OnError = Literal["stop", "null"]

# Windows grow, so that the first answers, and most errors, come early. They are smaller where texts are long.
FIRST_LINES, MOST_LINES, MOST_CHARACTERS = 16, 4096, 2**20
BATCH_LINES, BATCH_CHARACTERS = 256, 2**18  # of one call, padding counted
SHARED = 16  # lines of one source that are a call by themselves


def score_lines(
    lines: Iterable[Line], terms: Sequence[Term], on_error: OnError, origin: Origin, device: str
) -> Iterator[dict[str, Any]]:
    """``text``, ``energy`` and ``terms`` of every line, in order; the energy of a blank line is ``None``.

    With ``on_error="null"`` so is that of a line that cannot be scored, and its ``error`` says why. With ``"stop"`` the
    first such line ends the stream, behind the answers to all lines before it.

    Raises ``InvalidInput``, ``EnergyError`` or ``OutOfMemory`` with the place of that line; ``InvalidInput`` for no
    text at all; ``EnergyError`` for an energy that fails whatever the texts are.
    """
    some = False
    for start, window in _windows(lines):
        values, problems = _scored(window, terms, device)
        for index, line in enumerate(window):
            some = some or not _is_blank(line)
            found: dict[str, Any] = {"text": line.text}
            if line.source is not None:
                found["source"] = line.source
            if problem := problems.get(index):
                if on_error == "stop":
                    raise _with_place(problem, line, origin.place(start + index)) from problem
                yield {**found, "energy": None, "terms": {}, "error": str(_with_place(problem, line))}
            else:
                named = values[index]
                yield {**found, "energy": sum(named.values()) if named else None, "terms": named}
    if not some:
        raise origin.no_text()


def check_reading(lines: Iterable[Line], origin: Origin, asks: str | None) -> None:
    """Raise ``InvalidInput`` for a malformed line, or one without the source that a model ``asks`` for, with its place.

    For no text at all too. It needs no model that is loaded.
    """
    from samplers import InvalidInput

    some = False
    for index, line in enumerate(lines):
        if line.problem:
            raise _with_place(InvalidInput(line.problem), line, origin.place(index))
        if not _is_blank(line):
            some = True
            if asks is not None and line.source is None:
                raise _with_place(needs_source(asks), line, origin.place(index))
    if not some:
        raise origin.no_text()


def check_lines(lines: Iterable[Line], terms: Sequence[Term], origin: Origin) -> int:
    """The number of lines, by a pass that only tokenises. Raises as ``score_lines`` for what no term could score."""
    readers = {(term.reader, term.check_source is None): term for term in terms}.values()
    some, count = False, 0
    for start, window in _windows(lines):
        problems = _own_problems(window)
        for term in readers:
            for batch in _batches(window, term, problems):
                problems |= _errors(batch, _apart([window[index] for index in batch], term.encode))
        if problems:
            first = min(problems)
            raise _with_place(problems[first], window[first], origin.place(start + first))
        some = some or any(not _is_blank(line) for line in window)
        count += len(window)
    if not some:
        raise origin.no_text()
    return count


def _windows(lines: Iterable[Line]) -> Iterator[tuple[int, list[Line]]]:
    """The number of its first line, and the lines, of each window."""
    start, size, characters = 0, FIRST_LINES, 0
    window: list[Line] = []
    for line in lines:
        window.append(line)
        characters += len(line.text)
        if len(window) == size or characters >= MOST_CHARACTERS:
            yield start, window
            start, size, characters = start + len(window), min(2 * size, MOST_LINES), 0
            window = []
    if window:
        yield start, window


def _scored(
    window: Sequence[Line], terms: Sequence[Term], device: str
) -> tuple[list[dict[str, float]], dict[int, Exception]]:
    """Nats by term of each line, and what is wrong with those that cannot be scored."""
    values: list[dict[str, float]] = [{} for _ in window]
    problems = _own_problems(window)
    for term in terms:
        for batch in _batches(window, term, problems):
            found = _apart([window[index] for index in batch], partial(term.values, device=device))
            problems |= _errors(batch, found)
            for index, value in zip(batch, found, strict=True):
                values[index][term.name] = value
    return values, problems


def _batches(window: Sequence[Line], term: Term, problems: Collection[int]) -> Iterator[list[int]]:
    """Numbers of lines to score together: of similar length, and so many that they fit in memory.

    Lines of a source that many have are together, the others by the length of both sides.
    """
    wanted = [index for index, line in enumerate(window) if index not in problems and not _is_blank(line)]
    sources = {index: term.source_of(window[index]) or "" for index in wanted}
    counts = Counter(sources.values())
    lengths = {index: len(window[index].text) + len(sources[index]) for index in wanted}
    shared = {index: sources[index] if counts[sources[index]] >= SHARED else "" for index in wanted}
    batch: list[int] = []
    for index in sorted(wanted, key=lambda index: (shared[index], lengths[index])):
        full = len(batch) == BATCH_LINES or (len(batch) + 1) * lengths[index] > BATCH_CHARACTERS
        if batch and (full or shared[index] != shared[batch[0]]):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _apart(lines: Sequence[Line], call: Callable[[Sequence[Line]], Iterable[Any]]) -> list[Any]:
    """What ``call`` returns for each line; where it raises because of some, their errors in their places."""
    from samplers import EnergyError, InvalidInput, OutOfMemory

    try:
        return list(call(lines))
    except (InvalidInput, EnergyError, OutOfMemory) as error:
        if isinstance(error, EnergyError) and not error.rows:  # no text is at fault
            raise
        if len(lines) == 1:
            return [error]
    half = len(lines) // 2
    return [*_apart(lines[:half], call), *_apart(lines[half:], call)]


def _errors(batch: Sequence[int], found: Sequence[Any]) -> dict[int, Exception]:
    return {index: value for index, value in zip(batch, found, strict=True) if isinstance(value, Exception)}


def _own_problems(window: Sequence[Line]) -> dict[int, Exception]:
    from samplers import InvalidInput

    return {index: InvalidInput(line.problem) for index, line in enumerate(window) if line.problem}


def _is_blank(line: Line) -> bool:
    return not line.text.strip() and line.problem is None


def _with_place(error: Exception, line: Line, place: str = "") -> Exception:
    """The error of one line, which says where that is and not which row of a batch."""
    from samplers import EnergyError

    if not isinstance(error, EnergyError):
        return type(error)(f"{place}: {error}" if place else str(error))
    problem = f"{error.problem} ({place})" if place else error.problem
    placed = EnergyError(problem, term=error.term, nan=error.nan, where=error.where, remedy=error.remedy)
    placed.texts = [line.text]
    return placed
