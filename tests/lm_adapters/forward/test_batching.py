"""Rows are cut into passes that hold them all once, within the budget, and no more passes than needed."""

from __future__ import annotations

import pytest
import torch

from lm_adapters.forward.batching import passes

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
