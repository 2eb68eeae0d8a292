from __future__ import annotations

import math
import re
from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from lm_adapters import Canonical, Keywords, TextSpace
from samplers import InvalidInput, evaluate
from tests.lm_adapters.tiny import byte_level, word_level, wordpiece

TOKENIZERS = {"wordpiece": wordpiece, "byte level": byte_level, "word level": lambda: word_level(["a", "b", "isn't"])}


@pytest.fixture(params=TOKENIZERS.values(), ids=list(TOKENIZERS))
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    return request.param()


def test_encode_and_decode(tokenizer: PreTrainedTokenizerBase):
    space = TextSpace(tokenizer)
    texts = ["a b", "b", "a a b b"]
    x = space.encode(texts)
    assert x.dtype == torch.int64
    assert x.shape == (3, int(space.lengths(x).max()))
    assert space.decode(x) == texts
    assert not set(x[space.is_token(x)].tolist()) & set(tokenizer.all_special_ids)
    wide = space.encode(texts, width=9)
    assert wide.shape == (3, 9)
    assert torch.equal(wide[:, : x.shape[1]], x)
    assert (wide[:, x.shape[1] :] == space.pad_id).all()
    assert space.decode(wide) == texts


def test_lengths_and_inside():
    space = TextSpace(wordpiece())
    x = space.encode(["a b", "b"])
    assert space.lengths(x).tolist() == [2, 1]
    assert space.is_token(x).tolist() == [[True, True], [True, False]]


def test_byte_level_keeps_contractions_case_and_spacing():
    space = TextSpace(byte_level())
    texts = ["I don't know, but it isn't here.", "She's  gone ; they ' ve", "We do not .", "Caf\u00e9 \U0001f642"]
    x = space.encode(texts)
    assert space.decode(x) == texts
    assert space.is_canonical(x).all()


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "has no tokens"), ("  ", "has no tokens"), ("a b a", "3 tokens, the limit is 2"), ("a \u6f22", "'a \u6f22'")],
)
def test_unusable_texts_are_quoted(text: str, problem: str):
    with pytest.raises(InvalidInput, match=problem):
        TextSpace(wordpiece()).encode(["b", text], width=2)


@pytest.mark.parametrize("special", ["[PAD]", "[MASK]", "[SEP]", "[CLS]", "[UNK]"])
def test_special_tokens_are_no_text(special: str):
    with pytest.raises(InvalidInput, match=r"'a \["):
        TextSpace(wordpiece()).encode([f"a {special} b"])


def test_another_tokenisation_is_another_state():
    space = TextSpace(byte_level())
    x = space.encode(["the house", "a b"])
    assert int(space.lengths(x)[0]) > 1
    letters = byte_level().convert_tokens_to_ids([*"the", "\u0120", *"house"])
    split = torch.tensor([letters, [*x[1, :2].tolist(), *[space.pad_id] * 7]])
    assert space.decode(split) == ["the house", "a b"] == space.decode(x)
    assert space.is_canonical(x).tolist() == [True, True]
    assert space.is_canonical(split).tolist() == [False, True]
    assert evaluate(Canonical(space), split).energy.tolist() == [math.inf, 0.0]
    assert Canonical(space).is_constraint


def test_masks():
    space = TextSpace(wordpiece())
    mask, pad = space.mask_id, space.pad_id
    assert space.masks([1, 3]).tolist() == [[mask, pad, pad], [mask, mask, mask]]
    assert space.masks(torch.tensor([1]), width=2).tolist() == [[mask, pad]]
    assert space.lengths(space.masks([2, 5, 1])).tolist() == [2, 5, 1]


@pytest.mark.parametrize(
    ("tokenizer", "prefix", "suffix"),
    [
        (wordpiece(), ["[CLS]"], ["[SEP]"]),
        (byte_level(), ["<s>"], ["</s>"]),
        (word_level(["x"]), ["[CLS]"], ["[SEP]"]),
        (word_level(["a", "b"], frame=False), [], []),
    ],
    ids=["wordpiece", "byte level", "a word it does not know", "none"],
)
def test_frame(tokenizer: PreTrainedTokenizerBase, prefix: list[str], suffix: list[str]):
    space = TextSpace(tokenizer)
    assert tokenizer.convert_ids_to_tokens(space.prefix) == prefix
    assert tokenizer.convert_ids_to_tokens(space.suffix) == suffix


