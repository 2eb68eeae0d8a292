"""The mixtures of moves with which texts are sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from experiments.mixing.only_edits import ends_too, without_writing

if TYPE_CHECKING:
    from lm_adapters import (
        Autoregressive,
        GibbsProposal,
        LengthRange,
        Lock,
        MaskedLM,
        NextTokens,
        Seq2SeqLM,
        Template,
        Truncation,
        WordBoost,
    )
    from samplers import Energy, EnergyTerm, Kernel

__all__ = ["TRIES", "edit_kernel", "free_kernel", "in_two_stages", "scanning", "shortlist_kernel"]

BLOCK = 2  # sites that a block move redraws together
REWRITE, SPAN, ANEW = 0.2, 0.1, 0.3  # weights beside edits and blocks, which have 1 together
TRIES = 4  # whole texts drawn for a chain in a step where some lack the words
MANY = 8  # or where most are rejected: models draw many at a time faster
READ_SLOT, SINGLE_SLOT = 1.6, 0.8  # likewise, of whole slots
TOGETHER = 8  # moves that a surrogate judges before the energy is asked
KEEP, LONGEST = 0.1, 3  # words kept of a text, tokens of a span: with more, fewer new texts are accepted


def edit_kernel(
    lm: MaskedLM,
    *,
    lock: Lock | None = None,
    min_length: int = 1,
    max_length: int,
    swap: bool = False,
    scorer: EnergyTerm | None = None,
    writer: Seq2SeqLM | None = None,
    informed: Sequence[Autoregressive] = (),
    boosts: Sequence[WordBoost | None] = (None,),
    keep: float = KEEP,
    anew: float = ANEW,
    tries: int = 1,
    warmer: float = 1.0,
    temperature: float = 1.0,
    following: NextTokens | None = None,
) -> Kernel:
    """Replace, insert or delete one token, or redraw two; with ``swap`` two spans may change places.

    A ``scorer`` that reads from left to right, in the tokens of ``lm``, writes the end of the text anew as well: what
    it scores it also draws, so nearly all of these moves are accepted, however much they change. In a template it
    writes whole slots instead, and ``lm`` those of one token. Keywords that can be spelt in several ways are respelt.

    A ``writer``, a seq2seq model in the tokens of ``lm``, writes whole texts anew around a few of their words, of which
    each is kept with probability ``keep``, and spans from what is on both sides, as far as it has these tasks; in a
    template spans only. ``informed`` models, which have read what is wanted, write whole texts, ``tries`` for a chain
    in a step, with each of the ``boosts`` of what they have not read: where one is the scorer too, nearly all that hold
    the locked words are accepted; ``anew`` is the weight of all. All that is drawn from a model is drawn at the
    ``temperature`` of the law, and whole texts at ``warmer`` times that: where other energies have a say, a chain would
    else stay for long at texts that the model alone finds unlikely. Ends and whole texts are written with what may be
    ``following`` by a grammar, if there is one.
    """
    from lm_adapters import (
        EditProposal,
        GibbsProposal,
        NucleusEnergy,
        SequenceEnergy,
        SuffixProposal,
        SwapProposal,
        Template,
        Truncation,
    )
    from samplers import MetropolisHastings

    if without_writing():
        writer, informed = None, ()
        scorer = scorer if ends_too() else None
    drawn: dict[str, Any] = {"lock": lock, "truncation": Truncation(temperature)}
    bounds: dict[str, Any] = {**drawn, "min_length": min_length, "max_length": max_length}
    parts: list[tuple[Kernel, float]] = [(MetropolisHastings(EditProposal(lm, **bounds)), 0.7 if swap else 0.8)]
    parts.append((MetropolisHastings(GibbsProposal(lm, BLOCK, **drawn)), 0.2))
    if swap:
        parts.append((MetropolisHastings(SwapProposal(lm.space)), 0.1))
    # At another temperature the nucleus that a proposal cuts is not that of the law.
    own = {"truncation": scorer.truncation} if isinstance(scorer, NucleusEnergy) and temperature == 1 else {}
    if isinstance(scorer, SequenceEnergy):
        if isinstance(lock, Template):
            parts += _slots(lm, scorer.model, lock, drawn["truncation"], own)
        else:
            ends = SuffixProposal(scorer.model, following=following, **{**bounds, **own})
            parts.append((MetropolisHastings(ends), 0.4))
    if writer is not None:
        parts += _writing(writer, keep, bounds)
    for each, boost in product(informed, boosts):
        whole = {name: bound for name, bound in bounds.items() if name != "lock"}
        whole["truncation"] = Truncation(warmer * temperature)
        if lock is None and isinstance(scorer, SequenceEnergy) and each is scorer.model and warmer == 1:
            whole |= own
        weight = anew / len(informed) / len(boosts)
        parts.append((_anew(each, tries, following=following, boost=boost, **whole), weight))
    return _mixture([*parts, *_respelling(lock, min_length, max_length)])


def shortlist_kernel(
    lm: MaskedLM,
    *,
    lock: Lock | None = None,
    min_length: int = 1,
    max_length: int,
    shortlist: int,
    temperature: float = 1.0,
) -> Kernel:
    """Replace a token by an exact Gibbs draw among the ``shortlist`` likeliest, or insert or delete one.

    What is inserted is drawn at the ``temperature`` of the law.
    """
    from lm_adapters import EditProposal, RescoredReplace, Truncation
    from samplers import MetropolisHastings

    sizes = EditProposal(
        lm,
        lock=lock,
        min_length=min_length,
        max_length=max_length,
        replace=0.0,
        insert=0.5,
        delete=0.5,
        truncation=Truncation(temperature),
    )
    parts: list[tuple[Kernel, float]] = [(RescoredReplace(lm, shortlist, lock=lock), 0.5)]
    parts.append((MetropolisHastings(sizes), 0.5))
    return _mixture([*parts, *_respelling(lock, min_length, max_length)])


def _slots(
    lm: MaskedLM, reader: Autoregressive, lock: Template, truncation: Truncation, own: Mapping[str, Any]
) -> list[tuple[Kernel, float]]:
    from lm_adapters import SlotProposal
    from samplers import MetropolisHastings

    read = SlotProposal(reader, lock=lock, **{"truncation": truncation, **own})
    parts: list[tuple[Kernel, float]] = [(MetropolisHastings(read), READ_SLOT)]
    if single := [slot for slot, (_, most) in enumerate(lock.slots) if most == 1]:
        seen = SlotProposal(lm, lock=lock, slots=single, truncation=truncation)
        parts.append((MetropolisHastings(seen), SINGLE_SLOT))
    return parts


def _writing(writer: Seq2SeqLM, keep: float, bounds: Mapping[str, Any]) -> list[tuple[Kernel, float]]:
    from lm_adapters import RewriteProposal, SpanProposal, Template, fills_spans, writes_words
    from samplers import MetropolisHastings

    parts: list[tuple[Kernel, float]] = []
    if writes_words(writer) and not isinstance(bounds["lock"], Template):
        parts.append((MetropolisHastings(RewriteProposal(writer, keep=keep, **bounds)), REWRITE))
    if fills_spans(writer):
        parts.append((MetropolisHastings(SpanProposal(writer, longest=LONGEST, **bounds)), SPAN))
    return parts


def _anew(informed: Autoregressive, tries: int, **drawn: Any) -> Kernel:
    """Whole texts; what the law's constraints forbid, such as those without the locked words, is rejected unscored."""
    from lm_adapters import SequenceDistribution
    from samplers import IndependenceSteps

    return IndependenceSteps(SequenceDistribution(informed, **drawn), tries)


