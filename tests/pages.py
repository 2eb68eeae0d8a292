"""The project's pages and the blocks of code in them.

A ``python`` block runs as it stands; one that begins with ``# NAME.py`` is a file for the commands of its page. An
``sh`` block has commands without their output. A ``console`` block has commands after ``$`` with what they print:
lines of ``...`` stand for any lines, and ``$ cat NAME`` shows a file for the commands that follow.

``python -m tests.pages PAGE`` runs the commands of a page and writes what they print into it.
"""

from __future__ import annotations

import contextlib
import math
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from experiments.cli import main as mcmc_text

ROOT = Path(__file__).parents[1]
FRONT = ("README.md", "README.zh.md", "CONTRIBUTING.md")
PAGES = [*(ROOT / name for name in FRONT), *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")
NEVER_THE_SAME = re.compile(r"  (speed|files)  ")  # facts of a report
ANY_LINES = "..."
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?")
ROUNDING = 1e-5  # relative, and in nats
FACT = re.compile(r"  ([a-zA-Z]\S*(?: \S+)*)  ")
LAWS = ("target", "made small")
DRAW = re.compile(r"( *\d+)  +-?\d+\.\d\d  ")
CONTINUED = " " * 25
LAST_LINES = ("R-hat ", "Convergence was not measured", "No known target", "A search", "Independent draws")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str | None:
        """Its name, if it is a file."""
        found = FILE.match(self.text) if self.language == "python" else None
        return found and found[1]

    def commands(self) -> Iterator[tuple[str, str]]:
        """Each command line, joined, with the output shown below it."""
        text = self.text.replace("\\\n", " ")
        parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:] if self.language == "console" else text.splitlines()
        for part in parts:
            command, _, output = part.partition("\n")
            if command.strip():
                yield " ".join(command.split()), output


def blocks(*languages: str) -> list[Block]:
    return [block for page in PAGES for block in blocks_of(page) if block.language in languages]


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in FENCE.finditer(text):
        yield Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2])


def printed(block: Block) -> Iterator[tuple[str, str, str]]:
    """Run a ``console`` block in the current folder: each command, the output shown, and what it prints."""
    for other in blocks_of(block.page):
        if other.file:
            Path(other.file).write_text(other.text)
    for command, shown in block.commands():
        program, *arguments = shlex.split(command)
        if program == "cat":
            Path(arguments[0]).write_text(shown)
            yield command, shown, shown
            continue
        assert program == "mcmc-text", f"{block}: {command}"
        result = CliRunner(env={"COLUMNS": "100"}).invoke(mcmc_text, arguments)
        assert result.exit_code == 0, f"{block}: {command}: {result.stderr}"
        yield command, shown, result.stdout


def lasting(output: str) -> list[str]:
    """Its lines, without speeds and names of folders."""
    lines = [line.rstrip() for line in output.splitlines() if not NEVER_THE_SAME.match(line)]
    seconds = bool(lines) and lines[0].endswith("seconds")  # a table with a last column of times
    return [line.rpartition(" ")[0].rstrip() for line in lines] if seconds else lines


def shows(shown: str, output: str) -> bool:
    """Whether the page shows what is printed, lines of ``...`` apart."""
    return _matches(lasting(shown), lasting(output))


def _matches(shown: list[str], output: list[str]) -> bool:
    parts = [re.escape(line) for line in shown]
    pattern = "\n".join(".*" if part == re.escape(ANY_LINES) else part for part in parts)
    return re.fullmatch(pattern, "\n".join(output), re.DOTALL) is not None


def nearly_shows(shown: str, output: str) -> bool:
    """Whether they differ in the last figures of numbers only, by which sums differ between processors."""
    numbers = [[float(number.replace(",", "")) for number in NUMBER.findall(text)] for text in (shown, output)]
    return NUMBER.split(shown) == NUMBER.split(output) and all(
        math.isclose(was, now, rel_tol=ROUNDING, abs_tol=ROUNDING) for was, now in zip(*numbers, strict=True)
    )


def shows_the_like(shown: str, output: str) -> bool:
    """Whether another sample of the same laws is printed: other texts and figures, in the same lines."""
    return _matches(_without_draws(shown), _without_draws(output))


def _without_draws(output: str) -> list[str]:
    """Lines without texts and figures: of a report's facts the names, and the target; of its last line a word."""
    lines = []
    for line in lasting(output):
        fact, draw = FACT.match(line), DRAW.match(line)
        if line.startswith(CONTINUED):
            continue
        if fact and fact[1] not in LAWS:
            line = fact[1]
        elif draw:
            line = draw[1]
        elif line.startswith(LAST_LINES):
            line = "the last line"
        lines.append(" ".join(re.sub(r"(?<=\s)-(?=\s|$)", "#", NUMBER.sub("#", line)).split()))
    return lines


def _renewed(shown: str, output: str) -> str:
    """``output``, without what ``shown`` leaves out."""
    if ANY_LINES not in shown.splitlines():
        return output
    lines = {_place(line): line for line in output.splitlines()}
    return "".join(f"{lines.get(_place(line), line)}\n" for line in shown.splitlines())


def _place(line: str) -> str:
    """What a line of a report is about."""
    found = DRAW.match(line) or FACT.match(line)
    return found[1].strip() if found else "the last line" if line.startswith(LAST_LINES) else line


def main(page: Path) -> None:
    text = page.read_text()
    for block in blocks_of(page):
        if block.language != "console":
            continue
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            results = list(printed(block))
        if not all(shows(shown, output) for _, shown, output in results):
            renewed = "".join(f"$ {command}\n{_renewed(shown, output)}" for command, shown, output in results)
            text = text.replace(block.text, renewed, 1)
    page.write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
