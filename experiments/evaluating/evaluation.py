"""The evaluation of each experiment: on what it is tried, what it has to beat, what is measured."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from experiments.declaration.wording import Remark
from experiments.entry.experiment import Experiment, experiment_of
from experiments.evaluating import baselines, cases
from experiments.evaluating.baselines import Baselines
from experiments.evaluating.cases import Case, Trial
from experiments.evaluating.table import Texts
from experiments.gibbs import gibbs
from experiments.infill import infill
from experiments.keywords import keywords
from experiments.paraphrase import paraphrase
from experiments.summarize import summarize
from experiments.translate import translate

if TYPE_CHECKING:
    from experiments.results.protocol import Run

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
    evaluation: Evaluation, trial: Trial, progress: Callable[[int], object] = lambda _: None
) -> Iterator[Texts]:
    """Held-out texts, samples, baselines, each once it is known: ``trial.count`` of each.

    Runs the experiment on as many cases as that takes, and gives nothing before the first run has gone well. A run of
    Markov chains, or of whole draws, gives the texts that it prints; a search gives its best. ``progress`` is
    called with every number of texts that were found.
    """
    rows = evaluation.cases(trial)
    texts: list[str] = []
    of: list[Case] = []
    for number, case in enumerate(rows):
        found = _texts_of(_run(evaluation, trial, case))[: trial.count - len(texts)]
        texts += found
        of += [case] * len(found)
        if number == 0:
            yield Texts("held-out", [case.held_out for case in rows], rows)
        progress(len(found))
        if len(texts) == trial.count:
            break
    yield Texts("samples", texts, of)
    for name, written in evaluation.baselines(trial, rows):
        kept = [at for at, text in enumerate(written) if text]
        yield Texts(name, [written[at] for at in kept], [rows[at] for at in kept])


def _run(evaluation: Evaluation, trial: Trial, case: Case) -> Run:
    """Without a folder, and without remarks on each text."""
    options = {**trial.options, **case.arguments, "seed": trial.seed}
    if evaluation.one_run:
        options["chains"] = trial.count
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Remark)
        run: Run = evaluation.experiment.run(**options)
    return run


def _texts_of(run: Run) -> list[str]:
    from experiments.results.search_run import SearchRun

    shown = list(run.shown())
    if isinstance(run, SearchRun):
        return [min(shown, key=lambda row: row[1])[2]]
    return [text for _, _, text in shown]
