"""``--watch``: shows what is drawn, changes nothing of it, and takes little time."""

from __future__ import annotations

import io

import pytest
import torch

from experiments.gibbs import gibbs
from experiments.keywords import keywords
from experiments.runs import watch as watching
from experiments.runs.watch import Watch
from samplers import ChainState
from tests.experiments.tiny_scorers import tiny_causal
from tests.lm_adapters import tiny


@pytest.fixture(scope="module")
def lm():
    return tiny.words_lm(["the", "sea", "is", "old"])


class Stderr(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


class Space:
    """Decodes every state as the same text, in ``seconds`` of a clock that nothing else moves."""

    def __init__(self, text: str, seconds: float = 0.0) -> None:
        self.text, self.seconds, self.now = text, seconds, 0.0

    def decode(self, x: torch.Tensor) -> list[str]:
        self.now += self.seconds
        return [self.text] * len(x)


def state() -> ChainState:
    x = torch.zeros(20, 3, dtype=torch.int64)
    return ChainState(x, torch.arange(20.0, dtype=torch.float64), {}, torch.zeros(20, 1))


def test_the_draws_are_the_same_and_the_end_is_shown(lm, capsys):
    how = {"model": lm, "length": (3, 3), "chains": 2, "steps": 12, "warmup": 2, "thin": 2}
    assert gibbs(**how, watch=True).texts() == gibbs(**how).texts()
    assert "step 12 of 12: mean " in capsys.readouterr().err


@pytest.mark.parametrize("terminal", [True, False])
def test_it_takes_less_than_two_percent(terminal, monkeypatch):
    monkeypatch.setattr("sys.stderr", Stderr(terminal))
    space = Space("a text", seconds=0.2)
    monkeypatch.setattr(watching.time, "monotonic", lambda: space.now)
    watch = Watch(space)
    observe = watch.steps(10**6)
    for step in range(20_000):
        space.now += 0.01
        observe(step, state(), None)
    watch.close()
    assert 0 < watch.seconds < 0.02 * space.now


@pytest.mark.parametrize("terminal", [True, False])
def test_hostile_text_is_text(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stderr = Stderr(terminal)
    monkeypatch.setattr("sys.stderr", stderr)
    watch = Watch(Space("[red]x[/red] \x1b]0;title\x07"))
    watch.steps(1)(0, state(), None)
    watch.close()
    assert "[red]x[/red] \\x1b]0;title\\x07" in stderr.getvalue()
    assert "\x1b]0" not in stderr.getvalue()
    assert ("16 of 20 texts" in stderr.getvalue()) == terminal


@pytest.mark.parametrize(
    ("sampler", "steps", "told"),
    [
        ("smc", 6, "population 2 of 2 at 1 of the way: mean "),
        ("rejection", 500, "text "),
        ("importance", 6, "text 24 of 24: mean "),
    ],
)
def test_texts_without_chains_are_shown_too(lm, capsys, sampler, steps, told):
    scorer = tiny_causal(lm.space.tokenizer)
    how = {"model": lm, "scorer": scorer, "length": (2, 3), "chains": 4, "steps": steps, "real_words": False}
    how |= {"sampler": sampler, "particles": 6, "populations": 2, "moves": 1}
    assert keywords(["sea"], **how, watch=True).texts() == keywords(["sea"], **how).texts()
    assert told in capsys.readouterr().err


def test_what_other_processes_have_committed_is_shown(monkeypatch):
    stderr = Stderr(False)
    monkeypatch.setattr("sys.stderr", stderr)
    found = [(4, torch.zeros(2, 3, dtype=torch.int64), torch.tensor([3.0, 1.0])), (2, torch.zeros(1, 3), torch.ones(1))]
    watch = Watch(Space("a text"))
    watch.shards(lambda: [], 20, "steps")
    watch.shards(lambda: found, 20, "steps")
    watch.shards(lambda: pytest.fail("it is too early"), 20, "steps")
    assert stderr.getvalue() == "6 of 20 steps: mean 1.67, lowest 1.00 nats: a text\n"


def test_what_is_done_at_one_go_is_not_watched(mcmc_text, tmp_path):
    (tmp_path / "list.txt").write_text("a\n")
    result = mcmc_text("choose", "a", "--from", "list.txt", "--watch")
    assert (result.exit_code, result.stderr) == (2, "error: --watch has no meaning for --sampler exact; leave it out\n")
