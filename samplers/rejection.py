"""Rejection sampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

from torch import Tensor

from samplers.drawing import draw_scored
from samplers.errors import BoundViolated, InvalidInput, TrialsExhausted
from samplers.randomness import generator, log_uniform
from samplers.run.arguments import check_counts
from samplers.run.independent_draws import kept_draws
from samplers.run.observers import BatchObserver, ObserverGuard
from samplers.storage.run_store import RunStore
from samplers.types import Distribution, Energy

__all__ = ["RejectionSample", "rejection_sample"]

ROUNDING = 1e-9  # nats by which rounding may exceed a bound that is attained exactly


@dataclass(frozen=True)
class RejectionSample:
    """Independent draws ``x [n, ...]`` of ``exp(-energy)``, their ``energy float64 [n]``, and the number of trials.

    ``exp(log_z)`` is an unbiased estimate of ``Z = integral exp(-energy)``; its log is not one of ``log Z``. As trials
    end with the last of ``n`` draws, it is ``exp(log_bound) (n - 1) / (trials - 1)`` (Haldane 1945, Biometrika 33), and
    with ``acceptance``, ``n / trials``, it would be too high. For a result that is not ``complete``, because the trials
    ran out first, it is ``exp(log_bound) n / trials`` (Girshick, Mosteller & Savage 1946, Ann. Math. Stat. 17).
    ``log_z_mcse`` is the relative standard error of ``exp(log_z)``, that of ``log_z`` in nats where it is small.
    A complete result of one draw has neither (NaN), one of two draws may have no error.
    """

    x: Tensor
    energy: Tensor
    trials: int
    accepted: int
    log_bound: float
    complete: bool = True

    @property
    def acceptance(self) -> float:
        """Share of the trials that were accepted."""
        return self.accepted / self.trials

    @property
    def log_z(self) -> float:
        share = self._probability
        return self.log_bound + math.log(share) if share else -math.inf

    @property
    def log_z_mcse(self) -> float:
        share, freedom = self._probability, self.trials - (2 if self.complete else 1)
        return math.sqrt((1 - share) / (share * freedom)) if share and freedom > 0 else math.nan

    @property
    def _probability(self) -> float:
        """Unbiased estimate of the probability that a trial is accepted."""
        if not self.complete:
            return self.accepted / self.trials
        return (self.accepted - 1) / (self.trials - 1) if self.accepted > 1 else math.nan


def rejection_sample(
    energy: Energy,
    proposal: Distribution,
    *,
    log_bound: float,
    num_samples: int,
    seed: int = 0,
    max_trials: int = 10_000_000,
    batch_size: int = 4096,
    run_dir: str | Path | RunStore | None = None,
    observers: Sequence[BatchObserver] = (),
) -> RejectionSample:
    """Draw ``x ~ q`` and keep it with probability ``exp(-energy(x) - log q(x) - log_bound)``.

    Target
        ``exp(-energy)``, exactly, with independent draws.
    Condition
        ``-energy(x) - log q(x) <= log_bound`` for every ``x``; checked on every draw.
    Reference
        von Neumann 1951, NBS Applied Mathematics Series 12.
    Cost
        ``exp(log_bound) / Z`` energy rows a draw, in calls of ``batch_size`` rows; none of an energy that the
        proposal's ``sample_and_log_prob`` tells with the draws.
    Run folder
        with ``run_dir`` each batch is committed, and the same call resumes a run that stopped; see ``sample``.
    Observers
        are called after each batch and cannot break a run.
    Raises
        ``BoundViolated`` with the point and the excess; ``TrialsExhausted``, whose ``result`` has the draws so far, if
        ``max_trials`` trials were not enough; ``InvalidInput``; ``StoreError``; ``Interrupted``.
    """
    check_counts(num_samples=num_samples, max_trials=max_trials, batch_size=batch_size)
    if not isinstance(log_bound, Real | Tensor) or not math.isfinite(log_bound):
        raise InvalidInput(f"log_bound is {log_bound!r}; give a finite number of nats")
    log_bound = float(log_bound)
    rng = generator(seed, stream="rejection")
    facts = {
        "sampler": "rejection",
        "energy": energy,
        "proposal": proposal,
        "seed": seed,
        "log_bound": log_bound,
        "num_samples": num_samples,
        "max_trials": max_trials,
        "batch_size": batch_size,
    }
    observe = ObserverGuard(observers, "trial")
    with kept_draws(run_dir, facts, rng, ("energy",)) as kept:
        while kept.done < max_trials and kept.count < num_samples:
            size = min(batch_size, max_trials - kept.done)
            x, log_q, (value, _) = draw_scored(energy, proposal, size, rng)
            log_accept = -value - log_q - log_bound
            if float(log_accept.max()) > ROUNDING:
                raise BoundViolated(x[log_accept.argmax()], float(log_accept.max()))
            keep = (log_uniform(size, rng).to(log_accept.device) < log_accept).nonzero().squeeze(1)
            if kept.count + len(keep) >= num_samples:  # trials after the draw that completes the sample do not count
                keep = keep[: num_samples - kept.count]
                size = int(keep[-1]) + 1
            kept.add(size, {"x": x[keep], "energy": value[keep]})
            observe(kept.done, x[keep], value[keep])
    trials, accepted, rows = kept.done, kept.count, kept.rows
    result = RejectionSample(rows["x"], rows["energy"], trials, accepted, log_bound, accepted == num_samples)
    if accepted < num_samples:
        raise TrialsExhausted(
            f"{trials} trials gave {accepted} of {num_samples} draws (acceptance {result.acceptance:.2g}); raise "
            "max_trials, lower log_bound if it is loose, or use MetropolisHastings",
            result,
        )
    return result
