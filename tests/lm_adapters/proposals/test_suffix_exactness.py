"""Redrawn suffixes by exact enumeration: every text of five words up to length four, each length at its due share."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from lm_adapters import SequenceEnergy
from lm_adapters.locks.keywords import Keywords
from lm_adapters.models.causal_lm import CausalLM
from lm_adapters.proposals.suffix import SuffixProposal
from lm_adapters.proposals.truncation import Truncation
from samplers import Constraint, Energy, InvalidInput, MetropolisHastings, Proposed, sample
from samplers.kernels.metropolis import log_acceptance
from samplers.randomness import generator
from samplers.testing.chains import detailed_balance_error, invariance_error
from samplers.testing.gates import kl_gate, kl_statistic, pool
from samplers.testing.targets import Enumerated
from tests.lm_adapters import tiny_causal
from tests.lm_adapters.enumerated import every_text

WORDS = ("red", "green", "blue", "grey", "white")
LONGEST = 4
CHAINS = 2**12
TRUNCATIONS = {"whole": Truncation(), "top-k": Truncation(top_k=3), "all three": Truncation(1.4, 4, 0.9)}
CUTS = ("uniform", "open")
truncations = pytest.mark.parametrize("truncation", TRUNCATIONS.values(), ids=list(TRUNCATIONS))
targets = pytest.mark.parametrize("target", ["nll", "other"])
locked_targets = pytest.mark.parametrize(("target", "locked"), [("nll", False), ("other", False), ("locked", True)])


@cache
def lm() -> CausalLM:
    model = tiny_causal.words_lm(WORDS, seed=1, scale=6.0)
    model.tokens_per_pass = 10**6
    return model


@cache
def texts() -> Tensor:
    """Every text of up to ``LONGEST`` words."""
    return every_text(lm().space.encode([" ".join(WORDS)])[0], LONGEST, lm().space.pad_id)


@cache
def space(target: str) -> Enumerated:
    """The model's own law, the same of the texts that hold a word, or one that it knows nothing of: no two equal
    neighbours, each token at a price.
    """

    def other(x: Tensor) -> Tensor:
        return 1.2 * lm().space.lengths(x).double() + 0.3 * (x % 3).double().sum(dim=1)

    def differ(x: Tensor) -> Tensor:
        return ((x[:, 1:] != x[:, :-1]) | (x[:, 1:] == lm().space.pad_id)).all(dim=1)

    energies: dict[str, Energy] = {
        "nll": SequenceEnergy(lm().condition_on()),
        "locked": lock() + SequenceEnergy(lm().condition_on()),
        "other": Constraint("neighbours differ", differ) + other,
    }
    return Enumerated(texts(), energies[target])


@cache
def lock() -> Keywords:
    return Keywords(lm().space, ["green"])


class Tabled(SuffixProposal):
    """Looks densities up where texts are compared in pairs."""

    def __init__(
        self,
        truncation: Truncation,
        *,
        shortest: int = 1,
        locked: bool = False,
        cut_factor: bool = True,
        cuts: str = "uniform",
    ) -> None:
        options = {"min_length": shortest, "max_length": LONGEST, "lock": lock() if locked else None, "cuts": cuts}
        super().__init__(lm().condition_on(), truncation=truncation, **options)
        self.table = self.distribution.token_scores(texts())
        self.cut_factor = cut_factor
        self.distribution.token_scores = lambda x: self.table[space("nll").index(x)]

    def __call__(self, x: Tensor, rng: torch.Generator, memory: Tensor | None = None) -> Proposed:
        proposed = super().__call__(x, rng, memory)
        if self.cut_factor:
            return proposed
        old, new = ((lm().space.lengths(y) + 1).double().log() for y in (x, proposed.x))
        forward, reverse = proposed.log_q_forward + old, proposed.log_q_reverse + new
        return replace(proposed, log_q_forward=forward, log_q_reverse=reverse)


@cache
def by_cut(truncation: Truncation, shortest: int = 1, locked: bool = False, cuts: str = "uniform") -> Tensor:
    """``float64 [cuts, from, to]`` of all ``texts()``."""
    proposal, size = Tabled(truncation, shortest=shortest, locked=locked, cuts=cuts), len(texts())
    rows = [proposal.cut_log_probs(texts(), row.expand(size, -1)) for row in texts()]
    return torch.stack(rows).permute(2, 0, 1)


def step_matrix(target: Enumerated, labelled: Tensor, ratio: Tensor) -> Tensor:
    """Move ``t`` is proposed by ``labelled[t]`` and accepted by the densities in ``ratio[t]``, both ``[from, to]``."""
    matrix = torch.zeros(len(target), len(target), dtype=torch.float64)
    energy = target.energies.expand(len(target), -1)
    for log_q, log_ratio in zip(labelled, ratio, strict=True):
        accept = log_acceptance(energy.T, energy, log_ratio, log_ratio.T).clamp(max=0).exp()
        matrix += log_q.exp() * accept + torch.diag((log_q.exp() * (1 - accept)).sum(dim=1))
    return matrix


def strain(index: Tensor, law: Tensor) -> float:
    """``n * KL`` of the cells seen to ``law`` over its gate: above 1 is a rejection."""
    counts, law = pool(torch.bincount(index, minlength=len(law)), law)
    return kl_statistic(counts, law) / kl_gate(int((law > 0).sum()))


def by_length(law: Tensor) -> Tensor:
    return torch.zeros(LONGEST + 1, dtype=torch.float64).index_add_(0, lm().space.lengths(texts()), law)


def end_states(proposal: SuffixProposal, target: Enumerated, start: Tensor, steps: int) -> Tensor:
    kernel = MetropolisHastings(proposal)
    options = {"warmup": steps - 1, "shard_size": len(start), "progress": False}
    return sample(kernel, target.energy, start, steps=steps, seed=0, **options).draws[:, -1]


def test_the_laws_are_not_trivial():
    own, other = (space(target).probabilities() for target in ("nll", "other"))
    assert 0.5 * float((own - other).abs().sum()) > 0.5
    assert all(float(by_length(law)[1:].min()) > 0.01 for law in (own, other))


@locked_targets
@truncations
@pytest.mark.parametrize("shortest", [1, 2])
@pytest.mark.parametrize("cuts", CUTS)
def test_exact_matrix(truncation: Truncation, shortest: int, target: str, locked: bool, cuts: str):
    """Texts below ``min_length`` may be left, never to come back: no such move is made."""
    law, labelled = space(target).probabilities(), by_cut(truncation, shortest, locked, cuts)
    matrix = step_matrix(space(target), labelled, labelled)
    assert float((matrix.sum(dim=1) - 1).abs().max()) < 1e-12
    assert invariance_error(matrix, law) < 1e-12
    assert detailed_balance_error(matrix, law) < 1e-12
    if not truncation.cuts and shortest == 1 and not locked:
        assert float(matrix[:, law > 0].min()) > 0  # the first cut can lead anywhere


def test_without_the_number_of_cuts_the_law_is_missed():
    """The negative control: the ratio of the drawn tokens alone."""
    labelled = by_cut(Truncation())
    forgetful = labelled + (lm().space.lengths(texts()) + 1).double().log().reshape(1, -1, 1)
    matrix = step_matrix(space("nll"), labelled, forgetful)
    assert float((matrix.sum(dim=1) - 1).abs().max()) < 1e-12
    assert invariance_error(matrix, space("nll").probabilities()) > 1e-4
    start = space("nll").sample(CHAINS, generator(1))
    x = end_states(Tabled(Truncation(), cut_factor=False), space("nll"), start, 16)
    assert strain(space("nll").index(x), space("nll").probabilities()) > 1


def test_a_lock_lets_behind_its_last_piece_all_change_and_nothing_before():
    law, chances = space("locked").probabilities(), by_cut(Truncation(), locked=True).exp().sum(dim=0)
    held = law > 0
    behind = ((lock().pieces(texts()) > 0) * torch.arange(1, LONGEST + 1)).amax(dim=1)
    column = torch.arange(LONGEST)
    for index in held.nonzero().squeeze(1).tolist():
        same = ((texts() == texts()[index]) | (column >= behind[index])).all(dim=1)
        assert torch.equal(chances[index] > 0, same)
    assert torch.equal(chances[~held], torch.eye(len(held), dtype=torch.float64)[~held])  # these are kept


def test_a_lock_needs_room():
    with pytest.raises(InvalidInput, match="no room for the keywords"):
        SuffixProposal(lm().condition_on(), max_length=1, lock=Keywords(lm().space, ["green", "red"]))


def test_a_lock_that_is_counted_by_the_old_text_alone_misses_the_law():
    """The negative control: the new text's number of cuts taken for that of the old one."""
    labelled = by_cut(Truncation(), locked=True)
    lengths = lm().space.lengths(texts())
    behind = ((lock().pieces(texts()) > 0) * torch.arange(1, LONGEST + 1)).amax(dim=1)
    forgetful = labelled + (lengths + 1 - behind).double().log().reshape(1, -1, 1)
    matrix = step_matrix(space("locked"), labelled, forgetful)
    assert invariance_error(matrix, space("locked").probabilities()) > 1e-4


