"""Tokenisation: energies with another tokenizer than the states, and the constraint to canonical tokenisations."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from torch import Tensor

from lm_adapters.text import TextSpace
from samplers import Constraint, EnergyError, EnergyTerm

__all__ = ["Canonical", "ThroughText"]


class Canonical(Constraint):
    """0 nats where a state is the tokenizer's own tokenisation of its text, ``+inf`` elsewhere.

    Two tokenisations of one text are two states. Add this constraint where that matters: with it, the law over states
    is a law over texts.
    """

    def __init__(self, space: TextSpace) -> None:
        super().__init__("canonical", space.is_canonical)
        self.clause = "as their tokenizer writes them"


class ThroughText(EnergyTerm):
    """``energy`` in nats of the decoded text, tokenised anew by ``to_space``'s tokenizer.

    ``+inf`` where that tokenizer cannot represent the text, or needs more than ``max_length`` tokens for it (by default
    what the energy's model takes). Two tokenisations of one text are two states of ``from_space`` with the same energy,
    so the distribution over *texts* is the intended one only together with ``Canonical(from_space)``.

    Where ``energy`` raises ``EnergyError``, it names the rows, states and texts of ``from_space``.
    """

    def __init__(
        self,
        energy: EnergyTerm,
        from_space: TextSpace,
        to_space: TextSpace,
        *,
        max_length: int | None = None,
        name: str | None = None,
    ) -> None:
        self.energy, self.from_space, self.to_space = energy, from_space, to_space
        self.max_length = max_length or getattr(getattr(energy, "model", None), "max_length", None) or math.inf
        self.name, self.is_constraint = name or energy.name, energy.is_constraint

    @property
    def expensive(self) -> bool:  # type: ignore[override]
        return self.energy.expensive

    @property
    def lower_bound(self) -> float:  # type: ignore[override]
        return self.energy.lower_bound

    @property
    def code(self) -> Callable[..., Any]:
        return self.energy.code

    def texts(self, x: Tensor) -> list[str]:
        return self.from_space.decode(x)

    @classmethod
    def of(
        cls,
        energy: EnergyTerm,
        from_space: TextSpace,
        to_space: TextSpace,
        *,
        max_length: int | None = None,
        name: str | None = None,
    ) -> EnergyTerm:
        """``energy`` itself, under ``name``, where both spaces have the same vocabulary; else a ``ThroughText``."""
        if from_space.pad_id != to_space.pad_id or from_space.tokenizer.get_vocab() != to_space.tokenizer.get_vocab():
            return cls(energy, from_space, to_space, max_length=max_length, name=name)
        if name is None or name == energy.name:
            return energy
        renamed = copy(energy)
        renamed.name = name
        return renamed

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        texts = self.from_space.decode(x)
        ids = self.to_space.tokenizer(texts, add_special_tokens=False)["input_ids"]
        rows = [row for row, tokens in enumerate(ids) if self._can_be_scored(tokens)]
        total = torch.full((len(x),), math.inf, dtype=torch.float64, device=x.device)
        if not rows:
            return total
        width = max(len(ids[row]) for row in rows)
        padded = [ids[row] + [self.to_space.pad_id] * (width - len(ids[row])) for row in rows]
        try:
            total[rows] = self.energy(torch.tensor(padded, device=x.device)).to(total)
        except EnergyError as error:  # report the states of ``from_space``
            error.rows = [rows[row] for row in error.rows]
            at = error.rows or rows
            error.x, error.texts = x[at], [texts[row] for row in at]
            raise
        return total

    def _can_be_scored(self, ids: list[int]) -> bool:
        """Whether there are 1 to ``max_length`` tokens, all of them plain tokens that the model knows."""
        special = self.to_space.tokenizer.all_special_ids
        return 0 < len(ids) <= self.max_length and max(ids) < self.to_space.vocabulary and not set(ids) & set(special)
