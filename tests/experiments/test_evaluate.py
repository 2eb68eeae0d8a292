"""Experiments on held-out rows, and any texts, judged in one table."""

from __future__ import annotations

import gzip
import json
import re

import pytest

from experiments.entry.experiment import experiment_of
from experiments.evaluating import baselines
from experiments.evaluating import command as commands
from experiments.evaluating.blind import write_blind
from experiments.evaluating.cases import Case, Trial
from experiments.evaluating.evaluation import EVALUATIONS
from experiments.evaluating.table import MEASURES, Texts, bar_line, bars
from experiments.judging.judge import Verdict
from experiments.keywords import keywords
from experiments.training import data
from tests.experiments.tiny_scorers import tiny_causal, tiny_writer

NOUNS = ("house", "garden", "music", "piano", "school", "river", "money", "question")
VERBS = ("likes", "finds", "wants", "loses", "paints")
TAIL = "near the station with his friends and a dog"


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """A few sentences of each file, the last ones held out; long, short and asked ones in turn."""
    monkeypatch.setattr(data, "HELD_OUT", 40)
    english = [f"My old friend {verb} the {noun} near the station." for verb in VERBS for noun in NOUNS]
    long = [f"My old friend {verb} the {noun} {TAIL}." for verb in VERBS for noun in NOUNS]
    english += [f"Tom {verb} the {noun}." for verb in VERBS for noun in NOUNS]
    asked = [f"Why does Tom say that she {verb} the {noun}?" for verb in VERBS for noun in NOUNS]
    english = [row for rows in zip(long, english[40:], asked, english, strict=False) for row in rows]
    files = {
        "tatoeba.eng.txt.gz": english,
        "tatoeba.eng-fra.tsv.gz": [f"{row}\tphrase {i}" for i, row in enumerate(english)],
        "tatoeba.eng-paraphrase.tsv.gz": [f"{row}\tSay {i}: {row}" for i, row in enumerate(english)],
        "books.eng.txt.gz": [f'"{row}" he said.' for row in english],
    }
    for name, rows in files.items():
        with gzip.open(tmp_path / name, "wt", encoding="utf-8") as file:
            file.write("".join(f"{row}\n" for row in rows))
    return tmp_path


@pytest.fixture
def tiny(embedded, monkeypatch):
    causal, seq2seq = (
        tiny_causal(embedded.space.tokenizer),
        tiny_writer(embedded.space.tokenizer, "words_to_sentence", "paraphrase", "translation_fr_to_en"),
    )
    monkeypatch.setattr("lm_adapters.MaskedLM.from_pretrained", lambda *_, **__: embedded)
    monkeypatch.setattr("lm_adapters.CausalLM.from_pretrained", lambda *_, **__: causal)
    monkeypatch.setattr("lm_adapters.Seq2SeqLM.from_pretrained", lambda *_, **__: seq2seq)


@pytest.fixture
def evaluate(corpus, tiny, mcmc_text):
    """Run the command with little to do; its lines of JSON by the names of the rows."""

    def run(name, *options, count=3, steps=4):
        size = ("--count", count, "--steps", steps, "--json")
        result = mcmc_text("evaluate", name, "--corpus", corpus, *size, *options)
        assert result.exit_code == 0, result.output
        return {row["name"]: row for row in map(json.loads, result.stdout.splitlines())}

    return run


BASELINES = {
    "gibbs": {"causal-en", "words shuffled"},
    "keywords": {"masks filled", "causal-en", "words shuffled"},
    "infill": {"each by itself", "causal-en", "words shuffled"},
    "paraphrase": {"beam search", "beam, no copy", "copy"},
    "control": {"other mark", "beam search"},
    "summarize": {"first 8 words", "words shuffled"},
    "translate": {"beam search"},
}


@pytest.mark.parametrize("name", list(EVALUATIONS))
def test_samples_stand_beside_held_out_text_and_baselines(evaluate, name):
    found = evaluate(name)
    assert found.keys() == {"held-out", "samples", *BASELINES[name]}
    assert {row["texts"] for row in found.values()} == {3}
    assert found["samples"]["bar"].keys() == {"KN", "non-word", "training", "distinct"}
    assert all("bar" not in row for row in found.values() if row["name"] != "samples")


