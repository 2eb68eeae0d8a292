"""A causal language model and what it is conditioned on.

The model reads ``start, prompt, text``. The start is the tokenizer's BOS token, or where there is none its CLS token
(BERT as a decoder), or else its EOS token, which then separates documents in training; set ``tokenizer.bos_token`` to
use another. Prompt and text are tokenised separately and their tokens joined. The text ends with the EOS token, or with
SEP in a tokenizer without one, and the end is part of ``p(x)``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lm_adapters.forward.kv_cache import Layers, Prefixes, as_cache, cache_layers, expand_layers
from lm_adapters.forward.lm_head import positions_a_call
from lm_adapters.forward.model_inputs import max_positions
from lm_adapters.forward.one_token import OneToken, one_token_reader
from lm_adapters.forward.oom import run_one_row
from lm_adapters.forward.route import by_length, read_tokens, with_read_tokens
from lm_adapters.models.language_model import LanguageModel
from lm_adapters.models.probe import Reading, chosen_route, left_to_right, probe_texts
from samplers import InvalidInput

if TYPE_CHECKING:
    from transformers import Cache, DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["CausalLM", "PromptedLM"]


class CausalLM(LanguageModel):
    """A causal language model (GPT-2, Llama, Qwen types) and its tokenizer.

    ``-log p(x | prompt)`` in nats is ``SequenceEnergy(lm.condition_on(prompt))``. Each row of a pass also holds a copy
    of the prompt's key-value cache: lower ``tokens_per_pass`` for a long prompt.

    Arguments and errors as for ``LanguageModel``. Raises ``InvalidInput`` for a tokenizer without an end token as well.
    """

    task = "causal"

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, tokens_per_pass: int | None = None
    ) -> None:
        end = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
        if end is None:
            raise InvalidInput(
                "the tokenizer has neither an end token nor a separator, so no text has a probability; write "
                '"eos_token" into its tokenizer_config.json'
            )
        starts = (tokenizer.bos_token_id, tokenizer.cls_token_id, end)
        super().__init__(model, tokenizer, tokens_per_pass=tokens_per_pass)
        self.eos_id: int = end
        self.start_id: int = next(start for start in starts if start is not None)
        self._last: PromptedLM | None = None
        self.one_token: OneToken | None = None  # while the model is probed
        self.route = chosen_route(self, self._readings())
        self.one_token = one_token_reader(model, self.head, self.allowed.nonzero().squeeze(1))

    @property
    def max_length(self) -> int:
        """The most tokens of text after the start token: the model's positions, or else its tokenizer's limit."""
        positions = max_positions(self.body)
        return (self.space.tokenizer.model_max_length if positions == sys.maxsize else positions) - 1

    def condition_on(self, prompt: str = "") -> PromptedLM:
        """``p(text | prompt)`` as an ``Autoregressive``; raises as ``PromptedLM`` does.

        The last result is kept, so that energy and proposal of one prompt share it.
        """
        if self._last is None or self._last.prompt != prompt:
            self._last = PromptedLM(self, prompt)
        return self._last

    def _readings(self) -> list[Reading]:
        """Without a prompt, and with one."""
        bare, prompted = PromptedLM(self), PromptedLM(self)
        prompted.context = [self.start_id, *probe_texts(self)[0][:2]]
        return [self._reading(model) for model in (bare, prompted) if model.max_length > 0]

    def _reading(self, model: PromptedLM) -> Reading:
        def plain(text: list[int]) -> Tensor:
            ids = torch.tensor([[*model.context, *text]], device=self.device)
            logits: Tensor = self.model(input_ids=ids, **self.no_cache).logits[0, len(model.context) - 1 :]
            return logits

        # Models without position_ids count positions from the length of the cache.
        return left_to_right(lambda: model, plain, ragged=self.takes("position_ids"))


class PromptedLM:
    """``p(x | prompt)`` as an ``Autoregressive``. The prompt is read once and its key-value cache kept.

    Raises ``InvalidInput`` for a prompt that the tokenizer cannot represent or that leaves no room for a text.
    """

    def __init__(self, lm: CausalLM, prompt: str = "") -> None:
        self.lm, self.space, self.eos_id, self.allowed = lm, lm.space, lm.eos_id, lm.allowed
        self.prompt = prompt
        tokenizer = lm.space.tokenizer
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        # GPT-2 calls its end of text the unknown token too.
        if tokenizer.unk_token_id in ids and tokenizer.unk_token_id not in (lm.eos_id, lm.start_id):
            raise InvalidInput(f"prompt: {lm.space.what_is_wrong(prompt, ids)}")
        self.context: list[int] = [lm.start_id, *ids]
        if self.max_length < 1:
            raise InvalidInput(
                f"the prompt has {len(ids)} tokens and the model takes {len(self.context) + self.max_length} in all; "
                "shorten it"
            )

    def config(self) -> dict[str, Any]:
        """What draws depend on: the model and the tokens before the text."""
        return {"lm": self.lm, "context": self.context}

    @property
    def tokens_per_pass(self) -> int:
        return self.lm.tokens_per_pass

    @property
    def max_length(self) -> int:
        """The most tokens of text that the model takes after the start token and the prompt."""
        return self.lm.max_length + 1 - len(self.context)

    @property
    def ragged(self) -> bool:
        """Whether ``extend`` takes prefixes of different lengths in one pass."""
        return self.lm.route.cache != "equal"

    def logits(self, x: Tensor, wanted: Tensor) -> Iterator[Tensor]:
        """Logits ``[wanted positions, vocabulary]``; see ``Autoregressive``."""
        route = self.lm.route
        if route.cache == "none":
            return by_length(route, wanted, lambda rows: self._read(x[rows], wanted[rows], None))
        return self._read(x, wanted, self._past(len(x)) if self._context_layers else None)

    def read(self, x: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Prefixes]:
        """``logits``, and keys and values of what the model has read; see ``Autoregressive``."""
        if self.lm.route.cache == "none":
            return self.logits(x, wanted), read_tokens(x, int(wanted.nonzero()[:, 1].max()))
        past = self._past(len(x))
        logits = self._read(x, wanted, past)
        layers = cache_layers(past)
        counts = torch.full_like(x[:, 0], layers[0][0].shape[2] - len(self.context))
        return logits, Prefixes(layers, counts, len(self.context))

    def extend(self, before: Prefixes, tokens: Tensor, wanted: Tensor) -> tuple[Iterator[Tensor], Prefixes]:
        """Logits ``[wanted positions, vocabulary]`` of what follows ``tokens``; see ``Autoregressive``."""
        if self.lm.route.cache == "none":
            x, marked, after = with_read_tokens(before, tokens, wanted)
            return self.logits(x, marked), after
        rows, columns = wanted.nonzero(as_tuple=True)
        count, positions = tokens.shape[1], {}
        if self.lm.takes("position_ids"):
            positions["position_ids"] = places = self._places(before, count)
            if len(rows) < tokens.numel():  # tokens right of all that is wanted may be beyond the last position
                positions["position_ids"] = places.clamp(max=len(self.context) + self.max_length - 1)
        reader = self.lm.one_token if count == 1 and len(rows) <= positions_a_call(tokens.device) else None
        if reader is not None and reader.usable():
            read, layers = reader.read(tokens, positions["position_ids"], before.layers, before.real, rows)
            return iter([read]), before.extended(layers, 1)
        past = as_cache(before.layers)
        logits = self.lm.head.read(
            (rows, columns),
            input_ids=tokens,
            attention_mask=before.attention(count),
            past_key_values=past,
            use_cache=True,
            **positions,
        )
        return logits, before.extended(cache_layers(past), count)

    def _places(self, before: Prefixes, count: int) -> Tensor:
        """``int64 [rows, count]``: the positions of the tokens that follow."""
        if count == 1:
            return (before.counts + len(self.context)).unsqueeze(1)
        first = len(self.context)
        return before.counts.unsqueeze(1) + torch.arange(first, first + count, device=before.counts.device)

    def _read(self, x: Tensor, wanted: Tensor, past: Cache | None) -> Iterator[Tensor]:
        rows, columns = wanted.nonzero(as_tuple=True)
        # Nothing right of what is wanted is read, and padding left of it comes after a text's end: no mask is needed.
        text = x[:, : int(columns.max())]
        # The output at the context's last token is the distribution of the first token of text.
        before = self._context_row if past is None else self._context_row[:, -1:]
        ids = torch.cat([before.expand(len(x), -1), text.where(self.space.is_token(text), self.eos_id)], dim=1)
        if past is not None:
            cache: dict[str, Any] = {"past_key_values": past, "use_cache": True}
        else:
            cache = self.lm.no_cache
        return self.lm.head.read((rows, columns + before.shape[1] - 1), input_ids=ids, **cache)

    def _past(self, rows: int) -> DynamicCache:
        """The context without its last token, as a cache for ``rows`` texts."""
        return as_cache(expand_layers(self._context_layers, rows))

    @cached_property
    def _context_row(self) -> Tensor:
        """``int64 [1, context]``: to bring it to a device waits for all that is queued there."""
        return torch.tensor([self.context], device=self.lm.device)

    @cached_property
    def _context_layers(self) -> Layers:
        """Keys and values of the context without its last token, one row; empty where no token is left."""
        if len(self.context) == 1:
            return []
        ids, past = torch.tensor([self.context[:-1]], device=self.lm.device), as_cache([])
        read = partial(self.lm.model.base_model, input_ids=ids, past_key_values=past, use_cache=True)
        with torch.inference_mode(False):  # tensors made in inference mode cannot be used outside of it
            run_one_row(read, scorer=self.lm, tokens=ids.shape[1])
        return cache_layers(past)
