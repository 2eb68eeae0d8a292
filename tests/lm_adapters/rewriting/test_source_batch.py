"""Texts given a source in each row: of every class of model the numbers are those of one source at a time."""

from __future__ import annotations

import pytest
import torch

from lm_adapters import SequenceDistribution, SourceBatch, Truncation
from lm_adapters.forward.route import Route
from lm_adapters.rewriting.source_batch import Bounds
from lm_adapters.rewriting.tasks import WritingTask
from samplers.randomness import generator
from tests.lm_adapters.tiny_seq2seq import EXACT, TEXTS, classes, lm

SOURCES = ["hello b c", "a", "x y z a"]
LONGEST = 6
ROUTES = [Route(cache="none"), Route(rows="equal", cache="none"), Route(rows="one", cache="none")]


def bounds(rows: int, low: int = 1) -> Bounds:
    return Bounds(torch.full((rows,), low), torch.full((rows,), LONGEST))


def batch(name: str, truncation: Truncation | None = None) -> SourceBatch:
    return SourceBatch(lm(name), WritingTask([], lm(name).context, lm(name).eos_id), truncation)


@classes
@pytest.mark.parametrize("truncation", [None, Truncation(0.7, 5, 0.9)])
def test_densities_are_those_of_each_source_by_itself(name: str, truncation: Truncation | None):
    model = lm(name)
    x = model.space.encode(TEXTS, LONGEST)
    apart = [
        SequenceDistribution(model.condition_on(source), max_length=LONGEST, truncation=truncation).log_prob(row[None])
        for source, row in zip(SOURCES, x, strict=True)
    ]
    found = batch(name, truncation).log_prob(model.source_space.encode(SOURCES), x, bounds(3))
    torch.testing.assert_close(found, torch.cat(apart), **EXACT)


@classes
def test_drawn_texts_have_the_density_returned(name: str):
    model, rows = lm(name), 3 * len(SOURCES)
    sources, old = (each.repeat(3, 1) for each in (model.source_space.encode(SOURCES), model.space.encode(TEXTS)))
    written = batch(name).draw(sources, bounds(rows, 2), generator(0), old)
    assert int(model.space.lengths(written.x).min()) >= 2
    torch.testing.assert_close(
        written.log_q, batch(name).log_prob(sources, written.x, bounds(rows, 2)), atol=1e-9, rtol=0
    )
    torch.testing.assert_close(written.log_q_old, batch(name).log_prob(sources, old, bounds(rows, 2)), **EXACT)


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_models_that_take_no_padding_or_cache_draw_the_same(route: Route):
    model = lm("bart")
    sources, old = model.source_space.encode(SOURCES), model.space.encode(TEXTS)
    usual = batch("bart").draw(sources, bounds(3), generator(0), old)
    before = model.route
    try:
        model.route = route
        found = batch("bart").draw(sources, bounds(3), generator(0), old)
    finally:
        model.route = before
    assert torch.equal(found.x, usual.x)
    torch.testing.assert_close(found.log_q, usual.log_q, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.log_q_old, usual.log_q_old, atol=1e-9, rtol=0)


def test_one_source_is_encoded_once_and_draws_do_not_depend_on_the_passes():
    model, rows = lm("t5"), 8
    seen: list[int] = []
    hook = model.model.get_encoder().register_forward_hook(
        lambda module, args, kwargs, out: seen.append(len(out.last_hidden_state)), with_kwargs=True
    )
    sources, usual = model.source_space.encode(["hello b c"] * rows), model.tokens_per_pass
    try:
        together = batch("t5").draw(sources, bounds(rows), generator(0))
        assert seen == [1]
        model.tokens_per_pass = 30
        apart = batch("t5").draw(sources, bounds(rows), generator(0))
        assert len(seen) > 2
    finally:
        hook.remove()
        model.tokens_per_pass = usual
    assert torch.equal(together.x, apart.x)


def test_texts_out_of_bounds_have_no_density():
    model = lm("t5")
    x = model.space.encode(["a", "a b c d e f"])
    sources = model.source_space.encode(["hello", "hello"])
    limits = Bounds(torch.tensor([2, 0]), torch.tensor([6, 5]))
    assert batch("t5").log_prob(sources, x, limits).tolist() == [-torch.inf, -torch.inf]
