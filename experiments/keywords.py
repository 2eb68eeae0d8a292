"""Sentences that hold given words: the same target by six samplers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import click

from experiments.results.protocol import Run
from experiments.results.terminal import show
from experiments.setup.kernels import edit_kernel, shortlist_kernel
from experiments.setup.options import LENGTH, check_length, run_options, scorer_option, shortlist_option
from experiments.setup.scorers import Scorer, load_scorer
from experiments.setup.settings import Settings
from experiments.setup.solve import Job, Problem, begun, in_words, run_importance, run_rejection, run_steps

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import CausalLM, KeywordFill, MaskedLM, SequenceDistribution
    from samplers import Energy, Kernel

__all__ = ["SAMPLERS", "command", "keywords"]

SAMPLERS = ("mh", "gibbs", "anneal", "tempered", "rejection", "importance")
TRIES = 10  # texts drawn for each chain to start from one of them
BETAS = (1.0, 0.8, 0.65, 0.5)  # the ladder of the tempered sampler


def keywords(
    words: Sequence[str],
    *,
    any_order: bool = False,
    sampler: Literal["mh", "gibbs", "anneal", "tempered", "rejection", "importance"] = "mh",
    scorer: str | CausalLM | MaskedLM = "causal-en",
    length: tuple[int, int] = (3, 16),
    shortlist: int = 64,
    **shared: Any,
) -> Run:
    """Texts with law ``exp(-fluency)`` among those that contain ``words``.

    Main arguments
        ``words`` or phrases, in this order unless ``any_order``; a word given twice must come twice. ``length``:
        bounds on the tokens of a text. ``scorer``: the language model whose ``-log p`` is the fluency.
    Other arguments
        ``shortlist``: candidates that ``sampler="gibbs"`` scores at a site. ``shared``: see ``Settings``.
    Raises
        ``InvalidInput`` for words that the tokenizer cannot spell or that do not fit, before a scorer is loaded.
    """
    own = {name: value for name, value in locals().items() if name != "shared"}
    from lm_adapters import KeywordFill, Keywords, check_compatible

    settings = Settings(**shared)
    settings.check_for(sampler)
    config = settings.config("keywords", **{**own, "words": list(words)})
    with begun(settings, config) as job:
        lm = settings.masked_lm()
        check_length(length, lm)
        lock = Keywords(lm.space, words, any_order=any_order)
        check_compatible(words, lock.min_length, forbidden=settings.forbid, max_length=length[1])
        given = settings.forbidden(lm.space)
        fill = KeywordFill(lm, lock, min_length=length[0], max_length=length[1], given=given)
        scored = load_scorer(scorer, lm, settings)
        energy = settings.with_custom(lock + scored.energy, lm.space)
        x0 = _starts(fill, energy, settings, tries=1 if sampler in ("rejection", "importance") else TRIES)
        problem = Problem(lm.space, energy, x0, in_words(energy), {"model": lm, "scorer": scored.lm})
        run = _solve(problem, sampler, fill, scored, shortlist, job)
        job.finish(run)
    return run


def _starts(fill: KeywordFill, energy: Energy, settings: Settings, tries: int) -> Tensor:
    """``int64 [chains, width]``: for each chain one of ``tries`` texts of its own, drawn by its importance weight.

    Near the target, so that less is left to burn in, and still apart from each other, as R-hat wants them.
    """
    import torch

    from samplers import evaluate, generator
    from samplers.energy.nan_policy import NaNCount, tolerant
    from samplers.randomness import categorical

    if settings.nan == "reject":
        energy = tolerant(energy, NaNCount())
    # Beyond the shards of the run itself, which take theirs from 0 on.
    rng = generator(settings.seed, shard=settings.chains, device=fill.model.device)
    with torch.inference_mode(), fill.model.space.texts_in_errors():
        x = fill.draw(settings.chains * tries, rng)
        log_weight = -evaluate(energy, x).energy - fill.log_prob(x)
        # Where a custom energy forbids every try, any of them.
        log_weight = log_weight.clamp(min=torch.finfo(torch.float64).min).reshape(settings.chains, tries)
        chosen = categorical(log_weight, rng)
        return x.reshape(settings.chains, tries, -1)[torch.arange(settings.chains, device=x.device), chosen]


def _solve(
    problem: Problem,
    sampler: str,
    fill: KeywordFill,
    scored: Scorer,
    shortlist: int,
    job: Job,
) -> Run:
    from samplers import Tempered

    if sampler == "importance":
        return run_importance(problem, fill, job)
    if sampler == "rejection":
        return run_rejection(problem, _itself(scored, fill), job, log_bound=0.0)
    bounds = {"lock": fill.lock, "min_length": fill.min_length, "max_length": fill.max_length}
    if sampler == "gibbs":
        kernel: Kernel = shortlist_kernel(fill.model, shortlist=shortlist, **bounds)
    else:
        kernel = edit_kernel(fill.model, swap=fill.lock.any_order, scorer=scored.energy, **bounds)
    return run_steps(problem, Tempered(kernel, BETAS) if sampler == "tempered" else kernel, sampler, job)


def _itself(scored: Scorer, fill: KeywordFill) -> SequenceDistribution:
    """The scorer as its own proposal: what it draws it scores with the same density or less, so the bound is 0."""
    from lm_adapters import CausalLM, SequenceDistribution
    from samplers import InvalidInput

    if (
        not isinstance(scored.lm, CausalLM)
        or scored.lm.space.tokenizer.get_vocab() != fill.model.space.tokenizer.get_vocab()
    ):
        raise InvalidInput("--sampler rejection draws from the scorer: give a causal one with the tokenizer of --model")
    return SequenceDistribution(scored.lm.condition_on(), min_length=fill.min_length, max_length=fill.max_length)


@click.command("keywords")
@click.argument("words", nargs=-1, required=True, metavar="WORD...")
@click.option("--any-order", is_flag=True, help="The words may come in any order.")
@click.option("--sampler", type=click.Choice(SAMPLERS), default="mh", show_default=True,
              help="mh, gibbs, tempered: Markov chains. anneal: search for the best. rejection, importance: draw whole "
              "texts.")  # fmt: skip
@scorer_option
@click.option("--length", type=LENGTH, default="3:16", show_default=True, help="Tokens a text: N or LOW:HIGH.")
@shortlist_option
@run_options(steps=800, burn_in=400)
def command(words: tuple[str, ...], as_json: bool, quiet: bool, **options: Any) -> None:
    """Sentences that contain the given WORDs (or quoted phrases), likely under a language model."""
    run = keywords(words, **options, progress=not quiet)
    show(run, as_json=as_json, quiet=quiet)


if __name__ == "__main__":
    from experiments.cli import run_command

    run_command(command.main)
