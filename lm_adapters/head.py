"""The vocabulary head, the dearest layer of a small model, on the rows that are asked for and no others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["HeadOnRows"]


class HeadOnRows:
    """A hook after ``body`` (by default the model without its head) that hands the head only some positions.

    Inside ``rows(index)`` the head sees ``[1, wanted, hidden]``, the positions ``index`` picks, whatever the class of
    the model; outside, the model is as it was.
    """

    def __init__(self, model: PreTrainedModel, body: torch.nn.Module | None = None) -> None:
        self._wanted: tuple[Tensor, Tensor] | None = None
        self._hook = (body or model.base_model).register_forward_hook(self._gather)

    @contextmanager
    def rows(self, index: tuple[Tensor, Tensor]) -> Iterator[None]:
        """``index``: rows and columns of the model's input, ``int64 [wanted]`` each."""
        self._wanted = index
        try:
            yield
        finally:
            self._wanted = None

    def remove(self) -> None:
        self._hook.remove()

    def _gather(self, module: torch.nn.Module, arguments: Any, output: Any) -> Any:
        if self._wanted is not None:
            output.last_hidden_state = output.last_hidden_state[self._wanted].unsqueeze(0)
        return output
