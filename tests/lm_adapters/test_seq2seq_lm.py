"""Every encoder-decoder class, tiny and random: what it scores is what a loop of plain forward passes gives by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerBase

from lm_adapters.loading import load_pretrained
from lm_adapters.seq2seq_lm import Seq2SeqLM
from lm_adapters.sequence_distribution import SequenceDistribution
from lm_adapters.truncation import Truncation
from samplers import EnergyTerm, InvalidInput, evaluate, term_names
from samplers.randomness import generator
from tests.lm_adapters import tiny, tiny_seq2seq

SOURCE = "hello b c"
TEXTS = ["a b c d", "e", "hello z a"]
CONTEXT = {  # what stands before the first token of text, by name
    "t5": ["<pad>"],
    "mt5": ["<pad>"],
    "bart": ["</s>"],
    "bart forced": ["</s>", "<s>"],
    "mbart": ["ro_RO"],
    "mbart forced": ["</s>", "ro_RO"],
    "marian": ["<pad>"],
    "encoder-decoder": ["[CLS]"],
    "encoder-decoder wide": ["[CLS]"],
}
END = {name: "[SEP]" if name.startswith("encoder") else "</s>" for name in CONTEXT}
EXACT = {"atol": 1e-10, "rtol": 0}  # the models are of float64
classes = pytest.mark.parametrize("name", tiny_seq2seq.CLASSES)


@cache
def lm(name: str, double: bool = True) -> Seq2SeqLM:
    return tiny_seq2seq.build(name, double=double)


def bodies(model: Seq2SeqLM, texts: list[str] = TEXTS) -> list[list[int]]:
    x = model.space.encode(texts)
    return [row[row != model.space.pad_id].tolist() for row in x]


def ids(name: str, tokens: list[str]) -> list[int]:
    return lm(name).tokenizer.convert_tokens_to_ids(tokens)


def by_hand(name: str, read: list[int], target: list[int]) -> list[float]:
    """``-log p`` of each token of ``target`` and of the end: one full forward pass for each."""
    model, told, written = lm(name).model, [], ids(name, CONTEXT[name])
    for token in [*target, *ids(name, [END[name]])]:
        logits = model(input_ids=torch.tensor([read]), decoder_input_ids=torch.tensor([written])).logits[0, -1]
        told.append(-float(logits.log_softmax(dim=0)[token]))
        written.append(token)
    return told


@contextmanager
def calls_of(module: torch.nn.Module) -> Iterator[list[int]]:
    """Rows of each call, of whatever stands before the last dimension."""
    rows: list[int] = []

    def count(_: torch.nn.Module, args: tuple, kwargs: dict, output: object) -> None:
        rows.append(args[0][..., 0].numel() if args else len(kwargs["input_ids"]))

    hook = module.register_forward_hook(count, with_kwargs=True)
    try:
        yield rows
    finally:
        hook.remove()


@classes
def test_forward_by_hand(name: str):
    model = lm(name)
    read = model.tokenizer(SOURCE)["input_ids"]
    terms = model.energy(SOURCE).token_terms(model.space.encode(TEXTS))
    for row, body in zip(terms, bodies(model), strict=True):
        expected = by_hand(name, read, body)
        assert row[len(expected) :].eq(0).all()
        torch.testing.assert_close(row[: len(expected)].tolist(), expected, **EXACT)
    assert float(terms.max()) > 3


@classes
def test_reconstruction_by_hand(name: str):
    model = lm(name)
    frame = model.source_space
    (target,) = bodies(model, [SOURCE])
    terms = model.reconstruction(SOURCE).token_terms(model.space.encode(TEXTS))
    for row, body in zip(terms, bodies(model), strict=True):
        expected = by_hand(name, [*frame.prefix, *body, *frame.suffix], target)
        torch.testing.assert_close(row.tolist(), expected, **EXACT)
    assert float(terms.sum(dim=1).std()) > 1e-2


@classes
def test_the_loss_of_labels(name: str):
    """Its labels hold what is forced at their beginning, and mBART's the language at their end."""
    model = lm(name)
    (body,) = bodies(model, ["a b hello"])
    labels = [*ids(name, CONTEXT[name][1:]), *body, *ids(name, [END[name]])]
    labels += ids(name, ["ro_RO"]) if name == "mbart" else []
    read = torch.tensor([model.tokenizer(SOURCE)["input_ids"]])
    if name.startswith("encoder"):
        with pytest.warns(FutureWarning):
            output = model.model(input_ids=read, labels=torch.tensor([labels]))
    else:
        output = model.model(input_ids=read, labels=torch.tensor([labels]))
    nats = -output.logits[0].log_softmax(dim=1)[torch.arange(len(labels)), torch.tensor(labels)]
    torch.testing.assert_close(output.loss, nats.mean(), **EXACT)
    first = len(CONTEXT[name]) - 1
    expected = nats[first : first + len(body) + 1].sum()
    energy = model.energy(SOURCE)(torch.tensor([body]))
    torch.testing.assert_close(energy, expected.unsqueeze(0), **EXACT)
    if len(labels) == len(body) + 1:
        torch.testing.assert_close(float(energy), float(output.loss) * len(labels), **EXACT)


