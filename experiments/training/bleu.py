"""What a seq2seq model writes, judged by BLEU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from sacrebleu import corpus_bleu
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from experiments.training.data import MAX_LENGTH, Pair

__all__ = ["generate", "paraphrase_figures", "translation_figures"]

BEAMS = 4
ROWS = 50


@torch.no_grad()
def generate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, texts: list[str], *, prefix: str) -> list[str]:
    """The model's likeliest outputs by beam search, in the order of ``texts``."""
    model.eval()
    written: list[str] = []
    for start in range(0, len(texts), ROWS):
        part = tokenizer(
            [prefix + text for text in texts[start : start + ROWS]],
            padding=True,
            return_tensors="pt",
            return_token_type_ids=False,
        )
        ids = model.generate(**part, num_beams=BEAMS, do_sample=False, max_new_tokens=MAX_LENGTH)
        written += tokenizer.batch_decode(ids, skip_special_tokens=True)
    return written


def translation_figures(write: Callable[[list[str]], list[str]], pairs: list[Pair]) -> dict[str, Any]:
    """Corpus BLEU of translations against one reference."""
    sources, references = _sides(pairs)
    return {"pairs": len(pairs), "bleu": _bleu(write(sources), references)}


def paraphrase_figures(write: Callable[[list[str]], list[str]], pairs: list[Pair]) -> dict[str, Any]:
    """Corpus BLEU against reference and source, and iBLEU (Sun and Zhou 2012, with weight 0.9), beside copying."""
    sources, references = _sides(pairs)
    return {
        "pairs": len(pairs),
        "scores": {
            "this model": _paraphrase_scores(write(sources), sources, references),
            "copying the source": _paraphrase_scores(sources, sources, references),
        },
    }


def _paraphrase_scores(written: list[str], sources: list[str], references: list[str]) -> dict[str, float]:
    to_reference, to_source = _bleu(written, references), _bleu(written, sources)
    return {
        "bleu_reference": to_reference,
        "bleu_source": to_source,
        "ibleu": 0.9 * to_reference - 0.1 * to_source,
    }


def _sides(pairs: list[Pair]) -> tuple[list[str], list[str]]:
    return [source for source, _ in pairs], [target for _, target in pairs]


def _bleu(written: list[str], references: list[str]) -> float:
    return corpus_bleu(written, [references]).score
