"""The last line of a report says what was measured, and nothing of how the texts read."""

import math
import re

import pytest
import torch

from experiments.results import trust
from samplers import Diagnostics, ImportanceSample, RejectionSample, diagnose

NOT_JUDGED = "The texts themselves were not judged."
NAN = math.nan


def chains(r_hat=1.002, ess=5000.0, mean=3.0, *, count=10, kept=1000, compared=10):
    energy = Diagnostics(mean=mean, mcse=0.1, ess_bulk=ess, ess_tail=ess, r_hat=r_hat)
    return trust.about_chains(energy, chains=count, kept=kept, compared=compared)


def weights(ess, k, count=4000):
    some, log_weights = torch.zeros(count), torch.full((count,), math.log(0.001))
    log_weights[5] = math.log(0.75)
    return trust.about_weights(ImportanceSample(some, some, log_weights, 0.0, ess, k))


def rejection(drawn, wanted):
    return trust.about_rejection(RejectionSample(torch.zeros(drawn, 2), torch.zeros(drawn), 100, drawn, 0.0), wanted)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (chains(), "R-hat 1.002 (want 1.01), 5,000 effective draws (want 1,000): the chains agree on the energy."),
        (chains(1.57, 64.9), "R-hat 1.57 (want 1.01), 64 effective draws (want 1,000): the chains do not agree yet; "
                             "give about 16 times the steps."),
        (chains(1.0100001), "R-hat 1.011 (want 1.01), 5,000 effective draws (want 1,000): the chains do not agree "
                            "yet; give about 2 times the steps."),
        (chains(ess=999.9), "R-hat 1.002 (want 1.01), 999 effective draws (want 1,000): the chains agree on the "
                            "energy, and averages are rough; give about 2 times the steps."),
        (chains(6e15, 4.0), "R-hat over 100 (want 1.01), 4 effective draws (want 1,000): the chains do not agree yet; "
                            "give about 250 times the steps."),
        (chains(math.inf, 0.9), "R-hat over 100 (want 1.01), 0 effective draws (want 1,000): the chains do not agree "
                                "yet; give about 1,000 times the steps."),
        (chains(compared=1), "R-hat 1.002 (want 1.01), 5,000 effective draws (want 1,000): the halves of each chain "
                             "agree on the energy."),
        (chains(count=1, compared=1), "R-hat 1.002 (want 1.01), 5,000 effective draws (want 100): the halves of the "
                                      "chain agree on the energy, but one chain does not show what it missed; give "
                                      "more chains."),
        (trust.NO_TARGET_LINE, "No known target: the law of these texts depends on the scan and on when you look."),
        (trust.SEARCH_LINE, "A search, not a sample: the text of the lowest energy that each chain found says nothing "
                            "about how likely others are."),
        (rejection(7, 7), "Independent draws of the target."),
        (rejection(3, 7), "Independent draws of the target, but 3 of 7: the trials ran out; raise steps."),
        (weights(812.34, 0.41), "4,000 weighted draws are worth 812.3 independent ones, Pareto k 0.41 (want 0.7): "
                                "enough for averages."),
        (weights(12.3, 0.41), "4,000 weighted draws are worth 12.3 independent ones, Pareto k 0.41 (want 0.7): "
                              "averages are rough; raise steps."),
        (weights(1.6, 1.93), "4,000 weighted draws are worth 1.6 independent ones, Pareto k 1.93 (want 0.7): this is "
                             "no sample, one draw has 75% of the weight; draw with sampler smc where there is one, or "
                             "with mh, or raise steps."),
        (weights(812.3, 0.81), "4,000 weighted draws are worth 812.3 independent ones, Pareto k 0.81 (want 0.7): "
                               "averages cannot be relied on; raise steps."),
        (weights(4000.0, NAN), "4,000 weighted draws are worth 4,000.0 independent ones, Pareto k could not be fitted: "
                               "how far averages can be relied on is not known."),
    ],
)  # fmt: skip
def test_the_line_says_what_was_measured(line, words):
    assert line == f"{words} {NOT_JUDGED}"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (chains(NAN, NAN, kept=3), "it takes 4 draws a chain, and 3 were kept; raise steps."),
        (chains(NAN, NAN, NAN, kept=0), "it takes 4 draws a chain, and 0 were kept; raise steps."),
        (chains(NAN, NAN, math.inf), "there are draws of infinite energy."),
        (chains(NAN, NAN), "the energy of all chains never changed; raise steps."),
        (chains(NAN, NAN, compared=2), "the energy of all chains of one length never changed; raise steps."),
    ],
)
def test_what_could_not_be_measured_is_said_with_the_reason(line, words):
    assert line == f"Convergence was not measured: {words}"


def test_no_draw_is_no_sample():
    assert rejection(0, 7) == "Nothing was drawn: none of 100 trials was accepted; raise steps."


def test_no_line_speaks_of_quality():
    lines = [chains(), chains(1.5, 3.0), rejection(1, 1), weights(9.0, 0.1), trust.NO_TARGET_LINE, trust.SEARCH_LINE]
    for line in lines:
        assert not re.search(r"good|well|better|best|read|quality|trust", line)


def test_one_stuck_chain_of_four_is_seen():
    energy = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    energy[1] = energy.median()
    line = trust.about_chains(diagnose(energy), chains=4, kept=50, compared=4)
    assert re.match(r"R-hat 1\.5\d \(want 1.01\), 8 effective draws \(want 400\): the chains do not agree yet;", line)
