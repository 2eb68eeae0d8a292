"""Text from a masked language model, alone or beside a causal one, with or without the Metropolis-Hastings step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from experiments.declaration.arguments import Option
from experiments.declaration.wording import argument, named_arguments
from experiments.entry.experiment import experiment
from experiments.laws.real_words import check_words
from experiments.laws.top_p import check_top_p, said
from experiments.populations.begin import whole_texts
from experiments.populations.draw import draw_by_smc
from experiments.setup.common_options import LENGTH, MOVES, PARTICLES, POPULATIONS
from experiments.setup.job import Job
from experiments.setup.kernels import free_kernel, in_two_stages, scanning
from experiments.setup.languages import remark_on_language
from experiments.setup.methods import sample_chains
from experiments.setup.problem import Problem
from experiments.setup.scorers import load_scorer
from experiments.setup.settings import Settings
from experiments.setup.sources import check_length, encode_source
from experiments.starts.fill import length_starts
from experiments.starts.inside import starts_inside

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.populations.smc_run import SMCRun
    from experiments.results.text_run import TextRun
    from lm_adapters import CausalLM, MaskedLM, Truncation
    from samplers import Distribution, EnergyTerm

__all__ = ["gibbs"]

PARTNERS = {"masked-en": "causal-en", "masked-zh": "causal-zh"}  # models that score beside each other by default
FLUENCY, PLL = 0.95, 0.14  # weights beside each other: with more texts are likelier, shorter and less varied
DRAWN = 0.9  # of the law's temperature: what the masked model draws should suit the scorer too
WRITTEN = 1.08  # likewise: colder texts fit more often, warmer ones leave no text where a chain stays for long
BLOCK = 3  # sites redrawn together beside a scorer
LONG = 30  # tokens from which on the masked model's energy alone is asked only about what a cheap one lets pass
NO_TARGET = "none known (masked-LM conditionals, always accepted)"


def check(
    settings: Settings,
    *,
    sampler: str,
    scorer: object,
    init: str | None,
    top_k: int | None,
    top_p: float,
    correct: str,
    **_: object,
) -> None:
    """Raise ``InvalidInput`` for a truncation that cannot be, or a target that could have no effect."""
    from lm_adapters import Truncation
    from samplers import InvalidInput

    with named_arguments():
        Truncation(top_k=top_k)
    check_top_p(top_p)
    check_words(settings.word_list, "init", [init or ""])
    of_chains = {"correct": correct == "none", "init": init is not None, "top_k": top_k is not None}
    for name in (name for name, given in of_chains.items() if given and sampler == "smc"):
        raise InvalidInput(f"{argument(name)} has no meaning for {argument('sampler')} smc; leave it out")
    wanted = any((settings.energies, settings.repeats, settings.stopping))
    wanted |= any((settings.forbid, settings.real_words, settings.word_list, settings.new_texts))
    if (wanted or settings.nan == "reject") and correct == "none":
        words = ", ".join(map(argument, ("forbid", "real_words", "word_list", "new_texts")))
        style = f"{argument('repeats')}, {argument('stopping')}"
        terms = f"{argument('energies')}, {style}, {words} and {argument('nan')} reject"
        raise InvalidInput(f"{terms} need an accept step to have an effect; use {argument('correct')} mh with them")
    if scorer not in (None, "none") and correct == "none":
        raise InvalidInput(f"{argument('scorer')} needs an accept step to have an effect; use {argument('correct')} mh")


@experiment(chains=14, steps=80, warmup=20, thin=2, check=check)  # without a scorer two of each length
def gibbs(
    job: Job,
    *,
    sampler: Annotated[
        Literal["mh", "smc"], Option("mh: Markov chains. smc: populations of texts of all lengths, which give log Z.")
    ] = "mh",
    scorer: Annotated[
        str | CausalLM | None,
        Option(
            "Causal model that scores the texts too, and writes their ends anew; none: the masked model alone.  "
            "[default: causal-en beside masked-en, causal-zh beside masked-zh, none beside another model]"
        ),
    ] = None,
    length: Annotated[tuple[int, int], LENGTH] = (8, 14),
    init: Annotated[
        str | None, Option("Start every chain from this text instead of from drawn ones.", metavar="TEXT")
    ] = None,
    scan: Literal["random", "systematic"] = "random",
    block: Annotated[
        int | None,
        Option("Sites redrawn together, one after the other.  [default: 3 beside a scorer, else 1]", minimum=1),
    ] = None,
    top_k: Annotated[int | None, Option("Propose among the k likeliest tokens only.")] = None,
    top_p: Annotated[
        float,
        Option(
            "The scorer's -log p is that of sampling with this nucleus: renormalised inside, forbidden outside. "
            "Without a scorer: propose within this nucleus only.",
            energies=["NucleusEnergy"],
        ),
    ] = 1.0,
    correct: Annotated[
        Literal["none", "mh"],
        Option(
            "mh: Metropolis-Hastings on the energy, exact. none: always accept; length times faster, but no known "
            "target."
        ),
    ] = "mh",
    energy_kind: Annotated[
        Literal["raw", "pll"],
        Option("Target of mh: pseudo-log-likelihood, or sum of logits.", energies=["MaskedEnergy"]),
    ] = "pll",
    particles: Annotated[int, PARTICLES] = 128,
    populations: Annotated[int, POPULATIONS] = 4,
    moves: Annotated[int, MOVES] = 8,
) -> TextRun | SMCRun:
    """Unconditional text from a masked language model, by default beside a causal one.

    With ``correct="mh"`` the law is ``exp(-E / T)``, exactly. ``E`` is ``0.95 fluency + 0.14 energy_kind`` plus
    weighted ``energies``, ``fluency`` minus the log-probability by the ``scorer``, over the texts of all lengths within
    ``length``. Whole texts and ends of texts are written anew by the scorer, and ``block`` sites redrawn by the masked
    model; beside a scorer of other tokens, single ones are replaced, inserted and deleted. Chains start from masks that
    the masked model fills from left to right, or all from ``init``.

    Without a scorer ``E`` is the ``energy_kind`` alone, which compares texts of one length only: chains are spread
    evenly over the ``length`` range and keep theirs, each length a law of its own, and ``block`` sites are redrawn.
    From 30 tokens on a step redraws eight blocks in turn by the pseudo-log-likelihood with every eighth site masked
    together, and takes or leaves the outcome by ``E``: as exact, and less to read.

    With ``correct="none"`` proposals are always taken, and there is no known target. ``top_k`` is of the proposals
    only; ``top_p`` is part of the scorer's law, and of the proposals where there is no scorer.

    With ``sampler="smc"`` all lengths are one law in either case. Populations begin with texts that the scorer writes;
    without one with lengths drawn evenly, filled from left to right by the masked model.

    Raises ``InvalidInput`` before the model is loaded where possible; ``EnergyError`` with the text at fault.
    """
    from lm_adapters import (
        BlockwiseEnergy,
        LengthRange,
        MaskedEnergy,
        SequentialBlock,
        Template,
        TemplateFill,
        Truncation,
    )
    from samplers import Flat, InvalidInput

    lm = job.masked_lm()
    temperature = job.settings.law_temperature
    pll = MaskedEnergy(lm, energy_kind)
    if scorer is None and correct == "mh" and energy_kind == "pll" and isinstance(job.settings.model, str):
        scorer = PARTNERS.get(job.settings.model)
    scored = None if scorer in (None, "none") else load_scorer(scorer, lm, job.settings, top_p=top_p)
    if scored is None and top_p < 1 and sampler == "smc":
        raise InvalidInput(f"{argument('top_p')} is of a scorer's law here, and there is none; leave it out")
    truncation = Truncation(DRAWN * temperature, top_k) if scored else Truncation(temperature, top_k, top_p)
    constraints = job.constraints(lm, [init or ""], new=True) if correct == "mh" else []
    needed = [*constraints, *(scored.constraints if scored else ())]
    widest = length[1] if scored or sampler == "smc" else 0
    readable = scored.readable if scored else []
    x0 = start_states(lm, truncation, job, [*needed, *readable], init=init, length=length, widest=widest)
    proposal = SequentialBlock(lm, block or (BLOCK if scored else 1), truncation=truncation)
    kernel = scanning(proposal, scan, x0.shape[1], corrected=correct == "mh")
    if correct == "none":
        problem = Problem(lm.space, Flat(), x0, {"model": lm}, NO_TARGET)
        return sample_chains(problem, kernel, job, fixed_lengths=True, watched=pll)
    own: dict[str, str] = {energy_kind: job.named("model", lm.model)}
    if scored is None and sampler == "mh":
        if energy_kind == "pll" and scan == "random" and x0.shape[1] >= LONG and not job.settings.custom_energies:
            kernel = in_two_stages(kernel, job.with_custom(BlockwiseEnergy(lm), lm.space, constraints))
        problem = Problem(
            lm.space,
            job.with_custom(pll, lm.space, constraints),
            x0,
            {"model": lm},
            lengths=_lengths(lm, x0),
            each_length=True,
            scored_by=own,
            note=reached(truncation),
        )
        return sample_chains(problem, kernel, job, fixed_lengths=True)
    bounds = length if init is None else (min(length[0], _lengths(lm, x0)[0]), x0.shape[1])
    within = LengthRange(lm.space, *bounds)
    energy, models = (pll, {}) if scored is None else (scored.weighted(FLUENCY) + PLL * pll, {"scorer": scored.lm})
    if scored is not None:
        name = job.named("scorer", scored.model) if job.config["scorer"] else str(scorer)
        own = {"fluency": said(name, top_p, given=False), **own}
    whole, models = job.with_custom(energy + within, lm.space, constraints), {"model": lm, **models}
    if scored is not None and init is None:
        x0 = starts_inside(scored, top_p, whole, x0, job, models)
    problem = Problem(lm.space, whole, x0, models, scored_by=own, note=reached(truncation))
    # Inside a nucleus the law's own is drawn from: a colder one is smaller.
    ends = Truncation(1.0, top_k, top_p) if top_p < 1 else Truncation(WRITTEN * temperature, top_k)
    kernel = free_kernel(kernel, lm, pll if scored is None else scored.energy, truncation, ends, within)
    if sampler == "mh":
        return sample_chains(problem, kernel, job)
    if scored is not None and scored.writer is not None:
        begun: Distribution = whole_texts(scored.writer, length, temperature, top_p=top_p)
    else:
        every = Template(lm.space, f"[MASK:{length[0]}-{length[1]}]")
        begun = TemplateFill(lm, every, truncation=Truncation(temperature), constraints=needed)
    return draw_by_smc(problem, begun, kernel, job, particles=particles, populations=populations, moves=moves)


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
    widest: int,
) -> Tensor:
    """``int64 [chains, width]`` start texts: ``init`` for all, or masks filled by the model under ``constraints``.

    ``widest``: the tokens for which there must be room.
    """
    import torch

    if init is not None:
        remark_on_language("init", [init], lm)
        x0 = encode_source(lm, init, job.settings.chains, longer=0, name="init")[0]
    else:
        check_length(length, lm)
        x0 = length_starts(lm, truncation, job, constraints, length)
    return torch.nn.functional.pad(x0, (0, max(0, widest - x0.shape[1])), value=lm.space.pad_id)
