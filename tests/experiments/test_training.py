"""Training in miniature: a corpus of nonsense, a handful of steps, every model."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from itertools import islice

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from experiments.training import data, loop
from experiments.training.card import export
from experiments.training.tasks.masked import draw_mask
from experiments.training.tasks.seq2seq import PREFIXES
from lm_adapters import KnownTexts, MaskedEnergy, MaskedLM, WordList, load_pretrained, pretrained
from samplers import InvalidInput
from tests.experiments.tiny_corpus import HELD_OUT, RECIPES, TASKS, interrupted, shrink, write_corpus

every_model = pytest.mark.parametrize("name", TASKS)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        yield write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """Each model, its task and its folder after an uninterrupted run, made when first asked for."""
    runs = {}

    def run(name):
        if name not in runs:
            out = tmp_path_factory.mktemp(name)
            runs[name] = (*loop.train(TASKS[name], RECIPES[name], corpus, out, progress=False), out)
        return runs[name]

    return run


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """The folder of each model as it would ship."""
    home = tmp_path_factory.mktemp("pretrained")

    def export_once(name):
        if not (home / name).exists():
            task, model, run = trained(name)
            export(task, deepcopy(model), RECIPES[name], run, home / name)
        return home / name

    return export_once


@every_model
def test_held_out_sentences_are_in_no_batch(corpus, trained, name):
    task, _, _ = trained(name)
    texts = set()
    for _, batch in islice(task.batches(96, 1, 0), 500):  # more than an epoch
        rows = [batch] if name != "seq2seq-en" else [task.mixture.framed(batch, torch.Generator()).target]
        texts.update(text for part in rows for text in task.tokenizer.batch_decode(part, skip_special_tokens=True))
    training, held_out = data.english_split(corpus)
    assert len(held_out) == HELD_OUT
    assert not texts & set(held_out)
    assert len(texts & set(training)) > 0.9 * len(training)


@every_model
def test_killed_and_resumed_equals_uninterrupted(corpus, trained, tmp_path, monkeypatch, name):
    _, whole, _ = trained(name)
    with monkeypatch.context() as patch:
        interrupted(patch, at=8)  # in the fall of the rate, after the look at held-out rows
        if name == "causal-en":
            patch.setattr(loop, "SAVE_EVERY", 0)  # the others resume from that look, this one from the step before
        with pytest.raises(KeyboardInterrupt):
            loop.train(TASKS[name], RECIPES[name], corpus, tmp_path, progress=False)
    _, resumed = loop.train(TASKS[name], RECIPES[name], corpus, tmp_path, progress=False)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    steps = [json.loads(line)["step"] for line in (tmp_path / "learning_curve.jsonl").read_text().splitlines()]
    assert steps == [5, 8]


@every_model
def test_export_loads_back_with_the_figures_it_tells(trained, exported, name):
    task, _, run = trained(name)
    out = exported(name)
    loaded, tokenizer = load_pretrained(task.kind, str(out))
    figures = json.loads((out / "figures.json").read_text())
    assert figures["task"] == task.kind
    assert figures["parameters"] == sum(weight.numel() for weight in loaded.parameters())
    assert task.figures(loaded)["nats_per_token"] == pytest.approx(figures["nats_per_token"], rel=1e-6)
    assert tokenizer("It isn't red.")["input_ids"] == task.tokenizer("It isn't red.")["input_ids"]
    assert (getattr(loaded.config, "task_specific_params", None) or {}).keys() == (
        PREFIXES.keys() if name == "seq2seq-en" else set()
    )
    for file in ("learning_curve.jsonl", "tokenizer.json"):
        assert (out / file).read_bytes() == (run / file).read_bytes()
    card = (out / "README.md").read_text()
    assert f"# {name}\n" in card
    assert f"{figures['parameters'] / 1e6:.2f} M parameters" in " ".join(card.split())


def test_the_masked_card_tells_what_the_sampler_computes(trained, exported):
    out = exported("masked-en")
    lm = MaskedLM.from_pretrained(str(out))
    figures = json.loads((out / "figures.json").read_text())
    x = lm.space.encode(trained("masked-en")[0].held_out)
    assert figures["nats_per_token"] == pytest.approx(
        float(MaskedEnergy(lm, "pll")(x).sum() / lm.space.lengths(x).sum())
    )
    assert f"{figures['nats_per_character']:.4f}" in (out / "README.md").read_text()


def test_the_list_of_models_has_a_line_for_each_kind(exported, mcmc_text, monkeypatch):
    folders = [exported(name) for name in TASKS]
    monkeypatch.setattr(pretrained, "HERE", folders[0].parent)
    result = mcmc_text("models")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [[n, TASKS[n].kind] for n in sorted(TASKS)]
    assert all("nats/token" in line for line in lines[1:4])
    assert all(len(line) <= 100 for line in lines)


def test_a_causal_figure_is_the_mean_over_text_and_end(trained):
    task, model, _ = trained("causal-en")
    nats, tokens = 0.0, 0
    for text in task.held_out:
        ids = torch.tensor([task.tokenizer(text)["input_ids"]])
        assert ids[0, 0] == task.tokenizer.bos_token_id
        assert ids[0, -1] == task.tokenizer.eos_token_id
        log_p = model(input_ids=ids).logits.log_softmax(dim=-1)[0, :-1]
        nats -= log_p.gather(1, ids[0, 1:, None]).sum().item()
        tokens += ids.shape[1] - 1
    assert task.figures(model)["nats_per_token"] == pytest.approx(nats / tokens, rel=1e-5)
    assert task.figures(model)["nats_per_character"] == pytest.approx(nats / sum(map(len, task.held_out)), rel=1e-5)


@pytest.mark.parametrize("name", ["causal-en", "seq2seq-en"])
def test_models_share_the_vocabulary_of_the_masked_one(trained, name):
    task, model, run = trained(name)
    shared = data.embedded_tokenizer()
    assert task.tokenizer.get_vocab() == shared.get_vocab()
    text = "Ça, it isn't."
    assert task.tokenizer.tokenize(text) == shared.tokenize(text)
    assert PreTrainedTokenizerFast.from_pretrained(run)(text) == task.tokenizer(text)
    assert model.get_input_embeddings().num_embeddings == len(shared)


def test_a_run_that_has_ended_can_be_made_longer(corpus, trained, tmp_path):
    _, _, run = trained("causal-en")
    longer = replace(RECIPES["causal-en"], steady=6, decay=2)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).write_bytes((run / file).read_bytes())
    (tmp_path / "checkpoint.pt").write_bytes((run / "steady.pt").read_bytes())
    _, extended = loop.train(TASKS["causal-en"], longer, corpus, tmp_path, progress=False)
    _, whole = loop.train(TASKS["causal-en"], longer, corpus, tmp_path / "whole", progress=False)
    for a, b in zip(whole.parameters(), extended.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_checkpoint_of_another_model_is_refused(corpus, trained):
    with pytest.raises(InvalidInput, match="is a checkpoint of seq2seq-en, not of causal-en; give another --out"):
        loop.train(TASKS["causal-en"], RECIPES["causal-en"], corpus, trained("seq2seq-en")[2], progress=False)


def test_a_device_that_is_not_there(mcmc_text, tmp_path):
    result = mcmc_text(
        "train-embedded", "causal-en", "--corpus", tmp_path, "--out", tmp_path / "out", "--device", "tpu9"
    )
    assert result.exit_code == 2
    assert "device 'tpu9' cannot be used here" in result.stderr
    assert not (tmp_path / "out").exists()


def test_no_batch_is_empty_where_the_share_is_less_than_a_row():
    groups, others = {5: torch.ones(3, 5)}, {5: torch.ones(20, 5), 60: torch.ones(4, 60)}
    joined = data.with_a_share_of(groups, others, 0.1, torch.Generator())
    assert {length: len(rows) for length, rows in joined.items()} == {5: 5}
    assert all(map(len, data.same_length_batches(joined, 10, torch.Generator())))


def test_a_corpus_that_lacks_a_file_or_rows_is_told(tmp_path, monkeypatch, corpus):
    with pytest.raises(InvalidInput, match=r"has no file tatoeba\.eng\.txt\.gz"):
        data.english_split(tmp_path)
    monkeypatch.setattr(data, "HELD_OUT", 1000)
    with pytest.raises(InvalidInput, match="no rows to train on"):
        next(data.epochs(lambda _: [], 0, 0))


def test_a_share_of_the_books_joins_all_sentences(trained):
    task, _, _ = trained("causal-en")
    whole, books = (sum(map(len, groups.values())) for groups in (task.sentences, task.books))
    epochs = [data.with_a_share_of(task.sentences, task.books, 0.5, torch.Generator().manual_seed(i)) for i in (1, 2)]
    for groups in epochs:
        assert sum(map(len, groups.values())) == pytest.approx(whole + books / 2, abs=4)
    assert any(not torch.equal(epochs[0][length], epochs[1][length]) for length in epochs[0])


def test_masks_cover_the_text_only_and_follow_their_share():
    rows = torch.zeros(4000, 12, dtype=torch.int64)
    mask = draw_mask(rows, 2, torch.Generator().manual_seed(0))
    assert not bool(mask[:, [0, -1]].any())
    assert int(mask.sum(dim=1).min()) >= 1
    assert mask[:, 1:-1].double().mean().item() == pytest.approx(0.1 + 0.9 / 3, abs=0.02)
    assert bool((mask.sum(dim=1) == 10).any())


@pytest.mark.parametrize("name", ["words-en", "known-en"])
def test_what_is_known_of_the_training_sentences(corpus, mcmc_text, tmp_path, name):
    out = tmp_path / name
    done = mcmc_text("train-embedded", name, "--corpus", str(corpus), "--out", str(out))
    assert "is ready" in done.stdout
    held_out = data.english_split(corpus)[1]
    sentence = next(text for text in data.english_split(corpus)[0] if len(set(text.split())) > 3)
    if name == "words-en":
        assert WordList.read(out / "words.txt.gz").missing(f"{sentence} Purple") == ["Purple"]
    else:
        assert KnownTexts.read(out / "digests.bin").hold([sentence, *held_out]).tolist() == [True, *[False] * HELD_OUT]
