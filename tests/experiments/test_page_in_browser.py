"""The page as a browser shows it: opened from its file, sorted, searched, on a phone, in the dark, and a long one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.pages.page import TEXTS, page
from tests.experiments.in_browser import NEEDS_CHROMIUM, browser, column, expect, new_tab  # noqa: F401 - fixtures
from tests.experiments.test_page import Told

pytestmark = NEEDS_CHROMIUM

MANY = 100_000
SECONDS = 2.0  # in which the page of so many draws is to open, on a machine that has nothing else to do
HOSTILE = "<script>document.title = 'ran'</script><img src=x onerror=\"document.title='ran'\">"


class Sentences(Told):
    """As many texts as asked for, with energies and terms; the first one is hostile."""

    def samples(self) -> Iterator[dict[str, Any]]:
        for number in range(self.count):
            text = HOSTILE if number == 0 else f"Sentence {number} of {self.count} is about music at night 🎵."
            terms = {"fluency": 20 + number % 97 / 10, "keywords": number % 7}
            yield {
                "chain": number % 8,
                "step": number // 8,
                "energy": sum(terms.values()),
                "terms": terms,
                "text": text,
            }


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("page"), 450)


def write(folder: Path, count: int) -> Path:
    run = Sentences("keywords", count=count)
    run.config = {**run.config, "words": ["music", "night"]}
    (folder / "report.html").write_text(page(run, {"trust": "As far as it goes.", "target": HOSTILE}), "utf-8")
    return folder / "report.html"


@pytest.fixture
def opened(new_tab, path):  # noqa: F811 - the fixture
    return lambda where=path, **how: new_tab(where.as_uri(), **how)


def test_sorted_filtered_and_shown_as_text(opened):
    tab = opened()
    assert HOSTILE in column(tab, 3)[: TEXTS + 1] + tab.eval_on_selector_all("dd", "all => all.map(x => x.textContent)")
    assert len(column(tab, 3)) == TEXTS
    tab.click("#texts th:nth-child(2) button")
    expect(tab.locator("#texts th:nth-child(2)")).to_have_attribute("aria-sort", "ascending")
    energies = [float(value) for value in column(tab, 2)]
    assert energies == sorted(energies)
    tab.click("#texts th:nth-child(2) button")
    expect(tab.locator("#texts th:nth-child(2)")).to_have_attribute("aria-sort", "descending")
    assert float(column(tab, 2)[0]) > energies[-1]
    tab.fill("#find", "SENTENCE 44")
    expect(tab.locator("#texts tbody tr")).to_have_count(11)
    assert tab.inner_text("#found") == "11 of 450 texts"
    assert tab.eval_on_selector_all("#texts tbody tr:first-child mark", "all => all.map(x => x.textContent)") == [
        "music", "night"
    ]  # fmt: skip
    tab.fill("#find", "<script>")
    expect(tab.locator("#texts tbody tr")).to_have_count(1)
    assert column(tab, 3) == [HOSTILE]
    tab.fill("#find", "")
    expect(tab.locator("#texts tbody tr")).to_have_count(TEXTS)
    tab.click("#more button")
    expect(tab.locator("#texts tbody tr")).to_have_count(2 * TEXTS)
    assert tab.title() == "keywords"
    assert tab.said == []


def test_it_is_whole_without_scripts(opened):
    tab = opened(java_script_enabled=False)
    assert tab.is_hidden("#tools")
    assert tab.inner_text("#more") == "and 250 more, which scripts would show; samples.jsonl has all"
    assert tab.locator("#texts tbody tr").count() == TEXTS
    assert tab.locator("#energy svg[role=img] path").count() == 8


def test_a_phone_in_the_dark(opened):
    tab = opened(viewport={"width": 360, "height": 740}, color_scheme="dark")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 27)"
    assert opened(color_scheme="light").evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    assert tab.said == []


def test_a_hundred_thousand_draws_open_at_once(opened, tmp_path):
    where = write(tmp_path, MANY)
    taken = []
    for _ in range(5):  # other work on the machine only makes it longer
        began = time.perf_counter()
        tab = opened(where)
        assert tab.locator("#texts tbody tr").count() == TEXTS
        taken.append(time.perf_counter() - began)
        if taken[-1] < SECONDS:
            break
    assert min(taken) < SECONDS
    tab.fill("#find", f"sentence {MANY - 1} ")
    expect(tab.locator("#texts tbody tr")).to_have_count(1)
    assert tab.said == []
