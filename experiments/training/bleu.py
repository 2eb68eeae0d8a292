"""What a seq2seq model writes, judged by BLEU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from experiments.training.data import MAX_LENGTH, Pair

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

__all__ = ["bleu", "generate", "paraphrase_figures", "paraphrase_scores", "translation_figures"]

BEAMS = 4
ROWS = 50


def generate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, texts: list[str], *, prefix: str) -> list[str]:
    """The model's likeliest outputs by beam search, in the order of ``texts``."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    model.eval()
    written: list[str] = []
    for start in range(0, len(texts), ROWS):
        rows = tokenizer([prefix + text for text in texts[start : start + ROWS]])["input_ids"]
        # Padded here: the tokenizer would remember having padded, and be saved so.
        ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=tokenizer.pad_token_id)
        real = (ids != tokenizer.pad_token_id).long()
        with torch.no_grad():
            out = model.generate(  # type: ignore[operator]  # PreTrainedModel alone does not declare it
                input_ids=ids.to(model.device),
                attention_mask=real.to(model.device),
                num_beams=BEAMS,
                do_sample=False,
                max_new_tokens=MAX_LENGTH,
            )
        written += tokenizer.batch_decode(out, skip_special_tokens=True)
    return written


def translation_figures(
    write: Callable[[list[str]], list[str]], pairs: list[Pair], *, tokenize: str | None = None
) -> dict[str, Any]:
    """Corpus BLEU of translations against one reference, in words as sacrebleu's ``tokenize`` divides them."""
    sources, references = _sides(pairs)
    return {"pairs": len(pairs), "bleu": bleu(write(sources), references, tokenize=tokenize)}


def paraphrase_figures(write: Callable[[list[str]], list[str]], pairs: list[Pair]) -> dict[str, Any]:
    """``paraphrase_scores`` of the model's paraphrases, beside those of copying."""
    sources, references = _sides(pairs)
    return {
        "pairs": len(pairs),
        "scores": {
            "model": paraphrase_scores(write(sources), sources, references),
            "copy": paraphrase_scores(sources, sources, references),
        },
    }


def paraphrase_scores(written: list[str], sources: list[str], references: list[str]) -> dict[str, float]:
    """Corpus BLEU against reference and source, and iBLEU (Sun and Zhou 2012, with weight 0.9)."""
    to_reference, to_source = bleu(written, references), bleu(written, sources)
    return {
        "bleu_reference": to_reference,
        "bleu_source": to_source,
        "ibleu": 0.9 * to_reference - 0.1 * to_source,
    }


def _sides(pairs: list[Pair]) -> tuple[list[str], list[str]]:
    return [source for source, _ in pairs], [target for _, target in pairs]


def bleu(written: list[str], references: list[str], *, tokenize: str | None = None) -> float:
    from sacrebleu import corpus_bleu

    return corpus_bleu(written, [references], tokenize=tokenize).score
