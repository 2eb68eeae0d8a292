"""The energies of the library, read from its source: every public class that is an ``EnergyTerm``."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from experiments.catalogue.source_files import source_of, sources_in

__all__ = ["EnergyClass", "energy_classes", "first_sentence"]

PACKAGES = ("lm_adapters", "samplers")
BASE = "EnergyTerm"


@dataclass(frozen=True)
class EnergyClass:
    """``place``: the module to import it from. ``call``: how it is made, as in ``Similarity(encoder, source)``."""

    name: str
    place: str
    call: str
    summary: str


def energy_classes(packages: Iterable[str] = PACKAGES) -> list[EnergyClass]:
    """Those of the ``packages``, in the order of their names; imports none of them.

    A class is one if its bases, found by name, lead to ``EnergyTerm``. One that leaves methods abstract is none yet. It
    is public if its module's ``__all__`` names it, and is imported from the package where that exports it.
    """
    classes: dict[str, tuple[str, ast.ClassDef]] = {}
    public: dict[str, set[str]] = {}
    for package in packages:
        for module, path in sources_in(package):
            tree = _parsed(path)
            public[module] = _exports(tree)
            classes |= {node.name: (module, node) for node in tree.body if isinstance(node, ast.ClassDef)}
    found = []
    for name, (module, node) in sorted(classes.items()):
        line = list(_ancestors(name, classes))
        if name == BASE or BASE not in [each.name for each in line] or name not in public[module] or _is_abstract(line):
            continue
        package = module.partition(".")[0]
        place = package if name in _door(package) else module
        found.append(EnergyClass(name, place, f"{name}({_arguments(line)})", first_sentence(node)))
    return found


def first_sentence(node: ast.AST) -> str:
    """Of the docstring of a function or class."""
    text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) else ""
    paragraph = " ".join((text or "").partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].removesuffix(".").removesuffix("::").replace("``", "")


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


def _exports(tree: ast.Module) -> set[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            return {each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant)}  # type: ignore[misc]
    return set()


def _door(package: str) -> set[str]:
    """What the package exports, by its stub if it has one."""
    path = source_of(package)
    stub = path.with_suffix(".pyi") if path else None
    return _exports(_parsed(stub if stub and stub.is_file() else path)) if path else set()


def _ancestors(name: str, classes: Mapping[str, tuple[str, ast.ClassDef]]) -> Iterator[ast.ClassDef]:
    """The class and those that it is made of, as far as they are known, the nearest first."""
    todo, seen = [name], set()
    while todo:
        name = todo.pop(0)
        if name in seen or name not in classes:
            continue
        seen.add(name)
        node = classes[name][1]
        yield node
        todo += [ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases]


def _is_abstract(line: list[ast.ClassDef]) -> bool:
    """Whether a method is abstract where it is met first."""
    defined: set[str] = set()
    for node in line:
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and method.name not in defined:
                if any("abstractmethod" in ast.unparse(each) for each in method.decorator_list):
                    return True
                defined.add(method.name)
    return False


def _arguments(line: list[ast.ClassDef]) -> str:
    """Of the first ``__init__``, or the fields of the first dataclass, without their types."""
    for node in line:
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                for each in (*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs):
                    each.annotation = None
                return ast.unparse(method.args).removeprefix("self").removeprefix(", ")
        if any("dataclass" in ast.unparse(each) for each in node.decorator_list):
            fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
            defaults = (f"={ast.unparse(each.value)}" if each.value else "" for each in fields)
            return ", ".join(f"{ast.unparse(each.target)}{value}" for each, value in zip(fields, defaults, strict=True))
    return ""
