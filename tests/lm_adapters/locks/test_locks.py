"""Keywords and templates against searches written by hand over every short text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import permutations, product

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor

from lm_adapters import TextSpace
from lm_adapters.locks.base import Lock, editable, free_sites
from lm_adapters.locks.keywords import Keywords
from lm_adapters.locks.template import Template
from samplers import InvalidInput, evaluate, named
from samplers.testing.targets import enumerate_states
from tests.lm_adapters.tiny import BERT_TOKENS, bert_like, byte_level, word_level, wordpiece

WORDS = ("a", "b", "c")
LONGEST = 6


@cache
def words() -> TextSpace:
    return TextSpace(word_level(WORDS))


@cache
def pieces_of_words() -> TextSpace:
    """A tokenizer whose every text of ``a``, ``b`` and ``##b`` is a state: words go on or not."""
    vocabulary = {name: index for index, name in enumerate([*BERT_TOKENS[:5], "a", "b", "##b"])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return TextSpace(bert_like(tokenizer, frame=True))


@cache
def every_text(space: TextSpace) -> Tensor:
    """All texts of 1 to 6 of the three tokens that may be proposed."""
    tokens = space.proposable.nonzero().squeeze(1)
    rows = [tokens[enumerate_states(len(tokens), length)] for length in range(1, LONGEST + 1)]
    return torch.cat([torch.nn.functional.pad(row, (0, LONGEST - row.shape[1]), value=space.pad_id) for row in rows])


def rows_of(x: Tensor) -> Iterator[list[str]]:
    """The words of each text, padding as empty strings."""
    names = dict(enumerate(words().tokenizer.convert_ids_to_tokens(range(words().vocabulary))))
    for row in x.tolist():
        yield ["" if token == words().pad_id else names[token] for token in row]


def ordered_by_hand(row: list[str], keywords: Sequence[Sequence[str]]) -> list[int]:
    held, at = [0] * len(row), 0
    for number, keyword in enumerate(keywords, 1):
        while at < len(row) and row[at : at + len(keyword)] != list(keyword):
            at += 1
        if at == len(row):
            return [0] * len(row)
        held[at : at + len(keyword)] = [number] * len(keyword)
        at += len(keyword)
    return held


def any_order_by_hand(row: list[str], keywords: Sequence[Sequence[str]]) -> list[int]:
    held = [0] * len(row)
    for number in sorted(range(1, len(keywords) + 1), key=lambda n: -len(keywords[n - 1])):
        keyword = list(keywords[number - 1])
        places = [at for at in range(len(row)) if row[at : at + len(keyword)] == keyword]
        places = [at for at in places if not any(held[at : at + len(keyword)])]
        if not places:
            return [0] * len(row)
        held[places[0] : places[0] + len(keyword)] = [number] * len(keyword)
    return held


@pytest.mark.parametrize("any_order", [False, True])
@pytest.mark.parametrize(
    "given",
    [
        ["a"],
        ["a b"],
        ["a", "b"],
        ["a", "a"],
        ["a a", "a"],
        ["a", "a b"],
        ["b a", "a b"],
        ["a", "b", "a"],
        ["a b a", "b"],
    ],
    ids=" + ".join,
)
def test_keywords_are_found_as_by_hand(given: list[str], any_order: bool):
    lock, x = Keywords(words(), given, any_order), every_text(words())
    by_hand = any_order_by_hand if any_order else ordered_by_hand
    expected = torch.tensor([by_hand(row, [word.split() for word in given]) for row in rows_of(x)])
    assert torch.equal(lock.pieces(x), expected)
    assert 0 < int(lock.found(x).sum()) < len(x)
    assert torch.equal(lock.found(x), (expected > 0).any(dim=1))
    assert lock.min_length == sum(len(word.split()) for word in given)


TEMPLATES = {
    "a [MASK]": ["a", (1, 1)],
    "[MASK] a": [(1, 1), "a"],
    "a [MASK] b": ["a", (1, 1), "b"],
    "[MASK:1-2] a [MASK:1-3]": [(1, 2), "a", (1, 3)],
    "[MASK:2] a b [MASK:1-2]": [(2, 2), "a b", (1, 2)],
    "a [MASK:1-4] a [MASK:1-4] a": ["a", (1, 4), "a", (1, 4), "a"],
    "[MASK] [MASK:1-2] c": [(2, 3), "c"],
    "[MASK:2-4]": [(2, 4)],
}


def templates_by_hand(row: list[str], parts: Sequence[str | tuple[int, int]]) -> list[int] | None:
    """The first of all choices of slot lengths, shortest and leftmost first, that gives this text."""
    text = [word for word in row if word]
    for lengths in product(*[range(p[0], p[1] + 1) for p in parts if isinstance(p, tuple)]):
        left, pattern, number = iter(lengths), [], 0
        for part in parts:
            if isinstance(part, tuple):
                pattern += [(None, 0)] * next(left)
            else:
                number += 1
                pattern += [(word, number) for word in part.split()]
        if len(pattern) == len(text) and all(word in (None, t) for (word, _), t in zip(pattern, text, strict=True)):
            return [n for _, n in pattern] + [0] * (len(row) - len(text))
    return None


@pytest.mark.parametrize("text", TEMPLATES)
def test_templates_are_found_as_by_hand(text: str):
    lock, x = Template(words(), text), every_text(words())
    by_hand = [templates_by_hand(row, TEMPLATES[text]) for row in rows_of(x)]
    assert lock.found(x).tolist() == [held is not None for held in by_hand]
    assert torch.equal(lock.pieces(x), torch.tensor([held or [0] * LONGEST for held in by_hand]))
    lengths = words().lengths(x)[lock.found(x)]
    assert (lock.min_length, min(lock.max_length, LONGEST)) == (int(lengths.min()), int(lengths.max()))
    assert lock.slots == [part for part in TEMPLATES[text] if isinstance(part, tuple)]


@pytest.mark.parametrize(
    "given", [["a"], ["b"], ["ab"], ["a", "ab"], ["abb", "b"], ["b", "b"], ["ab b"]], ids=" + ".join
)
def test_keywords_are_whole_words(given: list[str]):
    """By the words of the decoded text, which the tokens of this tokenizer spell in one way."""
    space, x = pieces_of_words(), every_text(pieces_of_words())
    wanted = [word for keyword in given for word in keyword.split()]
    texts = [text.split() for text in space.decode(x)]
    adjacent = any(" " in keyword for keyword in given)

    def there(text: list[str], order: Sequence[str]) -> bool:
        if adjacent:
            return any(text[at : at + len(order)] == list(order) for at in range(len(text)))
        left = iter(text)
        return all(word in left for word in order)

    assert Keywords(space, given).found(x).tolist() == [there(text, wanted) for text in texts]
    orders = [wanted] if adjacent else list(permutations(wanted))
    any_order = Keywords(space, given, any_order=True).found(x).tolist()
    assert any_order == [any(there(text, order) for order in orders) for text in texts]


def test_a_slot_does_not_go_on_with_the_word_before_it_unless_glued():
    space = pieces_of_words()
    x = every_text(space)
    length = space.lengths(x)
    names = [space.tokenizer.convert_ids_to_tokens(row) for row in x.tolist()]
    spaced = [
        n == 3 and row[0] == "a" and row[1] != "##b" and row[2] == "a" for n, row in zip(length, names, strict=True)
    ]
    glued = [n == 2 and row[0] == "a" for n, row in zip(length, names, strict=True)]
    within = [n == 3 and row[0] == "a" and row[2] == "##b" for n, row in zip(length, names, strict=True)]
    assert Template(space, "a [MASK] a").found(x).tolist() == spaced
    assert Template(space, "a[MASK]").found(x).tolist() == glued
    assert Template(space, "a[MASK]b").found(x).tolist() == within


@pytest.mark.parametrize("tokenizer", [wordpiece(), byte_level()], ids=["wordpiece", "byte level"])
def test_words_of_several_tokens(tokenizer):
    space = TextSpace(tokenizer)
    x = space.encode(["the old house", "house, old", "old houses", "oldhouse", "a house by an old house.", "old"], 40)
    lock = Keywords(space, ["house", "old"], any_order=True)
    assert lock.found(x).tolist() == [True, True, False, False, True, False]
    held = lock.pieces(x)
    assert (held[~lock.found(x)] == 0).all()
    words_held = [space.decode(row[held[0] == k].unsqueeze(0))[0].strip() for row in x[:1] for k in (1, 2)]
    assert words_held == ["house", "old"]
    start = space.encode(["house, old"])
    assert lock.found(start).all()
    assert space.tokenizer.convert_ids_to_tokens(start[0].tolist())[0].startswith("h")
    house = Keywords(space, ["house"])
    assert house.pieces(space.encode(["house house"]))[0].tolist().count(1) == len(space.encode(["house"])[0])


def test_energy_and_tokens_alone():
    lock = Keywords(words(), ["a", "b"])
    x = words().encode(["a c b", "b a", "c b", "a b"], 5)
    assert lock(x).tolist() == [0.0, math.inf, math.inf, 0.0]
    assert lock.is_constraint
    target = named("length", lambda x: words().lengths(x).double()) + lock
    assert evaluate(target, x).energy.tolist() == [3.0, math.inf, math.inf, 2.0]
    # Neither the width nor the company of a text matters.
    wide = words().encode(["a c b", "b a", "c b", "a b"], 9)
    assert torch.equal(lock.pieces(wide)[:, :5], lock.pieces(x))
    assert torch.equal(torch.cat([lock.pieces(row.unsqueeze(0)) for row in x]), lock.pieces(x))
    template = Template(words(), "a [MASK:2-4]")
    assert template(x).tolist() == [0.0, math.inf, math.inf, math.inf]
    assert template.pieces(words().encode(["a"])).tolist() == [[0]]  # narrower than the template


def test_free_sites_and_slots():
    x = words().encode(["c a b c", "a b", "c", "a b a b c"], 5)
    lock = Keywords(words(), ["a b"])
    assert free_sites(words(), None, x).tolist() == words().is_token(x).tolist()
    assert editable(words(), None, x).slots.sum(dim=1).tolist() == [5, 3, 2, 6]
    free, slots, found = editable(words(), lock, x)
    assert free.int().tolist() == [[1, 0, 0, 1, 0], [0] * 5, [1, 0, 0, 0, 0], [0, 0, 1, 1, 1]]
    assert slots.int().tolist() == [[1, 1, 0, 1, 1, 0], [1, 0, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 0, 1, 1, 1, 1]]
    assert found.tolist() == [True, True, False, True]
    assert torch.equal(free_sites(words(), lock, x), free)
    assert torch.equal(editable(words(), lock, x).slots, slots)
    neighbours = Keywords(words(), ["a", "b"])  # two pieces side by side have a slot between them
    assert editable(words(), neighbours, x).slots[1].int().tolist() == [1, 1, 1, 0, 0, 0]


def test_start_texts():
    lock = Keywords(words(), ["b", " a a "], any_order=True)
    assert lock.start_text() == "b a a"
    assert lock.start_text([1, 0]) == "a a b"
    space = TextSpace(byte_level())
    text = Keywords(space, ["house", "old sea"]).start_text()
    assert text == "house old sea"
    with pytest.raises(InvalidInput, match="'a b' do not hold every keyword"):
        Keywords(words(), ["b", "a"]).start_text([1, 0])


def test_start_states_of_a_template():
    lock = Template(words(), "[MASK:1-2] a b [MASK:1-3]")
    x = lock.masks([[1, 1], [2, 3], [1, 2]])
    mask, pad = words().mask_id, words().pad_id
    a, b = words().encode(["a b"])[0].tolist()
    assert x.tolist() == [
        [mask, a, b, mask, pad, pad, pad],
        [mask, mask, a, b, mask, mask, mask],
        [mask, a, b, mask, mask, pad, pad],
    ]
    assert lock.found(x).all()
    assert lock.masks([[1, 1]], 9).shape == (1, 9)
    for counts in ([[1]], [[3, 1]], [[1, 0]]):
        with pytest.raises(InvalidInput, match="take 1 to 2, 1 to 3 tokens, not"):
            lock.masks(counts)
    with pytest.raises(InvalidInput, match="7 tokens is longer than 6"):
        lock.masks([[2, 3]], 6)


def test_frozen_text_is_cut_in_its_place():
    space = TextSpace(byte_level())
    lock = Template(space, "the house[MASK]. She's [MASK:2] gone")
    tokens = space.tokenizer.convert_ids_to_tokens(lock.masks([[1, 2]])[0].tolist())
    text = "".join(tokens).replace("\u0120", " ")
    assert text == "the house<mask>. She's<mask><mask> gone"
    assert lock.min_length == len(tokens)
    x = lock.masks([[1, 2]])
    slots = (x[0] == space.mask_id).nonzero().squeeze(1).tolist()
    spaced, bare = space.tokenizer.convert_tokens_to_ids(["\u0120a", "a"])
    for fill, fits in (([spaced] * 3, True), ([bare, spaced, bare], True), ([spaced, bare, spaced], False)):
        x[0, slots] = torch.tensor(fill)
        assert lock.found(x).item() is fits


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([], "no keywords"),
        (["a", " "], "keyword is empty"),
        (["a", "\u6f22"], "'\u6f22'"),
        (["[SEP]"], r"'\[SEP\]'"),
        (["a [MASK]"], r"'a \[MASK\]'"),
        (["[unused0]"], "unused0"),
    ],
)
def test_unusable_keywords(given: list[str], problem: str):
    with pytest.raises(InvalidInput, match=problem):
        Keywords(TextSpace(wordpiece()), given)


