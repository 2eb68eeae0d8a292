"""Redraw a text from a random place on by a population of continuations, of which one is the old text."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lm_adapters.drawing.continuation import Continuation, Grown
from lm_adapters.energies.hints import TextHint
from samplers import ChainState, Configurable, Energy, InvalidInput, ProposalError, StepInfo, evaluate
from samplers.randomness import categorical

__all__ = ["SuffixSMC"]

FORBIDDEN = -1e300  # log-weight of a forbidden text: where all are, the old one stays
COLDEST = 1e12  # what an infinite beta is taken as


class SuffixSMC(Configurable):
    """Cut a text, continue it ``num_particles`` times from left to right, and take one of the continuations.

    Target
        ``pi(x)`` proportional to ``exp(-beta E(x))`` over texts of ``min_length`` to ``max_length`` tokens.
    Acceptance ratio
        1: the next text is drawn among the particles, one of which is the old text. Each weighs what the
        ``continuation`` says, times ``exp(-beta E(x))`` over the power of the model's law, over the number of places
        where it could be cut.
    Reversible
        yes.
    Proof
        Andrieu, Doucet & Holenstein 2010, J. R. Stat. Soc. B 72, theorem 5, for the joint law of ``x`` and the place of
        the cut, uniform on ``0..min(l, max_length - 1)`` of a text of ``l`` tokens; reversible by Chopin & Singh 2015,
        Bernoulli 21. The old text keeps its place and is resampled with the others, at times and among texts that do
        not depend on the order of the particles. Of ``u`` unfinished ones an ancestor is drawn with probability
        ``w / sum w`` and leaves ``sum w / u``: the product is ``w / u``, for each of the ``u`` places that the old text
        might have.
    Cost
        ``num_particles`` times that of a move of ``SuffixProposal``, in the same number of passes. Where the energy is
        that of the same model, nothing else.

    ``power``: of the model's law, best that of the target, 4 for ``4 * StoppedEnergy(model, max_length)``. Any energy
    will do; where it is far from that, one particle gets all the weight, mostly the old text.

    Raises ``InvalidInput`` as ``Continuation`` does, and for fewer than 2 particles; ``ProposalError`` for a text that
    the model cannot draw.
    """

    move_names: tuple[str, ...] = ("population",)

    def __init__(self, continuation: Continuation, num_particles: int) -> None:
        if num_particles < 2:
            raise InvalidInput(f"num_particles is {num_particles}; give at least 2")
        self.continuation, self.num_particles = continuation, num_particles

    def init(self, x: Tensor, energy: Energy) -> ChainState:
        value, terms = evaluate(energy, x)
        return ChainState(x.clone(), value, {}, terms)

    def step(
        self, state: ChainState, energy: Energy, rng: torch.Generator, *, beta: float | Tensor = 1.0
    ) -> tuple[ChainState, StepInfo]:
        x, size, device = state.x, self.num_particles, state.x.device
        places = self._places(x)
        cut = (torch.rand(len(x), dtype=torch.float64, device=rng.device, generator=rng).to(device) * places).long()
        grown = self.continuation.grow(x, cut, size, rng, kept=True)
        new, values, terms = self._scored(grown, state, energy)
        betas = torch.as_tensor(beta, dtype=torch.float64, device=device).clamp(max=COLDEST).expand(len(x))
        allowed = values != math.inf
        tempered = betas.repeat_interleave(size) * values.where(allowed, 0.0)
        aimed_at = self.continuation.power * grown.nlls.sum(dim=1)
        log_weights = grown.log_weights + aimed_at - tempered - self._places(new).double().log()
        log_weights = log_weights.where(allowed, FORBIDDEN).clamp(min=FORBIDDEN).view(-1, size)
        slot = categorical(log_weights, rng)
        slot = slot.where((log_weights > FORBIDDEN).any(dim=1), 0)
        chosen = torch.arange(len(x), device=device) * size + slot
        after = ChainState(new[chosen], values[chosen], state.aux, terms[chosen])
        changed = (after.x != x).any(dim=1)
        return after, StepInfo(slot > 0, changed, torch.zeros_like(slot))

    def _places(self, x: Tensor) -> Tensor:
        """``int64 [rows]``: the number of places where a text can be cut."""
        longest, lengths = self.continuation.max_length, self.continuation.model.space.lengths(x)
        if int(lengths.max()) > longest:
            raise ProposalError(f"a text has {int(lengths.max())} tokens, and max_length is {longest}")
        return lengths.clamp(max=longest - 1) + 1

    def _scored(self, grown: Grown, state: ChainState, energy: Energy) -> tuple[Tensor, Tensor, Tensor]:
        """Texts, their energies and terms; the first particle of each population is the state itself."""
        size, model = self.num_particles, self.continuation.model
        row = torch.arange(len(grown.x), device=grown.x.device)
        new, others = row[row % size > 0], row // size
        endless = grown.before[others] + grown.nlls[:, 0]
        cut_off = model.space.lengths(grown.x) == self.continuation.max_length
        nlls = (endless + grown.nlls[:, 1]).masked_fill(cut_off, math.nan)
        hint = TextHint(model, nlls[new], endless[new])
        found = evaluate(energy, grown.x[new], hint, rows=others[new])
        values, terms = state.energy[others], state.terms[others]
        return grown.x, values.index_copy(0, new, found.energy), terms.index_copy(0, new, found.terms)
