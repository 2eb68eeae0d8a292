"""How few tokens close a beginning, beside all texts; draws that look ahead, and ones that are told lies."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from lm_adapters import Grammar, Matches, NextTokens, SequenceDistribution
from tests.lm_adapters import tiny_causal
from tests.lm_adapters.enumerated import strain
from tests.lm_adapters.grammars.enumerated import GRAMMARS, LONGEST, following, lm, reader, space, texts

grammars = pytest.mark.parametrize("name", list(GRAMMARS))
SCHEMA = Grammar.json_schema(
    {
        "type": "object",
        "properties": {"n": {"type": "string"}, "a": {"type": "integer"}},
        "required": ["n", "a"],
        "additionalProperties": False,
    }
)


def matched(name: str) -> Tensor:
    return Matches(lm().space, GRAMMARS[name])(texts()) == 0


@cache
def shortest(name: str) -> dict[tuple[int, ...], int]:
    """For each beginning of a match the fewest tokens that are missing, of all texts."""
    found: dict[tuple[int, ...], int] = {}
    lengths = lm().space.lengths(texts())
    for row in matched(name).nonzero().squeeze(1).tolist():
        tokens = tuple(texts()[row, : lengths[row]].tolist())
        for size in range(len(tokens) + 1):
            found[tokens[:size]] = min(len(tokens) - size, found.get(tokens[:size], LONGEST))
    return found


@grammars
def test_the_tokens_needed_are_those_of_all_texts(name: str):
    closings = following(name)._closings
    assert len(shortest(name)) > 20
    for tokens, count in shortest(name).items():
        written = following(name).text(list(tokens))
        assert closings.needed(written) == count, written


@grammars
def test_what_is_said_to_fit_fits_and_nothing_that_fits_is_left_out(name: str):
    for tokens in shortest(name):
        row, place = torch.tensor([[*tokens, 0]]), torch.tensor([len(tokens)])
        for room in range(LONGEST - len(tokens)):
            fits = following(name).fitting(row, place, torch.tensor([room]))[0] & lm().allowed
            after = {each: shortest(name).get((*tokens, each)) for each in lm().allowed.nonzero().squeeze(1).tolist()}
            wanted = {each for each, count in after.items() if count is not None and count <= room}
            assert set(fits.nonzero().squeeze(1).tolist()) == wanted, (tokens, room)


@grammars
def test_it_does_not_depend_on_what_was_asked_before(name: str):
    asked, other = NextTokens(lm().space, GRAMMARS[name])._closings, following(name)._closings
    written = [following(name).text(list(tokens)) for tokens in shortest(name)]
    backwards = {text: asked.needed(text) for text in reversed(written)}
    assert backwards == {text: other.needed(text) for text in written}


@grammars
def test_draws_end_in_time(name: str, monkeypatch):
    def share() -> float:
        law = SequenceDistribution(reader(), max_length=LONGEST, following=following(name))
        return float(law.log_prob(texts()).exp()[matched(name)].sum())

    assert share() > 0.995
    monkeypatch.setattr("lm_adapters.proposals.token_distribution.UNFIT", 1.0)
    assert share() < 0.97


@grammars
def test_a_law_that_is_told_lies_about_what_fits_is_as_exact(name: str):
    """Nothing is forbidden by it: all texts that match can be drawn, and their densities say how often."""

    class Lying(NextTokens):
        def fitting(self, x: Tensor, place: Tensor, room: Tensor) -> Tensor:
            token = torch.arange(self.space.vocabulary)
            return (token + place.unsqueeze(1)) % 2 == 0

    law = SequenceDistribution(reader(), max_length=LONGEST, following=Lying(lm().space, GRAMMARS[name]))
    found = law.log_prob(texts()).exp()
    assert float(found.sum()) == pytest.approx(1.0, abs=1e-12)
    assert bool((found[matched(name)] > 0).all())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = law.sample_and_log_prob(2000)
    assert strain(space(name).index(drawn.x), found) < 1
    torch.testing.assert_close(drawn.log_q, law.log_prob(drawn.x), atol=1e-10, rtol=0)
    told = SequenceDistribution(reader(), max_length=LONGEST, following=following(name)).log_prob(texts())
    assert float((found.log() - told)[matched(name)].abs().max()) > 3, "the lies are in the densities"


def test_where_few_tokens_fit_the_model_finds_none_too_unlikely(monkeypatch):
    """What is dear now may be cheap in the end, and a population that never draws it agrees on what it lacks."""
    model = tiny_causal.pieces_lm(("a", "n", "b", "1", "Ġ"), seed=3, scale=100.0)
    follows = NextTokens(model.space, Grammar.pattern("a(n|b|1)a"))
    x = model.space.encode(["ana", "aba", "a1a"])

    def least() -> float:
        law = SequenceDistribution(model.condition_on(), max_length=4, following=follows)
        return float(law.log_prob(x).exp().min())

    assert least() > 0.05 / 3 / 2
    monkeypatch.setattr("lm_adapters.proposals.token_distribution.EVEN", 0.0)
    assert least() < 1e-4


def test_json_with_a_text_of_any_length_is_closed_in_time():
    pieces = ("a", "n", "b", "Ġ", '"', "{", "}", ":", ",", "1", "2", 'n"', "ab")
    model = tiny_causal.pieces_lm(pieces, seed=3, scale=2.0)
    follows = NextTokens(model.space, SCHEMA)
    law = SequenceDistribution(model.condition_on(), max_length=20, following=follows)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = law.sample((200,))
    assert float(follows.is_match(x).double().mean()) > 0.97
    assert len(set(model.space.decode(x))) > 100
    assert follows._closings.needed(b"") == 13
    assert follows._closings.needed(b'{"n": "ab') == 8


@pytest.mark.parametrize(
    ("pattern", "begun", "count"),
    [
        ("[abn]*nab[abn]*1", "", 4),
        ("[abn]*nab[abn]*1", "bban", 3),
        ("[abn]*nab[abn]*1", "bbnaba", 1),
        ("[abn]*nab[abn]*ba[abn]*1", "b", 6),
        ("[abn]*nab[abn]*ba[abn]*1", "bnabn", 3),
    ],
)
def test_words_hidden_in_a_run_of_any_letters_are_closed(pattern: str, begun: str, count: int):
    """Of pieces of one letter; the fewest tokens are known, but for what the beginning has of a word."""
    model = tiny_causal.pieces_lm(("a", "n", "b", "1", "Ġ"), seed=3, scale=2.0)
    follows = NextTokens(model.space, Grammar.pattern(pattern))
    assert follows._closings.needed(begun.encode()) == count
    law = SequenceDistribution(model.condition_on(), max_length=8, following=follows)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = law.sample((100,))
    assert float(follows.is_match(x).double().mean()) > 0.97
    assert len(set(model.space.decode(x))) > 10