@truncations
def test_density_adds_up_to_one_and_is_the_sum_over_cuts(truncation: Truncation):
    proposal, states = Tabled(truncation, shortest=2), texts()
    labelled = by_cut(truncation, 2)
    lengths = lm().space.lengths(states)
    for cut, log_q in enumerate(labelled):
        possible = (lengths >= cut).double() / (lengths + 1)
        assert float((log_q.exp().sum(dim=1) - possible).abs().max()) < 1e-12
    some = states[::13]
    total = torch.stack([proposal.log_prob(states, row.expand(len(states), -1)) for row in some])
    torch.testing.assert_close(total, labelled[:, ::13].logsumexp(dim=0), atol=1e-12, rtol=0)


def test_the_table_is_the_model():
    plain = SuffixProposal(lm().condition_on(), max_length=LONGEST)
    x, y = texts(), texts()[torch.randperm(len(texts()), generator=generator(0))]
    torch.testing.assert_close(plain.cut_log_probs(y, x), Tabled(Truncation()).cut_log_probs(y, x), atol=1e-12, rtol=0)


@truncations
@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("cuts", CUTS)
def test_draws_follow_the_density(truncation: Truncation, locked: bool, cuts: str):
    options = {"max_length": LONGEST, "lock": lock() if locked else None, "cuts": cuts}
    proposal = SuffixProposal(lm().condition_on(), truncation=truncation, **options)
    places = (1, 60, 185) if locked else (2, 200, 700)
    assert not locked or bool(lock().found(texts()[list(places)]).all())
    for place in places:
        start = texts()[place].expand(CHAINS, -1)
        law = proposal.log_prob(texts(), start[: len(texts())]).exp()
        assert strain(space("nll").index(proposal(start, generator(3)).x), law) < 1


