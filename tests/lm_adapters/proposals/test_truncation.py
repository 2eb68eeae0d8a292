from __future__ import annotations

import math

import pytest
import torch

from lm_adapters import Truncation
from samplers import InvalidInput

LOGITS = torch.tensor([[3.0, 1.0, 2.0, 0.0, 9.0]])
ALLOWED = torch.tensor([True, True, True, True, False])


def kept(truncation: Truncation, logits: torch.Tensor = LOGITS, allowed: torch.Tensor = ALLOWED) -> list[int]:
    return truncation.log_prob(logits, allowed).isfinite()[0].nonzero().squeeze(1).tolist()


def test_plain_is_the_softmax_of_allowed_tokens():
    log_prob = Truncation().log_prob(LOGITS, ALLOWED)
    assert log_prob.dtype == torch.float64
    torch.testing.assert_close(log_prob[0, :4], LOGITS[0, :4].double().log_softmax(0))
    assert log_prob[0, 4] == -math.inf


def test_temperature_divides_the_logits():
    log_prob = Truncation(temperature=0.5).log_prob(LOGITS, ALLOWED)
    torch.testing.assert_close(log_prob[0, :4], (2 * LOGITS[0, :4].double()).log_softmax(0))


@pytest.mark.parametrize(
    ("k", "tokens"), [(1, [0]), (2, [0, 2]), (4, [0, 1, 2, 3]), (5, [0, 1, 2, 3]), (99, [0, 1, 2, 3])]
)
def test_top_k_counts_allowed_tokens(k: int, tokens: list[int]):
    assert kept(Truncation(top_k=k)) == tokens


def test_ties_with_the_last_of_top_k_stay():
    assert kept(Truncation(top_k=2), torch.tensor([[1.0, 2.0, 1.0, 0.0, 9.0]])) == [0, 1, 2]


@pytest.mark.parametrize(
    ("mass", "tokens"), [(0.4, [0]), (0.5, [0, 1]), (0.7, [0, 1]), (0.8, [0, 1, 2]), (1.0, [0, 1, 2, 3])]
)
def test_top_p_is_the_smallest_set_of_that_mass(mass: float, tokens: list[int]):
    """Probabilities 0.45, 0.3, 0.15, 0.1."""
    logits = torch.tensor([[0.45, 0.3, 0.15, 0.1, 9.0]]).log()
    assert kept(Truncation(top_p=mass), logits) == tokens


def test_top_p_comes_after_temperature_and_top_k():
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1, 9.0]]).log()
    assert kept(Truncation(top_p=0.55), logits) == [0, 1]
    assert kept(Truncation(top_p=0.55, top_k=2), logits) == [0]  # 0.4 of 0.7 is 0.57
    assert kept(Truncation(top_p=0.55, temperature=0.5), logits) == [0, 1]  # 0.16 of 0.30 is 0.53
    assert kept(Truncation(top_p=0.52, temperature=0.5), logits) == [0]


def test_what_is_kept_is_normalised():
    logits = torch.randn(50, 30, generator=torch.Generator().manual_seed(0))
    allowed = torch.arange(30) % 3 > 0
    for truncation in (
        Truncation(),
        Truncation(0.3),
        Truncation(top_k=4),
        Truncation(top_p=0.6),
        Truncation(2.0, 7, 0.9),
    ):
        log_prob = truncation.log_prob(logits, allowed)
        torch.testing.assert_close(log_prob.exp().sum(dim=1), torch.ones(50, dtype=torch.float64))
        assert not log_prob[:, ~allowed].isfinite().any()


def test_rows_do_not_depend_on_each_other():
    logits = torch.randn(8, 30, generator=torch.Generator().manual_seed(0))
    truncation, allowed = Truncation(0.7, 9, 0.8), torch.ones(30, dtype=torch.bool)
    alone = torch.cat([truncation.log_prob(row.unsqueeze(0), allowed) for row in logits])
    assert torch.equal(truncation.log_prob(logits, allowed), alone)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("temperature", value) for value in (0.0, -1.0, math.nan, math.inf)),
        *(("top_k", value) for value in (0, -3)),
        *(("top_p", value) for value in (0.0, -0.1, 1.5, math.nan)),
    ],
)
def test_unusable_values_are_named(name: str, value: float):
    with pytest.raises(InvalidInput, match=rf"{name} is {value}; give"):
        Truncation(**{name: value})
