"""What a text must match: a regular expression, a context-free grammar, or a JSON schema."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from lm_adapters.grammars.engine import Automaton, compile_error, is_empty
from samplers import InvalidInput

__all__ = ["Grammar"]

# Of the words that stand in a pattern or grammar: the most, and what they end at.
MOST = 8
SETS = re.compile(r"\\.|\[[^\]]*\]|\{[^}]*\}")
MARKS = re.compile(r"[\^$.|?*+()/&~\"]")
QUOTED = re.compile(r'"[^"\n]*"|/[^/\n]*/')
# Longer runs of spaces are what a language model gets lost in.
SPACES = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}

Kind = Literal["pattern", "grammar", "JSON schema"]


@dataclass(frozen=True)
class Grammar:
    """A set of texts. Made by ``pattern``, ``lark``, ``json_schema``, or from a file by ``read``.

    ``name`` says which: the pattern itself, or a file. ``source`` is what ``llguidance`` reads; its rules are those of
    the set. A pattern is a regular expression of Rust's kind (no look-around, no back references) that the whole text
    matches. A grammar is in Lark's notation, with ``start`` as its first rule; a terminal takes as much text as it can.
    JSON has the properties of an object in the order of the schema, and after each comma and colon a space or none; the
    schema's ``x-guidance`` may ask for other spaces. Keywords that the library does not know how to keep are refused.

    All constructors raise ``InvalidInput`` for what cannot be read, with the place, and for what no text matches.
    """

    kind: Kind
    name: str
    source: str

    @classmethod
    def pattern(cls, pattern: str) -> Grammar:
        """All texts that match the regular expression as a whole."""
        from llguidance import regex_to_lark

        if not pattern:
            raise InvalidInput("the pattern is empty; give a regular expression")
        written = regex_to_lark(pattern, "")
        made = cls("pattern", repr(pattern), f"start: WHOLE\nWHOLE: /{written}/")
        return made._checked(repr(pattern), compile_error(f"start: /{written}/"))

    @classmethod
    def lark(cls, grammar: str, name: str = "a grammar") -> Grammar:
        """All texts that the context-free grammar derives from ``start``."""
        return cls("grammar", name, grammar)._checked(name, compile_error(grammar))

    @classmethod
    def json_schema(cls, schema: str | bool | Mapping[str, Any], name: str = "a schema") -> Grammar:
        """All JSON that the schema, or its text, allows."""
        if isinstance(schema, str):
            try:
                schema = json.loads(schema)
            except ValueError as error:
                raise InvalidInput(f"the JSON schema {name} is no JSON ({error}); mend it") from error
        if not isinstance(schema, bool | Mapping):
            raise InvalidInput(f"the JSON schema {name} is neither an object nor true or false; mend it")
        if isinstance(schema, Mapping):
            schema = {"x-guidance": SPACES, **schema}
        source = f"start: %json {json.dumps(schema)}"
        told = compile_error(source).replace("failed to compile JSON schema: ", "")
        return cls("JSON schema", name, source)._checked(name, re.sub(r" \(line \d+, column \d+\)$", "", told))

    @classmethod
    def read(cls, path: str | Path, kind: Literal["grammar", "JSON schema"]) -> Grammar:
        """From a UTF-8 file. Raises ``InvalidInput`` for one that cannot be read as well."""
        name = Path(path).name
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "no UTF-8 text"
            raise InvalidInput(f"the {kind} {str(path)!r} cannot be read ({reason}); give a UTF-8 file") from error
        return cls.json_schema(text, repr(name)) if kind == "JSON schema" else cls.lark(text, repr(name))

    @property
    def clause(self) -> str:
        """What it asks of texts, as it ends "all texts ..."."""
        return {"pattern": "that match", "grammar": "of the grammar", "JSON schema": "that are JSON of the schema"}[
            self.kind
        ] + f" {self.name}"

    @property
    def words(self) -> list[str]:
        """What stands in a pattern, or in the strings and patterns of a grammar, alone and with what comes later.

        Guesses at what a text must hold; some may be what it cannot hold.
        """
        if self.kind == "JSON schema":
            return []
        written = [self.source.split(": /", 1)[1]] if self.kind == "pattern" else QUOTED.findall(self.source)
        plain = [word for each in written for word in MARKS.split(SETS.sub("*", each)) if len(word.strip()) > 1][-MOST:]
        later = [mark.join(plain[place:]) for place in reversed(range(len(plain))) for mark in ("", " ")]
        return list(dict.fromkeys([*plain, *later]))

    def automaton(self, pieces: list[bytes]) -> Automaton:
        """Reads bytes and knows which of ``pieces`` may come next."""
        return Automaton(self.source, pieces)

    def config(self) -> dict[str, Any]:
        """What draws depend on: the texts that match, by digest of what says so."""
        return {"kind": self.kind, "source": sha256(self.source.encode()).hexdigest()}

    def _checked(self, name: str, error: str) -> Grammar:
        called = f"the {self.kind} {name}"
        if error.startswith("Unsatisfiable schema: "):
            raise InvalidInput(f"{called} allows no text ({error.removeprefix('Unsatisfiable schema: ')}); change it")
        if error:
            raise InvalidInput(f"{called} cannot be read: {error}; mend it")
        if is_empty(self.source):
            raise InvalidInput(f"no text matches {called}; change it")
        return self
