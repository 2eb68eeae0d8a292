"""The rules of the house, read from the source: who imports whom, what is exported, how kernels are documented."""

import ast
import configparser
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {"samplers": set(), "lm_adapters": {"samplers"}, "experiments": {"samplers", "lm_adapters"}}
BARRED = {"samplers": {"transformers", "tokenizers", "click"}, "lm_adapters": {"click"}, "experiments": set()}
LONGEST = 400
SECTIONS = ("Target", "Acceptance ratio", "Reversible", "Proof|Reference", "Cost")

SOURCES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))
files = pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))


def imported(tree):
    """Top-level names of every import, also those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield node.module.split(".")[0]


def exports(tree):
    """The literal ``__all__`` of a module, ``None`` without one."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            return ast.literal_eval(node.value)
    return None


def bound(tree):
    """Names that a module's top level defines or imports."""
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", "") != "__future__":
            yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def offered(tree):
    """Public functions and classes that a package defines, or brings up from the house's own modules."""
    for node in tree.body:
        ours = isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in MAY_IMPORT
        names = [alias.asname or alias.name for alias in node.names] if ours else []
        names += [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
        yield from (name for name in names if not name.startswith("_"))


def order(name):
    """CONSTANTS, Classes, functions, each by name: the order that the linter keeps."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def undocumented(node):
    """Sections that the docstring of a kernel lacks."""
    text = ast.get_docstring(node) or ""
    return [section for section in SECTIONS if not re.search(rf"^(?:{section})$", text, re.MULTILINE)]


def is_kernel(node):
    methods = {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
    protocol = any("Protocol" in ast.unparse(base) for base in node.bases)
    return not protocol and "step" in methods and any(a.arg == "rng" for a in methods["step"].args.args)


def parse(path):
    return ast.parse(path.read_text())


def test_there_is_something_to_check():
    assert len(SOURCES) > 15
    kernels = {n.name for path in SOURCES for n in parse(path).body if isinstance(n, ast.ClassDef) and is_kernel(n)}
    assert {"Cycle", "Gibbs", "MetropolisHastings", "Mixture", "PseudoGibbs", "Tempered"} <= kernels


@files
def test_imports_point_inwards(path):
    package = path.relative_to(ROOT).parts[0]
    outer = set(MAY_IMPORT) - MAY_IMPORT[package] - {package}
    assert set(imported(parse(path))).isdisjoint(outer | BARRED[package] | {"tests"})


@files
def test_no_file_outgrows_its_ceiling(path):
    assert len(path.read_text().splitlines()) <= LONGEST


@files
def test_exports_are_sorted_and_exist(path):
    tree = parse(path)
    names = exports(tree) or []
    assert names == sorted(set(names), key=order)
    assert set(names) <= set(bound(tree))


@pytest.mark.parametrize("package", [p for p in SOURCES if p.name == "__init__.py"], ids=lambda p: p.parent.name)
def test_packages_export_all_that_they_offer(package):
    tree = parse(package)
    assert set(offered(tree)) <= set(exports(tree) or [])


@files
def test_kernels_say_what_they_sample_and_why(path):
    if "testing" in path.parts:
        pytest.skip("kernels that are broken on purpose are documented by their fault")
    kernels = [node for node in ast.walk(parse(path)) if isinstance(node, ast.ClassDef) and is_kernel(node)]
    assert {node.name: undocumented(node) for node in kernels} == {node.name: [] for node in kernels}


def test_the_rules_see_what_breaks_them():
    bad = ast.parse("class K:\n    '''Target\n    x\n    '''\n    def step(self, state, energy, rng): ...\n")
    assert is_kernel(bad.body[0])
    assert undocumented(bad.body[0]) == list(SECTIONS[1:])
    hidden = ast.parse("def f():\n    import click.testing\n    from transformers.models import x\n")
    assert set(imported(hidden)) == {"click", "transformers"}


def requirements():
    """Distributions that ``setup.cfg`` installs, as import names."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    lines = settings["options"]["install_requires"].split()
    return {re.split(r"[\[<>=]", line)[0].replace("-", "_") for line in lines}


def test_every_package_is_installed():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    found = {str(path.parent.relative_to(ROOT)).replace("/", ".") for path in SOURCES if path.name == "__init__.py"}
    assert set(settings["options"]["packages"].split()) == found


@files
def test_every_import_is_declared(path):
    known = requirements() | set(MAY_IMPORT) | set(sys.stdlib_module_names) | {"xarray"}  # arviz-stats[xarray]
    assert set(imported(ast.parse(path.read_text()))) <= known
