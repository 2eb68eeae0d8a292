"""Sequence-classification models of Hugging Face as classifiers of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self, cast

import torch
from torch import Tensor

from lm_adapters.attributes.labels import TextClassifier
from lm_adapters.fingerprint import Fingerprinted
from lm_adapters.forward.batching import check_tokens_per_pass
from lm_adapters.forward.model_inputs import max_positions
from lm_adapters.forward.oom import run_passes
from lm_adapters.forward.shared_passes import rows_of_a_pass
from lm_adapters.loading.pretrained import listed_labels, load_pretrained, loading_errors
from lm_adapters.models.language_model import hidden_size
from lm_adapters.text import TextSpace

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["SequenceClassifier"]

PROBE_TEXTS = ("a", "b c d e f g h", "i j k l m n o")


class SequenceClassifier(Fingerprinted, TextClassifier):
    """A sequence-classification model and its tokenizer; ``labels`` are those of its configuration, by number.

    ``p`` is the softmax of its logits, or for a model of several labels at a time (``multi_label_classification``) the
    sigmoid of each. ``tokens_per_pass`` limits the tokens of one forward pass, padding included, as for
    ``LanguageModel``; which texts may share a pass is found out by trying.

    Raises ``InvalidInput`` for a regression model, which has a number and no labels, and for ``tokens_per_pass`` below
    1.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, tokens_per_pass: int | None = None
    ) -> None:
        self.labels = listed_labels(model.config)
        self.model = model.eval().requires_grad_(False)
        self.space = TextSpace(tokenizer)
        self.tokens_per_pass = check_tokens_per_pass(tokens_per_pass, model.device, hidden_size(model))
        self.max_tokens = max_positions(cast("PreTrainedModel", model.base_model))
        self._exclusive = model.config.problem_type != "multi_label_classification"
        rows = self._rows(PROBE_TEXTS)
        self._together = rows_of_a_pass(
            lambda part: self._log_probs([rows[row] for row in part.tolist()]), list(map(len, rows)), model.dtype
        )

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        device: str = "cpu",
        dtype: str = "float32",
        *,
        tokens_per_pass: int | None = None,
        trust_remote_code: bool = False,
    ) -> Self:
        """Load an embedded model, a local folder or a Hugging Face name. Raises as ``load_pretrained`` does."""
        model, tokenizer = load_pretrained(
            "classifier", name_or_path, device=device, dtype=dtype, trust_remote_code=trust_remote_code
        )
        with loading_errors(name_or_path):
            return cls(model, tokenizer, tokens_per_pass=tokens_per_pass)

    def log_probs(self, texts: Sequence[str]) -> Tensor:
        rows = self._rows(texts)
        sizes = torch.tensor([len(row) for row in rows])
        found = torch.full((len(rows), len(self.labels)), -torch.inf, dtype=torch.float64, device=self.model.device)
        fitting = (sizes <= self.max_tokens).nonzero().squeeze(1)

        def run(part: Tensor) -> Tensor:
            return self._log_probs([rows[row] for row in fitting[part].tolist()])

        for part, log_probs in run_passes(
            sizes[fitting], self.tokens_per_pass, run, scorer=self, together=self._together
        ):
            found[fitting[part]] = log_probs
        return found

    def _rows(self, texts: Sequence[str]) -> list[list[int]]:
        return cast("list[list[int]]", self.space.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"])

    def _log_probs(self, rows: list[list[int]]) -> Tensor:
        """One forward pass: ``float64 [rows, labels]``."""
        width = max(map(len, rows))
        ids = torch.tensor([row + [self.space.pad_id] * (width - len(row)) for row in rows])
        attention = torch.arange(width) < torch.tensor([len(row) for row in rows]).unsqueeze(1)
        device = self.model.device
        logits: Tensor = self.model(input_ids=ids.to(device), attention_mask=attention.long().to(device)).logits
        logits = logits.double()
        return logits.log_softmax(dim=1) if self._exclusive else torch.nn.functional.logsigmoid(logits)
