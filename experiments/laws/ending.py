"""Texts that end as a sentence does, and are not broken off."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import TextSpace
    from samplers import Constraint

__all__ = ["ends_as_sentence"]

# English words after which more has to come.
LEFT_OPEN = frozenset([
    "a", "an", "the", "and", "or", "but", "nor", "than", "because", "if", "my", "your", "our", "their",
    "every", "very", "i", "he", "she", "we", "they", "who", "whose", "which",
    "when", "while", "as", "although", "unless", "until",
])  # fmt: skip


def ends_as_sentence(space: TextSpace, text: str) -> Constraint:
    """Texts with the last mark of ``text``, right behind a word that can be the last; see ``LEFT_OPEN``.

    Where ``text`` has no mark at its end, a text may have any or none.
    """
    from samplers import Constraint

    mark = text.strip()[-1:]
    mark = "" if mark.isalnum() else mark

    def allowed(x: Tensor) -> Tensor:
        import torch

        return torch.tensor([_is_whole(each, mark, LEFT_OPEN) for each in space.decode(x)], device=x.device)

    ending = Constraint("ending", allowed)
    ending.clause = f"that end as a sentence does{f', in {mark!r}' if mark else ''}"
    return ending


def _is_whole(text: str, mark: str, left_open: Collection[str]) -> bool:
    found = re.search(r"(?:^|\W)(?P<word>\w[\w'\u2019-]*)(?P<marks>\W*)$", text.strip())
    if found is None or found["word"].lower() in left_open:
        return False
    return found["marks"][-1:] == mark and not found["marks"].startswith(",") if mark else True
