"""Given texts, their energies and terms, as JSON Lines."""

from __future__ import annotations

import json

import pytest

from experiments.score import score
from lm_adapters import MaskedEnergy

TEXTS = ["Tom is here.", "I like to play the piano."]


def test_each_model_and_each_energy_is_a_term(mcmc_text, embedded, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n\n")
    (tmp_path / "mine.py").write_text("def short(texts):\n    return [len(text) for text in texts]\n")
    result = mcmc_text("score", "texts.txt", "--energy", "mine.py:short=0.5")
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["text"] for line in lines] == TEXTS
    own = MaskedEnergy(embedded, "pll")(embedded.space.encode(TEXTS)).tolist()
    for line, text, nats in zip(lines, TEXTS, own, strict=True):
        assert line["terms"]["masked-en"] == pytest.approx(nats, abs=1e-4)
        assert line["terms"]["short"] == 0.5 * len(text)
        assert line["energy"] == pytest.approx(sum(line["terms"].values()))


def test_samples_of_a_run_can_be_scored(mcmc_text, tmp_path):
    (tmp_path / "samples.jsonl").write_text('{"chain": 0, "text": "Tom is here."}\n')
    result = mcmc_text("score", "samples.jsonl")
    assert json.loads(result.stdout)["text"] == "Tom is here."


def test_many_texts_are_scored_as_one_is():
    many = list(score(TEXTS * 150))
    assert len(many) == 300
    assert many[-1]["energy"] == pytest.approx(next(iter(score(TEXTS[1:])))["energy"], abs=1e-4)


@pytest.mark.parametrize(
    ("content", "arguments", "named"),
    [
        ("", [], "has no text"),
        ("\n \n", [], "has no text"),
        ('{"words": 3}\n', [], "line 1: no JSON object with a 'text'"),
        ('fine\n{"text": 3}\n', [], "line 2: 'text' is 3"),
        ("<mask> is here\n", [], "<mask>"),
        ("fine\n", ["--model", "no-such-model"], "no-such-model"),
        ("fine\n", ["--model", "masked-en", "--model", "masked-en"], "'masked-en' is named twice"),
        ("fine\n", ["--device", "tpu9"], "tpu9"),
        ("fine\n", ["--energy", "gone.py:f"], "gone.py"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(mcmc_text, tmp_path, content, arguments, named):
    (tmp_path / "texts.txt").write_text(content)
    result = mcmc_text("score", "texts.txt", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    assert named in result.stderr


def test_a_file_that_is_no_text(mcmc_text, tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"\xff\xfe\x00\x80" * 9)
    result = mcmc_text("score", "weights.bin")
    assert result.exit_code == 2
    assert "cannot be read as text" in result.stderr