def test_each_row_is_printed_before_the_next_is_made(corpus, tiny, mcmc_text, monkeypatch):
    printed, seen = [], []
    monkeypatch.setattr(commands.click, "echo", lambda line, **_: printed.append(line.split("  ")[0]))
    real = commands.collect

    def watched(*given):
        for row in real(*given):
            seen.append((row.name, printed[1:]))
            yield row

    monkeypatch.setattr(commands, "collect", watched)
    result = mcmc_text("evaluate", "paraphrase", "--corpus", corpus, "--count", 2, "--steps", 4)
    assert result.exit_code == 0, result.output
    names = ["held-out", "samples", "beam search", "beam, no copy", "copy"]
    assert seen == [(name, names[:index]) for index, name in enumerate(names)]


@pytest.mark.parametrize("name", ["keywords", "translate"])
def test_required_words_are_there(evaluate, name):
    found = evaluate(name)
    assert (found["held-out"]["there"], found["samples"]["there"]) == (1, 1)


def test_held_out_text_is_exact_and_its_own_translation(evaluate):
    assert evaluate("infill")["held-out"]["exact"] == 1
    assert evaluate("translate")["held-out"]["BLEU"] == pytest.approx(100)


def test_another_mark_gives_no_other_label(evaluate):
    found = evaluate("control")
    assert (found["held-out"]["label"], found["other mark"]["label"], found["other mark"]["copies"]) == (1, 0, 1)
    found = evaluate("control", "--label", "statement")
    assert (found["held-out"]["label"], found["other mark"]["label"]) == (1, 0)


def test_a_label_that_the_judge_cannot_tell(corpus, mcmc_text):
    result = mcmc_text("evaluate", "control", "--corpus", corpus, "--label", "command")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "'command'; the judge of labels knows question and statement" in result.stderr


def test_a_copy_is_judged_beside_the_paraphrases(evaluate):
    found = evaluate("paraphrase")
    assert found["copy"]["iBLEU"] != found["samples"]["iBLEU"]
    assert (found["copy"]["copies"], found["samples"]["copies"], found["beam, no copy"]["copies"]) == (1, 0, 0)


def test_beam_search_without_copies(monkeypatch):
    cases = [Case("", source=text) for text in ("Tom is here.", "Tom is there.")]
    monkeypatch.setattr(baselines, "_beam_search", lambda *_: ["tom is here!", "Tom is."])
    rows = dict(baselines.of_paraphrase(None, cases))
    assert rows["beam search"] == ["tom is here!", "Tom is."]
    assert rows["beam, no copy"] == ["", "Tom is."]


def test_options_that_are_not_given_are_the_usual_ones(corpus):
    """``steps`` has no default of its own where a search has other ones."""
    options = {each.name: each.default for each in experiment_of(keywords).arguments}
    assert options["steps"] is None
    assert Trial(corpus, 1, 0, options).lm.space.vocabulary > 0


def test_the_experiments_own_options_change_its_samples(evaluate):
    assert evaluate("keywords", "--sampler", "anneal")["samples"] != evaluate("keywords")["samples"]
    assert evaluate("keywords", "--forbid", "the")["samples"]["texts"] == 3


def test_a_search_gives_one_text_a_row_and_chains_give_all(evaluate, monkeypatch):
    runs = []
    real = commands.EVALUATIONS["infill"].experiment.run
    monkeypatch.setattr(type(commands.EVALUATIONS["infill"].experiment), "run",
                        lambda self, **given: runs.append(given) or real(**given))  # fmt: skip
    evaluate("infill", "--chains", 2, count=4)
    assert len(runs) == 2
    runs.clear()
    evaluate("infill", "--chains", 2, "--sampler", "anneal", count=4)
    assert len(runs) == 4
    assert len({given["template"] for given in runs}) == 4
    runs.clear()
    evaluate("infill", count=4)
    assert [given["chains"] for given in runs] == [1] * 4
    runs.clear()
    evaluate("infill", "--sampler", "anneal", count=2)
    assert [given["chains"] for given in runs] == [10] * 2


def test_runs_that_are_kept_are_not_made_again(evaluate, tmp_path, monkeypatch):
    own = ("--chains", 1)
    found = evaluate("infill", *own)
    assert evaluate("infill", *own, "--out", tmp_path / "kept") == found
    runs = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert runs == ["00000", "00001", "00002"]
    monkeypatch.setattr("samplers.MetropolisHastings.step", lambda *_: pytest.fail("a run was made again"))
    assert evaluate("infill", *own, "--out", tmp_path / "kept") == found


