"""Any command line, drawn from click's own definitions, so that a new command or option is tried by itself."""

from __future__ import annotations

from typing import Any

import click
from hypothesis import strategies as st

from experiments.cli import main
from tests.samplers.damaging import damages

__all__ = ["COMMANDS", "MODULES", "RUNS", "SMALL", "cases", "command_lines", "spoiled_runs", "usual"]

# --- command lines

SERVES = {"ui"}  # until it is stopped
CHINESE = {"couplet"}  # which no word of ``TEXT`` is
COMMANDS = {
    name: main.get_command(click.Context(main), name)
    for name in main.list_commands(click.Context(main))
    if name not in SERVES
}
TEXT = "the old house sea[MASK]"  # what every argument takes: words, a text, a template, though no name of a file
WITHOUT_SLOT = "the old house sea"  # around one a phrase needs a model that fills spans
FILES = ("texts.txt", "samples.jsonl")
FOLDERS = ("corpus", "corpus broken", "corpus torn", "empty", "folder", "link")
PLACES = (
    *FILES, *FOLDERS, "new", "new/below", ".", "mine.py", "nowhere", "texts.txt/below", "binary", "unreadable",
    "dangling", "loop", "masked spoilt", "n" * 300, "/proc/no/way", "/dev/null", "folder/", "-", "~", "é\u202e", " ",
)  # fmt: skip
MODELS = ("masked-en", "causal-en", "seq2seq-en", "masked spoilt", "folder", "no/such", "a/b/c", "https://x.example/y")
DEVICES = ("cpu", "cpu:0", "cuda", "cuda:99", "meta", "mps", "xla", "lazy", "tpu9", "cpu:-1", "cuda:x")
DTYPES = ("float32", "bfloat16", "float16", "float64", "int3")
NUMBERS = ("0", "1", "2", "3", "-1", "1.5", "1e3", "nan", "inf", "-inf", "1e400", "-1e400", "1" * 20, "9" * 5000, "0x1",
           "٣", "1_0", "+2", " 2", "1:2", "5:1", "2:", ":", "1:999", "0:3", "-3:3", "1:2:3", "7e-320")  # fmt: skip
WORDS = (
    "", " ", "sea", "the old sea", "We", "<mask>", "<s>", "[MASK]", "[MASK:1-3]", "the [MASK:2-1]", "[MASK:0]", "[MASK",
    "a [MASK:99999999999]", f"[MASK:{'9' * 5000}]", "[MASK][MASK:2]", "日本語", "\U0001f600", "\udcff", "\udfff",
    "\x1b[2J", "a\nb", "\t", "\u202e", "\x7f", "sea " * 500, "a" * 5000, "--", "-", "-x", "--=", "%s", "{}", "'", '"',
)  # fmt: skip
FUNCTIONS = """
import math, sys
import torch
from samplers import Constraint

def short(texts): return [len(text) for text in texts]
def other(texts): return [0.5 for _ in texts]
def fluency(texts): return [1 for _ in texts]
def nan(texts): return [math.nan for _ in texts]
def seldom(texts): return [math.nan if len(text) % 2 else 1.0 for text in texts]
def inf(texts): return [math.inf for _ in texts]
def ninf(texts): return [-math.inf for _ in texts]
def huge(texts): return [10**400 for _ in texts]
def words(texts): return texts
def none(texts): return None
def few(texts): return [0.0]
def deep(texts): return deep(texts)
def two(texts, more): return [0.0]
def broken(texts): raise ValueError("half \\ud800 of it\\nin two lines")
def ends(texts): sys.exit(3)
def tensor(x: torch.Tensor): return x.float().sum(dim=1)
def wide(x: torch.Tensor): return x.double()
def graph(x: torch.Tensor): return x.double().requires_grad_().sum(dim=1)
def meta(x: torch.Tensor): return x.double().sum(dim=1).to("meta")
def whole(x: torch.Tensor): return x.sum(dim=1)
def memory(texts): raise MemoryError
class Kind:
    def __init__(self, texts): pass
term = Constraint("term", lambda x: x[:, 0] >= 0)
number = 3
"""
ENERGIES = (
    "mine.py:short", "mine.py:other", "mine.py:short=-2", "mine.py:short=1e308", "mine.py:short=0", "mine.py:short=nan",
    "mine.py:tensor", "mine.py:term", "mine.py:seldom", "mine.py:fluency",
    *(f"mine.py:{name}" for name in ("nan", "inf", "ninf", "huge", "words", "none", "few", "deep", "two", "broken",
      "ends", "wide", "graph", "meta", "whole", "memory", "Kind", "number", "absent", "math", "__doc__")),
    "syntax.py:f", "raises.py:f", "exits.py:f", "endless.py:f", "bytes.py:f", "empty.py:f", "folder.py:f",
    "unreadable.py:f", "gone.py:f", "mine.py", ":f", "mine.py:", "mine.py:1", "mine.py:short=", "./mine.py:short",
)  # fmt: skip
MODULES = {
    "mine.py": FUNCTIONS,
    "syntax.py": "def f(texts:\n",
    "raises.py": "raise RuntimeError('not\\nthis \\x1b[2J')\n",
    "exits.py": "raise SystemExit(3)\n",
    "endless.py": "def f():\n    f()\n\n\nf()\n",
    "bytes.py": b"\xff\xfe\x00",
    "empty.py": "",
    "unreadable.py": "f = len\n",
}
anything = st.one_of(
    *map(st.sampled_from, (NUMBERS, WORDS, PLACES, MODELS, DEVICES, DTYPES, ENERGIES)),
    st.text(st.characters(exclude_characters="\0/"), max_size=12),
    st.integers().map(str),
    st.floats().map(str),
)


