"""Training in miniature: a corpus of nonsense, a handful of steps."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import replace

import pytest
import torch

from experiments.training import data, loop
from experiments.training.card import export
from experiments.training.masked import draw_mask
from lm_adapters import MaskedLM

RECIPE = loop.Recipe(
    phases=(loop.Phase(4, 1e-3, 1e-3, 64, 2), loop.Phase(4, 1e-3, 0.0, 96, 5)), warmup=2, evaluate_every=3, threads=1
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    words = random.Random(0).choices
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "HELD_OUT", 20)
        rows = sorted({" ".join(words(["red", "green", "isn't", "Blue", "été", "one"], k=5)) + "." for _ in range(300)})
        for name, lines in (("tatoeba.eng.txt.gz", rows), ("tatoeba.eng-fra.tsv.gz", [f"{r}\tl'{r}" for r in rows])):
            with gzip.open(folder / name, "wt", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
        patch.setattr(data, "VOCABULARY", 330)
        yield folder


def test_held_out_rows_are_never_trained_on(corpus):
    training, held_out = data.english_split(corpus)
    assert len(held_out) == 20
    assert not set(training) & set(held_out)


def test_tokenizer_round_trips_and_contractions_hold(corpus):
    tokenizer = data.train_tokenizer(corpus)
    _, held_out = data.english_split(corpus)
    ids = tokenizer(held_out, add_special_tokens=False)["input_ids"]
    texts = tokenizer.batch_decode(ids)
    assert texts == held_out
    assert tokenizer(texts, add_special_tokens=False)["input_ids"] == ids
    assert tokenizer.decode(tokenizer("It isn't red.")["input_ids"], skip_special_tokens=True) == "It isn't red."


def test_killed_and_resumed_equals_uninterrupted(corpus, tmp_path, monkeypatch):
    whole, _ = loop.train(RECIPE, corpus, tmp_path / "whole", progress=False)
    calls = 0
    real = loop._update

    def dies(*arguments):
        nonlocal calls
        calls += 1
        if calls == 8:  # after the checkpoint of the second phase
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(loop, "_update", dies)
    with pytest.raises(KeyboardInterrupt):
        loop.train(RECIPE, corpus, tmp_path / "cut", progress=False)
    monkeypatch.setattr(loop, "_update", real)
    resumed, _ = loop.train(RECIPE, corpus, tmp_path / "cut", progress=False)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_export_can_be_loaded_and_tells_its_figures(corpus, tmp_path):
    recipe = replace(RECIPE, evaluate_every=8)
    model, tokenizer = loop.train(recipe, corpus, tmp_path / "run", progress=False)
    _, held_out = data.english_split(corpus)
    out = tmp_path / "model"
    export(model, tokenizer, recipe, tmp_path / "run", out, held_out=held_out, epoch_tokens=1000)
    lm = MaskedLM.from_pretrained(str(out))
    figures = json.loads((out / "figures.json").read_text())
    x = lm.space.encode(held_out)
    assert figures["nats_per_token"] == pytest.approx(float(lm.energy("pll")(x).sum() / lm.space.lengths(x).sum()))
    assert f"{figures['nats_per_character']:.4f}" in (out / "README.md").read_text()


def test_masks_cover_the_text_only_and_follow_their_share():
    rows = torch.zeros(4000, 12, dtype=torch.int64)
    mask = draw_mask(rows, 2, torch.Generator().manual_seed(0))
    assert not bool(mask[:, [0, -1]].any())
    assert int(mask.sum(dim=1).min()) >= 1
    assert mask[:, 1:-1].double().mean().item() == pytest.approx(0.1 + 0.9 / 3, abs=0.02)
    assert bool((mask.sum(dim=1) == 10).any())
