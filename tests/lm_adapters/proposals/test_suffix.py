"""What a redrawn suffix reports, where it stops, and what it costs."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor

from lm_adapters import SequenceEnergy
from lm_adapters.models.causal_lm import CausalLM
from lm_adapters.proposals.suffix import SuffixProposal
from lm_adapters.proposals.truncation import Truncation
from samplers import InvalidInput, MetropolisHastings, sample
from samplers.randomness import generator
from tests.lm_adapters import tiny_causal

TEXTS = ["a b c", "z", "the old", "She's"]
classes = pytest.mark.parametrize("name", tiny_causal.CLASSES)


@cache
def lm(name: str, double: bool = False) -> CausalLM:
    return tiny_causal.build(name, double=double)


def starts(model: CausalLM, width: int = 9, copies: int = 10) -> Tensor:
    return model.space.encode(TEXTS, width).repeat(copies, 1)


@classes
@pytest.mark.parametrize("truncation", [Truncation(), Truncation(0.8, 20, 0.9)], ids=["whole", "all three"])
@pytest.mark.parametrize(("double", "exact"), [(False, 2e-5), (True, 1e-10)], ids=["float32", "float64"])
def test_returned_densities_are_those_of_one_cut(name: str, truncation: Truncation, double: bool, exact: float):
    model = lm(name, double)
    x = starts(model)
    proposal = SuffixProposal(model.condition_on("We do"), max_length=9, truncation=truncation)
    proposed = proposal(x, generator(1))
    forward, reverse = proposal.cut_log_probs(proposed.x, x), proposal.cut_log_probs(x, proposed.x)
    same = (forward - proposed.log_q_forward.unsqueeze(1)).abs() < exact
    back = reverse == proposed.log_q_reverse.unsqueeze(1)
    back |= (reverse - proposed.log_q_reverse.unsqueeze(1)).abs() < exact
    assert (same & back).any(dim=1).all()
    assert proposed.x.shape == x.shape
    assert proposed.move is None
    assert proposal.move_names == ("suffix",)


@classes
def test_lengths_change_both_ways_and_keep_their_bounds(name: str):
    model = lm(name)
    x = starts(model, width=12, copies=50)
    x[::4] = torch.where(torch.arange(12) < 9, x[1, 0], model.space.pad_id)
    proposed = SuffixProposal(model.condition_on(), min_length=3, max_length=9)(x, generator(2))
    before, after = model.space.lengths(x), model.space.lengths(proposed.x)
    assert int(after.min()) >= 3
    assert int(after.max()) <= 9
    assert bool((after < before).any())
    assert bool((after > before).any())
    assert (proposed.x[:, 9:] == model.space.pad_id).all()
    assert torch.equal(proposed.log_q_reverse[before < 3].isfinite(), torch.zeros(int((before < 3).sum())).bool())


def test_a_text_that_is_too_long_stays():
    model = lm("llama", True)
    x = starts(model)
    limit = int(model.space.lengths(x).max()) - 1
    proposal = SuffixProposal(model.condition_on(), max_length=limit)
    stuck = model.space.lengths(x) > limit
    proposed = proposal(x, generator(0))
    assert torch.equal(proposed.x[stuck], x[stuck])
    assert (proposed.log_q_forward[stuck] == 0).all()
    assert (proposed.log_q_reverse[stuck] == -math.inf).all()
    assert proposed.log_q_reverse[~stuck].isfinite().all()
    torch.testing.assert_close(proposal.log_prob(x[stuck], x[stuck]).exp(), stuck[stuck].double())
    assert (proposal.log_prob(x[~stuck][:4], x[stuck][:1].expand(4, -1)) == -math.inf).all()
    trace = sample(MetropolisHastings(proposal), SequenceEnergy(model.condition_on()), x, steps=2, progress=False)
    assert torch.equal(trace.draws[:, -1][stuck], x[stuck])


def test_states_that_are_too_narrow():
    model = lm("llama")
    proposal = SuffixProposal(model.condition_on(), max_length=9)
    with pytest.raises(InvalidInput, match="the states are 8 wide and max_length is 9; widen them to that"):
        proposal(starts(model, width=8), generator(0))


@pytest.mark.parametrize("tokens_per_pass", [1, 7, 10**6])
def test_draws_and_densities_do_not_depend_on_the_budget(tokens_per_pass: int):
    model = lm("gpt2", True)
    cut = CausalLM(model.model, model.space.tokenizer, tokens_per_pass=tokens_per_pass)
    x = starts(model, copies=3)
    plain, other = (SuffixProposal(m.condition_on("We do"), max_length=9)(x, generator(4)) for m in (model, cut))
    assert torch.equal(plain.x, other.x)
    torch.testing.assert_close(plain.log_q_forward, other.log_q_forward, atol=1e-10, rtol=0)
    torch.testing.assert_close(plain.log_q_reverse, other.log_q_reverse, atol=1e-10, rtol=0)


def test_a_step_is_a_pass_over_what_is_kept_and_one_row_for_each_token_drawn():
    """But for rows that are done, which are taken out in larger lots; the energy costs nothing besides."""
    model = tiny_causal.build("llama")
    x = starts(model)
    proposal = SuffixProposal(model.condition_on(), max_length=9)
    memory = proposal.memory(x)
    shapes: list[tuple[int, ...]] = []
    hook = lambda module, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape))  # noqa: E731
    model.model.base_model.register_forward_pre_hook(hook, with_kwargs=True)
    proposed = proposal(x, generator(5), memory)
    passes = len(shapes)
    longest = int(model.space.lengths(x).max())
    assert shapes[0] == (len(x), longest + 1)  # some text is cut at its end
    assert all(tokens == 1 for _, tokens in shapes[1:])
    rows = [rows for rows, _ in shapes[1:]]
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] < rows[0]
    told = SequenceEnergy(model.condition_on()).values(proposed.x, proposed.hint)
    assert len(shapes) == passes
    torch.testing.assert_close(SequenceEnergy(model.condition_on())(proposed.x), told, atol=1e-5, rtol=0)
    shapes.clear()
    proposal(x, generator(5))
    assert shapes[0] == (len(x), longest + 1)
    assert len(shapes) == passes + 1  # without memory the old texts are read besides


@classes
@pytest.mark.parametrize("truncation", [Truncation(), Truncation(0.8, 20, 0.9)], ids=["whole", "all three"])
def test_memory_is_that_of_the_state_after_many_steps(name: str, truncation: Truncation):
    """Kept and new, of texts that another kernel changes in between."""
    model = lm(name, True)
    proposal = SuffixProposal(model.condition_on("We do"), max_length=9, truncation=truncation)
    kernel, energy, rng = MetropolisHastings(proposal), SequenceEnergy(model.condition_on("We do")), generator(7)
    empty = torch.full((60, 9), model.space.pad_id)
    state = kernel.init(proposal.distribution.redraw(empty, torch.zeros(60, dtype=torch.int64), rng).x, energy)
    taken = 0
    for step in range(8):
        state, info = kernel.step(state, energy, rng)
        taken += int(info.changed.sum())
        assert torch.equal(state.aux["of"], state.x)
        torch.testing.assert_close(state.aux["memory"], proposal.memory(state.x), atol=1e-10, rtol=0)
        if step % 3 == 0:
            x = state.x.roll(1, dims=0)
            state = state._replace(x=x, energy=energy(x))
    assert taken > 10  # some texts are new


@pytest.mark.parametrize("name", tiny_causal.CLASSES)
@pytest.mark.parametrize("truncation", [Truncation(), Truncation(0.8, 20, 0.9)], ids=["whole", "all three"])
def test_the_hint_is_the_energy_of_the_new_text_whatever_the_length(name: str, truncation: Truncation):
    model = lm(name, True)
    x = starts(model, copies=8)
    proposed = SuffixProposal(model.condition_on("We do"), max_length=9, truncation=truncation)(x, generator(6))
    assert {9} < set(model.space.lengths(proposed.x).tolist())
    energy = SequenceEnergy(model.condition_on("We do"))
    torch.testing.assert_close(energy.values(proposed.x, proposed.hint), energy(proposed.x), atol=1e-10, rtol=0)
    part = torch.tensor([5, 1])
    torch.testing.assert_close(
        energy.values(proposed.x[part], proposed.hint[part]), energy(proposed.x[part]), atol=1e-10, rtol=0
    )
    other = SequenceEnergy(model.condition_on("They"))
    assert torch.equal(other.values(proposed.x, proposed.hint), other(proposed.x))
