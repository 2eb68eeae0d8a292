"""Every encoder-decoder class, tiny and random: what it scores is what a loop of plain forward passes gives by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from lm_adapters import Reconstruction, SequenceEnergy
from lm_adapters.proposals.sequence_distribution import SequenceDistribution
from lm_adapters.proposals.truncation import Truncation
from samplers import EnergyTerm, InvalidInput, evaluate, term_names
from samplers.randomness import generator
from tests.lm_adapters import tiny_seq2seq
from tests.lm_adapters.models.extending import extends_as_a_whole
from tests.lm_adapters.tiny_seq2seq import CONTEXT, END, EXACT, SOURCE, TEXTS, bodies, by_hand, classes, ids, lm


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
    terms = SequenceEnergy(model.condition_on(SOURCE), name="forward").token_terms(model.space.encode(TEXTS))
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
    terms = Reconstruction(model, SOURCE).token_terms(model.space.encode(TEXTS))
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
    energy = SequenceEnergy(model.condition_on(SOURCE), name="forward")(torch.tensor([body]))
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
    given = model.condition_on(SOURCE)
    with calls_of(model.model.get_output_embeddings()) as rows, calls_of(model.model.get_decoder()) as passes:
        logits = torch.cat([*given.logits(x, wanted)])
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
        energy, given = SequenceEnergy(model.condition_on(SOURCE), name="forward"), model.condition_on(SOURCE)
        for _ in range(3):
            energy(x)
        energy.candidate_values(x, torch.zeros(3, dtype=torch.int64), x[:, :1].repeat(1, 2))
        SequenceDistribution(given, max_length=3).sample((2,))
        model.translate(SOURCE, max_length=3)
    assert rows == [1]
    with calls_of(model.model.get_encoder()) as rows:
        SequenceEnergy(model.condition_on("c b"), name="forward")(x)
        SequenceEnergy(model.condition_on("c b", prefix="a"), name="forward")(x)
    assert rows == [1, 1]


@classes
def test_a_cache_tells_what_a_forward_pass_tells(name: str):
    """Prefixes of unlike length share a pass where positions are relative."""
    given = lm(name).condition_on(SOURCE)
    assert given.ragged == (name in ("t5", "mt5"))
    extends_as_a_whole(given, lm(name).space.encode(["a b c d e", "e d c b hello a", "b a b a b"])[:, :5])


@classes
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("truncation", [None, Truncation(temperature=1.5, top_k=20, top_p=0.95)], ids=["all", "cut"])
def test_told_when_drawn_is_told_when_scored(name: str, double: bool, truncation: Truncation | None):
    model = lm(name, double)
    law = SequenceDistribution(model.condition_on(SOURCE), max_length=6, truncation=truncation)
    empty = torch.full((40, 6), model.space.pad_id)
    new = law.redraw(empty, torch.zeros(40, dtype=torch.int64), generator(0))
    drawn, nats = new.scores.sum(dim=2).unbind(dim=1)
    assert float(drawn.std()) > 0.5
    torch.testing.assert_close(law.log_prob(new.x), drawn, atol=1e-10 if double else 1e-5, rtol=0)
    torch.testing.assert_close(
        SequenceEnergy(model.condition_on(SOURCE), name="forward")(new.x), nats, atol=1e-10 if double else 1e-5, rtol=0
    )


@classes
def test_candidates_share_the_prefix(name: str):
    energy = SequenceEnergy(lm(name).condition_on(SOURCE), name="forward")
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
    for term in (SequenceEnergy(model.condition_on(SOURCE), name="forward"), Reconstruction(model, SOURCE)):
        same = (
            SequenceEnergy(lm(name).condition_on(SOURCE), name="forward")
            if term.name == "forward"
            else Reconstruction(lm(name), SOURCE)
        )
        torch.testing.assert_close(term(x), same(x), **EXACT)


def test_reconstruction_encodes_each_row_once_and_a_pass_at_a_time():
    model = tiny_seq2seq.build("t5")
    x, energy = model.space.encode(["a b c d"] * 6), Reconstruction(model, SOURCE)
    with calls_of(model.model.get_encoder()) as rows, calls_of(model.model.get_output_embeddings()) as heads:
        energy(x)
    assert (rows, heads) == ([6], [6 * 5])
    model.tokens_per_pass = 20  # a row is read as 5 tokens and written as 5
    with calls_of(model.model.get_encoder()) as rows:
        energy(x)
    assert rows == [2, 2, 2]


def test_both_directions_are_a_sum():
    model = lm("bart")
    both = SequenceEnergy(model.condition_on(SOURCE), name="forward") + 0.5 * Reconstruction(model, SOURCE)
    x = model.space.encode(TEXTS)
    assert term_names(both) == ("forward", "reconstruction")
    expected = SequenceEnergy(model.condition_on(SOURCE), name="forward")(x) + 0.5 * Reconstruction(model, SOURCE)(x)
    torch.testing.assert_close(evaluate(both, x).energy, expected)


@classes
def test_inside_and_outside_inference_mode(name: str):
    model = tiny_seq2seq.build(name)
    x = model.space.encode(TEXTS)
    both = SequenceEnergy(model.condition_on(SOURCE), name="forward") + Reconstruction(model, SOURCE)
    outside = both(x)
    assert not outside.requires_grad
    with torch.inference_mode():
        assert torch.equal(both(x), outside)
        fresh = SequenceEnergy(model.condition_on("c d"), name="forward") + Reconstruction(model, "c d")
    assert fresh(x).isfinite().all()


@classes
def test_a_text_of_max_length_runs(name: str):
    model = lm(name)
    relative = name in ("t5", "mt5")
    assert (model.max_length > 10**6) if relative else (model.max_length == 24 - len(CONTEXT[name]))
    letter = bodies(model, ["a"])[0][0]
    longest = 40 if relative else model.max_length
    assert SequenceEnergy(model.condition_on(SOURCE), name="forward")(torch.full((2, longest), letter)).isfinite().all()
    read = min(longest, Reconstruction(model, SOURCE, "b").max_length)
    assert Reconstruction(model, SOURCE, "b")(torch.full((2, read), letter)).isfinite().all()
    if not relative:
        with pytest.raises(InvalidInput, match=f"has {longest + 1} tokens, the model takes {longest}"):
            SequenceEnergy(model.condition_on(SOURCE), name="forward")(torch.full((2, longest + 1), letter))
        every = torch.ones(2, longest + 2, dtype=torch.bool)
        with pytest.raises((IndexError, RuntimeError)):
            model.condition_on(SOURCE).read(torch.full((2, longest + 1), letter), every)


def rows_are_alike(energy: EnergyTerm, x: Tensor) -> None:
    alone = torch.cat([energy(row.unsqueeze(0)) for row in x])
    torch.testing.assert_close(energy(x), alone, **EXACT)


@classes
def test_company_and_width_do_not_matter(name: str):
    model = lm(name)
    x = model.space.encode(TEXTS)
    wide = torch.nn.functional.pad(x, (0, 3), value=model.space.pad_id)
    for energy in (SequenceEnergy(model.condition_on(SOURCE), name="forward"), Reconstruction(model, SOURCE)):
        rows_are_alike(energy, x)
        torch.testing.assert_close(energy(wide), energy(x), **EXACT)
