"""The exception tree, its messages, and where a bad energy is found in a run."""

import math
from dataclasses import replace

import pytest
import torch

import samplers
from samplers import (
    BoundViolated,
    CallCounter,
    Cycle,
    EnergyError,
    Flat,
    Gibbs,
    InvalidInput,
    McmcTextError,
    MetropolisHastings,
    Mixture,
    ProposalError,
    Proposed,
    PseudoGibbs,
    Tempered,
    TrialsExhausted,
    anneal,
    constant,
    iterate,
    named,
    sample,
)
from samplers.randomness import generator
from tests.samplers.doubles import VALUES, Replace, Shift, climb, starts

inf, nan = math.inf, math.nan


def test_every_error_is_one_of_ours():
    errors = [getattr(samplers, name) for name in samplers.__all__ if name in samplers.errors.__all__]
    assert len(errors) == len(samplers.errors.__all__) == 12
    assert all(issubclass(error, McmcTextError) for error in errors)
    assert issubclass(InvalidInput, ValueError)


def test_the_message_of_an_energy_error():
    error = EnergyError("is NaN", term="mine", rows=range(7))
    assert str(error) == "energy 'mine' is NaN (chain 0, 1, 2, 3, 4 and 2 more)"
    error.step = -1
    assert "is NaN at the start (chain" in str(error)
    error.step, error.rows, error.texts = 12, [3, 3, 4], ["a b"]
    assert str(error) == "energy 'mine' is NaN at step 12 (chain 3, 4): 'a b'"


def test_the_message_of_a_violated_bound():
    error = BoundViolated(torch.tensor([0.5, 2.0]), 0.25)
    assert (error.x.tolist(), error.excess) == ([0.5, 2.0], 0.25)
    assert "by 0.25 nats at x = [0.5, 2]" in str(error)
    assert "x = [0, 1, 2, 3, 4, 5, 6, 7, ...]" in str(BoundViolated(torch.arange(9), 1.0))


def test_exhausted_trials_carry_their_result():
    assert TrialsExhausted("too few", "result").result == "result"


class At:
    """An energy that is ``value`` for states whose first site is in ``where``."""

    name = "mine"

    def __init__(self, value, *where):
        self.value, self.where = value, torch.tensor(where)

    def __call__(self, x):
        return torch.where(torch.isin(x[:, 0], self.where), self.value, 0.0)


COUNT_UP = torch.tensor([[0], [100], [200], [300], [400]])


@pytest.mark.parametrize("value", [nan, -inf])
@pytest.mark.parametrize(
    ("where", "step", "rows"),
    [
        ([100], -1, [1]),
        ([0, 100], -1, [0, 1]),
        ([400], -1, [4]),
        ([303], 2, [3]),
        ([103, 3], 2, [0, 1]),
        ([203, 303], 2, [2, 3]),
        ([401], 0, [4]),
    ],
)
def test_a_run_names_step_and_chains_over_shards(value, where, step, rows):
    with pytest.raises(EnergyError) as caught:
        sample(climb(), At(value, *where), COUNT_UP, steps=5, shard_size=2)
    error = caught.value
    assert (error.term, error.step, error.rows) == ("mine", step, rows)
    assert sorted(error.x.flatten().tolist()) == sorted(where)
    assert f"(chain {', '.join(map(str, rows))})" in str(error)
    assert ("at the start" if step < 0 else f"at step {step} ") in str(error)


def test_nan_in_all_chains_at_once():
    with pytest.raises(EnergyError, match=r"energy 'mine' is NaN at step 1 \(chain 0, 1, 2\)"):
        sample(climb(), At(nan, 2), torch.zeros(3, 1), steps=4)


def test_an_annealing_run_names_them_too():
    with pytest.raises(EnergyError, match=r"at step 1 \(chain 3\)"):
        anneal(climb(), At(nan, 302), COUNT_UP, schedule=constant(1.0), steps=3, shard_size=2)


def test_an_energy_that_raises_is_located():
    def mine(x):
        if bool((x == 302).any()):
            raise ZeroDivisionError("by nought")
        return torch.zeros(len(x))

    told = r"'mine' raised ZeroDivisionError: by nought at step 1 \(chain 3\) \[.*: raise ZeroDivisionError"
    with pytest.raises(EnergyError, match=told) as caught:
        sample(climb(), mine, COUNT_UP, steps=3, shard_size=2)
    assert caught.value.x.tolist() == [[302]]


def test_the_term_at_fault_is_named_in_a_sum():
    with pytest.raises(EnergyError, match=r"energy 'mine' is NaN at step 0 \(chain 2\)"):
        sample(climb(), Flat() + 0.5 * named("mine", At(nan, 201)), COUNT_UP, steps=3)


def last_chain_nan(x):
    """NaN only for states that hold a 2 in every site."""
    return torch.where((x == 2).all(dim=1), nan, 0.0)


STUCK = torch.tensor([[0, 0, 0], [1, 1, 1], [2, 2, 0]])


