"""T0: what every kernel promises of each step, whatever it samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from samplers.energy.terms import CallCounter
from samplers.kernels.hooks import MissingHook, step_cost
from samplers.randomness import generator
from samplers.testing.cases import Case
from samplers.testing.report import Result
from samplers.testing.simulate import DRAWS
from samplers.testing.spaces import hidden, ladder
from samplers.types import ChainState, Energy, Kernel, StepInfo

__all__ = ["check_contract"]

CHAINS = 64
STEPS = 12


def check_contract(case: Case, seed: int = 0, draws: int = DRAWS) -> list[Result]:
    """T0: shapes and types; the old state is not written into; a state's energies are those of its ``x``, bit for bit.

    ``StepInfo`` is true, the energy is not asked for more than ``cost`` says, and no global random state is used.
    """
    rng, energy = generator(seed, stream="contract"), CallCounter(case.target.energy)
    state = case.kernel.init(case.target.sample(CHAINS, rng), energy)
    broken = [f"init: {problem}" for problem in _state_problems(case, state, energy)]
    most_calls, most_rows, remark = _cost_limit(case.kernel, state.x)
    before_all = torch.random.get_rng_state()
    for step in range(STEPS):
        before, energy.calls, energy.rows = _copied(state), 0, 0
        after, info = case.kernel.step(state, energy, rng)
        calls, rows = energy.calls, energy.rows
        problems = _state_problems(case, after, energy) + _info_problems(case.kernel, before, after, info)
        if not _equal(before, state):
            problems.append("wrote into the old state")
        if calls > most_calls or rows > most_rows:
            problems.append(f"{calls} calls of the energy with {rows} rows, more than {most_calls} with {most_rows}")
        broken += [f"step {step}: {problem}" for problem in problems]
        state = after
    if not torch.equal(before_all, torch.random.get_rng_state()):
        broken.append("used the global random state")
    return [Result("T0", case.name, len(broken), 0.0, "; ".join(broken[:3]) or remark)]


def _cost_limit(kernel: Kernel, x: Tensor) -> tuple[float, float, str]:
    """The most calls and rows of the energy in one step, and a remark where they are not known."""
    try:
        return *step_cost(kernel, x), ""
    except MissingHook as error:
        return math.inf, math.inf, f"calls of the energy not checked: {error}"


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
    copies = hidden(case.kernel, state)
    if copies is not None and not torch.equal(copies["energy"], energy(copies["x"])):
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
