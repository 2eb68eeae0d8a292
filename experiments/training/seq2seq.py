"""The embedded seq2seq model: its shape, the three tasks it learns, its figures."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from experiments.training import bleu, cards
from experiments.training.data import (
    EOS,
    MAX_LENGTH,
    embedded_tokenizer,
    english_split,
    epochs,
    paraphrase_split,
    translation_split,
)
from experiments.training.mixture import Framed, Mixture
from experiments.training.recipe import Phase, Recipe
from experiments.training.task import Task
from experiments.training.warm_start import warm_start_seq2seq
from lm_adapters import load_pretrained

__all__ = ["PREFIXES", "SHARES", "Seq2SeqTask"]

TRANSLATION, PARAPHRASE, DENOISE = "translation_fr_to_en", "paraphrase", "denoise"
PREFIXES = {PARAPHRASE: "<extra_0>", TRANSLATION: "<extra_1>", DENOISE: "<extra_2>"}  # the source's first token
SHARES = {TRANSLATION: 0.6, PARAPHRASE: 0.2, DENOISE: 0.2}  # of the examples of an epoch
QUICK_CHECK = 150  # held-out pairs of each task scored along the way
CHECK = 1000  # and for the card
ROWS = 50  # pairs of a pass
GENERATED = 500  # held-out pairs whose source is translated, or paraphrased, for the card
KNOWN = 20  # occurrences in English, which make the masked model's vector of a token worth having


class Seq2SeqTask(Task):
    """A T5 that translates French to English, paraphrases English, and mends broken English."""

    name, kind, card = "seq2seq-en", "seq2seq", cards.SEQ2SEQ
    relative_rates = True
    recipe = Recipe(
        phases=(
            Phase(steps=1600, rate=1.5e-2, final_rate=1.5e-2, batch_tokens=2048),
            Phase(steps=2200, rate=1.5e-2, final_rate=0.0, batch_tokens=3072),
        ),
        warmup=100,
        evaluate_every=200,
    )

    def __init__(self, corpus: Path, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        english, held_out = english_split(corpus)
        translations, self.translations = translation_split(corpus)
        paraphrases, self.paraphrases = paraphrase_split(corpus)
        self.mixture = self._mixture(translations, [*paraphrases, *(pair[::-1] for pair in paraphrases)], english)
        self.held_out = self._mixture(self.translations[:CHECK], self.paraphrases[:CHECK], held_out[:CHECK])
        epoch = self.mixture.epoch(SHARES, torch.Generator().manual_seed(0))
        self.epoch_tokens = int(self.mixture.tokens(epoch).sum())

    @staticmethod
    def make_tokenizer(corpus: Path) -> PreTrainedTokenizerFast:
        """The shared vocabulary; a text is framed as T5 frames it, ``text </s>``, and a prefix is written before it."""
        tokenizer = embedded_tokenizer()
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"$A {EOS}", pair=f"$A {EOS} $B {EOS}", special_tokens=[(EOS, tokenizer.eos_token_id)]
        )
        return tokenizer

    def build(self) -> T5ForConditionalGeneration:
        """T5 1.1: norm before each layer, relative positions, gated feed-forward. Few rows come twice: no dropout."""
        config = T5Config(
            vocab_size=len(self.tokenizer),
            d_model=256,
            d_kv=64,
            d_ff=640,
            num_layers=4,
            num_decoder_layers=3,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            pad_token_id=self.tokenizer.pad_token_id,
            bos_token_id=self.tokenizer.bos_token_id,
            eos_token_id=self.tokenizer.eos_token_id,
            decoder_start_token_id=self.tokenizer.pad_token_id,
            task_specific_params={task: {"prefix": prefix} for task, prefix in PREFIXES.items()},
        )
        model = T5ForConditionalGeneration(config)
        masked, _ = load_pretrained("masked", "masked-en")
        known = self.mixture.occurrences(DENOISE, config.vocab_size) >= KNOWN
        warm_start_seq2seq(model, masked, known)
        return model

    def batches(self, tokens: int, seed: int, first_step: int) -> Iterator[tuple[int, Tensor]]:
        return epochs(partial(self.mixture.cut, SHARES, tokens), seed, first_step)

    def loss(self, model: T5ForConditionalGeneration, batch: Tensor, phase: Phase, rng: torch.Generator) -> Tensor:
        """Mean ``-log p`` (nats) of target tokens and ends; ``batch`` are numbers of examples."""
        return _mean_nats(model, self.mixture.framed(batch, rng))

    def quick_figures(self, model: T5ForConditionalGeneration) -> dict[str, Any]:
        return {"nats_per_token": self._nats_per_token(model, QUICK_CHECK)}

    def figures(self, model: T5ForConditionalGeneration) -> dict[str, Any]:
        translate = partial(bleu.generate, model, self.tokenizer, prefix=PREFIXES[TRANSLATION])
        paraphrase = partial(bleu.generate, model, self.tokenizer, prefix=PREFIXES[PARAPHRASE])
        return {
            "pairs": {task: len(rows) for task, rows in self.held_out.rows.items()},
            "nats_per_token": self._nats_per_token(model, CHECK),
            TRANSLATION: bleu.translation_figures(translate, self.translations[:GENERATED]),
            PARAPHRASE: bleu.paraphrase_figures(paraphrase, self.paraphrases[:GENERATED]),
        }

    def _mixture(self, translations: list, paraphrases: list, english: list[str]) -> Mixture:
        denoise = [(sentence, sentence) for sentence in english]
        pairs = {TRANSLATION: translations, PARAPHRASE: paraphrases, DENOISE: denoise}
        return Mixture(pairs, PREFIXES, self.tokenizer, noisy=DENOISE, limit=MAX_LENGTH)

    @torch.no_grad()
    def _nats_per_token(self, model: T5ForConditionalGeneration, count: int) -> dict[str, float]:
        """Of target tokens and ends, in the first ``count`` held-out pairs of each task; always the same noise."""
        means = {}
        for task, index in self.held_out.rows.items():
            rng = torch.Generator().manual_seed(0)
            scored = [_scored(model, self.held_out.framed(part, rng)) for part in index[:count].split(ROWS)]
            means[task] = sum(nats for nats, _ in scored) / sum(tokens for _, tokens in scored)
        return means


def _scored(model: T5ForConditionalGeneration, rows: Framed) -> tuple[float, int]:
    """Nats and number of target tokens."""
    tokens = int((rows.labels >= 0).sum())
    return tokens * _mean_nats(model, rows).item(), tokens


def _mean_nats(model: T5ForConditionalGeneration, rows: Framed) -> Tensor:
    labels = {"labels": rows.labels, "use_cache": False}
    return model(input_ids=rows.source, attention_mask=rows.attention_mask, **labels).loss
