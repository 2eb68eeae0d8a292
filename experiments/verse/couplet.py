"""Chinese couplets of five or seven characters a line, in metre: from words, or as answers to a first line."""

# ruff: noqa: RUF001, RUF002  (full-width marks are Chinese)
from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from experiments.declaration.arguments import Option
from experiments.declaration.wording import argument
from experiments.entry.experiment import experiment
from experiments.laws.grammar import given_grammar, next_tokens
from experiments.setup.common_options import ANNEAL_OR_SAMPLE
from experiments.setup.job import Job
from experiments.setup.kernels import edit_kernel
from experiments.setup.methods import sample_or_search
from experiments.setup.problem import Problem
from experiments.setup.scorers import Given, check_scorer, load_scorer, load_with_task
from experiments.setup.settings import Settings
from experiments.starts.continued import continued_starts
from experiments.starts.written import written_starts

if TYPE_CHECKING:
    from experiments.results.protocol import Run
    from lm_adapters import Seq2SeqLM, TextEnergy, TextSpace

__all__ = ["couplet"]

WORDS, ANSWER = "words_to_sentence", "next_line"  # tasks of the scorer
CHARACTER = "[\u4e00-\u9fff]"
DRAWS, ANEW = 24, 2.0  # whole texts drawn for a chain in a step, and the weight of that move
MARKS = "，。 "


def check(
    settings: Settings, *, words: Sequence[str], first: str | None, seven: bool, scorer: object, **_: object
) -> None:
    """Raise ``InvalidInput`` for nothing to write of, for words or a line that do not fit, and without pypinyin."""
    from experiments.verse.metre import check_sounds
    from samplers import InvalidInput

    if not words and first is None:
        raise InvalidInput(f"there is nothing to write of; give {argument('words')}, or {argument('first')} LINE")
    if first is not None and not re.fullmatch(f"{CHARACTER}{{5}}|{CHARACTER}{{7}}", first.strip(MARKS)):
        raise InvalidInput(f"{argument('first')} {first!r} is no line of five or seven Chinese characters; give one")
    for word in words:
        if not re.fullmatch(f"{CHARACTER}+", word):
            raise InvalidInput(f"{argument('words')}: {word!r} is no Chinese word; give words of Chinese characters")
    room, longest = (2 - (first is not None)) * _size(first, seven), _size(first, seven)
    if sum(map(len, words)) > room or any(len(word) > longest for word in words):
        raise InvalidInput(
            f"{argument('words')} do not fit {room // longest} x {longest} characters; give fewer or shorter ones"
        )
    check_sounds()
    check_scorer(scorer, ANSWER if first else WORDS, settings)


@experiment(check=check, temperature=0.8, chains=6, steps=60, warmup=15, thin=1, model="masked-zh")
def couplet(
    job: Job,
    words: Annotated[
        Sequence[str],
        Option("Words that stand in the couplet, in any order.", metavar="WORD...", energies=["Keywords"]),
    ] = (),
    *,
    first: Annotated[
        str | None, Option("The first line: what is written is the second, with the words.", metavar="LINE")
    ] = None,
    seven: Annotated[
        bool, Option("Characters a line; a first line that is given decides.", names=["--seven/--five"])
    ] = False,
    metre: Annotated[float, Option("Nats for each tone or rhyme out of place.", minimum=0)] = 4.0,
    sampler: Annotated[Literal["mh", "anneal"], ANNEAL_OR_SAMPLE] = "mh",
    scorer: Annotated[
        str | Seq2SeqLM, Option(f"Seq2seq model with the tasks {WORDS} and {ANSWER}, in the tokens of --model.")
    ] = "seq2seq-zh",
) -> Run:
    """A couplet with the given WORDs, or the second line to a first one: 五言 or 七言, in tonal metre.

    The law is ``exp(-(E + metre * M) / temperature)`` among the couplets ``五言，五言。`` (``七言，七言。`` with ``seven``)
    that hold ``words``. ``E`` is ``sentence``, ``-log p(couplet | words)`` by the ``scorer``; ``M`` counts, by today's
    sounds, the second, fourth and sixth characters of a line whose tones do not take turns or are not the opposite of
    the other line's, a second line that ends oblique, and a first one that ends level without the rhyme. With ``first``
    what is drawn is the second line, and ``E`` is ``answer``, ``-log p(second line | first line)``. All are in nats.

    Chains start from what the ``scorer`` writes within the form, and it writes whole couplets on the way; characters
    are replaced one or two at a time.

    Raises ``InvalidInput`` for words or a line that do not fit, for a ``scorer`` without the task or with other tokens
    than ``model``, and where pypinyin is not installed.
    """
    from lm_adapters import Keywords, Matches, Truncation, same_tokens
    from samplers import InvalidInput

    lm, size = job.masked_lm(), _size(first, seven)
    line = None if first is None else f"{first.strip(MARKS)}，"
    given = Given(WORDS, " ".join(words), "sentence", "-log p(couplet | words)")
    if line is not None:
        given = Given(ANSWER, line, "answer", "-log p(second line | first line)")
    asked = load_with_task("scorer", scorer, job.settings, given.task, "another")
    if not same_tokens(asked, lm.space):
        raise InvalidInput(f"{argument('scorer')} has other tokens than {argument('model')}; give two that go together")
    scored = load_scorer(asked, lm, job.settings, given)
    lock = Keywords(lm.space, words, any_order=True) if words else None
    form = f"{CHARACTER}{{{size}}}。" if line else f"{CHARACTER}{{{size}}}，{CHARACTER}{{{size}}}。"
    grammar = given_grammar(form, None, None)
    length = (size + 1,) * 2 if line else (2 * size + 2,) * 2
    following = next_tokens(grammar, lm.space, length, needed=True)
    assert grammar is not None
    assert scored.writer is not None
    constraints = [Matches(lm.space, grammar), *job.constraints(lm, words)]
    law = scored.terms + metre * _metre(lm.space, line or "")
    energy = job.with_custom(lock + law if lock else law, lm.space, constraints)
    drawn: dict[str, Any] = {"min_length": length[0], "max_length": length[1], "following": following}
    temperature = job.settings.law_temperature
    x0 = continued_starts(asked, scored.writer, Truncation(temperature), energy, length, job, following)
    x0 = written_starts(scored.writer, [asked], energy, x0, job, wide=sampler == "anneal", **drawn)
    scored_by = {given.name: job.named("scorer", asked.model)}
    problem = Problem(lm.space, energy, x0, {"model": lm, "scorer": asked}, lengths=length, scored_by=scored_by)
    moves: dict[str, Any] = {"scorer": scored.energy, "informed": scored.writer, "anew": ANEW, "tries": DRAWS}
    kernel = edit_kernel(lm, lock=lock, temperature=temperature, **moves, **drawn)
    return sample_or_search(problem, kernel, sampler, job)


def _size(first: str | None, seven: bool) -> int:
    """Characters a line."""
    return len(first.strip(MARKS)) if first is not None else 7 if seven else 5


def _metre(space: TextSpace, before: str) -> TextEnergy:
    """Tones and rhymes out of place in ``before`` and a text together; what is wrong in ``before`` counts for all."""
    from experiments.verse.metre import rhyme, tones
    from lm_adapters import TextEnergy

    def metre(texts: list[str]) -> list[float]:
        whole = [before + text for text in texts]
        return [a + b for a, b in zip(tones(whole), rhyme(whole), strict=True)]

    return TextEnergy(metre, space.decode, "metre")
