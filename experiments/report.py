"""What a text run is, what it prints, and the one line that says whether to trust it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lm_adapters import TextSpace
    from samplers import Diagnostics, Trace

__all__ = ["TextRun", "print_run", "self_bleu"]

SELF_BLEU_TEXTS = 200  # self-BLEU compares all pairs; more texts than this would take longer than the sampling
ESS_PER_CHAIN = 100  # Vehtari et al. 2021, section 4: below this neither R-hat nor ESS can be relied on
R_HAT = 1.01


@dataclass(frozen=True)
class TextRun:
    """Kept draws of texts and how they came about. ``target`` says in words what law they follow."""

    config: Mapping[str, Any]
    target: str
    known_target: bool
    space: TextSpace
    trace: Trace
    seconds: float

    def texts(self) -> list[list[str]]:
        """``texts()[chain][kept]``."""
        chains, kept = self.trace.energy.shape
        flat = self.space.decode(self.trace.draws.flatten(0, 1))
        return [flat[chain * kept : (chain + 1) * kept] for chain in range(chains)]

    def samples(self) -> Iterator[dict[str, Any]]:
        """One object a kept draw, as ``samples.jsonl`` has them."""
        trace, steps = self.trace, self.trace.steps.tolist()
        for chain, texts in enumerate(self.texts()):
            for index, text in enumerate(texts):
                terms = dict(zip(trace.term_names, trace.terms[chain, index].tolist(), strict=True))
                energy = trace.energy[chain, index].item()
                yield {"chain": chain, "step": steps[index], "energy": energy, "terms": terms, "text": text}

    def summary(self) -> dict[str, Any]:
        chains, kept = self.trace.energy.shape
        texts = self.texts()
        lengths = self.space.lengths(self.trace.draws[:, -1])
        chain_steps = chains * self.config["steps"]
        energy = mixing(self.trace, lengths.tolist())
        return {
            "target": self.target,
            "chains": chains,
            "kept_per_chain": kept,
            "energy_mean": energy.mean,
            "energy_per_token": (self.trace.energy / lengths.unsqueeze(1)).mean().item(),
            "energy_mcse": energy.mcse,
            "ess_bulk": energy.ess_bulk,
            "ess_tail": energy.ess_tail,
            "r_hat": energy.r_hat,
            "acceptance": self.trace.acceptance,
            "changed": self.trace.changed,
            "moves": {kind: vars(count) for kind, count in self.trace.moves.items()},
            "distinct": len({text for chain in texts for text in chain}),
            "self_bleu": self_bleu([chain[-1] for chain in texts]),
            "seconds": self.seconds,
            "chain_steps_per_second": chain_steps / self.seconds,
            "trust": trust(self, energy),
        }


def mixing(trace: Trace, lengths: list[int]) -> Diagnostics:
    """Diagnostics of the energy when chains of different lengths have different targets.

    Chains of one length are compared with each other only: R-hat is the worst of the lengths, ESS their sum.
    """
    from samplers import Diagnostics, diagnose

    groups = [[i for i, n in enumerate(lengths) if n == length] for length in sorted(set(lengths))]
    parts = [diagnose(trace.energy[rows]) for rows in groups]
    shares = [len(rows) / len(lengths) for rows in groups]
    return Diagnostics(
        mean=sum(share * part.mean for share, part in zip(shares, parts, strict=True)),
        mcse=math.sqrt(sum((share * part.mcse) ** 2 for share, part in zip(shares, parts, strict=True))),
        ess_bulk=sum(part.ess_bulk for part in parts),
        ess_tail=sum(part.ess_tail for part in parts),
        r_hat=math.nan if any(math.isnan(part.r_hat) for part in parts) else max(part.r_hat for part in parts),
    )


def self_bleu(texts: list[str]) -> float:
    """Mean BLEU-4 (0 to 100) of each text against all others: low is diverse. NaN for fewer than two texts."""
    from sacrebleu.metrics import BLEU

    texts = texts[:SELF_BLEU_TEXTS]
    if len(texts) < 2:
        return math.nan
    bleu = BLEU(effective_order=True)
    scores = [bleu.sentence_score(text, texts[:i] + texts[i + 1 :]).score for i, text in enumerate(texts)]
    return sum(scores) / len(scores)


def trust(run: TextRun, energy: Diagnostics) -> str:
    """One honest line."""
    if not run.known_target:
        return "No known target: the law of these texts depends on the scan and on when you look."
    chains = run.trace.energy.shape[0]
    if math.isnan(energy.r_hat):
        return "Cannot be judged: too few draws, or an energy that never moved. Raise --steps."
    if energy.r_hat > R_HAT or energy.ess_bulk < ESS_PER_CHAIN * chains:
        return (
            f"Not mixed: R-hat {energy.r_hat:.2f} (want {R_HAT}), ESS {energy.ess_bulk:.0f} (want "
            f"{ESS_PER_CHAIN * chains}). Good to read; for averages raise --steps."
        )
    return f"Mixed, as far as the energy shows: R-hat {energy.r_hat:.3f}, ESS {energy.ess_bulk:.0f}."


def print_run(run: TextRun, summary: Mapping[str, Any], out: str | None) -> None:
    """The last draw of each chain, the diagnostics, and where the files are."""
    width = max(60, min(shutil.get_terminal_size((100, 24)).columns, 120))
    energies = run.trace.energy[:, -1].tolist()
    click.echo(f"{'chain':>5}  {'nats':>7}  text (the last draw of each chain)")
    for chain, (texts, energy) in enumerate(zip(run.texts(), energies, strict=True)):
        click.echo(f"{chain:>5}  {energy:>7.2f}  {_cut(texts[-1], width - 16)}")
    click.echo()
    for label, value in _rows(run, summary):
        click.echo(f"  {label:<22} {value}")
    if out:
        click.echo(f"  {'files':<22} {out}/ (samples.jsonl, summary, config, env)")
    click.echo(f"\n{summary['trust']}")


def _rows(run: TextRun, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    draws = summary["chains"] * summary["kept_per_chain"]
    yield "target", run.target
    yield "energy", f"{summary['energy_mean']:.2f} nats a text, {summary['energy_per_token']:.2f} a token"
    ess, r_hat = _number(summary["ess_bulk"], ".0f"), _number(summary["r_hat"], ".2f")
    yield "ESS, R-hat of it", f"{ess} of {draws} draws, {r_hat}"
    yield "accepted, changed", f"{summary['acceptance']:.0%} of proposals, {summary['changed']:.0%} of steps"
    yield "distinct texts", f"{summary['distinct']} of {draws}"
    yield "self-BLEU", f"{_number(summary['self_bleu'], '.1f')} of 100, last draws (low is diverse)"
    yield "speed", f"{summary['chain_steps_per_second']:,.0f} chain-steps/s, {summary['seconds']:.1f} s"


def _number(value: float, spec: str) -> str:
    return "-" if math.isnan(value) else format(value, spec)


def _cut(text: str, width: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"
