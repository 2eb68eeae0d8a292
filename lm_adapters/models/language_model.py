"""What every language model here has: the loaded model, the space of its texts, and a bound on forward passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import torch

from lm_adapters.fingerprint import Fingerprinted
from lm_adapters.forward.batching import check_tokens_per_pass
from lm_adapters.forward.lm_head import HeadOnRows
from lm_adapters.forward.route import Route
from lm_adapters.loading.pretrained import Task, load_pretrained, loading_errors
from lm_adapters.text import TextSpace
from samplers import InvalidInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["LanguageModel"]


class LanguageModel(Fingerprinted, ABC):
    """A transformers model in evaluation mode, its tokenizer as ``space``, and a hook on its vocabulary head.

    ``allowed`` (``bool [vocabulary]``, on the model's device) marks the tokens that may be proposed.
    ``tokens_per_pass`` limits the tokens of one forward pass, padding included, and so its memory. Results depend on it
    only by rounding. The default is close to the fastest: on a CPU 524,288 by the model's hidden size, but at least
    1,024 and at most 4,096; 65,536 on other devices.

    Raises ``InvalidInput`` for ``tokens_per_pass`` below 1 and for a tokenizer without any token that may be proposed.
    """

    task: ClassVar[Task]
    space: TextSpace

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, tokens_per_pass: int | None = None
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.space = self._text_space(tokenizer, embedded_tokens(model))
        self.tokens_per_pass = check_tokens_per_pass(tokens_per_pass, self.device, hidden_size(model))
        self.allowed = self.space.proposable.to(self.device)
        if not bool(self.allowed.any()):
            raise InvalidInput("the tokenizer has no token that may be proposed; is its vocabulary missing?")
        self.head = HeadOnRows(model, self.body)
        self._arguments = frozenset(signature(model.forward).parameters)
        self.route = Route()

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        device: str = "cpu",
        dtype: str = "float32",
        *,
        tokens_per_pass: int | None = None,
        trust_remote_code: bool = False,
        **own: Any,
    ) -> Self:
        """Load an embedded model, a local folder or a Hugging Face name.

        ``dtype``: ``float32``, ``bfloat16`` or ``float16``. ``own``: further arguments of the class. Raises
        ``InvalidInput`` as ``load_pretrained`` does.
        """
        model, tokenizer = load_pretrained(
            cls.task, name_or_path, device=device, dtype=dtype, trust_remote_code=trust_remote_code
        )
        with loading_errors(name_or_path):
            return cls(model, tokenizer, tokens_per_pass=tokens_per_pass, **own)

    def close(self) -> None:
        """Remove the hook from the model, which is then as transformers loaded it."""
        self.head.remove()

    @property
    def route(self) -> Route:
        """How the model is run, as a probe at construction has found it."""
        return self._route

    @route.setter
    def route(self, route: Route) -> None:
        self._route, self.head.full = route, route.full_head

    def takes(self, argument: str) -> bool:
        """Whether the model's ``forward`` has an argument of that name."""
        return argument in self._arguments

    @property
    def no_cache(self) -> dict[str, Any]:
        """Arguments of a pass without a cache: some models then also build another mask (FSMT)."""
        return {"use_cache": False} if self.takes("use_cache") else {}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    @property
    def body(self) -> PreTrainedModel:
        """The part of the model whose states the vocabulary head reads."""
        return cast("PreTrainedModel", self.model.base_model)

    @property
    @abstractmethod
    def max_length(self) -> int:
        """The most tokens of text that the model takes, special tokens not counted."""

    def _text_space(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> TextSpace:
        return TextSpace(tokenizer, vocabulary)


def embedded_tokens(model: PreTrainedModel) -> int:
    """The rows of the table of embeddings; a probe then finds whether the head scores as many tokens.

    Raises ``InvalidInput`` for a model that does not read tokens by a table.
    """
    table = cast(Any, model.get_input_embeddings())
    if not isinstance(table, torch.nn.Module):
        raise InvalidInput(f"{type(model).__name__} has no table of token embeddings; choose another model")
    return int(cast(Any, table).weight.shape[0])


def hidden_size(model: PreTrainedModel) -> int:
    """Numbers in the state of a token: those of its embedding, where the configuration does not say."""
    size = getattr(model.config, "hidden_size", None)
    return size if isinstance(size, int) else int(cast(Any, model.get_input_embeddings()).weight.shape[1])
