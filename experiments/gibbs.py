"""Unconditional text from a masked language model, with or without the Metropolis-Hastings correction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from experiments.results.terminal import show
from experiments.setup.options import LENGTH, check_length, run_options
from experiments.setup.settings import Settings
from experiments.setup.solve import Problem, begun, in_words, run_chains
from experiments.setup.sources import encode_source

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.results.text_run import TextRun
    from lm_adapters import GibbsProposal, MaskedLM, Truncation
    from samplers import Kernel

__all__ = ["command", "gibbs"]

NO_TARGET = "none known (masked-LM conditionals, always accepted)"


def gibbs(
    *,
    length: tuple[int, int] = (6, 12),
    init: str | None = None,
    scan: Literal["random", "systematic"] = "random",
    block: int = 1,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    correct: Literal["none", "mh"] = "mh",
    energy_kind: Literal["raw", "pll"] = "pll",
    **shared: Any,
) -> TextRun:
    """Sample texts of fixed lengths.

    Main arguments
        ``length``: chains are spread evenly over this range of token counts and keep theirs (each length is a
        distribution of its own). They start from ``init``, or from masks filled from left to right by the model.
        ``correct="mh"``: the law is ``exp(-E)``, ``E`` the ``energy_kind`` plus weighted ``energies``, exactly.
        ``correct="none"``: proposals are always taken; no known target.
    Other arguments
        ``block`` sites are redrawn together, with ``temperature``, ``top_k`` and ``top_p`` in the proposal only.
        ``shared``: see ``Settings``.
    Raises
        ``InvalidInput`` before the model is loaded where possible; ``EnergyError`` with the text at fault.
    """
    own = {name: value for name, value in locals().items() if name != "shared"}
    from lm_adapters import Truncation
    from samplers import Flat, InvalidInput

    try:
        truncation = Truncation(temperature, top_k, top_p)
    except InvalidInput as error:
        raise InvalidInput(f"--{str(error).replace('_', '-', 1)}") from error
    settings = Settings(**shared)
    settings.check_for()
    if (settings.energies or settings.forbid or settings.nan == "reject") and correct == "none":
        raise InvalidInput(
            "--energy, --forbid and --nan reject need an accept step to have an effect; use --correct mh with them"
        )
    config = settings.config("gibbs", **own)
    with begun(settings, config) as job:
        lm = settings.masked_lm()
        proposal = lm.gibbs_proposal(block, truncation=truncation)
        x0 = start_states(lm, truncation, settings, init=init, length=length)
        scored = settings.with_custom(lm.energy(energy_kind), lm.space)
        kernel = scanning(proposal, scan, x0.shape[1], corrected=correct == "mh")
        if correct == "mh":
            reached = " among the texts that the truncated proposal reaches" if truncation.cuts else ""
            problem = Problem(lm.space, scored, x0, in_words(scored, f" at each length{reached}"), {"model": lm})
            run = run_chains(problem, kernel, job, fixed_lengths=True)
        else:
            problem = Problem(lm.space, Flat(), x0, NO_TARGET, {"model": lm})
            run = run_chains(problem, kernel, job, fixed_lengths=True, watched=scored)
        job.finish(run)
    return run


def start_states(
    lm: MaskedLM, truncation: Truncation, settings: Settings, *, init: str | None, length: tuple[int, int]
) -> Tensor:
    """``int64 [chains, width]`` start texts: ``init`` for all, or masks filled by the model."""
    import torch

    from lm_adapters import fill_masks
    from samplers import generator

    if init is not None:
        return encode_source(lm, init, settings.chains, longer=0, argument="--init")[0]
    check_length(length, lm)
    low, high = length
    spread = low + torch.arange(settings.chains) % (high - low + 1)
    # Beyond the shards of the run itself, which take theirs from 0 on.
    rng = generator(settings.seed, shard=settings.chains, device=lm.device)
    with torch.inference_mode():
        masks, given = lm.space.masks(spread).to(lm.device), settings.forbidden(lm.space)
        return fill_masks(lm, masks, rng, truncation=truncation, given=given)


def scanning(proposal: GibbsProposal, scan: str, width: int, *, corrected: bool) -> Kernel:
    from samplers import Cycle, MetropolisHastings, PseudoGibbs

    make = MetropolisHastings if corrected else PseudoGibbs
    if scan == "random":
        return make(proposal)
    return Cycle([make(turn) for turn in proposal.scan(width)])


@click.command("gibbs")
@click.option("--length", type=LENGTH, default="6:12", show_default=True, help="Tokens a text: N or LOW:HIGH.")
@click.option("--init", metavar="TEXT", help="Start every chain from this text instead of from masks.")
@click.option("--scan", type=click.Choice(["random", "systematic"]), default="random", show_default=True)
@click.option("--block", type=click.IntRange(min=1), default=1, show_default=True, help="Sites redrawn together.")
@click.option("--temperature", type=float, default=1.0, show_default=True, help="Of the proposal.")
@click.option("--top-k", type=int, help="Propose among the k likeliest tokens only.")
@click.option("--top-p", type=float, default=1.0, show_default=True, help="Propose within this nucleus only.")
@click.option(
    "--correct",
    type=click.Choice(["none", "mh"]),
    default="mh",
    show_default=True,
    help="mh: Metropolis-Hastings on the energy, exact, and its texts read clearly better. none: always accept; "
    "length times faster, but no known target.",
)
@click.option("--energy-kind", type=click.Choice(["raw", "pll"]), default="pll", show_default=True,
              help="Target of mh: pseudo-log-likelihood, or sum of logits.")  # fmt: skip
@run_options()
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Unconditional text from a masked language model."""
    run = gibbs(**options, progress=not quiet)
    show(run, as_json=as_json, quiet=quiet)


if __name__ == "__main__":
    from experiments.cli import run_command

    run_command(command.main)