def test_cosine_to_the_source_is_one_for_a_copy(evaluate):
    found = evaluate("paraphrase", "--judge-encoder", "masked-en")
    assert found["copy"]["cos"] == pytest.approx(1)
    assert found["samples"]["cos"] < 1


def test_no_cosine_where_nothing_keeps_its_meaning(corpus, mcmc_text):
    result = mcmc_text("evaluate", "keywords", "--corpus", corpus, "--judge-encoder", "masked-en")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)


@pytest.mark.parametrize("name", ["paraphrase", "translate"])
def test_the_table_fits_eighty_columns_and_ends_with_the_bar(corpus, tiny, mcmc_text, name):
    encoder = ["--judge-encoder", "masked-en"] if name == "paraphrase" else []
    result = mcmc_text("evaluate", name, "--corpus", corpus, "--count", 2, "--steps", 4, *encoder)
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert re.search(r"^samples: met: .*not met: ", result.stdout.replace("\n", " ").replace("  ", "\n"), re.MULTILINE)


def verdict(**changed):
    good = {"texts": 300, "nats_per_word": 3.4, "non_words": 0.0, "training": 0.05, "distinct_2": 0.85}
    return Verdict(**{**good, **changed})


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({}, set()),
        ({"nats_per_word": 3.6}, {"KN"}),
        ({"non_words": 0.01}, {"non-word"}),
        ({"training": 0.1}, {"training"}),
        ({"distinct_2": 0.79}, {"distinct"}),
    ],
)
def test_the_bar(changed, missed):
    held_out = verdict(nats_per_word=3.3)
    assert {name for name, (_, met) in bars(verdict(**changed), held_out).items() if not met} == missed
    line = bar_line(verdict(**changed), held_out)
    assert line.endswith("not met: nothing") is not bool(missed)


@pytest.mark.parametrize(
    ("text", "share"),
    [("A dog sees a cat.", 1), ("A dog's cat.", 0), ("A dog-like cat.", 0), ("Dogs and cats.", 0), ("A cat, a dog", 1)],
)
def test_words_are_there_as_whole_words(text, share):
    assert MEASURES["there"][0](Texts("samples", [text], [Case("", words=("dog", "cat"))])) == share


# --- files and folders


def test_texts_of_a_file_and_of_a_run(corpus, embedded, mcmc_text):
    (corpus / "mine.txt").write_text("One text.\n\nTom likes the house.\n")
    (corpus / "mine.jsonl").write_text('{"text": "One."}\n')
    assert mcmc_text("gibbs", "--steps", 4, "--chains", 2, "--length", 4, "--out", "run", "--quiet").exit_code == 0
    result = mcmc_text("evaluate", "texts", "mine.txt", "mine.jsonl", "run", "--corpus", corpus, "--json")
    assert result.exit_code == 0, result.output
    found = {row["name"]: row for row in map(json.loads, result.stdout.splitlines())}
    lines = (corpus / "run" / "samples.jsonl").read_text().splitlines()
    texts = {name: row["texts"] for name, row in found.items()}
    most = max(2, len(lines))
    expected = {"held-out": most, "1. mine.txt": 2, "2. mine.jsonl": 1, "3. run": len(lines), "words shuffled": most}
    assert texts == expected
    assert found["1. mine.txt"]["training"] == 0.5
    assert found["1. mine.txt"].keys() >= {"bar"}


def test_no_more_texts_than_count(corpus, mcmc_text):
    (corpus / "mine.txt").write_text("".join(f"text {i}\n" for i in range(20)))
    result = mcmc_text("evaluate", "texts", "mine.txt", "--corpus", corpus, "--count", 5, "--json")
    assert {json.loads(line)["texts"] for line in result.stdout.splitlines()} == {5}


