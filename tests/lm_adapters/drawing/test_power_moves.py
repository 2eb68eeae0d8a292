"""Suffix moves on a power of a stopped law: exact matrices, early ends and their lengths."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from lm_adapters import SequenceEnergy, StoppedEnergy, SuffixProposal, Truncation
from samplers import MetropolisHastings, sample
from samplers.kernels.metropolis import log_acceptance
from samplers.randomness import generator
from samplers.testing.chains import detailed_balance_error, invariance_error, stationary_law
from tests.lm_adapters.drawing.enumerated import LONGEST, by_length, lm, reader, space, texts
from tests.lm_adapters.enumerated import strain

powers = pytest.mark.parametrize("power", [1.0, 4.0])
cuts = pytest.mark.parametrize("cut", ["uniform", "open"])


def proposal(power: float, cut: str) -> SuffixProposal:
    return SuffixProposal(reader(), max_length=LONGEST, truncation=Truncation(1 / power), cuts=cut)


@cache
def by_cut(power: float, cut: str) -> Tensor:
    """``float64 [cuts, from, to]``."""
    tabled, size = proposal(power, cut), len(texts())
    table, index = tabled.distribution.token_scores(texts()), space(1.0).index
    tabled.distribution.token_scores = lambda x: table[index(x)]
    rows = [tabled.cut_log_probs(texts(), row.expand(size, -1)) for row in texts()]
    return torch.stack(rows).permute(2, 0, 1)


def step_matrix(power: float, cut: str, energies: Tensor) -> Tensor:
    matrix, energy = torch.zeros(2 * (len(texts()),), dtype=torch.float64), energies.expand(len(texts()), -1)
    for log_q in by_cut(power, cut):
        accept = log_acceptance(energy.T, energy, log_q, log_q.T).clamp(max=0).exp()
        matrix += log_q.exp() * accept + torch.diag((log_q.exp() * (1 - accept)).sum(dim=1))
    return matrix


@powers
@cuts
@pytest.mark.parametrize("other", [False, True])
def test_exact_matrix(power: float, cut: str, other: bool):
    target = space(power, other)
    matrix, law = step_matrix(power, cut, target.energies), target.probabilities()
    assert float((matrix.sum(dim=1) - 1).abs().max()) < 1e-12
    assert invariance_error(matrix, law) < 1e-12
    assert detailed_balance_error(matrix, law) < 1e-12
    shrunk = matrix[by_length_of(1)][:, by_length_of(LONGEST)]
    assert float(shrunk.max()) > 0, "texts that ended grow again"
    torch.testing.assert_close(by_length(stationary_law(matrix)), by_length(law), atol=1e-9, rtol=0)


def by_length_of(length: int) -> Tensor:
    return lm().space.lengths(texts()) == length


@powers
@cuts
def test_end_states_follow_the_law(power: float, cut: str):
    """Through the model: the move tells the energy what it has read."""
    target, energy = space(power), power * StoppedEnergy(reader(), LONGEST)
    start = target.sample(2**11, generator(11))
    options = {"steps": 3, "warmup": 2, "shard_size": len(start), "seed": 0, "progress": False}
    trace = sample(MetropolisHastings(proposal(power, cut)), energy, start, **options)
    x, law = trace.draws[:, -1], target.probabilities()
    assert not torch.equal(x, start)
    assert strain(target.index(x), law) < 1
    assert strain(lm().space.lengths(x), by_length(law)) < 1
    torch.testing.assert_close(trace.energy[:, -1], target.energy(x), atol=1e-10, rtol=0)


def test_a_law_that_asks_for_an_end_at_the_most_tokens_is_another():
    """The negative control, in exact matrices."""
    asking = SequenceEnergy(reader())(texts())
    assert invariance_error(step_matrix(1.0, "open", asking), space(1.0).probabilities()) > 1e-3


def test_moves_that_only_shrink_miss_the_law():
    law, lengths = space(4.0).probabilities(), lm().space.lengths(texts())
    matrix = step_matrix(4.0, "uniform", space(4.0).energies)
    longer = lengths.unsqueeze(0) > lengths.unsqueeze(1)
    stays = matrix.masked_fill(longer, 0.0)
    stays += torch.diag(1 - stays.sum(dim=1))
    assert invariance_error(stays, law) > 1e-3
