"""Start the Chinese seq2seq model from the English one and the Chinese causal one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5ForConditionalGeneration,
)

from experiments.training.data import Pair

__all__ = ["warm_start_seq2seq"]

FEWEST = 5  # pairs that a character and a token stand in together, to be matched


@torch.no_grad()
def warm_start_seq2seq(
    model: T5ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    english: PreTrainedModel,
    english_tokenizer: PreTrainedTokenizerBase,
    causal: PreTrainedModel,
    pairs: Sequence[Pair],
) -> None:
    """Give a T5 the layers of an English one of its shape, and embeddings of Chinese characters that fit them.

    Why: layers that copy given words and attend to a source do so in another language too, if embeddings lie where
    theirs lay (Minixhofer et al. 2022, arXiv:2112.06598). Those of ``causal``, which know what characters have to do
    with each other, are turned (orthogonal Procrustes) so that characters come near the English tokens that stand in
    the translations, of ``pairs``, Mandarin and English. Tokens that frame texts are those of the English model.
    """
    state = {name: weight for name, weight in english.state_dict().items() if weight.shape[0] != len(english_tokenizer)}
    model.load_state_dict(state, strict=False)
    ours, theirs = (_embeddings(each).float() for each in (causal, english))
    together = _together(tokenizer, english_tokenizer, pairs)
    strength, match = together.max(dim=1)
    anchors = (strength > 0).nonzero()[:, 0]
    a, b, weight = ours[anchors], theirs[match[anchors]], strength[anchors, None]
    middle_a, middle_b = ((weight * x).sum(dim=0) / weight.sum() for x in (a, b))
    a, b = a - middle_a, b - middle_b
    u, _, v = torch.linalg.svd((weight * a).T @ b)
    scale = b.square().mean().sqrt() / a.square().mean().sqrt()
    words = scale * (ours - middle_a) @ (u @ v) + middle_b
    for name in tokenizer.all_special_tokens:
        words[tokenizer.convert_tokens_to_ids(name)] = theirs[english_tokenizer.convert_tokens_to_ids(name)]
    _embeddings(model).copy_(words)


def _embeddings(model: PreTrainedModel) -> Tensor:
    return cast(nn.Embedding, model.get_input_embeddings()).weight


def _together(a: PreTrainedTokenizerBase, b: PreTrainedTokenizerBase, pairs: Sequence[Pair]) -> Tensor:
    """``float32 [tokens of a, tokens of b]``: squared cosine of the pairs that each stands in; 0 for few together."""
    sides = [
        [set(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
        for tokenizer, texts in ((a, [pair[0] for pair in pairs]), (b, [pair[1] for pair in pairs]))
    ]
    cells = [x * len(b) + y for left, right in zip(*sides, strict=True) for x in left for y in right]
    both = _counts(cells, len(a) * len(b)).view(len(a), len(b))
    alone = [_counts([*chain(*side)], len(each)).clamp_min(1) for side, each in zip(sides, (a, b), strict=True)]
    cosines: Tensor = both.square().where(both >= FEWEST, 0) / alone[0][:, None] / alone[1]
    return cosines


def _counts(numbers: Sequence[int], size: int) -> Tensor:
    return torch.bincount(torch.tensor(numbers), minlength=size).float()
