"""Which tokens of a vocabulary are text by themselves, so that a move may propose them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["plain_tokens", "special_ids"]

# A name in angle brackets, or one that says itself that it is unused, perhaps behind a mark for the start of a word
# (the sentinels of mT5: ▁<extra_id_5>). Pieces that name a byte, such as <0x0A>, decode to something else.
RESERVED = re.compile(
    r"[▁Ġ ]*(<[^<>\s]*\w[^<>\s]*>(NOTUSED)?|\[[A-Za-z_]*(unused|UNUSED)[A-Za-z_]*\d*\]|madeupword\d+)"
)
BETWEEN_BRACKETS = re.compile(r"<.*>|\[.*\]|\{.*\}|\|.*\||__.*__", re.DOTALL)
BLANKS = ("Ġ", "▁", " ")  # names of the piece that is one space: text such as "R & B" and "2 + 2" holds it
REPLACEMENT = "\ufffd"  # decoded from a byte that is only part of a character


def plain_tokens(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> Tensor:
    """``bool [vocabulary]``: tokens that are text by themselves.

    Not among them: special, unknown, unused and reserved tokens, ids beyond the tokenizer, pieces of a character, line
    ends, tabs and runs of spaces. A single space is text, and so is a word added by ``add_tokens``.
    """
    plain = torch.zeros(vocabulary, dtype=torch.bool)
    known = min(len(tokenizer), vocabulary)
    names = tokenizer.convert_ids_to_tokens(list(range(known)))
    texts = tokenizer.batch_decode([[i] for i in range(known)])
    for index, (name, text) in enumerate(zip(names, texts, strict=True)):
        reserved = RESERVED.fullmatch(text) and RESERVED.fullmatch(name or "")  # some ids have no name
        written = text.strip() if name not in BLANKS else name
        plain[index] = bool(written) and REPLACEMENT not in text and not reserved
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if BETWEEN_BRACKETS.fullmatch(token.content)}
    plain[[i for i in added | special_ids(tokenizer) if i < vocabulary]] = False
    return plain


def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Tokens that control the model and are never text; those that ``add_tokens`` added as words are not special."""
    added = (i for i, token in tokenizer.added_tokens_decoder.items() if token.special)
    return frozenset([*tokenizer.all_special_ids, *added])
