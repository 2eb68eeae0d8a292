"""Edits over all 780 texts of one to four of five words: exact matrices, laws of end states, and what is wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor

from lm_adapters import MaskedEnergy, TextSpace, Truncation
from lm_adapters.locks.base import Lock, editable, free_sites
from lm_adapters.locks.keywords import Keywords
from lm_adapters.locks.template import Template
from lm_adapters.proposals.edits import DELETE, INSERT, REPLACE, EditProposal
from lm_adapters.word_edges import ENDS, LETTER
from samplers import EnergyTerm, Flat, MetropolisHastings, Proposed, named, sample
from samplers.kernels.metropolis import log_acceptance
from samplers.randomness import categorical, draw_site, generator
from samplers.testing.chains import detailed_balance_error, invariance_error
from samplers.testing.gates import kl_gate, kl_statistic, pool
from samplers.testing.targets import Enumerated, enumerate_states
from tests.lm_adapters.tiny import TableLM, words_lm

WORDS = ("red", "green", "blue", "grey", "pink")
LONGEST = 4
CHAINS = 2**14
UNDO = (REPLACE, DELETE, INSERT)
LOCKS = {
    "free": None,
    "one": (["red"], False),
    "phrase": (["red green"], False),
    "two in order": (["red", "blue"], False),
    "two in any order": (["red", "blue"], True),
    "twice": (["red", "red"], False),
    "twice in any order": (["red", "red"], True),
    "phrase and word": (["green", "red green"], True),
    "whole words": (["red", "blue"], False),
    "fixed slots": "[MASK] red [MASK]",
    "open slots": "[MASK:1-2] red [MASK:1-2]",
}
TRUNCATIONS = {
    "whole": Truncation(),
    "top-k": Truncation(top_k=2),
    "top-p": Truncation(top_p=0.7),
    "all three": Truncation(temperature=0.7, top_k=3, top_p=0.9),
}
MIXES = {
    "even": {},
    "replace": {"replace": 1.0, "insert": 0.0, "delete": 0.0},
    "lengths": {"replace": 0.0, "insert": 0.2, "delete": 0.7},
    "uneven": {"replace": 0.5, "insert": 0.4, "delete": 0.1},
    "2 to 3": {"min_length": 2, "max_length": 3},
}
CASES = [
    *((lock, cut, "even") for lock in LOCKS for cut in ("whole", "all three")),
    *(("two in order", cut, "even") for cut in ("top-k", "top-p")),
    *((lock, "whole", mix) for lock in ("free", "one", "two in any order") for mix in list(MIXES)[1:]),
    ("open slots", "top-k", "uneven"),
]
END_CASES = [
    ("free", "whole", "uneven"),
    ("one", "all three", "even"),
    ("phrase", "whole", "even"),
    ("two in order", "whole", "2 to 3"),
    ("twice in any order", "top-p", "even"),
    ("whole words", "whole", "even"),
    ("open slots", "whole", "even"),
]
every_lock = pytest.mark.parametrize("lock", LOCKS)


@cache
def lm() -> TableLM:
    return words_lm(WORDS, table=LONGEST, seed=2)


@cache
def lock_of(name: str) -> Lock | None:
    given = LOCKS[name]
    if given is None:
        return None
    space = lm().space
    if name == "whole words":  # pink is a piece that goes on with the word before it
        space = TextSpace(space.tokenizer, space.vocabulary)
        pink = torch.arange(space.vocabulary) == space.tokenizer.convert_tokens_to_ids("pink")
        space._edges = torch.stack([torch.where(pink, LETTER, ENDS), torch.full_like(pink, ENDS, dtype=torch.int64)])
        space._edges = space._edges.to(torch.uint8)
    return Template(space, given) if isinstance(given, str) else Keywords(space, *given)


def edits(lock: str, cut: str, mix: str, kind: type[EditProposal] = EditProposal) -> EditProposal:
    options = {"max_length": LONGEST, **MIXES[mix]}
    return kind(lm(), lock=lock_of(lock), truncation=TRUNCATIONS[cut], **options)


@cache
def texts() -> Tensor:
    words = lm().space.encode([" ".join(WORDS)])[0]
    rows = [words[enumerate_states(len(WORDS), length)] for length in range(1, LONGEST + 1)]
    return torch.cat(
        [torch.nn.functional.pad(row, (0, LONGEST - row.shape[1]), value=lm().space.pad_id) for row in rows]
    )


@cache
def energy_of(lock: str, kind: str) -> EnergyTerm:
    if kind == "pll":
        energy = 0.4 * MaskedEnergy(lm(), "pll")  # no single text has most of the mass then
    else:
        place = Enumerated(texts(), Flat())
        values = 1.5 * torch.randn(len(texts()), dtype=torch.float64, generator=generator(5))
        energy = named("random", lambda x: values[place.index(x)])
    return energy if lock == "free" else energy + lock_of(lock)


@cache
def target(lock: str, kind: str) -> Enumerated:
    return Enumerated(texts(), energy_of(lock, kind))


@cache
def law_of(lock: str, kind: str, mix: str = "even") -> Tensor:
    """``float64 [texts]``: the target on the lengths that the mix allows."""
    length = lm().space.lengths(texts())
    options = MIXES[mix]
    allowed = (length >= options.get("min_length", 1)) & (length <= options.get("max_length", LONGEST))
    law = target(lock, kind).probabilities() * allowed
    return law / law.sum()


@dataclass
class Moves:
    """Every edit of every text, one a row: places of both texts in ``texts()``, kind and column."""

    old: Tensor
    new: Tensor
    kind: Tensor
    at: Tensor


@cache
def moves() -> Moves:
    """Written with lists of words, to owe nothing to the code under test."""
    words = texts()[: len(WORDS), 0].tolist()
    rows = [[token for token in row if token != lm().space.pad_id] for row in texts().tolist()]
    place = {tuple(row): index for index, row in enumerate(rows)}
    found = []
    for old, row in enumerate(rows):
        for at in range(len(row) + 1):
            edited = [(INSERT, [*row[:at], word, *row[at:]]) for word in words]
            if at < len(row):
                edited += [(REPLACE, [*row[:at], word, *row[at + 1 :]]) for word in words]
                edited += [(DELETE, [*row[:at], *row[at + 1 :]])]
            found += [(old, place[tuple(new)], kind, at) for kind, new in edited if tuple(new) in place]
    return Moves(*torch.tensor(found).T)


@dataclass
class Ratios:
    """Of every labelled move its log-density, that of the move back, and places to choose from here and there."""

    there: Tensor
    back: Tensor
    places_there: Tensor
    places_back: Tensor


def ratios(proposal: EditProposal) -> Ratios:
    m, x = moves(), texts()
    undo = torch.tensor(UNDO)[m.kind]
    shares = proposal.label_log_prob(x)
    places = (shares > -math.inf).sum(dim=2)
    there = shares[m.old, m.kind, m.at] + proposal.edit_log_prob(x[m.new], x[m.old], m.kind, m.at)
    back = shares[m.new, undo, m.at] + proposal.edit_log_prob(x[m.old], x[m.new], undo, m.at)
    return Ratios(there, back, places[m.old, m.kind], places[m.new, undo])


def transition(log_q: Tensor, log_ratio: Tensor) -> Tensor:
    """``float64 [from, to]`` over ``texts()``, label by label; a text without any move stays."""
    m, size = moves(), len(texts())
    q = log_q.exp()
    taken = q * log_ratio.clamp(max=0).exp()
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix.index_put_((m.old, m.new), taken, accumulate=True)
    matrix.index_put_((m.old, m.old), q - taken, accumulate=True)
    out = torch.zeros(size, dtype=torch.float64).index_add_(0, m.old, q)
    return matrix + torch.diag((out == 0).double())


def exact_matrix(r: Ratios, lock: str, kind: str) -> Tensor:
    m, energies = moves(), target(lock, kind).energies
    return transition(r.there, log_acceptance(energies[m.old], energies[m.new], r.there, r.back))


def starts(law: Tensor, chains: int = CHAINS) -> Tensor:
    return texts()[categorical(law.log().expand(chains, -1), generator(11))]


def end_states(proposal: EditProposal, energy: EnergyTerm, start: Tensor, steps: int) -> Tensor:
    trace = sample(
        MetropolisHastings(proposal),
        energy,
        start,
        steps=steps,
        seed=0,
        warmup=steps - 1,
        shard_size=len(start),
        progress=False,
    )
    return trace.draws[:, -1]


def strain(observed: Tensor, law: Tensor) -> float:
    """``n * KL`` of counts to their law over its gate: above 1 is a rejection."""
    counts, law = pool(observed, law)
    return kl_statistic(counts, law) / kl_gate(int((law > 0).sum()))


def strains(x: Tensor, law: Tensor) -> tuple[float, float]:
    """Of the texts, and of their lengths."""
    space = lm().space
    counts = target("free", "pll").index(x).bincount(minlength=len(law))
    by_length = torch.zeros(LONGEST + 1, dtype=torch.float64).index_add_(0, space.lengths(texts()), law)
    return strain(counts, law), strain(space.lengths(x).bincount(minlength=LONGEST + 1), by_length)


def test_the_space():
    assert len(texts()) == 780
    laws = [law_of("free", kind) for kind in ("pll", "random")]
    assert 0.5 * float((laws[0] - laws[1]).abs().sum()) > 0.2
    m = moves()
    assert len(torch.stack([m.old, m.new, m.kind, m.at]).T.unique(dim=0)) == len(m.old)
    # A move and its undoing are both on the list.
    there = {(a, b, k, at) for a, b, k, at in zip(*(v.tolist() for v in (m.old, m.new, m.kind, m.at)), strict=True)}
    assert {(b, a, UNDO[k], at) for a, b, k, at in there} == there


@pytest.mark.parametrize(("lock", "cut", "mix"), CASES)
def test_exact_matrix(lock: str, cut: str, mix: str):
    r = ratios(edits(lock, cut, mix))
    within = (law_of(lock, "pll", mix) > 0)[moves().old] & (r.there > -math.inf)
    assert bool((r.back[within] == -math.inf).any()) == (cut != "whole" or lock != "free")
    for kind in ("pll", "random"):
        law, matrix = law_of(lock, kind, mix), exact_matrix(r, lock, kind)
        assert float((matrix.sum(dim=1) - 1).abs().max()) < 1e-12
        assert invariance_error(matrix, law) < 1e-12
        assert detailed_balance_error(matrix, law) < 1e-12


@every_lock
def test_every_locked_text_reaches_every_other(lock: str):
    """Keywords in any order keep the order of those that are locked: one class for each."""
    held = law_of(lock, "pll") > 0
    matrix = exact_matrix(ratios(edits(lock, "whole", "even")), lock, "pll")[held][:, held]
    reach, before = (matrix > 0).float(), None
    while before is None or not torch.equal(reach, before):
        reach, before = (reach @ reach > 0).float(), reach
    if lock == "whole words":
        assert int(held.sum()) < int((law_of("two in order", "pll") > 0).sum())
    assert len(reach.unique(dim=0)) == (2 if lock in ("two in any order", "phrase and word") else 1)
    assert float(matrix.diagonal().max()) > 0  # hence aperiodic


@pytest.mark.parametrize(("lock", "cut", "mix"), END_CASES)
def test_what_runs_is_what_was_proved(lock: str, cut: str, mix: str):
    """The densities told with a draw are those of a labelled move that made it, and the draws follow them."""
    proposal, law = edits(lock, cut, mix), law_of(lock, "pll", mix)
    x = starts(law, 4096)
    proposed = proposal(x, generator(3))
    new, kind = proposed.x, proposed.move
    shares, shares_back = proposal.label_log_prob(x), proposal.label_log_prob(new)
    stuck = (shares == -math.inf).flatten(1).all(dim=1)
    slip = torch.full((len(x),), math.inf, dtype=torch.float64).masked_fill(stuck, 0.0)
    for column in range(LONGEST):
        rows = (shares[torch.arange(len(x)), kind, column] > -math.inf).nonzero().squeeze(1)
        made, undo, at = kind[rows], torch.tensor(UNDO)[kind[rows]], torch.full_like(rows, column)
        there = shares[rows, made, at] + proposal.edit_log_prob(new[rows], x[rows], made, at)
        back = shares_back[rows, undo, at] + proposal.edit_log_prob(x[rows], new[rows], undo, at)
        told = proposed.log_q_forward[rows], proposed.log_q_reverse[rows]
        errors = [(a - b).abs().where(a != b, 0.0) for a, b in zip(told, (there, back), strict=True)]
        slip[rows] = torch.minimum(slip[rows], torch.maximum(*errors))
    assert float(slip.max()) < 1e-12
    assert bool((proposed.log_q_reverse[stuck] == -math.inf).all())
    matrix = exact_matrix(ratios(proposal), lock, "pll")
    index = target("free", "pll").index
    for place in law.topk(3).indices.tolist():
        after = end_states(proposal, energy_of(lock, "pll"), texts()[place].repeat(CHAINS, 1), 1)
        assert strain(index(after).bincount(minlength=len(law)), matrix[place]) < 1


@pytest.mark.parametrize(("lock", "cut", "mix"), END_CASES)
def test_end_states_follow_the_law(lock: str, cut: str, mix: str):
    law = law_of(lock, "pll", mix)
    x = end_states(edits(lock, cut, mix), energy_of(lock, "pll"), starts(law), 8)
    assert not torch.equal(x, starts(law))
    assert max(strains(x, law)) < 1


@pytest.mark.parametrize("lock", ["free", "one", "two in order", "open slots"])
def test_the_density_of_all_labels_together(lock: str):
    """``log_prob`` adds up to 1 over all texts, and is the sum over the list of moves."""
    proposal, size = edits(lock, "all three", "even"), len(texts())
    m, r = moves(), ratios(proposal)
    listed = torch.zeros(size, size, dtype=torch.float64).index_put_((m.old, m.new), r.there.exp(), accumulate=True)
    some = torch.arange(0, size, 29)
    to, old = texts().repeat(len(some), 1), texts()[some].repeat_interleave(size, dim=0)
    q = proposal.log_prob(to, old).exp().reshape(len(some), size)
    assert float((q.sum(dim=1) - 1).abs().max()) < 1e-12
    moving = listed[some].sum(dim=1) > 0
    assert float((q - listed[some])[moving].abs().max()) < 1e-12
    assert torch.equal(q[~moving], torch.eye(size, dtype=torch.float64)[some[~moving]])


def places(proposal: EditProposal, x: Tensor, kind: Tensor) -> Tensor:
    """Counted from the lock itself: free sites, or slots."""
    free, slots = (sites.sum(dim=1) for sites in editable(lm().space, proposal.lock, x)[:2])
    return torch.where(kind == INSERT, slots, free).double()


class WithoutPlaces(EditProposal):
    """The published scheme: the number of free sites and slots is left out of the ratio."""

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        p = super().__call__(x, rng)
        there = p.log_q_forward + places(self, x, p.move).log()
        back = p.log_q_reverse + places(self, p.x, torch.tensor(UNDO)[p.move]).log()
        return Proposed(p.x, there, back, p.move, p.hint)


@pytest.mark.parametrize(("lock", "pieces"), [("free", 0), ("one", 1), ("two in order", 2), ("twice", 2)])
def test_without_places_another_law_is_left_invariant(lock: str, pieces: int):
    """``rho / C(free + pieces, pieces)``, as the ratio of slots to free sites makes it; the same without locks."""
    m, energies, r = moves(), target(lock, "pll").energies, ratios(edits(lock, "whole", "even"))
    there, back = r.there + r.places_there.double().log(), r.back + r.places_back.double().log()
    matrix = transition(r.there, log_acceptance(energies[m.old], energies[m.new], there, back))
    law = law_of(lock, "pll")
    free = free_sites(lm().space, lock_of(lock), texts()).sum(dim=1).tolist()
    skewed = law / torch.tensor([math.comb(n + pieces, pieces) for n in free], dtype=torch.float64)
    skewed /= skewed.sum()
    assert invariance_error(matrix, skewed) < 1e-12
    assert detailed_balance_error(matrix, skewed) < 1e-12
    assert (invariance_error(matrix, law) > 1e-3) == (pieces > 0)


@pytest.mark.parametrize("lock", ["one", "two in order", "twice in any order"])
def test_without_places_the_gate_closes(lock: str):
    law = law_of(lock, "pll")
    x = end_states(edits(lock, "whole", "even", WithoutPlaces), energy_of(lock, "pll"), starts(law), 8)
    of_texts, of_lengths = strains(x, law)
    assert of_texts > 3
    assert of_lengths > 3


class ForcedToken(EditProposal):
    """The published list: the current token is on it whatever its rank, and the new text's list is not asked."""

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        at = draw_site(lm().space.is_token(x), rng).unsqueeze(1)
        hidden = torch.zeros_like(x, dtype=torch.bool).scatter(1, at, True)
        logits, old = lm().logits(x, hidden), x.gather(1, at)
        kept = (self.truncation.log_prob(logits, lm().allowed) > -math.inf).scatter(1, old, True)
        log_prob = logits.double().masked_fill(~kept, -math.inf).log_softmax(dim=1)
        drawn = categorical(log_prob, rng).unsqueeze(1)
        there, back = (log_prob.gather(1, token).squeeze(1) for token in (drawn, old))
        return Proposed(x.scatter(1, at, drawn), there, back)


@pytest.mark.parametrize("forced", [False, True])
def test_with_a_forced_token_the_gate_closes(forced: bool):
    law = law_of("free", "pll")
    proposal = edits("free", "top-k", "replace", ForcedToken if forced else EditProposal)
    of_texts, _ = strains(end_states(proposal, energy_of("free", "pll"), starts(law), 8), law)
    assert of_texts > 3 if forced else of_texts < 1
