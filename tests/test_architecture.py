"""The rules of the house, read from the source: who imports whom, what is exported, how kernels are documented."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {"samplers": set(), "lm_adapters": {"samplers"}, "experiments": {"samplers", "lm_adapters"}}
BARRED = {"samplers": {"transformers", "tokenizers", "click"}, "lm_adapters": {"click"}, "experiments": set()}
DOORS = {
    "experiments",
    "samplers",
    "samplers.randomness",
    "samplers.run",
    "samplers.storage",
    "samplers.testing",
    "lm_adapters",
    "lm_adapters.forward",
    "lm_adapters.loading",
    "lm_adapters.pretrained",
}
"""What one package may import from another."""
LONGEST = 400
FULLEST = 16
SECTIONS = ("Target", "Acceptance ratio", "Reversible", "Proof|Reference", "Cost")


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def source(path: Path) -> str:
    """Of a package whose door opens at the first use: the stub, which says what it brings up, with full names."""
    stub = path.with_suffix(".pyi")
    if not stub.exists():
        return path.read_text()
    return re.sub(r"^from \.", f"from {module_of(path)}.", stub.read_text(), flags=re.MULTILINE)


PATHS = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))
TEXTS = {module_of(path): source(path) for path in PATHS}
TREES = {module: ast.parse(text) for module, text in TEXTS.items()}
PACKAGES = {module_of(path) for path in PATHS if path.name == "__init__.py"}
EXAMPLES = {path.name: ast.parse(path.read_text()) for path in sorted((ROOT / "examples").glob("*.py"))}


def top(module: str) -> str:
    return module.split(".")[0]


def imported(tree: ast.Module) -> Iterator[str]:
    """Names of modules, and of what is taken from them, of every import: in functions and for annotations too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def graph(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Which of our modules each imports."""
    return {
        module: {name if name in trees else name.rpartition(".")[0] for name in imported(tree)} & set(trees)
        for module, tree in trees.items()
    }


def circle(edges: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def passes_by_the_doors(module: str, tree: ast.Module) -> list[str]:
    ours = [name for name in imported(tree) if top(name) in MAY_IMPORT and top(name) != top(module)]
    return [name for name in ours if name not in DOORS and (name in TREES or name.rpartition(".")[0] not in DOORS)]


def exports(tree: ast.Module) -> list[str]:
    """The literal ``__all__`` of a module, empty without one."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            return ast.literal_eval(node.value)
    return []


def bound(tree: ast.Module) -> Iterator[str]:
    """Names that a module's top level defines or imports."""
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", "") != "__future__":
            yield from (top(alias.asname or alias.name) for alias in node.names)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def offered(tree: ast.Module) -> Iterator[str]:
    """Public functions and classes that a package defines, or brings up from the house's own modules."""
    for node in tree.body:
        ours = isinstance(node, ast.ImportFrom) and top(node.module) in MAY_IMPORT
        names = [alias.asname or alias.name for alias in node.names] if ours else []
        names += [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
        yield from (name for name in names if not name.startswith("_"))


def order(name: str) -> tuple[int, str]:
    """CONSTANTS, Classes, functions, each by name: the order that the linter keeps."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def kernels(tree: ast.Module) -> Iterator[ast.ClassDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not any("Protocol" in ast.unparse(base) for base in node.bases):
            methods = {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
            if "step" in methods and any(argument.arg == "rng" for argument in methods["step"].args.args):
                yield node


def undocumented(kernel: ast.ClassDef) -> list[str]:
    """Sections that its docstring lacks."""
    text = ast.get_docstring(kernel) or ""
    return [section for section in SECTIONS if not re.search(rf"^(?:{section})$", text, re.MULTILINE)]


def settings() -> configparser.SectionProxy:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser["options"]


def found(problems: dict[str, object]) -> dict[str, object]:
    return {where: what for where, what in problems.items() if what}


def test_imports_point_inwards():
    barred = {package: set(MAY_IMPORT) - MAY_IMPORT[package] - {package} | BARRED[package] for package in MAY_IMPORT}
    wrong = {m: {top(name) for name in imported(t)} & (barred[top(m)] | {"tests"}) for m, t in TREES.items()}
    assert found(wrong) == {}


def test_no_file_or_folder_is_too_large():
    assert found({module: len(text.splitlines()) > LONGEST for module, text in TEXTS.items()}) == {}
    folders = [path.parent for path in PATHS]
    assert found({str(folder): folders.count(folder) > FULLEST for folder in folders}) == {}


def test_exports_are_sorted_and_exist():
    lists = {module: exports(tree) for module, tree in TREES.items()}
    assert found({module: names != sorted(set(names), key=order) for module, names in lists.items()}) == {}
    assert found({module: set(names) - set(bound(TREES[module])) for module, names in lists.items()}) == {}


def test_packages_export_all_that_they_offer():
    assert found({name: set(offered(TREES[name])) - set(exports(TREES[name])) for name in PACKAGES}) == {}


def test_kernels_say_what_they_sample_and_why():
    real = [kernel for name, tree in TREES.items() if "testing" not in name for kernel in kernels(tree)]
    assert {"Cycle", "Gibbs", "MetropolisHastings", "Mixture", "PseudoGibbs", "Tempered"} <= {k.name for k in real}
    assert found({kernel.name: undocumented(kernel) for kernel in real}) == {}


def test_every_package_and_every_import_is_declared():
    assert set(settings()["packages"].split()) == PACKAGES
    required = {re.split(r"[\[<>=]", line)[0].replace("-", "_") for line in settings()["install_requires"].split()}
    extra = {
        "xarray",
        "yaml",
        "fastapi",
        "gradio",
        "matplotlib",
        "opencc",
        "pypinyin",
        "uvicorn",
    }  # of arviz-stats[xarray], pyyaml and our extras
    known = required | set(MAY_IMPORT) | set(sys.stdlib_module_names) | extra
    assert found({module: {top(name) for name in imported(tree)} - known for module, tree in TREES.items()}) == {}


def test_the_rules_see_what_breaks_them():
    source = "class K:\n    '''Target\n    x\n    '''\n    def step(self, state, energy, rng): ...\n"
    (bad,) = kernels(ast.parse(source))
    assert undocumented(bad) == list(SECTIONS[1:])
    hidden = ast.parse("def f():\n    import click.testing\n    from transformers.models import x\n")
    assert {top(name) for name in imported(hidden)} == {"click", "transformers"}
    annotated = "if TYPE_CHECKING:\n    from p.b import B\n"
    edges = graph({"p": ast.parse("from p.a import A"), "p.a": ast.parse(annotated), "p.b": ast.parse("import p.a")})
    assert edges == {"p": {"p.a"}, "p.a": {"p.b"}, "p.b": {"p.a"}}
    assert set(circle(edges)) == {"p.a", "p.b"}
    assert circle(edges | {"p.b": set()}) == []
    inside = ast.parse("from samplers.energy import terms\nfrom samplers import randomness, sample, types\n")
    assert passes_by_the_doors("lm_adapters.x", inside) == ["samplers.energy.terms", "samplers.types"]
    assert passes_by_the_doors("samplers.x", inside) == []


def test_no_files_import_each_other_in_a_circle():
    """Imports for annotations count too: who reads one file must not have to read a second to understand it."""
    assert circle(graph(TREES)) == []


def test_packages_import_each_other_through_doors():
    assert found({name: passes_by_the_doors(name, tree) for name, tree in (TREES | EXAMPLES).items()}) == {}


def test_the_samplers_know_no_other_package():
    """Not even by name, in a string or a comment."""
    others = re.compile(rf"\b({'|'.join(set(MAY_IMPORT) - {'samplers'})})\b")
    assert found({name: others.findall(text) for name, text in TEXTS.items() if top(name) == "samplers"}) == {}
