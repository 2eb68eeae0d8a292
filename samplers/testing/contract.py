"""T0: what every kernel promises at each step, whatever it samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from samplers.energy.terms import CallCounter
from samplers.kernels.compose import Cycle, Mixture
from samplers.kernels.gibbs import Gibbs, PseudoGibbs
from samplers.kernels.metropolis import MetropolisHastings
from samplers.kernels.shortlist_gibbs import ShortlistGibbs
from samplers.kernels.tempering import Tempered
from samplers.randomness import generator
from samplers.testing.cases import Case
from samplers.testing.gates import Result
from samplers.testing.proposals import TabularShortlist
from samplers.testing.simulate import DRAWS
from samplers.testing.spaces import ladder, replicas
from samplers.types import ChainState, Energy, Kernel, StepInfo

__all__ = ["allowed_costs", "check_contract"]

CHAINS = 64
STEPS = 12


def check_contract(case: Case, seed: int = 0, draws: int = DRAWS) -> list[Result]:
    """T0: shapes and types, no write into the old state, exact cached energy, honest info, calls, no global random."""
    rng, energy = generator(seed, 3), CallCounter(case.target.energy)
    state = case.kernel.init(case.target.sample(CHAINS, rng), energy)
    broken = [f"init: {problem}" for problem in _state_problems(case, state, energy)]
    before_all = torch.random.get_rng_state()
    for step in range(STEPS):
        before, energy.calls, energy.rows = _copied(state), 0, 0
        after, info = case.kernel.step(state, energy, rng)
        cost = (energy.calls, energy.rows)
        problems = _state_problems(case, after, energy) + _info_problems(case.kernel, before, after, info)
        if not _equal(before, state):
            problems.append("wrote into the old state")
        if cost not in (allowed := allowed_costs(case.kernel, CHAINS)):
            problems.append(f"(calls, rows) of the energy {cost}, not in {sorted(allowed)}")
        broken += [f"step {step}: {problem}" for problem in problems]
        state = after
    if not torch.equal(before_all, torch.random.get_rng_state()):
        broken.append("used the global random state")
    return [Result("T0", case.name, len(broken), 0.0, "; ".join(broken[:3]))]


def allowed_costs(kernel: Kernel, chains: int) -> set[tuple[int, int]]:
    """What one step may ask of the energy: pairs of calls and rows."""
    if isinstance(kernel, Cycle | Mixture):
        return set().union(*(allowed_costs(part, chains) for part in kernel.parts))
    if isinstance(kernel, Tempered):
        return allowed_costs(kernel.kernel, chains * len(kernel.betas))
    if isinstance(kernel, Gibbs):
        rows = chains * len(kernel.values)
        return {(-(-rows // kernel.max_rows), rows)}
    if isinstance(kernel, ShortlistGibbs) and isinstance(kernel.shortlist, TabularShortlist):
        counts = range(chains * kernel.shortlist.size + 1)  # chains that stay cost none
        return {(-(-count // kernel.max_rows), count) for count in counts}
    if isinstance(kernel, MetropolisHastings):
        return {(min(1, rows), rows) for rows in range(chains + 1)}  # chains that are not to move cost none
    if isinstance(kernel, PseudoGibbs):
        return {(1, chains)}
    raise TypeError(f"say in allowed_costs what a step of {type(kernel).__name__} costs")


def _state_problems(case: Case, state: ChainState, energy: Energy) -> list[str]:
    problems, chains = [], len(state.x)
    if state.x.shape != (CHAINS, case.target.states.shape[1]) or state.x.dtype != case.target.states.dtype:
        problems.append(f"states are {state.x.dtype} {list(state.x.shape)}")
    if state.energy.dtype != torch.float64 or state.energy.shape != (chains,):
        problems.append(f"energies are {state.energy.dtype} {list(state.energy.shape)}")
    if state.terms.dtype != torch.float64 or not torch.equal(state.terms.sum(dim=1), state.energy):
        problems.append("terms do not add up to the energy")
    if not torch.equal(state.energy, energy(state.x)):
        problems.append("the cached energy is not the energy of the state")
    hot = _values_at_hot_rungs(case.kernel, state)
    if hot is not None and not torch.equal(hot, energy(torch.cat(replicas(case.kernel, state)))):
        problems.append("the cached energy of a replica is not its energy")
    return problems


def _info_problems(kernel: Kernel, before: ChainState, after: ChainState, info: StepInfo) -> list[str]:
    problems, chains = [], len(before.x)
    for name, dtype in (("accepted", torch.bool), ("changed", torch.bool), ("move", torch.int64)):
        value = getattr(info, name)
        if value.dtype != dtype or value.shape != (chains,):
            problems.append(f"info.{name} is {value.dtype} {list(value.shape)}")
    if not torch.equal(info.changed, (after.x != before.x).any(dim=1)):
        problems.append("info.changed is not what changed")
    if bool((info.changed & ~info.accepted).any()) and len(ladder(kernel)) == 1:
        problems.append("a state changed without acceptance")
    if bool(((info.move < 0) | (info.move >= len(kernel.move_names))).any()):
        problems.append("info.move is out of range")
    return problems


def _values_at_hot_rungs(kernel: Kernel, state: ChainState) -> Tensor | None:
    if isinstance(kernel, Tempered) and len(kernel.betas) > 1:
        value = state.aux["energy"]
        return value if isinstance(value, Tensor) else None
    return None


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, ChainState):
        return ChainState(*(_copied(part) for part in value))
    return {key: _copied(part) for key, part in value.items()}


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    return all(_equal(x, y) for x, y in zip(a, b, strict=True))
