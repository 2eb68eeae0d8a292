"""Scorers that run out of memory: the same results from smaller passes, told once, until a row does not fit."""

from __future__ import annotations

import math
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial

import pytest
import torch
from torch import Tensor

from lm_adapters import (
    CausalLM,
    EditProposal,
    GibbsProposal,
    MaskedEnergy,
    MaskedLM,
    Reconstruction,
    RescoredReplace,
    Seq2SeqLM,
    SequenceDistribution,
    SequenceEnergy,
    SuffixProposal,
    TextEnergy,
    fill_masks,
)
from lm_adapters.forward.oom import is_out_of_memory, run_one_row, run_passes, split_on_oom
from lm_adapters.models.sentence_encoder import LibraryEncoder, MeanPooled
from samplers import Kernel, MetropolisHastings, evaluate, sample
from samplers.errors import OutOfMemory
from samplers.randomness import generator
from tests.lm_adapters import tiny, tiny_causal, tiny_seq2seq

TEXTS = ["a", "the old house by", "b b a", "z q", "a b c d"]
CUDA_SAYS = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 8.00 GiB. See also."
PROMPT = "the sea"


@pytest.fixture(autouse=True)
def _nobody_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lm_adapters.forward.oom._warned", weakref.WeakSet())


def on_cuda() -> None:
    raise torch.OutOfMemoryError(CUDA_SAYS)


def on_cpu() -> None:
    torch.empty(10**15)


@contextmanager
def room(module: torch.nn.Module, rows: int, fail: Callable[[], None] = on_cuda) -> Iterator[list[int]]:
    """Passes of more than ``rows`` rows through ``module`` run out of memory; the sizes of those that did not."""
    sizes: list[int] = []

    def check(module: torch.nn.Module, arguments: tuple, named: dict) -> None:
        size = len(arguments[0] if arguments else named["input_ids"])
        if size > rows:
            fail()
        sizes.append(size)

    handle = module.register_forward_pre_hook(check, with_kwargs=True)
    try:
        yield sizes
    finally:
        handle.remove()


@cache
def masked() -> MaskedLM:
    return tiny.build("bert", scale=12.0)


@cache
def causal() -> CausalLM:
    return tiny_causal.build("gpt2", double=True)


@cache
def seq2seq(name: str = "bart") -> Seq2SeqLM:
    return tiny_seq2seq.build(name, double=True)


def masks(lm: MaskedLM) -> Tensor:
    return lm.space.masks([2, 3, 1, 3, 2])


def site_masked(lm: MaskedLM) -> Tensor:
    x = lm.space.encode(TEXTS)
    hidden = torch.zeros_like(x, dtype=torch.bool)
    hidden[:, 0] = hidden[1, 2] = True
    return lm.logits(x, hidden)


def candidates(lm: CausalLM) -> Tensor:
    x = lm.space.encode(["a b c d", "the old house by", "e f g h"])
    values = torch.tensor([lm.space.encode(["a b c d"])[0].tolist()[:3]] * 3)
    return SequenceEnergy(lm.condition_on()).candidate_values(x, torch.tensor([1, 1, 2]), values)


@cache
def pooled() -> MeanPooled:
    return MeanPooled(masked().model, masked().space.tokenizer)


def redrawn(lm: CausalLM) -> Tensor:
    x, cut = lm.space.encode(TEXTS, 16), torch.tensor([0, 2, 1, 0, 3])
    new = SequenceDistribution(lm.condition_on(), max_length=12).redraw(x, cut, generator(1))
    return torch.cat([new.x.double(), new.scores.flatten(1)], dim=1)


def of_encoder(ask: Callable[[MaskedLM], Tensor]) -> tuple[torch.nn.Module, Callable[[], Tensor]]:
    return masked().model.base_model, lambda: ask(masked())


def of_causal(ask: Callable[[CausalLM], Tensor]) -> tuple[torch.nn.Module, Callable[[], Tensor]]:
    return causal().model.base_model, lambda: ask(causal())


def energy_of(kind: str) -> Callable[[MaskedLM], Tensor]:
    return lambda lm: MaskedEnergy(lm, kind)(lm.space.encode(TEXTS))


