"""Self-normalised importance sampling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from samplers.drawing import draw_scored
from samplers.energy.evaluation import evaluate
from samplers.errors import InvalidInput
from samplers.randomness import generator, repeated
from samplers.run.arguments import check_counts
from samplers.run.independent_draws import kept_draws
from samplers.run.observers import BatchObserver, ObserverGuard
from samplers.run.start_check import forbidding_terms
from samplers.storage.run_store import RunStore
from samplers.types import Distribution, Energy

__all__ = ["ImportanceSample", "importance_sample"]


@dataclass(frozen=True)
class ImportanceSample:
    """Weighted draws: ``x [n, ...]``, ``energy float64 [n]``, ``log_weights float64 [n]``, normalised, in nats.

    ``exp(log_z)`` is an unbiased estimate of ``integral exp(-energy)``, and ``log_z_mcse`` its relative standard error,
    which is that of ``log_z`` in nats where it is small; NaN for a single draw. ``ess`` is Kish's effective sample size
    ``1 / sum w^2``; ``pareto_k`` is the shape of the tail of the weights: above 0.7 the estimates are unreliable
    (Vehtari et al. 2024, JMLR 25), NaN if it cannot be fitted.
    """

    x: Tensor
    energy: Tensor
    log_weights: Tensor
    log_z: float
    ess: float
    pareto_k: float

    @property
    def log_z_mcse(self) -> float:
        count = len(self.log_weights)
        return math.sqrt(max(0.0, count / self.ess - 1) / (count - 1)) if count > 1 else math.nan

    def expectation(self, statistic: Callable[[Tensor], Tensor]) -> Tensor:
        """``sum_i w_i f(x_i)`` for ``statistic(x) -> [n, ...]``, over the draws that are not forbidden."""
        weights = self.log_weights.exp()
        possible = weights > 0
        return torch.einsum("n,n...->...", weights[possible], statistic(self.x)[possible].to(torch.float64))

    def resample(self, count: int, *, seed: int = 0) -> Tensor:
        """``count`` states drawn by weight with replacement: approximate draws of the target, which may repeat."""
        check_counts(count=count, least=0)
        rng = generator(seed, device=self.log_weights.device, stream="resample")
        return self.x[repeated(self.log_weights, count, rng)]


def importance_sample(
    energy: Energy,
    proposal: Distribution,
    *,
    num_samples: int,
    seed: int = 0,
    batch_size: int = 4096,
    run_dir: str | Path | RunStore | None = None,
    observers: Sequence[BatchObserver] = (),
) -> ImportanceSample:
    """Draw ``x ~ q`` and weight it by ``exp(-energy(x)) / q(x)``.

    Target
        expectations under ``exp(-energy)``; consistent, with a bias of order ``1 / num_samples``.
    Condition
        ``q`` covers the target; ``pareto_k`` and ``ess`` measure how well.
    Reference
        Owen 2013, Monte Carlo theory, methods and examples, chapter 9.
    Cost
        ``num_samples`` energy rows; none of an energy that the proposal's ``sample_and_log_prob`` tells with the draws.
    Run folder
        with ``run_dir`` each batch is committed, and the same call resumes a run that stopped; see ``sample``.
    Observers
        are called after each batch and cannot break a run.
    Raises
        ``InvalidInput``, also if every draw is forbidden; ``StoreError``; ``Interrupted``.
    """
    check_counts(num_samples=num_samples, batch_size=batch_size)
    rng = generator(seed, stream="importance")
    facts = {
        "sampler": "importance",
        "energy": energy,
        "proposal": proposal,
        "seed": seed,
        "num_samples": num_samples,
        "batch_size": batch_size,
    }
    observe = ObserverGuard(observers, "draw")
    with kept_draws(run_dir, facts, rng, ("log_q", "energy")) as kept:
        while kept.done < num_samples:
            size = min(batch_size, num_samples - kept.done)
            x, log_q, (value, _) = draw_scored(energy, proposal, size, rng)
            kept.add(size, {"x": x, "log_q": log_q, "energy": value})
            observe(kept.done, x, value)
    rows = kept.rows
    x, log_q, value = rows["x"], rows["log_q"], rows["energy"]
    raw = -value - log_q
    total = torch.logsumexp(raw, dim=0)
    if not bool(total.isfinite()):
        by = forbidding_terms(energy, evaluate(energy, x[:batch_size]).terms)
        names = " and ".join(map(repr, by)) or "the sum"
        raise InvalidInput(
            f"all {num_samples} draws are forbidden, by {names}; give finite numbers in place of inf, draw more, or "
            "draw from a closer proposal"
        )
    log_weights = raw - total
    return ImportanceSample(
        x=x,
        energy=value,
        log_weights=log_weights,
        log_z=float(total) - math.log(num_samples),
        ess=float((-torch.logsumexp(2 * log_weights, dim=0)).exp()),
        pareto_k=_pareto_k(log_weights),
    )


def _pareto_k(log_weights: Tensor) -> float:
    from arviz_stats.base import array_stats  # type: ignore[attr-defined]

    finite = log_weights[log_weights.isfinite()].cpu().numpy()
    if len(finite) < 25 or np.ptp(finite) == 0:
        return math.nan
    try:
        with np.errstate(all="ignore"):  # warns of equal weights
            # psislw takes log-likelihoods, the negatives of log-weights
            k = float(array_stats.psislw(-finite)[1])
    except ValueError:  # the largest weights are all equal, as on a small discrete space
        return math.nan
    return k if math.isfinite(k) else math.nan
