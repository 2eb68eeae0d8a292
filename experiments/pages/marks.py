"""Which parts of a text are worth a mark: wanted words, what fills the slots of a template, what is new in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

from experiments.results.safe_text import visible

__all__ = ["Marker", "changed", "marker", "pieces", "source_of"]

Spans = list[tuple[int, int]]
Marker = Callable[[str], Spans]

SLOT = re.compile(r"\[MASK[^\]]*\]")
HAN = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # each a word, with no space beside it
WORD = re.compile(rf"[{HAN}]|[^\W{HAN}]+(?:['’][^\W{HAN}]+)*|[^\w\s]")  # noqa: RUF001 - as texts have it
MOST = 4000  # characters of a text that is looked at


def source_of(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """What to call it, and the text that the run was given to say otherwise, shorter or in another language."""
    for name in ("text", "prompt", "template"):
        if isinstance(config.get(name), str):
            return {"text": "The text given", "prompt": "The beginning given", "template": "The template"}[name], str(
                config[name]
            )
    return None


def marker(config: Mapping[str, Any]) -> tuple[str, Marker] | None:
    """What is marked, in words, and the function that finds it; ``None`` where a run has nothing to mark."""
    given: Any = next((config[name] for name in ("words", "must_contain") if config.get(name)), [])
    if words := [word for word in given if isinstance(word, str) and word.strip()] if isinstance(given, list) else []:
        found = re.compile("|".join(_loosely(word) for word in words), re.IGNORECASE)
        return "the words given", lambda text: [match.span() for match in found.finditer(text[:MOST])]
    if isinstance(template := config.get("template"), str):
        return "what fills the slots", _filled(template)
    if config.get("experiment") in ("paraphrase", "control") and isinstance(config.get("text"), str):
        return "words that the text given has not", _new_words(config["text"])
    return None


def changed(before: str, after: str) -> Spans:
    """The words of ``after`` that are not where ``before`` has them."""
    old, new = _words(before), _words(after)
    same = SequenceMatcher(None, [word for word, _ in old], [word for word, _ in new], autojunk=False)
    parts = [(a, b) for kind, _, _, a, b in same.get_opcodes() if kind in ("replace", "insert")]
    return [(new[a][1][0], new[b - 1][1][1]) for a, b in parts]


def pieces(text: str, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[bool, str]]:
    """The text in parts, each with whether it is marked."""
    ends = [0, *(end for span in spans for end in span), len(text)]
    for index, (start, end) in enumerate(pairwise(ends)):
        if start < end:
            yield index % 2 == 1, text[start:end]


def _filled(template: str) -> Marker:
    """The frozen pieces are looked for one after the other; what is between them fills slots."""
    frozen = [piece.strip() for piece in SLOT.split(template)]
    found = [re.compile(_loosely(piece), re.IGNORECASE) for piece in frozen]

    def spans(text: str) -> Spans:
        text, ends = text[:MOST], [0]
        for index, piece in enumerate(found):
            match = piece.search(text, ends[-1])
            if match is None:
                return []
            last = index == len(found) - 1 and not frozen[index]
            ends += [len(text)] * 2 if last else [*match.span()]
        gaps = zip(ends[2:-1:2], ends[3::2], strict=False)
        return [gap for gap in (_trimmed(text, *gap) for gap in gaps) if gap[0] < gap[1]]

    return spans


def _new_words(source: str) -> Marker:
    known = {word.casefold() for word, _ in _words(source)}
    return lambda text: [
        span for word, span in _words(text[:MOST]) if word.casefold() not in known and word[0].isalnum()
    ]


def _words(text: str) -> list[tuple[str, tuple[int, int]]]:
    return [(match[0], match.span()) for match in WORD.finditer(text[:MOST])]


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end - (len(part) - len(part.rstrip()))


def _loosely(words: str) -> str:
    """Whole words, whatever the space between words and marks: texts are decoded from tokens."""
    parts = re.findall(r"\w+|[^\w\s]", visible(" ".join(words.split())))
    return r"\s*".join(f"{_edge(part[0])}{re.escape(part)}{_edge(part[-1])}" for part in parts)


def _edge(char: str) -> str:
    return r"\b" if char.isalnum() and not re.match(f"[{HAN}]", char) else ""
