"""Phrases of a list by exact enumeration: every text of four words up to length four, whole or around a phrase."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from lm_adapters import LookAhead, PhraseDistribution, PhraseProposal, Phrases, SequenceEnergy
from lm_adapters.models.causal_lm import CausalLM
from lm_adapters.phrases import proposal as module
from samplers import (
    IndependenceProposal,
    MetropolisHastings,
    Proposed,
    importance_sample,
    named,
    sample,
)
from samplers.randomness import generator, scoped_global_seed
from samplers.testing import (
    Enumerated,
    check_proposal,
    detailed_balance_error,
    enumerate_states,
    invariance_error,
    row_result,
    transition_matrix,
)
from tests.lm_adapters import tiny_causal

WORDS = ("red", "green", "blue", "grey")
LONGEST = 4
LIST = ["red", "red green", "red green blue", "red green red", "green", "blue red", "blue red red grey", "grey grey"]
WITHIN = ["red", "red green", "red green blue", "green green", "blue red"]
DRAWS = 2**12
OPTIONS = {"plain": {}, "cold": {"temperature": 0.6}, "look-ahead": {"ahead": "blue red green"}}
options = pytest.mark.parametrize("option", OPTIONS)
places = pytest.mark.parametrize("within", [False, True], ids=["whole", "within"])
targets = pytest.mark.parametrize("target", ["nll", "random"])


@cache
def lm() -> CausalLM:
    model = tiny_causal.words_lm(WORDS, seed=1, scale=6.0)
    model.tokens_per_pass = 10**6
    return model


@cache
def texts(longest: int = LONGEST) -> Tensor:
    words, pad = lm().space.encode([" ".join(WORDS)])[0], lm().space.pad_id
    parts = [words[enumerate_states(len(WORDS), length)] for length in range(1, longest + 1)]
    return torch.cat([torch.nn.functional.pad(part, (0, LONGEST - part.shape[1]), value=pad) for part in parts])


@cache
def phrases(within: bool) -> Phrases:
    return Phrases(lm().space, WITHIN if within else LIST, within=within)


def made(within: bool, option: str = "plain", kind: type[PhraseProposal] = PhraseProposal, **more: object):
    given = {"max_length": LONGEST, **OPTIONS[option], **more}
    if ahead := given.pop("ahead", None):
        given["look_ahead"] = LookAhead(phrases(within).trie, lm().space.encode([ahead])[0])
    return kind(lm().condition_on(), phrases(within), **given)


@cache
def held(within: bool, longest: int = LONGEST) -> Tensor:
    """Texts that no move leaves the set of."""
    states = texts(longest)
    return states[phrases(within).found(states)]


@cache
def law(target: str, within: bool, longest: int = LONGEST) -> Enumerated:
    states = held(within, longest)
    noise = torch.randn(len(states), dtype=torch.float64, generator=generator(5))
    own = {
        "nll": SequenceEnergy(lm().condition_on()),
        "random": named("random", Enumerated(states, lambda x: noise).energy),
    }
    return Enumerated(states, own[target] + phrases(within))


@places
@options
def test_densities_add_up_and_are_those_of_the_draws(within: bool, option: str):
    check_proposal(made(within, option), held(within), draws=DRAWS, starts=3)


@places
def test_a_limit_on_the_length_leaves_phrases_out(within: bool):
    check_proposal(made(within, max_length=3), held(within, 3), draws=DRAWS, starts=3)


@places
@targets
@options
def test_exact_matrix(within: bool, target: str, option: str):
    space = law(target, within)
    matrix = transition_matrix(MetropolisHastings(made(within, option)), space)
    assert invariance_error(matrix, space.probabilities()) < 1e-12
    assert detailed_balance_error(matrix, space.probabilities()) < 1e-12
    assert within or float(matrix.min()) > 0


@places
def test_what_runs_is_what_was_proved(within: bool):
    space = law("random", within)
    row = int(space.probabilities().argmin())
    matrix = transition_matrix(MetropolisHastings(made(within)), space)
    assert follows(made(within), space, space.states[row].expand(DRAWS, -1), 1, matrix[row])
    assert follows(made(within), space, space.sample(DRAWS, generator(11)), 3, space.probabilities())


@pytest.mark.parametrize("option", ["plain", "look-ahead"])
def test_independent_phrases(option: str):
    proposal = made(False, option)
    drawn = PhraseDistribution(proposal.model, proposal.phrases, look_ahead=proposal.law.look_ahead)
    states = held(False)
    torch.testing.assert_close(drawn.log_prob(states).exp().sum(), torch.tensor(1.0).double(), atol=1e-12, rtol=0)
    assert (drawn.log_prob(texts())[~phrases(False).found(texts())] == -math.inf).all()
    with scoped_global_seed(generator(2)):
        x, log_q, hint = drawn.sample_and_log_prob(200)
    torch.testing.assert_close(log_q, drawn.log_prob(x), atol=1e-10, rtol=0)
    torch.testing.assert_close(hint.nlls, SequenceEnergy(proposal.model)(x), atol=1e-10, rtol=0)
    space = law("random", False)
    matrix = transition_matrix(MetropolisHastings(IndependenceProposal(drawn)), space)
    assert invariance_error(matrix, space.probabilities()) < 1e-12
    weighted = importance_sample(law("nll", False).energy, drawn, num_samples=4000)
    log_z = float(torch.logsumexp(-law("nll", False).energies, dim=0))
    assert abs(weighted.log_z - log_z) < 5 * weighted.log_z_mcse + 1e-9


class NoWayBack(PhraseProposal):
    """Leaves the density of the way back out."""

    def __call__(self, x: Tensor, rng: torch.Generator, memory: Tensor | None = None) -> Proposed:
        proposed = super().__call__(x, rng, memory)
        return replace(proposed, log_q_reverse=proposed.log_q_reverse.clamp(min=0))


class NeitherWay(PhraseProposal):
    """Leaves both densities out."""

    def __call__(self, x: Tensor, rng: torch.Generator, memory: Tensor | None = None) -> Proposed:
        proposed = super().__call__(x, rng, memory)
        zero = torch.zeros_like(proposed.log_q_forward)
        back = zero.masked_fill(proposed.log_q_reverse == -math.inf, -math.inf)
        return replace(proposed, log_q_forward=zero, log_q_reverse=back)


class NotRenormalised(PhraseProposal):
    """Takes the model's own probabilities for those of what was allowed."""

    def memory(self, x: Tensor) -> Tensor:
        scores = super().memory(x)
        return torch.stack([-scores[:, 1], scores[:, 1]], dim=1)

    def __call__(self, x: Tensor, rng: torch.Generator, memory: Tensor | None = None) -> Proposed:
        whole = self.law.draw

        def draw(*given: object) -> tuple[Tensor, Tensor, Tensor]:
            phrase, size, scores = whole(*given)
            return phrase, size, torch.stack([-scores[:, 1], scores[:, 1]], dim=1)

        self.law.draw = draw
        try:
            return super().__call__(x, rng, memory)
        finally:
            del self.law.draw


