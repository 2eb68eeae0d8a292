"""Texts of models and users made safe to show: none of their characters can control a terminal or break a line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["json_line", "json_text", "plain", "visible"]

# Unseen characters that act: controls, ends of lines, marks of direction and of notes, halves of characters.
ACTING = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\ud800-\udfff"
ACTS = re.compile(f"[{ACTING}]")
CONTROLS_OR_ACTS = re.compile(f"[\\0-\x1f{ACTING}]")


def visible(text: str) -> str:
    """With control characters and their like spelled as Python spells them: ``\\x1b``, ``\\u202e``."""
    return CONTROLS_OR_ACTS.sub(lambda found: repr(found[0])[1:-1], text)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Valid JSON, and UTF-8 whatever the texts in it; one line without ``indent``.

    Texts read back as they were, but for two halves of a character side by side, which become one.
    Raises ``ValueError`` for a NaN or an infinity, which JSON has not.
    """
    # What is below 0x20 is escaped already.
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    return ACTS.sub(lambda found: json.dumps(found[0])[1:-1], text)


def json_line(value: Mapping[str, Any]) -> str:
    """One line of JSON Lines; NaN is written as null, infinities as strings."""
    return json_text(plain(value))


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: tuples are lists, NaN is null, infinities are strings."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
