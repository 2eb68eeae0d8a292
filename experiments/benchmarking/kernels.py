"""Every kernel on three tasks: effective draws a million tokens and a second.

A token is a site of a state that an energy reads, or a token that a model does. Of a law with hidden classes each class
is a reading; a gradient counts as three. All kernels of a task start from the same states, which a long run has drawn.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.distributions import Categorical, Independent
from torch.nn.functional import one_hot

from experiments.benchmarking.models import Models
from experiments.results.cost import counted
from experiments.results.figures import number
from lm_adapters import (
    BlockwiseEnergy,
    GibbsProposal,
    MaskedLM,
    RescoredReplace,
    SequenceEnergy,
    Template,
    Truncation,
    fill_masks,
)
from samplers import (
    ConditionalSMC,
    Cycle,
    DelayedAcceptance,
    Distribution,
    Energy,
    Gibbs,
    GradientProposal,
    Kernel,
    LocallyInformed,
    MetropolisHastings,
    Mixture,
    MultipleTry,
    PathTempered,
    Proposed,
    PseudoMarginal,
    SingleSiteChanges,
    Tempered,
    diagnose,
    generator,
    sample,
)

__all__ = ["HEAD", "KernelLine", "kernel_lines", "kernel_row"]

SITES, CHAINS, STEPS, GRADIENT = 16, 32, 2000, 3
CLASSES, VALUES = 64, 6
TEXT_SLOTS, TEXT_HEAT, TEXT_CHAINS, TEXT_STEPS = "Tom [MASK] the [MASK].", 1.5, 8, 800
COLUMNS = (
    ("task", "<10"), ("kernel", "<22"), ("steps", ">5"), ("changed", ">7"), ("tokens", ">8"),
    ("ESS", ">7"), ("R-hat", ">6"), ("ESS/M", ">8"), ("ESS/s", ">7"),
)  # fmt: skip
HEAD = "  ".join(format(name, spec) for name, spec in COLUMNS).rstrip()


class Meter(Protocol):
    tokens: int


@dataclass
class Sites:
    """Sites that toy energies have read."""

    tokens: int = 0

    def of(self, function: Callable[..., Tensor], each: int = 1) -> Callable[..., Tensor]:
        """``function``, each of whose rows is ``each`` readings of a state."""

        def metered(x: Tensor, *more: Tensor) -> Tensor:
            found = function(x, *more)
            self.tokens += each * found.numel() * SITES
            return found

        return metered

    @contextmanager
    def metering(self) -> Iterator[Meter]:
        self.tokens = 0
        yield self


@dataclass
class KernelTask:
    """``kernels`` by name, each with its energy and its steps. ``law`` is what the ESS is of; it is not metered."""

    name: str
    law: Energy
    x0: Tensor
    metering: Callable[[], AbstractContextManager[Meter]]
    kernels: dict[str, tuple[Kernel, Energy, int]]


@dataclass
class KernelLine:
    """``tokens`` of a step of one chain."""

    task: str
    kernel: str
    steps: int
    changed: float
    tokens: float
    ess: float
    r_hat: float
    ess_per_million_tokens: float
    ess_per_second: float


class AnySite:
    """One site, another value: all changes alike."""

    move_names = ("site",)

    def __init__(self, values: int) -> None:
        self.values = values

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        site = torch.randint(x.shape[1], (len(x), 1), generator=rng)
        step = torch.randint(1, self.values, (len(x), 1), generator=rng)
        new = x.scatter(1, site, (x.gather(1, site) + step) % self.values)
        return Proposed(new, self.log_prob(new, x), self.log_prob(x, new))

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        each = torch.full((len(x_to),), -math.log(x_to.shape[1] * (self.values - 1)), dtype=torch.float64)
        return each.masked_fill((x_to != x_from).sum(dim=1) != 1, -math.inf)


class LikeliestChanges:
    """Texts that differ at one of ``sites``, with one of the ``k`` tokens there that a masked model finds likeliest."""

    def __init__(self, lm: MaskedLM, k: int, sites: Tensor) -> None:
        self.shortlist, self.sites = RescoredReplace(lm, k).shortlist, sites

    def __call__(self, x: Tensor) -> Tensor:
        rows, site = x.repeat_interleave(len(self.sites), dim=0), self.sites.repeat(len(x))
        values = self.shortlist(rows, site)
        new = rows.unsqueeze(1).repeat(1, values.shape[1], 1)
        new.scatter_(2, site.reshape(-1, 1, 1).expand(-1, values.shape[1], 1), values.unsqueeze(2))
        return new.reshape(len(x), -1, x.shape[1])


def kernel_lines(models: Models | None, *, seed: int = 0) -> Iterator[KernelLine]:
    """All kernels on all tasks; the text task needs ``models``."""
    for task in (lattice, hidden) if models is None else (lattice, hidden, lambda seed: text(models, seed)):
        built = task(seed)
        for name, (kernel, energy, steps) in built.kernels.items():
            yield measure(built, name, kernel, energy, steps, seed)


def measure(task: KernelTask, name: str, kernel: Kernel, energy: Energy, steps: int, seed: int) -> KernelLine:
    chains = len(task.x0)
    began = time.process_time()
    with task.metering() as meter:
        trace = sample(kernel, energy, task.x0, steps=steps, seed=seed, shard_size=chains, progress=False)
    seconds, tokens = time.process_time() - began, meter.tokens
    energies = torch.cat([task.law(part) for part in trace.draws.flatten(0, 1).split(4096)]).reshape(chains, steps)
    found = diagnose(energies)
    rates = 1e6 * found.ess_bulk / tokens, found.ess_bulk / seconds
    return KernelLine(
        task.name, name, steps, trace.changed, tokens / chains / steps, found.ess_bulk, found.r_hat, *rates
    )


def kernel_row(line: KernelLine) -> str:
    values = asdict(line)
    cells = (
        line.task, line.kernel, f"{line.steps}", f"{line.changed:.0%}", f"{line.tokens:,.0f}",
        number(line.ess, ",.0f"), number(line.r_hat, ".2f"),
        *(number(values[f"ess_per_{unit}"], ",.0f" if values[f"ess_per_{unit}"] >= 10 else ".2g")
          for unit in ("million_tokens", "second")),
    )  # fmt: skip
    return "  ".join(format(cell, spec) for cell, (_, spec) in zip(cells, COLUMNS, strict=True)).rstrip()


def lattice(seed: int) -> KernelTask:
    """A ring of sites whose neighbours attract and repel each other strongly: most changes are bad."""
    rng, meter = generator(seed, stream="lattice"), Sites()
    unary = 0.5 * torch.randn(SITES, VALUES, dtype=torch.float64, generator=rng)
    pairs = torch.randn(SITES, VALUES, VALUES, dtype=torch.float64, generator=rng)

    def relaxed(inputs: Tensor) -> Tensor:
        beside = torch.einsum("csv,svw->csw", inputs, pairs) * inputs.roll(-1, dims=1)
        return (inputs * unary + beside).sum(dim=(1, 2))

    def law(x: Tensor) -> Tensor:
        site = torch.arange(SITES)
        return (unary[site, x] + pairs[site, x, x.roll(-1, dims=1)]).sum(dim=1)

    return _toy("lattice", law, relaxed, meter, Independent(Categorical(logits=-unary), 1), each=1, seed=seed)


def hidden(seed: int) -> KernelTask:
    """A law that is the mean over hidden classes: the exact energy reads every class, an estimate a few."""
    rng, meter = generator(seed, stream="hidden"), Sites()
    base = 0.8 * torch.randn(SITES, VALUES, dtype=torch.float64, generator=rng)
    spread = 0.35 * torch.randn(CLASSES, SITES, VALUES, dtype=torch.float64, generator=rng)
    log_p, mean = (base + spread).log_softmax(dim=2), base.log_softmax(dim=1)

    def relaxed(inputs: Tensor) -> Tensor:
        return -(inputs.flatten(1) @ log_p.flatten(1).T).logsumexp(dim=1)

    def law(x: Tensor) -> Tensor:
        return relaxed(one_hot(x, VALUES).double())

    def average(x: Tensor) -> Tensor:
        return -mean[torch.arange(SITES), x].sum(dim=1)

    def of_classes(x: Tensor, noise: Tensor) -> Tensor:
        drawn = (torch.special.ndtr(noise[..., 0]) * CLASSES).long().clamp(max=CLASSES - 1)
        each = log_p[drawn.unsqueeze(2), torch.arange(SITES), x.unsqueeze(1)].sum(dim=2)
        return -each - average(x).unsqueeze(1)

    task = _toy("hidden", law, relaxed, meter, Independent(Categorical(logits=base), 1), each=CLASSES, seed=seed)
    cheap, estimate, single = meter.of(average), meter.of(of_classes), MetropolisHastings(AnySite(VALUES))
    delayed = DelayedAcceptance(cheap, single)
    task.kernels["DelayedAcceptance"] = (delayed, task.kernels["MetropolisHastings"][1], STEPS)
    for samples in (1, 4, 16):
        name = f"PseudoMarginal, {samples}"
        task.kernels[name] = (PseudoMarginal(estimate, single, samples=samples), cheap, STEPS)
    return task


def _toy(
    name: str,
    law: Callable[[Tensor], Tensor],
    relaxed: Callable[[Tensor], Tensor],
    meter: Sites,
    distribution: Distribution,
    *,
    each: int,
    seed: int,
) -> KernelTask:
    """The kernels that need no more than an energy; a row of it is ``each`` readings."""
    energy, single, whole = meter.of(law, each), MetropolisHastings(AnySite(VALUES)), Gibbs(VALUES)
    informed = GradientProposal(meter.of(relaxed, each * GRADIENT), VALUES)
    starts = torch.randint(VALUES, (CHAINS, SITES), generator=generator(seed, stream="starts"))
    x0 = sample(whole, law, starts, steps=600, warmup=599, seed=seed, progress=False).draws[:, -1]
    kernels: dict[str, tuple[Kernel, int]] = {
        "MetropolisHastings": (single, STEPS),
        "Gibbs": (whole, STEPS),
        "MultipleTry, 4": (MultipleTry(AnySite(VALUES), tries=4), STEPS),
        "LocallyInformed": (LocallyInformed(SingleSiteChanges(VALUES)), STEPS // 5),
        "GradientProposal": (MetropolisHastings(informed), STEPS),
        "Mixture": (Mixture([(single, 0.5), (whole, 0.5)]), STEPS),
        "Cycle": (Cycle([single, whole]), STEPS),
        "Tempered": (Tempered(single, [1.0, 0.6]), STEPS),
        "PathTempered": (PathTempered(single, distribution, (0.5, 1.0)), STEPS),
        "ConditionalSMC": (ConditionalSMC(distribution, single, num_particles=8, temperatures=(0.5, 1.0)), STEPS // 12),
    }
    steps = {key: (kernel, energy, count) for key, (kernel, count) in kernels.items()}
    return KernelTask(name, law, x0, meter.metering, steps)


def text(models: Models, seed: int) -> KernelTask:
    """Two words of a sentence, of which the causal model is the law and the masked one proposes one at a time."""
    lm, cool = models.masked, 1 / TEXT_HEAT
    lock, proposal = Template(lm.space, TEXT_SLOTS), Truncation(TEXT_HEAT)
    energy: Energy = lock + cool * SequenceEnergy(models.causal.condition_on())
    one = GibbsProposal(lm, lock=lock, truncation=proposal)
    single, rescored = MetropolisHastings(one), RescoredReplace(lm, 64, lock=lock)
    masks = lock.masks([[1] * len(lock.slots)] * TEXT_CHAINS)
    starts = fill_masks(lm, masks, generator(seed, stream="starts"), truncation=Truncation())
    x0 = sample(single, energy, starts, steps=TEXT_STEPS, warmup=TEXT_STEPS - 1, seed=seed, progress=False).draws[:, -1]
    near = LikeliestChanges(lm, 32, (masks[0] == lm.mask_id).nonzero().squeeze(1))
    kernels: dict[str, tuple[Kernel, int]] = {
        "MetropolisHastings": (single, TEXT_STEPS),
        "ShortlistGibbs, 64": (rescored, TEXT_STEPS // 8),
        "MultipleTry, 4": (MultipleTry(one, tries=4), TEXT_STEPS // 4),
        "LocallyInformed, 32": (LocallyInformed(near), TEXT_STEPS // 16),
        "DelayedAcceptance": (DelayedAcceptance(cool * BlockwiseEnergy(lm, 2), single), TEXT_STEPS),
        "Mixture": (Mixture([(single, 0.5), (rescored, 0.5)]), TEXT_STEPS // 4),
        "Tempered": (Tempered(single, [1.0, 0.8]), TEXT_STEPS // 2),
    }

    def metering() -> AbstractContextManager[Any]:
        return counted([lm.model, models.causal.model])

    steps: dict[str, tuple[Kernel, Energy, int]] = {
        name: (kernel, energy, count) for name, (kernel, count) in kernels.items()
    }
    return KernelTask("text", energy, x0, metering, steps)
