"""The options of the law: what they are refused for, what they make of an energy, and how they are said."""

from __future__ import annotations

import json
import math

import pytest
import torch
from click.testing import CliRunner

from experiments.cli import main
from experiments.compare import compare
from experiments.entry.experiment import experiment_of
from experiments.gibbs import gibbs
from experiments.infill import infill
from experiments.keywords import keywords
from experiments.laws.target import in_words
from experiments.laws.temperature import AtTemperature
from experiments.translate import translate
from lm_adapters import KnownTexts, SequenceEnergy, WordList
from lm_adapters.wording.real_words import _read
from samplers import Constraint, InvalidInput, McmcTextError, evaluate, named
from tests.experiments.tiny_scorers import tiny_causal, tiny_seq2seq

QUICK = {"chains": 2, "steps": 4, "warmup": 1, "thin": 1}


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_that_cannot_be(value):
    with pytest.raises(InvalidInput, match=r"^temperature is .*; give a finite number above 0$"):
        keywords(["music"], model="no such model", temperature=value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["keywords", "music", "--temperature", "0"], "--temperature is 0.0; give a finite number above 0"),
        (["keywords", "music", "--sampler", "anneal", "--temperature", "0.5"], "--temperature has no meaning for"),
        (["translate", "Bonjour.", "--temperature", "0.5"], "leave it out, or draw with mh"),
        (["keywords", "music", "--sampler", "rejection", "--temperature", "1.5"], "without a bound; give at most 1"),
    ],
)
def test_on_the_command_line(arguments, said, tmp_path):
    done = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / "run"), "--model", "no such model"])
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_the_usual_one_is_said_and_recorded_and_a_search_has_none(embedded, tmp_path):
    causal, usual = tiny_causal(embedded.space.tokenizer), experiment_of(keywords).temperature
    assert usual != 1
    given = {"model": embedded, "scorer": causal, "length": (2, 4), **QUICK}
    for sampler, recorded in (("mh", usual), ("anneal", 1.0)):
        run = keywords(["music"], sampler=sampler, out=str(tmp_path / sampler), **given)
        assert run.config["temperature"] == recorded
        assert json.loads((tmp_path / sampler / "config.json").read_text())["temperature"] == recorded
        law = run.summary()["target" if sampler == "mh" else "objective"]
        assert (f"exp(-fluency / {usual:g})" in law) == (sampler == "mh")
    shown = " ".join(CliRunner().invoke(main, ["keywords", "--help"]).stdout.split())
    assert f"[default: {usual:g}; of a search 1]" in shown
    shown = " ".join(CliRunner().invoke(main, ["translate", "--help"]).stdout.split())
    assert "less varied. [default: 1]" in shown


def test_a_search_has_steps_of_its_own(embedded):
    given = {"model": embedded, "scorer": tiny_causal(embedded.space.tokenizer), "length": (2, 4), "chains": 1}
    declared = experiment_of(keywords)
    assert declared.usual["steps"] != declared.search_steps
    found = {
        sampler: declared.prepare({**given, "words": ["music"], "sampler": sampler}) for sampler in ("mh", "anneal")
    }
    assert found["mh"].settings.steps == declared.usual["steps"]
    assert found["anneal"].settings.steps == declared.search_steps
    assert declared.prepare({**given, "words": ["music"], "sampler": "anneal", "steps": 7}).settings.steps == 7
    shown = " ".join(CliRunner().invoke(main, ["keywords", "--help"]).stdout.split())
    assert f"[default: {declared.usual['steps']}; of a search {declared.search_steps}]" in shown


def test_a_run_resumes_at_the_temperature_that_it_had(embedded, tmp_path):
    given = {"model": embedded, "scorer": tiny_causal(embedded.space.tokenizer), "length": (2, 4), **QUICK}
    given["out"] = str(tmp_path / "run")
    keywords(["music"], temperature=0.5, **given)
    assert keywords(["music"], **{**given, "steps": 6}).config["temperature"] == 0.5
    done = CliRunner().invoke(main, ["keywords", "music", "--resume", given["out"], "--temperature", "0.6"])
    assert "temperature was 0.5 and is now 0.6" in done.stderr


