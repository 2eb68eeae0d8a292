"""Translations that must contain given words: a seq2seq model scores, a masked model proposes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Annotated, Any, Literal

from experiments.declaration.arguments import Option
from experiments.declaration.wording import argument
from experiments.entry.experiment import experiment
from experiments.laws.real_words import check_words
from experiments.laws.top_p import check_top_p, given_tokens, said
from experiments.populations.begin import texts_of
from experiments.populations.boosts import boosts
from experiments.populations.draw import draw_by_smc
from experiments.setup.common_options import (
    ANNEAL_SAMPLE_OR_SMC,
    MOVES,
    PARTICLES,
    POPULATIONS,
    PREFIX,
    SOURCE_LANG,
    TARGET_LANG,
    TOP_P,
)
from experiments.setup.job import Job
from experiments.setup.kernels import TRIES, edit_kernel
from experiments.setup.languages import in_words, remark_on_source
from experiments.setup.methods import sample_or_search
from experiments.setup.problem import Problem
from experiments.setup.scorers import (
    Scorer,
    check_nucleus,
    left_to_right,
    load_seq2seq,
    source_prefix,
    spelling,
    translation_pair,
)
from experiments.setup.settings import Settings
from experiments.starts.inside import starts_inside
from experiments.starts.written import written_starts

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.results.protocol import Run
    from lm_adapters import Seq2SeqLM, TextSpace, WordBoost
    from samplers import EnergyTerm

__all__ = ["translate"]

ANEW = 2.0  # weight of whole texts: nearly all that hold the words are accepted
LONGER = 6  # tokens that a state may have more than the model's own translation


def check(settings: Settings, *, must_contain: Sequence[str], top_p: float, **_: object) -> None:
    """Raise ``InvalidInput`` for words that the user's list of words lacks, and a nucleus that cannot be."""
    check_top_p(top_p)
    check_words(settings.word_list, "must_contain", must_contain)


