"""What a model or a user wrote neither steers a terminal nor breaks a file."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from experiments.cli import run_command
from experiments.results.columns import columns, cut, fold
from experiments.results.safe_text import json_line, json_text, visible
from experiments.results.terminal import printable
from experiments.scoring.lines import read_lines
from samplers import InvalidInput, RunStore

HOSTILE = [
    "<script>alert(1)</script>",
    "\"quoted\" & 'so' \\ on",
    "clear \x1b[2J\x1b[H screen",
    "bell \x07 null \0 delete \x7f",
    "eight-bit \x9b2J and \x85 next line",
    "line\u2028paragraph\u2029end",
    "right \u202eot tfel\u202c and \u2066isolated\u2069",
    "half \ud800 of a character",
    "\udfff",
    "tab\tnew\nreturn\r",
]
texts = st.text(alphabet=st.characters(exclude_categories=()), max_size=30)


@given(texts)
def test_nothing_visible_acts(text: str):
    shown = visible(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in shown)
    shown.encode()


@pytest.mark.parametrize("text", ["plain", "Straße, 日本語, עברית", "👩‍👩‍👧 and 🏴", "x" * 99, "می‌خواهم"])
def test_what_does_not_act_stays(text: str):
    assert visible(text) == text
    assert json_text({"text": text}) == json.dumps({"text": text}, ensure_ascii=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("\x1b[2J", r"\x1b[2J"), ("\x9b", r"\x9b"), ("\u202eabc", r"\u202eabc"), ("\ud800", r"\ud800"), ("\0", r"\x00")],
)
def test_what_acts_is_spelled(text: str, shown: str):
    assert visible(text) == shown


@pytest.mark.parametrize("text", HOSTILE)
def test_json_lines_are_lines(text: str):
    line = json_line({"text": text, text: [float("nan"), {"x": text}]})
    assert json.loads(line) == {"text": text, text: [None, {"x": text}]}
    assert len(line.splitlines()) == 1
    assert visible(line) == line
    assert line.encode().decode() == line


@given(st.recursive(texts | st.floats() | st.integers() | st.booleans() | st.none(), lambda x: st.lists(x, max_size=4)))
def test_any_json_is_valid(value: object):
    line = json_line({"value": value})
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert len(line.splitlines()) == 1
    line.encode()


def test_numbers_that_json_lacks_are_not_written():
    with pytest.raises(ValueError, match="JSON"):
        json_text({"x": float("nan")})


@pytest.mark.parametrize("text", HOSTILE)
def test_a_run_folder_takes_any_text(text: str, tmp_path: Path):
    with RunStore(tmp_path / "run") as store:
        store.pin("config.json", {"text": text})
        assert store.read("config.json") == {"text": text}
        assert store.pin("config.json", {"text": text})
        store.log("failed", error=text)


@pytest.mark.parametrize("text", HOSTILE)
def test_printed_texts_do_not_act(text: str):
    for width in (None, 200):
        for shown in (cut(printable(text), width), *fold(printable(text), width)):
            assert visible(shown) == shown
            assert not {"\x1b", "\x9b", "\u202e"} & set(shown)
    assert 39 <= columns(cut(printable(text) * 50, 40)) <= 40


@pytest.mark.parametrize("text", HOSTILE)
def test_printed_errors_do_not_act(text: str, capfd: pytest.CaptureFixture[str]):
    def fails(**_: object) -> None:
        raise InvalidInput(f"bad {text}")

    with pytest.raises(SystemExit) as stop:
        run_command(fails)
    assert stop.value.code == 2
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert visible(told[:-1]) == told[:-1]


def test_texts_of_a_file_are_cut_at_its_lines_only(tmp_path: Path, mcmc_text: Callable[..., Result]):
    """A text may hold other ends of lines than the file's."""
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "one\u2028two"}\r\nthree\x0bfour\n')
    with path.open("rb") as stream:
        assert [line.text for line in read_lines(stream, "auto", "FILE")] == ["one\u2028two", "three\x0bfour"]


@pytest.mark.parametrize("line", ['{"a":' * 100_000, '{"text": "\\ud800"}'])
def test_a_file_that_no_model_takes_is_one_line(line: str, tmp_path: Path, mcmc_text: Callable[..., Result]):
    (tmp_path / "texts.jsonl").write_text(line + "\n")
    result = mcmc_text("score", "texts.jsonl")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["paraphrase", "a \udcff"], ["gibbs", "--out", "\udcff"], ["\ud800"]])
def test_arguments_that_are_no_text_are_one_line(arguments: list[str], mcmc_text: Callable[..., Result]):
    result = mcmc_text(*arguments)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "is no text" in result.stderr
