"""The seq2seq model's examples, held out, mixed, framed and corrupted as they should be, and how outputs are judged."""

from __future__ import annotations

import pytest
import torch

from experiments.training import bleu, data
from experiments.training.tasks.mixture import Mixture, Pool
from experiments.training.tasks.seq2seq import PREFIXES, SENTINEL, SHARES, Seq2SeqTask
from samplers import InvalidInput
from tests.experiments.tiny_corpus import HELD_OUT, shrink, write_corpus

PAD, EOS = 0, 2


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        yield write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def task(corpus):
    return Seq2SeqTask(corpus, Seq2SeqTask.make_tokenizer(corpus))


@pytest.fixture(scope="module")
def model(task):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return task.build().eval()


def german_split(corpus):
    return data.translation_split(corpus, "deu")


@pytest.mark.parametrize("split", [data.translation_split, german_split, data.paraphrase_split])
def test_no_pair_has_a_side_held_out(corpus, split):
    training, held_out = split(corpus)
    hidden = set(data.english_split(corpus)[1])
    assert len(training) > 50
    assert len(held_out) > 3
    assert not any(hidden & set(pair) for pair in training)
    assert not {side for pair in training for side in pair} & {side for pair in held_out for side in pair}


def test_last_rows_of_the_pair_files_are_not_trained_on(corpus):
    last = [tuple(row.split("\t")) for row in data.read_rows(corpus, "tatoeba.eng-fra.tsv.gz")[-HELD_OUT:]]
    assert not {(french, english) for english, french in last} & set(data.translation_split(corpus)[0])
    last = [tuple(row.split("\t")) for row in data.read_rows(corpus, "tatoeba.eng-paraphrase.tsv.gz")[-HELD_OUT:]]
    assert not set(last) & set(data.paraphrase_split(corpus)[0])


def test_paraphrases_are_learnt_in_both_directions(task, corpus):
    training, _ = data.paraphrase_split(corpus)
    index = task.mixture.rows["paraphrase"]
    rows = task.mixture.framed(index, torch.Generator())
    sides = (task.tokenizer.batch_decode(part, skip_special_tokens=True) for part in (rows.source, rows.target))
    assert set(zip(*sides, strict=True)) == {*training, *(pair[::-1] for pair in training)}


def test_an_epoch_has_its_shares_and_repeats_nothing_needlessly(task):
    index = task.mixture.epoch(SHARES, torch.Generator().manual_seed(0))
    counts = torch.bincount(index, minlength=sum(map(len, task.mixture.rows.values())))
    for name, rows in task.mixture.rows.items():
        assert counts[rows].sum() / len(index) == pytest.approx(SHARES[name], abs=0.01)
        assert counts[rows].max() - counts[rows].min() <= 1
    assert counts[task.mixture.rows["words_to_sentence"]].unique().tolist() == [1]


def test_batches_are_full_and_hold_every_example_of_the_epoch(task):
    cuts = task.mixture.cut(SHARES, 200, torch.Generator().manual_seed(0))
    epoch = task.mixture.epoch(SHARES, torch.Generator().manual_seed(0))
    assert torch.equal(torch.cat(cuts), epoch)
    sizes = torch.tensor([int(task.mixture.tokens(index).sum()) for index in cuts])
    assert (sizes[:-1] - 200).abs().max() <= task.mixture.tokens(epoch).max()
    framed = [task.mixture.framed(index, torch.Generator()) for index in cuts]
    sides = [side for rows in framed for side in (rows.source, rows.target)]
    assert sum(int((side == PAD).sum()) for side in sides) < 0.25 * sum(side.numel() for side in sides)


def test_sources_begin_with_their_prefix_and_both_sides_end_once(task):
    for name, index in task.mixture.rows.items():
        rows = task.mixture.framed(index, torch.Generator())
        assert (rows.source[:, 0] == task.tokenizer.convert_tokens_to_ids(PREFIXES[name])).all()
        for side in (rows.source, rows.target):
            assert (side == EOS).sum(dim=1).tolist() == [1] * len(index)
            after = (side == EOS).cumsum(dim=1) > 0
            assert (side[after & (side != EOS)] == PAD).all()
            assert not (side[~after] == PAD).any()
        assert torch.equal(rows.labels == -100, rows.target == PAD)


