"""Other words for a sentence: fluent, close in meaning, far in wording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from experiments.results.protocol import Run
from experiments.results.terminal import show
from experiments.setup.kernels import edit_kernel
from experiments.setup.options import run_options, scorer_option
from experiments.setup.scorers import load_meaning, load_scorer
from experiments.setup.settings import Settings
from experiments.setup.solve import Problem, begun, in_words, run_steps
from experiments.setup.sources import encode_source

if TYPE_CHECKING:
    from lm_adapters import CausalLM, MaskedLM

__all__ = ["SAMPLERS", "command", "paraphrase"]

SAMPLERS = ("anneal", "mh")
LONGER = 4  # tokens that a paraphrase may have more than its source


def paraphrase(
    text: str,
    *,
    sampler: Literal["anneal", "mh"] = "anneal",
    scorer: str | CausalLM | MaskedLM = "causal-en",
    encoder: str | None = None,
    similarity: float = 100.0,
    distance: float = 2.0,
    **shared: Any,
) -> Run:
    """Texts made likely by ``exp(-(fluency + similarity * S + distance * D))``, started from ``text``.

    Main arguments
        ``S = -log cos`` of the sentence embeddings, ``D = -log(1.01 - BLEU)`` against ``text``: 4.6 nats for a copy.
        All three are nats of a sentence, not of a token, so the weights mean the same for short and long texts, and a
        temperature of 1 is the law as written. ``sampler="anneal"`` gives the best text of each chain, ``"mh"`` draws.
    Other arguments
        ``scorer``: the language model whose ``-log p`` is the fluency. ``encoder``: the model whose embeddings are
        compared; by default the one that proposes. ``shared``: see ``Settings``.
    Raises
        ``InvalidInput`` for a text that the models cannot take.
    """
    own = {name: value for name, value in locals().items() if name != "shared"}
    from lm_adapters import Similarity, SourceBleu

    settings = Settings(**shared)
    settings.check_for(sampler)
    config = settings.config("paraphrase", **own)
    with begun(settings, config) as job:
        lm = settings.masked_lm()
        source, longest = encode_source(lm, text, settings.chains, longer=LONGER, argument="TEXT")
        scored = load_scorer(scorer, lm, settings)
        meaning = load_meaning(encoder, lm, settings)
        terms = scored.energy + similarity * Similarity(lm.space, meaning, text)
        terms = terms + distance * SourceBleu(lm.space, text)
        energy = settings.with_custom(terms, lm.space)
        problem = Problem(
            lm.space, energy, source, in_words(energy), {"model": lm, "scorer": scored.lm, "encoder": meaning}
        )
        kernel = edit_kernel(lm, max_length=longest, swap=True)
        run = run_steps(problem, kernel, sampler, job)
        job.finish(run)
    return run


@click.command("paraphrase")
@click.argument("text")
@click.option("--sampler", type=click.Choice(SAMPLERS), default="anneal", show_default=True,
              help="anneal: search for the best. mh: draw from the law.")  # fmt: skip
@scorer_option
@click.option("--encoder", help="Model whose sentence embeddings are compared.  [default: --model]")
@click.option("--similarity", type=float, default=100.0, show_default=True, help="Weight of -log cos, nats a sentence.")
@click.option("--distance", type=float, default=2.0, show_default=True, help="Weight of -log(1.01 - BLEU to TEXT).")
@run_options()
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Other words for TEXT: fluent, close in meaning, far in wording."""
    run = paraphrase(**options, progress=not quiet)
    show(run, as_json=as_json, quiet=quiet)


if __name__ == "__main__":
    from experiments.cli import run_command

    run_command(command.main)
