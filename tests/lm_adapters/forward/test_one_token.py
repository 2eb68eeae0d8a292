"""One token a row without what transformers does around the layers: the same bits, or the model itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from lm_adapters import CausalLM
from lm_adapters.forward import one_token
from tests.lm_adapters import tiny_causal
from tests.lm_adapters.tiny import enlarged, sizes


def llama(tokenizer, **more: object) -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**{**sizes(tokenizer), **more}))


def gpt2(tokenizer) -> PreTrainedModel:
    return tiny_causal.gpt2(tokenizer)


def built(make: Callable[..., PreTrainedModel]) -> CausalLM:
    tokenizer = tiny_causal.word_level("abcdefgh")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CausalLM(enlarged(make(tokenizer), 12.0).double(), tokenizer)


MAKES = pytest.mark.parametrize("make", [gpt2, llama])


def continued(lm: CausalLM) -> Tensor:
    """Logits of what follows texts of several lengths, of which some are wanted, and of all of one length."""
    model, found = lm.condition_on("a b"), []
    x = lm.space.encode(["a b c d", "e f g h", "h c a b"])
    every, rows = torch.ones(3, 5, dtype=torch.bool), torch.arange(3)
    with torch.inference_mode():
        _, read = model.read(x, every)
        for counts in (torch.tensor([1, 3, 2]), torch.tensor([2, 2, 2])):
            before = read.take(rows, counts)
            for wanted in ([True, True, True], [True, False, True]):
                logits, before = model.extend(before, x[:, :1], torch.tensor(wanted).unsqueeze(1))
                found += [*logits]
            logits, _ = model.extend(before.take(rows[1:2]), x[:1, :1], torch.ones(1, 1, dtype=torch.bool))
            found += [*logits]
    return torch.cat(found)


def as_the_model_does(lm: CausalLM) -> Tensor:
    reader, lm.one_token = lm.one_token, None
    try:
        return continued(lm)
    finally:
        lm.one_token = reader


@MAKES
def test_bits_are_those_of_the_model(make):
    lm = built(make)
    assert lm.one_token is not None
    assert torch.equal(continued(lm), as_the_model_does(lm))


@MAKES
def test_it_is_the_reader_that_reads(make, monkeypatch):
    lm, calls = built(make), []
    read = lm.one_token.read
    monkeypatch.setattr(lm.one_token, "read", lambda *given: calls.append(1) or read(*given))
    continued(lm)
    assert len(calls) == 6


@MAKES
def test_a_body_that_differs_is_found_by_the_probe(make, monkeypatch):
    name = type(built(make).model).__name__
    whole = one_token.BODIES[name]

    def without_positions(body, tokens, places, *others):
        return whole(body, tokens, torch.zeros_like(places), *others)

    monkeypatch.setitem(one_token.BODIES, name, without_positions)
    assert built(make).one_token is None


@pytest.mark.parametrize("more", [{"num_key_value_heads": 1}, {"attn_implementation": "eager"}], ids=str)
def test_other_settings_are_left_to_the_model(more):
    assert built(lambda tokenizer: llama(tokenizer, **more)).one_token is None


@MAKES
@pytest.mark.parametrize("where", ["model", "body", "layer", "attention", "weights"])
def test_whoever_listens_is_heard(make, where):
    """A hook that changes what a module returns has the same effect whoever calls the module."""
    lm, heard = built(make), []
    body = lm.model.base_model
    layer = one_token._blocks(body)[0]
    attention = one_token._attention(layer)
    projection = attention.c_proj if make is gpt2 else attention.o_proj
    modules = {"model": lm.model, "body": body, "layer": layer, "attention": attention, "weights": projection}
    plain = continued(lm)

    def hook(module: nn.Module, arguments: object, output: object) -> None:
        heard.append(1)
        if isinstance(output, Tensor):
            output += 0.5

    modules[where].register_forward_hook(hook)
    changed = continued(lm)
    count = len(heard)
    assert torch.equal(changed, as_the_model_does(lm))
    assert len(heard) == 2 * count > 0
    assert torch.equal(plain, changed) == (where in ("model", "body", "attention"))


@MAKES
def test_a_module_that_is_replaced_later_is_what_runs(make):
    lm = built(make)
    block = one_token._blocks(lm.model.base_model)[1]
    block.mlp = nn.Sequential() if make is llama else block.mlp
    if make is gpt2:
        block.mlp.act = nn.ReLU()
    assert torch.equal(continued(lm), as_the_model_does(lm))
    lm.model.forward = lm.model.forward
    assert not lm.one_token.usable()
