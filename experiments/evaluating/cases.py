"""What experiments are tried on: held-out rows of a corpus, each with what a run is given of it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from experiments.declaration.wording import argument
from experiments.judging.kinds import MARKS, Kind, by_kind
from experiments.training.data import english_split, paraphrase_split, translation_split

if TYPE_CHECKING:
    from lm_adapters import MaskedLM

__all__ = ["Case", "Trial", "cases_of_control", "cases_of_infill", "cases_of_keywords", "cases_of_nothing",
           "cases_of_paraphrase", "cases_of_summarize", "cases_of_translate"]  # fmt: skip

LONGEST = 14  # words of a held-out sentence
SUMMARIZED = (12, 30)  # words of a sentence that is worth a summary

T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """One run: the ``arguments`` that come from a held-out row, and the ``held_out`` text to stand beside.

    ``source``: the text that the run changes, if it does. ``words``: those that its texts should hold. ``kind``: what
    they should be.
    """

    held_out: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    words: tuple[str, ...] = ()
    kind: Kind | None = None


@dataclass(frozen=True)
class Trial:
    """An experiment with ``options``, on ``count`` held-out rows of ``corpus``."""

    corpus: Path
    count: int
    seed: int
    options: Mapping[str, Any]

    @cached_property
    def lm(self) -> MaskedLM:
        """The model that proposes."""
        from experiments.setup.models import load_masked
        from experiments.setup.settings import Settings

        return load_masked(Settings.of(self.options))

    def rng(self) -> random.Random:
        return random.Random(self.seed)

    def enough(self, rows: list[T]) -> list[T]:
        """``count`` of them. Raises ``InvalidInput`` where there are fewer."""
        from samplers import InvalidInput

        if len(rows) < self.count:
            raise InvalidInput(
                f"{argument('count')} is {self.count}, but of {argument('corpus')} only {len(rows)} held-out rows can "
                "be used; lower it"
            )
        return rows[: self.count]


def cases_of_nothing(trial: Trial) -> list[Case]:
    """For texts that are given nothing: held-out sentences to stand beside."""
    return trial.enough([Case(sentence) for sentence in _sentences(trial, fewest=1)])


def cases_of_keywords(trial: Trial) -> list[Case]:
    """Two to four words of a held-out sentence, in their order."""
    rng, found = trial.rng(), []
    for sentence in _sentences(trial, fewest=5):
        words = _telling_words(sentence)
        if len(words) >= 2:
            at = sorted(rng.sample(range(len(words)), min(len(words), rng.randint(2, 4))))
            chosen = [words[i] for i in at]
            found.append(Case(sentence, {"words": chosen}, words=tuple(chosen)))
    return trial.enough(found)


def cases_of_infill(trial: Trial) -> list[Case]:
    """Two words of a sentence, each one token, put behind masks."""
    rng, found, space = trial.rng(), [], trial.lm.space
    for sentence in _sentences(trial, fewest=6):
        words = sentence.split(" ")
        single = [i for i, word in enumerate(words) if word.isalpha() and len(space.encode([word])[0]) == 1]
        if len(single) >= 2:
            for index in rng.sample(single, 2):
                words[index] = "[MASK]"
            found.append(Case(sentence, {"template": " ".join(words)}))
        if len(found) == trial.count:
            break
    return trial.enough(found)


def cases_of_paraphrase(trial: Trial) -> list[Case]:
    """Held-out pairs: the source, and its paraphrase as held-out text."""
    pairs = paraphrase_split(trial.corpus)[1]
    return _of_sources(trial, lambda: (Case(other, {"text": text}, source=text) for text, other in pairs))


def cases_of_summarize(trial: Trial) -> list[Case]:
    """Long held-out sentences, and as held-out text other sentences, as short as summaries may be."""
    fewest, most = SUMMARIZED
    rows = english_split(trial.corpus)[1]
    limit = trial.options["max_words"]
    long = [row for row in rows if max(fewest, limit + 1) <= len(row.split()) <= most]
    short = [row for row in rows if 3 <= len(row.split()) <= limit]
    trial.rng().shuffle(long)
    trial.rng().shuffle(short)
    pairs = list(zip(long, short, strict=False))
    return _of_sources(trial, lambda: (Case(other, {"text": text}, source=text) for text, other in pairs))


def cases_of_control(trial: Trial) -> list[Case]:
    """Held-out sentences of another kind than the label, and as held-out text those that have it.

    Raises ``InvalidInput`` for a label that the judge cannot tell.
    """
    from samplers import InvalidInput

    label = trial.options["label"]
    if label not in MARKS:
        raise InvalidInput(f"{argument('label')} is {label!r}; the judge of labels knows {' and '.join(MARKS)}")
    kinds = by_kind(_sentences(trial, fewest=4))
    wanted, kind = kinds.pop(label), Kind(trial.corpus, label)
    others = [text + MARKS[name] for name, texts in kinds.items() for text in texts]
    pairs = list(zip(others, wanted, strict=False))
    return _of_sources(
        trial, lambda: (Case(text + MARKS[label], {"text": other}, source=other, kind=kind) for other, text in pairs)
    )


def cases_of_translate(trial: Trial) -> list[Case]:
    """Held-out pairs, one word of the translation required."""
    rng, found = trial.rng(), []
    for foreign, english in translation_split(trial.corpus)[1]:
        if words := _telling_words(english):
            word = rng.choice(words)
            given = {"text": foreign, "must_contain": [word]}
            found.append(Case(english, given, source=foreign, words=(word,)))
    return trial.enough(found)


def _of_sources(trial: Trial, cases: Callable[[], Any]) -> list[Case]:
    """Without sources that hold a token that is never proposed, which the experiments refuse: one in five hundred."""
    space, found = trial.lm.space, []
    for case in cases():
        if bool(trial.lm.allowed[space.encode([case.source])[0]].all()):
            found.append(case)
        if len(found) == trial.count:
            break
    return trial.enough(found)


def _sentences(trial: Trial, *, fewest: int) -> list[str]:
    """Held-out sentences of at least ``fewest`` words, in an order that the seed decides."""
    rows = [row for row in english_split(trial.corpus)[1] if fewest <= len(row.split()) <= LONGEST]
    trial.rng().shuffle(rows)
    return rows


def _telling_words(text: str) -> list[str]:
    """Words long enough to carry meaning."""
    return re.findall(r"(?<![\w'\u2019-])[a-z]{4,}(?![\w'\u2019-])", text)
