from __future__ import annotations

import json
import re
import sys
import threading
from enum import Enum
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, Normal

from samplers import Cycle, Flat, Gibbs, InvalidInput, MetropolisHastings, Mixture, Tempered, geometric, named, sample
from samplers.storage import describe
from samplers.testing.cases import CASES
from tests.samplers.doubles import KERNELS, Replace, Walk, starts, tilt


class Shape:
    """With something that is computed when it is first asked for, a private attribute, a slot and a counter."""

    __slots__ = ("__dict__", "corner")
    transient = ("asked",)

    def __init__(self, side: int, unit: int = 1, corner: int = 0) -> None:
        self.side, self._unit, self.corner, self.asked = side, unit, corner, 0

    @cached_property
    def area(self) -> int:
        self.asked += 1
        return self._unit * self.side**2


def test_what_was_already_looked_at_makes_no_difference():
    fresh, used = Shape(3), Shape(3)
    assert used.area == 9
    assert describe(used) == describe(fresh)
    held = {name: value for name, value in describe(fresh).items() if name != "class"}
    assert held == {"side": 3, "_unit": 1, "corner": 0}


class Scale(Enum):
    SMALL, LARGE = range(2)


def power(x, by):
    return x**by


def tripled(x):
    return 3 * x


def linear(weight):
    network = torch.nn.Linear(2, 1)
    torch.nn.init.constant_(network.weight, weight)
    torch.nn.init.zeros_(network.bias)
    return network


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
        (Shape(3), Shape(4)),
        (Shape(3, unit=1), Shape(3, unit=2)),
        (Shape(3, corner=1), Shape(3, corner=2)),
        (1, 1.0),
        (1, True),
        (b"a", b"b"),
        (range(3), range(4)),
        (re.compile("a"), re.compile("b")),
        (Path("a"), Path("b")),
        (geometric(1.0, 0.5), geometric(1.0, 0.25)),
        (Normal(0.0, 1.0), Normal(0.0, 2.0)),
        (Independent(Normal(torch.zeros(2), 1.0), 1), Independent(Normal(torch.ones(2), 1.0), 1)),
        (linear(1.0), linear(2.0)),
        (torch.no_grad()(tripled), torch.no_grad()(power)),
        (cache(tripled), cache(power)),
        (Shape(3).side.__add__, Shape(4).side.__add__),
        (np.array(["a", "b"]), np.array(["a", "c"])),
        ({1: 2}, {"1": 2}),
        ("a" * 2000, "a" * 2001),
        (list(range(100)), list(range(101))),
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
    assert describe(kernel)["proposal"]["values"] == ["MetropolisHastings"]


@pytest.mark.parametrize("name", KERNELS)
def test_use_changes_no_description(name):
    kernel = KERNELS[name]()
    before = describe(kernel)
    sample(kernel, tilt, starts(4), steps=5, progress=False)
    assert describe(kernel) == before == describe(KERNELS[name]())


def test_every_case_of_the_battery_can_be_described():
    assert len({json.dumps(describe([case.kernel, case.target.energy])) for case in CASES}) > len(CASES) / 2


def test_a_lazily_filled_distribution_is_the_same():
    fresh, used = Categorical(logits=torch.zeros(3)), Categorical(logits=torch.zeros(3))
    used.sample()
    assert used.probs.sum() == 1
    assert describe(used) == describe(fresh)


class Holder:
    def __init__(self, thing) -> None:
        self._thing = thing


class Says(Holder):
    def config(self):
        return {"what": 1, "class": 2}


class ClosesOver:
    def __init__(self, thing) -> None:
        self.energy = lambda x: thing


STREAM = sys.__stdout__
UNSPEAKABLE = {
    "lock": threading.Lock(),
    "TextIOWrapper": STREAM,
    "generator": (value for value in ()),
    "list_iterator": iter([]),
    "Generator": torch.Generator(),
}


def reads_a_file(x):
    return STREAM.read()


@pytest.mark.parametrize("kind", UNSPEAKABLE)
def test_what_cannot_say_what_it_is_is_refused_in_one_line_with_the_remedy(kind):
    thing = UNSPEAKABLE[kind]
    config = r"a method config\(\) that returns what its draws depend on"
    remedy = f"write {config}, or list '_thing' in the class attribute transient"
    with pytest.raises(InvalidInput, match=rf"^kernel\.proposal \(a Holder\) .*'_thing' is a {kind}; {remedy}$"):
        describe(held_by_kernel(Holder(thing)), "kernel")
    with pytest.raises(InvalidInput, match=rf"^energy is a {kind}, which .* with {config}$"):
        describe(thing, "energy")
    with pytest.raises(InvalidInput, match=rf"the function 'ClosesOver.*what it calls 'thing' is a {kind}; put it"):
        describe(ClosesOver(thing), "energy")
    said = describe(Says(thing))
    assert (said["what"], said["config.class"], said["class"]["name"][-4:]) == (1, 2, "Says")


def held_by_kernel(proposal):
    kernel = MetropolisHastings(Replace())
    kernel.proposal = proposal
    return kernel


def test_a_global_that_cannot_say_what_it_is_is_named():
    with pytest.raises(InvalidInput, match=r"energy \(the function 'reads_a_file'\) .*'STREAM' is a TextIOWrapper"):
        describe(reads_a_file, "energy")


def test_a_config_that_is_no_mapping_is_refused():
    class Wrong:
        def config(self):
            return [1]

    with pytest.raises(InvalidInput, match=r"energy.config\(\) returned list; return a mapping"):
        describe(Wrong(), "energy")