def test_an_encoder_tells_how_far_meanings_are_apart(corpus, mcmc_text):
    (corpus / "mine.txt").write_text("".join(f"My {i}th dog likes the old house.\n" for i in range(9)))
    given = ("evaluate", "texts", "mine.txt", "--corpus", corpus, "--judge-encoder", "masked-en")
    found = [json.loads(line) for line in mcmc_text(*given, "--json").stdout.splitlines()]
    clouds = {row["name"]: row["clouds"] for row in found if "clouds" in row}
    assert clouds.keys() == {"held-out halves", "mine.txt", "words shuffled"}
    assert clouds["mine.txt"]["wasserstein"] > clouds["words shuffled"]["wasserstein"] > 0
    printed = mcmc_text(*given).stdout.splitlines()
    assert printed[-8].split() == ["KL", "Bhat", "W2"]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b"\n \n", "has no text"),
        (b"\xff\xfea\0", "UTF-16"),
        (b"a\n\xff\n", "line 2: no UTF-8"),
        (b'{"text": "a"}\n{}\n', "line 2: no JSON object"),
    ],
)
def test_a_file_without_texts_is_one_line(corpus, mcmc_text, written, told):
    (corpus / "mine").write_bytes(written)
    result = mcmc_text("evaluate", "texts", "mine", "--corpus", corpus)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert told in result.stderr


def test_a_folder_that_is_no_run_is_one_line(corpus, mcmc_text):
    (corpus / "empty").mkdir()
    result = mcmc_text("evaluate", "texts", "empty", "--corpus", corpus)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "holds no run" in result.stderr


# --- blind reading


def test_the_list_has_all_kinds_and_the_key_says_which(tmp_path):
    held_out = [f"held {i}" for i in range(60)]
    rows = [Texts("held-out", held_out), Texts("samples", ["a\nb", "twice", "twice"], [Case("", source="of")] * 3)]
    write_blind(tmp_path / "list", rows, seed=0)
    lines = (tmp_path / "list").read_text().splitlines()
    key = dict(line.split("\t") for line in (tmp_path / "list.key").read_text().splitlines())
    texts = dict(line.split(". ", 1) for line in lines)
    assert list(texts) == [str(number) for number in range(1, 53)] == list(key)
    assert sum(kind == "held-out" for kind in key.values()) == 50
    samples = sorted(text for number, text in texts.items() if key[number] == "samples")
    assert samples == ["a b   [of: of]", "twice   [of: of]"]
    assert all(text.startswith("held") for number, text in texts.items() if key[number] == "held-out")
    assert [kind for kind in key.values()] != sorted(key.values())


@pytest.mark.parametrize("taken", ["list", "list.key"])
def test_a_list_that_is_there_is_not_overwritten(corpus, mcmc_text, monkeypatch, taken):
    monkeypatch.setattr(commands, "collect", lambda *_: pytest.fail("something was drawn"))
    (corpus / taken).write_text("mine")
    result = mcmc_text("evaluate", "gibbs", "--corpus", corpus, "--blind", "list")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert f"--blind: '{taken}' is there already" in result.stderr
    assert (corpus / taken).read_text() == "mine"


def test_a_list_in_a_folder_that_is_not_there_is_one_line(corpus, mcmc_text):
    result = mcmc_text("evaluate", "gibbs", "--corpus", corpus, "--blind", "no/list")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)


def test_the_command_writes_the_list(corpus, tiny, mcmc_text):
    options = ("--corpus", corpus, "--count", 3, "--steps", 4, "--blind", "list")
    result = mcmc_text("evaluate", "paraphrase", *options)
    assert result.exit_code == 0, result.output
    kinds = {line.split("\t")[1] for line in (corpus / "list.key").read_text().splitlines()}
    assert kinds <= {"held-out", "samples", "beam search"}
    assert kinds >= {"held-out", "samples"}
    assert "[of: " in (corpus / "list").read_text()


# --- bad input


def test_an_unknown_experiment_is_one_line(mcmc_text, corpus):
    result = mcmc_text("evaluate", "toast", "--corpus", corpus)
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", list(EVALUATIONS))
def test_more_rows_than_there_are_is_one_line(corpus, tiny, mcmc_text, name):
    result = mcmc_text("evaluate", name, "--corpus", corpus, "--count", 1000, "--steps", 2)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--count is 1000, but of --corpus only" in result.stderr


def test_a_bad_value_of_an_experiments_option_is_one_line(corpus, tiny, mcmc_text):
    result = mcmc_text("evaluate", "keywords", "--corpus", corpus, "--count", 2, "--steps", 4, "--warmup", 9)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--warmup is 9 of 4 steps" in result.stderr


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
