"""Speed of the masked-LM kernels beside their floor: the bare forward passes that a step needs, on the same tensors."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import MaskedLM

__all__ = ["Speed", "benchmark", "command"]


@dataclass(frozen=True)
class Speed:
    """Median seconds of a step and of its floor, timed in turn in one process."""

    workload: str
    chains: int
    step: float
    floor: float

    @property
    def chain_steps_per_second(self) -> float:
        return self.chains / self.step

    @property
    def ratio(self) -> float:
        """1 is a sampler that costs nothing besides the model."""
        return self.floor / self.step


def benchmark(
    *, model: str | MaskedLM = "masked-en", chains: tuple[int, ...] = (1, 32, 256), length: int = 9, repeats: int = 7,
    device: str = "cpu", dtype: str = "float32",
) -> list[Speed]:  # fmt: skip
    """Time masked-LM Gibbs and Metropolis-Hastings on the pseudo-log-likelihood, texts of ``length`` tokens."""
    import torch

    from lm_adapters import MaskedLM
    from samplers import Flat, MetropolisHastings, PseudoGibbs

    lm = model if isinstance(model, MaskedLM) else MaskedLM.from_pretrained(model, device, dtype)
    found = []
    with torch.inference_mode():
        for count in chains:
            x = torch.full((count, length), int(lm.allowed.nonzero()[7]), device=lm.device)
            one = torch.zeros_like(x, dtype=torch.bool)
            one[:, length // 2] = True
            copies = x.repeat_interleave(length, dim=0)
            each = torch.eye(length, dtype=torch.bool, device=lm.device).repeat(count, 1)
            work = (
                ("Gibbs, no accept step", PseudoGibbs(lm.gibbs_proposal()), Flat(), x, one),
                ("MH on pll", MetropolisHastings(lm.gibbs_proposal()), lm.energy("pll"), copies, each),
            )
            for name, kernel, energy, rows, hidden in work:
                rng = torch.Generator(lm.device).manual_seed(0)
                state = kernel.init(x, energy)
                step, floor = _in_turn(
                    lambda kernel=kernel, state=state, energy=energy, rng=rng: kernel.step(state, energy, rng),
                    lambda rows=rows, hidden=hidden: _bare_forwards(lm, rows, hidden),
                    repeats,
                )
                found.append(Speed(name, count, step, floor))
    return found


def _bare_forwards(lm: MaskedLM, rows: Tensor, hidden: Tensor) -> None:
    """Encoder on every masked row and head on its masked site, in passes of the model's size."""
    size = max(1, lm.tokens_per_pass // (rows.shape[1] + len(lm.space.prefix) + len(lm.space.suffix)))
    for part, mask in zip(rows.split(size), hidden.split(size), strict=True):
        lm.logits(part, mask)


def _in_turn(first: Callable[[], object], second: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median seconds of each, run alternately so that a machine that slows down slows both."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 2):
        for call, seconds in zip((first, second), times, strict=True):
            began = time.perf_counter()
            call()
            _wait_for_device()
            if turn >= 2:  # the first two warm up
                seconds.append(time.perf_counter() - began)
    return statistics.median(times[0]), statistics.median(times[1])


def _wait_for_device() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


@click.command("benchmark")
@click.option("--model", default="masked-en", show_default=True, help="Embedded model, folder, or hub name.")
@click.option("--length", type=click.IntRange(min=1), default=9, show_default=True, help="Tokens a text.")
@click.option("--repeats", type=click.IntRange(min=3), default=7, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--dtype", default="float32", show_default=True)
def command(model: str, length: int, repeats: int, device: str, dtype: str) -> None:
    """Speed of the masked-LM kernels beside the bare forward passes that they need."""
    click.echo(f"{'workload':<22} {'chains':>6} {'chain-steps/s':>14} {'floor':>9} {'floor/step time':>16}")
    for row in benchmark(model=model, length=length, repeats=repeats, device=device, dtype=dtype):
        click.echo(
            f"{row.workload:<22} {row.chains:>6} {row.chain_steps_per_second:>14,.0f} {row.chains / row.floor:>9,.0f} "
            f"{row.ratio:>16.2f}"
        )
    click.echo("\nfloor: chain-steps/s of the encoder and the head at the masked sites, nothing else; medians.")
