"""Transition matrices ``P``, ``float64 [from, to]``, and facts about them."""

from __future__ import annotations

import math
from functools import reduce

import torch
from torch import Tensor

from samplers.kernels.hooks import Space, step_matrices
from samplers.testing.spaces import ladder
from samplers.types import Kernel

__all__ = [
    "detailed_balance_error",
    "invariance_error",
    "is_primitive",
    "spectral_gap",
    "stationary_law",
    "transition_matrix",
]

GELFAND = 64  # power of a matrix, whose norm tells the largest eigenvalue


def transition_matrix(kernel: Kernel, space: Space, beta: float = 1.0) -> Tensor:
    """Of one step, or of a whole round of a kernel that takes turns; for ``Tempered`` on the joint space.

    Raises ``MissingHook``, an ``InvalidInput``, for a kernel without ``step_matrix``.
    """
    ladder(kernel)  # refuses a kernel that has no joint space
    return reduce(torch.matmul, step_matrices(kernel, space, beta).unbind())


def invariance_error(matrix: Tensor, law: Tensor) -> float:
    """``max |pi P - pi|`` for ``pi = law [states]``."""
    return float((law @ matrix - law).abs().max())


def detailed_balance_error(matrix: Tensor, law: Tensor) -> float:
    """``max |pi_i P_ij - pi_j P_ji|``."""
    flow = law.unsqueeze(1) * matrix
    return float((flow - flow.T).abs().max())


def is_primitive(matrix: Tensor) -> bool:
    """Some power of ``P`` has no zero: irreducible and aperiodic. Wielandt 1950: power ``n^2 - 2n + 2`` decides."""
    size = len(matrix)
    reach, power = (matrix > 0).double(), 1
    while power < size**2 - 2 * size + 2:
        reach, power = (reach @ reach > 0).double(), 2 * power
    return bool((reach > 0).all())


def spectral_gap(matrix: Tensor) -> float:
    """``1 - |lambda_2|``; a little less (Gelfand's formula) for a matrix whose eigenvalues cannot be computed.

    That is so where many of them are 0, as for a rung that is drawn anew.
    """
    try:
        sizes = torch.linalg.eigvals(matrix).abs().sort(descending=True).values
    except RuntimeError:
        rest = torch.linalg.matrix_power(matrix - stationary_law(matrix), GELFAND)
        return 1.0 - math.pow(float(torch.linalg.matrix_norm(rest)), 1 / GELFAND)
    return 1.0 - float(sizes[1]) if len(sizes) > 1 else 1.0


def stationary_law(matrix: Tensor) -> Tensor:
    """``float64 [states]``: the one law with ``pi P = pi`` of an irreducible chain."""
    size = len(matrix)
    equations = torch.cat([matrix.T - torch.eye(size, dtype=torch.float64), torch.ones(1, size, dtype=torch.float64)])
    right = torch.zeros(size + 1, dtype=torch.float64)
    right[-1] = 1.0
    solution: Tensor = torch.linalg.lstsq(equations, right.unsqueeze(1)).solution
    return solution.squeeze(1)