# The module that has room for few rows, and what is asked.
SCORERS: dict[str, Callable[[], tuple[torch.nn.Module, Callable[[], Tensor]]]] = {
    "masked logits": lambda: of_encoder(site_masked),
    "masked raw": lambda: of_encoder(energy_of("raw")),
    "masked pll": lambda: of_encoder(energy_of("pll")),
    "masked terms": lambda: of_encoder(lambda lm: MaskedEnergy(lm, "pll").site_terms(lm.space.encode(TEXTS))),
    "fill": lambda: of_encoder(lambda lm: fill_masks(lm, masks(lm), generator(0))),
    "encoder": lambda: of_encoder(lambda lm: pooled().embed(TEXTS)),
    "causal": lambda: of_causal(lambda lm: SequenceEnergy(lm.condition_on())(lm.space.encode(TEXTS))),
    "causal after a prompt": lambda: of_causal(
        lambda lm: SequenceEnergy(lm.condition_on(PROMPT))(lm.space.encode(TEXTS))
    ),
    "causal candidates": lambda: of_causal(candidates),
    "causal distribution": lambda: of_causal(
        lambda lm: SequenceDistribution(lm.condition_on(), max_length=16).log_prob(lm.space.encode(TEXTS))
    ),
    "causal redraw": lambda: of_causal(redrawn),
    "seq2seq": lambda: (
        seq2seq().model.get_decoder(),
        lambda: SequenceEnergy(seq2seq().condition_on("hello b c"), name="forward")(seq2seq().space.encode(TEXTS)),
    ),
    "reconstruction": lambda: (
        seq2seq("marian").model.get_encoder(),
        lambda: Reconstruction(seq2seq("marian"), "a b")(
            seq2seq("marian").source_space.encode(["a", "hello z", "b c"])
        ),
    ),
}
SINGLE = {"atol": 1e-5, "rtol": 0}  # models of float32, as where passes are of another size
DOUBLE = {"atol": 1e-10, "rtol": 0}
scorers = pytest.mark.parametrize("name", SCORERS)


def asked(name: str) -> Tensor:
    with torch.inference_mode():
        return SCORERS[name]()[1]()


def too_much(name: str) -> OutOfMemory:
    asked(name)  # what is read once for all is there
    with room(SCORERS[name]()[0], 0), pytest.raises(OutOfMemory) as caught:
        quietly(asked, name)
    return caught.value


def quietly(function: Callable, *arguments: object) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)


@scorers
@pytest.mark.parametrize(("rows", "fail"), [(1, on_cuda), (2, on_cpu)], ids=["one row", "two rows"])
def test_the_results_are_those_of_whole_passes_and_told_once(name: str, rows: int, fail: Callable[[], None]):
    whole = asked(name)
    assert float(whole[whole.isfinite()].double().std()) > 0.01
    with room(SCORERS[name]()[0], rows, fail) as sizes, pytest.warns(UserWarning, match="run in halves") as told:
        again, twice = asked(name), asked(name)
    torch.testing.assert_close(again, whole, **SINGLE if name.split()[0] in ("masked", "encoder") else DOUBLE)
    assert torch.equal(twice, again)
    assert max(sizes) == rows
    assert len(told) == 1


@scorers
def test_a_row_that_does_not_fit_is_an_error_in_one_line(name: str):
    told = str(too_much(name))
    assert told.startswith("one row of ")
    assert "tokens does not fit in the memory that " in told
    assert "(CUDA out of memory. Tried to allocate 20.00 GiB); shorten the texts, load with dtype=bfloat16, or" in told
    assert "\n" not in told


@scorers
def test_afterwards_everything_is_as_it_was(name: str):
    whole = asked(name)
    too_much(name)
    assert torch.equal(asked(name), whole)


