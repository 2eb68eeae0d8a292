"""The classifier of kinds of sentences in miniature: its labels, its training, its folder."""

from __future__ import annotations

import gzip
import json
import random
from copy import deepcopy
from itertools import product

import pytest

from experiments.training import data, loop
from experiments.training.card import export
from experiments.training.recipe import Recipe
from experiments.training.tasks.kinds import KINDS, KindsTask, agreeing, kinds_split
from lm_adapters import SequenceClassifier, labels_of, pretrained

HELD_OUT = 12
RECIPE = Recipe(3e-3, steady=120, decay=40, batch_tokens=192, warmup=2, window=3, evaluate_every=80, compiled=False)
OPENINGS = {
    "statement": ["I take", "We see", "They have"],
    "question": ["Do I take", "Who has"],
    "command": ["Take", "See"],
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("corpus"), random.Random(0)
    marks = {"statement": "..", "question": "??", "command": ".!"}
    things = [
        f"the {size} {thing}" for size, thing in product(["big", "red", "old", "new"], ["dog", "cat", "sea", "hut"])
    ]
    rows = [
        (f"{opening} {thing}{marks[kind][0]}", f"{opening} x {thing}{marks[kind][1]}")
        for kind, openings in OPENINGS.items()
        for opening in openings
        for thing in things
    ]
    rows += [(f"Take my {i}th hat.", "x.") for i in range(4)] + [("I see it all.", "x!"), ('"Take it." he said.', "x.")]
    rng.shuffle(rows)
    files = {
        "tatoeba.eng.txt": [english for english, _ in rows],
        "tatoeba.eng-fra.tsv": ["\t".join(row) for row in rows],
        "tatoeba.eng-deu.tsv": ["\t".join(row) for row in rng.sample(rows, 60)],
    }
    for name, lines in files.items():
        with gzip.open(folder / f"{name}.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "HELD_OUT", HELD_OUT)
        yield folder


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("kinds-en")
    task, model = loop.train(KindsTask, RECIPE, corpus, out, progress=False)
    export(task, deepcopy(model), RECIPE, out, out / "kinds-en")
    return task, out / "kinds-en"


def test_kinds_are_those_of_the_marks_and_of_the_translations(corpus):
    training, held_out = kinds_split(corpus)
    known = {opening: kind for kind, openings in OPENINGS.items() for opening in openings}
    for text, label in training + held_out:
        opening = next((each for each in sorted(known, key=len, reverse=True) if text.startswith(each)), None)
        if opening and not text.startswith(("Take my", "I see")):
            assert KINDS[label] == known[opening]
    assert not any('"' in text for text, _ in training + held_out)
    hidden = set(data.english_split(corpus)[1])
    assert not hidden & {text for text, _ in training}
    assert {text for text, _ in held_out} <= hidden


def test_first_words_clean_what_is_learnt():
    rows = [
        ("Take it.", 2),
        ("Take that.", 0),
        *[(f"I see {i}.", 0) for i in range(20)],
        ("I see it.", 2),
        ("Thanks.", 2),
    ]
    kept = agreeing(rows, rows)
    assert ("Take it.", 2) in kept
    assert not {("Take that.", 0), ("I see it.", 2), ("Thanks.", 2)} & set(kept)
    assert len(kept) == 21


def test_the_folder_is_a_classifier_that_reads_no_marks(trained):
    task, folder = trained
    assert labels_of(str(folder)) == KINDS
    classifier = SequenceClassifier.from_pretrained(str(folder))
    texts = ["Take the big dog", "Take the big dog.", "Take the big dog?", "take the BIG dog?!"]
    found = classifier.log_probs(texts)
    assert (found == found[0]).all()
    figures = json.loads((folder / "figures.json").read_text())
    judged = task.figures(classifier.model)
    assert judged["accuracy"] == pytest.approx(figures["accuracy"])
    assert figures["accuracy"] > 0.8
    card = " ".join((folder / "README.md").read_text().split())
    assert f"{100 * figures['accuracy']:.1f} %" in card
    assert f"{figures['parameters'] / 1e6:.2f} M parameters" in card


def test_it_has_a_line_in_the_list_of_models(trained, mcmc_text, monkeypatch):
    monkeypatch.setattr(pretrained, "HERE", trained[1].parent)
    lines = mcmc_text("models").stdout.splitlines()
    assert lines[1].split()[:3] == ["kinds-en", "classifier", "en"]
    assert "told right, of statement, question, command" in lines[1]
    assert len(lines[1]) <= 110
