"""Sequence-classification models as energies: right numbers in any company, and every refusal in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from lm_adapters import LabelEnergy, SequenceClassifier, TextSpace, labels_of, load_pretrained
from samplers import EnergyTerm, InvalidInput
from samplers.testing import check_energy
from tests.lm_adapters import tiny
from tests.lm_adapters.attributes import tiny_classifiers

TEXTS = ["a", "she is the teacher", "b c d e f g h i j", "the old house", "we like it", "a b"]
every_class = pytest.mark.parametrize("name", tiny_classifiers.CLASSES)


def refused(call, *arguments, **options) -> str:
    with pytest.raises(InvalidInput) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@every_class
def test_log_probs_are_those_of_the_model_for_each_text_alone(name, tmp_path):
    model, tokenizer = tiny_classifiers.build(name)
    classifier = SequenceClassifier.from_pretrained(str(tiny.save(model, tokenizer, tmp_path / "m")))
    expected = [model(input_ids=torch.tensor([tokenizer(text)["input_ids"]])).logits.log_softmax(1) for text in TEXTS]
    assert classifier.labels == ("calm", "glad", "Sad")
    assert_close(classifier.log_probs(TEXTS), torch.cat(expected).double(), rtol=1e-4, atol=1e-5)
    assert_close(classifier.log_probs(TEXTS).exp().sum(1), torch.ones(6, dtype=torch.float64))
    one_at_a_time = SequenceClassifier(model, tokenizer, tokens_per_pass=1)
    assert_close(one_at_a_time.log_probs(TEXTS), classifier.log_probs(TEXTS), rtol=1e-4, atol=1e-5)


def test_several_labels_at_a_time_have_a_sigmoid_each():
    model = tiny_classifiers.bert(tiny.wordpiece(), problem_type="multi_label_classification").eval()
    found = SequenceClassifier(model, tiny.wordpiece()).log_probs(TEXTS[:1])
    logits = model(input_ids=torch.tensor([tiny.wordpiece()("a")["input_ids"]])).logits
    assert_close(found, logits.sigmoid().log().double())


def test_the_energy_is_minus_log_p_of_the_label_in_a_sum_too():
    model, tokenizer = tiny_classifiers.build("bert")
    classifier, space = SequenceClassifier(model, tokenizer), TextSpace(tiny.wordpiece())
    x = space.encode(TEXTS)
    for label, number in (("glad", 1), ("GLAD", 1), ("sad", 2), (0, 0), ("2", 2)):
        energy = LabelEnergy(space, classifier, label)
        assert_close(energy(x), -classifier.log_probs(TEXTS)[:, number])
    assert isinstance(energy, EnergyTerm)
    assert energy.formula == "-log p(Sad | text)"
    check_energy(2.0 * energy, x)


def test_a_text_that_is_too_long_is_forbidden():
    model, tokenizer = tiny_classifiers.build("bert")
    long = " ".join("a" * (tiny.POSITIONS - 2))
    energy = LabelEnergy(TextSpace(tokenizer), SequenceClassifier(model, tokenizer), 0)
    states = energy.space.encode(["a", long, f"{long} b"])
    assert energy(states).isinf().tolist() == [False, False, True]
    assert energy(states[2:]).isinf().all()


@pytest.mark.parametrize("label", ["angry", 3, "-1", "", "1.0"])
def test_an_unknown_label_is_refused_with_those_there_are(label):
    model, tokenizer = tiny_classifiers.build("bert")
    message = refused(LabelEnergy, TextSpace(tokenizer), SequenceClassifier(model, tokenizer), label)
    assert message == f"there is no label {label!r}; the classifier has calm, glad, Sad"


def test_labels_are_known_before_any_weight_is_read(tmp_path: Path):
    model, tokenizer = tiny_classifiers.build("bert")
    folder = tiny.save(model, tokenizer, tmp_path / "m")
    (folder / "model.safetensors").unlink()
    assert labels_of(str(folder)) == ("calm", "glad", "Sad")


@pytest.mark.parametrize("spoilt", [{"id2label": {0: "score"}}, {"problem_type": "regression"}])
def test_a_regression_model_is_refused(tmp_path, spoilt):
    model = tiny_classifiers.bert(tiny.wordpiece(), **{**spoilt, "label2id": None} if "id2label" in spoilt else spoilt)
    folder = tiny.save(model, tiny.wordpiece(), tmp_path / "m")
    for read in (labels_of, SequenceClassifier.from_pretrained):
        assert "is a regression model: it gives a number and no label" in refused(read, str(folder))


def test_a_language_model_lacks_the_weights(tmp_path):
    folder = tiny.save(tiny.bert(tiny.wordpiece()), tiny.wordpiece(), tmp_path / "m")
    message = refused(SequenceClassifier.from_pretrained, str(folder))
    assert "lacks weights (bert.pooler.dense.bias) of a sequence-classification model" in message


def test_the_fingerprint_tells_labels_apart(tmp_path):
    model, tokenizer = tiny_classifiers.build("bert")
    before = SequenceClassifier(model, tokenizer).config()
    model.config.id2label = {0: "x", 1: "y", 2: "z"}
    assert SequenceClassifier(model, tokenizer).config() != before
    json.dumps(before)


def test_load_pretrained_has_the_task(tmp_path):
    model, tokenizer = tiny_classifiers.build("bart, which has a decoder")
    loaded, _ = load_pretrained("classifier", str(tiny.save(model, tokenizer, tmp_path / "m")))
    assert type(loaded) is type(model)
