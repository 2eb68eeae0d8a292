"""A causal language model as a scorer: what it is conditioned on, what it costs, where a text begins and ends.

The model reads ``start, prompt, text``. The start is the tokenizer's BOS token, or where there is none its EOS token,
which then separates documents in training; set ``tokenizer.bos_token`` to have another. The prompt and the text are
tokenised apart and their tokens joined. The text ends with the EOS token, which is part of ``p(x)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.energies.sequence_energy import SequenceEnergy
from lm_adapters.forward.batching import checked_tokens
from lm_adapters.forward.kv_cache import Layers, Prefixes, as_cache, expanded, kept_layers
from lm_adapters.forward.lm_head import HeadOnRows
from lm_adapters.forward.oom import in_one
from lm_adapters.loading.identity import Identified
from lm_adapters.loading.pretrained import load_pretrained
from lm_adapters.text import TextSpace
from samplers import InvalidInput

if TYPE_CHECKING:
    from transformers import Cache, DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["CausalLM", "PromptedLM"]


class CausalLM(Identified):
    """A causal language model and its tokenizer.

    ``tokens_per_pass`` bounds the tokens of text of one forward pass, hence memory; results do not depend on it. Each
    row of a pass holds a copy of the prompt's key-value cache besides: lower it for a long prompt.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, tokens_per_pass: int | None = None
    ) -> None:
        if tokenizer.eos_token_id is None:
            raise InvalidInput("the tokenizer has no end token, so no text has a probability; set tokenizer.eos_token")
        self.model = model.eval().requires_grad_(False)
        self.tokens_per_pass = checked_tokens(tokens_per_pass, model.device)
        self.space = TextSpace(tokenizer, model.get_input_embeddings().weight.shape[0])
        self.eos_id: int = tokenizer.eos_token_id
        self.start_id: int = self.eos_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        self.allowed = self.space.proposable.to(self.device)
        self.head = HeadOnRows(model)
        self._last: PromptedLM | None = None

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        device: str = "cpu",
        dtype: str = "float32",
        *,
        tokens_per_pass: int | None = None,
        trust_remote_code: bool = False,
    ) -> CausalLM:
        """An embedded model, a local folder or a Hugging Face name; see ``load_pretrained`` for what is refused."""
        model, tokenizer = load_pretrained(
            "causal", name_or_path, device=device, dtype=dtype, trust_remote_code=trust_remote_code
        )
        return cls(model, tokenizer, tokens_per_pass=tokens_per_pass)

    def close(self) -> None:
        """Give the model back unhooked."""
        self.head.remove()

    @property
    def device(self) -> torch.device:
        return self.model.device

    def condition_on(self, prompt: str = "") -> PromptedLM:
        """The model after ``prompt``. The last one is kept, so energy and proposal of one prompt share it."""
        if self._last is None or self._last.prompt != prompt:
            self._last = PromptedLM(self, prompt)
        return self._last

    def energy(self, prompt: str = "") -> SequenceEnergy:
        """``-log p(x | prompt)`` in nats; see ``SequenceEnergy``."""
        return SequenceEnergy(self.condition_on(prompt))


class PromptedLM:
    """``p(x | prompt)`` as an ``Autoregressive``. The prompt is run once and its key-value cache kept.

    Raises ``InvalidInput`` for a prompt that the tokenizer cannot represent or that leaves no room for a text.
    """

    def __init__(self, lm: CausalLM, prompt: str = "") -> None:
        self.lm, self.space, self.eos_id, self.allowed = lm, lm.space, lm.eos_id, lm.allowed
        self.prompt = prompt
        tokenizer = lm.space.tokenizer
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        # GPT-2 calls its end of text the unknown token too.
        if tokenizer.unk_token_id in ids and tokenizer.unk_token_id not in (lm.eos_id, lm.start_id):
            raise InvalidInput(f"the tokenizer cannot represent a part of the prompt {prompt!r}; use other characters")
        self.context: list[int] = [lm.start_id, *ids]
        if self.max_length < 1:
            raise InvalidInput(
                f"the prompt has {len(ids)} tokens and the model takes {len(self.context) + self.max_length} in all; "
                "shorten it"
            )

    def config(self) -> dict[str, Any]:
        """What the draws depend on: the model and the tokens before the text."""
        return {"lm": self.lm, "context": self.context}

    @property
    def tokens_per_pass(self) -> int:
        return self.lm.tokens_per_pass

    @property
    def max_length(self) -> int:
        """Tokens of text that fit the model's positions, or its tokenizer's limit where it has no positions."""
        positions = getattr(self.lm.model.config, "max_position_embeddings", None)
        return (positions or self.space.tokenizer.model_max_length) - len(self.context)

    @cached_property
    def ragged(self) -> bool:
        """Where the positions of a pass can be told. Else they are counted from the cache."""
        return "position_ids" in signature(self.lm.model.forward).parameters

    def logits(self, x: Tensor, wanted: Tensor) -> Iterator[Tensor]:
        return self._read(x, wanted, self._past(len(x)) if self._kept else None)

    def read(self, x: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Prefixes]:
        past = self._past(len(x))
        logits = self._read(x, wanted, past)
        layers = kept_layers(past)
        counts = torch.full_like(x[:, 0], layers[0][0].shape[2] - len(self.context))
        return logits, Prefixes(layers, counts, len(self.context))

    def extend(self, before: Prefixes, tokens: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Prefixes]:
        past, count = as_cache(before.layers), tokens.shape[1]
        told = {}
        if self.ragged:
            places = len(self.context) + before.counts.unsqueeze(1) + torch.arange(count, device=tokens.device)
            # What stands right of all that is wanted may be beyond the last position.
            told["position_ids"] = places.clamp(max=len(self.context) + self.max_length - 1)
        logits = self.lm.head.read(
            wanted.nonzero(as_tuple=True),
            input_ids=tokens,
            attention_mask=before.attention(count),
            past_key_values=past,
            use_cache=True,
            **told,
        )
        return logits, before.grown(kept_layers(past), count)

    def _read(self, x: Tensor, wanted: Tensor, past: Cache | None) -> Iterator[Tensor]:
        rows, columns = wanted.nonzero(as_tuple=True)
        # Right of what is wanted nothing is read, and padding left of it stands after a text's end: no mask needed.
        text = x[:, : int(columns.max())]
        # The output of the context's last token is the law of the first token.
        ids = pad(text.where(self.space.inside(text), self.eos_id), (1, 0), value=self.context[-1])
        return self.lm.head.read((rows, columns), input_ids=ids, past_key_values=past, use_cache=past is not None)

    def _past(self, rows: int) -> DynamicCache:
        """The context but its last token, seen by ``rows`` texts."""
        return as_cache(expanded(self._kept, rows))

    @cached_property
    def _kept(self) -> Layers:
        """Of one row of the context but its last token; nothing where nothing is left of it."""
        if len(self.context) == 1:
            return []
        ids, past = torch.tensor([self.context[:-1]], device=self.lm.device), as_cache([])
        read = partial(self.lm.model.base_model, input_ids=ids, past_key_values=past, use_cache=True)
        with torch.inference_mode(False):  # tensors made in inference mode could not be read outside of it
            in_one(read, scorer=self.lm, tokens=ids.shape[1])
        return kept_layers(past)
