"""``mcmc-text ui``: its form says what the command line says, and its page does what a browser shows."""

from __future__ import annotations

import gc
import importlib.util
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.gibbs import gibbs
from experiments.results.safe_text import json_line
from experiments.ui.command import command, offered
from experiments.ui.fields import fields_of, words_of
from experiments.ui.runs import Runs
from samplers import InvalidInput, RunStore
from tests.experiments.in_browser import NEEDS_CHROMIUM, PATIENCE, browser, column, expect, new_tab  # noqa: F401 - fixtures
from tests.lm_adapters import tiny

WORDS = ["the", "sea", "is", "old", "sky"]
HOSTILE = ["<script>document.title='ran'</script>", "<img src=x onerror=\"document.title='ran'\">"]
HOSTILE += ["${document.title='ran'} {{value}} @children"]


def given(experiment: str, **values: str) -> dict[str, Any]:
    """The values that the command itself reads in the words of a form."""
    declared = offered()[experiment]
    context = declared.command().make_context(experiment, words_of(fields_of(declared), values))
    return context.params


def test_every_experiment_has_a_form_whose_words_its_command_reads():
    assert {"keywords", "gibbs", "infill", "paraphrase", "translate"} <= offered().keys()
    assert "compare" not in offered()
    read = given("keywords", words='music "old sky" --seed', length="4:9", any_order="yes", forbid='"a b" -c', seed="7")
    assert (read["words"], read["length"], read["any_order"]) == (("music", "old sky", "--seed"), (4, 9), True)
    assert (read["forbid"], read["seed"]) == (("a b", "-c"), 7)
    assert given("keywords", words="x", real_words="no")["real_words"] is False
    assert given("paraphrase", text="--help <b>", steps="5")["text"] == "--help <b>"
    for experiment, declared in offered().items():
        usual = {each.argument.name: each.usual for each in fields_of(declared)}
        assert words_of(fields_of(declared), usual) == ["--"], experiment


def test_a_form_asks_for_no_code():
    names = {each.label for declared in offered().values() for each in fields_of(declared)}
    assert not names & {"energy", "trust-remote-code", "out", "workers", "ray-address"}
    (own,) = [each for each in fields_of(offered()["keywords"], ["a.py:f", "b.py:g=2"]) if each.label == "energy"]
    assert own.words('"b.py:g=2"') == ["--energy=b.py:g=2"]