def kernel_of(name: str) -> tuple[Kernel, MaskedLM | CausalLM]:
    lm = masked()
    made: dict[str, Callable[[], tuple[Kernel, MaskedLM | CausalLM]]] = {
        "gibbs": lambda: (MetropolisHastings(GibbsProposal(lm)), lm),
        "block": lambda: (MetropolisHastings(GibbsProposal(lm, 2)), lm),
        "edits": lambda: (MetropolisHastings(EditProposal(lm, max_length=8)), lm),
        "rescored": lambda: (RescoredReplace(lm, 4), lm),
        "suffix": lambda: (MetropolisHastings(SuffixProposal(causal().condition_on(), max_length=10)), causal()),
    }
    return made[name]()


@pytest.mark.parametrize("name", ["gibbs", "block", "edits", "rescored", "suffix"])
def test_the_draws_are_the_same(name: str):
    kernel, lm = kernel_of(name)
    energy = MaskedEnergy(lm, "pll") if isinstance(lm, MaskedLM) else SequenceEnergy(lm.condition_on())
    run = partial(sample, kernel, energy, lm.space.encode(TEXTS, 12), steps=6, progress=False)
    whole = run()
    with room(lm.model.base_model, 2), pytest.warns(UserWarning, match="run in halves"):
        split = run()
    assert whole.changed > 0
    assert torch.equal(split.draws, whole.draws)
    torch.testing.assert_close(split.energy, whole.energy, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["raw", "pll"])
def test_memory_may_end_behind_the_forward_pass_too(kind: str, monkeypatch: pytest.MonkeyPatch):
    """The vocabulary-wide outputs of a pass fit in halves, and only then go on."""
    lm, x = masked(), masked().space.encode(TEXTS)
    whole, logits = MaskedEnergy(lm, kind)(x), lm.logits
    monkeypatch.setattr(lm, "logits", lambda x, hidden: on_cuda() if len(x) > 2 else logits(x, hidden))
    with pytest.warns(UserWarning, match="MaskedLM has no memory for 14 rows of 6 tokens in one pass"):
        torch.testing.assert_close(MaskedEnergy(lm, kind)(x), whole, atol=1e-5, rtol=0)


class Library:
    """What the sentence-transformers library loads, with room for two texts."""

    max_seq_length, transformers_model = 100, None

    def __init__(self) -> None:
        self.tokenizer = masked().space.tokenizer

    def eval(self) -> Library:
        return self

    def requires_grad_(self, on: bool) -> Library:
        return self

    def encode(self, texts: list[str], **_: object) -> Tensor:
        if len(texts) > 2:
            on_cuda()
        return torch.tensor([[float(len(text)), 1.0] for text in texts])


def test_the_library_encodes_fewer_texts_at_a_time():
    encoder = LibraryEncoder(Library())
    with pytest.warns(UserWarning, match="5 rows of 6 tokens in one pass"):
        vectors = encoder.embed(TEXTS)
    alone = torch.cat([encoder.embed([text]) for text in TEXTS])
    assert torch.equal(vectors, alone)


def test_a_function_of_texts_is_given_fewer():
    space, sizes = masked().space, []

    def mine(texts: list[str]) -> list[float]:
        if len(texts) > 2:
            raise MemoryError
        sizes.append(len(texts))
        return [math.nan if text == "z q" and len(sizes) > 3 else float(len(text)) for text in texts]

    energy = TextEnergy(mine, space.decode)
    with pytest.warns(UserWarning, match=r"mine has no memory for 5 rows in one pass \(MemoryError\)"):
        assert energy(space.encode(TEXTS)).tolist() == [float(len(text)) for text in TEXTS]
    assert sizes == [2, 1, 2]
    with pytest.raises(Exception, match=r"is NaN \(chain 3\): 'z q'"):
        evaluate(energy, space.encode(TEXTS))
    with pytest.raises(OutOfMemory, match="one row does not fit in the memory that memoryless has left"):
        TextEnergy(lambda texts: on_cpu(), space.decode, "memoryless")(space.encode(TEXTS[:1]))


