"""Edits of real tokenizers: one pass a step, bounds, hints, what is locked, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lm_adapters import MaskedEnergy, MaskedLM, Truncation
from lm_adapters.locks.base import Lock
from lm_adapters.locks.keywords import Keywords
from lm_adapters.locks.template import Template
from lm_adapters.proposals.edits import DELETE, INSERT, REPLACE, EditProposal
from samplers import Flat, InvalidInput, MetropolisHastings, named, sample
from samplers.randomness import generator
from samplers.run import start_chains
from tests.lm_adapters import tiny
from tests.lm_adapters.forward.test_cost import Meter

TEXTS = ["the old house", "a house", "we like the house", "house"]
WIDTH = 12


@pytest.fixture(scope="module", params=["bert", "roberta"])
def lm(request: pytest.FixtureRequest) -> MaskedLM:
    return tiny.build(request.param, scale=8.0)


def chains(lm: MaskedLM, copies: int, width: int = WIDTH) -> Tensor:
    return lm.space.encode(TEXTS, width).repeat(copies, 1)


@pytest.mark.parametrize("count", [1, 3, 64])
def test_a_step_is_one_pass_whatever_the_kinds(count: int):
    meter = Meter(tiny.build("bert", scale=8.0))
    meter.lm.tokens_per_pass = 10**9
    kernel = MetropolisHastings(EditProposal(meter.lm, lock=Keywords(meter.lm.space, ["house"]), max_length=WIDTH))
    state = start_chains(kernel, Flat(), chains(meter.lm, count))
    kinds: set[int] = set()
    for seed in range(4):
        meter.reset()
        with torch.inference_mode():
            state, info = kernel.step(state, Flat(), generator(seed))
        kinds |= set(info.move.tolist())
        assert (meter.passes, meter.encoder_rows, meter.head_rows) == (1, len(state.x), len(state.x))
    assert kinds == {REPLACE, INSERT, DELETE}


def test_the_own_energy_is_one_more_pass_less_the_rows_that_are_known():
    meter = Meter(tiny.build("bert", scale=8.0))
    meter.lm.tokens_per_pass = 10**9
    proposal, x = EditProposal(meter.lm, max_length=WIDTH), chains(meter.lm, 16)
    proposed = proposal(x, generator(1))
    meter.reset()
    MaskedEnergy(meter.lm, "pll").values(proposed.x, proposed.hint)
    known = (proposed.move != DELETE).sum()
    assert (meter.passes, meter.head_rows) == (1, int(meter.lm.space.lengths(proposed.x).sum() - known))


@pytest.mark.parametrize("kind", ["raw", "pll"])
@pytest.mark.parametrize("truncation", [Truncation(), Truncation(0.7, 5, 0.9)], ids=["whole", "cut"])
def test_the_hint_gives_the_energy_of_the_full_path(lm: MaskedLM, kind: str, truncation: Truncation):
    x = chains(lm, 12)
    proposal = EditProposal(lm, lock=Keywords(lm.space, ["house"]), max_length=WIDTH, truncation=truncation)
    proposed, energy = proposal(x, generator(2)), MaskedEnergy(lm, kind)
    assert proposed.move.unique().tolist() == [REPLACE, INSERT, DELETE]
    stuck = proposed.log_q_forward == 0
    assert torch.equal(proposed.hint.site < 0, (proposed.move == DELETE) | stuck)
    full = energy(proposed.x)
    torch.testing.assert_close(energy.values(proposed.x, proposed.hint), full, atol=1e-5, rtol=0)
    rows = torch.arange(len(x)).flip(0)[::3]
    torch.testing.assert_close(energy.values(proposed.x[rows], proposed.hint[rows]), full[rows], atol=1e-5, rtol=0)


def test_each_kind_does_what_it_says(lm: MaskedLM):
    x = chains(lm, 50)
    proposed = EditProposal(lm, max_length=WIDTH)(x, generator(3))
    rows = zip(x.tolist(), proposed.x.tolist(), proposed.move.tolist(), strict=True)
    for old, new, kind in rows:
        old, new = ([token for token in row if token != lm.space.pad_id] for row in (old, new))
        longer, shorter = (new, old) if kind == INSERT else (old, new)
        if kind == REPLACE:
            assert len(old) == len(new)
            assert sum(a != b for a, b in zip(old, new, strict=True)) <= 1
        else:
            assert len(longer) == len(shorter) + 1
            assert shorter in [longer[:at] + longer[at + 1 :] for at in range(len(longer))]
    padding = proposed.x == lm.space.pad_id
    assert torch.equal(padding, padding.sort(dim=1).values.bool())  # at the right only


def test_kinds_are_drawn_by_weight_among_those_that_are_possible(lm: MaskedLM):
    house = Keywords(lm.space, ["house"])
    x = chains(lm, 1)
    longest = int(lm.space.lengths(x).max())
    shares = (
        EditProposal(lm, lock=house, max_length=longest, replace=2.0, insert=5.0, delete=3.0).label_log_prob(x).exp()
    )
    torch.testing.assert_close(shares.sum(dim=(1, 2)), torch.ones(4, dtype=torch.float64), atol=1e-12, rtol=0)
    expected = [[0.2, 0.5, 0.3], [0.2, 0.5, 0.3], [0.4, 0.0, 0.6], [0.0, 1.0, 0.0]]
    torch.testing.assert_close(shares.sum(dim=2), torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)
    free = lm.space.lengths(x) - house.pieces(x).sum(dim=1)
    assert (shares > 0).sum(dim=2)[:, REPLACE].tolist() == free.tolist()
    assert (shares > 0).sum(dim=2)[:2, INSERT].tolist() == (free + 2)[:2].tolist()


@pytest.mark.parametrize("keywords", [None, ["house"], ["house", "old"]], ids=["free", "one", "two"])
def test_long_runs_keep_bounds_and_keywords(lm: MaskedLM, keywords: list[str] | None):
    lock = keywords and Keywords(lm.space, keywords, any_order=True)
    space = lm.space
    x = space.encode(["the old house", "house a old"], WIDTH).repeat(8, 1)
    longest = int(space.lengths(x).max()) + 1
    shortest = longest - 2
    proposal = EditProposal(lm, lock=lock, min_length=shortest, max_length=longest)
    # About what a token of so small a vocabulary costs: without it nearly every delete is refused.
    price = named("length", lambda x: 4.0 * space.lengths(x).double())
    target = price if lock is None else price + lock
    trace = sample(MetropolisHastings(proposal), target, x, steps=60, seed=1, warmup=0, progress=False)
    draws = trace.draws.flatten(0, 1)
    assert space.lengths(draws).unique().tolist() == list(range(shortest, longest + 1))
    assert bool((draws[~space.is_token(draws)] == space.pad_id).all())
    if lock is not None:
        assert lock.found(draws).all()
        assert len(draws.unique(dim=0)) > 50


def test_keywords_stay_even_where_the_target_does_not_ask(lm: MaskedLM):
    lock = Keywords(lm.space, ["house"])
    x = chains(lm, 8)
    trace = sample(
        MetropolisHastings(EditProposal(lm, lock=lock, max_length=WIDTH)), Flat(), x, steps=40, seed=1, progress=False
    )
    assert lock.found(trace.draws.flatten(0, 1)).all()


def test_a_template_keeps_its_frame(lm: MaskedLM):
    lock = Template(lm.space, "the [MASK:1-3] house")
    a, b = (int(lm.space.encode([f"a {word}"])[0, -1]) for word in "ab")
    masks = lock.masks([[1], [3]], WIDTH)
    x = masks.where(masks != lm.space.mask_id, torch.tensor([[a], [b]])).repeat(8, 1)
    assert lock.found(x).all()
    proposal = EditProposal(lm, lock=lock, max_length=WIDTH)
    trace = sample(MetropolisHastings(proposal), Flat() + lock, x, steps=60, seed=1, progress=False)
    draws = trace.draws.flatten(0, 1)
    assert lock.found(draws).all()
    slot = lm.space.lengths(draws) - (lock.min_length - 1)
    assert slot.unique().tolist() == [1, 2, 3]


class _All(Lock):
    """Holds every token."""

    name = "all"

    def __init__(self, lm: MaskedLM) -> None:
        self.space = lm.space

    def pieces(self, x: Tensor) -> Tensor:
        return self.space.is_token(x).long()


def test_where_nothing_can_be_edited_the_state_is_kept_and_rejected(lm: MaskedLM):
    x = lm.space.encode(["a house", "house"])
    proposed = EditProposal(lm, lock=_All(lm), max_length=x.shape[1], insert=0.0, delete=0.0)(x, generator(0))
    assert torch.equal(proposed.x, x)
    assert proposed.log_q_forward.tolist() == [0.0, 0.0]
    assert proposed.log_q_reverse.tolist() == [-math.inf, -math.inf]
    assert proposed.hint.site.tolist() == [-1, -1]
    proposal = EditProposal(lm, lock=Keywords(lm.space, ["old"]), max_length=x.shape[1])  # which neither text holds
    assert proposal(x, generator(0)).log_q_reverse.tolist() == [-math.inf, -math.inf]
    assert proposal.log_prob(x, x).tolist() == [0.0, 0.0]
    assert proposal.log_prob(x.flip(0), x).tolist() == [-math.inf, -math.inf]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_length": 0}, "1 to 0"),
        ({"max_length": 3, "min_length": 4}, "4 to 3"),
        ({"max_length": 3, "min_length": 0}, "0 to 3"),
        ({"max_length": 999}, "max_length is 999, the model takes"),
        ({"max_length": 3, "replace": -1.0}, "weights of replace, insert, delete"),
        ({"max_length": 3, "replace": math.nan}, "weights"),
        ({"max_length": 3, "replace": 0.0, "insert": 0.0, "delete": 0.0}, "not all 0"),
        ({"max_length": 3, "insert": 0.0}, "one undoes the other"),
        ({"max_length": 3, "delete": 0.0}, "one undoes the other"),
    ],
)
def test_what_is_refused(lm: MaskedLM, options: dict, problem: str):
    with pytest.raises(InvalidInput, match=problem):
        EditProposal(lm, **options)


def test_too_narrow(lm: MaskedLM):
    with pytest.raises(InvalidInput, match="no room for the keywords 'house', 'old'"):
        EditProposal(lm, lock=Keywords(lm.space, ["house", "old"]), max_length=1)
    with pytest.raises(InvalidInput, match="states are 12 wide, max_length is 13"):
        EditProposal(lm, max_length=13)(chains(lm, 1), generator(0))
