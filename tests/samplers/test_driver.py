"""``iterate`` and ``sample``: shards, seeds, what is kept, observers, global state."""

import contextlib
import io
import math
import random
import sys
import warnings

import numpy as np
import pytest
import torch
from torch.distributions import Categorical

from samplers import (
    CallCounter,
    ChainState,
    Flat,
    Gibbs,
    InvalidInput,
    MetropolisHastings,
    Mixture,
    MoveCount,
    anneal,
    constant,
    importance_sample,
    iterate,
    rejection_sample,
    sample,
)
from samplers.randomness import generator
from tests.samplers.doubles import KERNELS, SITES, VALUES, Replace, Shift, Walk, climb, stand, starts, tilt

kernels = pytest.mark.parametrize("name", KERNELS)


@kernels
@pytest.mark.parametrize("chains", [1, 2, 32])
def test_any_number_of_chains_takes_one_code_path(name, chains):
    energy = CallCounter(tilt)
    trace = sample(KERNELS[name](), energy, starts(chains), steps=6, seed=3)
    assert trace.draws.shape == (chains, 6, SITES)
    assert trace.draws.dtype == torch.int64
    assert trace.energy.shape == (chains, 6)
    assert trace.energy.dtype == torch.float64
    assert trace.terms.shape == (chains, 6, 1)
    many = CallCounter(tilt)
    sample(KERNELS[name](), many, starts(64), steps=6, seed=3)
    assert energy.calls <= many.calls  # fewer where no chain was to move


@kernels
def test_recorded_energies_are_those_of_the_draws(name):
    trace = sample(KERNELS[name](), tilt, starts(5), steps=25, seed=1)
    assert torch.equal(trace.energy.flatten(), tilt(trace.draws.flatten(0, 1)))
    assert torch.equal(trace.terms.sum(dim=2), trace.energy)
    assert len(trace.draws.flatten(0, 1).unique(dim=0)) > 10


@kernels
def test_a_shard_run_alone_gives_the_draws_it_has_in_sample(name):
    x0 = starts(8)
    whole = sample(KERNELS[name](), tilt, x0, steps=12, seed=5, shard_size=3)
    for shard, start in enumerate(x0.split(3)):
        alone = iterate(KERNELS[name](), tilt, start, steps=12, rng=generator(5, shard))
        draws = torch.stack([state.x for _, state, _ in alone], dim=1)
        assert torch.equal(draws, whole.draws[3 * shard : 3 * shard + 3])


@kernels
def test_same_seed_same_draws_other_seed_others(name):
    first, again, other = (sample(KERNELS[name](), tilt, starts(4), steps=20, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.draws, again.draws)
    assert not torch.equal(first.draws, other.draws)


def test_shards_draw_apart():
    trace = sample(MetropolisHastings(Replace()), Flat(), starts(1).repeat(2, 1), steps=20, shard_size=1)
    assert not torch.equal(trace.draws[0], trace.draws[1])


@kernels
def test_a_step_leaves_the_state_it_got_untouched(name):
    kernel = KERNELS[name]()
    *_, (_, state, _) = iterate(kernel, tilt, starts(3), steps=4, rng=generator(2))
    before = [t.clone() for t in tensors(state)]
    kernel.step(state, tilt, generator(3))
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(state), strict=True))


@kernels
def test_a_run_continues_from_its_state(name):
    kernel, rng = KERNELS[name](), generator(4)
    *_, (_, middle, _) = iterate(kernel, tilt, starts(3), steps=5, rng=rng)
    *_, (_, end, _) = iterate(kernel, tilt, middle, steps=6, rng=rng)
    *_, (_, whole, _) = iterate(kernel, tilt, starts(3), steps=11, rng=generator(4))
    assert all(torch.equal(a, b) for a, b in zip(tensors(end), tensors(whole), strict=True))


@pytest.mark.parametrize(
    ("steps", "warmup", "thin"),
    [(1, 0, 1), (5, 0, 1), (5, 4, 1), (10, 3, 2), (10, 0, 3), (9, 0, 9), (10, 2, 8), (11, 5, 4)],
)
def test_warmup_and_thin_keep_exactly_the_right_steps(steps, warmup, thin):
    trace = sample(climb(), Flat(), torch.zeros(2, 1), steps=steps, warmup=warmup, thin=thin)
    kept = [step for step in range(steps) if step >= warmup and (step - warmup + 1) % thin == 0]
    assert len(kept) == (steps - warmup) // thin
    assert trace.steps.tolist() == kept
    assert trace.draws[:, :, 0].tolist() == [[step + 1 for step in kept]] * 2
    assert trace.moves["shift"].tried == 2 * (steps - warmup)
    assert trace.final[0].x.tolist() == [[steps]] * 2


