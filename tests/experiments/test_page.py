"""The page of a run: complete, harmless whatever the texts, and with nothing to fetch."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
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
from experiments.pages.drawing import BOX, drawing
from experiments.pages.draws import Chain, Draws
from experiments.pages.marks import changed, marker
from experiments.pages.page import SAID, TEXTS, page
from experiments.pages.plot import Line, Plot, round_ticks
from experiments.pages.plots import CHAINS, POINTS, plots_of
from experiments.results.cost import Cost, Spent
from experiments.results.protocol import Run
from experiments.results.safe_text import visible
from tests.experiments.test_visible import HOSTILE
from tests.lm_adapters import tiny

TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "section", "h1", "h2", "h3", "p", "dl", "dt", "dd",
    "table", "thead", "tbody", "tr", "th", "td", "div", "span", "mark", "ins", "details", "summary", "input", "script",
    "code",
}  # fmt: skip
DRAWN = {"svg", "line", "text", "path", "rect", "figure", "figcaption"}
VOID = {"meta", "input"}


class Reader(HTMLParser):
    """Tags, attributes and texts of a page whose tags are balanced."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.styles = ""
        self.scripts: list[str] = []
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
        elif self.open and self.open[-1] == "script":
            self.scripts.append(data)
            return
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
        for number in range(self.count):
            yield {
                "chain": 0, "step": number, "energy": math.inf, "terms": {self.text: 1.0, "other": 2.0},
                "text": f"{self.text}{number or ''}",
            }  # fmt: skip

    def summary(self) -> dict[str, Any]:
        return {"trust": self.text, "target": self.text, "progress": self.text}

    def heading(self) -> tuple[str, str]:
        return "chain", self.text

    def shown(self) -> Iterator[tuple[int, float, str]]:
        yield from ((number, math.inf, self.text) for number in range(self.count))

    def facts(self, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield self.text, self.text

    def history(self) -> None:
        return None


def read(run: Run) -> Reader:
    source = page(run, run.summary(), f"mcmc-text {run.config['experiment']}")
    source.encode()
    return Reader(source)


def rows(reader: Reader) -> list[list[Any]]:
    """Those of all texts, which the script shows."""
    found: list[list[Any]] = json.loads(gzip.decompress(base64.b64decode(reader.scripts[0])))
    return found


def harmless(reader: Reader) -> None:
    assert set(reader.tags) <= TAGS | DRAWN
    assert not [name for name, _ in reader.attributes if name.startswith("on") or name in ("src", "href", "style")]
    assert "prefers-color-scheme: dark" in reader.styles
    assert not re.search(r"url|import|http", reader.styles)
    assert reader.tags.count("script") == 2
    (policy,) = [value for _, value in reader.attributes if value and value.startswith("default-src")]
    for kind, source in (("style", reader.styles), ("script", reader.scripts[-1])):
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy


@pytest.mark.parametrize("text", [*HOSTILE, "</td></table><img src=x onerror=alert(1)>", "{{ 7 * 7 }}", "{% raw %}"])
def test_any_text_is_text(text: str):
    reader = read(Told(text))
    harmless(reader)
    shown = visible(" ".join(text.split()))
    # Title, heading, progress, trust, target, text, term, label and value, and settings.
    assert reader.texts.count(shown) >= 10
    plain = read(Told("plain"))
    assert (reader.tags, reader.attributes) == (plain.tags, plain.attributes)
    assert rows(reader)[0][2] == shown


def test_only_so_many_texts_are_shown():
    reader = read(Told("a text", count=TEXTS + 30))
    assert len(re.findall("a text", "".join(reader.texts))) >= TEXTS
    assert "and 30 more, which scripts would show; samples.jsonl has all" in reader.texts
    assert len(rows(reader)) == TEXTS + 30


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
            assert {label} - SAID | {" ".join(value.split())} <= set(reader.texts)
        shown = {row[2]: row[1] for row in rows(reader)}
        assert set(shown) == {sample["text"] for sample in run.samples()}
        for _, energy, text in run.shown():
            assert shown[text] <= round(energy, 4)
        assert {"trust-remote-code", "no", "seed"} <= set(reader.texts)
    titles = [{plot.title for plot in _plots(run)} for run in runs]
    assert titles == [{"Energy along the chains", "Means from below and above", "Moves"}, {"The search"}, set()]


def _plots(run: Run) -> list[Plot]:
    history = run.history()
    return plots_of(Draws.of(run.samples()), run.summary(), history[:2] if history else None, run.config["steps"])


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](\S+) (\S+)", path)]


def plot(*rows: list[float], **how: Any) -> Plot:
    return Plot("p", "P", "x", "y", [Line("", list(range(len(row))), row, 0) for row in rows], "", **how)


def chains(energies: torch.Tensor, starts: list[str]) -> Draws:
    steps = list(range(100, 100 + energies.shape[1]))
    texts = ["x"] * len(steps)
    rows = zip(energies.tolist(), starts, strict=True)
    return Draws([Chain(number, start, steps, row, texts) for number, (row, start) in enumerate(rows)], [])