def test_every_term_is_divided_and_constraints_forbid_as_before():
    fluency = named("fluency", lambda x: x[:, 0].double())
    letters = named("letters", lambda x: x[:, 1].double())
    even = Constraint("even", lambda x: x[:, 0] % 2 == 0)
    x = torch.tensor([[2, 3], [4, 1], [3, 1]])
    energy = AtTemperature(fluency + 2.0 * letters + even, 0.8)
    torch.testing.assert_close(evaluate(energy, x).energy, torch.tensor([10.0, 7.5, math.inf], dtype=torch.float64))
    terms = torch.tensor([[2.5, 7.5, 0.0], [5.0, 2.5, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(evaluate(energy, x).terms[:2], terms)
    assert in_words(energy) == "exp(-(fluency + 2 letters) / 0.8) over token sequences given even"
    assert in_words(AtTemperature(fluency, 0.5)) == "exp(-fluency / 0.5) over token sequences"
    assert in_words(AtTemperature(even, 0.5)) == "uniform over token sequences given even"


@pytest.mark.parametrize("sampler", ["mh", "gibbs", "tempered", "importance"])
def test_keywords(embedded, sampler):
    causal = tiny_causal(embedded.space.tokenizer)
    given = {"model": embedded, "scorer": causal, "length": (3, 8), "shortlist": 4, "temperature": 0.5}
    run = keywords(["music"], sampler=sampler, **given, **QUICK)
    assert run.target.startswith("exp(-fluency / 0.5) by LlamaForCausalLM, over ")
    x, energy = (
        (run.x, run.terms.sum(dim=1))
        if sampler == "importance"
        else (run.trace.draws.flatten(0, 1), run.trace.energy.flatten())
    )
    torch.testing.assert_close(energy, 2 * SequenceEnergy(causal.condition_on())(x), rtol=0, atol=1e-4)


def test_own_energies_are_divided_too(embedded):
    def four(texts):
        return [4.0] * len(texts)

    run = gibbs(model=embedded, energies=[(four, 2.0)], temperature=0.5, **QUICK)
    assert set(run.trace.terms[..., 1].flatten().tolist()) == {16.0}


def test_infill_and_translate_say_it(embedded):
    causal, seq2seq = tiny_causal(embedded.space.tokenizer), tiny_seq2seq(embedded.space.tokenizer)
    run = infill("The [MASK] sat.", model=embedded, scorer=causal, temperature=0.7, **QUICK)
    assert run.target.startswith("exp(-fluency / 0.7) by LlamaForCausalLM, over")
    run = translate("Je suis ici.", sampler="mh", model=embedded, scorer=seq2seq, prefix="", temperature=0.7, **QUICK)
    assert run.target.startswith("exp(-translation / 0.7) by T5ForConditionalGeneration, over")


def test_compare_gives_it_to_all_but_the_search(embedded):
    causal = tiny_causal(embedded.space.tokenizer)
    found = compare(["music"], model=embedded, scorer=causal, length=(2, 4), temperature=0.5, **QUICK)
    assert found["anneal"]["objective"].startswith("fluency by")
    assert found["mh"]["target"].startswith("exp(-fluency / 0.5)")


def test_another_temperature_is_another_run(embedded, tmp_path):
    given = {"out": str(tmp_path / "run"), **QUICK}
    gibbs(temperature=0.5, **given)
    with pytest.raises(InvalidInput, match=r"temperature was 0.5 and is now 0.6"):
        gibbs(temperature=0.6, **given)


def one_a_line(tmp_path, *words):
    path = tmp_path / "words.txt"
    path.write_text("\n".join(words), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["keywords", "music", "night"], "lacks 'night' of WORD; add it, or leave --word-list out"),
        (["infill", "The dog [MASK:1-3]ed night."], "lacks 'The', 'dog', 'night' of TEMPLATE; add it"),
        (["translate", "Bonjour.", "--must-contain", "night"], "lacks 'night' of --must-contain; add it"),
        (["paraphrase", "I like music."], "lacks 'I', 'like' of TEXT; add it"),
        (["summarize", "I like music.", "--max-words", "2"], "lacks 'I', 'like' of TEXT; add it"),
        (["gibbs", "--init", "I like music."], "lacks 'I', 'like' of --init; add it"),
        (["gibbs", "--any-words"], "--word-list is given, but any words will do; leave one of the two out"),
        (["gibbs", "--correct", "none"], "need an accept step to have an effect; use --correct mh"),
    ],
)
def test_a_list_that_will_not_do(given, said, tmp_path):
    listed = one_a_line(tmp_path, "music")
    done = CliRunner().invoke(
        main, [*given, "--word-list", listed, "--out", str(tmp_path / "run"), "--model", "no such model"]
    )
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_files_that_are_no_lists(tmp_path):
    empty = one_a_line(tmp_path, "", "  ")
    with pytest.raises(InvalidInput, match=r"words.txt' has no word; give one word a line"):
        gibbs(word_list=empty, model="no such model")
    with pytest.raises(InvalidInput, match=r"cannot be read \(No such file or directory\); give a UTF-8 file"):
        gibbs(word_list=str(tmp_path / "gone"), model="no such model")


def test_real_words_are_usual_with_an_embedded_model(embedded):
    causal = tiny_causal(embedded.space.tokenizer)  # which writes non-words as often as words
    listed = WordList.english().plus(["zorblax"])
    run = keywords(["zorblax"], model=embedded, scorer=causal, length=(3, 8), **{**QUICK, "steps": 30})
    assert " that hold 'zorblax', in real words" in run.target
    assert not any(listed.missing(line["text"]) for line in run.samples())
    free = keywords(["zorblax"], model=embedded, scorer=causal, length=(3, 8), real_words=False, **QUICK)
    assert " that hold 'zorblax', new to the models" in free.target


KNOWN = "I like music."


def test_new_texts_are_usual_where_any_will_do(embedded):
    given = {"model": embedded, "scorer": tiny_causal(embedded.space.tokenizer), **QUICK}
    assert keywords(["music"], length=(3, 8), **given).target.endswith(", in real words, new to the models")
    assert keywords(["music"], length=(3, 8), new_texts=False, **given).target.endswith(", in real words")
    assert infill("I [MASK] music.", **given).target.endswith(", in real words")


def test_new_texts_where_they_are_asked_for(embedded):
    given = {"model": embedded, "scorer": tiny_causal(embedded.space.tokenizer), **QUICK, "steps": 40}
    assert KnownTexts.english().hold(["I like music.", "I love music."]).all()
    for wanted in (True, False):
        run = infill("I [MASK] music.", new_texts=wanted, **given)
        assert run.target.endswith("new to the models") == wanted
        assert KnownTexts.english().hold([line["text"] for line in run.samples()]).any() != wanted


def test_a_text_that_is_given_counts_as_new(embedded):
    run = gibbs(model=embedded, scorer="none", init=KNOWN, **QUICK)
    assert run.target.endswith("new to the models")
    texts = [line["text"] for line in run.samples()]
    assert not KnownTexts.english().without([KNOWN]).hold(texts).any()


@pytest.mark.parametrize("option", ["--new-texts", "--real-words"])
def test_options_that_know_english_only(mcmc_text, option):
    for chosen in (["--lang", "zh"], ["--model", "masked-zh"]):
        done = mcmc_text("gibbs", option, *chosen)
        assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
        assert f"{option} knows English, and --model 'masked-zh' writes zh; leave it out" in done.stderr


def test_the_users_list(embedded, tmp_path):
    listed = one_a_line(tmp_path, "The", "cat", "dog", "sat", "on", "mat")
    given = {"model": embedded, "scorer": tiny_causal(embedded.space.tokenizer), "word_list": listed}
    run = infill("The [MASK] sat on the dog.", **given, **{**QUICK, "steps": 20})
    assert run.target.endswith("that fit 'The [MASK] sat on the dog.', in words of 'words.txt'")
    assert {line["text"].split()[1] for line in run.samples()} <= {"The", "the", "cat", "dog", "sat", "on", "mat"}


def test_another_list_is_another_run(embedded, tmp_path):
    given = {"out": str(tmp_path / "run"), "init": "I like music.", **QUICK}
    words = one_a_line(tmp_path, "I like music", "we")
    gibbs(word_list=words, **given)
    one_a_line(tmp_path, "I like music", "you")
    _read.cache_clear()
    with pytest.raises(McmcTextError, match="words"):
        gibbs(word_list=words, **given)


def test_a_nucleus_is_part_of_the_law(embedded):
    causal = tiny_causal(embedded.space.tokenizer)
    run = infill("The [MASK:1-2] sat.", top_p=0.9, model=embedded, scorer=causal, **QUICK)
    assert "by LlamaForCausalLM at top-p 0.9 but for given words, over " in run.target
    assert bool(run.trace.energy.isfinite().all())
    with pytest.raises(InvalidInput, match=r"^top_p 0.9 needs a scorer that reads from left to right"):
        keywords(["music"], top_p=0.9, model=embedded, scorer=embedded, **QUICK)


@pytest.mark.parametrize("top_p", [0.0, 1.5])
def test_a_nucleus_that_cannot_be(top_p):
    with pytest.raises(InvalidInput, match=r"^top_p is"):
        keywords(["music"], top_p=top_p, model="no such model")