@locked_targets
@truncations
@pytest.mark.parametrize("steps", [1, 8])
@pytest.mark.parametrize("cuts", CUTS)
def test_end_states_follow_the_law(truncation: Truncation, steps: int, target: str, locked: bool, cuts: str):
    start = space(target).sample(CHAINS, generator(11))
    options = {"max_length": LONGEST, "lock": lock() if locked else None, "cuts": cuts}
    proposal = SuffixProposal(lm().condition_on(), truncation=truncation, **options)
    x = end_states(proposal, space(target), start, steps)
    assert not torch.equal(x, start)
    law = space(target).probabilities()
    assert strain(space(target).index(x), law) < 1
    assert strain(lm().space.lengths(x), by_length(law)) < 1


@targets
@pytest.mark.parametrize("length", [1, LONGEST])
def test_texts_grow_and_shrink_to_the_due_lengths(length: int, target: str):
    """From one text of the least and of the greatest length: what runs is what the matrix says."""
    steps = 12
    place = int((space(target).energies + 1e9 * (lm().space.lengths(texts()) != length)).argmin())
    labelled = by_cut(Truncation())
    after = torch.linalg.matrix_power(step_matrix(space(target), labelled, labelled), steps)[place]
    x = end_states(Tabled(Truncation()), space(target), texts()[place].expand(CHAINS // 2, -1), steps)
    assert strain(space(target).index(x), after) < 1
    assert strain(lm().space.lengths(x), by_length(after)) < 1
    assert float(by_length(after)[1:].min()) > 0.002


class ByTheOldCuts(Tabled):
    """The new text's law of the cut taken to be that of the old one."""

    def _cut_weights(self, x: Tensor, scores: Tensor | None) -> Tensor:
        if self.old is None:
            self.old = super()._cut_weights(x, scores)
        return self.old

    def __call__(self, x: Tensor, rng: torch.Generator, memory: Tensor | None = None) -> Proposed:
        self.old = None
        return super().__call__(x, rng, memory)


@pytest.mark.parametrize("kind", [Tabled, ByTheOldCuts])
def test_open_cuts_with_the_law_of_the_old_text_alone_miss_the_law(kind: type[Tabled]):
    """The negative control; the first is whole."""
    start = space("nll").sample(2 * CHAINS, generator(1))
    x = end_states(kind(Truncation(), cuts="open"), space("nll"), start, 16)
    assert (strain(space("nll").index(x), space("nll").probabilities()) > 1) == (kind is ByTheOldCuts)


@truncations
def test_open_cuts_add_up_to_one_and_are_never_where_the_end_is_certain(truncation: Truncation):
    labelled = by_cut(truncation, cuts="open")
    assert float((labelled.exp().sum(dim=(0, 2)) - 1).abs().max()) < 1e-10
    longest = lm().space.lengths(texts()) == LONGEST
    assert bool((labelled[LONGEST, longest] == -torch.inf).all())


def test_other_cuts_are_refused():
    with pytest.raises(InvalidInput, match="cuts is 'entropy'; choose 'uniform' or 'open'"):
        SuffixProposal(lm().condition_on(), max_length=LONGEST, cuts="entropy")
