"""A model is run in the fastest way that gives its own numbers for a text, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertLMHeadModel, FNetConfig, FNetForMaskedLM, PreTrainedModel

from lm_adapters import (
    CausalLM,
    MaskedEnergy,
    MaskedLM,
    MeanPooled,
    Reconstruction,
    Seq2SeqLM,
    SequenceDistribution,
    SequenceEnergy,
    SuffixProposal,
)
from lm_adapters.forward.route import Route
from lm_adapters.models import known_routes, probe
from samplers import InvalidInput, MetropolisHastings, generator, sample
from tests.lm_adapters import tiny, tiny_causal, tiny_seq2seq

TEXTS = ["a", "e f g h i j", "b b a", "c d e f g h"]
ROUTES = [
    Route(cache="none"),
    Route(cache="none", full_head=True),
    Route(rows="equal", cache="none"),
    Route(rows="one", cache="none", full_head=True),
    Route(cache="equal"),
]
routes = pytest.mark.parametrize("route", ROUTES, ids=str)


class Mixing(BertForMaskedLM):
    """A model whose rows influence each other."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert.embeddings.register_forward_hook(lambda _, arguments, states: states + 0.3 * states.flip(0))


class Random(BertForMaskedLM):
    """A model that draws as it reads, from three generators."""

    def forward(self, *arguments, **named):
        output = super().forward(*arguments, **named)
        output.logits = output.logits + torch.randn(output.logits.shape) + np.random.rand()
        return output


class Undefined(BertForMaskedLM):
    def forward(self, *arguments, **named):
        output = super().forward(*arguments, **named)
        output.logits = output.logits / 0
        return output


class Failing(BertForMaskedLM):
    def forward(self, *arguments, **named):
        raise RuntimeError("no\nsuch kernel")


def made(kind: type[PreTrainedModel]) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return tiny.enlarged(kind(BertConfig(**tiny.sizes(tiny.wordpiece()))), 12.0)


def fnet() -> PreTrainedModel:
    sizes = tiny.sizes(tiny.wordpiece(), use_tpu_fourier_optimizations=False)
    del sizes["num_attention_heads"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return tiny.enlarged(FNetForMaskedLM(FNetConfig(**sizes)), 12.0)


def alone_and_together(lm: MaskedLM) -> tuple[torch.Tensor, torch.Tensor]:
    energy, x = MaskedEnergy(lm, "pll"), lm.space.encode(TEXTS)
    return torch.cat([energy(lm.space.encode([text])) for text in TEXTS]), energy(x)


@pytest.mark.parametrize(
    ("model", "route"),
    [(lambda: made(BertForMaskedLM), "usual"), (fnet, "rows of one length"), (lambda: made(Mixing), "one row a pass")],
    ids=["bert", "fnet", "mixing"],
)
def test_an_energy_is_a_number_of_its_text(model: Callable[[], PreTrainedModel], route: str):
    lm = MaskedLM(model(), tiny.wordpiece())
    alone, together = alone_and_together(lm)
    assert route in str(lm.route)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    if route != "usual":
        lm.route = Route(full_head=lm.route.full_head)
        assert float((alone_and_together(lm)[1] - alone).abs().max()) > 0.1


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (Random, "it draws at random as it reads"),
        (Undefined, "with NaN or infinity as float32"),
        (Failing, r"fails on a text \(plain; RuntimeError: no such kernel\)"),
    ],
)
def test_what_has_no_number_is_refused(kind: type[PreTrainedModel], line: str):
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()
    model = made(kind)
    with pytest.raises(InvalidInput, match=line) as caught:
        MaskedLM(model, tiny.wordpiece())
    assert len(str(caught.value).splitlines()) == 1
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]
    assert not model.base_model._forward_hooks


def test_a_model_that_sees_what_follows_is_no_causal_one():
    with pytest.raises(InvalidInput, match="depends on the tokens after it"):
        CausalLM(made(BertLMHeadModel), tiny.wordpiece())


def test_bert_as_a_decoder_begins_with_cls_and_ends_with_sep():
    model = BertLMHeadModel(BertConfig(**tiny.sizes(tiny.wordpiece(), is_decoder=True)))
    lm = CausalLM(model, tiny.wordpiece())
    x = lm.space.encode(["a b c"])
    ids = torch.tensor([[lm.space.tokenizer.cls_token_id, *x[0].tolist()]])
    law = model(input_ids=ids).logits[0].double().log_softmax(dim=1)
    ends = torch.tensor([*x[0].tolist(), lm.space.tokenizer.sep_token_id])
    expected = -law.gather(1, ends.unsqueeze(1)).sum().reshape(1)
    torch.testing.assert_close(SequenceEnergy(lm.condition_on())(x), expected, atol=1e-5, rtol=0)


@routes
@pytest.mark.parametrize("prompt", ["", "a b"])
def test_every_route_gives_the_same_numbers_of_a_causal_model(route: Route, prompt: str):
    lm = tiny_causal.build("llama", double=True)
    x = lm.space.encode(TEXTS, width=8)
    site, values = torch.tensor([0, 2, 1, 4]), lm.space.encode(["q r s t"]).expand(4, -1)
    usual, other = lm.condition_on(prompt), None
    expected = SequenceEnergy(usual)(x), SequenceEnergy(usual).candidate_values(x, site, values)
    law = SequenceDistribution(usual, max_length=8)
    drawn = law.redraw(x, site.clamp(max=1), generator(3))
    lm.route = route
    other = type(usual)(lm, prompt)
    energy = SequenceEnergy(other)
    torch.testing.assert_close(energy(x), expected[0], atol=1e-9, rtol=0)
    torch.testing.assert_close(energy.candidate_values(x, site, values), expected[1], atol=1e-9, rtol=0)
    again = SequenceDistribution(other, max_length=8).redraw(x, site.clamp(max=1), generator(3))
    assert torch.equal(again.x, drawn.x)
    torch.testing.assert_close(again.scores, drawn.scores, atol=1e-9, rtol=0)