class AnyPlace(PhraseProposal):
    """Accepts texts that hold their phrase at another place, or as a longer one."""

    def __call__(self, x: Tensor, rng: torch.Generator, memory: Tensor | None = None) -> Proposed:
        proposed = super().__call__(x, rng, memory)
        lost = (proposed.log_q_reverse == -math.inf) & self.phrases.found(proposed.x)
        return replace(proposed, log_q_reverse=proposed.log_q_reverse.where(~lost, proposed.log_q_forward))


def follows(proposal: PhraseProposal, space: Enumerated, x: Tensor, steps: int, law: Tensor) -> bool:
    options = {"warmup": steps - 1, "shard_size": len(x), "progress": False}
    ends = sample(MetropolisHastings(proposal), space.energy, x, steps=steps, seed=0, **options).draws[:, -1]
    return row_result("law", "", space.index(ends), law, pooled=True).passed


def rejects(proposal: PhraseProposal, space: Enumerated) -> bool:
    return not follows(proposal, space, space.sample(DRAWS, generator(11)), 6, space.probabilities())


@places
@pytest.mark.parametrize("kind", [NoWayBack, NeitherWay, NotRenormalised])
def test_broken_ratios_are_rejected(within: bool, kind: type[PhraseProposal]):
    assert rejects(made(within, kind=kind), law("random", within))


def test_a_move_without_a_way_back_must_be_rejected():
    assert rejects(made(True, kind=AnyPlace), law("random", True))


def test_the_number_of_cuts_belongs_to_the_density(monkeypatch: pytest.MonkeyPatch):
    def forgetful(cuts: Tensor, shared: Tensor, log_q: Tensor) -> Tensor:
        return whole(cuts, shared, log_q) + cuts.sum(dim=1).clamp(min=1).double().log()

    whole = module._log_density
    monkeypatch.setattr(module, "_log_density", forgetful)
    assert rejects(made(False), law("random", False))
