"""Pages in Debian's Chromium, through Playwright; where there is none the tests say why they are skipped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
expect = sync_api.expect
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NEEDS_CHROMIUM = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; on Debian: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

PATIENCE = 60_000  # milliseconds, on a machine that has much else to do


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as play:
        # A container has no user namespaces for the sandbox; the page is our own.
        started = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def new_tab(browser: Any) -> Iterator[Callable[..., Any]]:
    """A tab at an address, with what its console ``said`` and what it ``asked`` for; ``how``: of its context."""
    contexts = []

    def open_page(address: str, **how: Any) -> Any:
        contexts.append(browser.new_context(**how))
        tab = contexts[-1].new_page()
        tab.set_default_timeout(PATIENCE)
        tab.said, tab.asked = [], []
        tab.on("console", lambda message: tab.said.append(message.text))
        tab.on("pageerror", lambda error: tab.said.append(str(error)))
        tab.on("request", lambda request: tab.asked.append(request.url))
        tab.goto(address)
        return tab

    yield open_page
    for context in contexts:
        context.close()


def column(tab: Any, number: int, table: str = "#texts") -> list[str]:
    """The cells of a column, once there is a row: a page is drawn after it was opened."""
    tab.locator(f"{table} tbody tr").first.wait_for(state="attached")
    return tab.eval_on_selector_all(
        f"{table} tbody tr td:nth-child({number})", "all => all.map(each => each.textContent)"
    )
