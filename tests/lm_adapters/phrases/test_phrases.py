"""The trie of a list and what it is asked; which texts are, or hold, a phrase; how phrases are read and refused."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from lm_adapters import Keywords, LookAhead, PhraseDistribution, PhraseProposal, Phrases
from lm_adapters.loading import target_space
from lm_adapters.text import TextSpace
from samplers import InvalidInput
from samplers.randomness import generator
from tests.lm_adapters import tiny, tiny_causal

LIST = ["red", "red green", "green blue red", "red", "blue green", " grey "]


@pytest.fixture(scope="module")
def space() -> TextSpace:
    return tiny_causal.words_lm(("red", "green", "blue", "grey")).space


def rows(phrases: Phrases) -> list[list[int]]:
    found = [row for part in phrases.states(2) for row in part]
    return [row[row != phrases.space.pad_id].tolist() for row in found]


def test_a_list_is_what_its_trie_holds(space: TextSpace):
    phrases = Phrases(space, LIST)
    wanted = {tuple(space.encode([text])[0].tolist()) for text in LIST}
    assert {tuple(row) for row in rows(phrases)} == wanted
    assert len(phrases) == len(wanted) == 5
    assert phrases.clause == "that are one of 5 phrases"
    assert (phrases.min_length, phrases.trie.depth) == (1, 3)


def test_children_are_those_of_a_dictionary_of_prefixes():
    """Random sequences, every node: children, ends and the nearest end."""
    rng = generator(3)
    space = tiny_causal.build("llama").space
    words = [chr(97 + int(i)) for i in torch.randint(6, (400,), generator=rng)]
    cuts = torch.randint(1, 6, (90,), generator=rng).cumsum(dim=0).clamp(max=400).tolist()
    phrases = Phrases(space, [" ".join(words[a:b]) for a, b in pairwise(cuts) if a < b])
    trie, sequences = phrases.trie, set(map(tuple, rows(phrases)))
    nodes = torch.arange(len(trie.ends))
    paths = [tuple(row[row != space.pad_id].tolist()) for row in trie.sequences(nodes, space.pad_id)]
    assert set(paths) == {sequence[:n] for sequence in sequences for n in range(len(sequence) + 1)}
    row, child = trie.below(nodes)
    found = {(paths[a], paths[b]) for a, b in zip(row.tolist(), child.tolist(), strict=True)}
    assert found == {(path[:-1], path) for path in paths if path}
    for node, path in enumerate(paths):
        longer = [len(each) - len(path) for each in sequences if each[: len(path)] == path]
        assert bool(trie.ends[node]) == (path in sequences)
        assert int(trie.nearest[node]) == min(longer)


def test_the_order_and_repetition_of_phrases_change_nothing(space: TextSpace):
    again = Phrases(space, [*reversed(LIST), "red green"])
    assert again.config() == Phrases(space, LIST).config()
    assert again.config() != Phrases(space, LIST[1:-1]).config()


@pytest.mark.parametrize("within", [False, True])
def test_where_the_phrase_stands(space: TextSpace, within: bool):
    phrases = Phrases(space, LIST, within=within)
    x = space.encode(["red", "grey grey red green", "green red green blue red", "blue", "blue red green blue"])
    held = {False: [1, 0, 0, 0, 0], True: [1, 1, 2, 0, 2]}[within]
    assert phrases.pieces(x).sum(dim=1).tolist() == held
    assert phrases(x).isinf().tolist() == [not each for each in held]
    start, _ = phrases.span(x)
    assert not within or start.tolist() == [0, 0, 1, 0, 1]  # leftmost, then longest


def test_within_a_text_a_phrase_ends_where_its_last_word_does():
    space = TextSpace(tiny.byte_level())
    texts = ["She's old.", "the olds", "We do the old thing", "We do theold", "the old", "the old-fashioned"]
    x = space.encode(texts)
    found = Phrases(space, ["the old"], within=True).found(x)
    assert torch.equal(found, Keywords(space, ["the old"]).found(x))
    assert found.tolist() == [False, False, True, False, True, False]


@pytest.mark.parametrize(
    ("phrases", "problem"),
    [
        ([], "there are no phrases; give at least one"),
        (["red", "  "], "phrase 2: the text '  ' has no tokens"),
        (["red", "red", "purple red"], "phrase 3: .*purple"),
        (["<s> red"], "phrase 1: "),
    ],
)
def test_phrases_that_cannot_be(space: TextSpace, phrases: list[str], problem: str):
    with pytest.raises(InvalidInput, match=problem):
        Phrases(space, phrases)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "there are no phrases"),
        (b"\n \n", "there are no phrases"),
        (b"red\n\n\npurple\n", "list.txt', line 4: .*purple"),
        (b"red\n\xff\xfe\n", "list.txt' is no UTF-8 text"),
        (None, "list.txt' cannot be read .No such file"),
    ],
)
def test_files_that_cannot_be(space: TextSpace, tmp_path: Path, content: bytes | None, problem: str):
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(InvalidInput, match=problem):
        Phrases.read(space, tmp_path / "list.txt")


def test_a_file_with_a_byte_order_mark_and_blank_lines(space: TextSpace, tmp_path: Path):
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfred\r\n\r\n green blue red \n")
    assert Phrases.read(space, tmp_path / "list.txt").config() == Phrases(space, ["red", "green blue red"]).config()


def test_look_ahead_counts_what_a_branch_can_add(space: TextSpace):
    phrases = Phrases(space, ["red green", "red blue grey", "grey", "green blue red"])
    ahead = LookAhead(phrases.trie, space.encode(["blue grey red"])[0])
    first, count = phrases.trie.children(torch.tensor([0]))
    child = first.unsqueeze(1) + torch.arange(int(count))
    words = space.tokenizer.convert_ids_to_tokens(phrases.trie.token(child[0]))
    gains = dict(zip(words, (1 / ahead.exponents(torch.tensor([0]), child)[0] - 1).tolist(), strict=True))
    assert gains == pytest.approx({"red": 2, "grey": 1, "green": 2})
    with pytest.raises(InvalidInput, match="text has no tokens"):
        LookAhead(phrases.trie, torch.tensor([], dtype=torch.int64))


def test_what_a_proposal_refuses(space: TextSpace):
    lm = tiny_causal.words_lm(("red", "green", "blue", "grey"))
    other = Phrases(tiny_causal.build("llama").space, ["a b"])
    whole, within = Phrases(space, LIST), Phrases(space, LIST, within=True)
    with pytest.raises(InvalidInput, match="in the tokens of another model"):
        PhraseProposal(lm.condition_on(), other)
    with pytest.raises(InvalidInput, match="texts that hold a phrase need one"):
        PhraseProposal(lm.condition_on(), within)
    with pytest.raises(InvalidInput, match="needs within=False"):
        PhraseDistribution(lm.condition_on(), within)
    with pytest.raises(InvalidInput, match="shorten it"):
        PhraseProposal(lm.condition_on(), Phrases(space, ["red " * 600]))
    with pytest.raises(InvalidInput, match="2 wide and max_length is 3"):
        PhraseProposal(lm.condition_on(), whole)(space.encode(["red green"]), generator(0))


def test_a_text_without_a_phrase_and_one_that_is_alone_stay(space: TextSpace):
    lm = tiny_causal.words_lm(("red", "green", "blue", "grey"))
    x = space.encode(["blue blue blue", "red"], width=3)
    for phrases in (Phrases(space, LIST), Phrases(space, ["red"])):
        proposed = PhraseProposal(lm.condition_on(), phrases, max_length=3)(x, generator(0))
        stays = 2 if len(phrases) == 1 else 1
        assert torch.equal(proposed.x[:stays], x[:stays])
        assert (proposed.log_q_reverse[:stays] == -math.inf).all()


def test_the_space_of_targets_needs_no_weights(space: TextSpace):
    assert target_space("seq2seq-en").config()["vocabulary"]
    with pytest.raises(InvalidInput, match="no model 'nosuch'"):
        target_space("nosuch")