@pytest.mark.parametrize(
    ("lock", "problem"),
    [
        (Keywords(words(), ["a b", "c"]), "no room for the keywords 'a b', 'c': 3 tokens at least, the limit is 2"),
        (Template(words(), "a [MASK:2-5]"), r"no room for the template 'a \[MASK:2-5\]'"),
    ],
)
def test_too_long(lock: Lock, problem: str):
    lock.check_length(3)
    with pytest.raises(InvalidInput, match=problem):
        lock.check_length(2)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a b", "no slot"),
        ("", "no slot"),
        ("a [MASK:0]", "0 to 0"),
        ("a [MASK:0-2]", "0 to 2"),
        ("a [MASK:3-1]", "3 to 1"),
        ("a [MASK:x]", r"'\[MASK:x\]' is malformed"),
        ("a [MASK:]", "malformed"),
        ("a [MASK:1-]", "malformed"),
        ("a [MASK2]", "malformed"),
        ("a [MASK:2", "malformed"),
        ("a [MASK] zoo", "'zoo'"),
        ("zoo [MASK]", "'zoo'"),
        ("a [MASK] [SEP]", r"'\[SEP\]'"),
        ("a[MASK]b", "cannot separate 'b' from"),
    ],
)
def test_unusable_templates(text: str, problem: str):
    with pytest.raises(InvalidInput, match=problem):
        Template(words(), text)
