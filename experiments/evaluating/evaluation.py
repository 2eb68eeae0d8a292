"""The evaluation of each experiment: on what it is tried, what it has to beat, what is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.controlling.control import control
from experiments.entry.experiment import Experiment, experiment_of
from experiments.evaluating import baselines, cases
from experiments.evaluating.baselines import Baselines
from experiments.evaluating.cases import Case, Trial
from experiments.evaluating.many_runs import texts_of_cases
from experiments.evaluating.table import Texts
from experiments.gibbs import gibbs
from experiments.infill import infill
from experiments.keywords import keywords
from experiments.paraphrase import paraphrase
from experiments.setup.settings import WITHOUT_CHAINS
from experiments.summarize import summarize
from experiments.translate import translate

__all__ = ["EVALUATIONS", "Evaluation", "collect"]

COUNT = 300  # texts, by which the bar was set


@dataclass(frozen=True)
class Evaluation:
    """``cases`` of a trial, ``baselines`` on them and the ``measures`` of each text beside its case.

    ``defaults`` of arguments that the experiment has none for. ``keeps_meaning``: texts should mean what their source
    does. ``one_run``: a single run gives all texts, one a chain,
    as nothing is given to any of them.
    """

    experiment: Experiment
    cases: Callable[[Trial], list[Case]]
    baselines: Callable[[Trial, Sequence[Case]], Baselines]
    measures: Sequence[str] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    keeps_meaning: bool = False
    one_run: bool = False

    @property
    def from_cases(self) -> set[str]:
        """Arguments that nobody can give: they come from held-out rows."""
        return {"chains"} if self.one_run else {"words", "template", "text", "must_contain", "init"}

    @property
    def usual_chains(self) -> int:
        """How many the experiment has by default."""
        (usual,) = (each.default for each in self.experiment.arguments if each.name == "chains")
        return int(usual)

    def chains(self, trial: Trial) -> int:
        """One for each text where nobody says more: chains of one run would share the words of a row."""
        if self.one_run:
            return trial.count
        return trial.options["chains"] or (self.usual_chains if trial.options["sampler"] in WITHOUT_CHAINS else 1)


def _declared(function: Any) -> Experiment:
    found = experiment_of(function)
    assert found is not None, "it is decorated"
    return found


EVALUATIONS: Mapping[str, Evaluation] = {
    "gibbs": Evaluation(_declared(gibbs), cases.cases_of_nothing, baselines.of_nothing, one_run=True),
    "keywords": Evaluation(_declared(keywords), cases.cases_of_keywords, baselines.of_keywords, ["there"]),
    "infill": Evaluation(_declared(infill), cases.cases_of_infill, baselines.of_infill, ["exact"]),
    "paraphrase": Evaluation(
        _declared(paraphrase),
        cases.cases_of_paraphrase,
        baselines.of_paraphrase,
        ["copies", "iBLEU"],
        keeps_meaning=True,
    ),
    "control": Evaluation(
        _declared(control),
        cases.cases_of_control,
        baselines.of_control,
        ["label", "copies"],
        defaults={"label": "question"},
        keeps_meaning=True,
    ),
    "summarize": Evaluation(
        _declared(summarize),
        cases.cases_of_summarize,
        baselines.of_summarize,
        defaults={"max_words": 8},
        keeps_meaning=True,
    ),
    "translate": Evaluation(_declared(translate), cases.cases_of_translate, baselines.of_translate, ["there", "BLEU"]),
}


def collect(
    evaluation: Evaluation,
    trial: Trial,
    out: Path | None = None,
    workers: int = 1,
    progress: Callable[[int], object] = lambda _: None,
) -> Iterator[Texts]:
    """Held-out texts, samples, baselines, each once it is known: ``trial.count`` of each.

    Runs the experiment on as many cases as that takes, ``workers`` of them at a time, and gives nothing before the
    first run has gone well. ``out``: where the runs are kept, by the number of the case, and read again if they are
    there. ``progress`` is called with every number of texts that were found.
    """
    rows = evaluation.cases(trial)
    options = {**trial.options, "seed": trial.seed, "chains": evaluation.chains(trial)}
    texts: list[str] = []
    of: list[Case] = []
    with closing(texts_of_cases(evaluation.experiment, options, rows, out, workers)) as runs:
        for case, drawn in zip(rows, runs, strict=True):
            found = drawn[: trial.count - len(texts)]
            if not texts:
                yield Texts("held-out", [case.held_out for case in rows], rows)
            texts += found
            of += [case] * len(found)
            progress(len(found))
            if len(texts) == trial.count:
                break
    yield Texts("samples", texts, of)
    for name, written in evaluation.baselines(trial, rows):
        kept = [at for at, text in enumerate(written) if text]
        yield Texts(name, [written[at] for at in kept], [rows[at] for at in kept])
