"""Judged texts as rows of a table, and the bar that samples have to clear."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from experiments.evaluating.cases import Case
from experiments.judging.judge import Judge, Verdict
from experiments.laws.another import is_copy
from experiments.training.bleu import bleu, paraphrase_scores

if TYPE_CHECKING:
    from lm_adapters import SentenceEncoder

__all__ = ["BAR", "LEGEND", "MEASURES", "Judged", "Texts", "bar_line", "bars", "head", "judge_rows", "legend"]

LEGEND = (
    "KN: nats a word of word 4-grams (Kneser-Ney), held-out rows left out. non-word,\n"
    "training: texts with what is no word; that the models were trained on. distinct:\n"
    "different pairs of words, falls with the number of texts."
)
BAR = {"KN": 0.2, "non-word": 0.01, "training": 0.1, "distinct": 0.8}  # the first above held-out text


@dataclass(frozen=True)
class Texts:
    """Texts of one kind, each with the case that it is of, where there are cases."""

    name: str
    texts: Sequence[str]
    cases: Sequence[Case] = ()


Measure = Callable[[Texts], float]


def _there(row: Texts) -> float:
    pairs = zip(row.texts, row.cases, strict=True)
    return _mean(all(_holds(text, word) for word in case.words) for text, case in pairs)


def _holds(text: str, word: str) -> bool:
    """As a whole word: "ladder" is neither in "ladders" nor in "ladder's"."""
    return bool(re.search(rf"(?<![\w'\u2019-]){re.escape(word)}(?![\w'\u2019-]*\w)", text))


def _exact(row: Texts) -> float:
    return _mean(text == case.held_out for text, case in zip(row.texts, row.cases, strict=True))


def _copies(row: Texts) -> float:
    return _mean(is_copy(text, case.source) for text, case in zip(row.texts, row.cases, strict=True))


def _label(row: Texts) -> float:
    kind = row.cases[0].kind
    assert kind is not None, "it is measured where labels are asked for"
    return float(kind.has(row.texts).mean())


def _bleu(row: Texts) -> float:
    return bleu(list(row.texts), [case.held_out for case in row.cases])


def _ibleu(row: Texts) -> float:
    sources, references = [case.source for case in row.cases], [case.held_out for case in row.cases]
    return paraphrase_scores(list(row.texts), sources, references)["ibleu"]


MEASURES: Mapping[str, tuple[Measure, str, str]] = {
    "there": (_there, ".0%", "there: texts that hold the words."),
    "exact": (_exact, ".0%", "exact: the held-out text itself."),
    "label": (_label, ".0%", "label: texts that word n-grams take for such, whatever their marks."),
    "BLEU": (_bleu, ".1f", "BLEU: to the held-out text."),
    "copies": (_copies, ".0%", "copies: texts that are the source, case and marks aside."),
    "iBLEU": (_ibleu, ".1f", "iBLEU: 0.9 BLEU to the held-out text - 0.1 BLEU to the source."),
}
COSINE = (".2f", "cos: cosine of the sentence embeddings, to the source.")


@dataclass(frozen=True)
class Judged:
    """A row of the table: the judge's ``verdict``, and by name what else was measured."""

    name: str
    verdict: Verdict
    measured: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, **asdict(self.verdict), **self.measured}

    def __str__(self) -> str:
        own = self.verdict
        cells = (
            f"{own.texts:>5}",
            f"{own.nats_per_word:>5.2f}",
            f"{own.non_words:>8.1%}",
            f"{own.training:>8.1%}",
            f"{own.distinct_2:>8.2f}",
            *(format(value, f">{max(5, len(name))}{_notes(name)[0]}") for name, value in self.measured.items()),
        )
        return "  ".join([f"{self.name:<14.14}", *cells])


def judge_rows(
    judge: Judge, rows: Iterable[Texts], measures: Sequence[str] = (), encoder: SentenceEncoder | None = None
) -> Iterator[Judged]:
    """Each as soon as its texts are known. Rows without texts are left out."""
    for row in rows:
        if row.texts:
            measured = {name: MEASURES[name][0](row) for name in measures}
            if encoder is not None:
                measured["cos"] = _cosine(encoder, row)
            yield Judged(row.name, judge.verdict(row.texts), measured)


def head(judged: Judged) -> str:
    """Names of the columns."""
    named = (f"{'texts':>5}", f"{'KN':>5}", "non-word", "training", "distinct")
    return "  ".join([" " * 14, *named, *(f"{name:>5}" for name in judged.measured)])


def legend(judged: Judged) -> str:
    """What the columns are."""
    return "\n".join([LEGEND, *(_notes(name)[1] for name in judged.measured)])


def _notes(name: str) -> tuple[str, str]:
    """How a figure is printed, and what it is."""
    return COSINE if name == "cos" else MEASURES[name][1:]


def bars(verdict: Verdict, held_out: Verdict) -> dict[str, tuple[float, bool]]:
    """Each figure of the bar that ``verdict`` has to clear, and whether it does."""
    above = verdict.nats_per_word - held_out.nats_per_word
    return {
        "KN": (above, above <= BAR["KN"]),
        "non-word": (verdict.non_words, verdict.non_words < BAR["non-word"]),
        "training": (verdict.training, verdict.training < BAR["training"]),
        "distinct": (verdict.distinct_2, verdict.distinct_2 >= BAR["distinct"]),
    }


def bar_line(verdict: Verdict, held_out: Verdict) -> str:
    """What is met of the bar, and what is not."""
    found = bars(verdict, held_out)
    said = {
        "KN": f"KN {found['KN'][0]:+.2f} of held-out (at most +{BAR['KN']})",
        "non-word": f"non-words {verdict.non_words:.1%} (under {BAR['non-word']:.0%})",
        "training": f"training {verdict.training:.1%} (under {BAR['training']:.0%})",
        "distinct": f"distinct {verdict.distinct_2:.2f} (from {BAR['distinct']:.2f})",
    }
    met, missed = (", ".join(said[name] for name, (_, ok) in found.items() if ok is wanted) for wanted in (True, False))
    return f"met: {met or 'nothing'}; not met: {missed or 'nothing'}"


def _cosine(encoder: SentenceEncoder, row: Texts) -> float:
    sources = encoder.embed([case.source for case in row.cases])
    return float((encoder.embed(row.texts) * sources).sum(dim=1).mean())


def _mean(flags: Iterable[bool]) -> float:
    found = list(flags)
    return sum(found) / len(found)
