"""The embedded Chinese causal language model: its shape, what it learns from, its figures."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.judging.kneser_ney import KneserNey
from experiments.training.chinese import cards
from experiments.training.chinese.corpus import chinese_tokenizer, couplets_split, mandarin_split
from experiments.training.data import MAX_LENGTH, by_length
from experiments.training.output_tokens import OutputTokens
from experiments.training.recipe import Recipe
from experiments.training.tasks.causal import CausalTask

__all__ = ["SENTENCES", "ChineseCausalTask", "ChineseRows"]

ORDER = 5  # characters of the n-gram model beside it
SENTENCES = 2  # times that each sentence stands in an epoch, where each couplet stands once
QUICK_CHECK = 1000  # held-out rows of each kind scored along the way; the card's figures use all of them


class ChineseRows:
    """What the tasks of Chinese share: a tokenizer of characters, the rows of an epoch by length, the held-out ones."""

    def __init__(self, corpus: Path, tokenizer: PreTrainedTokenizerFast) -> None:
        couplets, held_out_couplets = couplets_split(corpus)
        pairs, held_out_pairs = mandarin_split(corpus)
        rows = [*couplets, *SENTENCES * [mandarin for mandarin, _ in pairs]]
        self.tokenizer = tokenizer
        self.groups = by_length(tokenizer, rows, MAX_LENGTH)
        self.held_out_rows = {"couplets": held_out_couplets, "sentences": [mandarin for mandarin, _ in held_out_pairs]}
        self.output = OutputTokens(self.groups.values(), len(tokenizer))
        self.epoch_tokens = sum(rows.numel() for rows in self.groups.values())

    def _epoch(self, rng: torch.Generator) -> dict[int, Tensor]:
        return self.groups

    @staticmethod
    def make_tokenizer(corpus: Path) -> PreTrainedTokenizerFast:
        return chinese_tokenizer(corpus)


class ChineseCausalTask(ChineseRows, CausalTask):
    """A Llama that writes Chinese sentences and couplets, character by character."""

    name, card = "causal-zh", cards.CAUSAL
    facts = MappingProxyType({"sentences": SENTENCES, "quick_check": QUICK_CHECK, "order": ORDER})
    width, heads, feed_forward, layers = 256, 4, 640, 6
    embedding_rate = 2.0
    recipe = Recipe(rate=3e-3, steady=5_319, decay=2_365, batch_tokens=16_384, dropout=0.3, weight_decay=0.1)

    def quick_figures(self, model: LlamaForCausalLM) -> dict[str, Any]:
        return {kind: self._log_likelihood(model, rows[:QUICK_CHECK]) for kind, rows in self.held_out_rows.items()}

    def figures(self, model: LlamaForCausalLM) -> dict[str, Any]:
        found = {kind: self._log_likelihood(model, rows) for kind, rows in self.held_out_rows.items()}
        counts = {kind: len(rows) for kind, rows in self.held_out_rows.items()}
        return {"rows": counts, **found["sentences"], **found, "kneser_ney": self._kneser_ney()}

    def _kneser_ney(self) -> dict[str, float]:
        """Nats a row of an n-gram model of characters, for comparison."""
        rows = [row for group in self.groups.values() for row in group]
        texts = dict.fromkeys(self.tokenizer.batch_decode(rows, skip_special_tokens=True))  # each once
        model = KneserNey([*texts], order=ORDER)
        return {kind: float(model.nats(rows)[0].mean()) for kind, rows in self.held_out_rows.items()}
