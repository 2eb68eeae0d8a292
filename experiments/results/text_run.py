"""A run of Markov chains over texts: kept draws, and how far their averages can be relied on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.declaration.wording import argument
from experiments.judging.repetition import repetition
from experiments.results.cost import Spent
from experiments.results.export import Exports
from experiments.results.figures import (
    by_start_in_words,
    distinct,
    efficiency_in_words,
    energy_in_words,
    number,
    of_repetition,
    repeats,
    self_bleu,
    shares,
)
from experiments.results.headings import chains_heading
from experiments.results.trust import NO_TARGET_LINE, about_chains

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import TextSpace
    from samplers import Diagnostics, StartComparison, Trace

__all__ = ["TextRun", "mixing"]

OFTEN_LONGEST = 0.1  # of the draws; more at the most tokens allowed says that longer texts were wanted


@dataclass(frozen=True)
class TextRun(Exports):
    """Kept draws of texts and how they came about. ``target`` says in words what law they follow.

    ``fixed_lengths``: chains keep their lengths, so that chains of different lengths have different laws.
    ``constraints``: names of the terms that are 0 or infinite. ``doubt``: what speaks against the user's own energies.
    ``from_below bool [chains]``: which chains started at likely texts; ``None`` where all started alike.
    """

    config: Mapping[str, Any]
    target: str
    space: TextSpace
    trace: Trace
    spent: Spent
    known_target: bool = True
    fixed_lengths: bool = False
    constraints: tuple[str, ...] = ()
    doubt: str = ""
    from_below: Tensor | None = None

    def texts(self) -> list[list[str]]:
        """``texts()[chain][kept]``."""
        chains, kept = self.trace.energy.shape
        flat = self.space.decode(self.trace.draws.flatten(0, 1))
        return [flat[chain * kept : (chain + 1) * kept] for chain in range(chains)]

    def samples(self) -> Iterator[dict[str, Any]]:
        trace, steps = self.trace, self.trace.steps.tolist()
        starts = [] if self.from_below is None else ["below" if low else "above" for low in self.from_below.tolist()]
        for chain, texts in enumerate(self.texts()):
            start = {"start": starts[chain]} if starts else {}
            for index, text in enumerate(texts):
                terms = dict(zip(trace.term_names, trace.terms[chain, index].tolist(), strict=True))
                energy = trace.energy[chain, index].item()
                yield {"chain": chain, **start, "step": steps[index], "energy": energy, "terms": terms, "text": text}

    def summary(self) -> dict[str, Any]:
        chains, kept = self.trace.energy.shape
        texts = self.texts()
        lengths = self.space.lengths(self.trace.draws.flatten(0, 1)).reshape(chains, kept)
        groups = lengths[:, -1].tolist() if self.fixed_lengths else [0] * chains
        energy, by_start = mixing(self.trace, groups), self._by_start(groups)
        longest, free = self.trace.draws.shape[-1], not self.fixed_lengths and bool((lengths != lengths[0, 0]).any())
        return {
            "target": self.target,
            "chains": chains,
            "kept_per_chain": kept,
            "energy_mean": energy.mean,
            "energy_per_token": (self.trace.energy / lengths).mean().item(),
            "energy_mcse": energy.mcse,
            **_as_figures(by_start),
            "terms": self._term_means(),
            "length_mean": lengths.double().mean().item(),
            **({"at_length_cap": (lengths == longest).double().mean().item()} if free else {}),
            "ess_bulk": energy.ess_bulk,
            "ess_tail": energy.ess_tail,
            "r_hat": energy.r_hat,
            **self.spent.efficiency(energy.ess_bulk),
            "acceptance": self.trace.acceptance,
            "changed": self.trace.changed,
            "moves": {kind: vars(count) for kind, count in self.trace.moves.items()},
            **_swaps(self.trace),
            "nan_rejected": self.trace.nan_rejected,
            "distinct": len({text for chain in texts for text in chain}),
            "self_bleu": self_bleu([chain[-1] for chain in texts]),
            **of_repetition(repetition(texts)),
            "cost": vars(self.spent.cost),
            "cost_by_term": self.spent.of_terms(),
            "seconds": self.spent.seconds,
            "chain_steps_per_second": chains * self.config["steps"] / self.spent.seconds,
            **({"doubt": self.doubt} if self.doubt else {}),
            "trust": self._trust(energy, by_start, compared=max(map(groups.count, groups))),
        }

    def heading(self) -> tuple[str, str]:
        return chains_heading()

    def shown(self) -> Iterator[tuple[int, float, str]]:
        last = self.space.decode(self.trace.draws[:, -1])
        yield from zip(range(len(last)), self.trace.energy[:, -1].tolist(), last, strict=True)

    def facts(self, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        draws = summary["chains"] * summary["kept_per_chain"]
        yield "target", self.target
        yield "energy", energy_in_words(summary, self.config["temperature"] if self.known_target else 1.0)
        yield from shares(summary["terms"], self.constraints)
        if not math.isnan(summary["energy_from_below"]):
            yield "energy by start", by_start_in_words(summary)
        ess, r_hat = number(summary["ess_bulk"] // 1, ".0f"), number(summary["r_hat"], ".2f")
        yield "ESS, R-hat of it", f"{ess} of {draws:,} draws, {r_hat}"
        yield "ESS by cost", efficiency_in_words(summary)
        yield "accepted, changed", f"{summary['acceptance']:.0%} of proposals, {summary['changed']:.0%} of steps"
        if len(kinds := _by_kind(self.trace)) > 1:
            yield "accepted by move", ", ".join(kinds)
        if "barrier" in summary:
            yield "swaps", _swaps_in_words(summary)
        if rejected := self.trace.nan_rejected:
            yield "rejected as NaN", f"{rejected:,} energies"
        yield "distinct texts", distinct(summary, draws)
        yield "self-BLEU", f"{number(summary['self_bleu'], '.1f')} of 100, last draws (low is diverse)"
        yield from repeats(summary)
        if summary.get("at_length_cap", 0) > OFTEN_LONGEST:
            most = f"{summary['at_length_cap']:.0%} of draws have {self.trace.draws.shape[-1]} tokens, the most allowed"
            yield "longest texts", f"{most}; allow longer ones, or weigh the length by {argument('stopping')}"
        yield from self.spent.facts()
        yield "speed", f"{summary['chain_steps_per_second']:,.0f} chain-steps/s, {summary['seconds']:.1f} s"

    def history(self) -> tuple[Sequence[int], Tensor, Tensor | None]:
        return self.trace.steps.tolist(), self.trace.energy, self.from_below

    def _by_start(self, groups: list[int]) -> StartComparison | None:
        from samplers import compare_starts

        return None if self.from_below is None else compare_starts(self.trace.energy, self.from_below, groups)

    def _trust(self, energy: Diagnostics, by_start: StartComparison | None, *, compared: int) -> str:
        """``compared``: chains that have the same law, in the largest group of such."""
        if self.doubt:
            return f"Not to be trusted: {self.doubt}."
        if not self.known_target:
            return NO_TARGET_LINE
        chains, kept = self.trace.energy.shape
        return about_chains(energy, chains=chains, kept=kept, compared=compared, by_start=by_start)

    def _term_means(self) -> dict[str, float]:
        means: Tensor = self.trace.terms.mean(dim=(0, 1))
        return dict(zip(self.trace.term_names, means.tolist(), strict=True))


def _as_figures(by_start: StartComparison | None) -> dict[str, float]:
    """As ``summary.json`` has them; NaN where there is nothing to compare."""
    return {
        "energy_from_below": by_start.below if by_start else math.nan,
        "energy_from_below_mcse": by_start.below_mcse if by_start else math.nan,
        "energy_from_above": by_start.above if by_start else math.nan,
        "energy_from_above_mcse": by_start.above_mcse if by_start else math.nan,
        "starts_apart": by_start.standard_errors if by_start else math.nan,
        "starts_p_value": by_start.p_value if by_start else math.nan,
    }


def _by_kind(trace: Trace) -> list[str]:
    """Of the kinds of move that were tried."""
    return [f"{kind} {count.accepted / count.tried:.0%}" for kind, count in trace.moves.items() if count.tried]


def _swaps(trace: Trace) -> dict[str, Any]:
    """Of a kernel with replicas: means over the shards, whose rungs may differ, and all round trips together."""
    from samplers import swap_report

    reports = [swap_report(state) for state in trace.final if "swapped" in state.aux]
    if not reports:
        return {}
    rates = zip(*(report["swap_rates"] for report in reports), strict=True)
    return {
        "swap_rates": [sum(pair) / len(reports) for pair in rates],
        "barrier": sum(report["barrier"] for report in reports) / len(reports),
        "rungs_wanted": max(report["rungs_wanted"] for report in reports),
        "round_trips": sum(sum(report["round_trips"]) for report in reports),
    }


def _swaps_in_words(summary: Mapping[str, Any]) -> str:
    rates = summary["swap_rates"]
    if math.isnan(summary["barrier"]):
        return "some pair of rungs was never tried since they were placed"
    accepted = f"{min(rates):.0%} to {max(rates):.0%} accepted between {len(rates) + 1} rungs"
    asked = f"a barrier of {summary['barrier']:.1f}, which asks for {summary['rungs_wanted']}"
    return f"{accepted}, {asked}; {summary['round_trips']:,} round trips"


def mixing(trace: Trace, groups: list[int]) -> Diagnostics:
    """Diagnostics of the energy when chains of different ``groups`` (one a chain) have different targets.

    Chains of one group are compared with each other only: R-hat is the worst of the groups, ESS their sum.
    """
    from samplers import Diagnostics, diagnose

    members = [[i for i, n in enumerate(groups) if n == group] for group in sorted(set(groups))]
    parts = [diagnose(trace.energy[rows]) for rows in members]
    shares = [len(rows) / len(groups) for rows in members]
    return Diagnostics(
        mean=sum(share * part.mean for share, part in zip(shares, parts, strict=True)),
        mcse=math.hypot(*(share * part.mcse for share, part in zip(shares, parts, strict=True))),
        ess_bulk=sum(part.ess_bulk for part in parts),
        ess_tail=sum(part.ess_tail for part in parts),
        r_hat=math.nan if any(math.isnan(part.r_hat) for part in parts) else max(part.r_hat for part in parts),
    )