def test_lines_are_thinned_and_fill_the_box():
    energy = torch.linspace(-3, 8, 5000, dtype=torch.float64).repeat(70, 1)
    found = {each.name: each for each in plots_of(chains(energy, [""] * 70), {}, None, 0)}
    assert set(found) == {"energy", "ranks", "autocorrelation"}
    drawn = drawing(found["energy"])
    assert len(drawn.strokes) == CHAINS
    places = points(drawn.strokes[0][0])
    assert 200 < len(places) <= POINTS
    assert places[0] == (BOX.left, BOX.height - BOX.below)
    assert places[-1] == (BOX.width - BOX.right, BOX.above)
    assert [label for _, label in drawn.up] == ["0", "5"]
    assert "20 of the 70 chains. One kept draw in 17." in found["energy"].caption


@pytest.mark.parametrize(("low", "high", "ticks"), [
    (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (14.2, 31, [15, 20, 25, 30]), (-7, 13, [-5, 0, 5, 10]),
    (1e300, 4e300, [1e300, 2e300, 3e300, 4e300]), (3, 3, [3]), (-1e308, 1e308, [-1e308, 0, 1e308]),
])  # fmt: skip
def test_ticks_are_round(low: float, high: float, ticks: list[float]):
    assert round_ticks(low, high) == pytest.approx(ticks)


def test_infinities_are_gaps():
    stroke = drawing(plot([1.0, math.inf, 2.0, 3.0])).strokes[0][0]
    assert re.sub(r"[^ML]", "", stroke) == "MML"
    assert len(points(stroke)) == 3


def test_a_line_that_never_moves_is_in_the_middle():
    heights = {y for _, y in points(drawing(plot([7.0, 7.0])).strokes[0][0])}
    assert heights == {BOX.above + (BOX.height - BOX.above - BOX.below) / 2}


@pytest.mark.parametrize("row", [[1.0], [math.inf, math.inf]])
def test_nothing_to_draw(row: list[float]):
    assert drawing(plot(row)) is None


@pytest.mark.parametrize("values", [[1e18] * 3, [0.0] * 3, [-1e308, 1e308, 0.0], [5.0, 5.0 + 1e-13, 5.0]])
def test_extremes_stay_in_the_box(values: list[float]):
    rows = torch.tensor([values * 9, values * 9], dtype=torch.float64)
    for each in plots_of(chains(rows, ["below", "above"]), {}, None, 0):
        drawn = drawing(each)
        assert "nan" not in "".join(path for path, _, _ in drawn.strokes)
        heights = [y for path, _, _ in drawn.strokes for _, y in points(path)]
        assert all(BOX.above <= y <= BOX.height - BOX.below for y in heights)


def test_each_kind_of_start_has_its_colour_and_its_mean():
    rows = torch.tensor([[1.0, 3.0] * 20, [5.0, 9.0] * 20], dtype=torch.float64)
    found = {each.name: each for each in plots_of(chains(rows, ["below", "above"]), {}, None, 0)}
    assert [label for label, _, _ in found["energy"].legend()] == ["from below", "from above"]
    below, above = found["means"].lines
    assert [below.y[1], above.y[1], below.y[-1], above.y[-1]] == pytest.approx([2, 7, 2, 7])
    _, low, high = found["ranks"].lines
    assert (low.y[-1], high.y[0]) == (0, 0)
    assert [sum(line.y[::2]) for line in (low, high)] == [10, 10]
    assert len({line.hue for line in plots_of(chains(rows, ["", ""]), {}, None, 0)[0].lines}) == 2


def test_autocorrelation_is_that_of_the_chains():
    noise = torch.randn(6, 2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    walk = noise.clone()
    for step in range(1, 2000):
        walk[:, step] += 0.5 * walk[:, step - 1]
    found = {each.name: each for each in plots_of(chains(walk, [""] * 6), {}, None, 0)}
    assert found["autocorrelation"].lines[1].y[:4] == pytest.approx([1, 0.5, 0.25, 0.125], abs=0.03)


@pytest.mark.parametrize(("config", "text", "marked"), [
    ({"words": ["music", "Night"]}, "Music at night, not nightly", ["Music", "night"]),
    ({"template": "The [MASK] sat on the [MASK:1-4]."}, "the old cat sat on the red mat.", ["old cat", "red mat"]),
    ({"template": "[MASK:1-4]"}, "all of it", ["all of it"]),
    ({"template": "The [MASK]"}, "another text", []),
    ({"experiment": "paraphrase", "text": "I like it."}, "I love it!", ["love"]),
    ({"must_contain": [""]}, "x", []),
])  # fmt: skip
def test_what_is_marked(config: dict[str, Any], text: str, marked: list[str]):
    found = marker(config)
    assert [text[start:end] for start, end in (found[1](text) if found else [])] == marked


def test_changes_are_the_words_that_are_new():
    after = "I really like old music."
    assert [after[start:end] for start, end in changed("I like music.", after)] == ["really", "old"]
    assert changed("the same", "the same") == []
    assert changed("床前明月光", "床前看月光") == [(2, 3)]
    assert marker({"words": ["明月"]})[1]("床前明月光") == [(2, 4)]
