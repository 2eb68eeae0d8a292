"""The page of a run: complete, harmless whatever the texts, and with nothing to fetch."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import pytest
import torch

from experiments.gibbs import gibbs
from experiments.keywords import keywords
from experiments.results.chart import BOX, CHAINS, POINTS, chart
from experiments.results.cost import Cost, Spent
from experiments.results.html import TEXTS, page
from experiments.results.protocol import Run
from experiments.results.safe_text import visible
from tests.experiments.test_visible import HOSTILE
from tests.lm_adapters import tiny

TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "table", "tr", "th", "td"}
DRAWN = {"svg", "line", "text", "path"}
VOID = {"meta"}


class Reader(HTMLParser):
    """Tags, attributes and texts of a page whose tags are balanced."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.styles = ""
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.styles += data
        self.texts.append(data)


@dataclass
class Told:
    """A run that says ``text`` wherever it can."""

    text: str
    count: int = 1
    spent: Spent = field(default_factory=lambda: Spent(1.0, Cost()))
    config: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.config = {
            "experiment": self.text,
            "out": None,
            "words": [self.text],
            "trust_remote_code": False,
            self.text: self.text,
        }

    def samples(self) -> Iterator[dict[str, Any]]:
        yield {"text": self.text}

    def summary(self) -> dict[str, Any]:
        return {"trust": self.text}

    def heading(self) -> tuple[str, str]:
        return "chain", self.text

    def shown(self) -> Iterator[tuple[int, float, str]]:
        yield from ((number, math.inf, self.text) for number in range(self.count))

    def facts(self, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield self.text, self.text

    def history(self) -> None:
        return None


def read(run: Run) -> Reader:
    source = page(run, run.summary())
    source.encode()
    return Reader(source)


def harmless(reader: Reader) -> None:
    assert set(reader.tags) <= TAGS | DRAWN
    assert not [name for name, _ in reader.attributes if name.startswith("on") or name in ("src", "href", "style")]
    assert "prefers-color-scheme: dark" in reader.styles
    assert not re.search(r"url|import|http", reader.styles)


@pytest.mark.parametrize("text", [*HOSTILE, "</td></table><img src=x onerror=alert(1)>", "{{ 7 * 7 }}", "{% raw %}"])
def test_any_text_is_text(text: str):
    reader = read(Told(text))
    harmless(reader)
    shown = visible(" ".join(text.split()))
    assert reader.texts.count(shown) >= 7  # title, heading, trust line, column, text, label and value, and settings
    plain = Reader(page(Told("plain"), {"trust": "plain"}))
    assert (reader.tags, reader.attributes) == (plain.tags, plain.attributes)


def test_only_so_many_texts_are_shown():
    reader = read(Told("a text", count=TEXTS + 30))
    assert reader.tags.count("tr") == 1 + TEXTS + 1 + 4
    assert "and 30 more in samples.jsonl" in reader.texts


def test_code_that_was_run_is_told():
    run = Told("x")
    assert "trust_remote_code)" not in page(run, run.summary())
    run.config = {**run.config, "trust_remote_code": True}
    assert "bring along was run (trust_remote_code)" in page(run, run.summary())


def test_runs_of_every_kind():
    lm = tiny.words_lm(["the", "sea", "is", "old"])
    shared = {"model": lm, "chains": 2, "steps": 12, "warmup": 2, "thin": 2}
    runs: list[Run] = [gibbs(length=(3, 3), **shared)]
    for sampler in ("anneal", "importance"):
        runs.append(keywords(["sea"], scorer=lm, sampler=sampler, length=(2, 4), **shared))
    for run in runs:
        summary = run.summary()
        reader = read(run)
        harmless(reader)
        assert summary["trust"] in reader.texts
        for label, value in run.facts(summary):
            assert {label, " ".join(value.split())} <= set(reader.texts)
        for _, energy, text in run.shown():
            assert {f"{energy:.2f}", text} <= set(reader.texts)
        assert {"trust_remote_code", "False", "seed"} <= set(reader.texts)
        assert ("svg" in reader.tags) == (run is runs[0])
    assert Reader(page(runs[0], runs[0].summary())).tags.count("path") == 2


def numbers(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](\S+) (\S+)", path)]


def test_lines_are_thinned_and_fill_the_box():
    energy = torch.linspace(-3, 8, 5000, dtype=torch.float64).repeat(70, 1)
    drawn = chart(range(100, 5100), energy)
    assert len(drawn.paths) == CHAINS
    points = numbers(drawn.paths[0])
    assert 200 < len(points) <= POINTS
    assert points[0] == (BOX.left, BOX.height - BOX.below)
    assert points[-1] == (BOX.width, BOX.above)
    assert (drawn.first, drawn.last) == ("100", "5,098")
    assert [label for _, label in drawn.levels][-1] == "-3"
    assert drawn.caption == "Energy in nats by step, 20 of the 70 chains, one kept draw in 17."


def test_the_line_is_the_energy():
    drawn = chart([0, 1, 4], torch.tensor([[1.0, 3.0, 2.0]]))
    down = BOX.height - BOX.above - BOX.below
    across = BOX.width - BOX.left
    assert numbers(drawn.paths[0]) == [
        (BOX.left, BOX.above + down),
        (BOX.left + across / 4, BOX.above),
        (BOX.width, BOX.above + down / 2),
    ]
    assert drawn.caption == "Energy in nats by step."


def test_infinities_are_gaps():
    drawn = chart([0, 1, 2, 3], torch.tensor([[1.0, torch.inf, 2.0, 3.0]]))
    assert re.sub(r"[^ML]", "", drawn.paths[0]) == "MML"
    assert len(numbers(drawn.paths[0])) == 3


def test_an_energy_that_never_moves_is_a_line_in_the_middle():
    drawn = chart([0, 1], torch.full((1, 2), 7.0))
    assert {y for _, y in numbers(drawn.paths[0])} == {BOX.above + (BOX.height - BOX.above - BOX.below) / 2}


@pytest.mark.parametrize("energy", [[[1.0]], [[torch.inf, torch.inf]]])
def test_nothing_to_draw(energy: list[list[float]]):
    assert chart(range(len(energy[0])), torch.tensor(energy)) is None