@experiment(check=check)
def translate(
    job: Job,
    text: Annotated[str, Option("What to translate.")],
    *,
    must_contain: Annotated[
        Sequence[str],
        Option(
            "A word or phrase of the translation, as a whole word. Repeatable.", metavar="WORD", energies=["Keywords"]
        ),
    ] = (),
    any_order: Annotated[bool, Option("Of several words.", names=["--any-order/--in-order"])] = True,
    sampler: Annotated[Literal["anneal", "mh", "smc"], ANNEAL_SAMPLE_OR_SMC] = "anneal",
    scorer: Annotated[str | Seq2SeqLM, Option("Seq2seq model.")] = "seq2seq-en",
    source_lang: Annotated[str | None, SOURCE_LANG] = None,
    target_lang: Annotated[str | None, TARGET_LANG] = None,
    prefix: Annotated[str | None, PREFIX] = None,
    particles: Annotated[int, PARTICLES] = 128,
    populations: Annotated[int, POPULATIONS] = 4,
    moves: Annotated[int, MOVES] = 8,
    top_p: Annotated[float, TOP_P] = 1.0,
) -> Run:
    """Translate TEXT with words that must come.

    Translations are likely by ``exp(-E / temperature)``, ``E = -log p(translation | text)``, and contain
    ``must_contain``: words or phrases of the target language, in any order unless ``any_order=False``. Chains start
    from texts that the model draws and that hold the words, or from its own translation (beam search), with each
    missing word put where it costs least. The target side of the ``scorer`` has the tokenizer of ``model``.

    ``source_lang`` and ``target_lang`` are codes of the ``scorer``'s tokenizer (mBART, M2M-100, NLLB), or languages of
    a translation task that its configuration lists.

    Raises ``InvalidInput`` for an empty text, words that cannot be spelled, or models that do not fit each other.
    """
    from lm_adapters import Keywords, ThroughText, check_compatible
    from samplers import InvalidInput

    lm = job.masked_lm()
    lock = Keywords(lm.space, must_contain, any_order=any_order) if must_contain else None
    check_compatible(must_contain, lock.min_length if lock else 0, forbidden=job.settings.forbid)
    seq2seq = load_seq2seq(scorer, job.settings, source_lang, target_lang)
    pair = translation_pair(seq2seq) if prefix is None else seq2seq.languages
    prefix = source_prefix(seq2seq, prefix)
    check_nucleus(seq2seq, lm, top_p)
    reader = seq2seq.condition_on(text, prefix=prefix)
    forward = ThroughText.of(left_to_right(reader, 1.0), lm.space, seq2seq.space, name="translation")
    truncated = left_to_right(reader, top_p, given_tokens(lock) if lock else None)
    own = ThroughText.of(truncated, lm.space, seq2seq.space, name="translation")
    scored = Scorer(own, seq2seq, spelling(own, lm.space))
    translated = seq2seq.translate(text, prefix=prefix)
    own_translation = lm.space.encode([translated])[0].to(lm.device)
    constraints = job.constraints(lm, [text, translated, *must_contain])
    parts = [*([] if lock is None else [lock]), *scored.constraints, own]
    energy = job.with_custom(reduce(add, parts), lm.space, constraints)
    own_nats = float(forward(own_translation.unsqueeze(0))) / (len(own_translation) + 1)
    remark_on_source(seq2seq, pair, text, own_nats, lm)
    start = put_in(must_contain, any_order, own_translation, forward, lm.space, respelt=bool(scored.constraints))
    if len(start) > lm.max_length:
        raise InvalidInput(
            f"the translation has {len(start)} tokens, {argument('model')} takes {lm.max_length}; shorten "
            f"{argument('text')}"
        )
    longest = min(len(start) + LONGER, lm.max_length)
    x0 = start.new_full((job.settings.chains, longest), lm.space.pad_id)
    x0[:, : len(start)] = start
    languages = f" ({in_words(pair[:1])} to {in_words(pair[1:])})" if pair else ""
    model = said(job.named("scorer", seq2seq.model), top_p, given=lock is not None)
    drawn: dict[str, Any] = {"scorer": own, "temperature": job.settings.law_temperature}
    models = {"model": lm, "scorer": seq2seq}
    pulled: Sequence[WordBoost | None] = [None]
    if scored.writer:
        if lock is not None:
            pulled = boosts(reader, lock, own_translation, longest)
            drawn |= {"tries": TRIES, "anew": ANEW}
        drawn |= {"informed": [reader], "boosts": pulled}
        bounds: dict[str, Any] = {"min_length": 1, "max_length": longest, "boosts": pulled}
        x0 = written_starts([reader], [seq2seq], energy, x0, job, wide=sampler == "anneal", **bounds)
    x0 = starts_inside(scored, top_p, energy, x0, job, models, lock)
    scored_by = {"translation": model + languages}
    problem = Problem(lm.space, energy, x0, models, lengths=(1, longest), scored_by=scored_by)
    kernel = edit_kernel(lm, lock=lock, max_length=longest, swap=any_order, **drawn)
    if sampler != "smc":
        return sample_or_search(problem, kernel, sampler, job)
    writer, temperature = reader if scored.writer else None, job.settings.law_temperature
    begun = texts_of(writer, lock, (1, longest), temperature, top_p=top_p, boost=pulled[0])
    return draw_by_smc(problem, begun, kernel, job, particles=particles, populations=populations, moves=moves)


def put_in(
    words: Sequence[str], any_order: bool, x: Tensor, energy: EnergyTerm, space: TextSpace, *, respelt: bool = False
) -> Tensor:
    """``int64 [tokens]``: ``x`` with every word that it lacks put in, each at the slot where the energy is lowest.

    Of all slots only those count after which the most of the words, from the first on, are found. ``respelt``: the
    whole text then gets its canonical tokenisation.
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from lm_adapters import Keywords

    locks = [Keywords(space, words[:count], any_order=any_order) for count in range(1, len(words) + 1)]
    for index, lock in enumerate(locks):
        if bool(lock.found(x.unsqueeze(0))):
            continue
        spellings = [x.new_tensor(spelling) for spelling in lock.spelt[index].spellings]
        texts = [torch.cat([x[:at], tokens, x[at:]]) for tokens in spellings for at in range(len(x) + 1)]
        rows = pad_sequence(texts, batch_first=True, padding_value=space.pad_id)
        if respelt:
            rows = space.encode(space.decode(rows)).to(x.device)
        found = torch.stack([lock.found(rows) for lock in locks]).sum(dim=0)
        rows = rows[found == found.max()]
        best = rows[int(energy(rows).argmin())]
        x = best[space.is_token(best)]
    return x
