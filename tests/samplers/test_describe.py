from __future__ import annotations

import json
from enum import Enum
from functools import cached_property, partial

import numpy as np
import pytest
import torch

from samplers import Cycle, Flat, Gibbs, MetropolisHastings, Mixture, Tempered, named
from samplers.storage.fingerprint import describe
from tests.samplers.doubles import Replace, Walk


class Shape:
    """As a class of ours, with something that is worked out when it is first asked for."""

    __module__ = "samplers.shape"

    def __init__(self, side: int) -> None:
        self.side = side

    @cached_property
    def area(self) -> int:
        return self.side**2


def test_what_was_already_looked_at_makes_no_difference():
    fresh, used = Shape(3), Shape(3)
    assert used.area == 9
    assert describe(used) == describe(fresh) == {"class": "Shape", "side": 3}


class Scale(Enum):
    SMALL, LARGE = range(2)


def power(x, by):
    return x**by


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.float32, torch.bfloat16),
        (torch.device("cpu"), torch.device("cuda:1")),
        (np.float32(0.5), np.float32(0.25)),
        (np.int64(1), np.int64(2)),
        (np.arange(3), np.arange(4)),
        (np.arange(3), np.arange(3.0)),
        (torch.arange(3), torch.arange(3).int()),
        (partial(power, by=1), partial(power, by=2)),
        (partial(power, 1), partial(abs, 1)),
        (Scale.SMALL, Scale.LARGE),
        (1j, 2j),
        ({"a": 1}, {"a": 2}),
        ({1, 2}, {1, 3}),
        ([1, [2]], [1, [3]]),
        (power, abs),
        (None, False),
        (MetropolisHastings(Replace(3)), MetropolisHastings(Replace(4))),
        (MetropolisHastings(Walk(1.0)), MetropolisHastings(Walk(2.0))),
        (Gibbs(3), Gibbs(3, scan="systematic")),
        (Mixture([(Gibbs(3), 1.0)]), Cycle([Gibbs(3)])),
        (Tempered(Gibbs(3), [1.0, 0.5]), Tempered(Gibbs(3), [1.0, 0.4])),
        (Flat() + 2.0 * named("power", power), Flat() + 1.0 * named("power", power)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_things_that_differ_are_told_apart_in_plain_json(one, other):
    texts = [json.dumps(describe({"thing": thing}), sort_keys=True) for thing in (one, other, one)]
    assert texts[0] != texts[1]
    assert texts[0] == texts[2]


def test_an_object_that_holds_its_owner_has_an_end():
    kernel = MetropolisHastings(Replace())
    kernel.proposal.values = [kernel]
    assert describe(kernel)["proposal"] == {"class": "Replace", "values": ["MetropolisHastings"]}
