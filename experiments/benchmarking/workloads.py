"""What is measured. A workload is a function of the models and the size of the problem that returns a ``Task``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from experiments.benchmarking import baselines, floors
from experiments.benchmarking.drawn_texts import draws
from experiments.benchmarking.models import SOURCE, Models
from experiments.benchmarking.pairs import pairs
from experiments.benchmarking.recording import Move
from experiments.benchmarking.task import SHORTEST, STARTS, Size, Task
from experiments.benchmarking.timing import Stage
from experiments.setup.kernels import edit_kernel
from lm_adapters import (
    BlockwiseEnergy,
    GibbsProposal,
    KeywordFill,
    Keywords,
    MaskedEnergy,
    MaskedLM,
    RescoredReplace,
    SequenceEnergy,
    SuffixProposal,
    Truncation,
    fill_masks,
)
from samplers import DelayedAcceptance, Flat, MetropolisHastings, PseudoGibbs
from samplers.randomness import generator

if TYPE_CHECKING:
    from lm_adapters import TextSpace

__all__ = ["WORKLOADS", "Size", "Task"]

WORDS = ("music", "night")
LONG_WORD = 4  # letters that a word of many has, or more: what is locked is seldom written by chance
LONG = 4  # times the length of the other texts
MOVES = 8  # of a step that screens them


def gibbs(models: Models, size: Size) -> Task:
    """Masked-LM Gibbs without an accept step. Floor: a row a chain, the head at its mask."""
    lm = models.masked
    x0 = _filled(lm, size, size.length)
    return Task(
        kernel=PseudoGibbs(GibbsProposal(lm)),
        energy=Flat(),
        x0=x0,
        floor=lambda move: floors.proposing_rows(models.bare_masked, move),
        by_hand=baselines.gibbs(lm, _first(x0, lm.space)),
        models=[lm.model],
        proposer=lm,
        watched=MaskedEnergy(lm, "pll"),
    )


def mh_pll(models: Models, size: Size) -> Task:
    """Metropolis-Hastings on the pseudo-likelihood. Floor: a row a chain, then ``length - 1`` for each new text."""
    lm = models.masked
    energy, x0 = MaskedEnergy(lm, "pll"), _filled(lm, size, size.length)

    def floor(move: Move) -> Iterator[Stage]:
        scored = floors.pseudo_likelihood_rows(models.bare_masked, move, floors.undecided(energy, move))
        return chain(floors.proposing_rows(models.bare_masked, move), scored)

    return Task(
        kernel=MetropolisHastings(GibbsProposal(lm)),
        energy=energy,
        x0=x0,
        floor=floor,
        by_hand=baselines.pll_chain(lm, _first(x0, lm.space)),
        models=[lm.model],
        proposer=lm,
    )


def long_pll(models: Models, size: Size) -> Task:
    """``mh-pll`` on texts of four times the length, as far as the model takes them: a step grows with its square."""
    return mh_pll(models, replace(size, length=min(LONG * size.length, models.masked.max_length)))


def delayed(models: Models, size: Size) -> Task:
    """Eight moves of ``long-pll`` in a step, tried by blocks of sites first.

    Floor: rows for moves and blocks, and for every site of the texts that the first seven moves have changed: whether
    the last one has is not seen.
    """
    plain = long_pll(models, size)
    surrogate, bare, seen = BlockwiseEnergy(models.masked), models.bare_masked, list[Tensor]()

    def floor(move: Move) -> Iterator[Stage]:
        seen.append(move.x)
        yield from floors.proposing_rows(bare, move)
        yield from floors.blockwise_rows(bare, move, floors.undecided(plain.energy, move), surrogate.blocks)
        if len(seen) == MOVES:
            moved = seen[-1][(seen[-1] != seen[0]).any(dim=1)]
            yield from floors.site_rows(bare, moved, bare.lm.space.is_token(moved))
            seen.clear()

    return replace(
        plain,
        kernel=DelayedAcceptance(surrogate, plain.kernel, steps=MOVES),
        floor=floor,
        by_hand=_every(plain.by_hand, MOVES),
    )


def keywords(models: Models, size: Size) -> Task:
    """Edits around locked words, scored by a causal model. Floor: a row a chain, then each new text."""
    return _around(models, size, WORDS)


def locked(models: Models, size: Size) -> Task:
    """``keywords`` with many words: three quarters of the most tokens are locked."""
    space = models.masked.space
    words = [
        word.strip()
        for word in space.after_word([[token] for token in space.proposable.nonzero().squeeze(1).tolist()])
        if word[:1] == " " and word.strip().isalpha() and len(word) > LONG_WORD
    ]
    return _around(models, size, words[: size.length * 3 // 4])


def _around(models: Models, size: Size, words: Sequence[str]) -> Task:
    lm, scorer = models.masked, models.causal
    lengths = (SHORTEST, size.length)
    lock = Keywords(lm.space, words)
    fill = KeywordFill(lm, lock, min_length=lengths[0], max_length=lengths[1])
    energy = lock + SequenceEnergy(scorer.condition_on())
    x0 = _starts(size, partial(fill.draw, rng=generator(0, device=lm.device, stream="starts")))

    def floor(move: Move) -> Iterator[Stage]:
        scored = floors.rescored_texts(models.bare_causal, move, floors.undecided(energy, move))
        return chain(floors.proposing_rows(models.bare_masked, move), scored)

    text = _first(x0, lm.space)
    pieces = lock.pieces(x0[:1])[0, : len(text)].tolist()
    return Task(
        kernel=edit_kernel(lm, lock=lock, min_length=lengths[0], max_length=lengths[1]),
        energy=energy,
        x0=x0,
        floor=floor,
        by_hand=baselines.published_keywords(scorer, text, pieces, lengths, size.k),
        models=[lm.model, scorer.model],
        proposer=lm,
    )


def rescored(models: Models, size: Size) -> Task:
    """Gibbs among the ``k`` likeliest tokens by a causal model. Floor: a row a chain; of the chains whose token is
    among theirs, what stands before the site, and for each other candidate what stands from the site on.
    """
    lm, scorer = models.masked, models.causal
    x0 = _filled(lm, size, size.length, Truncation(top_k=size.k))  # or no token would be on its list

    def floor(move: Move) -> Iterator[Stage]:
        scored = floors.rescored_candidates(models.bare_causal, move)
        return chain(floors.proposing_rows(models.bare_masked, move), scored)

    return Task(
        kernel=RescoredReplace(lm, size.k),
        energy=SequenceEnergy(scorer.condition_on()),
        x0=x0,
        floor=floor,
        by_hand=baselines.rescored(lm, scorer, _first(x0, lm.space), size.k),
        models=[lm.model, scorer.model],
        proposer=lm,
    )


def suffix(models: Models, size: Size) -> Task:
    """Texts redrawn from a random place on by a causal model. Floor: what is before it, then a pass a token drawn."""
    scorer = models.causal
    proposal = SuffixProposal(scorer.condition_on(), min_length=SHORTEST, max_length=size.length)
    rng, lengths = generator(0, device=scorer.device, stream="starts"), (SHORTEST, size.length)

    def draw(count: int) -> Tensor:
        empty = torch.full((count, size.length), scorer.space.pad_id, device=scorer.device)
        return proposal.distribution.redraw(empty, torch.zeros_like(empty[:, 0]), rng, score_end=False).x

    x0 = _starts(size, draw)
    return Task(
        kernel=MetropolisHastings(proposal),
        energy=SequenceEnergy(scorer.condition_on()),
        x0=x0,
        floor=lambda move: floors.drawn_tokens(models.bare_causal, move),
        by_hand=baselines.suffixes(scorer, _first(x0, scorer.space), lengths),
        models=[scorer.model],
    )


def translate(models: Models, size: Size) -> Task:
    """Edits, scored by a seq2seq model whose source is encoded once. Floor: as of ``keywords``, by the decoder."""
    lm, scorer = models.masked, models.seq2seq
    x0 = _filled(lm, size, max(SHORTEST, size.length * 3 // 4))
    energy = SequenceEnergy(scorer.condition_on(SOURCE, models.prefix), name="forward")

    def floor(move: Move) -> Iterator[Stage]:
        scored = floors.rescored_texts(models.bare_seq2seq, move, floors.undecided(energy, move))
        return chain(floors.proposing_rows(models.bare_masked, move), scored)

    source, text = models.bare_seq2seq.source, _first(x0, lm.space)
    return Task(
        kernel=edit_kernel(lm, min_length=SHORTEST, max_length=size.length),
        energy=energy,
        x0=x0,
        floor=floor,
        by_hand=baselines.translations(lm, scorer, source, text, (SHORTEST, size.length)),
        models=[lm.model, scorer.model],
        proposer=lm,
    )


WORKLOADS: Mapping[str, Callable[[Models, Size], Task]] = {
    "gibbs": gibbs,
    "mh-pll": mh_pll,
    "long-pll": long_pll,
    "delayed": delayed,
    "keywords": keywords,
    "locked": locked,
    "rescored": rescored,
    "suffix": suffix,
    "translate": translate,
    "draws": draws,
    "pairs": pairs,
}


def _every(steps: Iterator[Any], count: int) -> Iterator[Any]:
    """The last of each ``count`` steps."""
    while True:
        yield [next(steps) for _ in range(count)][-1]


def _filled(lm: MaskedLM, size: Size, length: int, truncation: Truncation | None = None) -> Tensor:
    """Texts of ``length`` tokens, written by the model from left to right, so that a step meets what is usual."""
    rng = generator(0, device=lm.device, stream="starts")

    def draw(count: int) -> Tensor:
        masks = lm.space.masks([length] * count, size.length).to(lm.device)
        return fill_masks(lm, masks, rng, truncation=truncation)

    return _starts(size, draw)


def _starts(size: Size, draw: Callable[[int], Tensor]) -> Tensor:
    """``int64 [chains, length]``; few are drawn, as they would take longer than what is measured."""
    with torch.inference_mode():
        x = draw(min(size.chains, STARTS))
    return x[torch.arange(size.chains, device=x.device) % len(x)]


def _first(x: Tensor, space: TextSpace) -> list[int]:
    return x[0, : int(space.lengths(x[:1]))].tolist()
