"""Keywords in Latin letters right behind Chinese characters: found, filled in, respelt, exactly."""

# ruff: noqa: RUF001  (full-width marks are Chinese)
from __future__ import annotations

from functools import cache

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters import KeywordFill, Keywords
from lm_adapters.proposals.respell import RespellProposal
from lm_adapters.wording.word_search import WordSearch
from samplers import MetropolisHastings, named
from samplers.randomness import generator
from samplers.testing import Enumerated, enumerate_states, invariance_error, transition_matrix
from samplers.testing.gates import kl_gate, kl_statistic, pool
from tests.lm_adapters import tiny

WIDTH = 3
CHARACTERS = ("月", "，", "a", "b", " ")
LOCKS = {
    "Latin": (["a"], False),
    "both": (["月", "a"], False),
    "any order": (["a", "月"], True),
    "twice": (["a", "a"], False),
}
locks = pytest.mark.parametrize(("words", "any_order"), LOCKS.values(), ids=list(LOCKS))


@cache
def lm() -> tiny.TableLM:
    """A token for each character, and nothing between them."""
    vocabulary = {name: i for i, name in enumerate([*tiny.BERT_TOKENS[:5], *CHARACTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Split(Regex("."), "isolated"), decoders.Fuse()
    fast = tiny.bert_like(tokenizer, frame=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return tiny.TableLM(tiny.enlarged(tiny.bert(fast, num_hidden_layers=1), 8.0), fast, WIDTH)


@cache
def states() -> Tensor:
    ids = torch.tensor(lm().space.tokenizer.convert_tokens_to_ids(list(CHARACTERS)))
    rows = [ids[enumerate_states(len(ids), length)] for length in range(1, WIDTH + 1)]
    return torch.cat([pad(row, (0, WIDTH - row.shape[1]), value=lm().space.pad_id) for row in rows])


def test_a_word_is_found_where_the_text_has_it():
    texts = lm().space.decode(states())
    found = Keywords(lm().space, ["a"]).found(states()).tolist()
    search = WordSearch(["a"], ignore_case=False)
    assert found == [search.find(text) is not None for text in texts]
    by_text = dict(zip(texts, found, strict=True))
    assert [by_text[text] for text in ("月a", "，a，", "a月b", "b a", "ab", "月ba", "，aa")] == [True] * 4 + [False] * 3


@locks
def test_whole_texts_with_the_keywords(words, any_order):
    lock = Keywords(lm().space, words, any_order)
    fill = KeywordFill(lm(), lock, min_length=1, max_length=WIDTH)
    density = fill.log_prob(states()).exp()
    assert torch.equal(density > 0, lock.found(states()))
    law = density / density.sum()
    space = Enumerated(states(), named("none", lambda x: torch.zeros(len(x))))
    observed = torch.bincount(space.index(fill.draw(2**13, generator(1))), minlength=len(law))
    counts, pooled = pool(observed, law)
    assert kl_statistic(counts, pooled) < kl_gate(len(pooled))


@locks
def test_respelling_keeps_the_law(words, any_order):
    lock = Keywords(lm().space, words, any_order)
    noise = torch.randn(len(states()), dtype=torch.float64, generator=generator(5))
    place = Enumerated(states(), named("none", lambda x: torch.zeros(len(x))))
    space = Enumerated(states(), named("random", lambda x: noise[place.index(x)]) + lock)
    matrix = transition_matrix(MetropolisHastings(RespellProposal(lock, max_length=WIDTH)), space)
    assert invariance_error(matrix, space.probabilities()) < 1e-12
