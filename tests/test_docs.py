"""What README, CONTRIBUTING and docs/ say is so: code runs, commands exist, output is what is printed."""

from __future__ import annotations

import re
import shlex

import click
import pytest

import lm_adapters
import samplers
from experiments.cli import main
from tests.golden import machine, recorded
from tests.pages import PAGES, ROOT, Block, blocks, nearly_shows, printed, shows, shows_the_like

SECONDS = ("models", "new-energy", "score")  # commands that take no longer
README = (ROOT / "README.md").read_text()


def is_fast(block: Block) -> bool:
    quick = ("cat ", *(f"mcmc-text {name}" for name in SECONDS))
    return all(command.startswith(quick) for command, _ in block.commands())


CONSOLE = [pytest.param(b, marks=[] if is_fast(b) else pytest.mark.slow, id=str(b)) for b in blocks("console")]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("block", CONSOLE)
def test_output_is_what_is_printed(block, tmp_path, monkeypatch):
    """To the letter where the page was recorded. Elsewhere sums round otherwise, after which chains part."""
    monkeypatch.chdir(tmp_path)
    here = recorded()["machine"] == machine()
    for command, shown, output in printed(block):
        assert nearly_shows(shown, output) if is_fast(block) else shows_the_like(shown, output), f"{command}\n{output}"
        assert shows(shown, output) or not here, f"{command}\n{output}"


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
        name = "keywords" if arguments[0] == "run" else arguments[0]  # a run file takes the options of its experiment
        known, names = main.get_command(click.Context(main), name), iter(arguments[1:])
        while isinstance(known, click.Group):
            known = known.get_command(click.Context(known), next(names))
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
    moves = {name for name in [*samplers.__all__, *lm_adapters.__all__] if name.endswith(("Proposal", "Block", "SMC"))}
    ratios = set(re.findall(r"`(\w+)`", (ROOT / "docs/explanation/mathematics.md").read_text()))
    assert (kernels | moves) - {"Kernel", "Proposal"} <= ratios


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_shown_output_may_leave_out_lines_and_nothing_else():
    output = "a\n  speed  3\nb\nc\n"
    assert shows("a\n...\nc\n", output)
    assert shows("a\n  speed  4\nb\nc\n", output)
    assert not shows("a\nb\n", output)
    assert shows("x  seconds\nmh    1.3\n", "x  seconds\nmh    2.4\n")
    assert not shows("x  seconds\nmh 1  1.3\n", "x  seconds\nmh 2  2.4\n")


SCORED = '{"text": "I have 2 dogs.", "energy": 30.724626}\n'


@pytest.mark.parametrize(
    ("printed", "same"),
    [
        (SCORED, True),
        (SCORED.replace("626", "630"), True),
        (SCORED.replace("30.7", "30.8"), False),
        (SCORED.replace("2 dogs", "3 dogs"), False),
        (SCORED.replace("dogs", "cats"), False),
        (SCORED * 2, False),
    ],
)
def test_elsewhere_scores_agree_but_for_their_last_figures(printed, same):
    assert nearly_shows(SCORED, printed) is same


REPORT = """chain     nats  text (the last draw of each chain)
    0     6.93  It worked all the time.
    1    -9.87  It now belongs to 3 of those books.

  target                 exp(-(pll + 2 mine)) at each length
  ESS, R-hat of it       64 of 500 draws, 1.86
  accepted by move       replace 57%, insert 7%
  speed                  3 chain-steps/s

R-hat 1.86 (want 1.01), 64 effective draws (want 1,000): the chains do not agree yet; give about 16 times the --steps.
"""


@pytest.mark.parametrize(
    ("was", "now", "alike"),
    [
        ("It worked all the time.", "I have 2 dogs.", True),
        ("64 of 500 draws, 1.86", "- of 500 draws, -", True),
        ("insert 7%", "insert 12%,\n                         delete 3%", True),
        ("the chains do not agree yet; give about 16 times the --steps.", "the chains agree on the energy.", True),
        ("R-hat 1.86 (", "Good to read: R-hat 1.86 (", False),
        ("2 mine", "mine", False),
        ("exp(-(pll", "exp(-(fluency", False),
        ("  ESS, R-hat of it       64 of 500 draws, 1.86\n", "", False),
        ("    1    -9.87  It now belongs to 3 of those books.\n", "", False),
        ("the last draw", "the best", False),
    ],
)
def test_elsewhere_a_report_has_the_same_lines_and_laws(was, now, alike):
    assert was in REPORT
    assert shows_the_like(REPORT, REPORT.replace(was, now)) is alike
    assert shows_the_like("chain     nats  text (the last draw of each chain)\n...\n", REPORT)


def test_elsewhere_a_table_has_the_same_rows():
    table = "sampler  ESS  seconds\nmh  29.2  17.3\nanneal  -  11.5\n"
    assert shows_the_like(table, table.replace("29.2", "1,031.4").replace("-", "3"))
    assert not shows_the_like(table, table.replace("anneal", "gibbs"))
