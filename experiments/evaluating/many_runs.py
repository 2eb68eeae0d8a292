"""The runs of an evaluation, one for each case, on as many processes as are wanted."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.declaration.wording import Remark

if TYPE_CHECKING:
    from experiments.entry.experiment import Experiment
    from experiments.evaluating.cases import Case
    from experiments.results.protocol import Run

__all__ = ["texts_of_cases"]


def texts_of_cases(
    experiment: Experiment, options: Mapping[str, Any], cases: Sequence[Case], out: Path | None, workers: int
) -> Generator[list[str], None, None]:
    """What each run gives, in the order of the cases: the texts that chains or whole draws show, a search's best.

    The same whatever ``workers`` is, and whether runs are kept in ``out`` or were there already. Where no more are
    asked for, those that were begun come to their end unseen.
    """
    run = partial(_texts, experiment, dict(options), out)
    if workers == 1:
        yield from map(run, range(len(cases)), cases)
        return
    from loky import ProcessPoolExecutor

    from experiments.executors.local import environment

    rest = enumerate(cases)
    with ProcessPoolExecutor(workers, env=environment(workers)) as executor:
        begun = deque(executor.submit(run, *case) for case in islice(rest, workers))
        while begun:
            yield begun.popleft().result()
            begun.extend(executor.submit(run, *case) for case in islice(rest, 1))


def _texts(experiment: Experiment, options: Mapping[str, Any], out: Path | None, number: int, case: Case) -> list[str]:
    """Without remarks on each text, and in a folder by ``number`` if there is one to keep runs in."""
    from experiments.results.search_run import SearchRun

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Remark)
        kept = {} if out is None else {"out": str(out / f"{number:05d}")}
        run: Run = experiment.run(**options, **case.arguments, **kept)
    shown = list(run.shown())
    if isinstance(run, SearchRun):
        return [min(shown, key=lambda row: row[1])[2]]
    return [text for _, _, text in shown]
