"""The likeliest phrases of random lists beside all of them scored, with every budget; slots beside a plain forward."""

from __future__ import annotations

import math

import pytest
import torch

from lm_adapters import Phrases, SequenceEnergy, around_slot, best_phrases, slot_reader
from samplers import InvalidInput
from samplers.randomness import generator
from tests.experiments.tiny_scorers import tiny_writer
from tests.lm_adapters import tiny, tiny_causal

WORDS = ("red", "green", "blue", "grey")


@pytest.fixture(scope="module")
def lm():
    return tiny_causal.words_lm(WORDS, seed=1, scale=6.0)


def random_list(lm, seed: int) -> Phrases:
    rng = generator(seed)
    sizes = torch.randint(1, 8, (300,), generator=rng).tolist()
    return Phrases(lm.space, [" ".join(WORDS[i] for i in torch.randint(4, (n,), generator=rng)) for n in sizes])


@pytest.mark.parametrize("seed", range(4))
def test_they_are_the_first_of_all_phrases_scored(lm, seed):
    """What is said to be proved is so at every budget; bounds of the mass hold it; less is read than there is."""
    phrases, reader = random_list(lm, seed), lm.condition_on()
    x = torch.cat(list(phrases.states(1000)))
    nlls = SequenceEnergy(reader)(x)
    order, log_z = nlls.argsort(), float((-nlls).logsumexp(dim=0))
    for reads in (1, 5, 20, 65, 130, 10**4):
        found = best_phrases(reader, phrases, 8, max_reads=reads)
        assert torch.equal(found.x[: found.proved], x[order[: found.proved]])
        assert torch.allclose(found.nlls[: found.proved], nlls[order[: found.proved]], atol=1e-4)
        assert found.log_z[0] - 1e-4 <= log_z <= found.log_z[1] + 1e-4
        left_out = nlls[~(x[:, None] == found.x).all(dim=2).any(dim=1)]
        least = min(found.others_above, float(found.nlls[-1]) if len(found.x) == 8 else math.inf)
        assert float(left_out.min()) >= least - 1e-4
    assert found.proved == 8
    assert found.reads < len(phrases.trie.ends)


def test_a_search_that_cannot_be(lm):
    with pytest.raises(InvalidInput, match="within=False"):
        best_phrases(lm.condition_on(), Phrases(lm.space, ["red"], within=True), 1)
    with pytest.raises(InvalidInput, match="count=0"):
        best_phrases(lm.condition_on(), Phrases(lm.space, ["red"]), 0)


def test_what_stands_in_a_slot_is_scored_given_both_sides():
    """Beside the model called as it is, with a sentinel between the tokens of both sides."""
    writer = tiny_writer(tiny.words_lm(["the", "sea", "is", "old", "sky", "not"]).space.tokenizer, "infill")
    tiny.enlarged(writer.model, 2.0)
    writer.model.config.task_specific_params["infill"]["sentinel"] = writer.tokenizer.mask_token
    phrases = ["sea", "old sky", "sea is not"]
    x = writer.space.encode(phrases)
    found = SequenceEnergy(slot_reader(writer, "the [MASK] is old"))(x)
    ids = [writer.space.encode([part])[0].tolist() for part in ("the", "is old")]
    source = torch.tensor(
        [[*writer.space.prefix, *ids[0], writer.tokenizer.mask_token_id, *ids[1], *writer.space.suffix]]
    )
    for row, phrase in enumerate(phrases):
        target = torch.tensor([[*writer.space.encode([phrase])[0].tolist(), writer.eos_id]])
        with torch.inference_mode():
            read = torch.cat([torch.tensor([writer.context]), target[:, :-1]], dim=1)
            logits = writer.model(input_ids=source, decoder_input_ids=read).logits[0, len(writer.context) - 1 :]
        wanted = -logits.log_softmax(dim=1).gather(1, target.T).sum()
        assert float(found[row]) == pytest.approx(float(wanted), abs=1e-4)


def test_a_phrase_in_a_slot_is_spelt_as_after_a_space():
    space = tiny_causal.build("gpt2").space
    head = space.tokenizer("a")["input_ids"]
    after = space.tokenizer("a b")["input_ids"][len(head) :]
    [row] = Phrases(space, ["b"], spaced=True).states(1)
    assert row[0].tolist() == after


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a [MASK] and [MASK].", "give one"),
        ("a [MASK:2].", "give one"),
        ("un[MASK]able", "goes on a word"),
        (" [MASK] ", "nothing around"),
    ],
)
def test_slots_that_cannot_be(text, problem):
    with pytest.raises(InvalidInput, match=problem):
        around_slot(text)


def test_a_text_without_a_slot():
    assert around_slot("I like music.") is None
    assert around_slot("The [MASK].") == ("The ", ".")
