"""The embedded Chinese masked language model: its shape, what it learns from, its figures."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from transformers import ModernBertForMaskedLM

from experiments.training.chinese import cards
from experiments.training.chinese.causal import SENTENCES, ChineseRows
from experiments.training.recipe import Recipe
from experiments.training.tasks.masked import MASK_POWER, MaskedTask

__all__ = ["ChineseMaskedTask"]

QUICK_CHECK = 300  # held-out rows of each kind scored along the way
CHECK = 2_000  # for the card's figures


class ChineseMaskedTask(ChineseRows, MaskedTask):
    """A ModernBERT that fills masked characters in Chinese sentences and couplets."""

    name, card = "masked-zh", cards.MASKED
    facts = MappingProxyType({"mask_power": MASK_POWER, "sentences": SENTENCES, "quick_check": QUICK_CHECK})
    recipe = Recipe(rate=3e-3, steady=5_764, decay=3_852, batch_tokens=16_384, dropout=0.15, weight_decay=0.1)

    def quick_figures(self, model: ModernBertForMaskedLM) -> dict[str, Any]:
        return self._by_kind(model, QUICK_CHECK)

    def figures(self, model: ModernBertForMaskedLM) -> dict[str, Any]:
        found = self._by_kind(model, CHECK)
        counts = {kind: len(rows[:CHECK]) for kind, rows in self.held_out_rows.items()}
        return {"rows": counts, **found["sentences"], **found}

    def _by_kind(self, model: ModernBertForMaskedLM, count: int) -> dict[str, dict[str, float]]:
        return {kind: self._pseudo_log_likelihood(model, rows[:count]) for kind, rows in self.held_out_rows.items()}
