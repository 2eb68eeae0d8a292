"""T8: chains are independent of each other. T11: changes that must not change the draws do not."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from samplers.kernels.compose import Cycle
from samplers.kernels.tempering import Tempered
from samplers.randomness import generator
from samplers.run.chains import iterate
from samplers.run.trace import Trace
from samplers.testing.cases import Case
from samplers.testing.gates import T_GATE
from samplers.testing.report import Result
from samplers.testing.simulate import DRAWS
from samplers.testing.spaces import ladder
from samplers.testing.targets import Enumerated
from samplers.types import Kernel

__all__ = ["check_independence", "check_invariances"]

CHAINS = 512
STEPS = 32
LONG = 200
OTHERS = 4  # starts that the first chain is given instead
CONSTANT = 64.0


def check_independence(case: Case, seed: int = 0, draws: int = DRAWS) -> list[Result]:
    """T8: from one start no two chains are equal, their energies are uncorrelated; no chain sees another's start."""
    x0 = case.target.states[int(case.target.energies.argmin())].expand(CHAINS, -1).clone()
    trace = _run(case, case.kernel, case.target, x0, seed, steps=LONG)
    repeats = CHAINS - len(trace.draws.flatten(1).unique(dim=0))
    crosstalk = 0
    for start in _least_likely(case.target):
        other = torch.cat([start.unsqueeze(0), x0[1:]])
        run = _run(case, case.kernel, case.target, other, seed)
        crosstalk |= int(not _same(run.draws[1:], trace.draws[1:, :STEPS]))
    found = f"{repeats} chains equal another" + (", chains depend on another's start" if crosstalk else "")
    broken = Result("T8", case.name, repeats + crosstalk, 0.0, found)
    if not case.ergodic:
        return [broken]
    law = case.target.probabilities()
    mean = float((law[law > 0] * case.target.energies[law > 0]).sum())
    centred = trace.energy[:, LONG // 2 :] - mean
    products = (centred[0::2] * centred[1::2]).mean(dim=1)  # of disjoint pairs: 256 independent values
    t = float(products.mean() / products.std()) * math.sqrt(len(products))
    return [broken, Result("T8", case.name, abs(t), T_GATE, "correlation of energies")]


def check_invariances(case: Case, seed: int = 0, draws: int = DRAWS) -> list[Result]:
    """T11: the same draws with a constant added to the energy, inside a ``Tempered`` of one rung or a ``Cycle`` of one.

    At ``beta = inf`` the energy never rises; a proposal that is the target is always accepted.
    """
    grid = case.target.on_grid()
    x0 = grid.sample(CHAINS, generator(seed, stream="starts"))
    plain = _run(case, case.kernel, grid, x0, seed)
    shifted = _run(case, case.kernel, grid.shifted(CONSTANT), x0, seed)
    one_rung = _run(case, Tempered(case.kernel, [1.0]), grid, x0, seed)
    one_part = _run(case, Cycle([case.kernel]), grid, x0, seed)
    broken = []
    if not (_same(shifted.draws, plain.draws) and _same(shifted.energy, plain.energy + CONSTANT)):
        broken.append("a constant added to the energy changes the draws")
    if not _same(one_rung.draws, plain.draws):
        broken.append("Tempered with one rung changes the draws")
    if not _same(one_part.draws, plain.draws):
        broken.append("a Cycle of this one kernel changes the draws")
    if case.betas != (1.0,) and not _never_rises(case, x0, seed):
        broken.append("the energy rises at beta = inf")
    if case.proposal_is_target and _run(case, case.kernel, case.target, x0, seed).acceptance < 1:
        broken.append("a proposal that is the target is rejected")
    return [Result("T11", case.name, len(broken), 0.0, ", ".join(broken))]


def _run(case: Case, kernel: Kernel, target: Enumerated, x0: Tensor, seed: int, steps: int = STEPS) -> Trace:
    return case.driver(kernel, target.energy, x0, steps=steps, seed=seed, shard_size=len(x0), progress=False)


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a, b)


def _never_rises(case: Case, x0: Tensor, seed: int) -> bool:
    """Whether no energy rises at ``beta = inf``; true of a ladder with a rung at 0, which has no such limit."""
    if 0.0 in ladder(case.kernel):
        return True
    last = case.target.energy(x0)
    run = iterate(case.kernel, case.target.energy, x0, steps=STEPS, rng=generator(seed), beta=math.inf)
    for _, state, _ in run:
        if bool((state.energy > last).any()):
            return False
        last = state.energy
    return True


def _least_likely(target: Enumerated) -> Tensor:
    """``[OTHERS, sites]`` allowed states, at most; from one alone a chain may chance to be accepted as before."""
    energies = target.energies[target.energies < math.inf]
    return target.states[target.energies < math.inf][energies.topk(min(OTHERS, len(energies))).indices]
