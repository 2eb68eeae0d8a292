"""Sentences that hold given words: the same target by seven samplers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from experiments.choosing.keyword_choice import check_choice, keywords_of
from experiments.declaration.arguments import Option
from experiments.declaration.wording import argument
from experiments.entry.experiment import experiment
from experiments.laws.fluency import NO_FLUENCY, check_fluency, load_fluency, partner_of
from experiments.laws.grammar import given_grammar, next_tokens
from experiments.laws.real_words import check_words
from experiments.laws.top_p import check_top_p, given_tokens, in_nucleus, said, start_truncation
from experiments.populations.begin import filled_by, texts_of, whole_texts
from experiments.populations.draw import draw_by_smc
from experiments.populations.informed import NONE, beside_scorer, check_writer, load_writer
from experiments.setup.common_options import (
    GRAMMAR,
    JSON_SCHEMA,
    LENGTH,
    MOVES,
    PARTICLES,
    PATTERN,
    POPULATIONS,
    SENTENCE_SCORER,
    SHORTLIST,
    TOP_P,
    WORDS,
)
from experiments.setup.job import Job
from experiments.setup.kernels import edit_kernel, shortlist_kernel
from experiments.setup.languages import remark_on_spelling
from experiments.setup.methods import draw_by_importance, draw_by_rejection, sample_or_search
from experiments.setup.problem import Problem
from experiments.setup.scorers import Given, Scorer, check_scorer, load_scorer
from experiments.setup.settings import Settings
from experiments.setup.sources import check_length
from experiments.starts.continued import continued_starts
from experiments.starts.fill import keyword_starts
from experiments.starts.written import written_starts

if TYPE_CHECKING:
    from experiments.results.protocol import Run
    from lm_adapters import CausalLM, Keywords, MaskedLM, NextTokens, Seq2SeqLM, SequenceDistribution
    from samplers import Kernel

__all__ = ["SAMPLERS", "keywords", "scorer_as_proposal"]

SAMPLERS = ("mh", "gibbs", "anneal", "tempered", "rejection", "importance")  # that ``compare`` runs
TASK = "words_to_sentence"  # of a seq2seq scorer
TEMPERATURE = 0.8  # near 1 half of the texts make no sense, colder ones repeat the same few mistakes
WRITERS = {"causal-en": "seq2seq-en", "causal-zh": "seq2seq-zh"}  # models that write beside a scorer by default
SENTENCE, FLUENCY = 0.65, 0.35  # weights beside each other: with more fluency fewer whole texts are accepted
ANEW, DRAWS = 2.0, 24  # weight of whole texts, and how many are drawn for a chain in a step
SEARCHED = 8  # likewise in a search: of 20, one with 24 and 150 steps found a better text, another one a worse
WARMER = 1.1  # than the law whole texts are drawn beside a second scorer: at 1.25 chains stay long at unlikely ones
TRIES = 10  # texts drawn for each chain to start from one of them
PATH = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0)  # the rungs of the tempered sampler, before they are placed
SHORT_PATH = (0.5, 1.0)  # where what is drawn follows the law nearly


def check(
    settings: Settings,
    *,
    words: Sequence[str],
    keywords_from: str | None,
    keep: int,
    top_p: float,
    pattern: str | None,
    grammar: str | None,
    json_schema: str | None,
    sampler: str,
    scorer: object,
    fluency: object,
    writer: object,
    **_: object,
) -> None:
    """Raise ``InvalidInput`` for no words or ones that the user's list lacks, a nucleus or grammar that cannot be.

    For a scorer that cannot write texts with given words, too.
    """
    from samplers import InvalidInput

    given_grammar(pattern, grammar, json_schema)
    check_choice(words, keywords_from, keep)
    if sampler == "rejection" and fluency not in (None, NO_FLUENCY):
        raise InvalidInput(
            f"{argument('fluency')} has no meaning for {argument('sampler')} rejection, which draws from the scorer "
            "alone; leave it out"
        )
    check_top_p(top_p)
    check_words(settings.word_list, "words", words)
    check_scorer(scorer, TASK, settings)
    check_fluency(fluency, scorer, settings)
    check_writer(writer, scorer, settings, TASK)


@experiment(check=check, temperature=TEMPERATURE, search_steps=40, chains=6, steps=150, warmup=20, thin=1)
def keywords(
    job: Job,
    words: Annotated[Sequence[str], WORDS] = (),
    *,
    keywords_from: Annotated[
        str | None,
        Option("In place of WORDs: the words of this text from which the scorer predicts it best.", metavar="TEXT"),
    ] = None,
    keep: Annotated[int, Option("Of --keywords-from: how many words.", minimum=1)] = 2,
    any_order: Annotated[bool, Option("The words may come in any order.")] = False,
    sampler: Annotated[
        Literal["mh", "gibbs", "anneal", "tempered", "smc", "rejection", "importance"],
        Option(
            "mh, gibbs: Markov chains. tempered: with replicas on the way to a law that can be drawn from. smc: "
            "populations, which also give log Z. anneal: search for the lowest energy. rejection, importance: draw "
            "whole texts."
        ),
    ] = "mh",
    scorer: Annotated[str | CausalLM | MaskedLM | Seq2SeqLM, SENTENCE_SCORER] = "seq2seq-en",
    fluency: Annotated[
        str | CausalLM | None,
        Option(
            "Causal model that scores the texts beside a seq2seq --scorer; none: the scorer alone.  "
            "[default: causal-en beside seq2seq-en, causal-zh beside seq2seq-zh, none beside another scorer, with "
            "--top-p, and with --sampler rejection]"
        ),
    ] = None,
    writer: Annotated[
        str | Seq2SeqLM | None,
        Option(
            "Seq2seq model that has read the words and proposes whole texts beside a causal --scorer, whose law stays "
            "as it is.  [default: seq2seq-en beside causal-en, seq2seq-zh beside causal-zh, none beside another "
            "scorer, with --top-p, and with --sampler rejection]"
        ),
    ] = None,
    length: Annotated[tuple[int, int], LENGTH] = (3, 16),
    shortlist: Annotated[int, SHORTLIST] = 64,
    particles: Annotated[int, PARTICLES] = 128,
    populations: Annotated[int, POPULATIONS] = 4,
    moves: Annotated[int, MOVES] = 8,
    top_p: Annotated[float, TOP_P] = 1.0,
    pattern: Annotated[str | None, PATTERN] = None,
    grammar: Annotated[str | None, GRAMMAR] = None,
    json_schema: Annotated[str | None, JSON_SCHEMA] = None,
) -> Run:
    """Sentences that contain the given WORDs (or quoted phrases), likely under a language model.
    Whole words: "ladder" is not in "ladders", "ladder's" or "ladder-like".

    The law is ``exp(-E / temperature)`` among the texts that contain ``words`` and have a ``length`` in tokens within
    bounds. ``E`` is ``fluency``, ``-log p`` of the text under a causal or masked ``scorer``; or ``sentence``,
    ``-log p`` of the text given the words, as a seq2seq ``scorer`` has it that was trained to write sentences with
    given words, by default beside the ``fluency`` under a causal model: ``0.65 sentence + 0.35 fluency``.
    All are in nats. A word given twice must come twice. With ``keywords_from`` the words are ``keep`` of
    that text, chosen one after the other: each makes the text likeliest given all so far, as such a ``scorer`` has it.
    With a ``scorer`` of another tokenizer than
    ``model`` each text counts once, in the tokens that ``model`` writes it in. With a ``pattern``, a ``grammar`` or a
    ``json_schema`` the whole text matches that too.

    Raises ``InvalidInput`` for words that the tokenizer cannot spell or that do not fit, before a scorer is loaded.
    """
    from lm_adapters import KeywordFill, Keywords, Matches, Seq2SeqLM, Truncation, check_compatible
    from samplers import PathTempered

    lm = job.masked_lm()
    check_length(length, lm)
    if keywords_from is not None:
        words, scorer = keywords_of(job, keywords_from, keep, scorer)
    lock = Keywords(lm.space, words, any_order=any_order)
    check_compatible(words, lock.min_length, forbidden=job.settings.forbid, max_length=length[1])
    matched = given_grammar(pattern, grammar, json_schema)
    following = next_tokens(matched, lm.space, length)
    bounds: dict[str, Any] = {"min_length": length[0], "max_length": length[1]}
    temperature = job.settings.law_temperature
    given = given_words(words)
    scored = load_scorer(scorer, lm, job.settings, given, top_p=top_p, exempt=given_tokens(lock))
    informed = scored.writer if isinstance(scored.lm, Seq2SeqLM) else None  # writes texts that hold the words, mostly
    models: dict[str, Any] = {"scorer": scored.lm}
    if writer is None and isinstance(scorer, str) and scored.writer and top_p == 1 and sampler != "rejection":
        writer = WRITERS.get(scorer)
    if writer not in (None, NONE):
        written = load_writer(writer, scored, lm, job.settings, given)
        informed, models["writer"] = beside_scorer(scored, written), written.lm
    if fluency is None and top_p == 1 and sampler != "rejection":
        fluency = partner_of(scorer)
    beside = load_fluency(fluency, scored, lm, job.settings)
    constraints = [*job.constraints(lm, words, new=True), *([Matches(lm.space, matched)] if matched else [])]
    kept = [*scored.constraints, *constraints, *in_nucleus(scored.energy, top_p)]
    fill = KeywordFill(lm, lock, constraints=kept, truncation=start_truncation(top_p), following=following, **bounds)
    scored_by = {scored.energy.name: said(job.named("scorer", scored.model), top_p)}
    law = lock + scored.terms
    if beside is not None:
        models["fluency"], law = beside.lm, lock + scored.weighted(SENTENCE) + FLUENCY * beside.energy
        scored_by[beside.energy.name] = job.named("fluency", beside.model) if job.config["fluency"] else str(fluency)
    energy = job.with_custom(law, lm.space, constraints)
    tries = 1 if informed or sampler in ("rejection", "importance", "smc") else TRIES
    if informed and following and isinstance(scored.lm, Seq2SeqLM):
        x0 = continued_starts(scored.lm, informed, Truncation(temperature), energy, length, job, following)
    else:
        x0 = keyword_starts(fill, models.values(), energy, job, tries=tries)
    if informed:
        wide = sampler == "anneal"
        x0 = written_starts([informed], models.values(), energy, x0, job, wide=wide, following=following, **bounds)
    remark_on_spelling(words, lm)
    problem = Problem(lm.space, energy, x0, {"model": lm, **models}, lengths=length, scored_by=scored_by)
    if sampler == "importance":
        proposal = whole_texts(informed, length, temperature, following) if informed else fill
        return draw_by_importance(problem, proposal, job)
    if sampler == "rejection":
        exact = scorer_as_proposal(scored, lm, lock, length, temperature, following)
        # The law divides the chance of each token, and of the end, by the mass of its nucleus.
        log_bound = -(length[1] + 1) * math.log(top_p) / temperature
        return draw_by_rejection(problem, exact, job, log_bound=log_bound)
    kernel: Kernel
    if sampler == "gibbs":
        kernel = shortlist_kernel(lm, lock=lock, shortlist=shortlist, temperature=temperature, **bounds)
    else:
        drawn: dict[str, Any] = {"scorer": scored.energy, "temperature": temperature, "following": following}
        if informed:
            drawn |= {
                "informed": [informed],
                "writer": scored.lm if isinstance(scored.lm, Seq2SeqLM) else None,
                "anew": ANEW,
                "tries": {"smc": 1, "anneal": SEARCHED}.get(sampler, DRAWS),
            }
            drawn["warmer"] = WARMER if beside else 1.0
        kernel = edit_kernel(lm, lock=lock, swap=any_order, **drawn, **bounds)
    if sampler not in ("smc", "tempered"):
        return sample_or_search(problem, kernel, sampler, job)
    if informed:
        begun: Any = texts_of(informed, lock, length, temperature, following)
    else:
        begun = filled_by(scored, fill, temperature)
    if sampler == "smc":
        return draw_by_smc(problem, begun, kernel, job, particles=particles, populations=populations, moves=moves)
    tempered = PathTempered(kernel, begun, SHORT_PATH if informed else PATH, tune=job.settings.warmup_and_thin[0])
    return sample_or_search(problem, tempered, sampler, job)


def given_words(words: Sequence[str]) -> Given:
    """What a seq2seq scorer reads: the words in the order given."""
    return Given(TASK, " ".join(word.strip() for word in words), "sentence", "-log p(text | words)")


def scorer_as_proposal(
    scored: Scorer,
    lm: MaskedLM,
    lock: Keywords,
    length: tuple[int, int],
    temperature: float = 1.0,
    following: NextTokens | None = None,
) -> SequenceDistribution:
    """What the scorer draws it scores with the same density or less, so the bound of rejection sampling is 0.

    At a ``temperature`` ``T <= 1`` as well: a token is drawn with ``p^(1/T) / sum p^(1/T)``, whose sum is at most 1; a
    sum over what may be ``following`` is smaller still.

    Raises ``InvalidInput`` for a scorer that cannot draw the texts of ``lm``, and for words that it never draws.
    """
    from samplers import InvalidInput

    if scored.writer is None:
        raise InvalidInput(
            f"{argument('sampler')} rejection draws from the scorer: give a causal one or a seq2seq one with the "
            f"tokenizer of {argument('model')}"
        )
    for word, piece in zip(lock.words, lock.spelt, strict=True):
        if not all(bool(scored.writer.allowed[list(spelling)].all()) for spelling in piece.spellings):
            raise InvalidInput(
                f"{argument('sampler')} rejection draws tokens that are text by themselves, and {word!r} is spelt with "
                "pieces of characters; use another sampler"
            )
    if scored.model is not None and (dtype := scored.model.dtype).itemsize < 4:
        raise InvalidInput(
            f"the bound of rejection does not hold in {str(dtype).removeprefix('torch.')}: texts are scored with other "
            f"densities than they were drawn with; give {argument('dtype')} float32"
        )
    return whole_texts(scored.writer, length, temperature, following)
