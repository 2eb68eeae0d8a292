"""Whether a text follows a context, by the next-sentence head of a BERT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from torch import Tensor

from lm_adapters.fingerprint import Fingerprinted
from lm_adapters.forward.batching import check_tokens_per_pass
from lm_adapters.forward.model_inputs import max_positions
from lm_adapters.forward.oom import run_passes
from lm_adapters.loading.pretrained import load_pretrained, loading_errors
from lm_adapters.models.language_model import hidden_size
from lm_adapters.text import TextSpace
from samplers import EnergyTerm, InvalidInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Coherence", "NextSentenceModel"]

IS_NEXT, NOT_NEXT = 0, 1  # the order of the head's logits in all models that have one


class NextSentenceModel(Fingerprinted):
    """A BERT with its next-sentence head, and its tokenizer.

    Raises ``InvalidInput`` for a tokenizer that does not put two texts side by side as the model was trained to read
    them, with token types, and for ``tokens_per_pass`` below 1.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, tokens_per_pass: int | None = None
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.space = TextSpace(tokenizer)
        self.tokens_per_pass = check_tokens_per_pass(tokens_per_pass, model.device, hidden_size(model))
        self.max_tokens = max_positions(cast("PreTrainedModel", model.base_model))
        alone, both = len(tokenizer("a")["input_ids"]), self._pairs("a", ["a"])
        plain = len(tokenizer("a", add_special_tokens=False)["input_ids"])
        if set(both["token_type_ids"][0]) != {0, 1} or len(both["input_ids"][0]) <= alone + plain:
            raise InvalidInput("the tokenizer does not set two texts apart; choose another model")

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
        """Load a local folder or a Hugging Face name. Raises as ``load_pretrained``: also for one without the head."""
        model, tokenizer = load_pretrained(
            "next sentence", name_or_path, device=device, dtype=dtype, trust_remote_code=trust_remote_code
        )
        with loading_errors(name_or_path):
            return cls(model, tokenizer, tokens_per_pass=tokens_per_pass)

    def log_odds(self, context: str, texts: Sequence[str]) -> Tensor:
        """``float64 [texts]``, in nats: ``log p(it follows) - log p(it does not)``; ``-inf`` for what is too long."""
        pairs = self._pairs(context, texts)
        sizes = torch.tensor([len(row) for row in pairs["input_ids"]])
        found = torch.full((len(sizes),), -torch.inf, dtype=torch.float64, device=self.model.device)
        fitting = (sizes <= self.max_tokens).nonzero().squeeze(1)

        def run(part: Tensor) -> Tensor:
            return self._read({name: [rows[row] for row in fitting[part].tolist()] for name, rows in pairs.items()})

        for part, odds in run_passes(sizes[fitting], self.tokens_per_pass, run, scorer=self):
            found[fitting[part]] = odds
        return found

    def _pairs(self, context: str, texts: Sequence[str]) -> dict[str, list[list[int]]]:
        both = self.space.tokenizer(
            [context] * len(texts), list(texts), truncation=False, verbose=False, return_token_type_ids=True
        )
        return {name: both[name] for name in ("input_ids", "token_type_ids")}

    def _read(self, pairs: dict[str, list[list[int]]]) -> Tensor:
        """One forward pass: ``float64 [rows]``."""
        sizes = torch.tensor([len(row) for row in pairs["input_ids"]])
        width = int(sizes.max())
        fill = {"input_ids": self.space.pad_id, "token_type_ids": 0}
        inputs = {
            name: torch.tensor([row + [fill[name]] * (width - len(row)) for row in rows])
            for name, rows in pairs.items()
        }
        inputs["attention_mask"] = (torch.arange(width) < sizes.unsqueeze(1)).long()
        logits: Tensor = self.model(**{name: ids.to(self.model.device) for name, ids in inputs.items()}).logits
        return (logits[:, IS_NEXT] - logits[:, NOT_NEXT]).double()


class Coherence(EnergyTerm):
    """``log p(text does not follow the context) - log p(it does)`` in nats, by a next-sentence head.

    The difference of the two logits and not ``-log p``, which is near 0 for nearly all texts: the head is trained on
    sentences of other documents, and sure of itself (Sun et al. 2022, arXiv:2109.03564, use it to classify). It has no
    lower bound. ``+inf`` for a text that the model cannot take beside the context.

    Cost: context and text are read once a text. Raises ``InvalidInput`` for an empty context, and for one that leaves
    no room.
    """

    name = "coherence"
    expensive = True

    def __init__(self, space: TextSpace, model: NextSentenceModel, context: str) -> None:
        if not context.strip():
            raise InvalidInput(f"the context is {context!r}; give at least one word")
        if bool(model.log_odds(context, ["a"]).isinf().any()):
            raise InvalidInput(
                f"the context leaves no room for a text: the model takes {model.max_tokens} tokens; shorten it"
            )
        self.space, self.follower, self.context = space, model, context
        self.formula = "-log odds that the text follows"

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        return -self.follower.log_odds(self.context, self.space.decode(x)).to(x.device)
