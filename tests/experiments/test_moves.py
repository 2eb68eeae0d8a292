"""``mcmc-text benchmark --moves``: all moves beside edits alone, under one law. No figure is tested."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from experiments.benchmark import command
from experiments.keywords import keywords
from experiments.mixing import moves as module
from experiments.mixing.moves import MixtureTask, move_lines
from experiments.mixing.only_edits import only_edits
from experiments.setup.kernels import edit_kernel
from lm_adapters import SequenceEnergy
from tests.experiments.tiny_scorers import tiny_writer
from tests.lm_adapters import tiny

WORDS = ("the", "sea", "is", "old", "cold")


@pytest.fixture(scope="module")
def task() -> MixtureTask:
    lm = tiny.words_lm(WORDS)
    scorer = tiny_writer(lm.space.tokenizer, "words_to_sentence")

    def run(**how):
        return keywords(["sea"], model=lm, scorer=scorer, length=(1, 5), chains=2, **how)

    return MixtureTask(run, steps=8, warmup=2, times=3, ends=True)


def test_what_is_left_of_the_moves():
    lm = tiny.words_lm(WORDS)
    writer = tiny_writer(lm.space.tokenizer, "words_to_sentence")
    reader = writer.condition_on("sea")
    given = {"max_length": 5, "scorer": SequenceEnergy(reader), "writer": writer, "informed": [reader]}
    with only_edits():
        assert set(edit_kernel(lm, **given).move_names) == {"replace", "insert", "delete", "block"}
    with only_edits(ends=True):
        assert set(edit_kernel(lm, **given).move_names) == {"replace", "insert", "delete", "block", "suffix"}
    assert {"suffix", "rewrite", "independent"} <= set(edit_kernel(lm, **given).move_names)


def test_tokens_are_those_of_the_kept_steps(task: MixtureTask):
    edits, every = move_lines({"tiny": task})
    assert (edits.steps, every.steps) == (24, 8)
    assert 0 < edits.tokens < every.tokens
    for line, kept in ((edits, 18), (every, 6)):
        assert line.ess_per_million_tokens == pytest.approx(line.ess * 1e6 / line.tokens / 2 / kept, nan_ok=True)


def test_the_command_prints_two_lines_a_task(task: MixtureTask, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(module.MIXTURES, "tiny", task)
    for name in [name for name in module.MIXTURES if name != "tiny"]:
        monkeypatch.delitem(module.MIXTURES, name)
    found = CliRunner().invoke(command, ["--moves", "--json"], catch_exceptions=False)
    lines = [json.loads(line) for line in found.output.splitlines()]
    assert [(line["task"], line["kernel"]) for line in lines] == [("tiny", "edits"), ("tiny", "all moves")]
