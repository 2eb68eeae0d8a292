"""Where words end, in texts read by hand and in tokens of every kind of tokenizer against their texts."""

# ruff: noqa: RUF001  (apostrophes and hyphens that look alike)
from __future__ import annotations

from contextlib import suppress

import pytest
import torch

from lm_adapters import Keywords, TextSpace
from lm_adapters.word_edges import ENDS, JOINED, LETTER, MARKED, UNSURE, word_began, word_goes_on
from lm_adapters.wording.word_search import WordSearch
from samplers import InvalidInput
from samplers.randomness import generator
from tests.lm_adapters.trained_tokenizers import KINDS, trained

kinds = pytest.mark.parametrize("kind", KINDS)


def stands(text: str, word: str) -> bool:
    places = [at for at in range(len(text)) if text.startswith(word, at)]
    return any(not word_began(text, at) and not word_goes_on(text, at + len(word)) for at in places)


@pytest.mark.parametrize(
    ("text", "word", "whole"),
    [
        ("ladder", "ladder", True),
        ("a ladder.", "ladder", True),
        ("(ladder)", "ladder", True),
        ("'ladder'", "ladder", True),
        ("the ladders' end", "ladders", True),
        ("ladders", "ladder", False),
        ("stepladder", "ladder", False),
        ("ladder's", "ladder", False),
        ("ladder’s", "ladder", False),
        ("ladder-like", "ladder", False),
        ("step-ladder", "ladder", False),
        ("ladder--like", "ladder", True),
        ("ladder- and step-", "ladder", True),
        ("ladder – like", "ladder", True),
        ("o'clock", "clock", False),
        ("'tis", "tis", True),
        ("ladder2", "ladder", False),
        ("ladder_2", "ladder", False),
        ("5:30", "5", True),
        ("3-1", "3", False),
        ("the dog's bowl", "'s", True),
        ("in the U.S.", "U.S.", True),
        ("C++", "C", True),
        ("C++", "C++", True),
        ("C++s", "C++", False),
        ("C++'s", "C++", True),
        ("the U.S.A", "U.S.", False),
        ("me@user", "@user", False),
        ("a @user", "@user", True),
        ("(@user)", "@user", True),
        ("Hi.", ".", True),
        ("it is 3.5", ".", False),
        ("f (x)", "(", True),
        ("like\U0001f600", "\U0001f600", False),
        ("like \U0001f600", "\U0001f600", True),
        ("@user", "user", True),
        ("cafe\u0301", "cafe", False),
        ("किताब", "क", False),
        ("किताब", "किताब", True),
        ("я люблю музыку", "музык", False),
        ("今天听音乐。", "音乐", True),
        ("C语言", "C", True),
        ("ก\u0e34น", "ก", False),
        ("ก\u0e34น", "ก\u0e34", True),
        ("می\u200cخواهم", "می", False),
        ("👩\u200d💻", "👩", False),
    ],
)
def test_whole_words_by_hand(text: str, word: str, whole: bool):
    assert stands(text, word) is whole
    assert (WordSearch([word], ignore_case=False).find(text) is not None) is whole


def test_what_tokens_do_to_a_word_before_them():
    space = TextSpace(trained("byte-level BPE"))
    names = ["'s", "s", "Ġhere", ".", "'", "-", "Ġ", "Ã", "1", "_"]
    ids = space.tokenizer.convert_tokens_to_ids(names)
    assert len(set(ids)) == len(ids)
    after, before = space.word_edges(torch.tensor([ids]))
    assert dict(zip(names, after[0].tolist(), strict=True)) == {
        "'s": JOINED, "s": LETTER, "Ġhere": ENDS, ".": ENDS, "'": UNSURE, "-": UNSURE, "Ġ": ENDS, "Ã": UNSURE,
        "1": LETTER, "_": LETTER,
    }  # fmt: skip
    assert dict(zip(names, before[0].tolist(), strict=True)) == {
        "'s": LETTER, "s": LETTER, "Ġhere": LETTER, ".": ENDS, "'": UNSURE, "-": UNSURE, "Ġ": ENDS, "Ã": UNSURE,
        "1": LETTER, "_": UNSURE,
    }  # fmt: skip
    assert MARKED not in after


@kinds
def test_keywords_are_the_whole_words_of_the_text(kind: str):
    """Whatever stands beside the word, where the text is cut as the tokenizer cuts it."""
    space, word = TextSpace(trained(kind)), "here"
    lock = Keywords(space, [word])
    after = {"": True, ".": True, " the": True, "!": True, ", do": True, "--a": True, "' ": True, " - a": True}
    after |= {"'s": False, "s": False, "-a": False, "1": False, "’s": False, "s' a": False, "'": True}
    before = {"": True, "the ": True, "well-": False, "a": False, "o'": False, "the 's ": True}
    expected = {left + word + right: before[left] and after[right] for left in before for right in after}
    states = {}
    for text in expected:
        with suppress(InvalidInput):  # a mark that this tokenizer does not know
            states[text] = space.encode([text], 40)
    x = torch.cat(list(states.values()))
    found, written = lock.found(x).tolist(), space.decode(x)
    assert [text.strip() == own for text, own in zip(states, written, strict=True)].count(True) > 5
    for text, own, is_found in zip(states, written, found, strict=True):
        if kind == "BPE, byte fallback" and not is_found:  # it has pieces of a word and the mark behind it
            continue
        assert is_found is stands(own, word), own
        assert text.strip() != own or is_found is expected[text], own


@kinds
@pytest.mark.parametrize("word", ["dog", "Tom", "isn't", "well-known", "U.S.", ".", "'s", "5:30", "@user", "the sea"])
def test_what_is_found_is_in_the_text(kind: str, word: str):
    """In token sequences that no tokenizer would write."""
    space = TextSpace(trained(kind))
    if not space.cannot_be_text(space.tokenizer(word, add_special_tokens=False)["input_ids"]):
        lock = Keywords(space, [word])
    else:
        with pytest.raises(InvalidInput, match="is no text; use other words"):
            Keywords(space, [word])
        return
    texts = [word, f"a {word}", "'s - ' it isn't here. well-known 1 _ the"]
    own = [space.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    pool = torch.tensor(sorted({i for ids in own for i in ids if not space.cannot_be_text([i])}))
    around = pool[torch.randint(len(pool), (400, 6), generator=generator(1))]
    spelt = torch.tensor([list(lock.spelt[0].spellings[0])] * 400)
    x = torch.cat([around[:, :2], spelt, around[:, 2:]], dim=1)
    x[::2] = torch.cat([spelt, around], dim=1)[::2]
    found = lock.found(x)
    assert bool(found.any())
    # As the tokenizer writes it: perhaps without capitals.
    written = WordSearch([space.decode(space.encode([word]))[0].strip()], ignore_case=False)
    assert all(written.find(text) for text in space.decode(x[found]))