def test_proposable_tokens_are_text():
    tokenizer = byte_level()
    space = TextSpace(tokenizer, len(tokenizer) + 5)
    names = tokenizer.convert_ids_to_tokens(space.proposable.nonzero().squeeze(1).tolist())
    assert space.proposable.shape == (len(tokenizer) + 5,)
    assert not space.proposable[len(tokenizer) :].any()
    assert {"a", "Z", "\u0120the", "!"} <= set(names)
    not_text = {"<s>", "<pad>", "</s>", "<unk>", "<mask>", "<unused_0>", "<extra_id_1>", "madeupword0000"}
    assert "\u0120" in names  # one space, which "R & B" holds
    pieces = {"\u010a", "\u00c3", "\u00a9"}  # a line end, both bytes of an accented letter
    assert (not_text | pieces) <= set(tokenizer.get_vocab())
    assert not (not_text | pieces) & set(names)


def test_proposable_tokens_of_wordpiece():
    tokenizer = wordpiece()
    names = tokenizer.convert_ids_to_tokens(TextSpace(tokenizer).proposable.nonzero().squeeze(1).tolist())
    assert set(tokenizer.get_vocab()) - set(names) == set(tokenizer.all_special_tokens) | {"[unused0]", "[unused1]"}


def test_a_vocabulary_smaller_than_the_tokenizer():
    assert TextSpace(wordpiece(), 20).proposable.shape == (20,)


def test_a_tokenizer_without_padding():
    tokenizer = word_level(["a"])
    tokenizer.pad_token = None
    with pytest.raises(InvalidInput, match="neither a padding nor an end token"):
        TextSpace(tokenizer)


def test_a_tokenizer_without_mask():
    tokenizer = word_level(["a"])
    tokenizer.mask_token = None
    with pytest.raises(InvalidInput, match="no mask token"):
        TextSpace(tokenizer).masks([2])


def test_reserved_names_are_not_proposable_even_as_plain_words():
    """As in BERT's own vocabulary, where they are no special tokens."""
    reserved = ["[unused7]", "<unused_3>", "<unused12>", "<extra_id_5>", "<extra_2>", "madeupword0001"]
    reserved += [
        "▁<extra_id_5>",
        "Ġ<|reserved_special_token_9|>",
        "<s>NOTUSED",
        "<SPECIAL_12>",
        "[UNUSED_3]",
        "<special0>",
    ]
    tokenizer = word_level(["red", *reserved, "unused", "<->", "<3", "[red]"])
    names = tokenizer.convert_ids_to_tokens(TextSpace(tokenizer).proposable.nonzero().squeeze(1).tolist())
    assert names == ["red", "unused", "<->", "<3", "[red]"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a \u2603 b", "cannot represent '\u2603' at character 3 of 'a \u2603 b'"),
        ("a b [MASK] c", "holds the special token '[MASK]' at character 5 of 'a b [MASK] c'"),
        ("a " * 200 + "\u2603", "cannot represent '\u2603' at character 401 of '\u2026"),
        ("\u2603" + " a" * 200, "cannot represent '\u2603' at character 1 of '\u2603 a"),
    ],
)
def test_what_cannot_be_a_token_is_shown_at_its_place(text: str, said: str):
    with pytest.raises(InvalidInput, match=re.escape(said)) as caught:
        TextSpace(wordpiece()).encode(["b", text])
    assert len(str(caught.value)) < 250


def test_a_word_that_is_unknown_as_a_whole_is_shown():
    with pytest.raises(InvalidInput, match="cannot represent 'house' at character 5 of 'red house'"):
        TextSpace(word_level(["red", "h", "o", "u", "s", "e"])).encode(["red house"])


@pytest.mark.parametrize("made", [wordpiece, byte_level, lambda: word_level(["a", "b"])])
def test_a_word_that_was_added_is_a_word(made: Callable[[], PreTrainedTokenizerBase]):
    tokenizer = deepcopy(made())
    tokenizer.add_tokens(["covid", "<image>"])
    tokenizer.add_tokens(["<control>"], special_tokens=True)
    space = TextSpace(tokenizer)
    names = tokenizer.convert_ids_to_tokens(space.proposable.nonzero().squeeze(1).tolist())
    assert {"covid", "<image>", "<control>"} & set(names) == {"covid"}
    x = space.encode(["a covid b", "covid"])
    assert space.decode(x) == ["a covid b", "covid"]
    assert not space.fixed(x).any()
    assert Keywords(space, ["covid"]).found(x).tolist() == [True, True]
