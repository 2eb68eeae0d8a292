"""Replica exchange on the path to a distribution that can be drawn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samplers.config import Configurable
from samplers.drawing import draw
from samplers.energy.evaluation import Evaluated, evaluate, summed_like
from samplers.energy.terms import Evaluation, parts_of
from samplers.errors import InvalidInput, ProposalError
from samplers.kernels.hooks import MissingHook, OtherLaw, Space, step_cost, step_matrices
from samplers.kernels.metropolis import current_memory
from samplers.kernels.replicas import counters, swap_matrix, swap_neighbours
from samplers.path import Surprisal, check_temperatures, path_log_ratio
from samplers.run.arguments import check_counts
from samplers.types import ChainState, Distribution, Energy, Kernel, StepInfo, select

__all__ = ["PathTempered", "evenly_placed"]

COLDEST = 1e12  # what an infinite beta is taken as, so that it times a difference of 0 is 0
ROUNDS = (8, 4, 2, 1)  # the rungs are placed anew after an eighth, a quarter, a half and all of the steps for that
SMALLEST = 0.01  # rejection rate that two neighbours are taken to have at least, so that none coincide


class PathTempered(Configurable):
    """Run a replica of each chain at every ``t`` of the path ``q^(1-t) pi^t``; the last one, ``t = 0``, is a draw of q.

    Target
        ``prod_r (q^(1-t_r) exp(-t_r E))^beta(x_r)`` over the rungs ``t_r``, and ``q`` at 0; rung 0, which is the
        state's ``x``, has ``t = 1`` and follows the kernel's own target. Steps in which rungs are placed are not exact.
    Acceptance ratio
        of a swap of ``x`` at ``t`` and ``y`` at ``s``: ``min(1, exp((t - s) (W(y) - W(x))))``, ``W = -E - log q``, for
        beta 1.
    Reversible
        no: even and odd pairs of neighbours are tried in turn. Each turn is, if the inner kernel is.
    Proof
        Geyer 1991 for the swap, a Metropolis step on the product law. A step of the inner kernel on each rung leaves
        that rung's law invariant, and so does an independent draw of ``q`` the last one's. Syed, Bouchard-Cote,
        Deligiannidis & Doucet 2021, J. R. Stat. Soc. B 84 (arXiv:1905.02939), for the even-odd order and the placing.
    Cost
        the inner kernel's for every rung but the last, one rung after the other, with ``log q`` for those between;
        every second step a draw of ``q`` with its energy, and ``log q`` of the state.

    ``Tempered`` heats the target, which for a law of language ends in gibberish: what swaps bring down from there is of
    no use. Here the far end is a law of language itself, and each draw of it is new, so that a chain need not find its
    way from one text to another by small moves.

    ``distribution`` has ``sample()`` and ``log_prob()``, where a constant factor may be missing, and draws states as
    wide as the chains'; chains at states that it cannot draw stay with the inner kernel. ``temperatures`` above 0 that
    rise to 1, as in ``smc``. In the first ``tune`` steps they are placed anew four times, so that all neighbours reject
    alike: keep draws from then on only (``warmup``). Each shard has its own; ``swap_report`` shows them.

    Raises ``InvalidInput`` for a kernel without an accept step; ``ProposalError`` for draws of another width.
    """

    reversible = False

    def __init__(
        self, kernel: Kernel, distribution: Distribution, temperatures: Sequence[float], *, tune: int = 0
    ) -> None:
        check_counts(tune=tune, least=0)
        if getattr(kernel, "no_accept_step", False):
            raise InvalidInput(f"{type(kernel).__name__} accepts proposals whatever their energy; give an exact kernel")
        self.kernel, self.distribution, self.tune = kernel, distribution, tune
        self.betas = (*reversed(check_temperatures(temperatures)), 0.0)
        self.move_names = kernel.move_names

    def init(self, x: Tensor, energy: Energy) -> ChainState:
        known, log_q, copies = evaluate(energy, x), self._log_q(x), len(self.betas) - 1
        aux: dict[str, Any] = {
            # Rung 0 is the state itself; the others follow, rung by rung.
            "x": _repeated(x, copies),
            "energy": known.energy.repeat(copies),
            "terms": known.terms.repeat(copies, 1),
            "log_q": {"of": _repeated(x, copies + 1), "memory": log_q.repeat(copies + 1)},
            "rungs": torch.tensor(self.betas, dtype=torch.float64),
            **counters(len(self.betas), x),
        }
        for rung, t in enumerate(self.betas[:-1]):
            law = self._law(energy, t)
            aux[f"rung{rung}"] = self.kernel.init(x, Evaluated(law, x, _on_path(known, log_q, t))).aux
        return ChainState(x.clone(), known.energy, aux, known.terms)

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        aux, chains = dict(state.aux), len(state.x)
        rungs, turn = aux["rungs"].tolist(), int(aux["turn"])
        first, count = turn % 2, len(rungs)
        betas = torch.as_tensor(beta, dtype=torch.float64, device=state.x.device).expand(chains).clamp(max=COLDEST)
        x = torch.cat([state.x, aux["x"]]).unflatten(0, (count, chains))
        value = torch.cat([state.energy, aux["energy"]]).unflatten(0, (count, chains))
        terms = torch.cat([state.terms, aux["terms"]]).unflatten(0, (count, chains))
        of, log_q = (aux["log_q"][name].unflatten(0, (count, chains)).clone() for name in ("of", "memory"))
        infos = []
        for rung, t in enumerate(rungs[:-1]):
            if t < 1:
                log_q[rung] = current_memory(self._log_q, x[rung], of[rung], log_q[rung])
            at = _on_path(Evaluation(value[rung], terms[rung]), log_q[rung], t)
            inner = ChainState(x[rung].clone(), at.energy, aux[f"rung{rung}"], at.terms)
            after, info = self.kernel.step(inner, self._law(energy, t), rng, beta=t * betas)
            x[rung], aux[f"rung{rung}"] = after.x, after.aux
            (value[rung], terms[rung]), found = _off_path(after, t)
            if t < 1:  # of a state that stays, the old one: the detour over the path's energy rounds
                log_q[rung] = select(info.changed, found, log_q[rung])
            infos.append(info)
        if _is_drawn(count, first):
            x[-1], (value[-1], terms[-1]), log_q[-1] = self._drawn(energy, state.x, rng)
        if first == 0:
            log_q[0] = current_memory(self._log_q, x[0], of[0], log_q[0])

        def log_ratio(low: int, replicas: Sequence[Tensor]) -> Tensor:
            ratio = self._law_ratio(replicas[1][low : low + 2], replicas[3][low : low + 2], rungs, low, betas)
            return (ratio[1] - ratio[0]).nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf)

        x, value, terms, log_q = swap_neighbours([x, value, terms, log_q], first, log_ratio, aux, rng)
        of[first:] = x[first:]
        aux.update(
            x=x[1:].flatten(0, 1),
            energy=value[1:].flatten(),
            terms=terms[1:].flatten(0, 1),
            log_q={"of": of.flatten(0, 1), "memory": log_q.flatten()},
            turn=aux["turn"] + 1,
        )
        if self.tune and turn + 1 in {max(1, self.tune // part) for part in ROUNDS}:
            aux["rungs"] = evenly_placed(aux["rungs"], 1 - aux["swapped"].double() / aux["tried"].double())
            aux |= {name: torch.zeros_like(aux[name]) for name in ("tried", "swapped")}
        changed = (x[0] != state.x).reshape(chains, -1).any(dim=1)
        return ChainState(x[0], value[0], aux, terms[0]), StepInfo(infos[0].accepted, changed, infos[0].move)

    def _law_ratio(self, energy: Tensor, log_q: Tensor, rungs: Sequence[float], low: int, betas: Tensor) -> Tensor:
        """``path_log_ratio`` of the rungs ``low + 1`` and ``low``; ``+inf`` where q cannot draw a state."""
        ratio = path_log_ratio(energy, log_q, rungs[low + 1], rungs[low], betas)
        return ratio.masked_fill((log_q == -math.inf) & (energy != math.inf), math.inf)

    def _law(self, energy: Energy, t: float) -> Energy:
        """``E - (1 - t) / t log q``: the law at ``t`` has this at the power ``t``, and ``E`` keeps its bits."""
        if t == 1:
            return energy
        return summed_like(energy, [*parts_of(energy), ((1 - t) / t, Surprisal(self.distribution))])

    def _log_q(self, x: Tensor) -> Tensor:
        return -evaluate(Surprisal(self.distribution), x).energy

    def _drawn(self, energy: Energy, like: Tensor, rng: torch.Generator) -> tuple[Tensor, Evaluation, Tensor]:
        """As many new draws of the distribution as there are chains, their energies and ``log q``."""
        x, log_q, hint = draw(self.distribution, len(like), rng, like)
        if bool((log_q.isnan() | log_q.isposinf()).any()):
            raise ProposalError("log_prob of the distribution's own draw is no density (NaN or inf); correct it")
        return x, evaluate(energy, x, hint), log_q

    def cost(self, x: Tensor) -> tuple[int, int]:
        calls, rows = step_cost(self.kernel, x)
        moved = len(self.betas) - 1
        return moved * calls + 1, moved * rows + len(x)

    def rung_laws(self, space: Space, beta: float = 1.0) -> list[Tensor]:
        """``float64 [states]`` for each rung: the law that it follows."""
        energy, log_q = space.energy(space.states), self.distribution.log_prob(space.states).double()
        allowed = energy != math.inf
        energy = energy.where(allowed, 0.0)
        laws = [beta * ((1 - t) * log_q - t * energy) for t in self.betas[:-1]]
        return [law.masked_fill(~allowed, -math.inf).softmax(dim=0) for law in laws] + [log_q.exp()]

    def step_matrix(self, space: Space, beta: float = 1.0) -> Tensor:
        """``float64 [turns, from, to]`` on tuples of states, one a rung, the last one fastest (see ``hooks``).

        Raises ``MissingHook`` for a kernel that places its rungs.
        """
        if self.tune:
            raise MissingHook(f"no exact matrix is known for {type(self).__name__} while it places its rungs")
        energy, log_q = space.energy(space.states), self._log_q(space.states)
        laws = [(t, OtherLaw(space.states, self._law(space.energy, t), space.index)) for t in self.betas[:-1]]
        moves = [step_matrices(self.kernel, law, t * beta) for t, law in laws]
        turns, count = math.lcm(2, *map(len, moves)), len(self.betas)
        drawn, kept = log_q.exp().expand(len(energy), -1), torch.eye(len(energy), dtype=torch.float64)
        matrices = []
        for turn in range(turns):
            first = turn % 2
            rungs = [move[turn % len(move)] for move in moves] + [drawn if _is_drawn(count, first) else kept]
            matrix = reduce(torch.kron, rungs)
            for low in range(first, count - 1, 2):
                ratio = self._law_ratio(energy, log_q, self.betas, low, torch.tensor(beta, dtype=torch.float64))
                matrix = matrix @ swap_matrix((ratio - ratio.unsqueeze(1)).nan_to_num(nan=-math.inf), count, low)
            matrices.append(matrix)
        return torch.stack(matrices)


def evenly_placed(rungs: Tensor, rejections: Tensor) -> Tensor:
    """``float64 [rungs]``, falling from 1 to 0: as many ``rungs`` at even distances along the barrier.

    ``rejections float64 [pairs]``: the rate of each pair of neighbours, NaN where none was tried; between two rungs the
    barrier is taken to grow evenly.
    """
    rates = rejections.nan_to_num(nan=0.5).clamp(min=SMALLEST).numpy()
    barrier = np.concatenate([[0.0], rates.cumsum()])
    return torch.from_numpy(np.interp(np.linspace(0.0, barrier[-1], len(rungs)), barrier, rungs.numpy()))


def _is_drawn(rungs: int, first: int) -> bool:
    """Whether the last pair is among those tried from ``first`` on: the last rung is then drawn before."""
    return (rungs - first) % 2 == 0


def _on_path(known: Evaluation, log_q: Tensor, t: float) -> Evaluation:
    """Of the law at ``t``, for states whose energy is ``known``."""
    if t == 1:
        return known
    terms = torch.cat([known.terms, ((t - 1) / t * log_q).unsqueeze(1)], dim=1)
    return Evaluation(terms.sum(dim=1), terms)


def _off_path(state: ChainState, t: float) -> tuple[Evaluation, Tensor]:
    """The energy of states of the law at ``t``, and ``log q``; at 1 of no meaning."""
    if t == 1:
        return Evaluation(state.energy, state.terms), state.energy
    terms = state.terms[:, :-1].contiguous()
    return Evaluation(terms.sum(dim=1), terms), state.terms[:, -1] * t / (t - 1)


def _repeated(x: Tensor, times: int) -> Tensor:
    return x.repeat(times, *[1] * (x.dim() - 1))
