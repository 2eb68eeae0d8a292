"""Every model class, tiny and random: the rows handed to its head are the rows of its full forward pass."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lm_adapters import GibbsProposal, MaskedEnergy, MaskedLM, Truncation
from samplers import MetropolisHastings, sample
from samplers.randomness import generator
from tests.lm_adapters import tiny

TEXTS = {"equal": ["a b c d", "e f g h", "b b a z"], "mixed": ["a", "e f g h i j", "b b a"]}
TABLES = ("bert", "roberta", "distilbert", "albert", "electra")  # absolute positions: a longer text does not run
classes = pytest.mark.parametrize("name", tiny.CLASSES)


@cache
def lm(name: str) -> MaskedLM:
    return tiny.build(name, scale=12.0)


def words(model: MaskedLM, texts: list[str]) -> Tensor:
    return model.space.encode(texts)


def one_site(model: MaskedLM, x: Tensor, block: int = 1) -> Tensor:
    """The last ``block`` sites of each text, fewer in a shorter one."""
    lengths = model.space.lengths(x).unsqueeze(1)
    site = torch.arange(x.shape[1])
    return (site < lengths) & (site >= lengths - block)


def full_forward(model: MaskedLM, x: Tensor, hidden: Tensor) -> Tensor:
    """Framed, padded and masked by hand, each text by itself."""
    space, parts = model.space, []
    for row, masked in zip(x.masked_fill(hidden, space.mask_id), hidden, strict=True):
        body = [token for token in row.tolist() if token != space.pad_id]
        ids = torch.tensor([[*space.prefix, *body, *space.suffix]])
        with torch.inference_mode():
            logits = model.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
        parts.append(logits[masked.nonzero().squeeze(1) + len(space.prefix)])
    return torch.cat(parts)


@classes
@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize("lengths", TEXTS)
def test_masked_sites_equal_the_full_forward(name: str, lengths: str, block: int):
    model = lm(name)
    x = words(model, TEXTS[lengths])
    hidden = one_site(model, x, block)
    logits = model.logits(x, hidden)
    assert logits.shape == (int(hidden.sum()), model.space.vocabulary)
    assert float(logits.std()) > 0.2
    torch.testing.assert_close(logits, full_forward(model, x, hidden), atol=1e-5, rtol=0)


@classes
def test_the_head_sees_the_masked_rows_only(name: str):
    model = lm(name)
    x = words(model, TEXTS["mixed"])
    hidden = one_site(model, x, 2)
    rows: list[int] = []
    heads = [part for part in model.model.children() if part is not model.model.base_model]
    hooks = [h.register_forward_hook(lambda _, args, out: rows.append(args[0][..., 0].numel())) for h in heads]
    try:
        model.logits(x, hidden)
    finally:
        for hook in hooks:
            hook.remove()
    assert set(rows) == {5}


@classes
def test_the_model_itself_is_left_as_it_was(name: str):
    model = lm(name)
    ids = torch.tensor([[*model.space.prefix, *words(model, ["a b c"])[0].tolist(), *model.space.suffix]])
    model.logits(words(model, ["a b"]), torch.tensor([[True, False]]))
    assert model.model(input_ids=ids).logits.shape == (1, ids.shape[1], model.space.vocabulary)


@classes
def test_what_is_under_the_mask_does_not_matter(name: str):
    model = lm(name)
    x = words(model, TEXTS["mixed"])
    hidden = one_site(model, x, 2)
    other = x.masked_fill(hidden, int(words(model, ["q"])[0, 0]))
    assert not torch.equal(x, other)
    assert torch.equal(model.logits(x, hidden), model.logits(other, hidden))


@classes
def test_context_and_mask_matter(name: str):
    model = lm(name)
    x = words(model, ["a b c d"])
    hidden = torch.tensor([[False, True, False, False]])
    y = x.clone()
    y[0, 3] = words(model, ["z"])[0, 0]
    assert float((model.logits(x, hidden) - model.logits(y, hidden)).abs().max()) > 1e-3
    ids = torch.tensor([[*model.space.prefix, *x[0].tolist(), *model.space.suffix]])
    seen = model.model(input_ids=ids).logits[0, 1 + len(model.space.prefix)]
    assert float((model.logits(x, hidden)[0] - seen).abs().max()) > 1e-3
    mask = model.model.get_input_embeddings().weight[model.space.mask_id]
    assert float(mask.abs().max()) > 1e-3


@classes
def test_padding_of_the_batch_does_not_matter(name: str):
    model = lm(name)
    x = words(model, TEXTS["mixed"])
    alone = torch.cat([MaskedEnergy(model, "pll")(row[row != model.space.pad_id].unsqueeze(0)) for row in x])
    torch.testing.assert_close(MaskedEnergy(model, "pll")(x), alone, atol=5e-5, rtol=0)
    wide = torch.cat([x, torch.full((len(x), 4), model.space.pad_id)], dim=1)
    assert torch.equal(MaskedEnergy(model, "pll")(wide), MaskedEnergy(model, "pll")(x))


@classes
def test_a_text_of_max_length_runs(name: str):
    model = lm(name)
    frame = len(model.space.prefix) + len(model.space.suffix)
    assert model.max_length == tiny.POSITIONS - frame - (2 if name == "roberta" else 0)
    letter = int(words(model, ["a"])[0, 0])
    x = torch.full((2, model.max_length), letter)
    assert MaskedEnergy(model, "pll")(x).isfinite().all()
    if name in TABLES:
        longer = torch.full((2, model.max_length + 1), letter)
        with pytest.raises((IndexError, RuntimeError, ValueError)):
            MaskedEnergy(model, "pll")(longer)


@classes
def test_no_output_requires_grad(name: str):
    model = lm(name)
    x = words(model, TEXTS["equal"])
    hidden = one_site(model, x)
    proposed = GibbsProposal(model)(x, generator(0))
    outputs = [
        model.logits(x, hidden),
        Truncation().log_prob(model.logits(x, hidden), model.allowed),
        MaskedEnergy(model, "raw")(x),
        MaskedEnergy(model, "pll")(x),
    ]
    outputs += [proposed.log_q_forward, proposed.log_q_reverse, proposed.hint.logits]
    assert not any(output.requires_grad for output in outputs)


@classes
def test_only_proposable_tokens_are_drawn(name: str):
    model = lm(name)
    proposal, rng = GibbsProposal(model, 2), generator(3)
    x = model.space.masks([3] * 1000)
    for _ in range(4):
        x = proposal(x, rng).x
    drawn = x[x != model.space.mask_id]
    tokenizer = model.space.tokenizer
    forbidden = {*tokenizer.all_special_ids, *range(len(tokenizer), model.space.vocabulary)}
    forbidden |= {i for token, i in tokenizer.get_vocab().items() if "unused" in token or "extra_id" in token}
    forbidden |= {i for token, i in tokenizer.get_vocab().items() if token.startswith("madeup")}
    assert len(drawn) > 2500
    assert len(forbidden) >= 10
    assert not forbidden.intersection(drawn.tolist())


@classes
def test_saved_and_loaded(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    model = lm(name)
    tiny.save(model.model, model.space.tokenizer, tmp_path)
    capfd.readouterr()
    again = MaskedLM.from_pretrained(str(tmp_path))
    assert capfd.readouterr() == ("", "")
    x = words(model, TEXTS["mixed"])
    assert torch.equal(again.space.encode(TEXTS["mixed"]), x)
    assert torch.equal(MaskedEnergy(again, "pll")(x), MaskedEnergy(model, "pll")(x))
    assert type(again.model) is type(model.model)


@classes
def test_bfloat16(name: str, tmp_path: Path):
    model = lm(name)
    half = MaskedLM.from_pretrained(str(tiny.save(model.model, model.space.tokenizer, tmp_path)), dtype="bfloat16")
    x = words(model, TEXTS["mixed"])
    energy, exact = MaskedEnergy(half, "pll")(x), MaskedEnergy(model, "pll")(x)
    assert half.model.dtype == torch.bfloat16
    assert energy.dtype == torch.float64
    assert not torch.equal(energy, exact)
    torch.testing.assert_close(energy, exact, rtol=0.1, atol=0.5)
    trace = sample(MetropolisHastings(GibbsProposal(half, 2)), MaskedEnergy(half, "pll"), x, steps=3, progress=False)
    assert trace.energy.isfinite().all()
