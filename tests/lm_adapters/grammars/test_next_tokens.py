"""Masks beside all texts that match, in every spelling; texts and masks of tokenizers of every kind."""

from __future__ import annotations

import re

import pytest
import torch

from lm_adapters import Grammar, Matches, NextTokens, TextSpace
from samplers import InvalidInput
from tests.lm_adapters import tiny_causal, trained_tokenizers
from tests.lm_adapters.grammars.enumerated import GRAMMARS, LONGEST, following, lm, texts

BY_HAND = {
    "pattern": lambda text: re.fullmatch(r"a(ab)+|b{2,5}a?|a b* ?", text) is not None,
    "grammar": lambda text: bool(found := re.fullmatch("(a+)(b+)[a ]*", text)) and len(found[1]) == len(found[2]),
}
grammars = pytest.mark.parametrize("name", list(GRAMMARS))


def beginnings() -> tuple[torch.Tensor, torch.Tensor]:
    """Every text and the empty one, and how many tokens each has."""
    x = torch.cat([torch.full((1, LONGEST), lm().space.pad_id), texts()])
    return x, lm().space.lengths(x)


@grammars
def test_a_text_matches_as_a_whole_without_the_space_before_it(name: str):
    wanted = [BY_HAND[name](text.removeprefix(" ")) for text in lm().space.decode(texts())]
    assert (Matches(lm().space, GRAMMARS[name])(texts()) == 0).tolist() == wanted
    assert following(name).is_match(texts()).tolist() == wanted
    assert 20 < sum(wanted) < len(wanted) / 2


@grammars
def test_no_token_is_left_out_that_begins_a_match_and_none_is_let_in_that_cannot(name: str):
    """What five tokens can write that begins a match begins one of these."""
    x, lengths = beginnings()
    allowed, end = following(name).allowed(x, lengths, lm().eos_id), lm().eos_id
    written = [text.removeprefix(" ") for text in lm().space.decode(x)]
    begun = {text[:size] for text in _matches(name) for size in range(len(text) + 1)}
    for row, text in enumerate(written):
        raw = lm().space.decode(x[row : row + 1])[0]
        for token in lm().allowed.nonzero().squeeze(1).tolist():
            longer = (raw + lm().space.decode(torch.tensor([[token]]))[0]).removeprefix(" ")
            assert bool(allowed[row, token]) == (longer in begun), (text, longer)
        assert bool(allowed[row, end]) == BY_HAND[name](text) == following(name).is_whole(_tokens(x, lengths, row))
    assert not bool(allowed[:, ~(lm().allowed | (torch.arange(allowed.shape[1]) == end))].any())


@grammars
def test_what_is_said_of_one_token_is_what_the_mask_says(name: str):
    x, lengths = beginnings()
    allowed = following(name).allowed(x, lengths, lm().eos_id)
    for row in range(len(x)):
        for token in [*lm().allowed.nonzero().squeeze(1).tolist(), lm().eos_id, lm().start_id]:
            said = following(name).may_follow(_tokens(x, lengths, row), token, lm().eos_id)
            assert said == bool(allowed[row, token])
    hopeless = following(name).hopeless(x)
    assert torch.equal(hopeless, ~allowed.any(dim=1))
    assert bool(hopeless.any())


def test_masks_do_not_depend_on_what_was_asked_before(monkeypatch):
    monkeypatch.setattr("lm_adapters.grammars.next_tokens.KEPT", 3)
    x, lengths = beginnings()
    small = NextTokens(lm().space, GRAMMARS["grammar"])
    order = torch.randperm(len(x))
    assert torch.equal(small.allowed(x, lengths)[order], small.allowed(x[order], lengths[order]))
    assert torch.equal(small.allowed(x, lengths), following("grammar").allowed(x, lengths))


KINDS = [*trained_tokenizers.KINDS, "words"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "WordPiece" not in kind and kind != "WordLevel"])
def test_tokenizers_of_every_kind(kind: str):
    """Texts of random tokens that match what they write; each of their tokens may follow those before it."""
    words = tiny_causal.word_level(["red", "green", "c++"])
    space = TextSpace(words if kind == "words" else trained_tokenizers.trained(kind))
    tokens = space.proposable.nonzero().squeeze(1)
    rng = torch.Generator().manual_seed(1)
    for row in tokens[torch.randint(len(tokens), (20, 5), generator=rng)]:
        x = row.unsqueeze(0)
        text = space.decode(x)[0].removeprefix(" " if kind == "byte-level BPE" else "")
        grammar = Grammar.pattern(re.escape(text))
        follows, place = NextTokens(space, grammar), torch.arange(5)
        assert float(Matches(space, grammar)(x)) == 0
        assert bool(follows.allowed(x.expand(5, -1), place).gather(1, row.unsqueeze(1)).all())
        assert follows.is_match(x).tolist() == [True]
        assert follows.is_match(x[:, :4]).tolist() == [False]


@pytest.mark.parametrize("kind", ["WordPiece, cased", "WordPiece, uncased", "WordLevel"])
def test_a_tokenizer_that_sets_spaces_by_rule_has_the_constraint_and_no_masks(kind: str):
    space = TextSpace(trained_tokenizers.trained(kind))
    grammar = Grammar.pattern(r"[Tt]om isn't here\.")
    assert float(Matches(space, grammar)(space.encode(["Tom isn't here."]))) == 0
    with pytest.raises(InvalidInput, match=r"sets spaces by rule, .* use a model with another tokenizer"):
        NextTokens(space, grammar)


def _tokens(x: torch.Tensor, lengths: torch.Tensor, row: int) -> list[int]:
    return x[row, : int(lengths[row])].tolist()


def _matches(name: str) -> list[str]:
    """All matches as far as ten characters say."""
    if name == "pattern":
        found = ["a" + "ab" * count for count in range(1, 6)] + ["b" * count + "a" for count in range(2, 6)]
        found += ["a " + "b" * count + " " for count in range(9)]
    else:
        tails = [""]
        for tail in tails:
            tails += [tail + "a", tail + " "] if len(tail) < 8 else []
        found = ["a" * depth + "b" * depth + tail for depth in range(1, 11) for tail in tails]
    assert all(map(BY_HAND[name], found))
    return found
