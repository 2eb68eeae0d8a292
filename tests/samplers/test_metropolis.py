"""The Hastings ratio, number by number."""

import math

import pytest
import torch

from samplers.kernels.metropolis import log_acceptance

inf = math.inf


def ratio(old, new, forward=0.0, reverse=0.0, beta=1.0):
    return float(log_acceptance(*(torch.tensor([v], dtype=torch.float64) for v in (old, new, forward, reverse)), beta))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"old": 3.0, "new": 1.0}, 2.0),
        ({"old": 1.0, "new": 3.0, "beta": 0.5}, -1.0),
        ({"old": 1.0, "new": 1.0, "forward": -2.0, "reverse": -0.5}, 1.5),
        ({"old": 1.0, "new": 3.0, "forward": -1.0, "reverse": -4.0, "beta": 0.5}, -4.0),
        ({"old": 1.0, "new": 3.0, "reverse": -0.25, "beta": 0.0}, -0.25),
    ],
)
def test_the_ratio_tempers_the_energy_and_not_the_proposal(arguments, expected):
    assert ratio(**arguments) == expected


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, inf])
def test_walls_at_every_temperature(beta):
    assert ratio(inf, 1.0, beta=beta) == inf
    assert ratio(1.0, inf, beta=beta) == -inf
    assert ratio(inf, inf, beta=beta) == -inf
    assert ratio(5.0, 1.0, reverse=-inf, beta=beta) == -inf
    assert ratio(inf, 1.0, reverse=-inf, beta=beta) == -inf


def test_hill_climbing_takes_falls_and_refuses_rises_and_leaves_ties_to_the_proposal():
    assert ratio(2.0, 1.0, forward=3.0, beta=inf) == inf
    assert ratio(1.0, 2.0, reverse=3.0, beta=inf) == -inf
    assert ratio(1.0, 1.0, reverse=-0.5, beta=inf) == -0.5


def test_every_chain_may_have_its_own_beta():
    zero, one = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    assert log_acceptance(zero, one, zero, zero, torch.tensor([0.0, 0.5, 1.0])).tolist() == [0.0, -0.5, -1.0]