def value(parameter: click.Parameter) -> st.SearchStrategy[str]:
    """What the parameter says that it takes."""
    kind = parameter.type
    if isinstance(kind, click.Choice):
        return st.sampled_from(kind.choices)
    if isinstance(kind, click.Path):
        return st.sampled_from(("corpus", "corpus", *FOLDERS, "new") if kind.dir_okay else FILES)
    if isinstance(kind, type(click.INT) | type(click.FLOAT)):  # their ranges too
        least = int(getattr(kind, "min", None) or 0)
        return st.sampled_from([str(least + more) for more in (0, 1, 2, 3)])
    if kind.name == "tokens":
        return st.sampled_from(["2", "2:4", "1:20"])
    if "FILE.py" in (parameter.metavar or ""):
        return st.sampled_from(ENERGIES)
    default = parameter.default
    own = [default] if isinstance(default, str) else list(default) if isinstance(default, tuple) else []
    return st.sampled_from([*own] * 9 + [TEXT, "sea", "old", "masked-en"])


def spelled(draw: Any, option: click.Option, wildness: int) -> list[str]:
    name = draw(st.sampled_from([*option.opts, *option.secondary_opts]))
    if option.is_flag:
        return [name]
    given = _drawn(draw, option, wildness)
    return draw(st.sampled_from([[name, given], [f"{name}={given}"]]))


def _drawn(draw: Any, parameter: click.Parameter, wildness: int) -> str:
    return draw(anything if draw(st.integers(0, 9)) < wildness else value(parameter))


@st.composite
def lines(draw: Any) -> list[str]:
    """Arguments that are right, nearly right, or no matter what."""
    name = draw(st.sampled_from(sorted(COMMANDS)))
    command, wildness = COMMANDS[name], draw(st.sampled_from([0, 0, 1, 2, 9]))
    options = [each for each in command.params if isinstance(each, click.Option)]
    more = draw(st.lists(st.sampled_from(options), max_size=6)) if options else []
    parts = [spelled(draw, option, wildness) for option in [*(each for each in options if each.required), *more]]
    parts += [[_drawn(draw, each, wildness)] for each in command.params if isinstance(each, click.Argument)]
    words = [name, *(word for part in draw(st.permutations(parts)) for word in part)]
    if wildness > 1:
        at = draw(st.integers(0, len(words) - 1))
        words[at : at + draw(st.integers(0, 1))] = draw(st.lists(anything, max_size=2))
    return words


# --- run folders, finished, that are gone on with

RUNS = sorted(
    name
    for name, command in COMMANDS.items()
    if name not in CHINESE and any(each.name == "resume" for each in command.params)
)
SMALL = {
    "chains": "2",
    "steps": "3",
    "warmup": "1",
    "thin": "1",
    "length": "2:16",
    "count": "1",
    "alpha": "1",
    "commit_every": "1",
}
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | anything,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(anything, inner, max_size=2),
    max_leaves=4,
)
SPOILS = damages | st.tuples(st.just("field"), st.integers(0, 99), ANY_JSON)


def usual(name: str) -> list[str]:
    """The least that a command needs."""
    words = [name]
    for each in COMMANDS[name].params:
        if isinstance(each, click.Argument):
            words.append(WITHOUT_SLOT if name == "choose" else TEXT)
        elif each.required:
            words += [each.opts[0], FILES[0] if each.metavar == "FILE" else "2"]
    return words


@st.composite
def runs(draw: Any) -> list[str]:
    """A new one, or the same command once more, or another, in the folder of one."""
    name = draw(st.sampled_from(RUNS))
    folder = f"run {name}" if draw(st.integers(0, 9)) else f"run {draw(st.sampled_from(RUNS))}"
    options = [each for each in COMMANDS[name].params if isinstance(each, click.Option)]
    rich = [each for each in options if each.multiple]
    more = draw(st.lists(st.sampled_from([*options, *rich * 4]), max_size=3))
    begins = [[name, "--resume", folder], [*usual(name), "--out", folder], usual(name)]
    begun = draw(st.sampled_from([*begins, ["report", folder]]))
    return begun if begun[0] == "report" else begun + [word for option in more for word in spelled(draw, option, 1)]


command_lines = st.tuples(lines(), st.just([]))
spoiled_runs = st.tuples(runs(), st.lists(SPOILS, min_size=1, max_size=2))
cases = st.one_of(command_lines, spoiled_runs, st.tuples(runs(), st.just([])))
"""A command line, and what is done before to the run folder that it names."""
