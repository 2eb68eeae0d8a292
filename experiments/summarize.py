"""A short sentence for a long one: fluent, close in meaning, within a number of words."""

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
    from torch import Tensor

    from lm_adapters import CausalLM, MaskedLM

__all__ = ["SAMPLERS", "command", "summarize"]

SAMPLERS = ("anneal", "mh")


def summarize(
    text: str,
    *,
    max_words: int,
    sampler: Literal["anneal", "mh"] = "anneal",
    scorer: str | CausalLM | MaskedLM = "causal-en",
    encoder: str | None = None,
    similarity: float = 100.0,
    **shared: Any,
) -> Run:
    """Texts of at most ``max_words`` words, likely by ``exp(-(fluency + similarity * S))``.

    Main arguments
        ``S = -log cos`` of the sentence embeddings of the summary and ``text``; both terms are nats of a sentence.
        Chains start from ``max_words`` neighbouring words of ``text``, each from another place.
    Other arguments
        As for ``paraphrase``. ``shared``: see ``Settings``.
    Raises
        ``InvalidInput`` for a text that is no longer than the summary may be, or that the models cannot take.
    """
    own = {name: value for name, value in locals().items() if name != "shared"}
    from lm_adapters import Similarity, WordLimit
    from lm_adapters.energies.constraints import word_spans
    from samplers import InvalidInput

    if max_words < 1:
        raise InvalidInput(f"--max-words is {max_words}; give at least 1")
    if (count := len(word_spans(text))) <= max_words:
        raise InvalidInput(f"TEXT has {count} words and --max-words is {max_words}; give a smaller number")
    settings = Settings(**shared)
    settings.check_for(sampler)
    config = settings.config("summarize", **own)
    with begun(settings, config) as job:
        lm = settings.masked_lm()
        source, longest = encode_source(lm, text, 1, longer=0, argument="TEXT")
        scored = load_scorer(scorer, lm, settings)
        meaning = load_meaning(encoder, lm, settings)
        terms = WordLimit(lm.space, max_words) + scored.energy + similarity * Similarity(lm.space, meaning, text)
        energy = settings.with_custom(terms, lm.space)
        x0 = _starts(lm, text, max_words, settings.chains, source.shape[1])
        problem = Problem(
            lm.space, energy, x0, in_words(energy), {"model": lm, "scorer": scored.lm, "encoder": meaning}
        )
        kernel = edit_kernel(lm, max_length=longest, swap=True)
        run = run_steps(problem, kernel, sampler, job)
        job.finish(run)
    return run


def _starts(lm: MaskedLM, text: str, max_words: int, chains: int, width: int) -> Tensor:
    from lm_adapters.energies.constraints import word_spans

    words = word_spans(text)
    places = len(words) - max_words + 1
    firsts = (chain % places for chain in range(chains))
    windows = [text[words[i][0] : words[i + max_words - 1][1]] for i in firsts]
    return lm.space.encode(windows, width=width).to(lm.device)


@click.command("summarize")
@click.argument("text")
@click.option("--max-words", type=int, required=True, help="Words that the summary may have.")
@click.option("--sampler", type=click.Choice(SAMPLERS), default="anneal", show_default=True,
              help="anneal: search for the best. mh: draw from the law.")  # fmt: skip
@scorer_option
@click.option("--encoder", help="Model whose sentence embeddings are compared.  [default: --model]")
@click.option("--similarity", type=float, default=100.0, show_default=True, help="Weight of -log cos, nats a sentence.")
@run_options()
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """TEXT in at most so many words: fluent and close in meaning."""
    run = summarize(**options, progress=not quiet)
    show(run, as_json=as_json, quiet=quiet)


if __name__ == "__main__":
    from experiments.cli import run_command

    run_command(command.main)
