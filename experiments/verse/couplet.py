"""Chinese couplets of five or seven characters a line, in metre: from words, or as answers to a first line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from experiments.declaration.arguments import Option
from experiments.declaration.wording import argument
from experiments.entry.experiment import experiment
from experiments.laws.fluency import check_fluency, load_fluency, partner_of
from experiments.laws.grammar import next_tokens
from experiments.setup.common_options import ANNEAL_OR_SAMPLE
from experiments.setup.job import Job
from experiments.setup.kernels import edit_kernel
from experiments.setup.methods import sample_or_search
from experiments.setup.problem import Problem
from experiments.setup.scorers import Given, check_scorer, load_scorer, load_with_task
from experiments.setup.settings import Settings
from experiments.starts.fill import template_starts
from experiments.starts.written import written_starts
from experiments.verse.form import Form, is_chinese

if TYPE_CHECKING:
    from experiments.results.protocol import Run
    from lm_adapters import CausalLM, Seq2SeqLM, Template, TextEnergy, TextSpace

__all__ = ["couplet"]

WORDS, ANSWER = "words_to_sentence", "next_line"  # tasks of the scorer
FITTING, FLUENCY = 0.4, 0.6  # weights beside each other: with less fluency lines repeat the words that are given
DRAWS, ANEW = 8, 2.0  # whole texts drawn for a chain in a step, and the weight of that move


def check(
    settings: Settings,
    *,
    words: Sequence[str],
    first: str | None,
    seven: bool,
    scorer: object,
    fluency: object,
    **_: object,
) -> None:
    """Raise ``InvalidInput`` for nothing to write of, for words or a line that do not fit, and without pypinyin."""
    from experiments.verse.metre import check_sounds
    from samplers import InvalidInput

    if not words and first is None:
        raise InvalidInput(f"there is nothing to write of; give {argument('words')}, or {argument('first')} LINE")
    try:
        form = _form(first, seven)
    except ValueError as error:
        raise InvalidInput(f"{argument('first')} {error}; give one") from error
    for word in words:
        if not is_chinese(word):
            raise InvalidInput(f"{argument('words')}: {word!r} is no Chinese word; give words of Chinese characters")
    if form.template(words) is None:
        raise InvalidInput(
            f"{argument('words')} do not fit {form.lines} x {form.size} characters, of which one at least is free; "
            "give fewer or shorter ones"
        )
    check_sounds()
    check_scorer(scorer, ANSWER if first else WORDS, settings)
    check_fluency(fluency, scorer, settings, before=first or "")


@experiment(check=check, temperature=0.8, chains=6, steps=60, warmup=10, thin=1, model="masked-zh")
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
    sampler: Annotated[Literal["mh", "anneal"], ANNEAL_OR_SAMPLE] = "anneal",
    scorer: Annotated[
        str | Seq2SeqLM, Option(f"Seq2seq model with the tasks {WORDS} and {ANSWER}, in the tokens of --model.")
    ] = "seq2seq-zh",
    fluency: Annotated[
        str | CausalLM | None,
        Option(
            "Causal model that scores the couplet beside --scorer; none: the scorer alone.  [default: causal-zh beside "
            "seq2seq-zh, none beside another scorer]"
        ),
    ] = None,
) -> Run:
    """A couplet with the given WORDs, or the second line to a first one: 五言 or 七言, in tonal metre.

    The law is ``exp(-(E + metre * M) / temperature)`` among the couplets of twice five characters, or seven, that hold
    ``words``. ``E`` is ``0.4 sentence + 0.6 fluency``: ``-log p(couplet | words)`` by the ``scorer``, and ``-log p`` of
    the couplet by a causal model, without which ``E`` is ``sentence`` alone; ``M`` counts, by today's
    sounds, the second, fourth and sixth characters of a line whose tones do not take turns or are not the opposite of
    the other line's, a second line that ends oblique, and a first one that ends level without the rhyme. With ``first``
    what is drawn is the second line, and both models have read the first: ``answer`` is ``-log p(second line | first
    line)`` by the ``scorer``. All are in nats. By default the lowest energy is searched for.

    Chains start from couplets that the ``scorer`` writes, or around the words where those lack them; it writes whole
    ones on the way, and characters are replaced one or two at a time.

    Raises ``InvalidInput`` for words or a line that do not fit, for a ``scorer`` without the task or with other tokens
    than ``model``, and where pypinyin is not installed.
    """
    from lm_adapters import Grammar, Keywords, Matches, Truncation, same_tokens
    from samplers import InvalidInput

    lm, form = job.masked_lm(), _form(first, seven)
    given = Given(WORDS, " ".join(words), "sentence", "-log p(couplet | words)")
    if form.first:
        given = Given(ANSWER, form.first, "answer", "-log p(second line | first line)")
    asked = load_with_task("scorer", scorer, job.settings, given.task, "leave it out")
    if not same_tokens(asked, lm.space):
        raise InvalidInput(
            f"{argument('scorer')} {scorer!r} has other tokens than {argument('model')}; give two that go together"
        )
    scored = load_scorer(asked, lm, job.settings, given)
    assert scored.writer is not None
    lock = Keywords(lm.space, words, any_order=True) if words else None
    grammar, length, temperature = Grammar.pattern(form.pattern), (form.length,) * 2, job.settings.law_temperature
    following = next_tokens(grammar, lm.space, length, needed=True)
    constraints = [Matches(lm.space, grammar), *job.constraints(lm, words)]
    fluency = partner_of(scorer) if fluency is None else fluency
    beside = load_fluency(fluency, scored, lm, job.settings, before=form.first or "")
    models: dict[str, Any] = {"model": lm, "scorer": asked}
    scored_by = {given.name: job.named("scorer", asked.model)}
    base = scored.terms
    if beside is not None:
        base, models["fluency"] = scored.weighted(FITTING) + FLUENCY * beside.energy, beside.lm
        scored_by[beside.energy.name] = job.named("fluency", beside.model) if job.config["fluency"] else str(fluency)
    law = base + metre * _metre(lm.space, form.first or "")
    energy = job.with_custom(lock + law if lock else law, lm.space, constraints)
    x0 = template_starts(lm, _template(lm.space, form, words), job, Truncation(1.0), constraints, following)
    drawn: dict[str, Any] = {"min_length": form.length, "max_length": form.length, "following": following}
    x0 = written_starts([scored.writer], [asked], energy, x0, job, wide=sampler == "anneal", **drawn)
    problem = Problem(lm.space, energy, x0, models, lengths=length, scored_by=scored_by)
    moves: dict[str, Any] = {"scorer": scored.energy, "informed": [scored.writer], "anew": ANEW, "tries": DRAWS}
    kernel = edit_kernel(lm, lock=lock, temperature=temperature, **moves, **drawn)
    return sample_or_search(problem, kernel, sampler, job)


def _form(first: str | None, seven: bool) -> Form:
    return Form.of(first, 7 if seven else 5)


def _template(space: TextSpace, form: Form, words: Sequence[str]) -> Template:
    from lm_adapters import Template

    text = form.template(words)
    assert text is not None, "check has seen to it"
    return Template(space, text)


def _metre(space: TextSpace, before: str) -> TextEnergy:
    """Tones and rhymes out of place in ``before`` and a text together; what is wrong in ``before`` counts for all."""
    from experiments.verse.metre import rhyme, tones
    from lm_adapters import TextEnergy

    def metre(texts: list[str]) -> list[float]:
        whole = [before + text for text in texts]
        return [a + b for a, b in zip(tones(whole), rhyme(whole), strict=True)]

    return TextEnergy(metre, space.decode, "metre")
