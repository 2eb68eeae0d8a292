"""``mcmc-text benchmark --kernels``: that all kernels run, and that what they read is counted. No figure is tested."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from experiments.benchmark import command
from experiments.benchmarking import kernels as module
from experiments.benchmarking import models as making
from experiments.benchmarking.kernels import AnySite, kernel_lines
from samplers.testing import check_proposal, enumerate_states
from tests.experiments.tiny_models import tiny_models


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "STEPS", 12)
    monkeypatch.setattr(module, "CHAINS", 3)
    monkeypatch.setattr(module, "TEXT_CHAINS", 2)
    monkeypatch.setattr(module, "TEXT_STEPS", 16)


def test_the_proposal_of_all_changes_is_symmetric():
    check_proposal(AnySite(3), enumerate_states(3, 2))


def test_what_is_read_is_counted():
    lines = {(line.task, line.kernel): line for line in kernel_lines(None)}
    sites, values, classes = module.SITES, module.VALUES, module.CLASSES
    assert 0 < lines["lattice", "MetropolisHastings"].tokens <= sites * 13 / 12  # and the start
    assert lines["lattice", "Gibbs"].tokens == pytest.approx(sites * (values + 1 / 12))
    assert lines["hidden", "Gibbs"].tokens == pytest.approx(classes * sites * (values + 1 / 12))
    assert lines["hidden", "PseudoMarginal, 4"].tokens < lines["hidden", "PseudoMarginal, 16"].tokens
    assert all(line.ess_per_million_tokens == pytest.approx(line.ess * 1e6 / line.tokens / line.steps / 3, nan_ok=True)
               for line in lines.values())  # fmt: skip


def test_the_command_prints_a_line_for_each_kernel_of_each_task(monkeypatch: pytest.MonkeyPatch):
    made = making.Models("embedded", tiny_models().load)
    monkeypatch.setattr(making, "make_models", lambda kind, **options: made)
    found = CliRunner().invoke(command, ["--kernels", "--json"], catch_exceptions=False)
    lines = [json.loads(line) for line in found.output.splitlines()]
    assert {line["task"] for line in lines} == {"lattice", "hidden", "text"}
    assert {"MultipleTry, 4", "LocallyInformed, 32", "DelayedAcceptance"} <= {line["kernel"] for line in lines}
    assert all(line["tokens"] > 0 for line in lines)


def test_an_estimate_of_a_class_is_unbiased():
    task = module.hidden(0)
    kernel = task.kernels["PseudoMarginal, 1"][0]
    middle = torch.special.ndtri((torch.arange(module.CLASSES) + 0.5) / module.CLASSES).double()
    noise = middle.reshape(1, -1, 1).expand(len(task.x0), -1, 1)
    each = kernel.estimate(task.x0, noise)
    cheap = task.kernels["PseudoMarginal, 1"][1](task.x0)
    summed = cheap - (-each).logsumexp(dim=1)  # over all classes, each of them once
    assert torch.allclose(summed, task.law(task.x0), rtol=0, atol=1e-9)
