"""Many pairs of source and target: the numbers of one by one, in few passes, whatever their order and number."""

from __future__ import annotations

import pytest
import torch

from experiments.results.cost import counted
from lm_adapters import SequenceEnergy, pair_log_probs
from lm_adapters.forward.route import Route
from samplers import InvalidInput
from samplers.randomness import generator
from tests.lm_adapters.tiny_seq2seq import CLASSES, EXACT, lm

WORDS = ("a", "b", "c", "hello", "z")


def sentences(count: int, seed: int, longest: int = 6) -> list[str]:
    rng = generator(seed)
    lengths = torch.randint(1, longest + 1, (count,), generator=rng).tolist()
    return [" ".join(WORDS[i] for i in torch.randint(len(WORDS), (n,), generator=rng).tolist()) for n in lengths]


def one_by_one(model, sources: list[str], targets: list[str]) -> torch.Tensor:
    nats = [
        float(SequenceEnergy(model.condition_on(source))(model.space.encode([target])))
        for source, target in zip(sources, targets, strict=True)
    ]
    return -torch.tensor(nats, dtype=torch.float64)


@pytest.mark.parametrize("name", CLASSES)
def test_pairs_have_the_log_probabilities_of_one_by_one(name):
    model = lm(name)
    sources, targets = sentences(9, 1, 3) + ["hello a"] * 10, sentences(19, 2, 3)
    expected = one_by_one(model, sources, targets)
    torch.testing.assert_close(model.log_prob(sources, targets), expected, **EXACT)
    usual, route = model.tokens_per_pass, model.route
    try:
        for model.tokens_per_pass in (1, 40, 100):
            torch.testing.assert_close(model.log_prob(sources, targets), expected, **EXACT)
        model.tokens_per_pass = usual
        for rows in ("equal", "one"):
            model.route = Route(rows=rows, cache="none")
            torch.testing.assert_close(model.log_prob(sources, targets), expected, **EXACT)
    finally:
        model.tokens_per_pass, model.route = usual, route
    wrong = model.log_prob(sources[::-1], targets)
    assert float((wrong - expected).abs().max()) > 1e-6, "the source matters"
    order = torch.randperm(len(sources), generator=generator(3)).tolist()
    shuffled = model.log_prob([sources[i] for i in order], [targets[i] for i in order])
    torch.testing.assert_close(shuffled, expected[order], **EXACT)


def test_passes_are_few_and_little_is_padding(monkeypatch):
    """Of pairs of many lengths in random order; each pair counts its source and its target, once."""
    model, count = lm("t5"), 300
    monkeypatch.setattr(model, "tokens_per_pass", 1024)
    sources, targets = sentences(count, 4, longest=20), sentences(count, 5, longest=20)
    x, read = model.space.encode(targets), model.source_space.encode(sources)
    with counted([model.model]) as cost:
        model.log_prob(sources, targets)
    whole = int(model.space.lengths(x).sum() + model.source_space.lengths(read).sum()) + 2 * count
    assert cost.rows == 2 * count  # of the encoder and of the decoder
    assert cost.tokens <= 1.4 * whole  # in the order given 1.9 times
    assert cost.forwards <= 2 * (1.4 * whole / model.tokens_per_pass + 2)
    with counted([model.model]) as shared:
        model.log_prob(["hello a"] * count, targets)
    assert shared.rows == count + 2  # the source, and what the decoder reads before a text
    assert shared.tokens <= 1.25 * (int(model.space.lengths(x).sum()) + count)


def test_states_with_a_prefix():
    model = lm("t5")
    sources, targets = sentences(3, 6), sentences(3, 7)
    told = model.log_prob(sources, targets, prefix="hello a")
    decoders = [model.condition_on(source, "hello a") for source in sources]
    for decoder, target, nats in zip(decoders, targets, told.tolist(), strict=True):
        assert float(SequenceEnergy(decoder)(model.space.encode([target]))) == pytest.approx(-nats, abs=1e-9)
    read, x = model.source_space.encode(sources, width=30), model.space.encode(targets, width=30)
    torch.testing.assert_close(pair_log_probs(model, read, x, "hello a"), told, **EXACT)


@pytest.mark.parametrize(
    ("sources", "targets", "message"),
    [
        (["a"], ["a", "b"], "1 sources and 2 targets; give a source for each target"),
        (["a", " "], ["a", "b"], "the text '' has no tokens"),
        (["a"], [""], "the text '' has no tokens"),
        ([], [], "there is no text"),
        (["hello a " * 60], ["b"], "the encoder takes"),
        (["b"], ["hello a " * 60], "a target has .* tokens, the decoder takes"),
    ],
)
def test_bad_pairs_are_told(sources, targets, message):
    with pytest.raises(InvalidInput, match=message):
        lm("bart").log_prob(sources, targets)
