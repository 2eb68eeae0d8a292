"""Broken accept steps and records (``moves`` has broken moves)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from samplers.energy.evaluation import evaluate
from samplers.kernels.metropolis import MetropolisHastings, log_acceptance, start, step_info
from samplers.randomness import log_uniform
from samplers.run.chains import sample
from samplers.run.trace import Trace
from samplers.types import ChainState, Energy, Kernel, Proposal, Proposed, StepInfo, select

__all__ = [
    "FlippedHastings",
    "KeepAdapting",
    "MissingHastings",
    "NoAccept",
    "StaleEnergyCache",
    "StaleMemory",
    "UntilAccepted",
    "drop_rejected",
]

Beta = float | Tensor


class _Broken(MetropolisHastings):
    """Metropolis-Hastings that takes ``correction`` for ``log q(x|x') - log q(x'|x)``."""

    def correction(self, proposed: Proposed) -> Tensor:
        return proposed.log_q_reverse - proposed.log_q_forward

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: Beta = 1.0
    ) -> tuple[ChainState, StepInfo]:
        proposed = self.proposal(state.x, rng)
        new = evaluate(energy, proposed.x)
        correction = self.correction(proposed)
        log_ratio = log_acceptance(state.energy, new.energy, torch.zeros_like(correction), correction, beta)
        return self.settle(state, proposed.x, new.energy, log_uniform(len(state.x), rng) < log_ratio)

    def settle(self, state: ChainState, x: Tensor, energy: Tensor, accepted: Tensor) -> tuple[ChainState, StepInfo]:
        chosen, value = select(accepted, x, state.x), select(accepted, energy, state.energy)
        after = ChainState(chosen, value, state.aux, value.unsqueeze(1))
        return after, step_info(state.x, chosen, accepted)


class MissingHastings(_Broken):
    """The Metropolis ratio with an asymmetric proposal (blackjax issue 581)."""

    def correction(self, proposed: Proposed) -> Tensor:
        return torch.zeros_like(proposed.log_q_forward)


class FlippedHastings(_Broken):
    """Forward and reverse density exchanged."""

    def correction(self, proposed: Proposed) -> Tensor:
        return proposed.log_q_forward - proposed.log_q_reverse


class NoAccept(_Broken):
    """Every proposal is taken, as "Gibbs sampling" from a masked language model does."""

    def settle(self, state: ChainState, x: Tensor, energy: Tensor, accepted: Tensor) -> tuple[ChainState, StepInfo]:
        return super().settle(state, x, energy, torch.ones_like(accepted))


class StaleEnergyCache(_Broken):
    """The state moves on, the cached energy does not."""

    def settle(self, state: ChainState, x: Tensor, energy: Tensor, accepted: Tensor) -> tuple[ChainState, StepInfo]:
        return super().settle(state, x, state.energy, accepted)


class StaleMemory(MetropolisHastings):
    """The proposal goes by what was kept of a state that another kernel has changed since."""

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: Beta = 1.0
    ) -> tuple[ChainState, StepInfo]:
        return super().step(state._replace(aux={**state.aux, "of": state.x}), energy, rng, beta=beta)


class UntilAccepted(MetropolisHastings):
    """A step is repeated until something is accepted, so states that are hard to leave count once too."""

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: Beta = 1.0
    ) -> tuple[ChainState, StepInfo]:
        x, value, terms = (part.clone() for part in _tensors(state))
        waiting = torch.arange(len(x))
        while len(waiting):
            held = ChainState(x[waiting], value[waiting], {}, terms[waiting])
            tried, info = super().step(held, energy, rng, beta=beta)
            taken = waiting[info.accepted]
            x[taken], value[taken], terms[taken] = (part[info.accepted] for part in _tensors(tried))
            waiting = waiting[~info.accepted]
        always = torch.ones(len(x), dtype=torch.bool)
        return ChainState(x, value, state.aux, terms), step_info(state.x, x, always)


class KeepAdapting(MetropolisHastings):
    """Keeps choosing its proposal by what was accepted last: bold after an acceptance, timid after a rejection."""

    def __init__(self, bold: Proposal, timid: Proposal) -> None:
        super().__init__(bold)
        self.timid = MetropolisHastings(timid)

    def init(self, x: Tensor, energy: Energy) -> ChainState:
        return start(x, energy)._replace(aux={"bold": torch.ones(len(x), dtype=torch.bool)})

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: Beta = 1.0
    ) -> tuple[ChainState, StepInfo]:
        bold, bold_info = super().step(state, energy, rng, beta=beta)
        timid, timid_info = self.timid.step(state, energy, rng, beta=beta)
        use = state.aux["bold"]
        x, value, terms = (select(use, a, b) for a, b in zip(_tensors(bold), _tensors(timid), strict=True))
        accepted = torch.where(use, bold_info.accepted, timid_info.accepted)
        return ChainState(x, value, {"bold": accepted}, terms), step_info(state.x, x, accepted)


def drop_rejected(kernel: Kernel, energy: Energy, x0: Tensor, **options: Any) -> Trace:
    """A driver that keeps a draw only when it was accepted, as code does that appends inside ``if accepted:``."""
    accepted = torch.empty(0)

    def watch(step: int, state: ChainState, info: StepInfo) -> None:
        nonlocal accepted
        accepted = info.accepted

    trace = sample(kernel, energy, x0, observers=[watch], **options)
    return replace(trace, draws=trace.draws[accepted], energy=trace.energy[accepted], terms=trace.terms[accepted])


def _tensors(state: ChainState) -> tuple[Tensor, Tensor, Tensor]:
    return state.x, state.energy, state.terms
