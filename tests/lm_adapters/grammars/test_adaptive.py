"""Tokens drawn by trying: their law, and the mean of the mass that comes with each of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lm_adapters.grammars.adaptive import Accepted, accepted
from tests.lm_adapters.enumerated import strain

SHARES = np.array([0.35, 0.05, 0.25, 0.2, 0.03, 0.12])
ALLOWED = np.array([False, True, False, True, True, False])
MASS = float(SHARES[ALLOWED].sum())
DRAWS = 2**13


def drawn(estimate=lambda found: found.log_mass) -> tuple[float, float]:
    """The strain of the tokens on their law; and the largest error of the mean mass of each, in its own errors."""
    rng = np.random.default_rng(3)
    found = [accepted(SHARES, lambda token: bool(ALLOWED[token]), rng) for _ in range(DRAWS)]
    tokens = np.array([each.token for each in found])
    masses = np.exp([estimate(each) for each in found])
    law = torch.from_numpy(np.where(ALLOWED, SHARES, 0.0) / MASS)
    off = []
    for token in np.flatnonzero(ALLOWED):
        with_it = masses[tokens == token]
        off.append(abs(with_it.mean() - MASS) / max(1e-9, with_it.std() / math.sqrt(len(with_it))))
    return strain(torch.from_numpy(tokens), law), float(max(off))


def test_tokens_follow_the_law_and_the_mass_has_no_bias_whatever_was_drawn():
    law, off = drawn()
    assert law < 1
    assert off < 4.5


def test_each_token_is_tried_once():
    asked: list[int] = []

    def is_allowed(token: int) -> bool:
        asked.append(token)
        return bool(ALLOWED[token])

    found = accepted(SHARES, is_allowed, np.random.default_rng(0))
    assert len(asked) == len(set(asked)) == found.tried


def test_where_nothing_is_allowed_and_where_all_is():
    rng = np.random.default_rng(0)
    assert accepted(SHARES, lambda token: False, rng) == Accepted(-1, -math.inf, len(SHARES))
    for _ in range(20):
        assert accepted(SHARES, lambda token: True, rng).log_mass == 0.0
    last = np.array([0.0, 0.0, 1.0, 0.0])
    assert accepted(last, lambda token: True, rng).token == 2


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda found: 0.0, id="mass left out"),
        pytest.param(lambda found: -math.log(found.tried), id="refused tokens as if they were drawn again"),
        pytest.param(lambda found: min(0.0, found.log_mass + 0.2), id="a fifth more"),
    ],
)
def test_a_wrong_estimate_is_seen(wrong):
    assert drawn(wrong)[1] > 4.5
