"""Unconditional text from a masked language model, with or without the Metropolis-Hastings correction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import click

from experiments.custom_energy import CustomEnergy, load_custom_energies
from experiments.options import LENGTH, check_counts, run_options
from experiments.report import TextRun, print_run
from experiments.run_directory import RunDirectory, default_directory, json_line

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import GibbsProposal, MaskedLM, Truncation
    from samplers import Energy, Kernel

__all__ = ["command", "gibbs"]

NO_TARGET = "none known (masked-LM conditionals, always accepted)"


def gibbs(
    *,
    model: str | MaskedLM = "masked-en",
    length: tuple[int, int] = (6, 12),
    init: str | None = None,
    chains: int = 10,
    steps: int = 300,
    burn_in: int = 100,
    thin: int = 4,
    scan: Literal["random", "systematic"] = "random",
    block: int = 1,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    correct: Literal["none", "mh"] = "mh",
    energy_kind: Literal["raw", "pll"] = "pll",
    energies: Sequence[str | CustomEnergy] = (),
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "float32",
    out: str | None = None,
    progress: bool = False,
) -> TextRun:
    """Sample texts of fixed lengths.

    Main arguments
        ``length``: chains are spread evenly over this range of token counts and keep theirs (each length is a
        distribution of its own). They start from ``init``, or from masks filled from left to right by the model.
        ``correct="mh"``: the law is ``exp(-E)``, ``E`` the ``energy_kind`` plus weighted ``energies``, exactly.
        ``correct="none"``: proposals are always taken; no known target.
    Other arguments
        ``block`` sites are redrawn together, with ``temperature``, ``top_k`` and ``top_p`` in the proposal only.
        ``out``: folder for the run's files.
    Raises
        ``InvalidInput`` before the model is loaded where possible; ``EnergyError`` with the text at fault.
    """
    settings = {name: value for name, value in locals().items() if name not in ("model", "energies", "progress")}
    from lm_adapters import MaskedLM, Truncation, check_device
    from samplers import Flat, InvalidInput, sample

    check_counts(chains=chains, steps=steps, burn_in=burn_in, thin=thin)
    try:
        truncation = Truncation(temperature, top_k, top_p)
    except InvalidInput as error:
        raise InvalidInput(f"--{str(error).replace('_', '-', 1)}") from error
    custom = load_custom_energies(energies)
    if custom and correct == "none":
        raise InvalidInput("--energy needs an accept step to have an effect; use --correct mh with it")
    check_device(device)
    directory = RunDirectory(out) if out else None
    lm = model if isinstance(model, MaskedLM) else MaskedLM.from_pretrained(model, device, dtype)
    config = {
        "experiment": "gibbs",
        "model": model if isinstance(model, str) else type(model.model).__name__,
        "energies": [energy.spec for energy in custom],
        **settings,
    }
    if directory:
        directory.begin(config)
    proposal = lm.gibbs_proposal(block, truncation=truncation)
    with lm.space.texts_in_errors():
        x0 = start_states(lm, proposal, init=init, length=length, chains=chains, seed=seed)
        scored: Energy = lm.energy(energy_kind)
        for energy in custom:
            scored = scored + energy.term(lm.space)
        kernel = scanning(proposal, scan, x0.shape[1], corrected=correct == "mh")
        began = time.monotonic()
        trace = sample(
            kernel,
            scored if correct == "mh" else Flat(),
            x0,
            steps=steps,
            warmup=burn_in,
            thin=thin,
            seed=seed,
            progress=progress,
        )
        seconds = time.monotonic() - began
        if correct == "none":
            trace = trace.rescored(scored)
    run = TextRun(config, target_in_words(correct, scored, truncation), correct == "mh", lm.space, trace, seconds)
    if directory:
        directory.finish(run.samples(), run.summary())
    return run


def start_states(
    lm: MaskedLM, proposal: GibbsProposal, *, init: str | None, length: tuple[int, int], chains: int, seed: int
) -> Tensor:
    """``int64 [chains, width]`` start texts: ``init`` for all, or one draw of the model a chain, filled left to right.

    A state that holds a mask token is outside every target, so masks are filled before the first step.
    """
    import torch

    from samplers import Cycle, Flat, InvalidInput, PseudoGibbs, generator, iterate

    if init is not None:
        try:
            x0 = lm.space.encode([init] * chains).to(lm.device)
        except InvalidInput as error:
            raise InvalidInput(f"--init: {error}") from error
        if x0.shape[1] > lm.max_length:
            raise InvalidInput(f"--init has {x0.shape[1]} tokens, the model takes {lm.max_length}; shorten it")
        stuck = x0[0][~lm.allowed[x0[0]]].tolist()
        if stuck:
            names = lm.space.tokenizer.convert_ids_to_tokens(stuck)
            raise InvalidInput(
                f"--init holds the tokens {names}, which no step could ever change; use other characters"
            )
        return x0
    low, high = length
    if high > lm.max_length:
        raise InvalidInput(f"--length goes to {high} tokens, the model takes {lm.max_length}; give at most that")
    spread = low + torch.arange(chains) % (high - low + 1)
    masks = lm.space.masks(spread).to(lm.device)
    fill = Cycle([PseudoGibbs(turn) for turn in proposal.scan(masks.shape[1])])
    rng = generator(seed, shard=chains, device=lm.device)  # beyond the shards of the run itself
    *_, (_, state, _) = iterate(fill, Flat(), masks, steps=len(fill.parts), rng=rng)
    return state.x


def scanning(proposal: GibbsProposal, scan: str, width: int, *, corrected: bool) -> Kernel:
    from samplers import Cycle, MetropolisHastings, PseudoGibbs

    make = MetropolisHastings if corrected else PseudoGibbs
    if scan == "random":
        return make(proposal)
    return Cycle([make(turn) for turn in proposal.scan(width)])


def target_in_words(correct: str, energy: Energy, truncation: Truncation) -> str:
    from samplers import WeightedSum, term_names

    if correct == "none":
        return NO_TARGET
    reached = " among the texts that the truncated proposal reaches" if truncation.cuts else ""
    if not isinstance(energy, WeightedSum):
        return f"exp(-{term_names(energy)[0]}) at each length{reached}"
    terms = [part.name if weight == 1 else f"{weight:g} {part.name}" for weight, part in energy.parts]
    return f"exp(-({' + '.join(terms)})) at each length{reached}"


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
@run_options
def command(as_json: bool, quiet: bool, out: str | None, **options: object) -> None:
    """Unconditional text from a masked language model."""
    out = out or default_directory("gibbs")
    run = gibbs(**options, out=out, progress=not quiet)  # type: ignore[arg-type]
    if as_json:
        for line in run.samples():
            click.echo(json_line(line))
    elif not quiet:
        print_run(run, run.summary(), out)


if __name__ == "__main__":
    from experiments.cli import run_command

    run_command(command.main)
