"""Continuations of a prompt from a power of a causal model's law: likelier as a whole, not token by token."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from experiments.declaration.arguments import Option
from experiments.declaration.wording import argument
from experiments.entry.experiment import experiment
from experiments.laws.grammar import given_grammar, next_tokens
from experiments.laws.top_p import check_top_p, said
from experiments.populations.draw import draw_by_smc
from experiments.setup.common_options import GRAMMAR, JSON_SCHEMA, PATTERN, POPULATIONS
from experiments.setup.job import Job
from experiments.setup.methods import sample_chains
from experiments.setup.models import check_causal, load_causal
from experiments.setup.problem import Problem
from experiments.setup.settings import Settings
from experiments.starts.continued import continued_starts

if TYPE_CHECKING:
    from experiments.results.protocol import Run

__all__ = ["power"]

MANY, FEW = 128, 8  # particles of a population, and of a step of a chain


def check(
    settings: Settings,
    *,
    prompt: str,
    alpha: float,
    top_p: float,
    pattern: str | None,
    grammar: str | None,
    json_schema: str | None,
    **_: object,
) -> None:
    """Raise ``InvalidInput`` for an empty prompt, an exponent or grammar that cannot be, a model that is not causal."""
    from samplers import InvalidInput

    if not prompt.strip():
        raise InvalidInput(f"{argument('prompt')} is empty; give the beginning of a text")
    if not (math.isfinite(alpha) and alpha > 0):
        raise InvalidInput(f"{argument('alpha')} is {alpha}; give a finite number above 0")
    check_top_p(top_p)
    if given_grammar(pattern, grammar, json_schema) and top_p < 1:
        raise InvalidInput(
            f"{argument('top_p')} leaves no token where what may follow is unlikely; leave it out beside "
            f"{argument('pattern')}, {argument('grammar')} and {argument('json_schema')}"
        )
    check_causal(settings)


@experiment(model="causal-en", check=check)
def power(
    job: Job,
    prompt: Annotated[str, Option("The beginning of a text.")],
    *,
    alpha: Annotated[float, Option("The exponent: 1 is the model's own law, above 1 likelier texts.")] = 4.0,
    sampler: Annotated[
        Literal["smc", "mh", "csmc"],
        Option(
            "smc: populations that grow from left to right; they also give log Z. mh: Markov chains that redraw texts "
            "from a place on. csmc: the same, with a population of candidates in each step, for long texts."
        ),
    ] = "smc",
    length: Annotated[
        tuple[int, int], Option("Tokens a text: N or LOW:HIGH. A text of the most tokens is cut off there.")
    ] = (1, 40),
    cuts: Annotated[
        Literal["open", "uniform"],
        Option("Where mh and the moves of smc redraw from: mostly where the next token is uncertain, or anywhere."),
    ] = "open",
    block: Annotated[int, Option("Tokens between two resamplings of smc and csmc.", minimum=1)] = 8,
    particles: Annotated[
        int | None,
        Option(f"Texts of a population.  [default: {MANY} of smc, {FEW} of csmc]", minimum=2, maximum=10**6),
    ] = None,
    populations: Annotated[int, POPULATIONS] = 4,
    top_p: Annotated[
        float,
        Option("The model's law is that of sampling with this nucleus: renormalised inside, forbidden outside."),
    ] = 1.0,
    moves: Annotated[int, Option("Of --sampler smc: steps of each particle once it is written.", minimum=1)] = 2,
    pattern: Annotated[str | None, PATTERN] = None,
    grammar: Annotated[str | None, GRAMMAR] = None,
    json_schema: Annotated[str | None, JSON_SCHEMA] = None,
) -> Run:
    """Continuations of PROMPT from p(text | PROMPT)^alpha of a causal --model.

    The law is ``exp(-alpha fluency / temperature)`` over token sequences with a ``length`` within bounds, ``fluency``
    minus the log-probability of the continuation as the model writes it: with its end, or cut off at the most tokens.
    That is not decoding at temperature ``1 / alpha``: this sharpens each token by itself, without regard to what can
    follow it. A Markov chain redraws its text from a place on, to any length: texts end early, and grow again.

    With a ``pattern``, a ``grammar`` or a ``json_schema`` the law is that of the texts that match it as a whole, the
    prompt not included. Tokens are drawn among those that may follow, and the weights and accept steps make up for it.
    With ``top_p`` below 1 ``p`` is the model's law inside that nucleus.

    Raises ``InvalidInput`` for a prompt that does not fit, before the model is loaded where possible.
    """
    from lm_adapters import (
        Continuation,
        Matches,
        NucleusReader,
        PowerDistribution,
        StoppedEnergy,
        SuffixProposal,
        SuffixSMC,
        Truncation,
    )
    from samplers import InvalidInput, Kernel, MetropolisHastings

    lm = load_causal(job.settings)
    prompted = lm.condition_on(prompt)
    low, high = length
    if high > prompted.max_length:
        raise InvalidInput(
            f"{argument('length')} goes to {high} tokens, and beside the {len(prompted.context) - 1} of "
            f"{argument('prompt')} the model takes {prompted.max_length}; give at most that"
        )
    reader = NucleusReader(prompted, top_p, low) if top_p < 1 else prompted
    fluency = StoppedEnergy(reader, high, "fluency")
    fluency.formula = "-log p(text | prompt)"
    matched = given_grammar(pattern, grammar, json_schema)
    following = next_tokens(matched, lm.space, length, needed=True)
    whole = fluency if alpha == 1 else alpha * fluency
    energy = job.with_custom(whole + Matches(lm.space, matched) if matched else whole, lm.space)
    exponent = alpha / job.settings.law_temperature
    bounds: dict[str, Any] = {"min_length": low, "max_length": high, "following": following}
    growing = Continuation(reader, power=exponent, block=block, **bounds)
    truncation = Truncation(growing.temperature)
    x0 = continued_starts(lm, reader, truncation, energy, length, job, following)
    problem = Problem(
        lm.space,
        energy,
        x0,
        {"model": lm},
        lengths=length,
        scored_by={"fluency": said(job.named("model", lm.model), top_p, given=False)},
        note=f", cut off at {high}",
    )
    kernel: Kernel = MetropolisHastings(SuffixProposal(reader, truncation=truncation, cuts=cuts, **bounds))
    if sampler == "mh":
        return sample_chains(problem, kernel, job)
    if sampler == "csmc":
        return sample_chains(problem, SuffixSMC(growing, particles or FEW), job)
    begun = PowerDistribution(growing)
    return draw_by_smc(problem, begun, kernel, job, particles=particles or MANY, populations=populations, moves=moves)
