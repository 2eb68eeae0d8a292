"""The embedded classifier of kinds of sentences: what it learns from, its shape, its figures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from experiments.training import cards
from experiments.training.data import (
    MAX_LENGTH,
    english_split,
    epochs,
    same_length_batches,
    translation_split,
)
from experiments.training.recipe import Recipe
from experiments.training.tasks.task import Task

__all__ = ["KINDS", "KindsTask", "agreeing", "kinds_split"]

KINDS = ("statement", "question", "command")
MARKS = {("?", "?"): "question", (".", "."): "statement", (".", "!"): "command"}  # of a sentence, of its translations
ONE_SENTENCE = re.compile(r'[^.?!"]+[.?!]')
UNREAD = Regex(r"[.?!…]+")  # marks that would tell the kind
COMMANDING = 0.1  # share of commands above which a first word commands
OUTCRIES = (
    "excuse",
    "god",
    "good",
    "hello",
    "hey",
    "oh",
    "sorry",
    "thank",
    "thanks",
    "welcome",
    "well",
    "what",
    "whatever",
)
VOCABULARY = 4096
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WIDTH, LAYERS, HEADS = 64, 2, 2
QUICK_CHECK = 2_000  # held-out sentences judged along the way; the card's figures use all of them

Labelled = tuple[str, int]


class KindsTask(Task):
    """A tiny BERT that tells statements, questions and commands apart by their words alone."""

    name, kind, card = "kinds-en", "classifier", cards.KINDS
    facts = MappingProxyType({"quick_check": QUICK_CHECK})
    dropped = ("word_embeddings",)
    recipe = Recipe(
        rate=2e-3, steady=600, decay=400, batch_tokens=4096, dropout=0.2, evaluate_every=200, compiled=False
    )

    def __init__(self, corpus: Path, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.everything, self.held_out = kinds_split(corpus)
        training = agreeing(self.everything, self.everything)
        self.groups = _by_length(tokenizer, training)
        counts = torch.tensor([label for _, label in training]).bincount(minlength=len(KINDS)).clamp(min=1)
        self.weights = counts.sum() / (len(KINDS) * counts)  # as if all kinds were equally frequent
        self.epoch_tokens = sum(rows[:, 1:].numel() for rows in self.groups.values())

    @staticmethod
    def make_tokenizer(corpus: Path) -> PreTrainedTokenizerFast:
        """Lower-cased word pieces; its normaliser drops the marks that end sentences."""
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        unmarked = normalizers.Replace(UNREAD, " ")
        tokenizer.normalizer = normalizers.Sequence([unmarked, normalizers.BertNormalizer(lowercase=True)])
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL, show_progress=False)
        tokenizer.train_from_iterator(english_split(corpus)[0], trainer)
        around = [(token, SPECIAL.index(token)) for token in ("[CLS]", "[SEP]")]
        tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=around)
        names = {f"{token[1:-1].lower()}_token": token for token in SPECIAL}
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)

    def build(self) -> BertForSequenceClassification:
        return BertForSequenceClassification(
            BertConfig(
                vocab_size=len(self.tokenizer),
                hidden_size=WIDTH,
                intermediate_size=2 * WIDTH,
                num_hidden_layers=LAYERS,
                num_attention_heads=HEADS,
                max_position_embeddings=2 * MAX_LENGTH,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
                pad_token_id=self.tokenizer.pad_token_id,
                id2label=dict(enumerate(KINDS)),
                label2id={kind: number for number, kind in enumerate(KINDS)},
            )
        )

    def batches(self, tokens: int, seed: int, first_step: int) -> Iterator[tuple[int, Tensor]]:
        return epochs(partial(same_length_batches, self.groups, tokens), seed, first_step)

    def inputs(self, batch: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Of ``int64 [rows, 1 + length]``, the kind before the tokens."""
        return {"label": batch[:, 0], "read": batch[:, 1:]}

    def loss(self, model: BertForSequenceClassification, inputs: dict[str, Tensor]) -> Tensor:
        """Mean ``-log p(kind | text)`` (nats), each kind with the same weight in all."""
        logits = model(input_ids=inputs["read"]).logits
        return cross_entropy(logits, inputs["label"], self.weights.to(logits.device))

    def quick_figures(self, model: BertForSequenceClassification) -> dict[str, Any]:
        return self._judged(model, self.held_out[:QUICK_CHECK])

    def figures(self, model: BertForSequenceClassification) -> dict[str, Any]:
        agree = agreeing(self.held_out, self.everything)
        return {
            "sentences": len(self.held_out),
            **self._judged(model, self.held_out),
            "agreeing": {"sentences": len(agree), **self._judged(model, agree)},
        }

    def _judged(self, model: BertForSequenceClassification, rows: Sequence[Labelled]) -> dict[str, Any]:
        """Share of each kind that is told right, their mean, and nats a sentence with the kinds equally frequent."""
        right, nats = torch.zeros(2, len(KINDS), dtype=torch.float64)
        count = torch.zeros(len(KINDS), dtype=torch.float64)
        with torch.inference_mode():
            for group in _by_length(self.tokenizer, rows).values():
                label = group[:, 0]
                log_probs = model(input_ids=group[:, 1:].to(model.device)).logits.log_softmax(dim=1).cpu()
                right.index_add_(0, label, (log_probs.argmax(dim=1) == label).double())
                nats.index_add_(0, label, cross_entropy(log_probs, label, reduction="none").double())
                count += label.bincount(minlength=len(KINDS))
        share = right / count.clamp(min=1)
        return {
            "accuracy": float(share.mean()),
            "nats": float((nats / count.clamp(min=1)).mean()),
            "kinds": dict(zip(KINDS, share.tolist(), strict=True)),
            "counts": dict(zip(KINDS, map(int, count.tolist()), strict=True)),
        }