@routes
@pytest.mark.parametrize("name", ["t5", "bart forced", "encoder-decoder"])
def test_every_route_gives_the_same_numbers_of_a_seq2seq_model(route: Route, name: str):
    lm = tiny_seq2seq.build(name, double=True)
    x, source = lm.space.encode(tiny_seq2seq.TEXTS, width=12), tiny_seq2seq.SOURCE
    usual = lm.condition_on(source)
    site = torch.zeros(3, dtype=torch.int64)
    expected = SequenceEnergy(usual)(x), Reconstruction(lm, source)(x)
    drawn = SequenceDistribution(usual, max_length=8).redraw(x, site, generator(3))
    lm.route = route
    other = type(usual)(lm, source)
    torch.testing.assert_close(SequenceEnergy(other)(x), expected[0], atol=1e-9, rtol=0)
    torch.testing.assert_close(Reconstruction(lm, source)(x), expected[1], atol=1e-9, rtol=0)
    again = SequenceDistribution(other, max_length=8).redraw(x, site, generator(3))
    assert torch.equal(again.x, drawn.x)
    torch.testing.assert_close(again.scores, drawn.scores, atol=1e-9, rtol=0)


def test_in_half_precision_an_energy_does_not_depend_on_the_move():
    plain = tiny_causal.build("llama")
    lm = CausalLM(plain.model.bfloat16(), plain.space.tokenizer)
    given, x = lm.condition_on(), lm.space.encode(["a b c d e f", "e f"], width=12).repeat(16, 1)
    kernel = MetropolisHastings(SuffixProposal(given, max_length=12))

    def alone(texts: torch.Tensor) -> torch.Tensor:
        return torch.cat([SequenceEnergy(given)(text.unsqueeze(0)) for text in texts])

    def largest_change() -> float:
        """Of an energy that was kept, scored again by itself."""
        trace = sample(kernel, SequenceEnergy(given), x, steps=8, warmup=0, progress=False)
        assert trace.acceptance > 0.1
        return float((trace.energy[:, -1] - alone(trace.draws[:, -1])).abs().max())

    if not torch.equal(SequenceEnergy(given)(x), alone(x)):
        pytest.skip("on this processor bfloat16 rounds by what else is in the batch")
    assert lm.route == Route(cache="none")
    assert largest_change() < 1e-4
    lm.route = Route()
    assert largest_change() > 1e-3


class TestCache:
    @pytest.fixture(autouse=True)
    def _own_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        self.file = tmp_path / "mcmc-text" / "routes.json"

    @staticmethod
    def passes(model: PreTrainedModel) -> int:
        """How many forward passes it takes to make an adapter."""
        count: list[None] = []
        hook = model.register_forward_hook(lambda *_: count.append(None))
        try:
            lm = MaskedLM(model, tiny.wordpiece())
        finally:
            hook.remove()
        lm.close()
        return len(count)

    def test_a_model_is_probed_once(self):
        model = fnet()
        assert self.passes(model) > 3
        assert self.passes(model) == 0
        lm = MaskedLM(model, tiny.wordpiece())
        assert lm.route == Route(rows="equal")
        lm.close()
        with torch.no_grad():
            model.get_input_embeddings().weight.mul_(1.01)
        assert self.passes(model) > 3

    @pytest.mark.parametrize("spoilt", ["", "[", "[1]", "null", '{"a": 1}', "\x00" * 9, "1" * 5000])
    def test_a_file_that_holds_no_routes_is_as_good_as_none(self, spoilt: str):
        model = made(BertForMaskedLM)
        self.file.parent.mkdir()
        self.file.write_text(spoilt)
        assert self.passes(model) > 0
        assert self.passes(model) == 0

    @pytest.mark.parametrize(
        "fact", [{"rows": "all"}, {"cache": 1}, {"full_head": "no"}, {"full_head": 1}, {"more": 1}, {"rows": ["any"]}]
    )
    def test_values_are_checked(self, fact: dict[str, object]):
        model = made(BertForMaskedLM)
        self.passes(model)
        known = json.loads(self.file.read_text())
        self.file.write_text(json.dumps({key: value | fact for key, value in known.items()}))
        assert self.passes(model) > 0

    def test_without_a_place_to_write_it_is_probed_each_time(self):
        self.file.parent.write_text("a file")
        model = made(BertForMaskedLM)
        assert self.passes(model) > 0
        assert self.passes(model) > 0

    def test_the_oldest_routes_are_dropped(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(known_routes, "MOST", 2)
        for key in "abc":
            known_routes.remember_route(key, Route())
        assert list(json.loads(self.file.read_text())) == ["b", "c"]
        assert known_routes.known_route("a") is None
        assert [file.name for file in self.file.parent.iterdir()] == ["routes.json"]


def test_vectors_of_sentences_do_not_depend_on_the_batch():
    encoder = MeanPooled(fnet(), tiny.wordpiece())
    together = encoder.embed(TEXTS)
    alone = torch.cat([encoder.embed([text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    encoder._together = "any"
    assert float((encoder.embed(TEXTS) - alone).abs().max()) > 1e-2


def test_the_texts_of_a_probe_are_of_the_models_own_pieces():
    lm = tiny_seq2seq.build("t5")
    assert isinstance(lm, Seq2SeqLM)
    texts = probe.probe_texts(lm)
    assert [len(text) for text in texts] == [3, 9, 9]
    assert lm.allowed[torch.tensor([token for text in texts for token in text])].all()
    assert texts == probe.probe_texts(lm)
