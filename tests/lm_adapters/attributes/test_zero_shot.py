"""A masked model with a template, and a next-sentence head, against the models themselves."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from lm_adapters import Coherence, LabelEnergy, MaskedLM, NextSentenceModel, TextSpace, ZeroShotClassifier
from samplers import InvalidInput
from samplers.testing import check_energy
from tests.lm_adapters import tiny
from tests.lm_adapters.attributes import tiny_classifiers

WORDS = [*"abcd", "it", "was", "good", "bad", "."]
TEXTS = ["a", "b c d", "good", "d a"]


@pytest.fixture(scope="module")
def lm() -> MaskedLM:
    return tiny.words_lm(WORDS)


@pytest.mark.parametrize("template", ["{text} it was {label} .", "it was {label} . {text}"])
def test_log_probs_are_those_of_the_words_at_the_mask(lm, template):
    classifier = ZeroShotClassifier(lm, template, ["good", "bad"])
    tokenizer = lm.space.tokenizer
    good, bad = tokenizer.convert_tokens_to_ids(["good", "bad"])
    found = classifier.log_probs(TEXTS)
    for text, log_probs in zip(TEXTS, found, strict=True):
        ids = tokenizer(template.replace("{text}", text).replace("{label}", "[MASK]"), return_tensors="pt")["input_ids"]
        at = (ids[0] == tokenizer.mask_token_id).nonzero().item()
        logits = lm.model(input_ids=ids).logits[0, at, [good, bad]]
        assert_close(log_probs, logits.double().log_softmax(0), rtol=1e-4, atol=1e-5)
    x = lm.space.encode(TEXTS)
    check_energy(LabelEnergy(lm.space, classifier, "bad"), x)
    assert_close(LabelEnergy(lm.space, classifier, "bad")(x), -found[:, 1])


def test_words_are_read_as_they_stand_in_the_template():
    """A byte-level tokenizer has other tokens for a word after a blank."""
    lm = tiny.build("roberta")
    classifier = ZeroShotClassifier(lm, "{text} It is {label}.", ["a", "I"])
    tokenizer = lm.space.tokenizer
    assert tokenizer.convert_ids_to_tokens(classifier._tokens.tolist()) == ["Ġa", "ĠI"]


def test_what_is_too_long_has_no_label(lm):
    classifier = ZeroShotClassifier(lm, "{text} it was {label} .", ["good", "bad"])
    long = " ".join("a" * (lm.max_length - 4))
    assert classifier.log_probs(["a", long, f"{long} a"]).isinf().all(dim=1).tolist() == [False, False, True]
    assert classifier.log_probs([f"{long} a"]).isinf().all()


@pytest.mark.parametrize(
    ("template", "words", "problem"),
    [
        ("it was {label}", ["good", "bad"], "needs {text} and {label} once each"),
        ("{text} {text} {label}", ["good", "bad"], "needs {text} and {label} once each"),
        ("{text} it was {label} .", ["good"], "there is no word to compare 'good' with"),
        ("{text} it was {label} .", ["good", "a b"], "the label word 'a b' is 2 tokens"),
        ("{text} it was {label} .", ["good", "great"], "has no token for the label word 'great'"),
        ("{text} it was {label} .", ["good", "bad", "good"], "'good' and 'good' are the same"),
        ("{text} it was {label} .", ["good", ""], "has no token for the label word ''"),
    ],
)
def test_refusals(lm, template, words, problem):
    with pytest.raises(InvalidInput) as caught:
        ZeroShotClassifier(lm, template, words)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_word_whose_first_piece_is_a_word_is_not_taken_for_one_token():
    lm = tiny.build("roberta")
    assert lm.space.tokenizer.tokenize(" abe") == ["Ġa", "b", "e"]
    with pytest.raises(InvalidInput, match="'abe' is 3 tokens"):
        ZeroShotClassifier(lm, "{text} is {label}", ["I", "abe"])


def test_coherence_is_the_difference_of_the_logits(tmp_path):
    model, tokenizer = tiny_classifiers.next_sentence()
    follower = NextSentenceModel.from_pretrained(str(tiny.save(model, tokenizer, tmp_path / "m")))
    space = TextSpace(tiny.word_level([*"abcd"]))
    energy, texts = Coherence(space, follower, "a b"), ["c", "d d a b", "a"]
    x = space.encode(texts)
    for text, nats in zip(texts, energy(x), strict=True):
        both = tokenizer("a b", text, return_tensors="pt", return_token_type_ids=True)
        assert both["token_type_ids"].tolist()[0][-2:] == [1, 1]
        is_next, not_next = model.eval()(**both).logits[0].double()
        assert_close(nats, not_next - is_next, rtol=1e-4, atol=1e-5)
    check_energy(energy, x)


def test_a_model_without_the_head_is_refused(tmp_path):
    folder = tiny.save(tiny.bert(tiny.wordpiece()), tiny.wordpiece(), tmp_path / "bert")
    with pytest.raises(InvalidInput, match=r"lacks weights .* of a model with a next-sentence head"):
        NextSentenceModel.from_pretrained(str(folder))
    folder = tiny.save(tiny.roberta(tiny.byte_level()), tiny.byte_level(), tmp_path / "roberta")
    with pytest.raises(InvalidInput, match="is a roberta model; a model with a next-sentence head"):
        NextSentenceModel.from_pretrained(str(folder))


def test_contexts_and_texts_that_do_not_fit():
    model, tokenizer = tiny_classifiers.next_sentence()
    follower, space = NextSentenceModel(model, tokenizer), TextSpace(tokenizer)
    with pytest.raises(InvalidInput, match="the context is ' '"):
        Coherence(space, follower, " ")
    with pytest.raises(InvalidInput, match="leaves no room"):
        Coherence(space, follower, " ".join("a" * (tiny.POSITIONS - 3)))
    energy = Coherence(space, follower, " ".join("a" * (tiny.POSITIONS - 4)))
    assert torch.isinf(energy(space.encode(["a", "a b"]))).tolist() == [False, True]
    with pytest.raises(InvalidInput, match="does not set two texts apart"):
        NextSentenceModel(model, tiny.word_level([*"abcd"]))