def free_kernel(
    redraw: Kernel,
    lm: MaskedLM,
    scorer: EnergyTerm,
    truncation: Truncation,
    ends: Truncation,
    length: LengthRange,
) -> Kernel:
    """A ``scorer`` that reads from left to right in the tokens of ``lm`` writes whole texts and ends anew, beside
    ``redraw``; otherwise edits and ``redraw``.

    ``truncation`` is of the edits, ``ends`` of what the scorer draws: near the law's temperature it draws all that the
    law holds, so that no text keeps a chain for long. ``MANY`` whole texts are drawn for a chain in a step: most are
    rejected, for their ``length``, which is part of the target, or after few rows of the masked model, and those
    accepted owe nothing to the text before.
    """
    from lm_adapters import EditProposal, SequenceEnergy, SuffixProposal
    from samplers import MetropolisHastings, Mixture

    bounds: dict[str, Any] = {"min_length": length.low, "max_length": length.high}
    if without_writing() or not isinstance(scorer, SequenceEnergy):
        return Mixture([(MetropolisHastings(EditProposal(lm, truncation=truncation, **bounds)), 0.5), (redraw, 0.5)])
    whole = _anew(scorer.model, MANY, max_length=length.high, truncation=ends)
    end = MetropolisHastings(SuffixProposal(scorer.model, cuts="open", truncation=ends, **bounds))
    return Mixture([(whole, 0.7), (end, 0.15), (redraw, 0.15)])


def scanning(proposal: GibbsProposal, scan: str, width: int, *, corrected: bool) -> Kernel:
    """One site after the other, or random ones; with the accept step if ``corrected``."""
    from samplers import Cycle, MetropolisHastings, PseudoGibbs

    make = MetropolisHastings if corrected else PseudoGibbs
    if scan == "random":
        return make(proposal)
    return Cycle([make(turn) for turn in proposal.scan(width)])


def in_two_stages(kernel: Kernel, surrogate: Energy) -> Kernel:
    """Several moves of ``kernel`` on the ``surrogate``, accepted together by the energy that is sampled."""
    from samplers import DelayedAcceptance

    return DelayedAcceptance(surrogate, kernel, steps=TOGETHER)


def _respelling(lock: Lock | None, min_length: int, max_length: int) -> list[tuple[Kernel, float]]:
    from lm_adapters import Keywords, RespellProposal
    from samplers import MetropolisHastings

    if not isinstance(lock, Keywords) or all(len(piece.spellings) == 1 for piece in lock.spelt):
        return []
    return [(MetropolisHastings(RespellProposal(lock, min_length=min_length, max_length=max_length)), 0.1)]


def _mixture(parts: list[tuple[Kernel, float]]) -> Kernel:
    from samplers import Mixture

    total = sum(weight for _, weight in parts)
    return Mixture([(kernel, weight / total) for kernel, weight in parts])
