"""What continuations report, on each class of model; what they refuse."""

from __future__ import annotations

import math

import pytest
import torch

from lm_adapters import (
    CausalLM,
    Continuation,
    SequenceDistribution,
    SequenceEnergy,
    StoppedEnergy,
    SuffixSMC,
    Truncation,
)
from samplers import InvalidInput, ProposalError
from samplers.randomness import generator
from tests.lm_adapters import tiny_causal

LONGEST, PARTICLES = 9, 3
TEXTS = ["a b c", "z", "the old", "She's"]


def grown(lm: CausalLM, *, kept: bool, block: int = 2):
    x = lm.space.encode(TEXTS, LONGEST)
    cut = torch.minimum(torch.tensor([2, 0, 1, 3]), lm.space.lengths(x))
    growing = Continuation(lm.condition_on("We do"), power=2.0, max_length=LONGEST, block=block)
    return x, cut, growing.grow(x, cut, PARTICLES, generator(1), kept=kept)


@pytest.mark.parametrize("name", tiny_causal.CLASSES)
def test_scores_are_those_of_the_texts_and_weights_those_of_the_scores(name: str):
    """``block`` is longer than the texts: nothing is resampled."""
    lm = tiny_causal.build(name, double=True)
    x, cut, found = grown(lm, kept=True, block=LONGEST + 1)
    reader = lm.condition_on("We do")
    terms = StoppedEnergy(reader, LONGEST).token_terms(found.x)
    column = torch.arange(LONGEST + 1)
    new = column >= cut.repeat_interleave(PARTICLES).unsqueeze(1)
    torch.testing.assert_close(found.nlls.sum(dim=1), terms.where(new, 0.0).sum(dim=1), atol=1e-9, rtol=0)
    before = terms.where(~new, 0.0).sum(dim=1)
    torch.testing.assert_close(found.before.repeat_interleave(PARTICLES), before, atol=1e-9, rtol=0)
    law = SequenceDistribution(reader, max_length=LONGEST, truncation=Truncation(2 ** (-1 / 3)))
    log_q = law.token_scores(found.x)[:, 0].where(new, 0.0).sum(dim=1)
    torch.testing.assert_close(found.log_weights, -2 * found.nlls.sum(dim=1) - log_q, atol=1e-9, rtol=0)
    assert torch.equal(found.x[::PARTICLES], x)
    assert len(found.x.unique(dim=0)) > 2 * len(TEXTS)


@pytest.mark.parametrize("tokens_per_pass", [1, 7, 10**6])
def test_draws_do_not_depend_on_the_budget(tokens_per_pass: int):
    lm = tiny_causal.build("llama", double=True)
    cut = CausalLM(lm.model, lm.space.tokenizer, tokens_per_pass=tokens_per_pass)
    for kept in (False, True):
        first, second = grown(lm, kept=kept)[2], grown(cut, kept=kept)[2]
        assert torch.equal(first.x, second.x)
        torch.testing.assert_close(first.log_weights, second.log_weights, atol=1e-9, rtol=0)


def test_the_beginning_is_read_once_for_all_its_particles():
    lm = tiny_causal.build("llama")
    shapes: list[tuple[int, ...]] = []
    hook = lambda module, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape))  # noqa: E731
    lm.condition_on("We do")._context_layers  # noqa: B018
    lm.model.base_model.register_forward_pre_hook(hook, with_kwargs=True)
    _, cut, _ = grown(lm, kept=True)
    assert shapes[0] == (len(TEXTS), int(cut.max()) + 1)
    assert all(tokens == 1 for _, tokens in shapes[1:])
    assert max(rows for rows, _ in shapes) <= len(TEXTS) * PARTICLES
    assert len(shapes) <= LONGEST


def test_energies_of_stopped_texts():
    lm = tiny_causal.build("gpt2", double=True)
    reader, x = lm.condition_on("We do"), lm.space.encode(["a b c", "z"], 4)
    longest = int(lm.space.lengths(x).max())
    whole, stopped = SequenceEnergy(reader), StoppedEnergy(reader, longest)
    end = whole.token_terms(x)[0, longest]
    assert float(whole(x)[0] - stopped(x)[0]) == pytest.approx(float(end))
    assert float(whole(x)[1]) == pytest.approx(float(stopped(x)[1]))
    assert float(StoppedEnergy(reader, longest - 1)(x)[0]) == math.inf
    with pytest.raises(InvalidInput, match="max_length is 0, the model takes"):
        StoppedEnergy(reader, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"power": 0.0}, "power is 0.0; give a finite number above 0"),
        ({"power": math.nan}, "power is nan"),
        ({"block": 0}, "block is 0; give at least 1 token"),
        ({"min_length": 5, "max_length": 4}, "min_length=5, max_length=4: give 1 <= min_length <= max_length"),
        ({"max_length": 10**6}, "max_length=1000000"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(InvalidInput, match=message):
        Continuation(tiny_causal.build("llama").condition_on(), **{"max_length": LONGEST, **options})


def test_texts_that_cannot_be_drawn_are_refused():
    lm = tiny_causal.build("llama")
    growing = Continuation(lm.condition_on(), min_length=2, max_length=3)
    with pytest.raises(InvalidInput, match="num_particles is 1; give at least 2"):
        SuffixSMC(growing, 1)
    kernel, energy = SuffixSMC(growing, 2), StoppedEnergy(lm.condition_on(), 3)
    short = lm.space.encode(["z"], 4)
    x, first = short.expand(20, -1), torch.zeros(20, dtype=torch.int64)
    with pytest.raises(ProposalError, match="the model cannot draw the text of chain 0; start from one that it draws"):
        growing.grow(x, first, 2, generator(0), kept=True)
    long = lm.space.encode(["a b c d"], 9)
    with pytest.raises(ProposalError, match=r"a text has \d+ tokens, and max_length is 3"):
        kernel.step(kernel.init(long, energy), energy, generator(0))
