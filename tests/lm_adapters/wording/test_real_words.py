"""Which words are real, in texts and as a constraint."""

from __future__ import annotations

import gzip
import math

import pytest

from lm_adapters import RealWords, WordList
from samplers import InvalidInput
from tests.lm_adapters import tiny


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("The DOG sat.", []),
        ("the dogs sat", ["dogs"]),
        ("the dog's mat: 42, 1843!", ["mat"]),
        ("the dog\u2019s dogs'", ["dogs"]),
        ("a well-known dog", ["a"]),
        ("don't sat't", ["sat't"]),
        ("caf\u00e9 cafe\u0301 cafe", ["cafe"]),
        ("3rd 1980s B2B", ["B2B"]),
        ("... !?", []),
    ],
)
def test_words_of_a_text(text, missing):
    listed = WordList(["the", "dog", "Sat", "don\u2019t", "well-known", "caf\u00e9"])
    assert listed.missing(text) == missing
    assert listed.plus([text]).missing(text) == []


def test_the_list_that_ships():
    listed = WordList.english()
    assert len(listed.words) > 40_000
    assert listed.missing("Tom's mother didn't like the 3 dogs, I'm afraid.") == []
    assert listed.missing("blorg gyx") == ["blorg", "gyx"]


def test_files(tmp_path):
    plain, packed = tmp_path / "words.txt", tmp_path / "words.gz"
    plain.write_bytes("\ufeffone\r\ntwo words\r\n".encode())
    packed.write_bytes(gzip.compress(b"one\nwords\ntwo\n"))
    assert WordList.read(plain).words == WordList.read(packed).words == {"one", "two", "words"}
    assert WordList.read(plain).name == "in words of 'words.txt'"
    assert WordList.read(plain).config() == WordList.read(packed).config()
    assert WordList.read(plain).config() != WordList(["one"]).config()
    (tmp_path / "latin.txt").write_bytes("caf\u00e9".encode("latin-1"))
    (tmp_path / "no.gz").write_bytes(b"one")
    for name in ("latin.txt", "no.gz", "gone.txt"):
        with pytest.raises(InvalidInput, match=rf"{name}' cannot be read \(.*\); give a UTF-8 file"):
            WordList.read(tmp_path / name)
    with pytest.raises(InvalidInput, match="has no word"):
        WordList([" ", "!"])


def test_constraint():
    space = tiny.words_lm(["red", "green", "blue"]).space
    x = space.encode(["red blue", "green red", "blue"], width=3)
    energy = RealWords(space, WordList(["Red", "blue"]))
    assert energy(x).tolist() == [0.0, math.inf, 0.0]
    assert energy.is_constraint
    assert RealWords(space, WordList(["Red", "blue"]), given=["green"])(x).tolist() == [0.0, 0.0, 0.0]


def test_words_that_a_tokenizer_writes_without_accents():
    space = tiny.build("bert").space
    assert "no accents" in space.lost
    assert RealWords(space, WordList(["\u00e9t\u00e9"]))(space.encode(["ete", "\u00e9te", "et"], width=6)).tolist() == [
        0.0,
        0.0,
        math.inf,
    ]
