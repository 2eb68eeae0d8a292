"""Blanks in a sentence filled jointly: each word in the light of the others, and as many words as fit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from experiments.declaration.arguments import Option
from experiments.declaration.wording import argument
from experiments.entry.experiment import experiment
from experiments.laws.grammar import given_grammar, next_tokens
from experiments.laws.real_words import check_words
from experiments.laws.top_p import check_top_p, given_tokens, in_nucleus, said, start_truncation
from experiments.populations.draw import draw_by_smc
from experiments.setup.common_options import (
    GRAMMAR,
    JSON_SCHEMA,
    MOVES,
    PARTICLES,
    PATTERN,
    POPULATIONS,
    SCORER,
    SHORTLIST,
    TOP_P,
)
from experiments.setup.job import Job
from experiments.setup.kernels import edit_kernel, shortlist_kernel
from experiments.setup.languages import remark_on_language
from experiments.setup.methods import sample_or_search
from experiments.setup.problem import Problem
from experiments.setup.scorers import load_scorer
from experiments.setup.settings import Settings
from experiments.starts.fill import template_starts

if TYPE_CHECKING:
    from experiments.results.protocol import Run
    from lm_adapters import CausalLM, MaskedLM

__all__ = ["infill"]


def check(
    settings: Settings,
    *,
    template: str,
    top_p: float,
    pattern: str | None,
    grammar: str | None,
    json_schema: str | None,
    **_: object,
) -> None:
    """Raise ``InvalidInput`` for frozen words that the user's list lacks, and a nucleus or grammar that cannot be."""
    check_top_p(top_p)
    given_grammar(pattern, grammar, json_schema)
    check_words(settings.word_list, "template", [frozen_words(template)])


@experiment(check=check, temperature=0.8)
def infill(
    job: Job,
    template: Annotated[str, Option("A text with slots.", energies=["Template"])],
    *,
    sampler: Annotated[
        Literal["mh", "gibbs", "smc", "anneal"],
        Option(
            "mh, gibbs: Markov chains. smc: populations, which also give log Z. anneal: search for the lowest energy."
        ),
    ] = "mh",
    scorer: Annotated[str | CausalLM | MaskedLM, SCORER] = "causal-en",
    shortlist: Annotated[int, SHORTLIST] = 64,
    particles: Annotated[int, PARTICLES] = 128,
    populations: Annotated[int, POPULATIONS] = 4,
    moves: Annotated[int, MOVES] = 8,
    top_p: Annotated[float, TOP_P] = 1.0,
    pattern: Annotated[str | None, PATTERN] = None,
    grammar: Annotated[str | None, GRAMMAR] = None,
    json_schema: Annotated[str | None, JSON_SCHEMA] = None,
) -> Run:
    """Fill the slots of TEMPLATE jointly: "The [MASK] sat on the [MASK:1-4]."

    The law is ``exp(-fluency / temperature)`` among the texts that fit ``template``, in which ``[MASK]`` is one token,
    ``[MASK:2]`` two, ``[MASK:1-4]`` one to four; the rest is frozen. ``fluency`` is ``-log p`` of the whole text under
    the ``scorer``, in nats. With a ``pattern``, a ``grammar`` or a ``json_schema`` the whole text, frozen words
    included, matches that too.

    Raises ``InvalidInput`` for a template without a slot, or one that the models cannot take.
    """
    from lm_adapters import Matches, Template, TemplateFill, Truncation
    from samplers import InvalidInput

    lm = job.masked_lm()
    lock = Template(lm.space, template)
    if lock.max_length > lm.max_length:
        raise InvalidInput(
            f"{argument('template')} goes to {lock.max_length} tokens, the model takes {lm.max_length}; shorten it"
        )
    matched = given_grammar(pattern, grammar, json_schema)
    following = next_tokens(matched, lm.space, (lock.min_length, lock.max_length))
    exempt = given_tokens(lock, end=not template.rstrip().endswith("]"))
    scored = load_scorer(scorer, lm, job.settings, top_p=top_p, exempt=exempt)
    constraints = [*job.constraints(lm, [frozen_words(template)]), *([Matches(lm.space, matched)] if matched else [])]
    kept = [*scored.constraints, *constraints, *in_nucleus(scored.energy, top_p)]
    x0 = template_starts(lm, lock, job, start_truncation(top_p), [*kept, *scored.readable], following)
    remark_on_language("template", lm.space.decode(x0), scored.lm, lm)
    energy = job.with_custom(lock + scored.terms, lm.space, constraints)
    lengths, scored_by = (lock.min_length, lock.max_length), {"fluency": said(job.named("scorer", scored.model), top_p)}
    problem = Problem(lm.space, energy, x0, {"model": lm, "scorer": scored.lm}, lengths=lengths, scored_by=scored_by)
    given: dict[str, Any] = {
        "lock": lock, "min_length": lengths[0], "max_length": lengths[1], "temperature": job.settings.law_temperature
    }  # fmt: skip
    if sampler == "gibbs":
        kernel = shortlist_kernel(lm, shortlist=shortlist, **given)
    else:
        kernel = edit_kernel(lm, scorer=scored.energy, **given)
    if sampler != "smc":
        return sample_or_search(problem, kernel, sampler, job)
    truncation = Truncation(job.settings.law_temperature)
    begun = TemplateFill(lm, lock, reader=scored.writer, truncation=truncation, constraints=kept)
    return draw_by_smc(problem, begun, kernel, job, particles=particles, populations=populations, moves=moves)


def frozen_words(template: str) -> str:
    """The template without its slots, and without pieces of words beside them."""
    return re.sub(r"\S*\[MASK[^\]]*\]\S*", " ", template)
