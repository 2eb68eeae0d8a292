"""Effective draws a million tokens and a second by the moves of the experiments, beside those of their edits alone.

Both sample the same law, that of ``mcmc-text NAME``, from starts made the same way. Edits read less in a step and have
many more steps, since chains that have not mixed show an ESS of one or two each, whatever they cost. Cost and ESS are
those of the steps behind the warm-up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from experiments.benchmarking.kernels import KernelLine
from experiments.mixing.only_edits import only_edits

if TYPE_CHECKING:
    from experiments.results.text_run import TextRun

__all__ = ["MIXTURES", "MixtureTask", "move_lines"]

CHAINS = 6

Run = Callable[..., "TextRun"]


@dataclass(frozen=True)
class MixtureTask:
    """``run`` makes the chains of an experiment, ``steps`` of them of which ``warmup`` are not kept.

    With edits alone there are ``times`` as many of both, ``ends`` among the moves if 0.1.0 had such, and the arguments
    ``edits`` besides.
    """

    run: Run
    steps: int
    warmup: int
    times: int
    ends: bool = False
    edits: Mapping[str, Any] = field(default_factory=dict)


def _gibbs(**how: Any) -> Any:
    from experiments.gibbs import gibbs

    return gibbs(chains=CHAINS, **how)


def _keywords(**how: Any) -> Any:
    from experiments.keywords import keywords

    return keywords(["music", "night"], chains=CHAINS, **how)


def _infill(**how: Any) -> Any:
    from experiments.infill import infill

    return infill("The [MASK] sat on the [MASK:1-3].", chains=CHAINS, **how)


def _paraphrase(**how: Any) -> Any:
    from experiments.paraphrase import paraphrase

    return paraphrase("I would like to go home now.", sampler="mh", chains=CHAINS, **how)


def _translate(text: str, word: str, **how: Any) -> Any:
    from experiments.translate import translate

    return translate(text, must_contain=[word], sampler="mh", chains=CHAINS, **how)


def _translation(text: str, word: str) -> MixtureTask:
    return MixtureTask(partial(_translate, text, word), 400, 100, 10, ends=True)


MIXTURES: dict[str, MixtureTask] = {
    "gibbs": MixtureTask(_gibbs, 80, 20, 10, edits={"block": 1}),
    "keywords": MixtureTask(_keywords, 90, 20, 9, ends=True),
    "infill": MixtureTask(_infill, 480, 80, 8),
    "paraphrase": MixtureTask(_paraphrase, 120, 30, 40),
    "couch": _translation("Le chien dort sur le canapé.", "couch"),
    "chilly": _translation("Il fait froid aujourd'hui.", "chilly"),
    "shut": _translation("Il a oublié de fermer la porte hier soir.", "shut"),
}
"""What ``mcmc-text benchmark --moves`` measures: examples of the documentation, and translations by their words.

There are several: two translations share the law of ``couch``, few have a word such as ``chilly``, and that of ``shut``
is nearly a single text.
"""


def move_lines(tasks: Mapping[str, MixtureTask] = MIXTURES, *, seed: int = 0) -> Iterator[KernelLine]:
    """Of each task two lines: edits alone, and all moves."""
    for name, task in tasks.items():
        with only_edits(ends=task.ends):
            run = partial(task.run, seed=seed, **task.edits)
            edits = _measured(name, "edits", run, task.times * task.steps, task.times * task.warmup)
        yield edits
        yield _measured(name, "all moves", partial(task.run, seed=seed), task.steps, task.warmup)


def _measured(task: str, moves: str, run: Run, steps: int, warmup: int) -> KernelLine:
    """The steps that are kept, each of them, by CPU seconds of this process."""
    from samplers import diagnose

    ends = []
    made = run(steps=steps, warmup=warmup, thin=1, progress=lambda count: ends.append(time.process_time()))
    seconds = ends[-1] - ends[warmup - 1]
    chains = len(made.trace.energy)
    a_step = (made.spent.cost.tokens - made.spent.starts[0]) / chains / steps
    found = diagnose(made.trace.energy)
    tokens = a_step * chains * (steps - warmup)
    rates = 1e6 * found.ess_bulk / tokens, found.ess_bulk / seconds
    return KernelLine(task, moves, steps, made.trace.changed, a_step, found.ess_bulk, found.r_hat, *rates)
