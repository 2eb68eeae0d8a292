"""Strongly asymmetric proposals: with a nearly symmetric one a missing Hastings correction would be invisible."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from samplers.randomness import categorical, repeated
from samplers.testing.targets import Enumerated
from samplers.types import Proposal, Proposed

__all__ = [
    "Relabelled",
    "RememberingProposal",
    "SiteProposal",
    "TabularDistribution",
    "TabularProposal",
    "TabularShortlist",
    "dirichlet_table",
    "independence_table",
]

CONCENTRATION = 0.7


def dirichlet_table(*shape: int, seed: int) -> Tensor:
    """``float64 shape``: rows along the last dimension drawn from Dirichlet(0.7), so they add up to 1."""
    rows = np.random.default_rng(seed).dirichlet([CONCENTRATION] * shape[-1], size=shape[:-1])
    rows = np.maximum(rows, 1e-4)
    return torch.from_numpy(rows / rows.sum(axis=-1, keepdims=True))


def independence_table(states: int, *, seed: int) -> Tensor:
    """``float64 [states, states]``: one Dirichlet(0.7) row for every old state."""
    return dirichlet_table(states, seed=seed).expand(states, states).contiguous()


class TabularProposal:
    """``q(x'|x)`` read from ``table float64 [states, states]`` (old, new) over the states of ``space``.

    ``move_name`` names the move, so that compositions can tell their parts apart.
    """

    def __init__(self, space: Enumerated, table: Tensor, move_name: str = "table") -> None:
        self.space, self.log_table, self.move_names = space, table.log(), (move_name,)

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        old = self.space.index(x)
        new = categorical(self.log_table[old], rng)
        return Proposed(self.space.states[new], self.log_table[old, new], self.log_table[new, old])

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        return self.log_table[self.space.index(x_from), self.space.index(x_to)]


class TabularDistribution:
    """``q(x)`` read from ``probabilities float64 [states]`` over the states of ``space``."""

    def __init__(self, space: Enumerated, probabilities: Tensor) -> None:
        self.space, self.log_probabilities = space, probabilities.log()

    def sample(self, sample_shape: torch.Size) -> Tensor:
        return self.space.states[repeated(self.log_probabilities, sample_shape.numel(), torch.default_generator)]

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_probabilities[self.space.index(value)]


class RememberingProposal(TabularProposal):
    """As ``TabularProposal``, but the number of the old state is what its memory says."""

    def memory(self, x: Tensor) -> Tensor:
        """``float64 [chains, 1]``."""
        return self.space.index(x).double().unsqueeze(1)

    def __call__(self, x: Tensor, rng: torch.Generator, memory: Tensor | None = None) -> Proposed:
        known = self.memory(x) if memory is None else memory
        proposed = super().__call__(self.space.states[known.squeeze(1).long()], rng)
        return replace(proposed, memory=self.memory(proposed.x))


class SiteProposal:
    """Pick a site, redraw its value from ``tables float64 [sites, values, values]`` (site, old, new).

    Sites are picked with the fixed weights ``float64 [sites]``, uniform by default. With ``keep`` each row is cut to
    its ``keep`` likeliest values and renormalised, as top-k does: a move may then have no reverse (``-inf``).
    """

    move_names = ("site",)

    def __init__(self, tables: Tensor, *, weights: Tensor | None = None, keep: int | None = None) -> None:
        if keep is not None:
            cut = tables.topk(keep, dim=-1).values[..., -1:]
            tables = torch.where(tables >= cut, tables, 0.0)
            tables = tables / tables.sum(dim=-1, keepdim=True)
        sites = len(tables)
        weights = torch.full((sites,), 1.0, dtype=torch.float64) if weights is None else weights
        self.tables, self.weights = tables, weights / weights.sum()

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        site = categorical(self.weights.log().expand(len(x), -1), rng)
        rows = torch.arange(len(x))
        new = x.clone()
        new[rows, site] = categorical(self.tables[site, x[rows, site]].log(), rng)
        return Proposed(new, self.log_prob(new, x), self.log_prob(x, new))

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        """A state equal to the old one can come from every site, so their probabilities add up."""
        anywhere = torch.zeros(len(x_to), dtype=torch.float64)
        where_changed, changes = anywhere.clone(), anywhere.clone()
        for site, (weight, table) in enumerate(zip(self.weights, self.tables, strict=True)):
            move = weight * table[x_from[:, site], x_to[:, site]]
            changed = (x_to[:, site] != x_from[:, site]).double()
            anywhere += move
            where_changed += move * changed
            changes += changed
        return torch.where(changes == 0, anywhere, where_changed.masked_fill(changes > 1, 0.0)).log()


class TabularShortlist:
    """For each site and each content of the others, ``size`` of ``values`` values drawn at random, in random order."""

    def __init__(self, values: int, sites: int, size: int, *, seed: int) -> None:
        rng = torch.Generator().manual_seed(seed)
        keys = torch.rand(sites, values**sites, values, dtype=torch.float64, generator=rng)
        self.lists, self.size = keys.argsort(dim=2)[..., :size], size
        self.places = values ** torch.arange(sites)

    def __call__(self, x: Tensor, site: Tensor) -> Tensor:
        context = x.scatter(1, site.unsqueeze(1), 0)
        return self.lists[site, (context * self.places).sum(dim=1)]


class Relabelled:
    """``inner`` for states whose values were renamed: value ``v`` here is ``names[v]`` there."""

    def __init__(self, inner: Proposal, names: Tensor) -> None:
        self.inner, self.names, self.back = inner, names, names.argsort()
        self.move_names: tuple[str, ...] = getattr(inner, "move_names", (type(inner).__name__,))

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        proposed = self.inner(self.names[x], rng)
        return replace(proposed, x=self.back[proposed.x])

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        return self.inner.log_prob(self.names[x_to], self.names[x_from])
