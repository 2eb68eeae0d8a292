"""Chinese couplets in metre: the form, the words, and the law, beside all lines that there are."""

# ruff: noqa: RUF001  (full-width marks are Chinese)
from __future__ import annotations

import re
from itertools import product
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

pytest.importorskip("pypinyin")
from experiments.training.chinese.corpus import character_tokenizer
from experiments.verse.couplet import couplet
from experiments.verse.metre import rhyme, tones
from lm_adapters import MaskedLM, SequenceEnergy
from samplers import InvalidInput
from tests.experiments.tiny_scorers import tiny_causal, tiny_writer
from tests.lm_adapters.tiny import enlarged

THREE = "上地霜"
FIRST = "霜地上霜上"


def models(characters: str, *tasks: str, **shape: int) -> dict[str, Any]:
    """A proposing model and a scorer of these characters and no others, whose laws are far from flat."""
    tokenizer = character_tokenizer([f"{characters}{FIRST}，。"] * 3)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    masked = enlarged(BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), pad_token_id=0, **size)), 3.0).eval()
    scorer = tiny_writer(tokenizer, *tasks)
    enlarged(scorer.model, 2.0)
    return {"model": MaskedLM(masked, tokenizer), "scorer": scorer}


@pytest.mark.parametrize(("seven", "size"), [(False, 5), (True, 7)])
def test_couplets_have_the_form_and_the_words(seven, size):
    run = couplet(
        ["明月", "春"],
        seven=seven,
        sampler="mh",
        chains=3,
        steps=4,
        seed=1,
        **models("春风吹又生明月", "words_to_sentence"),
    )
    samples = list(run.samples())
    assert samples
    for sample in samples:
        text = sample["text"]
        assert re.fullmatch(rf"[\u4e00-\u9fff]{{{size}}}，[\u4e00-\u9fff]{{{size}}}。", text)
        assert "明月" in text
        assert "春" in text
        assert sample["terms"]["metre"] == pytest.approx(4 * (tones([text])[0] + rhyme([text])[0]) / 0.8)


def test_second_lines_follow_the_law(monkeypatch):
    """All 243 second lines of three characters are enumerated; there are no others."""
    monkeypatch.setattr("experiments.verse.couplet.DRAWS", 2)
    made = models(THREE, "next_line")
    shape = {"chains": 12, "steps": 20, "warmup": 2}
    run = couplet(first=f"{FIRST}，", sampler="mh", metre=0.7, temperature=1.0, seed=2, **shape, **made)
    lines = ["".join(line) + "。" for line in product(THREE, repeat=5)]
    reader = made["scorer"].condition_on(f"{FIRST}，", made["scorer"].task_prefix("next_line"))
    answer = SequenceEnergy(reader)(made["model"].space.encode(lines))
    whole = [f"{FIRST}，{line}" for line in lines]
    metre = 0.7 * torch.tensor([a + b for a, b in zip(tones(whole), rhyme(whole), strict=True)]).double()
    law = (-(answer + metre)).softmax(dim=0)
    drawn = [sample["terms"] for sample in run.samples()]
    for name, of_lines in (("answer", answer), ("metre", metre)):
        mean = float(law @ of_lines)
        spread = float(law @ (of_lines - mean).square()) ** 0.5
        found = sum(terms[name] for terms in drawn) / len(drawn)
        assert abs(found - mean) < 4 * spread * (4 / len(drawn)) ** 0.5, name
    assert {sample["text"] for sample in run.samples()} <= set(lines)


def test_a_causal_model_beside_has_read_the_first_line():
    made = models(THREE, "next_line")
    space, scorer = made["model"].space, made["scorer"]
    causal = tiny_causal(space.tokenizer)
    enlarged(causal.model, 3.0)
    run = couplet(first=FIRST, sampler="mh", fluency=causal, chains=4, steps=6, temperature=1.0, seed=2, **made)
    samples = list(run.samples())
    x = space.encode([sample["text"] for sample in samples])
    for name, weight, reader in (
        ("answer", 0.4, scorer.condition_on(f"{FIRST}，", scorer.task_prefix("next_line"))),
        ("fluency", 0.6, causal.condition_on(f"{FIRST}，")),
    ):
        told = torch.tensor([sample["terms"][name] for sample in samples])
        torch.testing.assert_close(told.double(), weight * SequenceEnergy(reader)(x), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "there is nothing to write of; give words, or first LINE"),
        ({"first": "床前明月"}, "first '床前明月' is no line of five or seven Chinese characters"),
        ({"words": ["moon"]}, "'moon' is no Chinese word"),
        ({"words": ["床前明", "月光", "疑是地", "上霜"], "first": FIRST}, "words do not fit 1 x 5 characters"),
        ({"words": ["床前明月光疑"]}, "words do not fit 2 x 5 characters"),
        ({"words": ["明月"], "scorer": "seq2seq-en"}, "'seq2seq-en' has other tokens than"),
        ({"first": FIRST, "scorer": "seq2seq-en"}, "scorer 'seq2seq-en' has no task 'next_line'"),
        ({"first": FIRST, "model": "masked-zh", "scorer": "seq2seq-zh", "fluency": "masked-zh"}, "give a causal model"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    with pytest.raises(InvalidInput) as error:
        couplet(**{"model": models(THREE, "denoise")["model"], "scorer": "seq2seq-en", **given})
    assert message in str(error.value)
