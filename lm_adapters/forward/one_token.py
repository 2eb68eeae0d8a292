"""A pass over one token a row through GPT-2 or Llama, without what transformers does around the layers.

Beside a small model that costs as much as the model itself: masks that turn out to be none, outputs that are data
classes, settings looked up in every layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from lm_adapters.forward.kv_cache import Layers, as_cache, cache_layers
from lm_adapters.forward.lm_head import HeadOnRows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["OneToken", "one_token_reader"]

PROBED = (3, 2)  # tokens that are read one by one, and rows
Body = Callable[[Any, Tensor, Tensor, Layers, Tensor | None], tuple[Tensor, Layers]]


@dataclass
class _Output:
    """``logits [1, rows, vocabulary]``, and keys and values of all that has been read."""

    logits: Tensor
    layers: Layers


class OneToken:
    """Reads one more token of each row by the operators of the model's own ``forward``, to the same bits.

    Modules that hold weights are called as usual, so that one that was replaced, or that has hooks, is what runs; hooks
    of the model itself run too. Where anything else is not as transformers made it, the reader is not ``usable``.
    """

    def __init__(self, model: PreTrainedModel, head: HeadOnRows) -> None:
        self._model, self._head = model, head
        self._body: Body = BODIES[_kind(model)]

    def usable(self) -> bool:
        """Whether the model still runs as transformers made it."""
        model: Any = self._model
        if model.training or model._compiled_call_impl is not None or "forward" in vars(model) or not self._head.alone:
            return False
        return all(_untouched(layer) and _untouched(_attention(layer)) for layer in _blocks(model.base_model))

    def read(
        self, tokens: Tensor, places: Tensor, before: Layers, real: Tensor | None, wanted: Tensor
    ) -> tuple[Tensor, Layers]:
        """Logits ``[n, vocabulary]`` of what follows ``tokens int64 [rows, 1]`` of the rows ``wanted int64 [n]``.

        Also ``before`` with these tokens. ``places int64 [rows, 1]`` are their positions; ``wanted`` is ascending.
        ``real bool [rows, tokens before]``: as in ``Prefixes``.
        """
        mask = None if real is None or bool(real.all()) else pad(real, (0, 1), value=True)[:, None, None]
        own: dict[str, Any] = vars(self._model)
        own["forward"] = self._forward
        try:
            output = self._model(
                input_ids=tokens, position_ids=places, past_key_values=before, attention_mask=mask, wanted=wanted
            )
        finally:
            del own["forward"]
        return output.logits[0], output.layers

    def _forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        past_key_values: Layers,
        attention_mask: Tensor | None,
        wanted: Tensor,
    ) -> _Output:
        model: Any = self._model
        hidden, layers = self._body(model.base_model, input_ids, position_ids, past_key_values, attention_mask)
        if len(wanted) < len(hidden):
            hidden = hidden[wanted]
        return _Output(model.lm_head(hidden.transpose(0, 1)), layers)


def one_token_reader(model: PreTrainedModel, head: HeadOnRows, pieces: Tensor) -> OneToken | None:
    """A reader for ``model``; ``None`` for other classes and settings, and where a bit differs from the model's own.

    ``pieces int64 [n]`` are tokens of texts. Cost: five passes over two of them.
    """
    config: Any = model.config
    if _kind(model) not in BODIES or config._attn_implementation != "sdpa":
        return None
    shared = getattr(config, "num_key_value_heads", config.num_attention_heads) != config.num_attention_heads
    if shared or getattr(config, "add_cross_attention", False):
        return None
    reader = OneToken(model, head)
    return reader if reader.usable() and _agrees(model, reader, pieces) else None


@torch.inference_mode()
def _agrees(model: Any, reader: OneToken, pieces: Tensor) -> bool:
    columns = pieces[torch.arange(PROBED[0] * PROBED[1]) % len(pieces)].reshape(*PROBED, 1)
    rows = torch.arange(PROBED[1], device=pieces.device)
    cache = as_cache([])
    model(input_ids=columns[0], past_key_values=cache, use_cache=True)
    layers = cache_layers(cache)
    for place, tokens in enumerate(columns[1:], 1):
        places = torch.full_like(tokens, place)
        expected = model(input_ids=tokens, position_ids=places, past_key_values=cache, use_cache=True)
        logits, layers = reader.read(tokens, places, layers, None, rows)
        if not torch.equal(logits, expected.logits[:, -1]):
            return False
    return True


def _kind(model: PreTrainedModel) -> str:
    kind = type(model)
    return kind.__name__ if kind.__module__.startswith("transformers.models.") else ""


def _blocks(body: Any) -> Sequence[Any]:
    return body.h if hasattr(body, "h") else body.layers  # type: ignore[no-any-return]


def _attention(layer: Any) -> nn.Module:
    return layer.attn if hasattr(layer, "attn") else layer.self_attn  # type: ignore[no-any-return]


def _untouched(module: nn.Module) -> bool:
    """Whether it has no hooks and its own ``forward``."""
    return not (module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def _gpt2(
    body: Any, tokens: Tensor, places: Tensor, before: Layers, mask: Tensor | None
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Last states ``[rows, 1, hidden]``."""
    hidden, after = body.wte(tokens) + body.wpe(places), []
    for block, past in zip(body.h, before, strict=True):
        attention = block.attn
        heads = attention.c_attn(block.ln_1(hidden)).split(attention.split_size, dim=2)
        query, *new = (_by_head(each, attention.head_dim) for each in heads)
        mixed, read = _attended(query, new, past, mask, attention.scaling)
        after.append(read)
        hidden = attention.c_proj(mixed) + hidden
        hidden = hidden + block.mlp.c_proj(block.mlp.act(block.mlp.c_fc(block.ln_2(hidden))))
    return body.ln_f(hidden), after


def _llama(
    body: Any, tokens: Tensor, places: Tensor, before: Layers, mask: Tensor | None
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Last states ``[rows, 1, hidden]``."""
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    hidden, after = body.embed_tokens(tokens), []
    rotation = body.rotary_emb(hidden, position_ids=places)
    for layer, past in zip(body.layers, before, strict=True):
        attention, normed = layer.self_attn, layer.input_layernorm(hidden)
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        query, keys, values = (_by_head(project(normed), attention.head_dim) for project in projections)
        query, keys = apply_rotary_pos_emb(query, keys, *rotation)
        mixed, read = _attended(query, [keys, values], past, mask, attention.scaling)
        after.append(read)
        hidden = hidden + attention.o_proj(mixed)
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return body.norm(hidden), after


BODIES: dict[str, Body] = {"GPT2LMHeadModel": _gpt2, "LlamaForCausalLM": _llama}


def _by_head(states: Tensor, size: int) -> Tensor:
    """``[rows, heads, 1, size]`` of ``[rows, 1, hidden]``."""
    return states.view(len(states), 1, -1, size).transpose(1, 2)


def _attended(
    query: Tensor, new: Sequence[Tensor], past: tuple[Tensor, Tensor], mask: Tensor | None, scale: float
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """What attention finds, ``[rows, 1, hidden]``, and keys and values of all that has been read."""
    keys, values = (torch.cat(each, dim=2) for each in zip(past, new, strict=True))
    found = scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=scale)
    return found.transpose(1, 2).reshape(len(query), 1, -1), (keys, values)