@classes
def test_logits_equal_the_full_forward_and_only_they_reach_the_head(name: str):
    model = lm(name)
    x = model.space.encode(TEXTS, width=8)
    lengths = model.space.lengths(x)
    wanted = torch.arange(9) <= lengths.unsqueeze(1)
    wanted[0, 1] = wanted[2, 0] = False
    given = model.given(SOURCE)
    with calls_of(model.model.get_output_embeddings()) as rows, calls_of(model.model.get_decoder()) as passes:
        logits = given.logits(x, wanted)
    assert rows == [int(wanted.sum())]
    assert len(passes) == 1
    read = torch.tensor([model.tokenizer(SOURCE)["input_ids"]])
    parts = []
    for body, asked in zip(bodies(model), wanted, strict=True):
        decoder = torch.tensor([[*ids(name, CONTEXT[name]), *body]])
        full = model.model(input_ids=read, decoder_input_ids=decoder).logits[0, len(CONTEXT[name]) - 1 :]
        parts.append(full[asked[: len(full)]])
    assert float(logits.std()) > 0.2
    torch.testing.assert_close(logits, torch.cat(parts), **EXACT)


@classes
def test_the_source_is_encoded_once(name: str):
    model = tiny_seq2seq.build(name)
    x = model.space.encode(TEXTS)
    with calls_of(model.model.get_encoder()) as rows:
        energy, given = model.energy(SOURCE), model.given(SOURCE)
        for _ in range(3):
            energy(x)
        energy.candidate_values(x, torch.zeros(3, dtype=torch.int64), x[:, :1].repeat(1, 2))
        SequenceDistribution(given, max_length=3).sample((2,))
        model.translate(SOURCE, max_length=3)
    assert rows == [1]
    with calls_of(model.model.get_encoder()) as rows:
        model.energy("c b")(x)
        model.energy("c b", prefix="a")(x)
    assert rows == [1, 1]


@classes
def test_a_cache_tells_what_a_forward_pass_tells(name: str):
    given = lm(name).given(SOURCE)
    x = lm(name).space.encode(["a b c d e", "e d c b hello a"])[:, :5]
    asked = torch.ones(2, 6, dtype=torch.bool)
    expected = given.logits(x, asked).reshape(2, 6, -1)
    for start in (0, 2):
        logits, read = given.begin(x[:, :start])
        torch.testing.assert_close(logits, expected[:, start], **EXACT)
        again = given.repeat(read, 3)
        one, read = given.extend(read, x[:, start : start + 1])
        rest, _ = given.extend(read, x[:, start + 1 :])
        torch.testing.assert_close(torch.cat([one, rest], dim=1), expected[:, start + 1 :], **EXACT)
        whole, _ = given.extend(again, x[:, start:].repeat_interleave(3, dim=0))
        repeated = expected[:, start + 1 :].repeat_interleave(3, dim=0)
        torch.testing.assert_close(whole, repeated, **EXACT)


