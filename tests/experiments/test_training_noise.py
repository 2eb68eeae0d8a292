"""Sources and targets made of a sentence alone: words deleted, words kept, a span cut out."""

from __future__ import annotations

import pytest
import torch

from experiments.training.data import embedded_tokenizer
from experiments.training.tasks.noise import LONGEST_SPAN, SPACE, WordTable, corrupt, cut_span, keep_words

PAD, MASK, SENTINEL = 0, 4, 11
TEXT = "Tom's well-known dog isn't here, \"Mary\" said."


@pytest.fixture(scope="module")
def tokenizer():
    return embedded_tokenizer()


def rng():
    return torch.Generator().manual_seed(0)


def repeated(tokenizer, text, count):
    return torch.tensor(tokenizer([text], add_special_tokens=False)["input_ids"]).repeat(count, 1)


def table(tokenizer, **rare):
    """Every token is common but those given by the words they spell."""
    count = torch.full((len(tokenizer),), 100_000)
    for word, uses in rare.items():
        count[tokenizer.convert_tokens_to_ids(SPACE + word)] = uses
    return WordTable.of(tokenizer, count)


def test_noise_deletes_masks_and_moves_a_little():
    texts = torch.arange(10, 22).repeat(3000, 1)
    texts[:, 9:] = PAD
    noisy = corrupt(texts, PAD, MASK, rng())
    real = noisy != PAD
    assert (real.sum(dim=1) >= 1).all()
    assert not (real[:, 1:] & ~real[:, :-1]).any()  # no hole
    assert 1 - real.sum().item() / (3000 * 9) == pytest.approx(0.15, abs=0.01)
    assert (noisy == MASK).sum().item() / (3000 * 9) == pytest.approx(0.15, abs=0.01)
    for row in noisy.tolist():
        left = [token - 10 for token in row if token not in (PAD, MASK)]
        assert len(set(left)) == len(left)
        assert set(left) <= set(range(9))
        assert all(earlier - later < 3 for i, earlier in enumerate(left) for later in left[i + 1 :])
    assert any(row != sorted(row) for row in noisy[:, :3].tolist())
    assert torch.equal(noisy, corrupt(texts, PAD, MASK, rng()))


def test_a_text_is_never_deleted_whole():
    texts = torch.tensor([[9, PAD]]).repeat(500, 1)
    noisy = corrupt(texts, PAD, MASK, rng())
    assert set(noisy[:, 0].tolist()) == {9, MASK}


def test_words_kept_are_whole_and_spelled_as_a_user_spells_them(tokenizer):
    rows = repeated(tokenizer, TEXT, 2000)
    words = ["Tom's", "well", "dog", "isn't", "here", "said"]  # of "known" and "Mary" no space is before
    kept = keep_words(rows, PAD, table(tokenizer), rng())
    texts = [tokenizer.decode(row[row != PAD]) for row in kept]
    in_order = 0
    for text, row in zip(texts, kept, strict=True):
        found = text.split()
        assert set(found) <= set(words)
        assert len(set(found)) == len(found)
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == row[row != PAD].tolist()
        in_order += found == sorted(found, key=words.index)
    assert {len(text.split()) for text in texts} == set(range(7))
    assert 0.7 < in_order / len(texts) < 0.9  # few shuffled words may be in order by chance
    assert torch.equal(kept, keep_words(rows, PAD, table(tokenizer), rng()))


def test_rare_words_are_kept_more_often(tokenizer):
    rows = repeated(tokenizer, "The dog saw the music.", 2000)
    kept = keep_words(rows, PAD, table(tokenizer, music=100), rng())
    share = {word: (kept == tokenizer.convert_tokens_to_ids(SPACE + word)).any(dim=1).double().mean().item()
             for word in ("dog", "saw", "music")}  # fmt: skip
    assert share["music"] > share["dog"] + 0.2
    assert share["dog"] == pytest.approx(share["saw"], abs=0.05)


def test_a_text_without_words_keeps_none(tokenizer):
    rows = torch.tensor([[*tokenizer("...", add_special_tokens=False)["input_ids"], PAD, PAD]])
    assert (keep_words(rows, PAD, table(tokenizer), rng()) == PAD).all()


def test_a_span_and_what_is_around_it_are_the_text():
    texts = torch.arange(20, 36).repeat(4000, 1)
    texts[2000:, 5:] = PAD
    source, span = cut_span(texts, PAD, SENTINEL, rng())
    sizes = (span != PAD).sum(dim=1)
    for text, around, within in zip(texts.tolist(), source.tolist(), span.tolist(), strict=True):
        gap = around.index(SENTINEL)
        whole = [*around[:gap], *within, *around[gap + 1 :]]
        assert [token for token in whole if token != PAD] == [token for token in text if token != PAD]
        assert SENTINEL not in around[gap + 1 :]
    assert set(sizes[:2000].tolist()) == set(range(LONGEST_SPAN + 1))
    assert set(sizes[2000:].tolist()) == set(range(6))
    starts = (source[:2000] == SENTINEL).long().argmax(dim=1)[sizes[:2000] == 1]
    assert set(starts.tolist()) == set(range(16))
