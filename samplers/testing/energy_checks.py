"""What samplers rely on when they call an energy, checked on states of yours."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from samplers.energy.candidates import replaced
from samplers.energy.evaluation import evaluate, evaluate_candidates
from samplers.energy.terms import EnergyTerm, term_names
from samplers.errors import EnergyError, InvalidInput
from samplers.testing.report import Report, Result
from samplers.types import Energy

__all__ = ["check_energy"]

TOLERANCE = 1e-4
ALONE = 32
COARSE = (torch.float16, torch.bfloat16)

TITLES = {
    "values": "one real number for each state, neither NaN nor -inf, and not all of them +inf",
    "argument": "the states given are not written into",
    "repeat": "the same states get the same energies again",
    "reversed": "the order of the batch changes nothing",
    "half": "the other states of the batch change nothing",
    "alone": "a state scored alone gets the same energy",
    "random state": "torch's, NumPy's and Python's global random states are not used",
    "candidates": "candidates at a site get the energies of the whole states",
    "lower_bound": "no energy lies below lower_bound",
    "is_constraint": "a constraint is 0 or +inf everywhere",
}


def check_energy(energy: Energy, x: Tensor, *, tolerance: float = TOLERANCE) -> Report:
    """Check an energy before it is trusted in a run::

        check_energy(my_energy, enumerate_states(values=4, sites=3))
        print(check_energy(my_energy, space.encode(texts)))      # what was checked

    Main arguments
        ``energy``, any callable ``x [chains, ...] -> [chains]`` in nats; ``x``, two or more different states, as unlike
        each other as the chains of a run may be.
    Other arguments
        ``tolerance``: nats by which an energy may change with its batch, for the rounding of a model.
    Returns
        a ``Report``. Chains are independent and a trace is reproducible only if a state's energy depends on nothing but
        the state: it is scored with the others, in reverse, with half of the others, alone, and again. What an
        ``EnergyTerm`` declares (``lower_bound``, ``is_constraint``, its own ``candidate_values``) is compared with its
        values.
    Raises
        ``BatteryFailed`` when a check fails, with the report as ``report``; ``InvalidInput`` for fewer than two states.
    """
    if x.dim() == 0 or len(x) < 2:
        raise InvalidInput("x has fewer than two states; give states [chains, ...] that differ from each other")
    name = " + ".join(term_names(energy))
    found = {"values": _value_faults(energy, x)}
    if found["values"]:
        return _report(name, found, [])
    random_states = _random_states()
    values = evaluate(energy, x).energy
    results = [_comparison(test, name, rows, values, score, tolerance) for test, rows, score in _otherwise(energy, x)]
    found["argument"] = _argument_faults(energy, x)
    changed = [where for where, state in _random_states().items() if state != random_states[where]]
    found["random state"] = [f"{where} was used" for where in changed]
    if isinstance(energy, EnergyTerm):
        found |= _declaration_faults(energy, x, values, tolerance)
    return _report(name, found, results)


def _report(name: str, found: dict[str, list[str]], results: list[Result]) -> Report:
    exact = [Result(test, name, len(faults), 0.0, "; ".join(faults[:3])) for test, faults in found.items()]
    return Report(name, exact + results, titles=TITLES).checked()


def _value_faults(energy: Energy, x: Tensor) -> list[str]:
    try:
        values = evaluate(energy, x).energy
    except EnergyError as error:
        return [str(error)]
    dtype = energy(x.clone()).dtype
    if dtype is torch.bool or dtype.is_complex:
        return [f"returned {dtype}; return real numbers"]
    if dtype in COARSE:
        return [f"returned {dtype}, too coarse to compare states by; convert to float32 before adding anything up"]
    return ["all states given are forbidden; give some that are not"] if bool((values == math.inf).all()) else []


def _otherwise(energy: Energy, x: Tensor) -> Iterator[tuple[str, Tensor, Callable[[], Tensor]]]:
    """Name, rows of ``x``, and how to score these rows in another way."""
    every = torch.arange(len(x), device=x.device)
    half, few = every[::2], every[:ALONE]
    yield "reversed", every, lambda: evaluate(energy, x.flip(0)).energy.flip(0)
    yield "half", half, lambda: evaluate(energy, x[half]).energy
    yield "alone", few, lambda: torch.cat([evaluate(energy, row.unsqueeze(0)).energy for row in x[few]])
    yield "repeat", every, lambda: evaluate(energy, x).energy


def _comparison(
    test: str, name: str, rows: Tensor, values: Tensor, score: Callable[[], Tensor], tolerance: float
) -> Result:
    try:
        other = score()
    except EnergyError as error:
        return Result(test, name, math.inf, tolerance, str(error))
    wanted = values[rows]
    differences = torch.where(other == wanted, 0.0, (other - wanted).abs())
    worst = int(differences.argmax())
    detail = f"row {int(rows[worst])}: {float(wanted[worst]):.6g} nats in the batch, {float(other[worst]):.6g} so"
    return Result(test, name, float(differences[worst]), tolerance, detail if float(differences[worst]) else "")


def _argument_faults(energy: Energy, x: Tensor) -> list[str]:
    given = x.clone()
    energy(given)
    return [] if torch.equal(given, x) else ["the states are not those that were given; compute on a copy"]


def _declaration_faults(term: EnergyTerm, x: Tensor, values: Tensor, tolerance: float) -> dict[str, list[str]]:
    found = {}
    lowest = float(values.min())
    if term.lower_bound > -math.inf:
        low = lowest < term.lower_bound - tolerance
        found["lower_bound"] = [f"{lowest:.6g} nats lie below lower_bound {term.lower_bound:.6g}"] if low else []
    if term.is_constraint:
        other = values[(values != 0) & (values != math.inf)]
        found["is_constraint"] = [f"{float(other[0]):.6g} is neither 0 nor +inf"] if len(other) else []
    if x.dim() == 2:
        sites = torch.arange(len(x), device=x.device) % x.shape[1]
        choice = torch.stack([x.roll(shift, 0).gather(1, sites.unsqueeze(1)).squeeze(1) for shift in (0, 1)], dim=1)
        whole = evaluate(term, replaced(x, sites, choice)).energy
        shared = evaluate_candidates(term, x, sites, choice, max_rows=len(x)).energy.flatten()
        gap = float(torch.where(shared == whole, 0.0, (shared - whole).abs()).max())
        found["candidates"] = [] if gap <= tolerance else [f"{gap:.6g} nats from values of the whole states"]
    return found


def _random_states() -> dict[str, bytes]:
    """The global random states."""
    numpy_state = np.random.get_state(legacy=False)
    return {
        "torch's random state": torch.random.get_rng_state().numpy().tobytes(),
        "NumPy's random state": repr(numpy_state).encode(),
        "Python's random state": repr(random.getstate()).encode(),
    }
