"""A masked language model as logits at masked sites; only those sites reach the vocabulary head."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from torch import Tensor

from lm_adapters.forward.model_inputs import max_positions, with_special_tokens
from lm_adapters.forward.oom import run_passes
from lm_adapters.models.language_model import LanguageModel
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
        masked = x.masked_fill(hidden, self.mask_id)
        special = len(self.space.prefix) + len(self.space.suffix)

        def run(rows: Tensor) -> Tensor:
            return self._read(masked[rows], hidden[rows])

        widths = self.space.lengths(x) + special
        parts = list(run_passes(widths, self.tokens_per_pass, run, scorer=self))
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
        with self.head.rows((rows, columns + len(self.space.prefix))):
            return cast(Tensor, self.model(input_ids=ids, attention_mask=attention).logits.squeeze(0))