@classes
def test_repeating_a_cache_copies_nothing_of_the_source(name: str):
    given = lm(name).given(SOURCE)
    _, read = given.begin(lm(name).space.encode(["a b"]))
    for layer in given.repeat(read, 5).cross_attention_cache.layers:
        assert layer.keys.shape[0] == 5
        assert layer.keys.stride(0) == layer.values.stride(0) == 0


@classes
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("truncation", [None, Truncation(temperature=1.5, top_k=20, top_p=0.95)], ids=["all", "cut"])
def test_told_when_drawn_is_told_when_scored(name: str, double: bool, truncation: Truncation | None):
    model = lm(name, double)
    law = SequenceDistribution(model.given(SOURCE), max_length=6, truncation=truncation)
    empty = torch.full((40, 6), model.space.pad_id)
    x, told = law.redraw(empty, torch.zeros(40, dtype=torch.int64), generator(0))
    assert float(told.std()) > 0.5
    torch.testing.assert_close(law.log_prob(x), told, atol=1e-10 if double else 1e-5, rtol=0)


@classes
def test_candidates_share_the_prefix(name: str):
    energy = lm(name).energy(SOURCE)
    x = lm(name).space.encode(["a b c d", "e f", "hello z a"])
    site = torch.tensor([2, 0, 2])
    values = lm(name).space.encode(["a b c d e"])[0, :4].repeat(3, 1)
    expected = EnergyTerm.candidate_values(energy, x, site, values)
    torch.testing.assert_close(energy.candidate_values(x, site, values), expected, **EXACT)


@pytest.mark.parametrize("name", ["t5", "bart forced", "encoder-decoder"])
@pytest.mark.parametrize("tokens", [1, 7, 40, 10**6])
def test_the_size_of_a_pass_does_not_matter(name: str, tokens: int):
    model = tiny_seq2seq.build(name, double=True)
    x = model.space.encode(TEXTS, width=9)
    model.tokens_per_pass = tokens
    for term in (model.energy(SOURCE), model.reconstruction(SOURCE)):
        same = lm(name).energy(SOURCE) if term.name == "forward" else lm(name).reconstruction(SOURCE)
        torch.testing.assert_close(term(x), same(x), **EXACT)


def test_reconstruction_encodes_each_row_once_and_a_pass_at_a_time():
    model = tiny_seq2seq.build("t5")
    x, energy = model.space.encode(["a b c d"] * 6), model.reconstruction(SOURCE)
    with calls_of(model.model.get_encoder()) as rows, calls_of(model.model.get_output_embeddings()) as heads:
        energy(x)
    assert (rows, heads) == ([6], [6 * 5])
    model.tokens_per_pass = 20  # a row is read as 5 tokens and written as 5
    with calls_of(model.model.get_encoder()) as rows:
        energy(x)
    assert rows == [2, 2, 2]


def test_both_directions_are_a_sum():
    model = lm("bart")
    both = model.energy(SOURCE) + 0.5 * model.reconstruction(SOURCE)
    x = model.space.encode(TEXTS)
    assert term_names(both) == ("forward", "reconstruction")
    expected = model.energy(SOURCE)(x) + 0.5 * model.reconstruction(SOURCE)(x)
    torch.testing.assert_close(evaluate(both, x).energy, expected)


@classes
def test_inside_and_outside_inference_mode(name: str):
    model = tiny_seq2seq.build(name)
    x = model.space.encode(TEXTS)
    both = model.energy(SOURCE) + model.reconstruction(SOURCE)
    outside = both(x)
    assert not outside.requires_grad
    with torch.inference_mode():
        assert torch.equal(both(x), outside)
        fresh = model.energy("c d") + model.reconstruction("c d")
    assert fresh(x).isfinite().all()


