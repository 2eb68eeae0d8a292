"""Blanks in a sentence filled jointly: each word in the light of the others, and as many words as fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from experiments.results.protocol import Run
from experiments.results.terminal import show
from experiments.setup.kernels import edit_kernel, shortlist_kernel
from experiments.setup.options import run_options, scorer_option, shortlist_option
from experiments.setup.scorers import load_scorer
from experiments.setup.settings import Settings
from experiments.setup.solve import Problem, begun, in_words, run_steps

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import CausalLM, MaskedLM, Template

__all__ = ["SAMPLERS", "command", "infill"]

SAMPLERS = ("mh", "gibbs", "anneal")


def infill(
    template: str,
    *,
    sampler: Literal["mh", "gibbs", "anneal"] = "mh",
    scorer: str | CausalLM | MaskedLM = "causal-en",
    shortlist: int = 64,
    **shared: Any,
) -> Run:
    """Texts with law ``exp(-fluency)`` among those that fit ``template``.

    Main arguments
        ``template``: a text with slots; ``[MASK]`` is one token, ``[MASK:2]`` two, ``[MASK:1-4]`` one to four. The
        rest is frozen. ``scorer``: the language model whose ``-log p`` of the whole text is the fluency.
    Other arguments
        ``shortlist``: candidates that ``sampler="gibbs"`` scores at a site. ``shared``: see ``Settings``.
    Raises
        ``InvalidInput`` for a template without a slot, or one that the models cannot take.
    """
    own = {name: value for name, value in locals().items() if name != "shared"}
    from lm_adapters import Template
    from samplers import InvalidInput

    settings = Settings(**shared)
    settings.check_for(sampler)
    config = settings.config("infill", **own)
    with begun(settings, config) as job:
        lm = settings.masked_lm()
        lock = Template(lm.space, template)
        if lock.max_length > lm.max_length:
            raise InvalidInput(
                f"TEMPLATE goes to {lock.max_length} tokens, the model takes {lm.max_length}; shorten it"
            )
        x0 = _starts(lm, lock, settings)
        scored = load_scorer(scorer, lm, settings)
        energy = settings.with_custom(lock + scored.energy, lm.space)
        problem = Problem(lm.space, energy, x0, in_words(energy), {"model": lm, "scorer": scored.lm})
        bounds: dict[str, Any] = {"lock": lock, "min_length": lock.min_length, "max_length": lock.max_length}
        kernel = (
            shortlist_kernel(lm, shortlist=shortlist, **bounds) if sampler == "gibbs" else edit_kernel(lm, **bounds)
        )
        run = run_steps(problem, kernel, sampler, job)
        job.finish(run)
    return run


def _starts(lm: MaskedLM, lock: Template, settings: Settings) -> Tensor:
    """Slots of lengths drawn uniformly, filled from left to right by the masked model."""
    import torch

    from lm_adapters import fill_masks
    from samplers import generator

    # Beyond the shards of the run itself, which take theirs from 0 on.
    rng = generator(settings.seed, shard=settings.chains, device=lm.device)
    counts = [
        [int(torch.randint(fewest, most + 1, (), generator=rng, device=lm.device)) for fewest, most in lock.slots]
        for _ in range(settings.chains)
    ]
    masks = lock.masks(counts, width=lock.max_length).to(lm.device)
    with torch.inference_mode():
        return fill_masks(lm, masks, rng, given=[lock, *settings.forbidden(lm.space)])


@click.command("infill")
@click.argument("template")
@click.option("--sampler", type=click.Choice(SAMPLERS), default="mh", show_default=True,
              help="mh, gibbs: Markov chains. anneal: search for the best.")  # fmt: skip
@scorer_option
@shortlist_option
@run_options()
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Fill the slots of TEMPLATE jointly: "The [MASK] sat on the [MASK:1-4]." """
    run = infill(**options, progress=not quiet)
    show(run, as_json=as_json, quiet=quiet)


if __name__ == "__main__":
    from experiments.cli import run_command

    run_command(command.main)
