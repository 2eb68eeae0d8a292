"""Draws that take their generator."""

import math
from contextlib import suppress

import numpy as np
import pytest
import torch

from samplers import InvalidInput
from samplers.randomness import (
    Weights,
    categorical,
    draw_site,
    generator,
    log_share,
    log_uniform,
    nth_site,
    repeated,
    scoped_global_seed,
)
from tests.samplers.laws import ALPHA, worst_p_value

inf = math.inf


def state(rng):
    return bytes(rng.get_state().tolist())


def test_a_generator_is_a_function_of_seed_shard_and_stream_and_all_differ():
    seeds = (0, 1, 2, 3, 7, 2**32, 5 + 7 * 2**32, 5, 2**64 + 1, 10**400)
    uses = [(seed, shard, stream) for seed in seeds for shard in (0, 1, 2, 7) for stream in ("chains", "starts", "s")]
    states = {state(generator(seed, shard, stream=stream)) for seed, shard, stream in uses}
    assert len(states) == len(uses)
    assert state(generator(3, 2, stream="s")) == state(generator(3, 2, stream="s"))


@pytest.mark.parametrize("seeds", [(12379, 19544), (0, 2**32), (1, 1 + 2**64)])
def test_more_than_32_bits_of_a_seed_reach_the_draws(seeds):
    """The first pair was one stream when torch's own seeding, which reads 32 bits, made the generator."""
    draws = [torch.rand(4, dtype=torch.float64, generator=generator(seed)) for seed in seeds]
    assert not bool((draws[0] == draws[1]).any())


def test_a_generator_draws_what_numpy_draws_from_the_same_seed_sequence():
    key = (3, int.from_bytes(b"starts", "little"))
    ours = torch.randint(2**32, (2000,), generator=generator(11, 3, stream="starts"))  # each takes two words
    numpys = np.random.MT19937(np.random.SeedSequence(11, spawn_key=key)).random_raw(4001)  # the first: no word of ours
    assert ours.tolist() == numpys[2::2].tolist()