def test_rejected_steps_repeat_the_state_and_are_counted_again():
    def wall_at_three(x):
        return torch.where(x[:, 0] > 3, math.inf, 0.0)

    trace = sample(climb(), wall_at_three, torch.tensor([[0], [2]]), steps=5)
    assert trace.draws[:, :, 0].tolist() == [[1, 2, 3, 3, 3], [3, 3, 3, 3, 3]]
    assert trace.moves == {"shift": MoveCount(tried=10, accepted=4, changed=4)}
    assert trace.acceptance == trace.changed == 0.4


def test_moves_are_counted_per_kind():
    blocked = MetropolisHastings(Shift(1, reverse=-math.inf, move_names=("up", "blocked"), move=1))
    up = MetropolisHastings(Shift(1, move_names=("same", "up"), move=1))
    same = MetropolisHastings(Shift(0, move_names=("same",)))
    kernel = Mixture([(blocked, 0.5), (up, 0.3), (same, 0.2)])
    trace = sample(kernel, Flat(), torch.zeros(3, 1), steps=60, warmup=10, shard_size=3, seed=2)
    climbed = int(trace.draws[0, -1, 0] - trace.draws[0, 0, 0])
    first_was_up = trace.moves["up"].tried // 3 - climbed
    assert first_was_up in (0, 1)
    assert trace.moves["up"] == MoveCount(*[3 * (climbed + first_was_up)] * 3)
    assert (trace.moves["blocked"].accepted, trace.moves["blocked"].changed) == (0, 0)
    assert trace.moves["same"].accepted == trace.moves["same"].tried > 0
    assert trace.moves["same"].changed == 0
    assert sum(move.tried for move in trace.moves.values()) == 3 * 50
    assert 60 < trace.moves["blocked"].tried < 90


def test_moves_add_up_over_shards():
    trace = sample(climb(), Flat(), torch.zeros(5, 1), steps=4, warmup=1, shard_size=2)
    assert trace.moves == {"shift": MoveCount(15, 15, 15)}
    assert [len(state.x) for state in trace.final] == [2, 2, 1]


def test_beta_may_be_a_function_of_the_step():
    energy = {False: 0.0, True: 1e6}

    def uphill(x):
        return torch.tensor([energy[bool(v > 0)] for v in x[:, 0]])

    run = iterate(climb(), uphill, torch.zeros(1, 1), steps=3, rng=generator(0), beta=lambda t: 1.0 if t < 2 else 0.0)
    assert [float(state.x) for _, state, _ in run] == [0.0, 0.0, 1.0]


def test_observers_see_every_step_of_every_shard():
    seen = []
    sample(
        climb(),
        Flat(),
        torch.zeros(3, 1),
        steps=3,
        warmup=2,
        shard_size=2,
        observers=[lambda step, state, info: seen.append((step, len(state.x), int(info.changed.sum())))],
    )
    assert seen == [(step, chains, chains) for chains in (2, 1) for step in range(3)]


@pytest.mark.parametrize("action", ["always", "error"])
def test_an_observer_that_raises_never_breaks_a_run(action):
    seen = []

    def broken(step, state, info):
        raise RuntimeError("no disk")

    def healthy(step, state, info):
        seen.append(step)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        trace = sample(climb(), Flat(), torch.zeros(2, 1), steps=4, shard_size=1, observers=[broken, healthy])
    assert [str(w.message) for w in caught] == (
        ["an observer raised RuntimeError at step 0: no disk"] if action == "always" else []
    )
    assert trace.observer_failures == 8
    assert seen == [0, 1, 2, 3] * 2
    assert trace.draws[:, :, 0].tolist() == [[1, 2, 3, 4]] * 2


def test_an_interrupt_in_an_observer_does_stop_the_run():
    def interrupt(step, state, info):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(climb(), Flat(), torch.zeros(1, 1), steps=2, observers=[interrupt])


def table(x):
    return torch.tensor([0.1, 0.5, 1.5, 0.0])[x].double()


def uniform():
    return Categorical(probs=torch.full((4,), 0.25, dtype=torch.float64))


RUNS = {
    **{f"sample {name}": lambda name=name: sample(KERNELS[name](), tilt, starts(3), steps=5) for name in KERNELS},
    "sample walk": lambda: sample(MetropolisHastings(Walk(1.0)), Flat(), torch.zeros(2, 2), steps=5),
    "anneal": lambda: anneal(Gibbs(VALUES), tilt, starts(3), schedule=constant(1.0), steps=5),
    "rejection": lambda: rejection_sample(table, uniform(), log_bound=math.log(4), num_samples=50),
    "importance": lambda: importance_sample(table, uniform(), num_samples=50),
    "resample": lambda: importance_sample(table, uniform(), num_samples=50).resample(9),
}