def test_the_tokenizer_frames_a_source_as_it_was_trained(task, corpus):
    (french, english), index = data.translation_split(corpus)[0][0], task.mixture.rows["translation_fr_to_en"][:1]
    rows = task.mixture.framed(index, torch.Generator())
    assert task.tokenizer("<extra_1>" + french)["input_ids"] == rows.source[0].tolist()
    assert task.tokenizer(english)["input_ids"] == rows.target[0].tolist()


def test_the_loss_is_the_mean_over_target_tokens_and_ends(task, model):
    index = torch.cat([rows[:3] for rows in task.mixture.rows.values()])
    inputs = task.inputs(index, torch.Generator().manual_seed(3))
    inputs["tokens"] = inputs["tokens"][: len(task.output.written)]  # the sample of the others is tested elsewhere
    inputs["log_count"] = inputs["log_count"][: len(task.output.written)]
    rows = task.mixture.framed(index, torch.Generator().manual_seed(3))
    nats, tokens = 0.0, 0
    with torch.no_grad():
        loss = task.loss(model, inputs)
        for source, target in zip(rows.source, rows.target, strict=True):
            source, target = source[source != PAD], target[target != PAD]
            started = torch.cat([torch.tensor([model.config.decoder_start_token_id]), target[:-1]])
            logits = model(input_ids=source.unsqueeze(0), decoder_input_ids=started.unsqueeze(0)).logits[0]
            log_p = logits[:, task.output.written].log_softmax(dim=1)
            nats -= log_p.gather(1, task.output.place[target].unsqueeze(1)).sum().item()
            tokens += len(target)
    assert model.config.decoder_start_token_id == PAD
    assert loss.item() == pytest.approx(nats / tokens, rel=1e-5)


def test_prefixes_can_be_read_from_the_configuration(model):
    tasks = model.config.task_specific_params
    assert {name: of_it["prefix"] for name, of_it in tasks.items()} == PREFIXES
    assert tasks["infill"]["sentinel"] == SENTINEL


def test_a_task_without_examples_is_told(task):
    with pytest.raises(InvalidInput, match="no example of paraphrase"):
        Mixture({"paraphrase": Pool("<extra_0>", [])}, task.tokenizer, limit=64)


def test_paraphrases_are_judged_beside_copying():
    pairs = [("the cat sat on the old mat", "the cat was on the old mat"), ("a b c d e", "a b c d f")]
    figures = bleu.paraphrase_figures(lambda sources: [target for _, target in pairs], pairs)
    perfect, copy = figures["scores"]["model"], figures["scores"]["copy"]
    assert perfect["bleu_reference"] == pytest.approx(100.0)
    assert copy["bleu_source"] == pytest.approx(100.0)
    assert perfect["bleu_source"] == pytest.approx(copy["bleu_reference"])
    assert copy["ibleu"] == pytest.approx(0.9 * copy["bleu_reference"] - 10.0)
    assert bleu.translation_figures(lambda _: ["a b c d e"], [("x", "a b c d e")]) == {
        "pairs": 1,
        "bleu": pytest.approx(100.0),
    }


def test_outputs_keep_the_order_of_their_sources(task, monkeypatch):
    seen = []

    class Echo:
        device = "cpu"

        def eval(self): ...

        def generate(self, input_ids, **_):
            seen.append(len(input_ids))
            return input_ids

    monkeypatch.setattr(bleu, "ROWS", 2)
    texts = ["red one", "green", "Blue isn't red one", "one", "red"]
    assert bleu.generate(Echo(), task.tokenizer, texts, prefix="<extra_1>") == texts
    assert seen == [2, 2, 1]


def test_the_loss_is_about_the_targets_and_their_ends(task):
    index = torch.cat([rows[:3] for rows in task.mixture.rows.values()])
    rows = task.mixture.framed(index, torch.Generator().manual_seed(0))
    inputs = task.inputs(index, torch.Generator().manual_seed(0))
    written = inputs["tokens"][inputs["target"]]
    assert torch.equal(written, rows.target[rows.target != PAD])
    assert int((written == EOS).sum()) == len(index)
