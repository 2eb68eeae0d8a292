"""Gibbs sampling: exact, by enumerating the values of one site; and pseudo-Gibbs, which has no known target."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from samplers.config import Configurable
from samplers.energy.candidates import replaced
from samplers.energy.evaluation import evaluate, evaluate_candidates
from samplers.energy.terms import Evaluation
from samplers.errors import InvalidInput, ProposalError
from samplers.kernels.hooks import Space, draw_alone, proposal_matrix
from samplers.kernels.metropolis import check_proposed, check_states, start, step_info
from samplers.randomness import categorical, draw_site, nth_site
from samplers.types import ChainState, Energy, Proposal, StepInfo, select

__all__ = ["Gibbs", "PseudoGibbs"]

Scan = Literal["random", "systematic"]


class Gibbs(Configurable):
    """Redraw one site from its exact conditional, computed by scoring every value that the site may take.

    Target
        ``pi(x)`` proportional to ``exp(-beta E(x))``, on states whose free sites hold the given ``values``.
    Acceptance ratio
        1: the conditional cancels.
    Reversible
        with ``scan="random"`` (each chain draws its own site) yes; with ``"systematic"`` (sites in turn) each step
        leaves the target invariant and is reversible, but the sequence of steps is not.
    Proof
        Geman & Geman 1984, IEEE PAMI 6, section XI: ``pi(x_i | x_-i) pi(x'_i | x_-i) pi(x_-i)`` is symmetric.
    Cost
        one energy call of ``chains * len(values)`` rows a step, cut into calls of at most ``max_rows`` rows.

    Main arguments: ``values``, a number ``V`` for ``0..V-1`` or an ``int64 [values]`` tensor. Other arguments:
    ``free(x) -> bool [chains, sites]`` says which sites may change (default: all); it must not depend on what the
    free sites hold, which is checked at each step.

    Raises ``InvalidInput`` for unusable arguments, ``ProposalError`` when ``free`` depends on the value redrawn.
    """

    move_names: tuple[str, ...] = ("gibbs",)

    def __init__(
        self,
        values: int | Tensor,
        *,
        scan: Scan = "random",
        free: Callable[[Tensor], Tensor] | None = None,
        max_rows: int = 4096,
    ) -> None:
        self.values = torch.arange(max(values, 0)) if isinstance(values, int) else values
        if self.values.dim() != 1 or len(self.values) == 0 or len(self.values.unique()) < len(self.values):
            raise InvalidInput(f"Gibbs needs at least one value and no value twice, not {values!r}")
        if scan not in ("random", "systematic"):
            raise InvalidInput(f"scan is {scan!r}; choose 'random' or 'systematic'")
        if max_rows < 1:
            raise InvalidInput(f"max_rows is {max_rows}; give at least 1")
        self.scan, self.free, self.max_rows = scan, free, max_rows

    @property
    def reversible(self) -> bool:
        """Whether each chain draws its own site."""
        return self.scan == "random"

    def init(self, x: Tensor, energy: Energy) -> ChainState:
        if bool((self.values.to(x).to(self.values) != self.values).any()):
            raise InvalidInput(f"states of {x.dtype} cannot hold all of the values {self.values.tolist()}")
        state = start(x, energy)
        return state if self.scan == "random" else state._replace(aux={"turn": torch.zeros((), dtype=torch.int64)})

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        x, aux = state.x, state.aux
        free = self._free(x)
        if self.scan == "random":
            site = draw_site(free, rng)
        else:
            site, aux = nth_site(free, aux["turn"]), {"turn": aux["turn"] + 1}
        values = self.values.to(x).expand(len(x), -1)
        scored = evaluate_candidates(energy, x, site, values, self.max_rows)
        after, drawn = redraw(state._replace(aux=aux), site, values, scored, beta, rng)
        if self.free is not None and bool((self._free(after.x) != free).any()):
            raise ProposalError("free(x) depends on the value redrawn, so the conditional would not be the target's")
        return after, step_info(x, after.x, drawn)

    def step_matrix(self, space: Space, beta: float = 1.0) -> Tensor:
        """``float64 [from, to]``, of a systematic scan ``[turns, from, to]``: exact probabilities (see ``hooks``)."""
        states = space.states
        free = torch.ones_like(states, dtype=torch.bool) if self.free is None else self.free(states)
        every = self.values.expand(len(states), -1)
        possible = torch.ones_like(every, dtype=torch.bool)

        def redraws(chosen: Tensor) -> Tensor:
            return redraw_matrix(space, chosen, lambda site: (every, possible), beta)

        if self.scan == "random":
            return redraws(free.double() / free.sum(dim=1, keepdim=True))
        turns = range(math.lcm(*free.sum(dim=1).unique().tolist()))
        return torch.stack([redraws(one_hot(nth_site(free, turn), states.shape[1]).double()) for turn in turns])

    def cost(self, x: Tensor) -> tuple[int, int]:
        """A row for each value of each chain."""
        rows = len(x) * len(self.values)
        return math.ceil(rows / self.max_rows), rows

    def _free(self, x: Tensor) -> Tensor:
        if x.dim() != 2:
            raise InvalidInput(f"Gibbs needs states [chains, sites], not {list(x.shape)}")
        free = torch.ones_like(x, dtype=torch.bool) if self.free is None else self.free(x.clone())
        if not bool(free.any(dim=1).all()):
            raise InvalidInput(f"chain {int((~free.any(dim=1)).nonzero()[0])} has no free site; free at least one")
        return free


class PseudoGibbs(Configurable):
    """Draw from the proposal and accept always.

    Target
        **no known target.** Conditionals that belong to no joint distribution (a masked language model's) have none,
        and the limiting distribution depends on the order of the sites. Only if the proposal draws from the
        conditionals of one joint distribution is this a Gibbs sampler for it.
    Acceptance ratio
        none.
    Reversible
        no.
    Reference
        Heckerman et al. 2000, JMLR 1, section 2.2 (pseudo-Gibbs); Goyal et al. 2021, arXiv:2106.02736, section 1.
    Cost
        one proposal and one energy call a step; the energy is only reported, and ``Flat()`` costs nothing. Densities
        are not computed for a proposal that can do without (``draw``), unless an energy that runs a model wants a hint.
    """

    no_accept_step = True

    def __init__(self, proposal: Proposal) -> None:
        self.proposal = proposal
        self.move_names: tuple[str, ...] = getattr(proposal, "move_names", (type(proposal).__name__,))

    def init(self, x: Tensor, energy: Energy) -> ChainState:
        return start(x, energy)

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        """``beta`` changes nothing: there is no accept step for it to enter."""
        draw, old = draw_alone(self.proposal), state.x.clone()
        if draw is None or getattr(energy, "expensive", False):  # to which a hint may save a model call
            proposed = check_proposed(self.proposal(old, rng), state.x)
            x, hint, move = proposed.x, proposed.hint, proposed.move
        else:
            x, hint, move = check_states(draw(old, rng), state.x), None, None
        new = evaluate(energy, x, hint)
        always = torch.ones(len(x), dtype=torch.bool, device=x.device)
        return ChainState(x, new.energy, state.aux, new.terms), step_info(state.x, x, always, move)

    def step_matrix(self, space: Space, beta: float = 1.0) -> Tensor:
        """``float64 [from, to]``: the conditionals themselves."""
        return proposal_matrix(self.proposal, space.states).exp()

    def cost(self, x: Tensor) -> tuple[int, int]:
        return 1, len(x)


def redraw(
    state: ChainState, site: Tensor, values: Tensor, scored: Evaluation, beta: float | Tensor, rng: torch.Generator
) -> tuple[ChainState, Tensor]:
    """Draw column ``site [chains]`` from ``exp(-beta E)`` over ``values [chains, K]``, whose energies are ``scored``.

    Returns the new state, and ``bool [chains]``: false for a chain with every value forbidden, which keeps its state.
    """
    log_weight = tempered_weights(scored.energy, beta)
    stuck = log_weight.isnan().any(dim=1)
    choice = categorical(log_weight.masked_fill(stuck.unsqueeze(1), 0.0), rng)
    rows = torch.arange(len(values), device=values.device)
    x = state.x.scatter(1, site.unsqueeze(1), values[rows, choice].unsqueeze(1))
    after = ChainState(
        select(stuck, state.x, x),
        select(stuck, state.energy, scored.energy[rows, choice]),
        state.aux,
        select(stuck, state.terms, scored.terms[rows, choice]),
    )
    return after, ~stuck


def tempered_weights(energy: Tensor, beta: float | Tensor) -> Tensor:
    """``-beta * energy`` for rows ``[chains, values]``, the lowest at 0; NaN in rows where all are forbidden.

    At ``beta = inf`` all weight is on the lowest energies; forbidden values stay forbidden at ``beta = 0``.
    """
    beta = torch.as_tensor(beta, dtype=torch.float64, device=energy.device).reshape(-1, 1)
    above = energy - energy.amin(dim=1, keepdim=True)
    finite = torch.where((above == 0) | ((beta == 0) & above.isfinite()), 0.0, -beta * above)
    return torch.where(above == math.inf, -math.inf, finite)


def redraw_matrix(
    space: Space, chosen: Tensor, candidates: Callable[[int], tuple[Tensor, Tensor]], beta: float
) -> Tensor:
    """``float64 [from, to]`` of drawing site ``i`` with probability ``chosen[:, i]``, then its value by the target.

    ``candidates(i)`` are the values ``[states, K]`` that site ``i`` may take, and ``bool [states, K]``: which of them
    it may take in that state.
    """
    states, energies = space.states, space.energy(space.states)
    matrix = torch.zeros(len(states), len(states), dtype=torch.float64)
    for site in range(states.shape[1]):
        values, possible = candidates(site)
        possible = possible & (chosen[:, site] > 0).unsqueeze(1)
        new = replaced(states, torch.full((len(states),), site), values)
        # A candidate that cannot be drawn may be no state of the space: the old state stands in for it.
        new = torch.where(possible.reshape(-1, 1), new, states.repeat_interleave(values.shape[1], dim=0))
        to = space.index(new).reshape(values.shape)
        law = tempered_weights(energies[to].masked_fill(~possible, math.inf), beta).softmax(dim=1)
        stuck = law.isnan().any(dim=1)
        matrix.scatter_add_(1, to, chosen[:, site].unsqueeze(1) * law.masked_fill(stuck.unsqueeze(1), 0.0))
        matrix += torch.diag(chosen[:, site] * stuck)
    return matrix
