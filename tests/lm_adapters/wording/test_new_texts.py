"""Which texts are known, and the constraint that forbids them."""

from __future__ import annotations

import math

import pytest

from lm_adapters import KnownTexts, NewTexts
from samplers import InvalidInput
from tests.lm_adapters import tiny

KNOWN = ["The dog sat.", "I don\u2019t know!", "caf\u00e9", "Red blue"]


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("the DOG sat", True),
        ("The dog sat down.", False),
        ("dog sat", False),
        ("I don't know", True),
        ("cafe\u0301", True),
        ("cafe", False),
        ("redblue", False),
        ("...", False),
    ],
)
def test_texts_are_known_by_their_words(text, known):
    assert KnownTexts(KNOWN).hold([text, "nothing"]).tolist() == [known, False]
    assert not KnownTexts(KNOWN).without([text]).hold([text]).any()


def test_none_is_known_of_none():
    assert KnownTexts().hold(["a", "b"]).tolist() == [False, False]
    assert KnownTexts(KNOWN).hold([]).tolist() == []


def test_those_that_ship():
    known = KnownTexts.english()
    assert len(known.digests) > 500_000
    assert known.hold(["I don't know.", "Let's go!", "The radio of our mayor sleeps."]).tolist() == [True, True, False]
    strange = [f"{number} radios of our mayor sleep in {number + 7} boats" for number in range(20_000)]
    # Binomial with 580,000 / 2^32: 2.7 of 20,000 on average, 16 or more once in a hundred million.
    assert known.hold(strange).sum() < 16


def test_files(tmp_path):
    known = KnownTexts(KNOWN)
    known.write(tmp_path / "digests.bin")
    read = KnownTexts.read(tmp_path / "digests.bin")
    assert read.hold(KNOWN).all()
    assert read.config() == known.config() == KnownTexts(reversed(KNOWN)).config()
    assert read.config() != known.without(KNOWN[:1]).config()
    (tmp_path / "broken.bin").write_bytes(b"12345")
    for name in ("broken.bin", "gone.bin"):
        with pytest.raises(InvalidInput, match=rf"{name}' cannot be read \(.*\); give a file of digests"):
            KnownTexts.read(tmp_path / name)


def test_digests_out_of_order(tmp_path):
    (tmp_path / "mixed.bin").write_bytes(bytes(range(8, 0, -1)) * 2)
    with pytest.raises(InvalidInput, match=r"mixed\.bin' are not in ascending order; give a file of digests"):
        KnownTexts.read(tmp_path / "mixed.bin")


def test_constraint():
    space = tiny.words_lm(["red", "green", "blue"]).space
    x = space.encode(["red blue", "blue red", "red", "red blue green"], width=3)
    energy = NewTexts(space, KnownTexts(KNOWN))
    assert energy(x).tolist() == [math.inf, 0.0, 0.0, 0.0]
    assert energy.is_constraint
    assert [energy.clause, NewTexts(space).clause] == ["none of those that are known", "new to the models"]
    assert NewTexts(space, KnownTexts(KNOWN), given=["Red, blue!"])(x).tolist() == [0.0] * 4
