"""Seq2seq models in use: prefixes, the model's own translation, two spellings, bad input, folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerBase

from lm_adapters import Reconstruction, SequenceEnergy
from lm_adapters.loading.pretrained import load_pretrained
from lm_adapters.models.seq2seq_lm import Seq2SeqLM
from samplers import InvalidInput
from tests.lm_adapters import tiny, tiny_seq2seq
from tests.lm_adapters.tiny_seq2seq import CONTEXT, EXACT, SOURCE, TEXTS, bodies, by_hand, classes, ids, lm

# Prefixes


@classes
def test_a_prefix_stands_before_the_source(name: str):
    model = lm(name)
    space, (before,), (source,) = (
        model.source_space,
        bodies(model, ["d e"]),
        model.source_space.encode([SOURCE]).tolist(),
    )
    read = [*space.prefix, *before, *source, *space.suffix]
    x = model.space.encode(["a b"])
    expected = by_hand(name, read, x[0].tolist())
    terms = SequenceEnergy(model.condition_on(SOURCE, prefix="d e "), name="forward").token_terms(x)
    torch.testing.assert_close(terms[0].tolist(), expected, **EXACT)
    read = [*space.prefix, *before, *x[0].tolist(), *space.suffix]
    expected = by_hand(name, read, bodies(model, [SOURCE])[0])
    terms = Reconstruction(model, SOURCE, prefix="d e ").token_terms(x)
    torch.testing.assert_close(terms[0].tolist(), expected, **EXACT)


def test_a_prefix_may_be_a_special_token():
    model = lm("t5")
    assert model.prefix_ids("<extra_id_1>") == [model.tokenizer.convert_tokens_to_ids("<extra_id_1>")]
    assert model.prefix_ids("") == model.prefix_ids(" ") == []


def test_prefixes_of_the_tasks():
    model = tiny_seq2seq.build("t5")
    assert model.task_prefix("translation") == ""
    model.model.config.task_specific_params = {"translation": {"prefix": "<extra_id_1>"}, "other": {"max_length": 3}}
    assert model.task_prefix("translation") == "<extra_id_1>"
    assert model.task_prefix("other") == ""
    with pytest.raises(InvalidInput, match="no task 'sing'; choose one of translation, other"):
        model.task_prefix("sing")


# The model's own text


def greedy(name: str, length: int) -> list[int]:
    """By hand: the likeliest token that is no special one, then the likeliest token, until the end."""
    model, written = lm(name), ids(name, CONTEXT[name])
    forbidden = {*model.tokenizer.all_special_ids, *range(len(model.tokenizer), model.space.vocabulary)} - {
        model.eos_id
    }
    for step in range(length):
        read = torch.tensor([model.tokenizer(SOURCE)["input_ids"]])
        logits = model.model(input_ids=read, decoder_input_ids=torch.tensor([written])).logits[0, -1]
        logits[[*forbidden, *([model.eos_id] if step == 0 else [])]] = -torch.inf
        if int(logits.argmax()) == model.eos_id:
            break
        written.append(int(logits.argmax()))
    return written[len(CONTEXT[name]) :]


@classes
def test_one_beam_is_greedy(name: str):
    """Up to the last token after which the text, spelled as its tokenizer does, still fits."""
    space, own = lm(name).space, greedy(name, 5)
    texts = [space.decode(torch.tensor([own[:length]]))[0] for length in range(1, len(own) + 1)]
    fitting = [text for text in texts if space.encode([text]).shape[1] <= 5]
    assert lm(name).translate(SOURCE, max_length=5, beams=1) == fitting[-1]


@classes
def test_a_translation_is_a_state(name: str, capfd: pytest.CaptureFixture[str]):
    model = lm(name)
    for longest in (1, None):
        x = model.space.encode([model.translate(SOURCE, max_length=longest)])
        assert 1 <= x.shape[1] <= (longest or 2 * len(model.tokenizer(SOURCE)["input_ids"]) + 10)
        assert not set(x[0].tolist()) & set(model.tokenizer.all_special_ids)
    assert capfd.readouterr() == ("", "")


def test_more_beams_find_better_texts():
    model = lm("t5")
    texts = [model.translate(SOURCE, max_length=6, beams=beams) for beams in (1, 4)]
    one, four = SequenceEnergy(model.condition_on(SOURCE), name="forward")(model.space.encode(texts)).tolist()
    assert four < one - 0.1


# Two spellings


def test_sources_and_targets_are_spelled_each_in_its_way():
    model = lm("marian")
    source, target = model.source_space.encode(["hello a"]), model.space.encode(["hello a"])
    assert (source.shape[1], target.shape[1]) == (6, 3)
    assert model.space.decode(target) == ["hello a"]
    assert model.space.is_canonical(target).all()
    assert Reconstruction(model, SOURCE).space is model.source_space
    assert len(model.space.tokenizer) == len(model.tokenizer)


def test_one_spelling_is_one_space():
    for name in set(tiny_seq2seq.CLASSES) - {"marian"}:
        assert lm(name).space is lm(name).source_space


# Bad input


def other_vocabularies() -> Seq2SeqLM:
    tokenizer = tiny_seq2seq.sentencepiece()
    more = {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": len(tokenizer) + 9}
    return Seq2SeqLM(*tiny_seq2seq.marian(tokenizer, **more))


def without(setting: str) -> Seq2SeqLM:
    model, tokenizer = tiny_seq2seq.bart(forced=False)
    setattr(model.generation_config, setting, None)
    setattr(model.config, setting, None)
    if setting == "decoder_start_token_id":  # BOS would take its place
        model.config.bos_token_id = model.generation_config.bos_token_id = None
    tokenizer = tiny_seq2seq.sentencepiece() if setting == "eos_token_id" else tokenizer
    if setting == "eos_token_id":
        tokenizer.eos_token = None
    return Seq2SeqLM(model, tokenizer)


def gpt2() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 16, "bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(tiny.byte_level()), **sizes)), tiny.byte_level()


LONG = " ".join("a" * 23)
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "empty source": (lambda: SequenceEnergy(lm("t5").condition_on(" "), name="forward"), "the text '' has no tokens"),
    "special token": (
        lambda: SequenceEnergy(lm("t5").condition_on("a <extra_id_1>"), name="forward"),
        "holds the special token '<extra_id_1>'",
    ),
    "unknown": (
        lambda: SequenceEnergy(lm("t5").condition_on("a ß"), name="forward"),
        "cannot represent 'ß' at character 3 of 'a ß'",
    ),
    "unknown prefix": (
        lambda: SequenceEnergy(lm("t5").condition_on("a", prefix="ß:"), name="forward"),
        "prefix: the tokenizer cannot represent 'ß:' at character 1 of 'ß:'",
    ),
    "long source": (
        lambda: SequenceEnergy(lm("bart").condition_on(LONG), name="forward"),
        "source has 23 tokens, the encoder takes 22",
    ),
    "long for its prefix": (
        lambda: SequenceEnergy(lm("marian").condition_on(LONG, "a b"), name="forward"),
        "source has 23 tokens, the encoder takes 21",
    ),
    "long state": (
        lambda: Reconstruction(lm("bart"), "a")(lm("bart").space.encode([LONG])),
        "source has 23 tokens, the encoder takes 22",
    ),
    "long target": (lambda: Reconstruction(lm("bart"), LONG + " a"), "source has 24 tokens, the decoder takes 23"),
    "empty target": (lambda: Reconstruction(lm("t5"), ""), "the text '' has no tokens"),
    "no start": (lambda: without("decoder_start_token_id"), "neither a decoder start token nor a BOS token"),
    "no end": (lambda: without("eos_token_id"), "no end token"),
    "two vocabularies": (other_vocabularies, "vocabularies of their own"),
    "no encoder": (lambda: Seq2SeqLM(*gpt2()), "is a gpt2; a seq2seq model is needed"),
    "no pass": (lambda: Seq2SeqLM(*tiny_seq2seq.bart(forced=False), tokens_per_pass=0), "tokens_per_pass is 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case: str):
    act, message = BAD[case]
    with pytest.raises(InvalidInput, match=message) as caught:
        act()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_the_name_of_another_kind_of_model(kind: str, tmp_path: Path):
    model, tokenizer = gpt2() if kind == "gpt2" else (tiny.bert(tiny.wordpiece()), tiny.wordpiece())
    with pytest.raises(InvalidInput, match=f"is a {kind} model; a seq2seq model is needed here$"):
        load_pretrained("seq2seq", str(tiny.save(model, tokenizer, tmp_path)))


# Folders


@classes
def test_saved_and_loaded(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    model = lm(name, double=False)
    tokenizer = tiny_seq2seq.sentencepiece() if name == "marian" else model.tokenizer
    tiny.save(model.model, tokenizer, tmp_path)
    capfd.readouterr()
    again = Seq2SeqLM.from_pretrained(str(tmp_path))
    assert capfd.readouterr() == ("", "")
    assert (type(again.model), again.context, again.eos_id) == (type(model.model), model.context, model.eos_id)
    x = model.space.encode(["a b", "c"])
    assert torch.equal(again.space.encode(["a b", "c"]), x)
    assert torch.equal(again.condition_on("b c").states, model.condition_on("b c").states)
    for make in (lambda lm: SequenceEnergy(lm.condition_on("b c")), lambda lm: Reconstruction(lm, "b c")):
        assert torch.equal(make(again)(x), make(model)(x))


@pytest.mark.parametrize("name", ["t5", "bart forced"])
def test_bfloat16(name: str, tmp_path: Path):
    model = lm(name, double=False)
    half = Seq2SeqLM.from_pretrained(str(tiny.save(model.model, model.tokenizer, tmp_path)), dtype="bfloat16")
    x = half.space.encode(TEXTS)
    both, same = (
        SequenceEnergy(m.condition_on(SOURCE), name="forward") + Reconstruction(m, SOURCE) for m in (half, model)
    )
    assert both(x).dtype == torch.float64
    torch.testing.assert_close(both(x), same(x), atol=0, rtol=0.05)


def test_a_token_forced_by_an_old_configuration(tmp_path: Path):
    """Published folders of BART have it in ``config.json``."""
    model, tokenizer = tiny_seq2seq.bart(forced=False)
    tiny.save(model, tokenizer, tmp_path)
    (tmp_path / "generation_config.json").unlink()
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace("{", '{"forced_bos_token_id": 0,', 1))
    assert Seq2SeqLM.from_pretrained(str(tmp_path)).context == [2, 0]


def test_close_gives_the_model_back():
    model = tiny_seq2seq.build("bart")
    model.close()
    assert not model.model.get_decoder()._forward_hooks
