"""``examine_energy``: everything that can be found wrong with an energy of the user's own, before a run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from experiments.doctor.alone import alone_findings
from experiments.doctor.cost import cost_findings
from experiments.doctor.findings import Examination, Finding
from experiments.doctor.sample_texts import ENGLISH, ODD
from experiments.doctor.short_run import run_findings
from experiments.doctor.subject import Subject
from experiments.doctor.values import answers, value_findings
from experiments.setup.custom_energy import CustomEnergy, load_custom_energies

if TYPE_CHECKING:
    from experiments.setup.custom_energy import GivenEnergy

__all__ = ["examine_energy", "findings_of"]

PATIENCE, FEW = 5.0, 8  # seconds that the texts may take, one by one; otherwise so many are compared


def examine_energy(
    energy: GivenEnergy,
    texts: Sequence[str] = (),
    *,
    run: bool = False,
    model: str = "masked-en",
    scorer: str | None = None,
) -> Examination:
    """Try an energy, and say what is wrong with it and how to mend it::

        found = examine_energy(alliteration)
        assert found.is_well, found

    Main arguments
        ``energy``, as every experiment takes it: a function of a list of texts, ``FILE.py:NAME``, or with a weight.
        ``texts`` to try it on, beside our own in English and odd ones, such as the empty text.
    Other arguments
        ``run``: also a short run of ``gibbs`` with it and without, by ``model`` and ``scorer``, which are loaded for
        this alone. An energy of tensors gets the tokens of ``model``.
    Returns
        an ``Examination`` with the findings: whether there is a number for each text, neither NaN nor ``-inf``; the
        same in any company and order, and again; what it writes into and changes; what a text costs and how that grows;
        what it does to a run.
    Raises
        ``InvalidInput`` for what cannot be an energy at all, or a model that cannot be found.
    """
    (loaded,) = load_custom_energies([energy])
    return Examination(loaded.spec, list(findings_of(loaded, texts, run=run, model=model, scorer=scorer)))


def findings_of(
    energy: CustomEnergy, texts: Sequence[str], *, run: bool, model: str, scorer: str | None
) -> Iterator[Finding]:
    """Those of ``examine_energy``, each as it is made."""
    subject = Subject(energy, model)
    given = [*dict.fromkeys([*texts, *ENGLISH])]
    tried = [text for text in [*given, *(text for text in ODD if text not in given)] if subject.takes(text)]
    began = time.monotonic()
    values, found = answers(subject, tried)
    some = values if time.monotonic() - began < PATIENCE else dict(list(values.items())[:: len(values) // FEW + 1])
    yield from found
    broken = any(each.level == "error" for each in found)
    if not values:
        return
    for finding in (*value_findings(subject, values, given), *alone_findings(subject, some), *cost_findings(subject)):
        broken |= finding.level == "error"
        yield finding
    if run and broken:
        yield Finding("note", "run", "not tried, as there are errors", "mend them first")
    elif run:
        yield from run_findings(subject, {text: values[text] for text in given if text in values}, model, scorer)
