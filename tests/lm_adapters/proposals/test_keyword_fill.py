"""What is drawn with the keywords in it follows the density that is told, and masks are filled for good."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor

from lm_adapters import (
    Autoregressive,
    CausalLM,
    KeywordFill,
    Keywords,
    LeftToRightFill,
    MaskedLM,
    SequenceEnergy,
    Template,
    Truncation,
    fill_masks,
)
from samplers import Constraint, InvalidInput, importance_sample, named
from samplers.randomness import generator
from samplers.testing.gates import kl_gate, kl_statistic, pool
from samplers.testing.targets import Enumerated, enumerate_states
from tests.lm_adapters import tiny_causal
from tests.lm_adapters.tiny import enlarged, words_lm

WORDS = ("red", "green", "blue", "grey")
WIDTH = 4
DRAWS = 2**14


@cache
def lm() -> MaskedLM:
    return words_lm(WORDS, seed=2, scale=10.0)


@cache
def texts() -> Tensor:
    """Every text of one to ``WIDTH`` words."""
    words, pad = lm().space.encode([" ".join(WORDS)])[0], lm().space.pad_id
    rows = [words[enumerate_states(len(WORDS), length)] for length in range(1, WIDTH + 1)]
    return torch.cat([torch.nn.functional.pad(row, (0, WIDTH - row.shape[1]), value=pad) for row in rows])


def fill(words: list[str], *, any_order: bool = False, truncation: Truncation | None = None) -> KeywordFill:
    lock = Keywords(lm().space, words, any_order=any_order)
    return KeywordFill(lm(), lock, min_length=2, max_length=WIDTH, truncation=truncation)


@pytest.mark.parametrize(
    ("words", "any_order", "truncation"),
    [
        (["red"], False, None),
        (["red", "blue"], False, None),
        (["red", "blue"], True, None),
        (["red", "red"], True, None),
        (["blue red"], False, Truncation(top_k=3)),
    ],
)
def test_draws_follow_the_density_up_to_its_constant(words, any_order, truncation):
    distribution = fill(words, any_order=any_order, truncation=truncation)
    density = distribution.log_prob(texts()).exp()
    law = density / density.sum()
    draws = distribution.draw(DRAWS, generator(5))
    observed = torch.bincount(Enumerated(texts(), named("none", lambda x: torch.zeros(len(x)))).index(draws),
                              minlength=len(law))  # fmt: skip
    counts, pooled = pool(observed, law)
    assert kl_statistic(counts, pooled) < kl_gate(len(pooled))
    uniform = (density > 0).double() / (density > 0).sum()
    counts, pooled = pool(observed, uniform)
    assert kl_statistic(counts, pooled) > kl_gate(len(pooled))  # the test can tell laws apart


def test_the_constant_is_one_where_no_keyword_can_come_again():
    """With every word but the keyword written, each draw is as it was put: the densities add up to 1."""
    words = [*WORDS]
    distribution = KeywordFill(lm(), Keywords(lm().space, words), min_length=1, max_length=WIDTH)
    assert distribution.log_prob(texts()).exp().sum().item() == pytest.approx(1.0, abs=1e-9)


def test_texts_without_the_words_or_too_short_have_no_density():
    log_prob = fill(["red", "blue"]).log_prob(lm().space.encode(["red green", "blue red", "red blue"], WIDTH))
    assert log_prob[:2].tolist() == [-math.inf, -math.inf]
    assert log_prob[2].isfinite()


def test_importance_sampling_finds_the_mean_under_a_target():
    distribution = fill(["red"])
    energy = named("hash", lambda x: (x * torch.tensor([3.0, 1.0, 2.0, 5.0])).sum(dim=1) % 2.0)
    found = importance_sample(energy, distribution, num_samples=DRAWS, seed=3)
    reached = texts()[distribution.log_prob(texts()) > -math.inf]
    weights = (-energy(reached).double()).softmax(dim=0)
    lengths = lm().space.lengths(reached).double()
    mean, spread = (weights * lengths).sum(), (weights * lengths.square()).sum()
    error = ((spread - mean.square()) / found.ess).sqrt()
    assert abs(found.expectation(lm().space.lengths) - mean) < 6.2 * error


def test_hard_terms_are_kept():
    no_grey = Constraint("no grey", lambda x: (x != lm().space.encode(["grey"])[0, 0]).all(dim=1))
    lock = Keywords(lm().space, ["red"])
    drawn = KeywordFill(lm(), lock, min_length=1, max_length=WIDTH, constraints=[no_grey]).draw(200, generator(1))
    assert bool((no_grey(drawn) == 0).all())
    never = Constraint("never", lambda x: torch.zeros(len(x), dtype=torch.bool))
    with pytest.raises(InvalidInput, match="no draw of the model satisfies keywords, never"):
        KeywordFill(lm(), lock, min_length=1, max_length=WIDTH, constraints=[never]).draw(3, generator(1))


def test_masks_are_filled_and_the_rest_stays():
    lock = Template(lm().space, "red [MASK:1-2] blue")
    masks = lock.masks([[1], [2]])
    filled = fill_masks(lm(), masks, generator(2), constraints=[lock])
    hidden = masks == lm().space.mask_id
    assert torch.equal(filled[~hidden], masks[~hidden])
    assert bool(lm().allowed[filled[hidden]].all())
    never = Constraint("never", lambda x: torch.zeros(len(x), dtype=torch.bool))
    with pytest.raises(InvalidInput, match="no draw of the model satisfies never"):
        fill_masks(lm(), masks, generator(2), constraints=[never])


def test_keywords_that_do_not_fit_are_told():
    with pytest.raises(InvalidInput, match="4 tokens at least, the limit is 3"):
        KeywordFill(lm(), Keywords(lm().space, list(WORDS)), min_length=1, max_length=3)


@cache
def reader() -> Autoregressive:
    tokenizer = lm().space.tokenizer
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = enlarged(tiny_causal.gpt2(tokenizer), 10.0).double()
    return CausalLM(model, tokenizer).condition_on()


def read_fill(words: list[str], *, any_order: bool = False, truncation: Truncation | None = None) -> LeftToRightFill:
    lock = Keywords(lm().space, words, any_order=any_order)
    return LeftToRightFill(reader(), lm(), lock, min_length=2, max_length=WIDTH, truncation=truncation)


@pytest.mark.parametrize(
    ("words", "any_order", "truncation"),
    [
        (["red"], False, None),
        (["red", "blue"], True, None),
        (["red", "red"], True, None),
        (["blue red"], False, Truncation(top_k=3)),
    ],
)
def test_from_left_to_right_too_draws_follow_the_density_and_its_constant_is_estimated(words, any_order, truncation):
    distribution = read_fill(words, any_order=any_order, truncation=truncation)
    density = distribution.log_prob(texts()).exp()
    space = Enumerated(texts(), named("none", lambda x: torch.zeros(len(x))))
    draws = distribution.draw(DRAWS, generator(5))
    observed = torch.bincount(space.index(draws), minlength=len(density))
    counts, pooled = pool(observed, density / density.sum())
    assert kl_statistic(counts, pooled) < kl_gate(len(pooled))
    other = fill(words, any_order=any_order, truncation=truncation).log_prob(texts()).exp()
    counts, pooled = pool(observed, other / other.sum())
    assert kl_statistic(counts, pooled) > kl_gate(len(pooled))  # the test can tell the two models apart
    mass = float(density.sum())
    found, error = distribution.mass(DRAWS, generator(6))
    assert abs(found - mass) < 6.2 * error + 1e-9


def test_the_weight_against_the_reader_is_that_of_the_keywords_and_of_the_end():
    distribution, energy = read_fill(["red", "blue"]), SequenceEnergy(reader())
    x = texts()[distribution.lock.found(texts())]
    x = x[lm().space.lengths(x) == 4]
    terms = energy.token_terms(x)
    held = torch.nn.functional.pad(distribution.lock.pieces(x) > 0, (0, 1), value=True)
    expected = -(terms * held).sum(dim=1)
    weight = -energy(x) - distribution.log_prob(x)
    free = -(terms * ~held).sum(dim=1)
    renormalised = free - (distribution.log_prob(x) + math.log(3) + math.log(6))
    assert bool((renormalised <= 1e-9).all())  # the reader may also draw tokens that are no text
    assert torch.allclose(weight, expected + renormalised + math.log(18))
