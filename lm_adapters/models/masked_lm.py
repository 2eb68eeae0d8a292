"""A masked language model as logits at masked sites; only those sites reach the vocabulary head."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from lm_adapters.forward.model_inputs import max_positions, with_special_tokens
from lm_adapters.forward.oom import run_passes
from lm_adapters.models.language_model import LanguageModel
from lm_adapters.models.probe import Reading, chosen_route, padded
from samplers import InvalidInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["MaskedLM"]


class MaskedLM(LanguageModel):
    """A masked language model (BERT and its kin) and its tokenizer; arguments and errors as for ``LanguageModel``.

    Use it in ``GibbsProposal``, ``EditProposal`` and ``KeywordFill``, and in ``MaskedEnergy``. Its conditionals belong
    to no joint distribution, so without an accept step they have no known target.

    Raises ``InvalidInput`` for a tokenizer without a mask token as well.
    """

    task = "masked"

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, tokens_per_pass: int | None = None
    ) -> None:
        if tokenizer.mask_token_id is None:
            raise InvalidInput("the tokenizer has no mask token; a masked language model is needed here")
        super().__init__(model, tokenizer, tokens_per_pass=tokens_per_pass)
        self.mask_id: int = tokenizer.mask_token_id
        self.route = chosen_route(self, self._readings())

    @property
    def max_length(self) -> int:
        """The most tokens of text that fit the model's positions beside the special tokens."""
        return max_positions(self.body) - len(self.space.prefix) - len(self.space.suffix)

    def logits(self, x: Tensor, hidden: Tensor) -> Tensor:
        """``[hidden sites, vocabulary]``: logits at the sites that ``hidden`` marks, in row-major order.

        ``x int64 [rows, width]`` are states; all sites of a row that ``hidden bool [rows, width]`` marks are masked
        together. Runs as many forward passes as ``tokens_per_pass`` requires. Raises ``OutOfMemory`` where a single row
        does not fit in memory.
        """
        return self._logits(x, hidden)

    def _logits(self, x: Tensor, hidden: Tensor) -> Tensor:
        masked = x.masked_fill(hidden, self.mask_id)
        special = len(self.space.prefix) + len(self.space.suffix)

        def run(rows: Tensor) -> Tensor:
            whole = len(rows) == len(x)  # which are then in order
            return self._read(masked, hidden) if whole else self._read(masked[rows], hidden[rows])

        widths = self.space.lengths(x) + special
        parts = list(run_passes(widths, self.tokens_per_pass, run, scorer=self, together=self.route.rows))
        if len(parts) == 1:
            return parts[0][1]
        numbers = hidden.flatten().cumsum(dim=0).reshape(hidden.shape) - 1
        logits = parts[0][1].new_empty(int(numbers[-1, -1]) + 1, self.space.vocabulary)
        for rows, part in parts:
            logits[numbers[rows][hidden[rows]]] = part
        return logits

    def _read(self, masked: Tensor, hidden: Tensor) -> Tensor:
        ids, attention = with_special_tokens(self.space, masked)
        rows, columns = hidden.nonzero(as_tuple=True)
        mask = {} if attention is None else {"attention_mask": attention}
        return self.head.logits((rows, columns + len(self.space.prefix)), input_ids=ids, **mask)

    def _readings(self) -> list[Reading]:
        def plain(text: list[int]) -> Tensor:
            ids = [*self.space.prefix, *text, *self.space.suffix]
            for site in _probed(text):
                ids[len(self.space.prefix) + site] = self.mask_id
            logits = self.model(input_ids=torch.tensor([ids], device=self.device)).logits[0]
            return cast(Tensor, logits[[len(self.space.prefix) + site for site in _probed(text)]])

        def adapted(texts: list[list[int]]) -> Tensor:
            x = padded(texts, self.space.pad_id, self.device)
            hidden = torch.zeros_like(x, dtype=torch.bool)
            for row, text in enumerate(texts):
                hidden[row, _probed(text)] = True
            return self._logits(x, hidden)

        return [Reading(plain, adapted)]


def _probed(text: list[int]) -> list[int]:
    """The sites of a text that a probe masks: the first, one in the middle and the last."""
    return sorted({0, len(text) // 2, len(text) - 1})
