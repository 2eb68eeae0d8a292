"""Unconditional text from a masked language model, with or without the Metropolis-Hastings correction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from experiments.declaration.arguments import Option
from experiments.declaration.wording import argument, named_arguments
from experiments.entry.experiment import experiment
from experiments.laws.real_words import check_words
from experiments.setup.job import Job
from experiments.setup.languages import remark_on_language
from experiments.setup.methods import sample_chains
from experiments.setup.problem import Problem
from experiments.setup.settings import Settings
from experiments.setup.sources import check_length, encode_source
from experiments.starts.fill import length_starts

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.results.text_run import TextRun
    from lm_adapters import GibbsProposal, MaskedLM, Truncation
    from samplers import EnergyTerm, Kernel

__all__ = ["gibbs"]

NO_TARGET = "none known (masked-LM conditionals, always accepted)"


def check(settings: Settings, *, init: str | None, top_k: int | None, top_p: float, correct: str, **_: object) -> None:
    """Raise ``InvalidInput`` for a truncation that cannot be, or a target that could have no effect."""
    from lm_adapters import Truncation
    from samplers import InvalidInput

    with named_arguments():
        Truncation(settings.temperature, top_k, top_p)
    check_words(settings.word_list, "init", [init or ""])
    wanted = settings.energies or settings.forbid or settings.real_words or settings.word_list
    if (wanted or settings.nan == "reject") and correct == "none":
        words = f"{argument('forbid')}, {argument('real_words')}, {argument('word_list')}"
        terms = f"{argument('energies')}, {words} and {argument('nan')} reject"
        raise InvalidInput(f"{terms} need an accept step to have an effect; use {argument('correct')} mh with them")


@experiment(chains=14, check=check)  # two of each length
def gibbs(
    job: Job,
    *,
    length: Annotated[tuple[int, int], Option("Tokens a text: N or LOW:HIGH.")] = (6, 12),
    init: Annotated[
        str | None, Option("Start every chain from this text instead of from masks.", metavar="TEXT")
    ] = None,
    scan: Literal["random", "systematic"] = "random",
    block: Annotated[int, Option("Sites redrawn together.", minimum=1)] = 1,
    top_k: Annotated[int | None, Option("Propose among the k likeliest tokens only.")] = None,
    top_p: Annotated[float, Option("Propose within this nucleus only.")] = 1.0,
    correct: Annotated[
        Literal["none", "mh"],
        Option(
            "mh: Metropolis-Hastings on the energy, exact. none: always accept; length times faster, but no known "
            "target."
        ),
    ] = "mh",
    energy_kind: Annotated[
        Literal["raw", "pll"], Option("Target of mh: pseudo-log-likelihood, or sum of logits.")
    ] = "pll",
) -> TextRun:
    """Unconditional text from a masked language model.

    Chains are spread evenly over the ``length`` range of token counts and keep theirs (each length is a distribution
    of its own). They start from ``init``, or from masks filled from left to right by the model. With ``correct="mh"``
    the law is ``exp(-E / T)``, ``E`` the ``energy_kind`` plus weighted ``energies``, exactly; with ``correct="none"``
    proposals are always taken, and there is no known target. ``block`` sites are redrawn together, at the same
    ``temperature`` ``T``, and with ``top_k`` and ``top_p`` in the proposal only.

    Raises ``InvalidInput`` before the model is loaded where possible; ``EnergyError`` with the text at fault.
    """
    from lm_adapters import GibbsProposal, MaskedEnergy, Truncation
    from samplers import Flat

    lm = job.masked_lm()
    truncation = Truncation(job.settings.temperature, top_k, top_p)
    proposal = GibbsProposal(lm, block, truncation=truncation)
    constraints = job.constraints(lm, [init or ""]) if correct == "mh" else []
    x0 = start_states(lm, truncation, job, constraints, init=init, length=length)
    scored = MaskedEnergy(lm, energy_kind)
    kernel = scanning(proposal, scan, x0.shape[1], corrected=correct == "mh")
    if correct == "none":
        problem = Problem(lm.space, Flat(), x0, {"model": lm}, NO_TARGET)
        return sample_chains(problem, kernel, job, fixed_lengths=True, watched=scored)
    problem = Problem(
        lm.space,
        job.with_custom(scored, lm.space, constraints),
        x0,
        {"model": lm},
        lengths=_lengths(lm, x0),
        each_length=True,
        scored_by={energy_kind: job.named("model", lm.model)},
        note=reached(truncation),
    )
    return sample_chains(problem, kernel, job, fixed_lengths=True)


def reached(truncation: Truncation) -> str:
    """Which texts a truncated proposal confines the law to, in words."""
    top = [f"top-k {truncation.top_k}"] * (truncation.top_k is not None) + [f"top-p {truncation.top_p:g}"] * (
        truncation.top_p < 1
    )
    return f" that the proposal reaches with {' and '.join(top)}" if top else ""


def _lengths(lm: MaskedLM, x: Tensor) -> tuple[int, int]:
    lengths = lm.space.lengths(x)
    return int(lengths.min()), int(lengths.max())


def start_states(
    lm: MaskedLM,
    truncation: Truncation,
    job: Job,
    constraints: Sequence[EnergyTerm],
    *,
    init: str | None,
    length: tuple[int, int],
) -> Tensor:
    """``int64 [chains, width]`` start texts: ``init`` for all, or masks filled by the model under ``constraints``."""
    if init is not None:
        remark_on_language("init", [init], lm)
        return encode_source(lm, init, job.settings.chains, longer=0, name="init")[0]
    check_length(length, lm)
    return length_starts(lm, truncation, job, constraints, length)


def scanning(proposal: GibbsProposal, scan: str, width: int, *, corrected: bool) -> Kernel:
    """One site after the other, or random ones; with the accept step if ``corrected``."""
    from samplers import Cycle, MetropolisHastings, PseudoGibbs

    make = MetropolisHastings if corrected else PseudoGibbs
    if scan == "random":
        return make(proposal)
    return Cycle([make(turn) for turn in proposal.scan(width)])
