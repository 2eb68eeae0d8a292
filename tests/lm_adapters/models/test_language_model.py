"""What the three language models have in common, and the names of version 0.1 that still work."""

from __future__ import annotations

import pytest
import torch

import lm_adapters
from lm_adapters import CausalLM, MaskedLM, SentenceEncoder, Seq2SeqLM
from samplers import InvalidInput, ShortlistGibbs
from tests.lm_adapters import tiny, tiny_causal, tiny_seq2seq

BUILD = {
    "masked": lambda: tiny.build("bert"),
    "causal": lambda: tiny_causal.build("gpt2"),
    "seq2seq": lambda: tiny_seq2seq.build("bart"),
}
CLASSES = {"masked": MaskedLM, "causal": CausalLM, "seq2seq": Seq2SeqLM}
every_model = pytest.mark.parametrize("task", BUILD)


@every_model
def test_parts(task: str):
    lm = BUILD[task]()
    assert lm.task == task
    assert (lm.device, lm.tokens_per_pass) == (torch.device("cpu"), 4096)
    assert torch.equal(lm.allowed, lm.space.proposable)
    assert not lm.model.training
    assert not any(weight.requires_grad for weight in lm.model.parameters())


@every_model
def test_bad_tokens_per_pass(task: str):
    lm = BUILD[task]()
    tokenizer = lm.tokenizer if task == "seq2seq" else lm.space.tokenizer
    assert CLASSES[task](lm.model, tokenizer, tokens_per_pass=7).tokens_per_pass == 7
    with pytest.raises(InvalidInput, match="tokens_per_pass is 0; give at least 1"):
        CLASSES[task](lm.model, tokenizer, tokens_per_pass=0)


@every_model
def test_no_token_that_may_be_proposed(task: str, monkeypatch: pytest.MonkeyPatch):
    lm = BUILD[task]()
    tokenizer = lm.tokenizer if task == "seq2seq" else lm.space.tokenizer
    nothing = property(lambda space: torch.zeros(space.vocabulary, dtype=torch.bool))
    monkeypatch.setattr(lm_adapters.TextSpace, "proposable", nothing)
    with pytest.raises(InvalidInput, match="has no token that may be proposed"):
        CLASSES[task](lm.model, tokenizer)


@every_model
def test_close_takes_the_hook_off(task: str):
    lm = BUILD[task]()
    before = len(lm.body._forward_hooks)
    lm.close()
    assert len(lm.body._forward_hooks) == before - 1


def test_a_causal_model_takes_what_its_positions_hold_after_the_start_token():
    lm = BUILD["causal"]()
    assert lm.max_length == lm.model.config.max_position_embeddings - 1
    assert lm.condition_on("").max_length == lm.max_length
    prompt = lm.space.tokenizer("a b", add_special_tokens=False)["input_ids"]
    assert lm.condition_on("a b").max_length == lm.max_length - len(prompt)


def test_names_of_version_0_1(tmp_path):
    lm = BUILD["masked"]()
    kernel = lm_adapters.rescored_replace(lm, 3)
    assert isinstance(kernel, ShortlistGibbs)
    assert kernel.move_names == ("rescored",)
    folder = tiny.save(lm.model, lm.space.tokenizer, tmp_path)
    first, second = lm_adapters.load_encoder(str(folder)), SentenceEncoder.from_pretrained(str(folder))
    assert torch.equal(first.embed(["a b"]), second.embed(["a b"]))
