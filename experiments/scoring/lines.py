"""Texts one by one, from Python or from a file of text or JSON Lines, each with what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

if TYPE_CHECKING:
    from samplers import InvalidInput

__all__ = ["Format", "Line", "Origin", "read_given", "read_lines"]

Format = Literal["auto", "text", "jsonl"]

CHUNK = 2**16  # bytes read together
LONGEST = 2**24  # bytes of a line that are held in memory
SHOWN = 100  # characters of what cannot be read
UTF8_MARK, UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")  # at the start of a file
AS_OBJECT = '{"text": "..."}, for a seq2seq model {"source": "...", "text": "..."}'
CONVERT = "convert it (iconv -f UTF-16 -t UTF-8)"


@dataclass(frozen=True)
class Line:
    """A text to score, or why it cannot be.

    ``source`` is what seq2seq models condition this text on, where it brings its own. A blank ``text`` has no energy.
    """

    text: str
    source: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Origin:
    """What lines come from, and where messages find one of them: ``FILE 'a.txt', line 1``, ``texts[0]``."""

    name: str
    is_file: bool

    def place(self, index: int) -> str:
        return f"{self.name}, line {index + 1}" if self.is_file else f"{self.name}[{index}]"

    def no_text(self) -> InvalidInput:
        from samplers import InvalidInput

        return InvalidInput(f"{self.name} has no text; {'write one a line' if self.is_file else 'give at least one'}")


def read_given(texts: Iterable[str | Mapping[str, Any]]) -> Iterator[Line]:
    """Strings, or mappings with a ``text`` and perhaps a ``source``."""
    for given in texts:
        if isinstance(given, str):
            yield Line(given)
        elif isinstance(given, Mapping):
            yield _from_object(given, str(given))
        else:
            yield Line(str(given), problem=f"a {type(given).__name__}, not a string")


def read_lines(stream: BinaryIO, form: Format, name: str) -> Iterator[Line]:
    """A ``Line`` for every line of UTF-8, blank ones too; memory does not grow with the stream.

    Lines end with LF, CR LF or CR; a mark at the start (BOM) is skipped. Of JSON Lines every object has a ``text``, and
    may have a ``source``. With ``form="auto"`` they are JSON Lines if the first that is not blank is a JSON object;
    otherwise every line is a text, whatever it begins with.

    Raises ``InvalidInput`` for UTF-16 or UTF-32, and where the stream, ``name`` in messages, cannot be read.
    """
    as_json = None if form == "auto" else form == "jsonl"
    for raw, is_whole in _split(stream, name):
        line = _decoded(raw, is_whole)
        if line.problem is None and line.text.strip():
            if as_json is None:
                as_json = isinstance(_parsed(line.text), dict)
            line = _from_json(line.text) if as_json else line
        yield line


def _split(stream: BinaryIO, name: str) -> Iterator[tuple[bytes, bool]]:
    """Lines without their ends, and whether they are whole: of a very long one only the beginning is kept."""
    from samplers import InvalidInput

    rest, is_first, skipping = b"", True, False
    while chunk := _read(stream, name):
        while is_first and len(chunk) < len(UTF8_MARK) and (more := _read(stream, name)):
            chunk += more
        if is_first and chunk.startswith(UTF16_MARKS):
            raise InvalidInput(f"{name} is UTF-16 or no text at all, and has to be UTF-8; {CONVERT}")
        *lines, rest = _cut(rest + (chunk.removeprefix(UTF8_MARK) if is_first else chunk))
        is_first = False
        for line in lines:
            if not skipping:
                yield line, True
            skipping = False
        if len(rest) > LONGEST:
            if not skipping:
                yield rest[:SHOWN], False
            rest, skipping = rest[-1:], True  # the last byte may be the first of CR LF
    if rest and not skipping:
        yield rest.rstrip(b"\r"), True


def _read(stream: BinaryIO, name: str) -> bytes:
    from samplers import InvalidInput

    try:  # of a pipe what it has by now, instead of a full chunk
        chunk: bytes = getattr(stream, "read1", stream.read)(CHUNK)
    except OSError as error:
        raise InvalidInput(f"{name} cannot be read: {error.strerror or error}") from error
    return chunk


def _cut(data: bytes) -> list[bytes]:
    """Whole lines, and the rest: without an end, or with CR, to which an LF of the next chunk may belong."""
    lines = data.splitlines(keepends=True)
    rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
    return [*(line.rstrip(b"\r\n") for line in lines), rest]


def _decoded(raw: bytes, is_whole: bool) -> Line:
    shown = raw.decode("utf-8", errors="replace")
    if not is_whole:
        return Line(shown, problem=f"more than {LONGEST:,} bytes; cut it")
    if b"\0" in raw:
        return Line(shown, problem=f"a NUL byte, as in UTF-16 and not in text; {CONVERT}")
    try:
        return Line(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Line(shown, problem=f"no UTF-8 (byte {raw[error.start]:#04x} at {error.start + 1}); convert it to UTF-8")


def _parsed(text: str) -> Any:
    """``None`` where it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _from_json(raw: str) -> Line:
    found = _parsed(raw)
    return _from_object(found if isinstance(found, dict) else {}, raw)


def _from_object(given: Mapping[str, Any], shown: str) -> Line:
    if "text" not in given:
        return Line(shown, problem=f"no JSON object with a 'text'; write {AS_OBJECT}")
    text, source = given["text"], given.get("source")
    if not isinstance(text, str):
        return Line(shown, problem=f"'text' is {text!r:.{SHOWN}}, not a string; write {AS_OBJECT}")
    if not isinstance(source, str | None):
        return Line(text, problem=f"'source' is {source!r:.{SHOWN}}, not a string; write {AS_OBJECT}")
    return Line(text, source)