def kinds_split(corpus: Path) -> tuple[list[Labelled], list[Labelled]]:
    """Training and held-out sentences with the numbers of their kinds, as ``MARKS`` has them.

    English writes a command with a full stop as it does a statement; German and French often write it with "!". Only
    single sentences of which all translations agree.
    """
    languages = [translation_split(corpus, language) for language in ("fra", "deu")]
    training, held_out = (_labelled([pair for split in languages for pair in split[part]]) for part in (0, 1))
    return training, held_out


def agreeing(rows: Sequence[Labelled], all_rows: Sequence[Labelled]) -> list[Labelled]:
    """Those of the ``rows`` whose first word agrees, by its share of commands in ``all_rows``.

    Where more than ``COMMANDING`` of the sentences that begin with a word are commands, the statements are commands
    that were translated with a full stop; elsewhere the commands are outcries.
    """
    counts: dict[str, list[int]] = {}
    for text, label in all_rows:
        counts.setdefault(_first_word(text), [0] * len(KINDS))[label] += 1
    wrong = {
        first: KINDS.index("statement" if commands > COMMANDING * (statements + commands) else "command")
        for first, (statements, _, commands) in counts.items()
    } | dict.fromkeys(OUTCRIES, KINDS.index("command"))
    return [(text, label) for text, label in rows if label != wrong.get(_first_word(text))]


def _first_word(text: str) -> str:
    return text.split()[0].strip(",.?!").lower()


def _labelled(pairs: Sequence[tuple[str, str]]) -> list[Labelled]:
    marks: dict[str, set[str]] = {}
    for foreign, english in pairs:
        marks.setdefault(english, set()).add(foreign.rstrip()[-1:])
    rows = []
    for english, others in marks.items():
        kind = MARKS.get((english[-1:], min(others))) if len(others) == 1 else None
        if kind and ONE_SENTENCE.fullmatch(english):
            rows.append((english, KINDS.index(kind)))
    return rows


def _by_length(tokenizer: PreTrainedTokenizerFast, rows: Sequence[Labelled]) -> dict[int, Tensor]:
    """One ``int64 [rows, 1 + length]`` for each length, the number of the kind before the tokens."""
    groups: dict[int, list[list[int]]] = {}
    ids = tokenizer([text for text, _ in rows])["input_ids"] if rows else []
    for tokens, (_, label) in zip(ids, rows, strict=True):
        if len(tokens) <= MAX_LENGTH:
            groups.setdefault(len(tokens), []).append([label, *tokens])
    return {length: torch.tensor(group) for length, group in sorted(groups.items())}