@classes
def test_a_text_of_max_length_runs(name: str):
    model = lm(name)
    relative = name in ("t5", "mt5")
    assert (model.max_length > 10**6) if relative else (model.max_length == 24 - len(CONTEXT[name]))
    letter = bodies(model, ["a"])[0][0]
    longest = 40 if relative else model.max_length
    assert model.energy(SOURCE)(torch.full((2, longest), letter)).isfinite().all()
    if not relative:
        with pytest.raises(InvalidInput, match=f"has {longest + 1} tokens, the model takes {longest}"):
            model.energy(SOURCE)(torch.full((2, longest + 1), letter))
        with pytest.raises((IndexError, RuntimeError)):
            model.given(SOURCE).begin(torch.full((2, longest + 1), letter))


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
    terms = model.energy(SOURCE, prefix="d e ").token_terms(x)
    torch.testing.assert_close(terms[0].tolist(), expected, **EXACT)
    read = [*space.prefix, *before, *x[0].tolist(), *space.suffix]
    expected = by_hand(name, read, bodies(model, [SOURCE])[0])
    terms = model.reconstruction(SOURCE, prefix="d e ").token_terms(x)
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
    model = lm("encoder-decoder")
    texts = [model.translate(SOURCE, max_length=6, beams=beams) for beams in (1, 4)]
    one, four = model.energy(SOURCE)(model.space.encode(texts)).tolist()
    assert four < one


# Two spellings


def test_sources_and_targets_are_spelled_each_in_its_way():
    model = lm("marian")
    source, target = model.source_space.encode(["hello a"]), model.space.encode(["hello a"])
    assert (source.shape[1], target.shape[1]) == (6, 3)
    assert model.space.decode(target) == ["hello a"]
    assert model.space.is_canonical(target).all()
    assert model.reconstruction(SOURCE).space is model.source_space
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
    tokenizer = tiny_seq2seq.sentencepiece() if setting == "eos_token_id" else tokenizer
    if setting == "eos_token_id":
        tokenizer.eos_token = None
    return Seq2SeqLM(model, tokenizer)


def gpt2() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 16, "bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(tiny.byte_level()), **sizes)), tiny.byte_level()


LONG = " ".join("a" * 23)
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "empty source": (lambda: lm("t5").energy(" "), "the text ' ' has no tokens"),
    "special token": (lambda: lm("t5").energy("a <extra_id_1>"), "holds the special token '<extra_id_1>'"),
    "unknown": (lambda: lm("t5").energy("a ß"), "cannot represent a part of 'a ß'"),
    "unknown prefix": (lambda: lm("t5").energy("a", prefix="ß:"), "cannot represent a part of the prefix 'ß:'"),
    "long source": (lambda: lm("bart").energy(LONG), "has 25 tokens, special ones included, the model takes 24"),
    "long for its prefix": (lambda: lm("marian").energy(LONG, "a b"), "has 26 tokens, .* the model takes 24"),
    "long state": (
        lambda: lm("bart").reconstruction("a")(lm("bart").space.encode([LONG])),
        "has 25 tokens, special ones included, the model takes 24",
    ),
    "long target": (lambda: lm("bart").reconstruction(LONG + " a"), "source has 24 tokens, the decoder takes 23"),
    "empty target": (lambda: lm("t5").reconstruction(""), "the text '' has no tokens"),
    "no start": (lambda: without("decoder_start_token_id"), "no decoder start token"),
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
    for make in (Seq2SeqLM.energy, Seq2SeqLM.reconstruction):
        assert torch.equal(make(again, "b c")(x), make(model, "b c")(x))


@pytest.mark.parametrize("name", ["t5", "bart forced"])
def test_bfloat16(name: str, tmp_path: Path):
    model = lm(name, double=False)
    half = Seq2SeqLM.from_pretrained(str(tiny.save(model.model, model.tokenizer, tmp_path)), dtype="bfloat16")
    x = half.space.encode(TEXTS)
    both, same = (m.energy(SOURCE) + m.reconstruction(SOURCE) for m in (half, model))
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


def rows_are_alike(energy: EnergyTerm, x: Tensor) -> None:
    alone = torch.cat([energy(row.unsqueeze(0)) for row in x])
    torch.testing.assert_close(energy(x), alone, **EXACT)


@classes
def test_company_and_width_do_not_matter(name: str):
    model = lm(name)
    x = model.space.encode(TEXTS)
    wide = torch.nn.functional.pad(x, (0, 3), value=model.space.pad_id)
    for energy in (model.energy(SOURCE), model.reconstruction(SOURCE)):
        rows_are_alike(energy, x)
        torch.testing.assert_close(energy(wide), energy(x), **EXACT)
