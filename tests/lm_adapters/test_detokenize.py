"""Texts come back from tokens as people write them, from every kind of tokenizer."""

# ruff: noqa: RUF001  (marks that look alike are what this file is about)
from __future__ import annotations

import string
import unicodedata

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_adapters import TextSpace
from lm_adapters.detokenize import Detokenizer
from tests.lm_adapters.trained_tokenizers import CHINESE, KINDS, SENTENCES, trained

LOSSES = {"WordPiece, cased": [], "WordPiece, uncased": ["no capital letters", "no accents"], "WordLevel": []}
RESTORED = "spaces beside punctuation set by rule"
CJK_TOO = ("WordPiece, cased", "WordPiece, uncased")
kinds = pytest.mark.parametrize("kind", KINDS)


def as_written(kind: str, text: str) -> str:
    """``text`` without what the tokenizer loses."""
    if kind != "WordPiece, uncased":
        return text
    parts = unicodedata.normalize("NFD", text.lower())
    return "".join(character for character in parts if unicodedata.category(character) != "Mn")


@kinds
def test_sentences_come_back(kind: str):
    space = TextSpace(trained(kind))
    texts = SENTENCES + CHINESE * (kind in CJK_TOO)
    x = space.encode(texts)
    assert space.decode(x) == [as_written(kind, text) for text in texts]
    assert space.is_canonical(x).all()


@kinds
def test_what_does_not_come_back_is_said(kind: str):
    assert TextSpace(trained(kind)).lost == ([*LOSSES[kind], RESTORED] if kind in LOSSES else [])


@pytest.mark.parametrize(
    "text",
    [
        "Tom's dog isn't Ann's.",
        "I'd say they'll go, won't they?",
        "O'Brien said: 'I am here'.",
        "the dogs' bowls",
        '"Yes," he said, "and \'no\'."',
        '"A" and "B" (or "C")',
        "He won 3-1; she's twenty-one.",
        "5'3\" or 50% of $1,250.75",
        "at 5:30 a.m., in the '90s",
        "in 1999, 25 men; in 1,999 years",
        "e.g. this, i.e. that, U.S. and p.m.",
        "@user #fun tom@example.com www.example.com http://example.org/a_b",
        "Well... no!? (Really?) [Yes.] {No.}",
        "d'accord, c'est aujourd'hui l'heure; a-t-il qu'on veut?",
        "¿Qué? ¡No! „Gut“, «bien», “yes”, ‘no’, it’s",
        "and/or, a_b, 3/4, 20°",
        "Na'vi, quelqu'un, a two- or threefold black-and-white Vor- und Nachteil",
        "2 + 2 = 4 & 1 < 3 * 2",
        "1990–1995 – so long—bye",
        "a -- b, -5 and x",
        "你好，世界！我有3本书。《日记》（一）",
        "我用Linux写，他用Mac。",
        '“你好！”“你好，"老王"！”他说, 我说! 不',
    ],
)
def test_spaces_are_set_as_people_set_them(text: str):
    """All marks apart, as BERT's ``decode`` gives them."""
    tokenizer = trained("WordPiece, cased")
    pieces, _ = zip(*tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(apart(text)), strict=True)
    assert Detokenizer(tokenizer).write(" ".join(pieces)) == text


def apart(text: str) -> str:
    normalizer = trained("WordPiece, cased").backend_tokenizer.normalizer
    return str(normalizer.normalize_str(text))


@kinds
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_canonical_tokens_come_back(kind: str, data: st.DataObject):
    """``encode(decode(x)) == x`` for what ``encode`` gives of any text, and the text itself where nothing is lost."""
    space, tokenizer = TextSpace(trained(kind)), trained(kind)
    letters = "".join(sorted(set("".join(SENTENCES))))
    text = data.draw(
        st.text(letters if kind != "byte-level BPE" else st.characters(codec="utf-8"), max_size=30)
        .map(str.strip)
        .filter(bool)
    )
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids or tokenizer.unk_token_id in ids or "\ud800" <= max(text) <= "\udfff":
        return
    x = torch.tensor([ids])
    assert space.is_canonical(x).all(), (text, space.decode(x))
    if kind.startswith("byte-level") or kind == "BPE, byte fallback":
        assert space.decode(x) == [text]


@kinds
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([*string.punctuation, "a", "Tom", "s", "5", "00", "com", "www"]), min_size=1, max_size=9)
)
def test_any_marks_keep_their_tokens(kind: str, words: list[str]):
    """However marks stand beside each other, the text that is written has the same tokens."""
    tokenizer = trained(kind)
    ids = tokenizer(" ".join(words), add_special_tokens=False)["input_ids"]
    if tokenizer.unk_token_id not in ids:
        assert tokenizer(Detokenizer(tokenizer)([ids]), add_special_tokens=False)["input_ids"] == [ids]