@pytest.mark.parametrize("max_rows", [1, 2, 4, 4096])
def test_gibbs_names_the_chain_not_the_candidate(max_rows):
    kernel = Gibbs(VALUES, free=lambda x: torch.tensor([[False, False, True]] * len(x)), max_rows=max_rows)
    with pytest.raises(EnergyError) as caught:
        sample(kernel, last_chain_nan, STUCK, steps=2)
    assert (caught.value.step, caught.value.rows, caught.value.x.tolist()) == (0, [2], [[2, 2, 2]])


@pytest.mark.parametrize("wrap", [lambda k: k, lambda k: Cycle([k, k]), lambda k: Mixture([(k, 1.0)])])
@pytest.mark.parametrize("where", [300, 301])
def test_tempering_names_the_chain_not_the_replica(wrap, where):
    kernel = wrap(Tempered(climb(), [1.0, 0.5, 0.2]))
    with pytest.raises(EnergyError) as caught:
        sample(kernel, At(nan, where), COUNT_UP, steps=2, shard_size=2)
    assert set(caught.value.rows) == {3}
    assert "(chain 3)" in str(caught.value)


def wall(x):
    return torch.where(x[:, 0] < 3, inf, 0.0)


def test_a_forbidden_start_is_left_as_soon_as_the_kernel_can():
    for step, state, _ in iterate(climb(), wall, torch.tensor([[0], [5]]), steps=4, rng=generator(0)):
        assert state.energy.tolist() == [inf, 0.0]
        assert state.x.tolist() == [[0], [6 + step]]
    with pytest.raises(EnergyError, match=r"'wall' forbids a state that would be kept as a draw at step 2 \(chain 0\)"):
        sample(climb(), wall, torch.tensor([[0], [5]]), steps=4, warmup=2)
    leaving = sample(MetropolisHastings(Shift(3)), wall, torch.tensor([[0]]), steps=2)
    assert leaving.draws.flatten().tolist() == [3, 6]
    assert leaving.energy.flatten().tolist() == [0, 0]


def test_gibbs_leaves_a_forbidden_start_where_it_can_and_stays_elsewhere():
    def walled(x):
        return torch.where((x != 1).sum(dim=1) > 1, inf, 0.0)

    x0 = torch.tensor([[0, 1], [0, 0]])
    kernel = Gibbs(2, scan="systematic")
    run = iterate(kernel, lambda x: walled(torch.nn.functional.pad(x, (0, 1))), x0, steps=4, rng=generator(0))
    for _, state, info in run:
        assert state.energy.tolist() == [0.0, inf]
        assert state.x.tolist() == [[1, 1], [0, 0]]
        assert info.accepted.tolist() == [True, False]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gibbs(0), "not 0"),
        (lambda: Gibbs(-1), "not -1"),
        (lambda: Gibbs(torch.tensor([2, 5, 2])), r"not tensor\(\[2, 5, 2\]\)"),
        (lambda: Gibbs(torch.zeros(0)), r"not tensor\(\[\]\)"),
        (lambda: Gibbs(torch.zeros(2, 2)), r"not tensor\(\[\[0"),
        (lambda: Gibbs(3, scan="sideways"), "scan is 'sideways'"),
        (lambda: Gibbs(3, max_rows=0), "max_rows is 0"),
        (lambda: Mixture([]), "Mixture needs at least one kernel"),
        (lambda: Cycle([]), "Cycle needs at least one kernel"),
        (lambda: Mixture([(climb(), 0.5), (climb(), 0.4)]), "add up to 0.9"),
        (lambda: Mixture([(climb(), 1.5), (climb(), -0.5)]), r"\[1.5, -0.5\]"),
        (lambda: Mixture([(climb(), 1.0), (climb(), 0.0)]), r"\[1.0, 0.0\]"),
        (lambda: Mixture([(climb(), nan)]), r"\[nan\]"),
        (lambda: Mixture([(climb(), inf)]), r"\[inf\]"),
        (lambda: Tempered(climb(), []), r"ladder is \[\]; its first beta must be 1"),
        (lambda: Tempered(climb(), [0.9, 0.5]), r"ladder is \[0.9, 0.5\]; its first beta must be 1"),
        (lambda: Tempered(climb(), [1.0, 0.5, 0.5]), r"ladder is \[1.0, 0.5, 0.5\]; give finite betas that fall"),
        (lambda: Tempered(climb(), [1.0, 0.5, 0.7]), r"ladder is \[1.0, 0.5, 0.7\]; give finite betas that fall"),
        (lambda: Tempered(climb(), [1.0, -0.5]), r"ladder is \[1.0, -0.5\]; give finite betas"),
        (lambda: Tempered(climb(), [1.0, nan]), r"ladder is \[1.0, nan\]; give finite betas"),
        (lambda: Tempered(climb(), [1.0], swap_every=0), "swap_every is 0"),
        (lambda: MetropolisHastings(lambda x, rng: None), "needs .* log_prob.*lambda"),
        (lambda: MetropolisHastings("edits"), "'edits' does not have both"),
    ],
)
def test_kernels_that_mean_nothing_are_refused_at_construction(make, message):
    with pytest.raises(InvalidInput, match=message):
        make()


