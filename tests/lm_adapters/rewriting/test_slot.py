"""Slots filled anew, by exact enumeration: every text of three words up to length four, in templates."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor

from lm_adapters import SlotProposal, Template, Truncation
from samplers import InvalidInput, named
from samplers.randomness import generator
from samplers.testing import Enumerated, detailed_balance_error, invariance_error, proposal_matrix
from tests.lm_adapters.proposals.test_keyword_fill import lm, reader
from tests.lm_adapters.proposals.test_template_fill import texts
from tests.lm_adapters.rewriting.tiny_writers import CHAINS, distance, end_states, follows, labelled_matrix

WIDTH = 4
TEMPLATES = ("[MASK:1-3] red", "[MASK:1-2] blue [MASK]", "[MASK:1-2] red [MASK]", "[MASK:2-3]", "blue [MASK:1-3]")
TWOFOLD = "[MASK:1-2] red [MASK:1-2]"  # where a slot repeats the frozen word, it is found elsewhere
TRUNCATIONS = {"whole": Truncation(), "warm": Truncation(1.5), "cut": Truncation(0.7, top_p=0.9)}
templates = pytest.mark.parametrize("text", TEMPLATES)
models = pytest.mark.parametrize("reads", [False, True], ids=["masked", "reading"])


def made(text: str, reads: bool, truncation: str = "whole", slots: list[int] | None = None) -> SlotProposal:
    lock = Template(lm().space, text)
    model = reader() if reads else lm()
    return SlotProposal(model, lock=lock, slots=slots, truncation=TRUNCATIONS[truncation])


def problem(text: str) -> Enumerated:
    x = texts(max(WIDTH, Template(lm().space, text).max_length))
    noise = torch.randn(len(x), dtype=torch.float64, generator=generator(5))
    return Enumerated(x, named("random", Enumerated(x, lambda x: noise).energy) + Template(lm().space, text))


@cache
def densities(text: str, reads: bool, truncation: str = "whole") -> list[Tensor]:
    """For each slot ``log q [from, to]``, the slot's probability included; ``-inf`` where there is no way back."""
    count = len(Template(lm().space, text).slots)
    found = []
    for slot in range(count):
        log_q = proposal_matrix(made(text, reads, truncation, [slot]), texts(WIDTH)) - math.log(count)
        fits = problem(text).energies.isfinite()
        found.append(log_q.masked_fill(~(fits & fits.unsqueeze(1)), -math.inf))
    return found


@templates
@models
@pytest.mark.parametrize("truncation", TRUNCATIONS)
def test_exact_matrix(text: str, reads: bool, truncation: str):
    space = problem(text)
    matrix = labelled_matrix(space, ((log_q, log_q) for log_q in densities(text, reads, truncation)))
    law = space.probabilities()
    assert float(matrix.min()) > -1e-12
    assert invariance_error(matrix, law) < 1e-12
    assert detailed_balance_error(matrix, law) < 1e-12
    stays = matrix.diag()[law > 0]
    assert truncation == "cut" or float(stays.min()) < 0.9
    if truncation != "cut" and not reads:  # a model that reads never writes what ends the slot inside it
        assert float(stays.max()) < 1 - 1e-4


@templates
@models
def test_what_runs_has_the_densities_of_a_slot(text: str, reads: bool):
    space, log_q = problem(text), torch.stack(densities(text, reads))
    x = space.sample(512, generator(1))
    proposed = made(text, reads)(x, generator(5))
    old, new = space.index(x), space.index(proposed.x)
    back = proposed.log_q_reverse.isfinite()
    slots = math.log(len(log_q))
    there, again = (
        distance(each - slots, log_q_of[:, old, new])
        for each, log_q_of in ((proposed.log_q_forward, log_q), (proposed.log_q_reverse, log_q.transpose(1, 2)))
    )
    assert float(torch.maximum(there, again).amin(dim=0)[back].max()) < 1e-10
    assert int(back.sum()) > 100


@pytest.mark.parametrize("text", [*TEMPLATES[:2], TWOFOLD])
@models
def test_what_runs_is_what_was_proved(text: str, reads: bool):
    space = problem(text)
    x = end_states(made(text, reads), space, space.sample(CHAINS, generator(11)), 3)
    assert follows(space, x, space.probabilities())


@templates
@models
def test_a_ratio_without_the_density_of_the_way_back_misses_the_law(text: str, reads: bool):
    space = problem(text)
    wrong = ((log_q, torch.where(log_q > -math.inf, 0.0, -math.inf).double()) for log_q in densities(text, reads))
    assert invariance_error(labelled_matrix(space, wrong), space.probabilities()) > 1e-4


class OtherRest(SlotProposal):
    """Does not look whether the same slot is emptied for the same rest."""

    def can_undo(self, x, slots, new):
        return self.lock.found(new)


def test_a_move_whose_slot_is_found_elsewhere_must_be_rejected():
    space = problem(TWOFOLD)
    start = space.sample(CHAINS, generator(11))
    broken = OtherRest(reader(), lock=Template(lm().space, TWOFOLD))
    assert not follows(space, end_states(broken, space, start, 60), space.probabilities())


@models
def test_a_text_that_does_not_fit_is_kept(reads: bool):
    proposal = made("[MASK:1-2] blue [MASK]", reads)
    x = torch.nn.functional.pad(lm().space.encode(["red red"]), (0, 2), value=lm().space.pad_id)
    proposed = proposal(x, generator(1))
    assert torch.equal(proposed.x, x)
    assert proposed.log_q_reverse.tolist() == [-math.inf]
    assert proposal.log_prob(x, x).tolist() == [0.0]


def test_bad_input_is_refused():
    lock = Template(lm().space, "red [MASK:1-2]")
    for slots in ([], [1], [-1]):
        with pytest.raises(InvalidInput, match="give numbers from 0 to 0"):
            SlotProposal(lm(), lock=lock, slots=slots)
    with pytest.raises(InvalidInput, match="the template takes 3"):
        SlotProposal(lm(), lock=lock)(lm().space.encode(["red red"]), generator(1))
