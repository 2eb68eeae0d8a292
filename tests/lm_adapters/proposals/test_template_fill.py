"""Texts that fit a template follow the density that is told, by a masked model and by one that reads."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch

from lm_adapters import MaskedLM, Template, TemplateFill, Truncation
from samplers import Constraint, InvalidInput
from samplers.randomness import generator
from samplers.testing.gates import kl_gate, kl_statistic, pool
from samplers.testing.targets import Enumerated, enumerate_states
from tests.lm_adapters.proposals.test_keyword_fill import WIDTH, WORDS, lm, reader

DRAWS = 2**13


@cache
def texts(width: int = WIDTH):
    words, pad = lm().space.encode([" ".join(WORDS)])[0], lm().space.pad_id
    parts = [words[enumerate_states(len(WORDS), length)] for length in range(1, width + 1)]
    return torch.cat([torch.nn.functional.pad(part, (0, width - part.shape[1]), value=pad) for part in parts])


def fill(text: str, reads: bool, model: MaskedLM | None = None, **options) -> TemplateFill:
    template = Template(lm().space, text)
    return TemplateFill(model or lm(), template, reader=reader() if reads else None, **options)


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("text", ["[MASK:1-3] red", "[MASK:1-2] blue [MASK:1]", "[MASK:2-3]"])
def test_draws_follow_the_density_and_its_constant_is_estimated(text, reads):
    law = fill(text, reads, truncation=Truncation(temperature=0.8))
    x = texts(law.lock.max_length)
    space = Enumerated(x, lambda x: torch.zeros(len(x)))
    density = law.log_prob(x).exp()
    assert torch.equal(density > 0, law.lock.found(x))
    observed = space.index(law.draw(DRAWS, generator(3))).bincount(minlength=len(x))
    counts, pooled = pool(observed, density / density.sum())
    assert kl_statistic(counts, pooled) < kl_gate(len(pooled))
    other = fill(text, not reads).log_prob(x).exp()
    counts, pooled = pool(observed, other / other.sum())
    assert kl_statistic(counts, pooled) > kl_gate(len(pooled))  # the test can tell two models apart
    mass = float(density.sum())
    found, error = law.mass(DRAWS, generator(6))
    assert abs(found - mass) < 6.2 * error + 1e-9
    assert mass == pytest.approx(1) or "red" in text or "blue" in text


def test_a_constraint_is_kept_to_and_counts_in_the_mass():
    short = Constraint("short", lambda x: lm().space.lengths(x) < 3)
    law = fill("[MASK:2-3]", True, constraints=[short])
    assert int(lm().space.lengths(law.draw(200, generator(1))).max()) == 2
    found, error = law.mass(4000, generator(2))
    assert abs(found - 0.5) < 6.2 * error
    never = Constraint("never", lambda x: torch.zeros(len(x), dtype=torch.bool))
    with pytest.raises(InvalidInput, match="no draw of the model satisfies template, never"):
        fill("[MASK:2-3]", False, constraints=[never]).draw(2, generator(1))


def test_a_text_that_does_not_fit_has_no_density():
    law = fill("[MASK:1-3] red", True)
    x = lm().space.encode(["blue", "red blue", "blue red"])
    assert law.log_prob(x)[:2].tolist() == [-math.inf, -math.inf]
    assert math.isfinite(law.log_prob(x)[2])