@pytest.mark.parametrize(
    ("kernel", "x0", "message"),
    [
        (Gibbs(3), torch.zeros(2, dtype=torch.int64), r"not \[2\]"),
        (Gibbs(3), torch.zeros(2, 3, 4, dtype=torch.int64), r"not \[2, 3, 4\]"),
        (Gibbs(3), torch.zeros(2, 2, dtype=torch.bool), r"torch.bool cannot hold all of the values \[0, 1, 2\]"),
        (Gibbs(300), torch.zeros(2, 2, dtype=torch.uint8), "torch.uint8 cannot hold"),
        (Gibbs(torch.tensor([0.5, 0.25])), torch.zeros(2, 2, dtype=torch.int64), r"int64 cannot hold .*\[0.5, 0.25\]"),
        (Gibbs(3, free=lambda x: x > 0), torch.tensor([[1, 0], [0, 0]]), "chain 1 has no free site"),
    ],
)
def test_states_that_gibbs_cannot_redraw_are_refused(kernel, x0, message):
    with pytest.raises(InvalidInput, match=message):
        sample(kernel, Flat(), x0, steps=2)


def test_gibbs_takes_float_states_whose_sites_hold_its_values():
    x0 = torch.zeros(3, 2)
    trace = sample(Gibbs(torch.tensor([0.25, 0.5, 2.0])), lambda x: x.sum(dim=1), x0, steps=40)
    assert trace.draws.dtype == torch.float32
    assert trace.draws[:, 20:].unique().tolist() == [0.25, 0.5, 2.0]


def test_a_free_mask_that_depends_on_the_value_redrawn_is_refused():
    with pytest.raises(ProposalError, match="depends on the value redrawn"):
        sample(Gibbs(3, free=lambda x: x != 1), Flat(), torch.zeros(8, 3, dtype=torch.int64), steps=20)


class Broken(Replace):
    """Changes what ``Replace`` proposed."""

    def __init__(self, **changes):
        super().__init__()
        self.changes = changes

    def __call__(self, x, rng):
        proposed = super().__call__(x, rng)
        return Proposed(**{**vars(proposed), **{name: change(proposed) for name, change in self.changes.items()}})


def with_row(value, row=1):
    return lambda proposed: torch.zeros(3, dtype=torch.float64).index_fill(0, torch.tensor([row]), value)


@pytest.mark.parametrize("kernel", [MetropolisHastings, PseudoGibbs])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": lambda p: p.x[:, :2]}, r"proposed states are torch.int64 \[3, 2\], the chains torch.int64 \[3, 4\]"),
        ({"x": lambda p: p.x.float()}, r"torch.float32 \[3, 4\]"),
        ({"log_q_forward": lambda p: p.log_q_forward.float()}, "log_q_forward is torch.float32"),
        ({"log_q_reverse": lambda p: p.log_q_reverse.sum()}, r"log_q_reverse is torch.float64 \[\], not float64 \[3\]"),
        ({"log_q_forward": with_row(nan)}, r"chains \[1\]"),
        ({"log_q_forward": with_row(-inf, row=2)}, r"chains \[2\]"),
        ({"log_q_reverse": with_row(nan, row=0)}, r"chains \[0\]"),
    ],
)
def test_a_proposal_that_breaks_its_contract_is_an_error(kernel, changes, message):
    with pytest.raises(ProposalError, match=message):
        sample(kernel(Broken(**changes)), Flat(), starts(3), steps=1)


@pytest.mark.parametrize(
    ("memory", "message"),
    [
        (None, r"the memory of the proposed states is absent, that of the chains torch.float64 \[3, 4\]"),
        (torch.zeros(3, 4), r"is torch.float32 \[3, 4\], that"),
    ],
)
def test_a_proposal_that_forgets_is_an_error(memory, message):
    class Forgetful(Replace):
        def memory(self, x):
            return x.double()

        def __call__(self, x, rng, known):
            return replace(super().__call__(x, rng), memory=memory)

    with pytest.raises(ProposalError, match=message):
        sample(MetropolisHastings(Forgetful()), Flat(), starts(3), steps=1)


def test_a_reverse_density_of_zero_is_no_error_but_a_rejection():
    trace = sample(MetropolisHastings(Broken(log_q_reverse=with_row(-inf))), Flat(), starts(3), steps=30)
    assert torch.equal(trace.draws[1], starts(3)[1].expand(30, -1))
    assert trace.moves["replace"].accepted == 60


def test_composed_kernels_score_each_part_once_at_the_start():
    energy = CallCounter(Flat())
    Cycle([climb(), Tempered(climb(), [1.0, 0.5])]).init(torch.zeros(3, 1), energy)
    assert (energy.calls, energy.rows) == (2, 9)
