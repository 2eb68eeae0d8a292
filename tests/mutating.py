"""Small faults put into a source file, one at a time: what a test suite should notice."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Mutation", "mutations"]

COMPARISONS = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
OPERATORS = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "/", ast.Mod: "*", ast.Pow: "*",
    ast.BitAnd: "|", ast.BitOr: "&",
}  # fmt: skip
NAMES = {
    "any": "all", "all": "any", "min": "max", "max": "min", "amin": "amax", "amax": "amin",
    "argmin": "argmax", "argmax": "argmin",
}  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """The text from ``start`` to ``end`` of a source becomes ``text``; ``line`` is where it starts."""

    line: int
    start: int
    end: int
    text: str

    def applied(self, source: str) -> str:
        return source[: self.start] + self.text + source[self.end :]

    def lines(self, source: str) -> tuple[str, str]:
        """The first line that it changes, before and after."""
        changed = self.applied(source)
        pairs = zip(source.splitlines(), changed.splitlines(), strict=False)
        return next(((old.strip(), new.strip()) for old, new in pairs if old != new), ("", ""))


def mutations(source: str) -> list[Mutation]:
    """Every mutation of a source, in the order of its text. Annotations, docstrings and messages stay as they are."""
    begins = [0]
    for line in source.splitlines(keepends=True):
        begins.append(begins[-1] + len(line))
    assert source.isascii(), "columns are counted in bytes"

    def at(node: ast.expr | ast.stmt) -> tuple[int, int]:
        return begins[node.lineno - 1] + node.col_offset, begins[node.end_lineno - 1] + node.end_col_offset

    found = []
    for node in _code(ast.parse(source)):
        start, end = at(node)
        for first, last, text in _changes(node, start, end, at, source):
            found.append(Mutation(source.count("\n", 0, first) + 1, first, last, text))
    return sorted(set(found), key=lambda mutation: (mutation.start, mutation.end, mutation.text))


def _changes(node, start, end, at, source) -> Iterator[tuple[int, int, str]]:
    def between(left, right, old, new) -> tuple[int, int, str]:
        first, last = at(left)[1], at(right)[0]
        place = source.index(old, first, last)
        return place, place + len(old), new

    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            old = ast.unparse(ast.Compare(ast.Name("a"), [op], [ast.Name("b")]))[2:-2]
            yield between(left, right, old, COMPARISONS[type(op)])
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            old = ast.unparse(ast.BinOp(ast.Name("a"), op, ast.Name("b")))[2:-2].strip()
            yield between(left, right, old, OPERATORS[type(op)])
        case ast.BoolOp(op=op, values=[left, right, *_]):
            old, new = ("and", "or") if isinstance(op, ast.And) else ("or", "and")
            yield between(left, right, old, new)
        case ast.UnaryOp(op=op):
            yield start, start + (3 if isinstance(op, ast.Not) else 1), ""
        case ast.Constant(value=bool(value)):
            yield start, end, str(not value)
        case ast.Constant(value=int(value)):
            yield start, end, str(1 - value if value in (0, 1) else value + 1)
        case ast.Constant(value=float(value)):
            yield start, end, repr(1 - value if value in (0, 1) else 2 * value)
        case ast.Call(keywords=keywords):
            for keyword in keywords:
                if isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str):
                    yield *at(keyword.value), repr("mutated")
        case ast.Attribute(attr=name) if name in NAMES:
            yield end - len(name), end, NAMES[name]
        case ast.Name(id=name) if name in NAMES:
            yield start, end, NAMES[name]
        case ast.If(test=test) | ast.IfExp(test=test):
            first, last = at(test)
            yield first, last, f"not ({source[first:last]})"
        case ast.Expr() | ast.AugAssign() | ast.Raise():
            yield start, end, "pass"
        case _:
            return


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that may be changed, with a place in the text."""
    if isinstance(node, ast.expr | ast.stmt):
        yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_text(child):
                yield from _code(child)


def _is_text(node: ast.AST) -> bool:
    """A docstring, a message, ``__all__``, or what is only there for the type checker."""
    match node:
        case ast.Expr(value=ast.Constant(value=str())) | ast.JoinedStr():
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]) | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.ClassDef(bases=bases):
            return any("Protocol" in ast.unparse(base) for base in bases)
    return False
