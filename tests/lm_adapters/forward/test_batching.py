"""Rows are cut into passes that hold them all once, within the budget, and no more passes than needed."""

from __future__ import annotations

import pytest
import torch

from lm_adapters.forward.batching import check_tokens_per_pass, passes

WIDTHS = torch.tensor([3, 9, 4, 4, 7, 1, 9, 2])


@pytest.mark.parametrize("budget", [1, 7, 20, 40, 10**6])
def test_every_row_once_within_the_budget(budget: int):
    cut = list(passes(WIDTHS, budget))
    assert sorted(torch.cat(cut).tolist()) == list(range(len(WIDTHS)))
    sizes = [len(rows) * int(WIDTHS[rows].max()) for rows in cut]
    assert all(size <= budget or len(rows) == 1 for size, rows in zip(sizes, cut, strict=True))
    assert len(cut) == {1: len(WIDTHS), 10**6: 1}.get(budget, len(cut))


def test_rows_of_like_width_go_together():
    assert [WIDTHS[rows].tolist() for rows in passes(WIDTHS, 18)] == [[1, 2, 3, 4], [4, 7], [9, 9]]


def test_no_rows_no_pass():
    assert list(passes(WIDTHS[:0], 10)) == []


@pytest.mark.parametrize(
    ("hidden_size", "tokens"), [(16, 4096), (64, 4096), (256, 2048), (320, 1638), (768, 1024), (4096, 1024)]
)
def test_a_pass_holds_fewer_tokens_of_a_wider_model(hidden_size: int, tokens: int):
    cpu, other = torch.device("cpu"), torch.device("meta")
    assert check_tokens_per_pass(None, cpu, hidden_size) == tokens
    assert check_tokens_per_pass(None, other, hidden_size) == 65536
    assert check_tokens_per_pass(7, cpu, hidden_size) == 7
