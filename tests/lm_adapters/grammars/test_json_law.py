"""Draws under a JSON schema beside the law of all its texts in every spelling, by the chi-square of the example."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from examples.json_law import chi_square, exact_law, independent_draws
from lm_adapters import AdaptiveRejection, Grammar, Matches, NextTokens, SequenceDistribution
from samplers import generator
from tests.lm_adapters.grammars.enumerated import lm

LONGEST, DRAWS = 5, 1000
LM = lm(("a", "b", "ab", '"', "Ġ"))
SCHEMA = Grammar.json_schema({"enum": ["a", "b", "ab", "ba", "aa"]})


def counted(x: Tensor) -> Counter[str]:
    return Counter(text.strip() for text in LM.space.decode(x))


def test_a_thousand_draws_are_valid_and_have_the_law_and_masked_ones_have_another():
    law, spellings = exact_law(LM, "ab", SCHEMA, LONGEST)
    assert len(law) == 5 < spellings
    assert max(law.values()) < 0.5
    reader, following = LM.condition_on("ab"), NextTokens(LM.space, SCHEMA)
    plain, constraint = SequenceDistribution(reader, max_length=LONGEST), Matches(LM.space, SCHEMA)
    drawn = AdaptiveRejection(plain, constraint, following.hopeless).draw(DRAWS, generator(1), max_trials=10**6)
    counts = counted(drawn.x)
    assert set(counts) <= set(law)
    assert chi_square(Counter(independent_draws(LM, "ab", SCHEMA, LONGEST, DRAWS)), law)[2] > 1e-6
    assert chi_square(counts, law)[2] > 1e-6
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        masked = SequenceDistribution(reader, max_length=LONGEST, following=following).sample((4 * DRAWS,))
    masked = masked[following.is_match(masked)]
    assert chi_square(counted(masked), law)[2] < 1e-9
