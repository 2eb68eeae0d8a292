"""The evaluations run on held-out rows and tell the figures that they are compared with."""

from __future__ import annotations

import gzip
import re

import pytest

from experiments import evaluate
from experiments.training import data
from tests.experiments.tiny_scorers import tiny_causal, tiny_seq2seq

NOUNS = ("house", "garden", "music", "piano", "school", "river", "money", "question")
VERBS = ("likes", "finds", "wants", "loses", "paints")


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """A few sentences of each file, the last ones held out."""
    monkeypatch.setattr(data, "HELD_OUT", 30)
    english = [f"My old friend {verb} the {noun} near the station." for verb in VERBS for noun in NOUNS]
    files = {
        "tatoeba.eng.txt.gz": english,
        "tatoeba.eng-fra.tsv.gz": [f"{row}\tphrase {i}" for i, row in enumerate(english)],
        "tatoeba.eng-paraphrase.tsv.gz": [f"{row}\tSay {i}: {row}" for i, row in enumerate(english)],
    }
    for name, rows in files.items():
        with gzip.open(tmp_path / name, "wt", encoding="utf-8") as file:
            file.write("".join(f"{row}\n" for row in rows))
    return tmp_path


@pytest.fixture
def tiny(embedded, monkeypatch):
    causal, seq2seq = tiny_causal(embedded.space.tokenizer), tiny_seq2seq(embedded.space.tokenizer)
    monkeypatch.setattr("lm_adapters.MaskedLM.from_pretrained", lambda name: embedded)
    monkeypatch.setattr("lm_adapters.CausalLM.from_pretrained", lambda name: causal)
    monkeypatch.setattr("lm_adapters.Seq2SeqLM.from_pretrained", lambda name: seq2seq)


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("keywords", {"coverage": "100%", "sets of words": 2, "texts": 8}),
        ("infill", {"sentences": 2}),
        ("paraphrase", {"pairs": 2}),
        ("translate", {"pairs": 2, "coverage": "100%"}),
    ],
)
def test_each_tells_its_figures(corpus, tiny, name, figures):
    found = evaluate.EVALUATIONS[name](corpus, count=2, steps=4)
    assert {key: found[key] for key in figures} == figures
    assert all(re.search(r"\d", str(value)) for value in found.values())


def test_copying_is_judged_beside_the_paraphrases(corpus, tiny):
    found = evaluate.evaluate_paraphrase(corpus, count=2, steps=4)
    assert found["copy of the source, bleu to source"] == "100.0"


def test_the_command_prints_a_line_a_figure(corpus, tiny, mcmc_text):
    result = mcmc_text("evaluate", "infill", "--corpus", corpus, "--count", 1, "--steps", 4)
    assert result.exit_code == 0, result.stderr
    assert "exact match, joint" in result.stdout


def test_an_unknown_experiment_is_one_line(mcmc_text, corpus):
    result = mcmc_text("evaluate", "toast", "--corpus", corpus)
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["keywords", "infill", "paraphrase", "translate"])
def test_more_rows_than_there_are_is_one_line(corpus, tiny, mcmc_text, name):
    result = mcmc_text("evaluate", name, "--corpus", corpus, "--count", 1000, "--steps", 2)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--count is 1000, but of --corpus only" in result.stderr


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        (b"no gzip", "cannot be read"),
        (gzip.compress(b"one\ttwo\n" * 99)[:-9], "cannot be read"),
        (gzip.compress(b"\xff\xfe\n"), "cannot be read"),
        (gzip.compress(b"one\ttwo\nonly one\n"), "line 2: no two texts with a tab between"),
        (gzip.compress(b"one\ttwo\tthree\n"), "line 1: no two texts"),
    ],
    ids=["no gzip", "cut off", "no UTF-8", "a column missing", "a column too many"],
)
def test_a_corpus_that_is_none_is_one_line(corpus, tiny, mcmc_text, spoilt, told):
    path = corpus / "tatoeba.eng-fra.tsv.gz"
    path.write_bytes(spoilt)
    result = mcmc_text("evaluate", "translate", "--corpus", corpus, "--count", 1)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert f"{str(path)!r}" in result.stderr
    assert told in result.stderr
