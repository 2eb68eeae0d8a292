"""The embedded Chinese seq2seq model: its shape, the tasks it learns, its figures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from experiments.training import bleu
from experiments.training.chinese import cards
from experiments.training.chinese.causal import SENTENCES
from experiments.training.chinese.corpus import couplets_split, lines_of, mandarin_paraphrases, mandarin_split
from experiments.training.chinese.kept_words import keep_runs
from experiments.training.chinese.warm_start import warm_start_seq2seq
from experiments.training.data import MAX_LENGTH, Pair, embedded_tokenizer
from experiments.training.output_tokens import OutputTokens
from experiments.training.recipe import Recipe
from experiments.training.tasks.mixture import Mixture, Noise, Pool
from experiments.training.tasks.noise import MOST_WORDS
from experiments.training.tasks.seq2seq import Seq2SeqTask, framed_for_t5
from lm_adapters import load_pretrained

__all__ = ["PREFIXES", "SHARES", "ChineseSeq2SeqTask"]

WORDS, ENGLISH, NEXT_LINE, PARAPHRASE = "words_to_sentence", "translation_en_to_zh", "next_line", "paraphrase"
PREFIXES = {WORDS: "<extra_3>", ENGLISH: "<extra_1>", NEXT_LINE: "<extra_2>", PARAPHRASE: "<extra_0>"}
SHARES = {WORDS: 0.42, ENGLISH: 0.33, NEXT_LINE: 0.2, PARAPHRASE: 0.05}  # of an epoch's examples
QUICK_CHECK = 200  # held-out examples of each task scored along the way
CHECK = 1000  # and for the card
GENERATED = 200  # held-out sources that the model writes for, for the card


class ChineseSeq2SeqTask(Seq2SeqTask):
    """A T5 that writes Chinese from words, translates English, answers a couplet's first line, paraphrases."""

    name, card = "seq2seq-zh", cards.SEQ2SEQ
    facts = MappingProxyType({"shares": SHARES, "quick_check": QUICK_CHECK, "sentences": SENTENCES})
    shares = SHARES
    recipe = Recipe(rate=1e-2, steady=2_021, decay=1_410, batch_tokens=16_384, dropout=0.2)

    def __init__(self, corpus: Path, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        couplets, held_out_couplets = couplets_split(corpus)
        pairs, held_out_pairs = mandarin_split(corpus)
        sentences, held_out_sentences = [pair[0] for pair in pairs], [pair[0] for pair in held_out_pairs]
        half = CHECK // 2
        self.corpus = corpus
        self.translations = [(english, chinese) for chinese, english in held_out_pairs]
        self.first_lines = lines_of(held_out_couplets[:CHECK])
        self.mixture = self._chinese([*couplets, *SENTENCES * sentences], couplets, pairs)
        self.held_out = self._chinese(
            [*held_out_couplets[:half], *held_out_sentences[:half]], held_out_couplets[:CHECK], held_out_pairs
        )
        self.output = OutputTokens([self.mixture.targets, torch.tensor([tokenizer.eos_token_id])], len(tokenizer))
        epoch = self.mixture.epoch(SHARES, torch.Generator().manual_seed(0))
        self.epoch_tokens = int(self.mixture.tokens(epoch).sum())

    @staticmethod
    def make_tokenizer(corpus: Path) -> PreTrainedTokenizerFast:
        """The characters of the other Chinese models; a text is framed as T5 frames it."""
        return framed_for_t5(embedded_tokenizer("causal-zh"))

    def build(self) -> T5ForConditionalGeneration:
        """Begins with the layers of the English model and, turned to fit them, the characters of the causal one."""
        english, english_tokenizer = load_pretrained("seq2seq", "seq2seq-en")
        causal, _ = load_pretrained("causal", "causal-zh")
        tasks = {task: {"prefix": prefix} for task, prefix in PREFIXES.items()}
        changed = {"vocab_size": len(self.tokenizer), "task_specific_params": tasks, "dtype": "float32"}
        model = T5ForConditionalGeneration(T5Config(**{**english.config.to_dict(), **changed}))
        pairs = mandarin_split(self.corpus)[0]
        warm_start_seq2seq(model, self.tokenizer, english, english_tokenizer, causal, pairs)
        return model

    def figures(self, model: T5ForConditionalGeneration) -> dict[str, Any]:
        write = {task: partial(bleu.generate, model, self.tokenizer, prefix=PREFIXES[task]) for task in PREFIXES}
        return {
            "pairs": {task: len(rows[:CHECK]) for task, rows in self.held_out.rows.items()},
            **self._nats(model, CHECK),
            ENGLISH: bleu.translation_figures(write[ENGLISH], self.translations[:GENERATED], tokenize="zh"),
            NEXT_LINE: _form(write[NEXT_LINE], self.first_lines[:GENERATED]),
            WORDS: self._words_there(write[WORDS]),
        }

    def _chinese(self, texts: list[str], couplets: list[str], pairs: list[Pair]) -> Mixture:
        pad, space = self.tokenizer.pad_token_id, cast(int, self.tokenizer.convert_tokens_to_ids(" "))
        is_character = _characters(self.tokenizer)
        words = Noise(
            make=lambda rows, rng: (keep_runs(rows, pad, space, is_character, rng), rows),
            sizes=lambda lengths: ((2 * lengths // 3).clamp_max(2 * MOST_WORDS), lengths),
        )
        pools = {
            WORDS: Pool(PREFIXES[WORDS], texts, words),
            ENGLISH: Pool(PREFIXES[ENGLISH], [(english, chinese) for chinese, english in pairs]),
            NEXT_LINE: Pool(PREFIXES[NEXT_LINE], lines_of(couplets)),
            PARAPHRASE: Pool(PREFIXES[PARAPHRASE], mandarin_paraphrases(pairs)),
        }
        return Mixture(pools, self.tokenizer, MAX_LENGTH)

    def _words_there(self, write: Callable[[list[str]], list[str]]) -> dict[str, Any]:
        """The share of the given words that stand in what is written from them."""
        rows = self.held_out.framed(self.held_out.rows[WORDS], torch.Generator().manual_seed(0))
        sources = self.tokenizer.batch_decode(rows.source[:, 1:], skip_special_tokens=True)
        given = [source for source in sources if source][:: CHECK // GENERATED]
        found = [word in text for source, text in zip(given, write(given), strict=True) for word in source.split()]
        return {"sources": len(given), "words": len(found), "there": sum(found) / len(found)}


def _form(write: Callable[[list[str]], list[str]], lines: list[Pair]) -> dict[str, Any]:
    """The share of second lines that are as long as the first and end in a full stop."""
    written = write([first for first, _ in lines])
    fits = [len(text) == len(first) and text[-1] == "。" for (first, _), text in zip(lines, written, strict=True)]
    return {"lines": len(lines), "fits": sum(fits) / len(fits)}


def _characters(tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """``bool [vocabulary]``: tokens that are a letter, a digit or a Chinese character."""
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return torch.tensor([len(token) == 1 and token.isalnum() for token in tokens])