def test_a_generator_holds_no_normal_number_of_another():
    with scoped_global_seed(generator(4)):
        first = torch.randn(1)
    with torch.random.fork_rng(devices=()):
        torch.randn(1)  # two are made, and one is kept for the next call
        with scoped_global_seed(generator(4)):
            assert torch.equal(torch.randn(1), first)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1,), "seed is -1"),
        ((0.5,), "seed is 0.5"),
        ((None,), "seed is None"),
        ((0, -1), "shard is -1"),
        ((2**4096,), "seed has 4,097 bits; give at most 4,096"),
        ((-(10**5000),), "seed has 16,610 bits"),
    ],
)
def test_what_is_no_seed_is_refused(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        generator(*arguments)


def test_log_uniform_is_the_log_of_a_uniform_and_always_finite():
    draws = log_uniform(100_000, generator(0))
    assert draws.dtype == torch.float64
    assert bool(draws.isfinite().all())
    assert float(draws.max()) <= 0
    assert worst_p_value((draws.exp() * 10).long().clamp(max=9), [0.1] * 10) > ALPHA
    assert len(draws.unique()) == len(draws)


def test_categorical_follows_its_weights_and_never_draws_the_impossible():
    law = [0.0, 0.1, 0.0, 0.6, 0.3, 0.0]
    log_weight = torch.tensor(law, dtype=torch.float64).log() + 700
    draws = categorical(log_weight.expand(20_000, -1), generator(1))
    assert worst_p_value(draws, law) > ALPHA
    assert worst_p_value(draws, [0.0, 0.15, 0.0, 0.55, 0.3, 0.0]) < ALPHA


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_repeated_follows_its_weights_and_never_draws_the_impossible(dtype):
    law = [0.0, 0.1, 0.0, 0.6, 0.3, 0.0]
    log_weights = torch.tensor(law, dtype=dtype).log() + 700
    draws = repeated(log_weights, 20_000, generator(1))
    assert worst_p_value(draws, law) > ALPHA
    assert worst_p_value(draws, [0.0, 0.15, 0.0, 0.55, 0.3, 0.0]) < ALPHA
    assert repeated(log_weights, 0, generator(1)).shape == (0,)


def test_categorical_rows_are_drawn_apart():
    rows = torch.tensor([[0.0, -inf, -inf], [-inf, -inf, 5.0], [-inf, -3.0, -inf]], dtype=torch.float64)
    assert categorical(rows, generator(0)).tolist() == [0, 2, 1]


@pytest.mark.parametrize("u", [0.0, 0.25, 1 - 2**-53, 1.0])
def test_categorical_at_the_edges_of_the_unit_interval(monkeypatch, u):
    monkeypatch.setattr(torch, "rand", lambda *shape, **options: torch.full(shape, u, dtype=torch.float64))
    log_weight = torch.tensor([[-inf, 0.0, -inf, math.log(3.0), -inf]], dtype=torch.float64)
    assert int(categorical(log_weight, generator(0))) == (1 if u < 0.25 else 3)


@pytest.mark.parametrize("values", [5, 128, 300, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_law_evaluated_is_the_law_drawn_from_in_the_last_bits(values, dtype):
    """Near both ends of its interval of quantiles, each value is the one drawn; float32 sums alone would not do."""
    weight = torch.rand(values, generator=generator(0)).pow(12).to(dtype)
    weight[3::7] = 0.0
    weights = Weights(weight.unsqueeze(0))
    log_prob = weights.log_prob(torch.arange(values).unsqueeze(0))[0]
    share = log_prob.exp()
    assert torch.equal(share > 0, weight > 0)
    torch.testing.assert_close(share, weight.double() / weight.double().sum(), rtol=1e-6, atol=0)
    assert abs(float(share.sum()) - 1) < 1e-12
    drawn = (share > 1e-12).nonzero().squeeze(1)
    for inside in (1e-3, 0.5, 1 - 1e-3):
        u = (share.cumsum(0) - share + inside * share)[drawn]
        found = Weights(weight.expand(len(u), -1)).at(u)
        assert torch.equal(found, drawn)


def test_a_value_of_a_block_that_holds_nothing_is_impossible():
    log_weights = torch.full((1, 300), -inf)
    log_weights[0, 299] = 0.0
    assert log_share(log_weights, torch.tensor([[0, 299]])).tolist() == [[-inf, 0.0]]


def test_draw_site_is_uniform_over_free_sites():
    free = torch.tensor([[False, True, True, False, True]]).expand(20_000, -1)
    assert worst_p_value(draw_site(free, generator(2)), [0, 1 / 3, 1 / 3, 0, 1 / 3]) > ALPHA


def test_nth_site_counts_the_free_sites_of_each_row_around():
    free = torch.tensor([[True, True, True], [False, True, False], [True, False, True]])
    turns = [nth_site(free, turn).tolist() for turn in range(4)]
    assert turns == [[0, 1, 0], [1, 1, 2], [2, 1, 0], [0, 1, 2]]
    assert nth_site(free, torch.tensor(5)).tolist() == [2, 1, 2]


def test_a_scoped_seed_is_a_function_of_the_generator_and_is_undone():
    before = torch.get_rng_state()
    draws = []
    for _ in range(2):
        with scoped_global_seed(generator(4)):
            draws.append(torch.rand(3))
    assert torch.equal(*draws)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_scoped_seed_is_undone_after_an_error():
    before = torch.get_rng_state()
    with suppress(RuntimeError), scoped_global_seed(generator(4)):
        torch.rand(3)
        raise RuntimeError
    assert torch.equal(torch.get_rng_state(), before)


def test_a_scoped_seed_has_more_than_32_bits():
    """Two batches of independent draws, of a million, are not one: torch's own seeding has 2**32 streams."""
    with scoped_global_seed(generator(4)):
        words = torch.get_rng_state().view(torch.int64)[3:627]
        assert len(words.unique()) > 600
        torch.manual_seed(int(words[0]))
        assert not torch.equal(torch.get_rng_state().view(torch.int64)[3:627], words)


def test_a_scoped_seed_moves_its_generator_on():
    rng = generator(4)
    draws = []
    for _ in range(2):
        with scoped_global_seed(rng):
            draws.append(torch.rand(3))
    assert not torch.equal(*draws)
