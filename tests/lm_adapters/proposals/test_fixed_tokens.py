"""Every move on texts that hold tokens which are never proposed: exact, and those tokens stay."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from itertools import groupby

import pytest
import torch
from torch import Tensor

from lm_adapters import CausalLM, GibbsProposal, MaskedEnergy, SequenceEnergy, TextSpace
from lm_adapters.locks.base import editable
from lm_adapters.locks.keywords import Keywords
from lm_adapters.models.language_model import LanguageModel
from lm_adapters.proposals.edits import EditProposal
from lm_adapters.proposals.keyword_fill import KeywordFill
from lm_adapters.proposals.shortlist import RescoredReplace
from lm_adapters.proposals.suffix import SuffixProposal
from lm_adapters.proposals.swap import SwapProposal
from samplers import EnergyTerm, Flat, Kernel, MetropolisHastings, Proposal, named, sample
from samplers.kernels.metropolis import log_acceptance
from samplers.randomness import generator
from samplers.testing import Enumerated, detailed_balance_error, enumerate_states, row_result, transition_matrix
from tests.lm_adapters import tiny_causal
from tests.lm_adapters.tiny import TableLM, byte_level, words_lm

WORDS = ("red", "green", "<unused1>", "<unused2>")  # the last two are never proposed
LONGEST = 3
UNDO = (0, 2, 1)  # of a replace, an insert, a delete


@cache
def lm() -> TableLM:
    return words_lm(WORDS, table=LONGEST, seed=3)


@cache
def causal() -> CausalLM:
    return tiny_causal.words_lm(WORDS, seed=1, scale=6.0)


@cache
def texts(model: LanguageModel) -> Tensor:
    ids, empty = torch.tensor(model.space.tokenizer.convert_tokens_to_ids(list(WORDS))), model.space.pad_id
    parts = [ids[enumerate_states(len(WORDS), length)] for length in range(1, LONGEST + 1)]
    return torch.cat([torch.nn.functional.pad(part, (0, LONGEST - part.shape[1]), value=empty) for part in parts])


@cache
def target(model: LanguageModel) -> tuple[Enumerated, EnergyTerm]:
    place = Enumerated(texts(model), Flat())
    noise = 1.5 * torch.randn(len(place), dtype=torch.float64, generator=generator(5))
    energy = named("random", lambda x: noise[place.index(x)])
    return Enumerated(texts(model), energy), energy


def runs_of_fixed(x: Tensor) -> list[list[tuple[int, ...]]]:
    """Of every text its runs of fixed tokens, sorted."""
    fixed = set(x[2:4, 0].tolist())
    parts = [[(kept, tuple(run)) for kept, run in groupby(row, fixed.__contains__)] for row in x.tolist()]
    return [sorted(run for kept, run in row if kept) for row in parts]


def metropolis(energy: Tensor, labels: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """The matrix of moves with log-densities ``[from, to]``, each with that of its reverse."""
    energies = energy.expand(len(energy), -1)
    matrix = torch.zeros_like(energies)
    for there, back in labels:
        accept = log_acceptance(energies.T, energies, there, back.T).clamp(max=0).exp().where(there > -math.inf, 0.0)
        matrix = matrix + there.exp() * accept + torch.diag((there.exp() * (1 - accept)).sum(dim=1))
    return matrix + torch.diag(1 - matrix.sum(dim=1))  # a text without any move stays


def labelled(proposal: Proposal, x: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    """Log-densities ``[from, to]`` of every labelled move, and of its reverse."""
    size = len(x)
    to, old = x.repeat(size, 1), x.repeat_interleave(size, dim=0)
    if isinstance(proposal, GibbsProposal):
        for hidden, block in proposal.blocks(x):
            filled = proposal.block_log_prob(to, old, hidden.repeat_interleave(size, dim=0))
            yield (label := block.unsqueeze(1) + filled.reshape(size, size)), label
    elif isinstance(proposal, EditProposal):
        log_label = proposal.label_log_prob(x)

        def edit(kind: int, at: int) -> Tensor:
            share = log_label[:, kind, at].repeat_interleave(size)
            rows = (share > -math.inf).nonzero().squeeze(1)
            label = (torch.full_like(rows, value) for value in (kind, at))
            share[rows] += proposal.edit_log_prob(to[rows], old[rows], *label)
            return share.reshape(size, size)

        every = {(kind, at): edit(kind, at) for kind in range(3) for at in range(LONGEST)}
        for (kind, at), label in every.items():
            yield label, every[UNDO[kind], at]
    elif isinstance(proposal, SuffixProposal):
        by_cut = torch.stack([proposal.cut_log_probs(x, row.expand(size, -1)) for row in x]).permute(2, 0, 1)
        yield from zip(by_cut, by_cut, strict=True)
    else:
        label = proposal.log_prob(to, old).reshape(size, size)
        yield label, label


PROPOSALS = {
    "one site": lambda: GibbsProposal(lm()),
    "two sites": lambda: GibbsProposal(lm(), 2),
    "edits": lambda: EditProposal(lm(), max_length=LONGEST),
    "edits around a keyword": lambda: EditProposal(lm(), max_length=LONGEST, lock=Keywords(lm().space, ["red"])),
    "suffix": lambda: SuffixProposal(causal().condition_on(), max_length=LONGEST),
    "swap": lambda: SwapProposal(lm().space, 2),
}


@pytest.mark.parametrize("name", [*PROPOSALS, "rescored"])
def test_exact_and_fixed_tokens_stay(name: str):
    x = texts(causal() if name == "suffix" else lm())
    space, energy = target(causal() if name == "suffix" else lm())
    if name == "rescored":
        kernel: Kernel = RescoredReplace(lm(), 2)
        matrix = transition_matrix(kernel, space)
    else:
        kernel = MetropolisHastings(PROPOSALS[name]())
        matrix = metropolis(space.energies, labelled(PROPOSALS[name](), x))
    assert detailed_balance_error(matrix, space.probabilities()) < 1e-12
    assert float(matrix.diag().min()) < 0.9  # it moves
    runs, moves = runs_of_fixed(x), (matrix > 0).nonzero().tolist()
    assert all(runs[old] == runs[new] for old, new in moves)
    assert any(old != new and runs[old] for old, new in moves)  # what stands beside them is changed
    # One step from every text does what the matrix says.
    start = x.repeat_interleave(64, dim=0)
    options = {"steps": 1, "warmup": 0, "shard_size": len(start), "progress": False, "seed": 3}
    end = space.index(sample(kernel, energy, start, **options).draws[:, -1]).split(64)
    assert all(row_result("law", "", rows, matrix[old], pooled=True).passed for old, rows in enumerate(end))


def test_what_may_be_edited_beside_them():
    red, green, one, two = texts(lm())[:4, 0].tolist()
    x = torch.tensor([[red, one, two, green], [one, red, two, lm().space.pad_id]])
    free, slots, found = editable(lm().space, None, x)
    assert free.tolist() == [[True, False, False, True], [False, True, False, False]]
    assert slots.tolist() == [[True, True, False, True, True], [True, True, True, True, False]]
    assert found.all()
    assert lm().space.fixed(lm().space.masks([2, 4])).sum() == 0


def test_keywords_are_never_filled_with_them():
    fill = KeywordFill(lm(), Keywords(lm().space, ["red"]), min_length=2, max_length=3)
    red, green, one, _ = texts(lm())[:4, 0].tolist()
    densities = fill.log_prob(torch.tensor([[red, green, red], [red, one, green], [one, red, lm().space.pad_id]]))
    assert densities[0] > -math.inf
    assert densities[1:].tolist() == [-math.inf, -math.inf]


def test_an_energy_of_them_is_finite():
    assert torch.isfinite(SequenceEnergy(causal().condition_on())(texts(causal()))).all()
    assert torch.isfinite(MaskedEnergy(lm(), "pll")(texts(lm()))).all()


def test_bytes_of_an_emoji_are_fixed_and_a_space_is_not():
    text = TextSpace(byte_level())
    x = text.encode(["a & \U0001f642\tb"])
    names = byte_level().convert_ids_to_tokens(x[0].tolist())
    standing = [name for name, fixed in zip(names, text.fixed(x)[0].tolist(), strict=True) if fixed]
    assert standing == [*"ðŁĻĤ", "ĉ"]
    assert "Ġ" in names
