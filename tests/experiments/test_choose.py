"""Which phrase of a list fits a text: the law beside one of our own, every sampler, and lists that cannot be."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from experiments.choosing.choose import choose
from experiments.choosing.ranking import RankedRun
from lm_adapters import SequenceEnergy
from samplers import InvalidInput
from samplers.randomness import generator
from tests.experiments.tiny_scorers import tiny_writer
from tests.lm_adapters import tiny

WORDS = ["the", "sea", "is", "old", "sky", "not"]
TEXT = "the sea is old"
QUICK = {"chains": 40, "steps": 30, "warmup": 10, "thin": 2}


@pytest.fixture(scope="module")
def scorer():
    lm = tiny_writer(tiny.words_lm(WORDS).space.tokenizer, "paraphrase", "denoise")
    tiny.enlarged(lm.model, 2.0)
    return lm


@pytest.fixture(scope="module")
def phrases(tmp_path_factory) -> str:
    rng = generator(1)
    lines = {" ".join(WORDS[i] for i in torch.randint(6, (n,), generator=rng)) for n in (1, 2, 3, 3, 4, 4, 4, 5, 6) * 6}
    path = tmp_path_factory.mktemp("lists") / "phrases.txt"
    path.write_text("\n".join([*sorted(lines), *sorted(lines)[:3], ""]))
    return str(path)


def law(scorer, phrases: str) -> dict[str, float]:
    texts = sorted(set(Path(phrases).read_text().split("\n")) - {""})
    energy = SequenceEnergy(scorer.condition_on(TEXT))(scorer.space.encode(texts))
    return dict(zip(texts, (-energy).softmax(dim=0).tolist(), strict=True))


def test_every_phrase_is_scored(scorer, phrases):
    run = choose(TEXT, phrases=phrases, scorer=scorer)
    assert isinstance(run, RankedRun)
    found = {line["text"]: line["probability"] for line in run.samples()}
    assert found == pytest.approx(law(scorer, phrases), abs=1e-6)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    summary = run.summary()
    assert summary["phrases"] == len(found)
    assert summary["entropy"] == pytest.approx(-sum(p * math.log(p) for p in found.values() if p), abs=1e-5)
    assert summary["best"]["text"] == next(iter(found))
    assert "over texts that are one of" in run.target
    assert len(list(run.shown())) == 10
    assert len(run.to_pandas()) == len(found)
    with pytest.raises(InvalidInput, match="none was drawn"):
        run.to_arviz()


@pytest.mark.parametrize(("sampler", "look_ahead"), [("mh", False), ("importance", False), ("importance", True)])
def test_draws_have_the_law_of_the_list(scorer, phrases, sampler, look_ahead):
    """A chain forgets its start in about 30 steps: the spectral gap of its matrix is 0.03."""
    steps = {"mh": {"chains": 20, "steps": 500, "warmup": 100, "thin": 1}}.get(sampler, QUICK)
    run = choose(TEXT, phrases=phrases, scorer=scorer, sampler=sampler, look_ahead=look_ahead, **steps)
    exact = law(scorer, phrases)
    if sampler == "importance":
        x, weights = run.result.x, run.result.log_weights.exp()
    else:
        x = run.trace.draws.flatten(0, 1)
        weights = torch.full((len(x),), 1 / len(x), dtype=torch.float64)
    seen = dict.fromkeys(exact, 0.0)
    for text, weight in zip(scorer.space.decode(x), weights.tolist(), strict=True):
        seen[text] += weight
    assert sum(abs(seen[text] - exact[text]) for text in exact) / 2 < 0.1


def test_a_search_finds_the_likeliest(scorer, phrases):
    run = choose(TEXT, phrases=phrases, scorer=scorer, sampler="anneal", **QUICK)
    exact = law(scorer, phrases)
    assert run.best() == max(exact, key=exact.__getitem__)


def test_temperature_and_forbidden_words_are_part_of_the_law(scorer, phrases):
    run = choose(TEXT, phrases=phrases, scorer=scorer, temperature=2.0, forbid=["not"])
    exact = {text: p**0.5 for text, p in law(scorer, phrases).items()}
    allowed = {text: p for text, p in exact.items() if "not" not in text.split()}
    for line in run.samples():
        wanted = allowed.get(line["text"], 0.0) / sum(allowed.values())
        assert line["probability"] == pytest.approx(wanted, abs=1e-6)


def test_a_folder_and_its_files(scorer, phrases, tmp_path):
    run = choose(TEXT, phrases=phrases, scorer=scorer, out=str(tmp_path / "run"))
    lines = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert lines == json.loads(json.dumps(list(run.samples())))
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["phrases"] == len(lines)
    assert "probability and phrase" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("content", "options", "problem"),
    [
        ("", (), "error: --from: there are no phrases; give at least one"),
        (None, (), "error: --from: 'list.txt' cannot be read (No such file or directory); give a file with a phrase"),
        ("good\n\nbad \ufffe<pad>\n", (), "error: --from: 'list.txt', line 3: "),
        (b"caf\xe9\n", (), "error: --from: 'list.txt' is no UTF-8 text (byte 3)"),
        ("good\n", ("--task", "nosuch"), "error: --task: the model has no task 'nosuch'; choose one of denoise, "),
        ("good\n", ("--workers", "2"), "error: --workers has no meaning for --sampler exact; leave it out"),
    ],
)
def test_lists_that_cannot_be(mcmc_text, tmp_path, monkeypatch, content, options, problem):
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content.encode() if isinstance(content, str) else content)
    if not options:
        monkeypatch.setattr("experiments.choosing.choose.load_seq2seq", lambda *given: pytest.fail("a model is loaded"))
    result = mcmc_text("choose", "I like music.", "--from", "list.txt", "--out", "run", *options)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith(problem)
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_an_empty_text(mcmc_text):
    result = mcmc_text("choose", " ", "--from", "list.txt")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (
        2,
        "error: TEXT is empty; give a text that a phrase is to fit",
    )
