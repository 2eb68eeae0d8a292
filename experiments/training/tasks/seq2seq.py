"""The embedded seq2seq model: its shape, the tasks it learns, its figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, cast

import torch
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from experiments.training import bleu, cards
from experiments.training.data import (
    EOS,
    MAX_LENGTH,
    Pair,
    books_split,
    embedded_tokenizer,
    english_split,
    epochs,
    paraphrase_split,
    translation_split,
)
from experiments.training.output_tokens import OutputTokens, mean_nats
from experiments.training.recipe import Recipe
from experiments.training.tasks.mixture import Framed, Mixture, Noise, Pool
from experiments.training.tasks.noise import LONGEST_SPAN, MOST_WORDS, WordTable, corrupt, cut_span, keep_words
from experiments.training.tasks.task import Task
from lm_adapters import load_pretrained

__all__ = ["PREFIXES", "SENTINEL", "SHARES", "Seq2SeqTask", "framed_for_t5"]

WORDS, INFILL, FRENCH, GERMAN, PARAPHRASE, DENOISE = (
    "words_to_sentence",
    "infill",
    "translation_fr_to_en",
    "translation_de_to_en",
    "paraphrase",
    "denoise",
)
# The source's first token. The order of the table above is that of importance, the numbers that of history.
PREFIXES = {
    PARAPHRASE: "<extra_0>",
    FRENCH: "<extra_1>",
    DENOISE: "<extra_2>",
    WORDS: "<extra_3>",
    INFILL: "<extra_4>",
    GERMAN: "<extra_5>",
}
SENTINEL = "<extra_6>"  # where the span was, in the source of ``infill``
SHARES = {
    WORDS: 0.4,
    INFILL: 0.15,
    FRENCH: 0.15,
    GERMAN: 0.1,
    PARAPHRASE: 0.12,
    DENOISE: 0.08,
}  # of an epoch's examples
BOOKS = 0.25  # of the sentences from books are there to be remade from their words, and to be filled in
QUICK_CHECK = 200  # held-out pairs of each task scored along the way
CHECK = 1000  # and for the card
ROWS = 50  # pairs of a pass
GENERATED = 500  # held-out pairs whose source is translated, or paraphrased, for the card


class Seq2SeqTask(Task):
    """A T5 that writes sentences from words, fills gaps, translates, paraphrases and mends."""

    name, kind, card = "seq2seq-en", "seq2seq", cards.SEQ2SEQ
    dropped = ("embed_tokens", "o", "wo")
    facts = MappingProxyType({"shares": SHARES, "quick_check": QUICK_CHECK})
    shares: ClassVar[Mapping[str, float]] = SHARES
    relative_rates = True
    recipe = Recipe(rate=1e-2, steady=1_196, decay=1_052, batch_tokens=24_576, dropout=0.1)

    def __init__(self, corpus: Path, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        english, held_out = english_split(corpus)
        books, _ = books_split(corpus)
        french, self.french = translation_split(corpus, "fra")
        german, self.german = translation_split(corpus, "deu")
        paraphrases, self.paraphrases = paraphrase_split(corpus)
        both_ways = [*paraphrases, *(pair[::-1] for pair in paraphrases)]
        self.words = WordTable.of(tokenizer, self._occurrences(english))
        more = [*english, *books[: int(BOOKS * len(books))]]
        self.mixture = self._mixture(more, english, french, german, both_ways)
        held = (self.french[:CHECK], self.german[:CHECK], self.paraphrases[:CHECK])
        self.held_out = self._mixture(held_out[:CHECK], held_out[:CHECK], *held)
        self.output = OutputTokens([self.mixture.targets, torch.tensor([tokenizer.eos_token_id])], len(tokenizer))
        epoch = self.mixture.epoch(self.shares, torch.Generator().manual_seed(0))
        self.epoch_tokens = int(self.mixture.tokens(epoch).sum())

    @staticmethod
    def make_tokenizer(corpus: Path) -> PreTrainedTokenizerFast:
        """The shared vocabulary; a text is framed as T5 frames it, ``text </s>``, and a prefix is written before it."""
        return framed_for_t5(embedded_tokenizer())

    def build(self) -> T5ForConditionalGeneration:
        """Begins with the weights of the embedded model: T5 1.1, with tied embeddings."""
        begun, _ = load_pretrained("seq2seq", "seq2seq-en")
        tasks = {task: {"prefix": prefix} for task, prefix in PREFIXES.items()}
        tasks[INFILL]["sentinel"] = SENTINEL
        config = {**begun.config.to_dict(), "task_specific_params": tasks, "dtype": "float32"}
        model = T5ForConditionalGeneration(T5Config(**config))
        model.load_state_dict(begun.state_dict())
        return model

    def batches(self, tokens: int, seed: int, first_step: int) -> Iterator[tuple[int, Tensor]]:
        return epochs(partial(self.mixture.cut, self.shares, tokens), seed, first_step)

    def inputs(self, batch: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Of the numbers of examples; ``where`` are the target tokens and ends in all rows together."""
        rows = self.mixture.framed(batch, rng)
        real = rows.target != rows.pad_id
        started = torch.nn.functional.pad(rows.target[:, :-1], (1, 0), value=rows.pad_id)
        return {
            "source": rows.source,
            "attention_mask": rows.attention_mask,
            "read": started,
            "where": real.flatten().nonzero()[:, 0],
            **self.output.draw(rows.target[real], rng),
        }

    def loss(self, model: T5ForConditionalGeneration, inputs: dict[str, Tensor]) -> Tensor:
        """Mean ``-log p`` (nats) of target tokens and ends."""
        seen = model.encoder(input_ids=inputs["source"], attention_mask=inputs["attention_mask"]).last_hidden_state
        states = model.decoder(
            input_ids=inputs["read"],
            encoder_hidden_states=seen,
            encoder_attention_mask=inputs["attention_mask"],
            use_cache=False,
        ).last_hidden_state
        states = states.flatten(0, 1)[inputs["where"]] * model.model_dim**-0.5
        return mean_nats(states, model.lm_head.weight, inputs)

    def quick_figures(self, model: T5ForConditionalGeneration) -> dict[str, Any]:
        return self._nats(model, QUICK_CHECK)

    def figures(self, model: T5ForConditionalGeneration) -> dict[str, Any]:
        write = {task: partial(bleu.generate, model, self.tokenizer, prefix=PREFIXES[task]) for task in PREFIXES}
        return {
            "pairs": {task: len(rows) for task, rows in self.held_out.rows.items()},
            **self._nats(model, CHECK),
            FRENCH: bleu.translation_figures(write[FRENCH], self.french[:GENERATED]),
            GERMAN: bleu.translation_figures(write[GERMAN], self.german[:GENERATED]),
            PARAPHRASE: bleu.paraphrase_figures(write[PARAPHRASE], self.paraphrases[:GENERATED]),
        }

    def _mixture(
        self, sentences: list[str], mended: list[str], french: list[Pair], german: list[Pair], paraphrases: list[Pair]
    ) -> Mixture:
        pools = {
            WORDS: Pool(PREFIXES[WORDS], sentences, self._noise(WORDS)),
            INFILL: Pool(PREFIXES[INFILL], sentences, self._noise(INFILL)),
            FRENCH: Pool(PREFIXES[FRENCH], french),
            GERMAN: Pool(PREFIXES[GERMAN], german),
            PARAPHRASE: Pool(PREFIXES[PARAPHRASE], paraphrases),
            DENOISE: Pool(PREFIXES[DENOISE], mended, self._noise(DENOISE)),
        }
        return Mixture(pools, self.tokenizer, MAX_LENGTH)

    def _noise(self, task: str) -> Noise:
        pad, mask = self.tokenizer.pad_token_id, self.tokenizer.mask_token_id
        sentinel = cast(int, self.tokenizer.convert_tokens_to_ids(SENTINEL))
        return {
            WORDS: Noise(
                make=lambda rows, rng: (keep_words(rows, pad, self.words, rng), rows),
                sizes=lambda lengths: (lengths.clamp_max(MOST_WORDS), lengths),
            ),
            INFILL: Noise(
                make=lambda rows, rng: cut_span(rows, pad, sentinel, rng),
                sizes=lambda lengths: (lengths, lengths.clamp_max(LONGEST_SPAN // 2)),
            ),
            DENOISE: Noise(
                make=lambda rows, rng: (corrupt(rows, pad, mask, rng), rows),
                sizes=lambda lengths: (lengths, lengths),
            ),
        }[task]

    def _occurrences(self, texts: list[str]) -> Tensor:
        """``int64 [vocabulary]``: how often each token stands in the texts."""
        ids = chain(*self.tokenizer(texts, add_special_tokens=False)["input_ids"])
        return torch.bincount(torch.tensor([*ids]), minlength=len(self.tokenizer))

    @torch.no_grad()
    def _nats(self, model: T5ForConditionalGeneration, count: int) -> dict[str, dict[str, float]]:
        """Of target tokens and ends, in the first ``count`` held-out pairs of each task; always the same noise."""
        per_token, per_target = {}, {}
        for task, index in self.held_out.rows.items():
            rng = torch.Generator().manual_seed(0)
            scored = [_scored(model, self.held_out.framed(part, rng)) for part in index[:count].split(ROWS)]
            nats = sum(nats for nats, _ in scored)
            per_token[task] = nats / sum(tokens for _, tokens in scored)
            per_target[task] = nats / len(index[:count])
        return {"nats_per_token": per_token, "nats_per_target": per_target}


def framed_for_t5(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The tokenizer, changed to write no start before a text."""
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"$A {EOS}", pair=f"$A {EOS} $B {EOS}", special_tokens=[(EOS, tokenizer.eos_token_id)]
    )
    return tokenizer


def _scored(model: T5ForConditionalGeneration, rows: Framed) -> tuple[float, int]:
    """Nats and number of target tokens."""
    tokens = int((rows.labels >= 0).sum())
    read = {"input_ids": rows.source, "attention_mask": rows.attention_mask, "labels": rows.labels}
    nats = model(**{name: ids.to(model.device) for name, ids in read.items()}, use_cache=False).loss.item()
    return tokens * nats, tokens
