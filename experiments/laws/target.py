"""The law of a run in one sentence: the energy, whose numbers it is made of, and over which texts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import TextSpace
    from samplers import Energy, EnergyTerm

__all__ = ["fixed_parts", "in_words"]


def in_words(
    energy: Energy,
    *,
    lengths: tuple[int, int] | None = None,
    each_length: bool = False,
    scored_by: Mapping[str, str] | None = None,
    searched: bool = False,
) -> str:
    """``exp(-(fluency + 2 letters)), fluency by causal-en, over token sequences of length 3 to 16 that hold 'night'``.

    At another temperature than 1 the exponent is divided by it: ``exp(-(fluency + 2 letters) / 0.8)``. A term with a
    formula has it in place of its name. A search has an objective: the energy itself. ``lengths`` are bounds in tokens;
    with ``each_length`` every length is
    a law by itself. ``scored_by`` names the model of a term. A law over token sequences counts each text once for every
    tokenisation of it; with the constraint ``Canonical``, or where texts are ``Phrases``, it is one over texts.
    """
    from experiments.laws.temperature import AtTemperature
    from lm_adapters import Canonical, Phrases
    from samplers import EnergyTerm, WeightedSum, named, term_names

    divided = ""
    if isinstance(energy, AtTemperature):
        divided, energy = f" / {energy.temperature:g}", energy.whole
    term = energy if isinstance(energy, EnergyTerm) else named(term_names(energy)[0], energy)
    parts = term.parts if isinstance(term, WeightedSum) else [(1.0, term)]
    terms = [(weight, part) for weight, part in parts if not part.is_constraint]
    constraints = [part for _, part in parts if part.is_constraint]
    total = " + ".join(part.name if weight == 1 else f"{weight:g} {part.name}" for weight, part in terms)
    grouped = f"({total})" if len(terms) > 1 else total
    law = total if searched else f"exp(-{grouped}{divided})" if terms else "uniform"
    models = [(part, scored_by[part.name]) for _, part in terms if scored_by and part.name in scored_by]
    said = law if not models else f"{law}, {' and '.join(_by(part, model) for part, model in models)},"
    if len(terms) == len(models) == 1:
        formula = models[0][0].formula
        said = f"{law}, {formula} by {models[0][1]}," if formula else f"{law} by {models[0][1]},"
    canonical = any(
        isinstance(part, Canonical) or (isinstance(part, Phrases) and not part.within) for part in constraints
    )
    clauses = [part.clause or f"given {part.name}" for part in constraints if not isinstance(part, Canonical)]
    return f"{said} over {_states(lengths, each_length, canonical)}" + (f" {', '.join(clauses)}" if clauses else "")


def _by(part: EnergyTerm, model: str) -> str:
    return f"{part.name} = {part.formula} by {model}" if part.formula else f"{part.name} by {model}"


def fixed_parts(space: TextSpace, x: Tensor, energy: Energy) -> str:
    """What stays in the states that start from ``x int64 [chains, width]``: tokens that no move and no lock changes."""
    from lm_adapters import Lock
    from samplers import WeightedSum

    fixed = space.fixed(x)
    for _, part in energy.parts if isinstance(energy, WeightedSum) else []:
        if isinstance(part, Lock):
            fixed &= part.pieces(x) == 0
    parts: dict[str, None] = {}
    for row, stays in zip(x[fixed.any(dim=1)].tolist(), fixed[fixed.any(dim=1)].tolist(), strict=True):
        runs = groupby(zip(row, stays, strict=True), key=lambda pair: pair[1])
        parts |= {repr(space.tokenizer.decode([token for token, _ in run])): None for kept, run in runs if kept}
    return " and ".join(parts)


def _states(lengths: tuple[int, int] | None, each_length: bool, canonical: bool) -> str:
    states = "texts" if canonical else "token sequences"
    if lengths is None:
        return states
    low, high = lengths
    span = f"{low}" if low == high else f"{low} to {high}"
    if each_length and low < high:
        return f"{states}, at each length from {span} tokens"
    return f"{states} of {span} tokens" if canonical else f"{states} of length {span}"
