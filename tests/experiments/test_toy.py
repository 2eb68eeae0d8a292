from __future__ import annotations

import pytest

from experiments.toy import enumerate_exactly, toy
from samplers import InvalidInput


@pytest.fixture(scope="module")
def rows():
    return toy(lengths=(2, 4, 6), draws=1000)


def test_every_sampler_agrees_with_the_exact_answer(rows):
    for row in rows:
        if row.sampler == "annealing":
            assert row.estimate == pytest.approx(row.exact)
        else:
            assert abs(row.estimate - row.exact) < 5 * row.error, row


def test_global_proposals_pay_exponentially_and_chains_do_not(rows):
    cost = {(row.sampler, row.length): row.rows_per_draw for row in rows}
    for sampler in ("rejection", "importance"):
        assert cost[sampler, 6] / cost[sampler, 4] > 3
    for sampler in ("Metropolis-Hastings", "Gibbs"):
        assert cost[sampler, 6] / cost[sampler, 4] < 3


def test_exact_answer_of_one_word_by_hand():
    import math

    weights = [math.exp(-e) for e in (0.5, 1.0, 3.0 - 1.0, 3.0, 4.0, 4.0)]
    cats, lowest = enumerate_exactly(1)
    assert cats == pytest.approx(weights[2] / sum(weights))
    assert lowest == 0.5


@pytest.mark.parametrize(("arguments", "message"), [({"lengths": (9,)}, "1 to 8"), ({"draws": 5}, "at least 100")])
def test_bad_input(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        toy(**arguments)
