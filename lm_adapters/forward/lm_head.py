"""Run the vocabulary head, the most expensive layer of a small model, only at the positions that are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["HeadOnRows", "positions_a_call"]

POSITIONS_A_CALL = {"cpu": 512}  # of the head: with 8,000 tokens in float32 16 MB of logits
ELSEWHERE = 8192  # on other devices: with 50,000 tokens 1.6 GB


def positions_a_call(device: torch.device) -> int:
    """The most positions that the head reads at once."""
    return POSITIONS_A_CALL.get(device.type, ELSEWHERE)


class HeadOnRows:
    """A hook after ``body`` (by default the model without its head) that passes only some positions to the head.

    Inside ``rows`` and ``read`` the head receives ``[1, wanted, hidden]``; elsewhere the model is unchanged. While
    ``full`` is set ``read`` runs the model without the hook, the head at all positions: for classes whose head does not
    read the output of ``body``.
    """

    def __init__(self, model: PreTrainedModel, body: torch.nn.Module | None = None) -> None:
        self._model, self._body, self.full = model, body or model.base_model, False
        self._wanted: tuple[Tensor, Tensor] | None = None
        self._part: int | None = None  # positions of one call of the head; ``None``: all
        self._output: Any = None
        self._later: Sequence[Tensor] = ()
        self._hook = self._body.register_forward_hook(self._gather)

    @contextmanager
    def rows(self, index: tuple[Tensor, Tensor]) -> Iterator[None]:
        """Calls of the model in this context return logits ``[1, wanted, vocabulary]`` at ``index`` only.

        ``index``: rows and columns of the model's input, ``int64 [wanted]`` each.
        """
        self._wanted = index
        try:
            yield
        finally:
            self._wanted = None

    def read(self, index: tuple[Tensor, Tensor], **inputs: Any) -> Iterator[Tensor]:
        """One pass over ``inputs``: logits at ``index``, in order, as an iterator over parts ``[part, vocabulary]``.

        The body runs now, the head on each part when the iterator reaches it: the logits of a whole pass would take
        more memory than everything else. For a model with an encoder, ``inputs`` must hold ``encoder_outputs``.
        """
        if self.full:
            return iter([self._model(**inputs).logits[index]])
        self._part = positions_a_call(index[0].device)
        try:
            with self.rows(index):
                first = self._model(**inputs).logits.squeeze(0)
            output, later = self._output, self._later
        finally:
            self._part, self._output, self._later = None, None, ()
        return chain([first], (self._head(output, part, inputs) for part in later))

    def logits(self, index: tuple[Tensor, Tensor], **inputs: Any) -> Tensor:
        """One pass over ``inputs``: logits ``[wanted, vocabulary]`` at ``index``, from one call of the head."""
        if self.full:
            return cast(Tensor, self._model(**inputs).logits[index])
        with self.rows(index):
            return cast(Tensor, self._model(**inputs).logits.squeeze(0))

    @property
    def alone(self) -> bool:
        """Whether only such hooks are on ``body``, and its ``forward`` is its own."""
        body = self._body
        hooks = [*body._forward_hooks.values(), *body._forward_pre_hooks.values()]
        return "forward" not in vars(body) and all(
            getattr(each, "__func__", None) is HeadOnRows._gather for each in hooks
        )

    def remove(self) -> None:
        """Take the hook off the model."""
        self._hook.remove()

    def _gather(self, module: torch.nn.Module, arguments: Any, output: Any) -> Any:
        if self._wanted is not None:
            picked = output.last_hidden_state[self._wanted]
            if self._part is not None and len(picked) > self._part:
                picked, *self._later = picked.split(self._part)
                self._output = output
            output.last_hidden_state = picked.unsqueeze(0)
        return output

    def _head(self, output: Any, hidden: Tensor, inputs: dict[str, Any]) -> Tensor:
        """Logits ``[part, vocabulary]``: the model runs with a body that only returns ``hidden``."""
        output.last_hidden_state = hidden.unsqueeze(0)
        own = self._body.__dict__.get("forward")  # where a library has replaced the method
        self._body.forward = lambda *_, **__: output
        try:
            return cast(Tensor, self._model(**inputs).logits.squeeze(0))
        finally:
            if own is None:
                del self._body.forward
            else:
                self._body.forward = own
