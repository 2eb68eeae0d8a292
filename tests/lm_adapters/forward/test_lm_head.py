"""The head in parts: as one call of the model, for every class of model, at the cost of one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from torch import Tensor

from lm_adapters import Autoregressive, Reconstruction, SequenceEnergy
from lm_adapters.forward import lm_head as head
from samplers import EnergyTerm
from tests.lm_adapters import tiny_causal, tiny_seq2seq


def causal(name: str) -> tuple[Autoregressive, EnergyTerm]:
    lm = tiny_causal.build(name, double=True)
    return lm.condition_on("a b"), SequenceEnergy(lm.condition_on("a b"))


def seq2seq(name: str, reconstruction: bool) -> tuple[Autoregressive, EnergyTerm]:
    lm = tiny_seq2seq.build(name, double=True)
    return lm.condition_on("a b c"), Reconstruction(lm, "a b c") if reconstruction else SequenceEnergy(
        lm.condition_on("a b c")
    )


CASES = [(name, partial(causal, name)) for name in tiny_causal.CLASSES]
CASES += [(name, partial(seq2seq, name, False)) for name in tiny_seq2seq.CLASSES]
CASES += [(f"{name} reconstruction", partial(seq2seq, name, True)) for name in tiny_seq2seq.CLASSES]
every_class = pytest.mark.parametrize("made", [made for _, made in CASES], ids=[name for name, _ in CASES])


@pytest.fixture
def by_threes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setitem(head.POSITIONS_A_CALL, "cpu", 3)


def texts(model: Autoregressive) -> Tensor:
    return model.space.encode(["a b c", "c", "b a a b", "a"])


@contextmanager
def layers_of(model: torch.nn.Module) -> Iterator[list[int]]:
    """A 1 for each time that a layer of the body runs."""
    (first, *_) = [module for name, module in model.named_modules() if name.endswith((".0", ".1"))]
    calls: list[int] = []
    hook = first.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        yield calls
    finally:
        hook.remove()


@every_class
def test_energies_are_the_same_and_it_is_one_pass(made: Callable, by_threes: Callable[[], None]):
    model, energy = made()
    x, site = texts(model), torch.tensor([1, 0, 2, 0])
    values = x[2, :2].repeat(4, 1)
    energy(x)  # reads the prompt
    found = []
    for step in range(2):
        with layers_of(model.lm.model) as calls:
            found.append([energy(x), energy.token_terms(x), energy.candidate_values(x, site, values)])
        found[-1].append(torch.tensor(len(calls)))
        if step == 0:
            by_threes()
    for whole, part in zip(*found, strict=True):
        torch.testing.assert_close(part, whole, atol=1e-10, rtol=0)


@every_class
def test_parts_are_bounded_and_the_model_is_given_back(made: Callable, by_threes: Callable[[], None]):
    model, _ = made()
    x = texts(model)
    wanted = torch.arange(x.shape[1] + 1) <= model.space.lengths(x).unsqueeze(1)
    (whole,) = model.logits(x, wanted)
    by_threes()
    parts = model.logits(x, wanted)
    (again,), _ = model.read(x[:1, :1], wanted[:1, :2])  # another pass, before the parts of the first are taken
    parts = list(parts)
    assert [len(part) for part in parts] == [3] * (len(whole) // 3) + ([len(whole) % 3] if len(whole) % 3 else [])
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-10, rtol=0)
    torch.testing.assert_close(again, whole[:2], atol=1e-10, rtol=0)
    assert not any("forward" in module.__dict__ for module in model.lm.model.modules())


def test_a_forward_that_a_library_has_put_there_stays(by_threes: Callable[[], None]):
    by_threes()
    model, energy = causal("llama")
    body = model.lm.model.base_model
    expected, own, calls = energy(texts(model)), body.forward, []

    def put(*arguments: object, **named: object) -> object:
        calls.append(1)
        return own(*arguments, **named)

    body.forward = put
    assert torch.equal(energy(texts(model)), expected)
    assert body.forward is put
    assert calls == [1]


def test_a_head_that_fails_leaves_the_model_as_it_was(by_threes: Callable[[], None], monkeypatch: pytest.MonkeyPatch):
    by_threes()
    model, energy = causal("llama")
    x, table = texts(model), model.lm.model.get_output_embeddings()
    expected, forward = energy(x), table.forward

    def fail_later(hidden: Tensor, calls: list[int] = []) -> Tensor:  # noqa: B006
        calls.append(1)
        if len(calls) > 2:
            raise ValueError("broken")
        return forward(hidden)

    with monkeypatch.context() as patch:
        patch.setattr(table, "forward", fail_later)
        with pytest.raises(ValueError, match="broken"):
            energy(x)
    assert torch.equal(energy(x), expected)
