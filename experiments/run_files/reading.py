"""Reading a run file: YAML through the nodes of its parser, which know their lines, and TOML."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.run_files.document import Document, Entry, Items, Scalar, Value, bad

__all__ = ["SUFFIXES", "read_document"]

LARGEST = 2**20  # bytes
PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("bool", "float", "int", "null", "str", "timestamp", "value")}
NULL = "tag:yaml.org,2002:null"
WANTED = "write KEY: VALUE lines, such as experiment: keywords"


def read_document(path: Path) -> Document:
    """The run file at ``path``. No code is run and no object made: every value is text.

    Raises ``InvalidInput`` with file and line for one that cannot be read, has a key twice, or values that are neither
    scalars nor lists.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise bad(path, None, f"cannot be read ({error.strerror})") from error
    if len(data) > LARGEST:
        raise bad(path, None, f"has more than {LARGEST:,} bytes, and is no file of a run")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise bad(path, line, f"byte {data[error.start]:#04x} is no UTF-8; convert the file") from error
    return Document(path, SUFFIXES[path.suffix](path, text))


def _read_yaml(path: Path, text: str) -> dict[str, Entry]:
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = f"no YAML: {error.problem or error.context}"
        raise bad(path, mark.line + 1 if mark else None, problem) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise bad(path, None, f"no YAML: {' '.join(str(error).split()) or type(error).__name__}") from error
    if root is None:
        raise bad(path, None, f"is empty; {WANTED}")
    if not isinstance(root, yaml.MappingNode):
        raise bad(path, root.start_mark.line + 1, f"is no mapping; {WANTED}")

    def value(node: yaml.Node, depth: int = 0) -> Value:
        line = node.start_mark.line + 1
        if isinstance(node, yaml.ScalarNode) and node.tag in PLAIN_TAGS:
            return Scalar(None if node.tag == NULL and not node.style else node.value, line)
        if isinstance(node, yaml.SequenceNode) and node.tag.endswith(":seq") and depth < 2:
            return Items(tuple(value(each, depth + 1) for each in node.value), line)
        raise bad(path, line, f"{_kind(node)} is no value of an option; write a text, a number or a list")

    entries: dict[str, Entry] = {}
    for key, node in root.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise bad(path, line, f"{_kind(key)} is no key; {WANTED}")
        if key.value in entries:
            raise bad(path, line, f"{key.value!r} is given again after line {entries[key.value].line}; leave one out")
        entries[key.value] = Entry(value(node), line)
    return entries


def _kind(node: Any) -> str:
    tag = str(node.tag)
    if not tag.startswith("tag:yaml.org,2002:"):
        return f"the tag {tag!r}"
    return {"map": "a mapping", "seq": "a list in a list in a list"}.get(
        tag.rpartition(":")[2], f"the tag !!{tag[18:]}"
    )


def _read_toml(path: Path, text: str) -> dict[str, Entry]:
    try:
        found = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise bad(path, None, f"no TOML: {error or type(error).__name__}") from error
    if not found:
        raise bad(path, None, 'is empty; write KEY = VALUE lines, such as experiment = "keywords"')
    return {
        key: Entry(_toml_value(path, key, value, line := _line_of(key, text)), line) for key, value in found.items()
    }


def _toml_value(path: Path, key: str, value: Any, line: int, depth: int = 0) -> Value:
    """The line is that of the key: the parser of the standard library tells no others."""
    if isinstance(value, list) and depth < 2:
        return Items(tuple(_toml_value(path, key, each, line, depth + 1) for each in value), line)
    if isinstance(value, bool):
        return Scalar(str(value).lower(), line)
    if isinstance(value, str | int | float):
        return Scalar(str(value), line)
    kind = "a table" if isinstance(value, dict) else f"a {type(value).__name__}"
    raise bad(path, line, f"{key!r} is {kind}; write a text in quotes, a number or a list")


def _line_of(key: str, text: str) -> int:
    """The first line that begins with the key, and before which the file is whole: not one inside a long string."""
    begins = re.compile(rf"""\s*\[*\s*["']?{re.escape(key)}["']?\s*[=.\]]""")
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if begins.match(line) and _is_whole("\n".join(lines[: number - 1])):
            return number
    return 1


def _is_whole(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


SUFFIXES: dict[str, Callable[[Path, str], dict[str, Entry]]] = {
    ".toml": _read_toml,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
}
