"""Replica exchange: the ladder's bookkeeping, on cases worked out by hand."""

import math

import pytest
import torch

from samplers import CallCounter, Cycle, Flat, Gibbs, Mixture, Tempered, iterate, named, sample, swap_report
from samplers.randomness import generator
from tests.samplers.doubles import KERNELS, VALUES, climb, stand, starts, tilt


@pytest.mark.parametrize("name", KERNELS)
def test_one_rung_is_the_plain_kernel_bit_for_bit(name):
    plain = sample(KERNELS[name](), tilt, starts(5), steps=30, seed=6, shard_size=3)
    tempered = sample(Tempered(KERNELS[name](), [1.0]), tilt, starts(5), steps=30, seed=6, shard_size=3)
    assert torch.equal(plain.draws, tempered.draws)
    assert torch.equal(plain.energy, tempered.energy)
    assert torch.equal(plain.terms, tempered.terms)
    assert plain.moves == tempered.moves
    assert swap_report(tempered.final[0]) == {
        "swap_rates": [],
        "round_trips": [0, 0, 0],
        "barrier": 0.0,
        "rungs_wanted": 1,
    }


def rungs_of(state):
    """``[rungs, chains, sites]`` and their energies ``[rungs, chains]``."""
    chains = len(state.x)
    x = torch.cat([state.x, state.aux["x"]])
    value = torch.cat([state.energy, state.aux["energy"]])
    return x.reshape(-1, chains, x.shape[1]), value.reshape(-1, chains)


def with_rungs(kernel, energy, x):
    """The kernel's state with ``x [rungs, chains, sites]`` on its rungs."""
    state = kernel.init(x[0], energy)
    hot = x[1:].flatten(0, 1)
    aux = {**state.aux, "x": hot, "energy": energy(hot), "terms": energy(hot).unsqueeze(1)}
    return state._replace(aux=aux)


def steep(x):
    return 1000.0 * x[:, 0].double()


def test_a_swap_exchanges_states_energies_and_terms_with_rung_0_the_state():
    kernel = Tempered(stand(), [1.0, 0.5, 0.1])
    # chain 0: the hotter replica of the first pair is better, so they swap; chain 1: it is worse, so they do not
    start = with_rungs(kernel, steep, torch.tensor([[[5], [1]], [[2], [4]], [[0], [9]]]))
    after, info = kernel.step(start, steep, generator(0))
    x, value = rungs_of(after)
    assert x[:, :, 0].tolist() == [[2, 1], [5, 4], [0, 9]]
    assert after.x.tolist() == [[2], [1]]
    assert torch.equal(value, 1000.0 * x[:, :, 0])
    assert torch.equal(torch.cat([after.terms, after.aux["terms"]]).flatten(), value.flatten())
    assert info.changed.tolist() == [True, False]
    # the second turn tries the second pair alone: chain 0 swaps again (5 above 0), chain 1 does not
    again, info = kernel.step(after, steep, generator(1))
    assert rungs_of(again)[0][:, :, 0].tolist() == [[2, 1], [0, 4], [5, 9]]
    assert swap_report(again)["swap_rates"] == [0.5, 0.5]
    assert info.changed.tolist() == [False, False]
    # the third the first pair: now 2 above 0
    third, _ = kernel.step(again, steep, generator(2))
    assert rungs_of(third)[0][:, :, 0].tolist() == [[0, 1], [2, 4], [5, 9]]
    assert swap_report(third)["swap_rates"] == [0.5, 0.5]


def test_a_swap_is_accepted_with_its_ratio():
    kernel = Tempered(stand(), [1.0, 0.25])
    chains, drop = 20_000, 1.6
    x = torch.zeros(2, chains, 1)
    x[1] = 1.0
    state, _ = kernel.step(with_rungs(kernel, lambda x: drop * x[:, 0].double(), x), Flat(), generator(3))
    ratio = math.exp(-0.75 * drop)
    rate = swap_report(state)["swap_rates"][0]
    assert abs(rate - ratio) < 6.2 * math.sqrt(ratio * (1 - ratio) / chains)
    assert rate == float(state.x.sum()) / chains


def test_a_forbidden_state_never_comes_down_and_always_goes_up():
    kernel = Tempered(stand(), [1.0, 0.5])

    def wall(x):
        return torch.where(x[:, 0] > 0, math.inf, 0.0).double()

    state, _ = kernel.step(with_rungs(kernel, wall, torch.tensor([[[0], [1]], [[1], [0]]])), wall, generator(0))
    assert rungs_of(state)[0][:, :, 0].tolist() == [[0, 0], [1, 1]]


def shuttle(rungs, turns):
    """Round trips when every swap is accepted, followed replica by replica."""
    order, been_hot, trips = list(range(rungs)), set(), 0
    for turn in range(turns):
        for low in range(turn % 2, rungs - 1, 2):
            order[low], order[low + 1] = order[low + 1], order[low]
        been_hot.add(order[-1])
        if order[0] in been_hot:
            trips += 1
            been_hot.remove(order[0])
    return trips


