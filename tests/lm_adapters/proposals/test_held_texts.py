"""Texts drawn until they hold the words: their law, and chains that take them as they are."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor

from lm_adapters import CausalLM, HeldTexts, Keywords, LengthRange, SequenceDistribution, Truncation
from samplers import EnergyTerm, IndependenceProposal, InvalidInput, MetropolisHastings, named, sample
from samplers.kernels.metropolis import log_acceptance
from samplers.randomness import generator, scoped_global_seed
from samplers.testing import Enumerated, enumerate_states
from samplers.testing.law_checks import row_result
from tests.lm_adapters import tiny_causal

WORDS = ("red", "green", "blue", "grey")
SITES = 3
LOCKS = {
    "one": (["red"], False),
    "phrase": (["green grey"], False),
    "in order": (["red", "blue"], False),
    "any order": (["red", "blue"], True),
    "twice": (["red", "red"], True),
    "length": (2, 3),
}
locks = pytest.mark.parametrize("lock", LOCKS.values(), ids=list(LOCKS))


@cache
def lm() -> CausalLM:
    return tiny_causal.words_lm(WORDS, seed=1, scale=6.0)


@cache
def texts() -> Tensor:
    words, pad = lm().space.encode([" ".join(WORDS)])[0], lm().space.pad_id
    parts = [words[enumerate_states(len(WORDS), length)] for length in range(1, SITES + 1)]
    return torch.cat([torch.nn.functional.pad(part, (0, SITES - part.shape[1]), value=pad) for part in parts])


def held(lock: tuple[list[str], bool] | tuple[int, int], tries: int, truncation: Truncation | None = None) -> HeldTexts:
    law = SequenceDistribution(lm().condition_on(), max_length=SITES, truncation=truncation)
    kind = LengthRange if lock == LOCKS["length"] else Keywords
    return HeldTexts(law, kind(lm().space, *lock), tries)


def follows(space: Enumerated, x: Tensor, law: Tensor) -> bool:
    return row_result("law", "", space.index(x), law, pooled=True).passed


@pytest.mark.parametrize(
    ("lock", "tries"), [(LOCKS[n], k) for n, k in (("one", 1), ("in order", 6), ("any order", 3), ("length", 2))]
)
def test_draws_are_those_of_the_model_given_the_words(lock, tries):
    law = held(lock, tries)
    with scoped_global_seed(generator(4)):
        x = law.sample((2**13,))
    found, density = law.allowed(texts()), law.distribution.log_prob(texts()).exp()
    share = float(density[found].sum())
    rest = (1 - share) ** tries  # none of the draws holds the words: the last one is returned
    given = density / share * found * (1 - rest) + density / (1 - share) * ~found * rest
    space = Enumerated(texts(), lambda x: torch.zeros(len(x)))
    assert follows(space, x, given)
    assert follows(space, x, density) == (tries == 1), "a single try is a draw of the model itself"


def target(lock: EnergyTerm) -> Enumerated:
    noise = torch.randn(len(texts()), dtype=torch.float64, generator=generator(5))
    return Enumerated(texts(), named("random", Enumerated(texts(), lambda x: noise).energy) + lock)


def matrix(law: HeldTexts, space: Enumerated, log_ratio: Tensor) -> Tensor:
    """Of the accept step with the densities ``log_ratio [texts]``; texts without the words are never accepted."""
    log_q = law.distribution.log_prob(texts()).masked_fill(~law.allowed(texts()), -math.inf)
    share = float(log_q.logsumexp(0).exp())
    q = (log_q.exp() / share * (1 - (1 - share) ** law.tries)).expand(len(space), -1)
    forward, energy = log_ratio.expand(len(space), -1), space.energies.expand(len(space), -1)
    moves = q * log_acceptance(energy.T, energy, forward, forward.T).clamp(max=0).exp()
    return moves + torch.diag(1 - moves.sum(dim=1))


@locks
@pytest.mark.parametrize("tries", [1, 5])
def test_the_constant_cancels_and_nothing_else_does(lock, tries):
    law = held(lock, tries, Truncation(temperature=0.7))
    space = target(law.lock)
    pi, told = space.probabilities(), law.log_prob(texts())
    torch.testing.assert_close(pi @ matrix(law, space, told), pi, rtol=0, atol=1e-12)
    if int(law.allowed(texts()).sum()) > 1:
        for wrong in (0.5 * told, torch.zeros_like(told)):
            assert float((pi @ matrix(law, space, wrong) - pi).abs().max()) > 1e-6


@pytest.mark.parametrize("lock", [LOCKS["one"], LOCKS["any order"], LOCKS["length"]])
def test_chains_stay_in_the_target(lock):
    law = held(lock, 8)
    space = target(law.lock)
    start = space.sample(2**10, generator(6))
    kernel = MetropolisHastings(IndependenceProposal(law))
    trace = sample(kernel, space.energy, start, steps=3, warmup=2, seed=0, shard_size=len(start), progress=False)
    assert follows(space, trace.draws[:, -1], space.probabilities())
    assert (trace.draws[:, -1] != start).any()


def test_tries_are_at_least_one():
    with pytest.raises(InvalidInput, match="tries is 0; give at least 1"):
        held((["red"], False), 0)
    with pytest.raises(InvalidInput, match="lock is 'letters', which is no constraint"):
        HeldTexts(held((["red"], False), 1).distribution, named("letters", lambda x: x[:, 0].double()))


@locks
def test_the_constant_that_is_left_out_is_estimated(lock):
    law = held(lock, 3)
    share = float(law.distribution.log_prob(texts()).exp()[law.allowed(texts())].sum())
    found, error = law.mass(2**11, generator(7))
    assert abs(found - share / (1 - (1 - share) ** 3)) < 6.2 * error + 1e-3 * (share < 1e-3)
