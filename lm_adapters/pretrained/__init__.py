"""Embedded models: one folder each, in Hugging Face format, with a model card."""

from __future__ import annotations

import json
import re
from pathlib import Path

__all__ = [
    "card_languages",
    "embedded_names",
    "embedded_path",
    "figures",
    "known_languages",
    "known_texts_path",
    "words_path",
]

HERE = Path(__file__).parent


def embedded_names() -> list[str]:
    """Names of the embedded models, sorted."""
    return sorted(path.parent.name for path in HERE.glob("*/config.json"))


def embedded_path(name: str) -> Path | None:
    """The folder of an embedded model, ``None`` for any other name."""
    return HERE / name if name in embedded_names() else None


def words_path() -> Path:
    """The list of English words: all that the embedded models' training sentences hold, one a line, gzipped."""
    return HERE / "words-en" / "words.txt.gz"


def known_texts_path() -> Path:
    """The English sentences that the embedded models were trained on, as digests."""
    return HERE / "known-en" / "digests.bin"


def figures(name: str) -> dict[str, object]:
    """Measurements of an embedded model from its training run, the content of ``figures.json``."""
    measured: dict[str, object] = json.loads((HERE / name / "figures.json").read_text())
    return measured


def known_languages(name_or_path: str) -> list[str]:
    """Codes (``en``) of the languages that an embedded model reads or writes, as its card lists them.

    Empty for any other model: what it knows is not known here.
    """
    folder = embedded_path(name_or_path) or Path(name_or_path)
    return card_languages(name_or_path) if folder.parent == HERE else []


def card_languages(name_or_path: str) -> list[str]:
    """Codes of the languages that the card of an embedded model, or of one in a folder, lists; empty without a card."""
    card = (embedded_path(name_or_path) or Path(name_or_path)) / "README.md"
    if not card.is_file():
        return []
    listed = re.search(r"^language:((?:\n?[- ]+\w+)+)$", card.read_text("utf-8", errors="replace"), re.MULTILINE)
    return re.findall(r"\w+", listed[1]) if listed else []