@pytest.mark.parametrize("rungs", [2, 3, 4, 5])
@pytest.mark.parametrize("swap_every", [1, 3])
def test_rates_and_round_trips_where_every_swap_is_accepted(rungs, swap_every):
    kernel = Tempered(stand(), [1 / (1 + rung) for rung in range(rungs)], swap_every=swap_every)
    trace = sample(kernel, Flat(), torch.zeros(3, 1), steps=24 * swap_every + swap_every - 1)
    report = swap_report(trace.final[0])
    assert report["swap_rates"] == [1.0] * (rungs - 1)
    assert shuttle(rungs, 24) > 2
    assert report["round_trips"] == [shuttle(rungs, 24)] * 3
    assert trace.final[0].aux["tried"].tolist() == [36] * (rungs - 1)


def test_without_swaps_there_are_no_round_trips():
    kernel = Tempered(stand(), [1.0, 0.5, 0.1])
    state = with_rungs(kernel, steep, torch.tensor([[[1]], [[2]], [[3]]]))
    *_, (_, state, _) = iterate(kernel, steep, state, steps=10, rng=generator(0))
    assert swap_report(state) == {"swap_rates": [0.0, 0.0], "round_trips": [0], "barrier": 2.0, "rungs_wanted": 5}
    fresh = kernel.init(torch.zeros(1, 1), steep)
    assert all(math.isnan(rate) for rate in swap_report(fresh)["swap_rates"])


def test_every_rung_runs_at_its_own_beta_times_the_outer_one():
    seen = []

    class Watch:
        move_names = ("watch",)

        def __init__(self):
            self.init = stand().init

        def step(self, state, energy, rng, *, beta=1.0):
            seen.append(beta.tolist())
            return stand().step(state, energy, rng, beta=beta)

    kernel = Tempered(Watch(), [1.0, 0.5, 0.0])
    list(iterate(kernel, Flat(), torch.zeros(2, 1), steps=1, rng=generator(0), beta=4.0))
    assert seen == [[4, 4, 2, 2, 0, 0]]


def test_the_ladder_is_one_batch_and_swaps_cost_nothing():
    energy = CallCounter(tilt)
    sample(Tempered(Gibbs(VALUES), [1.0, 0.5, 0.2]), energy, starts(4), steps=5)
    assert energy.calls == 1 + 5
    assert energy.rows == 3 * 4 + 5 * 3 * 4 * VALUES


def test_in_a_cycle_rung_0_is_shared_with_the_other_kernel():
    kernel = Cycle([climb(), Tempered(stand(), [1.0, 0.5])])
    trace = sample(kernel, named("a", steep) * 0.0 + Flat(), torch.zeros(1, 1), steps=6)
    # climb moves rung 0 from 0 to 1; the swap sends that 1 up and the old 0 down, from where climb goes on;
    # the next turn has no pair to try, and the one after swaps rung 0 with the 1
    assert trace.draws[0, :, 0].tolist() == [1, 0, 1, 1, 2, 1]
    hot = trace.final[0].aux["part1"]
    assert hot["x"].tolist() == [[2]]
    assert hot["terms"].shape == (1, 2)


@pytest.mark.parametrize("compose", [Cycle, lambda parts: Mixture([(part, 1 / len(parts)) for part in parts])])
def test_the_place_of_tempering_in_a_composition_does_not_matter(compose):
    energy = named("a", tilt) + Flat()
    for parts in ([Gibbs(VALUES), Tempered(Gibbs(VALUES), [1.0, 0.5])], [Tempered(Gibbs(VALUES), [1.0, 0.5]), climb()]):
        trace = sample(compose(parts), energy, starts(3), steps=10)
        assert torch.equal(trace.energy.flatten(), tilt(trace.draws.flatten(0, 1)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda():
    trace = sample(Tempered(Gibbs(VALUES), [1.0, 0.5, 0.0]), tilt, starts(8).cuda(), steps=30)
    assert trace.draws.is_cuda
    assert torch.equal(trace.energy.flatten(), tilt(trace.draws.flatten(0, 1)))
    assert all(0 < rate < 1 for rate in swap_report(trace.final[0])["swap_rates"])


def test_a_free_rung_stays_free_when_the_target_freezes():
    """At ``beta = inf`` a rung of 0 is 0, not ``inf * 0``."""
    kernel = Tempered(Gibbs(3), [1.0, 0.5, 0.0])
    state = kernel.init(torch.zeros(64, 4, dtype=torch.int64), lambda x: x.sum(dim=1).double())
    rng = torch.Generator().manual_seed(0)
    for _ in range(20):
        state, _ = kernel.step(state, lambda x: x.sum(dim=1).double(), rng, beta=math.inf)
    hottest = state.aux["x"][-64:]
    assert hottest.double().mean().item() == pytest.approx(1.0, abs=0.25)
    assert state.energy.max() == 0
