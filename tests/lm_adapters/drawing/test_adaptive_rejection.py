"""Rejection that remembers what it has seen fail, beside the enumerated law of what is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lm_adapters import AdaptiveRejection, Keywords, SequenceDistribution, Truncation, WordBoost
from samplers import InvalidInput
from samplers.randomness import generator
from tests.lm_adapters.drawing.enumerated import LONGEST, by_length, lm, reader, space, texts, word
from tests.lm_adapters.enumerated import strain

DRAWS = 3000
TRUNCATIONS = {"whole": Truncation(), "cold": Truncation(0.6, 4, 0.95)}


def law(truncation: Truncation = TRUNCATIONS["whole"], shortest: int = 1) -> SequenceDistribution:
    return SequenceDistribution(reader(), min_length=shortest, max_length=LONGEST, truncation=truncation)


def repeats(x: Tensor) -> Tensor:
    """Two equal neighbours: so has every longer text."""
    return ((x[:, 1:] == x[:, :-1]) & lm().space.is_token(x[:, 1:])).any(dim=1)


def constraint(x: Tensor) -> Tensor:
    """No equal neighbours, and a "green" somewhere."""
    forbidden = repeats(x) | ~(x == word("green")).any(dim=1)
    return torch.zeros(len(x), dtype=torch.float64).masked_fill(forbidden, math.inf)


def exact(drawn: SequenceDistribution) -> tuple[Tensor, float]:
    """The law of what is allowed, and its mass."""
    masses = drawn.log_prob(texts()).exp() * (constraint(texts()) == 0)
    return masses / masses.sum(), float(masses.sum())


@pytest.mark.parametrize("truncation", TRUNCATIONS.values(), ids=list(TRUNCATIONS))
@pytest.mark.parametrize("hopeless", [None, repeats])
def test_draws_are_exact_and_what_failed_is_not_tried_again(truncation: Truncation, hopeless):
    drawn = law(truncation)
    wanted, mass = exact(drawn)
    assert 0.02 < mass < 0.6
    adaptive = AdaptiveRejection(drawn, constraint, hopeless)
    found = adaptive.draw(DRAWS, generator(1), batch=16)
    index = space(1.0).index(found.x)
    for part in (index, index[:500], index[-500:]):
        assert strain(part, wanted) < 1
    assert strain(lm().space.lengths(found.x), by_length(wanted)) < 1
    assert found.trials < DRAWS + 400  # plain rejection: DRAWS / mass
    assert adaptive.dead <= 1 - mass + 1e-9
    assert adaptive.dead == pytest.approx(1 - mass, abs=1e-3)


def test_draws_of_a_law_with_a_boost_are_exact():
    boost = WordBoost(Keywords(lm().space, ["green"]), [1.5])
    drawn = SequenceDistribution(reader(), max_length=LONGEST, boost=boost)
    found = AdaptiveRejection(drawn, constraint).draw(DRAWS, generator(1), batch=16)
    assert strain(space(1.0).index(found.x), exact(drawn)[0]) < 1
    assert strain(space(1.0).index(found.x), exact(law())[0]) > 1


def test_hopeless_beginnings_need_fewer_trials():
    counts = [
        AdaptiveRejection(law(), constraint, each).draw(20, generator(2), batch=4).trials for each in (None, repeats)
    ]
    assert counts[1] < counts[0]


def test_the_length_is_bounded_as_in_the_law():
    found = AdaptiveRejection(law(shortest=3), constraint, repeats).draw(200, generator(0))
    assert int(lm().space.lengths(found.x).min()) == 3


def test_what_cannot_be_is_found_out():
    nothing = AdaptiveRejection(law(), lambda x: torch.full((len(x),), math.inf, dtype=torch.float64))
    with pytest.raises(InvalidInput, match="no text of up to 4 tokens meets the constraint"):
        nothing.draw(1, generator(0), max_trials=10**6, batch=256)
    none = AdaptiveRejection(law(), constraint).draw(10**6, generator(0), max_trials=20, batch=8)
    assert none.trials == 20
    assert len(none.x) < 20


@pytest.fixture
def badly() -> Callable[[], float]:
    """The strain of draws by a trie that the test has broken; infinite where it holds all for dead."""

    def strained() -> float:
        try:
            found = AdaptiveRejection(law(), constraint, repeats).draw(DRAWS, generator(1), batch=16)
        except InvalidInput:
            return math.inf
        return strain(space(1.0).index(found.x), exact(law())[0])

    return strained


def test_a_beginning_that_is_too_short_is_seen(badly, monkeypatch):
    found = AdaptiveRejection._dead_from
    monkeypatch.setattr(AdaptiveRejection, "_dead_from", lambda *a: max(1, found(*a) - 1))
    assert badly() > 1


def test_dead_mass_that_is_counted_wrongly_is_seen(badly, monkeypatch):
    enter = AdaptiveRejection._enter
    monkeypatch.setattr(AdaptiveRejection, "_enter", lambda self, t, c: enter(self, t, [each**0.5 for each in c]))
    assert badly() > 1
