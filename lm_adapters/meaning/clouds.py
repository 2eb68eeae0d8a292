"""How far two clouds of sentence vectors are apart, each taken for a Gaussian: a diagnosis of two runs or chains."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from samplers import InvalidInput

__all__ = ["CloudDistances", "cloud_distances"]


class CloudDistances(NamedTuple):
    """``kl`` and ``bhattacharyya`` in nats, ``wasserstein`` in the unit of the vectors; 0 for equal clouds."""

    kl: float
    bhattacharyya: float
    wasserstein: float


def cloud_distances(a: Tensor, b: Tensor, *, dims: int = 16, ridge: float = 1e-3) -> CloudDistances:
    """Kullback-Leibler divergence ``KL(a || b)``, Bhattacharyya distance and 2-Wasserstein distance.

    ``a [rows, dim]`` and ``b [rows, dim]`` are vectors, each cloud a Gaussian of its own mean and covariance, in the
    ``dims`` directions in which both together vary most. ``ridge`` of the mean variance is added to both covariances,
    because fewer rows than a few times ``dims`` do not determine one. All three are positive for two samples of one law
    too: compare them with those of two halves of one run. They see means and spreads, no other difference.

    Closed forms: with ``S`` the mean of the covariances and ``d`` the difference of the means,
    ``KL = (tr(Sb^-1 Sa) + d Sb^-1 d - k + log det Sb / det Sa) / 2``, ``B = d S^-1 d / 8 + log(det S / sqrt(det Sa
    det Sb)) / 2``, ``W^2 = |d|^2 + tr(Sa + Sb - 2 (Sa^1/2 Sb Sa^1/2)^1/2)``.

    Raises ``InvalidInput`` for a cloud of fewer than two rows, for vectors of different size, and for clouds in which
    nothing varies.
    """
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1]:
        raise InvalidInput(f"the clouds are {list(a.shape)} and {list(b.shape)}; give [rows, dim] each, of one dim")
    if min(len(a), len(b)) < 2:
        raise InvalidInput(f"the clouds have {len(a)} and {len(b)} vectors; give at least two each")
    a, b = a.double(), b.double()
    both = torch.cat([a, b])
    variances, directions = torch.linalg.eigh(torch.cov(both.T).reshape(both.shape[1], -1))
    kept = directions.flip(1)[:, : min(dims, both.shape[1])]
    scale = variances.flip(0)[: kept.shape[1]].mean()
    if not scale > 0:
        raise InvalidInput("all vectors of both clouds are the same; there is nothing to compare")
    (mean_a, cov_a), (mean_b, cov_b) = (_gaussian(cloud @ kept, ridge * float(scale)) for cloud in (a, b))
    shift, middle = mean_a - mean_b, (cov_a + cov_b) / 2
    log_det_a, log_det_b, log_det = (torch.logdet(cov) for cov in (cov_a, cov_b, middle))
    trace = torch.linalg.solve(cov_b, cov_a).trace()
    kl = (trace + shift @ torch.linalg.solve(cov_b, shift) - len(shift) + log_det_b - log_det_a) / 2
    bhattacharyya = shift @ torch.linalg.solve(middle, shift) / 8 + (log_det - (log_det_a + log_det_b) / 2) / 2
    root = _root(cov_a)
    squared = shift @ shift + (cov_a + cov_b - 2 * _root(root @ cov_b @ root)).trace()
    return CloudDistances(*(max(0.0, float(each)) for each in (kl, bhattacharyya, squared.clamp(min=0).sqrt())))


def _gaussian(cloud: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Mean ``[dim]`` and covariance ``[dim, dim]``, with ``ridge`` added to its diagonal."""
    size = cloud.shape[1]
    return cloud.mean(dim=0), torch.cov(cloud.T).reshape(size, size) + ridge * torch.eye(size, dtype=cloud.dtype)


def _root(matrix: Tensor) -> Tensor:
    """The symmetric square root."""
    values, directions = torch.linalg.eigh(matrix)
    root: Tensor = directions * values.clamp(min=0).sqrt() @ directions.T
    return root