def test_without_gradio_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None)
    with pytest.raises(InvalidInput, match=r"the ui needs gradio; install it: pip install 'mcmc-text\[ui\]'"):
        command.main([], standalone_mode=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    lm = tiny.words_lm(WORDS)
    return str(tiny.save(lm.model, lm.space.tokenizer, tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    """With a run that is done, in a folder with a hostile name, whose texts are hostile."""
    runs = tmp_path_factory.mktemp("runs")
    path = runs / "<img src=x onerror=document.title='ran'>"
    gibbs(model=model, length=(2, 3), chains=3, steps=8, warmup=2, thin=2, real_words=False, out=str(path))
    lines = [json.loads(line) for line in (path / "samples.jsonl").read_text().splitlines()]
    for line in lines:
        line["text"] = HOSTILE[line["chain"]]
    (path / "samples.jsonl").write_text("".join(json_line(line) + "\n" for line in lines))
    return runs


@pytest.fixture(scope="module")
def address(folder) -> Iterator[str]:
    pytest.importorskip("gradio", reason="the extra ui is not installed")
    import uvicorn

    from experiments.ui.server import bound_socket, ui_app

    runs = Runs(folder)
    with bound_socket(0) as bound:
        server = uvicorn.Server(uvicorn.Config(ui_app(runs, offered()), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
        server.should_exit = server.force_exit = True
        thread.join(10)
        runs.close()
    with warnings.catch_warnings():  # of sockets that the server of gradio leaves to the garbage collector
        warnings.simplefilter("ignore")
        gc.collect()


def write(tab: Any, label: str, value: str) -> None:
    tab.fill(f"#field-{label} :is(textarea, input)", value)


def choose(tab: Any, where: str, text: str) -> None:
    tab.click(f"#{where} input")
    tab.locator(f"#{where} [role=option]", has_text=text).first.click()


def form_of_gibbs(tab: Any) -> None:
    """All of it, in place of the one that the page begins with."""
    tab.wait_for_selector("#field-words")
    choose(tab, "experiment", "gibbs")
    expect(tab.locator("#field-words")).to_have_count(0, timeout=PATIENCE)
    for part in ("Options", "More options"):
        tab.get_by_text(part, exact=True).click()


def shown(tab: Any, text: str) -> None:
    expect(tab.locator("#shown")).to_contain_text(text, timeout=PATIENCE)


def test_a_run_that_was_killed_says_so(tmp_path):
    runs = Runs(tmp_path)
    name = runs.start("gibbs", ["--chains=2"])
    runs._children[name].process.kill()
    runs._children[name].process.wait()
    assert runs.status(name) == ("failed", "The process was ended by SIGKILL; it had not begun to draw.")
    assert runs.under_way() is None
    assert runs.close() == []


@NEEDS_CHROMIUM[0]
@pytest.mark.filterwarnings("ignore")  # of what gradio is made of
def test_hostile_runs_bad_input_and_strangers(new_tab, address, folder):  # noqa: F811
    tab = new_tab(address, viewport={"width": 360, "height": 740}, color_scheme="dark")
    choose(tab, "run", "onerror")
    shown(tab, "is done")
    assert column(tab, 3, "#shown") == HOSTILE
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    assert tab.evaluate("document.body.classList.contains('dark')")
    with tab.context.expect_page() as opening:
        tab.click("#shown a")
    report = opening.value
    first = column(report, 3)[0]  # drawn, not what the file of texts says
    report.fill("#find", first)
    expect(report.locator("#found")).to_contain_text("texts")
    assert all(first in text for text in column(report, 3))
    assert report.title() == "gibbs"

    form_of_gibbs(tab)
    write(tab, "chains", "<script>")
    tab.click("#start")
    shown(tab, "error: mcmc-text gibbs: Invalid value for '--chains': '<script>' is not a valid integer range.")
    assert tab.title() == "mcmc-text"
    assert tab.said == []
    assert all(url.startswith((address, "data:", "blob:")) for url in tab.asked)
    assert len(list(folder.iterdir())) == 1

    for stranger in ({"Origin": "http://example.com"}, {"Host": "example.com"}):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(address, headers=stranger))
        assert refused.value.code in (400, 403)


@pytest.mark.slow
@NEEDS_CHROMIUM[0]
@pytest.mark.filterwarnings("ignore")
def test_ctrl_c_ends_it_while_a_page_is_open(new_tab, tmp_path):  # noqa: F811
    command = [sys.executable, "-m", "experiments.cli", "ui", "--port", "0", "--runs", str(tmp_path)]
    ui = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    tab = new_tab(ui.stdout.readline().split()[0])
    tab.wait_for_selector("#start")
    ui.send_signal(signal.SIGINT)
    assert ui.communicate(timeout=PATIENCE / 1000) == ("", "")
    assert ui.returncode == 0


@pytest.mark.slow
@NEEDS_CHROMIUM[0]
@pytest.mark.filterwarnings("ignore")
def test_a_run_is_started_watched_stopped_and_resumed(new_tab, address, folder, model):  # noqa: F811
    tab = new_tab(address)
    form_of_gibbs(tab)
    for name, value in {"model": model, "length": "2:3", "chains": "2", "steps": "1000000"}.items():
        write(tab, name, value)
    choose(tab, "field-real-words", "no")
    tab.click("#start")
    shown(tab, "of 1,000,000 steps")
    assert {*" ".join(column(tab, 3, "#shown")).split()} <= {*WORDS}
    (run,) = (path for path in folder.glob("gibbs-*"))
    tab.click("#stop")
    shown(tab, "resume with: mcmc-text gibbs --resume")
    done = RunStore(run).shard(0)
    done.load_facts()
    tab.click("#resume")
    shown(tab, "is running")
    expect(tab.locator("#shown")).to_contain_text("of 1,000,000 steps", timeout=PATIENCE)
    later = RunStore(run).shard(0)
    until = time.monotonic() + PATIENCE / 1000
    while later.load_facts() is not None and later.done <= done.done and time.monotonic() < until:
        time.sleep(0.2)
    assert later.done > done.done
    tab.click("#stop")
    shown(tab, "was stopped")
    assert tab.said == []
    assert RunStore(run).read("config.json")["steps"] == 1_000_000
