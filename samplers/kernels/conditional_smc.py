"""Conditional sequential Monte Carlo: a whole population as one step of a Markov chain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from samplers.config import Configurable
from samplers.drawing import draw_scored
from samplers.energy.evaluation import evaluate
from samplers.energy.row_numbers import row_numbers
from samplers.errors import InvalidInput, ProposalError
from samplers.kernels.hooks import MissingHook, OtherLaw, Space, branches, is_reversible, step_matrices
from samplers.kernels.metropolis import start, step_info
from samplers.path import Surprisal, check_temperatures, energy_and_log_q, path_energy, path_log_ratio
from samplers.randomness import categorical
from samplers.run.arguments import check_counts
from samplers.types import ChainState, Distribution, Energy, Kernel, StepInfo, select

__all__ = ["ConditionalSMC"]

FORBIDDEN = -1e300  # log-weight of a forbidden state: two of them share alike, as in ``_rows``
COLDEST = 1e12  # what an infinite beta is taken as, so that it times a difference of 0 is 0


class _Particles(NamedTuple):
    """States ``[rows, ...]``, ``E`` and ``log q``; the rows of a chain are ``chains`` apart."""

    x: Tensor
    energy: Tensor
    log_q: Tensor


class ConditionalSMC(Configurable):
    """Draw a population around the current state, lead it to the target, and take one of its particles.

    Target
        ``pi(x)`` proportional to ``exp(-beta E(x))``, for any number of particles from 2 on.
    Acceptance ratio
        1: the next state is drawn among the particles, one of which is the current state, by their last weights.
    Reversible
        yes, if ``kernel`` is.
    Proof
        Andrieu, Doucet & Holenstein 2010, J. R. Stat. Soc. B 72, theorem 5, for the path ``g_t = (q^(1-t)
        exp(-t E))^beta``. The path that led to the current state is drawn anew, backwards: the reverse of a reversible
        kernel is the kernel itself. Every stage resamples, by independent draws, and the path keeps its place:
        resampling only when weights are uneven would lose the target. Particles must move independently: a kernel that
        makes one choice for all rows, as ``Mixture`` does, is called for one particle of each chain at a time.
    Cost
        ``num_particles`` draws a chain with their energy and ``log q``, and for each temperature but the last
        ``(moves + 1) * num_particles`` of both.

    ``distribution`` and ``temperatures`` (which rise to 1; ``[1]`` needs no kernel) are as in ``smc``; ``kernel`` makes
    ``moves`` steps at each temperature but the last, and must be reversible.
    """

    move_names: tuple[str, ...] = ("population",)

    def __init__(
        self,
        distribution: Distribution,
        kernel: Kernel | None = None,
        *,
        num_particles: int,
        temperatures: Sequence[float] = (1.0,),
        moves: int = 1,
    ) -> None:
        check_counts(num_particles=num_particles, least=2)
        check_counts(moves=moves)
        if getattr(kernel, "no_accept_step", False):
            raise InvalidInput(f"{type(kernel).__name__} accepts proposals whatever their energy; give an exact kernel")
        if kernel is not None and not is_reversible(kernel):
            raise InvalidInput(
                f"{type(kernel).__name__} is not reversible, and the path to the current state is drawn backwards; "
                "give a reversible kernel, such as a Mixture of its parts"
            )
        self.temperatures = tuple(check_temperatures(temperatures))
        if kernel is None and len(self.temperatures) > 1:
            raise InvalidInput(f"temperatures is {list(self.temperatures)}: those below 1 need a kernel; give one")
        self.distribution, self.kernel = distribution, kernel
        self.num_particles, self.moves = num_particles, moves

    def init(self, x: Tensor, energy: Energy) -> ChainState:
        return start(x, energy)

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        chains, others = len(state.x), self.num_particles - 1
        betas = torch.as_tensor(beta, dtype=torch.float64, device=state.x.device).expand(chains).clamp(max=COLDEST)
        with row_numbers(lambda row: row % chains):
            kept = self._path_to(state, energy, betas, rng)
            particles = self._draw(energy, chains * others, rng)
            last = 0.0
            for t, mine in zip(self.temperatures, kept, strict=True):
                everyone = _Particles(*(torch.cat(pair) for pair in zip(mine, particles, strict=True)))
                log_weights = (
                    self._log_weights(everyone, last, t, betas.repeat(self.num_particles)).reshape(-1, chains).T
                )
                if t < 1:
                    rows = _rows(log_weights, others, rng)
                    particles = self._move_each(everyone.x[rows], energy, t, betas, rng)
                last = t
        chosen = _rows(log_weights, 1, rng)
        moved = chosen >= chains
        after = select(moved, everyone.x[chosen], state.x)
        value, terms = evaluate(energy, after)
        return ChainState(after, value, state.aux, terms), step_info(state.x, after, moved)

    def _path_to(self, state: ChainState, energy: Energy, betas: Tensor, rng: torch.Generator) -> list[_Particles]:
        """The particles that led to the current state, one before each temperature, drawn from the last to the first.

        Raises ``ProposalError`` for a state that the distribution cannot draw.
        """
        log_q = -evaluate(Surprisal(self.distribution), state.x).energy
        if bool(log_q.isneginf().any()):
            chain = int(log_q.argmin())
            raise ProposalError(
                f"the distribution cannot draw the state of chain {chain}; give one that covers the target"
            )
        path = [_Particles(state.x, state.energy, log_q)]
        for t in reversed(self.temperatures[:-1]):
            path.append(self._move(path[-1].x, energy, t, betas, rng))
        return path[::-1]

    def _draw(self, energy: Energy, count: int, rng: torch.Generator) -> _Particles:
        x, log_q, (value, _) = draw_scored(energy, self.distribution, count, rng)
        return _Particles(x, value, log_q)

    def _move_each(self, x: Tensor, energy: Energy, t: float, betas: Tensor, rng: torch.Generator) -> _Particles:
        """``_move`` of ``x [rows, ...]``, several particles of each chain."""
        assert self.kernel is not None, "temperatures below 1 have a kernel"
        chains = len(betas)
        size = chains if len(branches(self.kernel)) > 1 else len(x)
        moved = [self._move(part, energy, t, betas.repeat(size // chains), rng) for part in x.split(size)]
        return _Particles(*map(torch.cat, zip(*moved, strict=True)))

    def _move(self, x: Tensor, energy: Energy, t: float, betas: Tensor, rng: torch.Generator) -> _Particles:
        """``moves`` steps of the kernel on the law at ``t``."""
        assert self.kernel is not None, "temperatures below 1 have a kernel"
        law = path_energy(energy, self.distribution, t)
        state = self.kernel.init(x, law)
        for _ in range(self.moves):
            state, _ = self.kernel.step(state, law, rng, beta=betas)
        return _Particles(state.x, *energy_and_log_q(state.terms, t))

    def _log_weights(self, particles: _Particles, last: float, t: float, betas: Tensor) -> Tensor:
        return path_log_ratio(particles.energy, particles.log_q, last, t, betas)

    def step_matrix(self, space: Space, beta: float = 1.0) -> Tensor:
        """``float64 [from, to]``: the exact probabilities of one step with two particles (see ``hooks``).

        The other particle is followed beside the path, from the draw to the target: ``other[x, y]`` is the probability
        that it is ``y`` where the path is at ``x``, summed over what the path was before. Raises ``MissingHook`` for
        more particles.
        """
        if self.num_particles > 2:
            raise MissingHook(f"no exact matrix is known for {type(self).__name__} with more than two particles")
        energy, log_q = space.energy(space.states), self.distribution.log_prob(space.states).double()
        particles = _Particles(space.states, energy, log_q)
        other, last = log_q.exp().expand(len(energy), -1), 0.0
        for t in self.temperatures:
            log_weights = self._log_weights(particles, last, t, torch.tensor(beta, dtype=torch.float64))
            log_weights = log_weights.masked_fill(log_weights == -math.inf, FORBIDDEN)
            share = torch.sigmoid(log_weights - log_weights.unsqueeze(1))  # of the column's state against the row's
            if t < 1:
                move = self._moves_matrix(space, t, beta)
                other = move @ (other * share @ move + (other * (1 - share)).sum(dim=1, keepdim=True) * move)
            last = t
        chosen = other * share
        return chosen + torch.diag((other - chosen).sum(dim=1))

    def _moves_matrix(self, space: Space, t: float, beta: float) -> Tensor:
        """Of ``moves`` steps of the kernel on the law at ``t``."""
        assert self.kernel is not None, "temperatures below 1 have a kernel"
        law = path_energy(space.energy, self.distribution, t)
        matrices = step_matrices(self.kernel, OtherLaw(space.states, law, space.index), beta)
        return reduce(torch.matmul, [matrices[move % len(matrices)] for move in range(self.moves)])


def _rows(log_weights: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """``int64 [count * chains]``: for each chain ``count`` of its particles.

    Drawn by ``log_weights [chains, particles]``, independently. Where all are forbidden, the current state among
    them, any of them.
    """
    chains = len(log_weights)
    log_weights = log_weights.masked_fill((log_weights == -math.inf).all(dim=1, keepdim=True), 0.0)
    drawn = categorical(log_weights.repeat(count, 1), rng)
    return drawn * chains + torch.arange(chains, device=drawn.device).repeat(count)
