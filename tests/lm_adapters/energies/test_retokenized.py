"""States of one tokenizer scored by a model that has another."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch

from lm_adapters import Canonical, MaskedEnergy, SequenceEnergy, TextEnergy
from lm_adapters.energies.retokenized import ThroughText
from lm_adapters.models.causal_lm import CausalLM
from lm_adapters.text import TextSpace
from samplers import EnergyError, evaluate, named
from tests.lm_adapters import tiny, tiny_causal

TEXTS = ["the old house", "a b c d", "z", "like the sea"]


@cache
def lm() -> CausalLM:
    return tiny_causal.build("llama")


@cache
def from_space() -> TextSpace:
    return TextSpace(tiny.wordpiece())


def through() -> ThroughText:
    return ThroughText(SequenceEnergy(lm().condition_on()), from_space(), lm().space)


def test_the_text_is_scored_as_the_scorers_tokenizer_spells_it():
    x = from_space().encode(TEXTS, 9)
    assert from_space().decode(x) == TEXTS
    energy = through()
    torch.testing.assert_close(
        energy(x), SequenceEnergy(lm().condition_on())(lm().space.encode(TEXTS)), atol=1e-5, rtol=0
    )
    assert energy(x).dtype == torch.float64
    assert (energy.name, energy.is_constraint) == ("nll", False)


def test_a_name_of_ones_own():
    assert ThroughText(SequenceEnergy(lm().condition_on()), from_space(), lm().space, name="fluency").name == "fluency"


def test_two_spellings_of_a_text_have_one_energy_and_one_of_them_is_canonical():
    own = from_space().encode(["house"], 9)
    names = [name if i == 0 else f"##{name}" for i, name in enumerate("house")]
    letters = from_space().tokenizer.convert_tokens_to_ids(names)
    spelt = torch.tensor([letters + [from_space().pad_id] * 4])
    both = torch.cat([own, spelt])
    assert not torch.equal(own, spelt)
    assert from_space().decode(both) == ["house", "house"]
    energy = through()
    assert float(energy(both).std()) < 1e-5
    assert (energy + Canonical(from_space()))(both).isfinite().tolist() == [True, False]


def test_texts_that_the_scorer_cannot_represent_are_forbidden():
    small = tiny_causal.words_lm(["the", "old", "a"])
    x = from_space().encode(["the old", "the sea", "a"])
    energy = ThroughText(SequenceEnergy(small.condition_on()), from_space(), small.space)
    assert energy(x).isfinite().tolist() == [True, False, True]
    assert energy(x[1:2]).tolist() == [math.inf]
    torch.testing.assert_close(
        energy(x)[::2], SequenceEnergy(small.condition_on())(small.space.encode(["the old", "a"]))
    )


def test_special_tokens_of_the_scorer_are_no_text():
    spoken = TextSpace(tiny_causal.word_level(["[SEP]", "a", "b"]))
    masked = tiny.build("bert")
    energy = ThroughText(MaskedEnergy(masked, "pll"), spoken, masked.space)
    assert energy(spoken.encode(["a b", "a [SEP]", "[SEP]"])).isfinite().tolist() == [True, False, False]


def test_tokens_that_the_model_has_no_row_for():
    space = TextSpace(tiny_causal.begin_and_end(), 270)
    flat = named("flat", lambda x: torch.zeros(len(x)))
    assert int(lm().space.encode(["the old house"]).max()) >= 270
    energy = ThroughText(flat, from_space(), space)
    assert energy(from_space().encode(["z", "the old house"])).tolist() == [0.0, math.inf]


@pytest.mark.parametrize(("limit", "finite"), [(None, [True, True]), (7, [True, False]), (1, [False, False])])
def test_texts_that_are_too_long_are_forbidden(limit: int | None, finite: list[bool]):
    x = from_space().encode(["a b c", "a b c d e f g h"])
    assert lm().space.lengths(lm().space.encode(from_space().decode(x))).tolist()[1] > 7
    energy = ThroughText(SequenceEnergy(lm().condition_on()), from_space(), lm().space, max_length=limit)
    assert energy(x).isfinite().tolist() == finite


def test_the_limit_is_the_models_own():
    model = lm().condition_on()
    long = from_space().encode(["a b c", " ".join("abcdefghijklmnopqrstuvwxyz")])
    assert len(lm().space.encode([from_space().decode(long)[1]])[0]) > model.max_length
    assert through()(long).isfinite().tolist() == [True, False]


def test_between_spaces_that_spell_alike_nothing_stands():
    same = TextSpace(tiny_causal.begin_and_end())
    energy = SequenceEnergy(lm().condition_on())
    assert ThroughText.of(energy, same, lm().space) is energy
    assert ThroughText.of(energy, same, lm().space, name="nll") is energy
    renamed = ThroughText.of(energy, same, lm().space, name="fluency")
    assert (type(renamed), renamed.name, energy.name) == (type(energy), "fluency", "nll")
    x = same.encode(["a b"])
    assert torch.equal(renamed(x), energy(x))


def test_another_vocabulary_or_padding_goes_through_the_text():
    energy = SequenceEnergy(lm().condition_on())
    padded = tiny_causal.begin_and_end()
    padded.pad_token = "<unk>"
    for space in (from_space(), TextSpace(padded)):
        between = ThroughText.of(energy, space, lm().space, name="fluency")
        assert isinstance(between, ThroughText)
        assert between.name == "fluency"
        torch.testing.assert_close(between(space.encode(TEXTS)), energy(lm().space.encode(TEXTS)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("bad", [math.nan, -math.inf, "1"])
def test_errors_name_the_states_and_texts_that_were_given(bad: object):
    def picky(texts: list[str]) -> list[object]:
        return [bad if "old" in text else 1.0 for text in texts]

    small = tiny_causal.words_lm(["the", "old", "a"])
    energy = ThroughText(TextEnergy(picky, small.space.decode), from_space(), small.space)
    x = from_space().encode(["the sea", "a", "the old"])
    with pytest.raises(EnergyError) as caught:
        evaluate(energy, x)
    assert caught.value.rows == [2]
    assert caught.value.texts == ["the old"]
    assert torch.equal(caught.value.x, x[2:])
    assert "def picky(" in caught.value.where
