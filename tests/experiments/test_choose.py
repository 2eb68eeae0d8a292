"""Which phrase of a list fits a text, and which words of one tell most of it: beside answers of our own."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from experiments.choosing.choose import choose
from experiments.choosing.keyword_choice import choose_keywords
from experiments.choosing.ranking import RankedRun
from experiments.entry.report import report
from experiments.entry.saved_run import load_run
from experiments.keywords import keywords
from lm_adapters import NucleusEnergy, SequenceEnergy
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


def test_the_page_shows_probabilities(scorer, phrases, tmp_path):
    run = choose(TEXT, phrases=phrases, scorer=scorer, out=str(tmp_path / "run"))
    page = (tmp_path / "run" / "report.html").read_text()
    assert '<th class="number">probability</th>' in page
    best = next(run.samples())
    assert f'<td class="number">{best["probability"]:.2%}</td>' in page
    assert "none was drawn" in page
    assert "1 draw" not in page
    assert [number for number, _, _ in load_run(tmp_path / "run").shown()] == list(range(1, len(run.x) + 1))


@pytest.mark.parametrize("look_ahead", [False, True])
def test_weighted_draws_have_the_law_of_the_list(scorer, phrases, look_ahead):
    run = choose(TEXT, phrases=phrases, scorer=scorer, sampler="importance", look_ahead=look_ahead, **QUICK)
    exact = law(scorer, phrases)
    seen = dict.fromkeys(exact, 0.0)
    for text, weight in zip(scorer.space.decode(run.result.x), run.result.log_weights.exp().tolist(), strict=True):
        seen[text] += weight
    assert sum(abs(seen[text] - exact[text]) for text in exact) / 2 < 0.1


def test_a_nucleus_forbids_what_leaves_it(scorer, phrases):
    texts = list(law(scorer, phrases))
    nats = NucleusEnergy(scorer.condition_on(TEXT), 0.97)(scorer.space.encode(texts))
    assert 0 < int(nats.isfinite().sum()) < len(texts)
    run = choose(TEXT, phrases=phrases, scorer=scorer, top_p=0.97)
    assert "at top-p 0.97, over" in run.target
    found = {line["text"]: line["probability"] for line in run.samples()}
    assert found == pytest.approx(dict(zip(texts, (-nats).softmax(dim=0).tolist(), strict=True)), abs=1e-6)
    drawn = choose(TEXT, phrases=phrases, scorer=scorer, top_p=0.97, sampler="importance", **QUICK)
    assert all(found[line["text"]] > 0 for line in drawn.samples())
    with pytest.raises(InvalidInput, match="every phrase is forbidden by fit; give a weaker condition"):
        choose(TEXT, phrases=phrases, scorer=scorer, top_p=1e-9)


def test_chains_stay_in_the_list(scorer, phrases):
    run = choose(TEXT, phrases=phrases, scorer=scorer, sampler="mh", **QUICK)
    exact = law(scorer, phrases)
    lines = list(run.samples())
    assert len({line["text"] for line in lines}) > 5
    for line in lines[:20]:
        nats = math.log(max(exact.values()) / exact[line["text"]])
        assert line["energy"] - min(each["energy"] for each in lines) == pytest.approx(nats, abs=1e-3)


def test_a_search_finds_the_likeliest(scorer, phrases):
    run = choose(TEXT, phrases=phrases, scorer=scorer, sampler="anneal", **QUICK)
    exact = law(scorer, phrases)
    assert run.best() == max(exact, key=exact.__getitem__)


def test_the_best_are_those_of_the_law(scorer, phrases):
    run = choose(TEXT, phrases=phrases, scorer=scorer, sampler="best", chains=5)
    exact = law(scorer, phrases)
    lines = list(run.samples())
    assert [line["text"] for line in lines] == sorted(exact, key=exact.__getitem__, reverse=True)[:5]
    for line in lines:
        low, high = line["probability_within"]
        assert low - 1e-6 <= exact[line["text"]] <= high + 1e-6
    assert run.summary()["proved"] == 5
    assert "5 likeliest of the list, proved" in run.summary()["trust"]
    with pytest.raises(InvalidInput, match="follows the scorer alone, and forbid"):
        choose(TEXT, phrases=phrases, scorer=scorer, sampler="best", forbid=["not"])
    few = choose(TEXT, phrases=phrases, scorer=scorer, sampler="best", chains=5, steps=1)
    assert few.summary()["reads"] == 5
    assert "raise steps" in few.summary()["trust"]


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
    page = tmp_path / "run" / "report.html"
    assert all(line["text"] in page.read_text() for line in lines)
    page.unlink()
    assert report(tmp_path / "run").summary()["best"] == run.summary()["best"]
    assert page.exists()


@pytest.mark.parametrize(
    ("content", "options", "problem"),
    [
        ("", (), "error: --from: there are no phrases; give at least one"),
        (None, (), "error: --from: 'list.txt' cannot be read (No such file or directory); give a file with a phrase"),
        ("good\n\nbad \ufffe<pad>\n", (), "error: --from: 'list.txt', line 3: "),
        (b"caf\xe9\n", (), "error: --from: 'list.txt' is no UTF-8 text (byte 3)"),
        ("good\n", ("--task", "nosuch"), "error: --task: the model has no task 'nosuch'; choose one of denoise, "),
        ("good\n", ("--sampler", "best", "--temperature", "2"), "error: --temperature does not change which texts"),
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


@pytest.mark.parametrize(
    ("text", "options", "problem"),
    [
        (" ", (), "error: TEXT is empty; give a text that a phrase is to fit"),
        ("a [MASK] and [MASK]", (), "error: TEXT: 'a [MASK] and [MASK]' has [MASK] and [MASK]; give one [MASK]"),
        ("a [MASK]", ("--task", "paraphrase"), "error: --task is 'paraphrase' and TEXT has a slot; leave one of"),
        ("a [MASK]", ("--look-ahead",), "error: --look-ahead is for phrases with words of TEXT; leave it out"),
    ],
)
def test_texts_that_cannot_be(mcmc_text, text, options, problem):
    result = mcmc_text("choose", text, "--from", "list.txt", *options)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert result.stderr.startswith(problem)


@pytest.fixture(scope="module")
def writer():
    lm = tiny_writer(tiny.words_lm(WORDS).space.tokenizer, "words_to_sentence")
    tiny.enlarged(lm.model, 2.0)
    return lm


def nats(writer, text: str, words: list[str]) -> float:
    return float(SequenceEnergy(writer.condition_on(" ".join(words)))(writer.space.encode([text])))


def test_keywords_are_those_that_tell_most_of_the_text(writer):
    """The first is the best of all; each further one the best beside those before; in the order of the text."""
    text = "the sea is not the old sky"
    words = text.split()
    first = min(words, key=lambda word: nats(writer, text, [word]))
    assert choose_keywords(writer, text, 1) == [first]
    at = words.index(first)
    pairs = [[words[i] for i in sorted((at, other))] for other in range(len(words)) if other != at]
    assert choose_keywords(writer, text, 2) == min(pairs, key=lambda pair: nats(writer, text, pair))


def test_a_run_holds_the_keywords_that_were_chosen(writer):
    lm = tiny.words_lm(WORDS)
    chosen = choose_keywords(writer, "the sea is old", 2)
    quick = {"chains": 2, "steps": 6, "warmup": 2, "thin": 2, "length": (2, 6)}
    with pytest.warns(UserWarning, match=f"keywords chosen from keywords_from: {', '.join(chosen)}"):
        run = keywords(keywords_from="the sea is old", keep=2, model=lm, scorer=writer, **quick)
    assert f"that hold {', '.join(map(repr, chosen))} in this order" in run.target
    assert all(set(chosen) <= set(line["text"].split()) for line in run.samples())


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "error: there are no keywords; give WORD, or --keywords-from TEXT"),
        (("sea", "--keywords-from", "the sea is"), "error: WORD and --keywords-from are given; leave one of them out"),
        (("--keywords-from", "the sea"), "error: --keywords-from has 2 words and --keep is 2; give a longer text"),
        (
            ("--keywords-from", "the old sea", "--scorer", "causal-en"),
            "error: 'causal-en' is a llama model; a seq2seq model is needed here",
        ),
    ],
)
def test_keywords_that_cannot_be_chosen(mcmc_text, tmp_path, arguments, problem):
    result = mcmc_text("keywords", *arguments, "--out", "run")
    assert (result.exit_code, result.stderr.splitlines()) == (2, [problem])
    assert not (tmp_path / "run").exists()