def global_states():
    python, numpy = random.getstate(), np.random.get_state()
    cuda = [torch.cuda.get_rng_state().tolist()] if torch.cuda.is_available() else []
    return [torch.get_rng_state().tolist(), *cuda, python, numpy[1].tolist(), *numpy[2:]]


@contextlib.contextmanager
def global_states_restored():
    saved = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(saved[0])
        np.random.set_state(saved[1])
        random.setstate(saved[2])


@pytest.mark.parametrize("name", RUNS)
def test_global_random_state_is_neither_read_nor_written(name):
    with global_states_restored():
        results = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            before = global_states()
            results.append(RUNS[name]())
            assert global_states() == before
        assert all(torch.equal(a, b) for a, b in zip(*map(tensors, results), strict=True))


@pytest.mark.parametrize("name", ["metropolis", "gibbs random", "cycle", "tempered"])
def test_no_output_requires_grad(name):
    weights = torch.nn.Parameter(torch.rand(SITES))
    x0 = starts(3)
    learnt = lambda x: x.float() @ weights  # noqa: E731
    assert learnt(x0).requires_grad
    assert not any(t.requires_grad for t in tensors(sample(KERNELS[name](), learnt, x0, steps=3)))
    annealed = anneal(KERNELS[name](), learnt, x0, schedule=constant(1.0), steps=3)
    assert not any(t.requires_grad for t in tensors(annealed))


def test_a_start_that_requires_grad_is_detached():
    x0 = torch.zeros(3, 2, requires_grad=True)
    trace = sample(MetropolisHastings(Walk(1.0)), lambda x: x.square().sum(1), x0, steps=3)
    assert not any(t.requires_grad for t in tensors(trace))
    assert not x0.detach().any()


def test_x0_is_left_as_it_was():
    x0 = starts(4)
    before = x0.clone()
    sample(Gibbs(VALUES), tilt, x0, steps=5)
    assert torch.equal(x0, before)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "ci", "shown"), [(Terminal, "", True), (Terminal, "1", False), (io.StringIO, "", False)]
)
def test_progress_shows_only_on_a_terminal_outside_ci(monkeypatch, stream, ci, shown):
    stderr = stream()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("CI", ci)
    sample(stand(), Flat(), torch.zeros(2, 1), steps=3)
    assert bool(stderr.getvalue()) == shown


def test_progress_can_be_turned_off(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.delenv("CI", raising=False)
    sample(stand(), Flat(), torch.zeros(2, 1), steps=3, progress=False)
    assert sys.stderr.getvalue() == ""


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"x0": torch.zeros(0, 3)}, r"\[0, 3\]"),
        ({"x0": torch.zeros(3, 0)}, r"\[3, 0\]"),
        ({"x0": torch.tensor(1.0)}, r"\[\]"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": -2}, "steps is -2"),
        ({"thin": 0}, "thin is 0"),
        ({"thin": 11}, "thin is 11, but only 10 steps"),
        ({"warmup": 4, "thin": 7}, "thin is 7, but only 6 steps"),
        ({"warmup": 10}, "warmup is 10 of 10"),
        ({"warmup": 11}, "warmup is 11 of 10"),
        ({"warmup": -1}, "warmup is -1"),
        ({"shard_size": 0}, "shard_size is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_input_is_refused_before_the_energy_is_called(bad, message):
    energy = CallCounter(Flat())
    arguments = {"x0": torch.zeros(2, 1), "steps": 10, **bad}
    with pytest.raises(InvalidInput, match=message):
        sample(climb(), energy, arguments.pop("x0"), **arguments)
    assert energy.calls == 0


def tensors(result):
    """Every tensor in a nested result, in order."""
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, ChainState | tuple | list):
        return [t for part in result for t in tensors(part)]
    if isinstance(result, dict):
        return [t for part in result.values() for t in tensors(part)]
    return tensors(vars(result)) if hasattr(result, "__dataclass_fields__") else []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@kernels
def test_on_cuda_everything_stays_there_and_repeats(name):
    x0 = starts(6).cuda()
    first, again = (sample(KERNELS[name](), tilt, x0, steps=10, seed=1, shard_size=4) for _ in range(2))
    assert first.draws.is_cuda
    assert first.energy.is_cuda
    assert torch.equal(first.draws, again.draws)
    assert torch.equal(first.energy.flatten(), tilt(first.draws.flatten(0, 1)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda_the_global_generator_is_left_alone():
    proposal = Categorical(probs=torch.full((4,), 0.25, dtype=torch.float64, device="cuda"))
    before = global_states()
    result = rejection_sample(lambda x: 0.5 * x.double(), proposal, log_bound=math.log(4), num_samples=20)
    assert result.x.is_cuda
    assert global_states() == before
