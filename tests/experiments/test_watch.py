"""``--watch``: shows what is drawn, changes nothing of it, and takes little time."""

from __future__ import annotations

import io

import pytest
import torch

from experiments.gibbs import gibbs
from experiments.keywords import keywords
from experiments.runs import watch as watching
from experiments.runs.watch import Watch
from samplers import ChainState, InvalidInput
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
    watch = Watch(space, 10**6)
    for step in range(20_000):
        space.now += 0.01
        watch(step, state(), None)
    watch.close()
    assert 0 < watch.seconds < 0.02 * space.now


@pytest.mark.parametrize("terminal", [True, False])
def test_hostile_text_is_text(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stderr = Stderr(terminal)
    monkeypatch.setattr("sys.stderr", stderr)
    watch = Watch(Space("[red]x[/red] \x1b]0;title\x07"), 1)
    watch(0, state(), None)
    watch.close()
    assert "[red]x[/red] \\x1b]0;title\\x07" in stderr.getvalue()
    assert "\x1b]0" not in stderr.getvalue()
    assert ("16 of 20 chains" in stderr.getvalue()) == terminal


def test_what_has_no_chains_to_watch_is_refused(lm):
    with pytest.raises(InvalidInput, match="watch has no meaning for sampler smc"):
        keywords(["sea"], model=lm, scorer=lm, sampler="smc", watch=True)
