"""Exact chains for an energy of which only an estimate can be had."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from samplers.config import Configurable
from samplers.errors import EnergyError, InvalidInput
from samplers.kernels.hooks import check_reversible, selected, step_cost
from samplers.kernels.metropolis import log_acceptance
from samplers.randomness import log_uniform
from samplers.run.arguments import check_counts
from samplers.types import ChainState, Energy, Kernel, StepInfo, differs, select

__all__ = ["PseudoMarginal", "pseudo_marginal_report"]

Estimate = Callable[[Tensor, Tensor], Tensor]


class _Estimated(NamedTuple):
    """``-log W`` in nats for each chain, and the ESS of the ``samples`` weights whose mean ``W`` is."""

    energy: Tensor
    ess: Tensor


class PseudoMarginal(Configurable):
    """Let ``kernel`` move by the energy ``E``; accept by unbiased estimates ``W`` of a factor ``f``, kept with states.

    Target
        ``pi(x)`` proportional to ``exp(-E(x)) f(x)``, whatever the variance of ``W``. At another ``beta`` it is
        ``exp(-beta E(x))`` times the mean of ``W(x)^beta``, which is ``f(x)^beta`` for an exact estimate only.
    Acceptance ratio
        of what ``kernel`` has made of ``x``: ``min(1, (W' / W)^beta)``, with a fresh ``W'`` for ``x'`` and the ``W``
        that ``x`` was accepted with. A move of ``kernel`` that changes nothing keeps ``W``.
    Reversible
        yes; ``kernel`` must be.
    Proof
        Andrieu & Roberts 2009, Annals of Statistics 37, section 2: on pairs ``(x, W)`` of the law ``exp(-E(x)) W
        g(W | x)`` this is Metropolis-Hastings with the proposal ``K(x, x') g(W' | x')``, and the mean of ``W`` is
        ``f(x)``. An estimate that is drawn anew for the state where a chain stands samples another law.
    Cost
        a step of ``kernel``, and ``samples`` estimates for each chain that it moved; once, those of the start.

    Main arguments: ``estimate(x, noise) -> [chains, samples]``, each ``-log`` of an independent unbiased estimate of
    ``f(x)``, in nats (``+inf`` for an estimate of 0), a function of ``noise float64 [chains, samples, noise]``, which
    is standard normal; ``noise``, how many numbers one estimate needs; ``samples``, how many estimates are averaged.
    All other kernels of a chain belong inside of ``kernel``, in a ``Mixture``. The energies of a run are those of
    ``E``: ``state.aux["estimate"]`` is ``-log W``.

    The noisier the estimate, the longer chains stay at states whose estimate was too high: ``samples`` are enough where
    ``-log W`` varies by about 1.2 nats (Sherlock et al. 2015, Annals of Statistics 43). It pays where the exact factor
    is a sum over much that a few samples stand for.

    Raises ``InvalidInput`` for unusable arguments, for a kernel without an accept step or that is not reversible, and
    where another kernel has changed the state; ``EnergyError`` for an estimate that is NaN or ``-inf``.
    """

    def __init__(self, estimate: Estimate, kernel: Kernel, *, noise: int = 1, samples: int = 1) -> None:
        check_counts(noise=noise, samples=samples)
        check_reversible(kernel)
        self.estimate, self.kernel, self.noise, self.samples = estimate, kernel, noise, samples
        self.move_names = kernel.move_names

    def init(self, x: Tensor, energy: Energy) -> ChainState:
        inner, zeros = self.kernel.init(x, energy), torch.zeros(len(x), dtype=torch.float64, device=x.device)
        aux: dict[str, Any] = {
            "kernel": inner.aux,
            "of": x.clone(),
            "estimate": zeros,
            "weight_ess": zeros.clone(),
            "estimated": zeros.long(),  # 0 estimates so far: the first step draws that of the start
        }
        return inner._replace(aux=aux)

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        if bool(differs(state.x, state.aux["of"]).any()):
            raise InvalidInput(
                "another kernel has changed a state that PseudoMarginal keeps an estimate of; "
                "put that kernel into the kernel of PseudoMarginal, in a Mixture"
            )
        kept, estimated = self._kept(state, rng)
        inner, info = self.kernel.step(state._replace(aux=state.aux["kernel"]), energy, rng, beta=beta)
        changed = differs(inner.x, state.x)
        new = self._estimated(inner.x, changed, self._noise(inner.x, rng), kept)
        log_u, no_q = log_uniform(len(changed), rng), torch.zeros_like(kept.energy)
        accepted = (log_u < log_acceptance(kept.energy, new.energy, no_q, no_q, beta)) | ~changed
        x = select(accepted, inner.x, state.x)
        aux = {
            "kernel": selected(accepted, inner.aux, state.aux["kernel"]),
            "of": x.clone(),
            "estimate": select(accepted, new.energy, kept.energy),
            "weight_ess": select(accepted, new.ess, kept.ess),
            "estimated": estimated + self.samples * changed,
        }
        value, terms = select(accepted, inner.energy, state.energy), select(accepted, inner.terms, state.terms)
        return ChainState(x, value, aux, terms), StepInfo(info.accepted & accepted, changed & accepted, info.move)

    def cost(self, x: Tensor) -> tuple[int, int]:
        """Of the energy: that of the kernel."""
        return step_cost(self.kernel, x)

    def _kept(self, state: ChainState, rng: torch.Generator) -> tuple[_Estimated, Tensor]:
        """The estimates of the states, and how many were drawn in each chain; those of a start are drawn now."""
        kept = _Estimated(state.aux["estimate"], state.aux["weight_ess"])
        missing = state.aux["estimated"] == 0
        if not bool(missing.any()):
            return kept, state.aux["estimated"]
        return self._estimated(state.x, missing, self._noise(state.x, rng), kept), torch.where(
            missing, self.samples, state.aux["estimated"]
        )

    def _noise(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """For all chains, so that no chain's draws depend on which of the others have moved."""
        shape = (len(x), self.samples, self.noise)
        return torch.randn(shape, dtype=torch.float64, device=rng.device, generator=rng).to(x.device)

    def _estimated(self, x: Tensor, wanted: Tensor, noise: Tensor, known: _Estimated) -> _Estimated:
        """Estimates for the ``wanted bool [chains]``; the ``known`` of the others."""
        rows = wanted.nonzero().squeeze(1)
        if not len(rows):
            return known
        each = self.estimate(x[rows].clone(), noise[rows]).detach().double()
        if each.shape != (len(rows), self.samples):
            raise InvalidInput(f"estimate(x, noise) returned {list(each.shape)}, not {[len(rows), self.samples]}")
        bad = ~(each > -math.inf).all(dim=1)
        if bool(bad.any()):
            raise EnergyError(
                "is NaN, or -inf: an infinite weight", term="estimate", rows=rows[bad].tolist(), x=x[rows[bad]]
            )
        total, square = (-each).logsumexp(dim=1), (-2 * each).logsumexp(dim=1)
        value, ess = known.energy.clone(), known.ess.clone()
        value[rows] = math.log(self.samples) - total
        ess[rows] = (2 * total - square).exp().nan_to_num(nan=0.0)
        return _Estimated(value, ess)


def pseudo_marginal_report(state: ChainState) -> dict[str, float]:
    """Of the last state of a run of ``PseudoMarginal``, over all chains.

    ``estimates``: how many were computed. ``weight_ess``: the mean effective sample size of the ``samples`` weights
    of an estimate that is kept; one that stays near 1 says that one sample carries each estimate.
    """
    kept = state.aux["estimated"] > 0
    ess = float(state.aux["weight_ess"][kept].mean()) if bool(kept.any()) else math.nan
    return {"estimates": float(state.aux["estimated"].sum()), "weight_ess": ess}
