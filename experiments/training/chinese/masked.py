"""The embedded Chinese masked language model: its shape, what it learns from, its figures."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, cast

from transformers import LlamaForCausalLM, ModernBertConfig, ModernBertForMaskedLM

from experiments.training.chinese import cards
from experiments.training.chinese.causal import SENTENCES, ChineseRows
from experiments.training.chinese.warm_start import warm_start_masked
from experiments.training.recipe import Recipe
from experiments.training.tasks.masked import MASK_POWER, MaskedTask
from lm_adapters import load_pretrained

__all__ = ["ChineseMaskedTask"]

WIDTH, HEADS, FEED_FORWARD, LAYERS = 256, 4, 640, 4
POSITIONS = 128
QUICK_CHECK = 300  # held-out rows of each kind scored along the way
CHECK = 2_000  # for the card's figures


class ChineseMaskedTask(ChineseRows, MaskedTask):
    """A ModernBERT that fills masked characters in Chinese sentences and couplets."""

    name, card = "masked-zh", cards.MASKED
    facts = MappingProxyType({"mask_power": MASK_POWER, "sentences": SENTENCES, "quick_check": QUICK_CHECK})
    embedding_rate = 2.0
    recipe = Recipe(rate=3e-3, steady=200, decay=250, batch_tokens=4096, dropout=0.05)

    def build(self) -> ModernBertForMaskedLM:
        """Begins with the weights of the embedded causal model, whose shape it has."""
        causal, _ = load_pretrained("causal", "causal-zh")
        shape: dict[str, Any] = {"layer_types": ["full_attention"] * LAYERS, "attn_implementation": "eager"}
        config = ModernBertConfig(
            vocab_size=len(self.tokenizer),
            hidden_size=WIDTH,
            intermediate_size=FEED_FORWARD,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            max_position_embeddings=POSITIONS,
            pad_token_id=self.tokenizer.pad_token_id,
            bos_token_id=self.tokenizer.bos_token_id,
            eos_token_id=self.tokenizer.eos_token_id,
            cls_token_id=self.tokenizer.cls_token_id,
            sep_token_id=self.tokenizer.sep_token_id,
            classifier_activation="linear",
            rope_parameters={
                "full_attention": dict(causal.config.rope_parameters),
                "sliding_attention": dict(causal.config.rope_parameters),
            },
            **shape,
        )
        model = ModernBertForMaskedLM(config)
        warm_start_masked(model, cast(LlamaForCausalLM, causal))
        return model

    def quick_figures(self, model: ModernBertForMaskedLM) -> dict[str, Any]:
        return self._by_kind(model, QUICK_CHECK)

    def figures(self, model: ModernBertForMaskedLM) -> dict[str, Any]:
        found = self._by_kind(model, CHECK)
        counts = {kind: len(rows[:CHECK]) for kind, rows in self.held_out_rows.items()}
        return {"rows": counts, **found["sentences"], **found}

    def _by_kind(self, model: ModernBertForMaskedLM, count: int) -> dict[str, dict[str, float]]:
        return {kind: self._pseudo_log_likelihood(model, rows[:count]) for kind, rows in self.held_out_rows.items()}
