"""Texts that are not a given one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import TextSpace
    from samplers import Constraint

__all__ = ["is_copy", "other_than", "without_a_word"]


def is_copy(text: str, source: str) -> bool:
    """Whether they differ by case, blanks and marks at most."""
    return _bare(text) == _bare(source)


def other_than(space: TextSpace, text: str) -> Constraint:
    """Texts that differ from ``text`` by more than case, blanks and marks."""
    from samplers import Constraint

    def allowed(x: Tensor) -> Tensor:
        import torch

        return torch.tensor([not is_copy(each, text) for each in space.decode(x)], device=x.device)

    other = Constraint("another", allowed)
    other.clause = f"other than {text!r}"
    return other


def without_a_word(space: TextSpace, text: str, x: Tensor) -> Tensor:
    """Starts ``x int64 [chains, width]``; those that are no other than ``text`` become ``text`` without one word.

    Of a single word they stay what they are.
    """
    import torch

    words = text.split()
    shorter = [" ".join(words[:at] + words[at + 1 :]) for at in range(len(words))] if len(words) > 1 else []
    rows = (other_than(space, text)(x) > 0).nonzero().squeeze(1)
    if not shorter or not len(rows):
        return x
    new = space.encode([shorter[row % len(shorter)] for row in rows.tolist()]).to(x.device)[:, : x.shape[1]]
    new = torch.nn.functional.pad(new, (0, x.shape[1] - new.shape[1]), value=space.pad_id)
    return x.index_copy(0, rows, new)


def _bare(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())