def test_what_is_read_once_tells_of_its_tokens():
    long = tiny_causal.build("gpt2")
    with room(long.model.base_model, 0), pytest.raises(OutOfMemory, match=r"one row of \d+ tokens .* CausalLM"):
        SequenceEnergy(long.condition_on(PROMPT))(long.space.encode(TEXTS))
    with (
        room(seq2seq().model.get_encoder(), 0),
        pytest.raises(OutOfMemory, match=r"one row of \d+ tokens .* Seq2SeqLM"),
    ):
        seq2seq().condition_on("z z b")
    given = seq2seq().condition_on("hello b")
    with room(seq2seq().model.get_decoder(), 3), pytest.raises(OutOfMemory, match=r"Seq2SeqLM"):
        seq2seq().translate("hello b", beams=4)
    assert seq2seq().condition_on("hello b") is given


# The split itself


def test_rows_are_halved_until_they_fit_and_keep_their_order():
    fits = []

    def run(rows: Tensor) -> Tensor:
        if rows.sum() > 20:
            on_cuda()
        fits.append(rows.tolist())
        return rows * 10

    with pytest.warns(UserWarning, match="halves"):
        parts = list(split_on_oom(torch.arange(9), run, scorer=run))
    assert fits == [[0, 1, 2, 3, 4], [5, 6], [7, 8]]
    assert torch.equal(torch.cat([rows for rows, _ in parts]), torch.arange(9))
    assert all(torch.equal(result, rows * 10) for rows, result in parts)


def test_columns_are_halved_when_a_row_is_alone():
    seen = []

    def run(rows: Tensor) -> Tensor:
        seen.append(list(rows.shape))
        if rows.numel() > 2:
            on_cuda()
        return rows

    with pytest.warns(UserWarning, match="8 rows in one pass"):
        parts = list(split_on_oom(torch.arange(8).reshape(2, 4), run, scorer=run))
    assert seen == [[2, 4], [1, 4], [1, 2], [1, 2], [1, 4], [1, 2], [1, 2]]
    assert torch.equal(torch.cat([rows.flatten() for rows, _ in parts]), torch.arange(8))


def test_passes_that_fit_stay_whole():
    def run(rows: Tensor) -> int:
        return on_cuda() or 0 if 9 in rows and len(rows) > 1 else len(rows)

    with pytest.warns(UserWarning, match="4 rows of 5 tokens"):
        parts = list(run_passes(torch.tensor([5] * 12), 20, run, scorer=run))
    assert [size for _, size in parts] == [4, 4, 1, 1, 2]


def test_a_failed_pass_is_gone_before_the_next_begins():
    kept: list[weakref.ref] = []

    def inner(rows: Tensor) -> Tensor:
        assert all(ref() is None for ref in kept)
        block = torch.zeros(len(rows))
        kept.append(weakref.ref(block))
        try:
            if len(rows) > 1:
                on_cuda()
        except RuntimeError as error:
            raise error
        return block.clone()

    with pytest.warns(UserWarning, match="halves"):
        assert len(list(split_on_oom(torch.arange(4), inner, scorer=inner))) == 4
    assert len(kept) == 7


def test_other_errors_pass_and_are_not_tried_again():
    calls = []

    def run(rows: Tensor) -> None:
        calls.append(len(rows))
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        list(split_on_oom(torch.arange(4), run, scorer=run))
    assert calls == [4]


def test_a_warning_turned_into_an_error_does_not_end_a_run():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parts = list(split_on_oom(torch.arange(2), lambda rows: rows if len(rows) == 1 else on_cuda(), scorer=room))
    assert len(parts) == 2


def test_each_scorer_is_told_of():
    run = lambda rows: rows if len(rows) == 1 else on_cuda()  # noqa: E731
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for scorer in (room, asked, room):
            list(split_on_oom(torch.arange(2), run, scorer=scorer))
    assert len(told) == 2


@pytest.mark.parametrize("words", ["DefaultCPUAllocator: not enough memory: you tried", "can't allocate memory: x"])
def test_what_allocators_say(words: str):
    assert is_out_of_memory(RuntimeError(words))
    assert not is_out_of_memory(ValueError(words))


def test_one_row_gives_what_it_gives():
    assert run_one_row(lambda: "read", scorer=room, tokens=3) == "read"
    with pytest.raises(OutOfMemory, match=r"one row of 3 tokens .*\(DefaultCPUAllocator: can't allocate memory: you"):
        run_one_row(on_cpu, scorer=room, tokens=3)
