"""Texts that are not a given one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import TextSpace
    from samplers import Constraint

__all__ = ["other_than"]


def other_than(space: TextSpace, text: str) -> Constraint:
    """Texts that differ from ``text`` by more than case, blanks and marks."""
    from samplers import Constraint

    given = _bare(text)

    def allowed(x: Tensor) -> Tensor:
        import torch

        return torch.tensor([_bare(each) != given for each in space.decode(x)], device=x.device)

    other = Constraint("another", allowed)
    other.clause = f"other than {text!r}"
    return other


def _bare(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())
