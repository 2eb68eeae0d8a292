"""A keyword that is spelt one way at the start of a text and another after a space: the move between the two."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from lm_adapters import EditProposal, KeywordFill, Keywords, TextSpace
from lm_adapters.proposals.respell import RespellProposal
from samplers import EnergyTerm, Kernel, MetropolisHastings, Mixture, named, sample
from samplers.randomness import generator
from samplers.testing import (
    Enumerated,
    check_proposal,
    detailed_balance_error,
    enumerate_states,
    invariance_error,
    proposal_matrix,
    row_result,
    transition_matrix,
)
from samplers.testing.gates import kl_gate, kl_statistic, pool
from tests.lm_adapters import tiny

WIDTH, CHAINS, STEPS = 3, 2**11, 200
PIECES = ("a", "b", ".", "Ġ", "Ġa", "Ġb", "Ġ.")
LOCKS = {"word": ["a"], "two": ["a", "b"], "sign": ["."], "word and sign": ["a", "."]}
locks = pytest.mark.parametrize("words", LOCKS.values(), ids=list(LOCKS))


@cache
def lm() -> tiny.TableLM:
    """Byte pairs as RoBERTa's, of three characters and the space."""
    vocabulary = {name: i for i, name in enumerate([*tiny.BERT_TOKENS[:5], *PIECES])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("Ġ", "a"), ("Ġ", "b"), ("Ġ", ".")], unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = tiny.bert_like(tokenizer, frame=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return tiny.TableLM(tiny.enlarged(tiny.bert(fast, num_hidden_layers=1), 8.0), fast, WIDTH)


@cache
def states() -> Tensor:
    space: TextSpace = lm().space
    ids = torch.tensor(space.tokenizer.convert_tokens_to_ids(list(PIECES)))
    rows = [ids[enumerate_states(len(ids), length)] for length in range(1, WIDTH + 1)]
    return torch.cat([torch.nn.functional.pad(row, (0, WIDTH - row.shape[1]), value=space.pad_id) for row in rows])


@cache
def random_energy() -> EnergyTerm:
    noise = torch.randn(len(states()), dtype=torch.float64, generator=generator(5))
    place = Enumerated(states(), named("none", lambda x: torch.zeros(len(x))))
    return named("random", lambda x: noise[place.index(x)])


def problem(words: list[str]) -> tuple[Keywords, Enumerated, EnergyTerm]:
    lock = Keywords(lm().space, words)
    energy = random_energy() + lock
    return lock, Enumerated(states(), energy), energy


@locks
def test_the_exact_matrix_keeps_the_law(words: list[str]):
    lock, space, _ = problem(words)
    proposal = RespellProposal(lock, max_length=WIDTH)
    assert float((proposal_matrix(proposal, states()).exp().sum(dim=1) - 1).abs().max()) < 1e-12
    matrix, law = transition_matrix(MetropolisHastings(proposal), space), space.probabilities()
    assert invariance_error(matrix, law) < 1e-12
    assert detailed_balance_error(matrix, law) < 1e-12
    assert float(matrix[law > 0].diagonal().min()) < 0.9


def test_draws_follow_the_density():
    """Where every keyword has somewhere to go: a text that is kept is no labelled move."""
    lock, _, _ = problem(["a", "."])
    proposal = RespellProposal(lock, max_length=WIDTH)
    moves = proposal.log_prob(states(), states()) < -20
    found = proposal_matrix(proposal, states()) > -20
    inside = moves & ~(found & ~moves).any(dim=1)
    assert check_proposal(proposal, states()[inside], draws=2**12).passed


def test_length_bounds_are_kept():
    lock, _, _ = problem(["a"])
    x = lm().space.encode(["a"], WIDTH)
    assert RespellProposal(lock, min_length=2, max_length=WIDTH)(x, generator(0)).log_q_reverse.item() == -torch.inf


@locks
def test_with_it_every_text_that_holds_the_words_is_reached(words: list[str]):
    """And without it two keywords of which one is at the start stay there: the negative control."""
    lock, space, energy = problem(words)
    edits = MetropolisHastings(EditProposal(lm(), lock=lock, max_length=WIDTH))
    both = Mixture([(edits, 0.7), (MetropolisHastings(RespellProposal(lock, max_length=WIDTH)), 0.3)])

    def end_follows(kernel: Kernel) -> bool:
        start = lm().space.encode([" ".join(words)] * CHAINS, WIDTH)
        trace = sample(kernel, energy, start, steps=STEPS, warmup=STEPS - 1, seed=3, shard_size=CHAINS, progress=False)
        return row_result("law", "", space.index(trace.draws[:, -1]), space.probabilities(), pooled=True).passed

    assert end_follows(both)
    assert words != LOCKS["two"] or not end_follows(edits)


@locks
def test_whole_texts_with_the_keywords_have_every_spelling(words: list[str]):
    lock, space, _ = problem(words)
    fill = KeywordFill(lm(), lock, min_length=1, max_length=WIDTH)
    density = fill.log_prob(states()).exp()
    assert torch.equal(density > 0, lock.found(states()))
    law = density / density.sum()
    observed = torch.bincount(space.index(fill.draw(2**13, generator(1))), minlength=len(law))
    counts, pooled = pool(observed, law)
    assert kl_statistic(counts, pooled) < kl_gate(len(pooled))
