"""What README, CONTRIBUTING and docs/ say is so: code runs, commands exist, output is what is printed."""

from __future__ import annotations

import re
import shlex

import click
import pytest

import samplers
from experiments.cli import main
from tests.golden import machine, recorded
from tests.pages import PAGES, ROOT, Block, blocks, printed, shows

SECONDS = ("models", "score")  # commands that take no longer
README = (ROOT / "README.md").read_text()


def is_fast(block: Block) -> bool:
    quick = ("cat ", *(f"mcmc-text {name}" for name in SECONDS))
    return all(command.startswith(quick) for command, _ in block.commands())


CONSOLE = [pytest.param(b, marks=[] if is_fast(b) else pytest.mark.slow, id=str(b)) for b in blocks("console")]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("block", CONSOLE)
def test_output_is_what_is_printed(block, tmp_path, monkeypatch):
    if recorded()["machine"] != machine():
        pytest.skip(f"the output is that of {recorded()['machine']}")
    monkeypatch.chdir(tmp_path)
    for command, shown, output in printed(block):
        assert shows(shown, output), f"{command}\n{output}"


@pytest.mark.parametrize("block", [b for b in blocks("python") if not b.file], ids=str)
def test_code_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for other in blocks("python"):
        if other.file and other.page == block.page:
            (tmp_path / other.file).write_text(other.text)
    exec(compile(block.text, str(block), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("block", blocks("sh", "console"), ids=str)
def test_commands_and_options_exist(block):
    for command, _ in block.commands():
        program, *arguments = shlex.split(command, comments=True)
        if program != "mcmc-text" or arguments == ["--help"]:
            continue
        known = main.get_command(click.Context(main), arguments[0])
        assert known is not None, command
        options = {option for parameter in known.params for option in [*parameter.opts, *parameter.secondary_opts]}
        given = {argument.partition("=")[0] for argument in arguments if re.match("--[a-z]", argument)}
        assert given <= {*options, "--help"}, command


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    named = {target for page in PAGES for target in re.findall(r"`?make ([a-z]+)`", page.read_text())}
    assert len(named) > 8
    assert {target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)} == set()


def test_every_kernel_is_in_the_table():
    page = (ROOT / "docs/explanation/choosing-a-sampler.md").read_text()
    table = "\n".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    named = set(re.findall(r"`(\w+)`", table))
    exported = {name: getattr(samplers, name) for name in samplers.__all__}
    kernels = {name for name, value in exported.items() if isinstance(value, type) and hasattr(value, "step")}
    assert len(kernels) >= 7
    assert kernels - {"Kernel"} <= named <= set(exported)


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_shown_output_may_leave_out_lines_and_nothing_else():
    output = "a\n  speed  3\nb\nc\n"
    assert shows("a\n...\nc\n", output)
    assert shows("a\n  speed  4\nb\nc\n", output)
    assert not shows("a\nb\n", output)
    assert shows("x  seconds\nmh    1.3\n", "x  seconds\nmh    2.4\n")
    assert not shows("x  seconds\nmh 1  1.3\n", "x  seconds\nmh 2  2.4\n")
