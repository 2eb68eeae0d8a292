"""Redraw a text from a random place on, with exact densities in both directions."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from lm_adapters.energies.hints import TextHint
from lm_adapters.locks.base import Lock
from lm_adapters.models.autoregressive import Autoregressive
from lm_adapters.proposals.sequence_distribution import SequenceDistribution
from lm_adapters.proposals.token_distribution import Following
from lm_adapters.proposals.truncation import Truncation
from samplers import InvalidInput, Proposed
from samplers.randomness import categorical

__all__ = ["SuffixProposal"]


class SuffixProposal:
    """Cut a text of ``l`` tokens at ``t``, uniform on ``0..l``, keep what is before the cut and redraw the rest.

    ``q(x', t | x) = 1 / (l + 1) * prod_{j >= t} p(x'_j | x'_<j)``, the end among the factors: a text can shrink and
    grow. The conditionals are those of ``SequenceDistribution``. The reverse move cuts ``x'`` at the same place, so
    detailed balance holds for each ``t`` by itself (Hastings 1970, Biometrika 57, section 2.2).

    With ``lock`` the cut is after its last piece, at one of ``l + 1 - e`` places where that piece ends at ``e``; this
    number replaces ``l + 1`` above. A new text in which the last piece ends after the cut, or a piece is missing, has
    no reverse move (``-inf``). A text that lacks a piece is kept, which counts as rejected. Add ``lock`` to the target
    too. A text longer than ``max_length`` is kept as well. Likewise the cut is after the last token that is never
    proposed (``TextSpace.fixed``).

    With ``cuts="open"`` the cut is drawn in proportion to ``w_t(x) = 1 - p(x_t | x_<t)``, the end of the text included:
    the probability that redrawing from there changes the text at once. Uniform cuts often fall where the next token is
    all but certain, and draw the same text again. ``w_t(x) / sum w(x)`` replaces ``1 / (l + 1)`` in both directions;
    a text in which nothing is open is kept. Cuts by the entropy of the next token (arXiv:2605.30327) serve the same
    purpose; ``w`` needs nothing that the memory does not hold.

    With ``following`` the rest is drawn among the tokens that it allows, as ``SequenceDistribution`` does: new texts
    match its grammar unless they are cut off. Add the constraint to the target too.

    Cost: one pass over what is before the cuts, then for each further token a pass of one token over the unfinished
    texts. The old texts' density is kept as the proposal's ``memory``; texts that another kernel has changed cost one
    more pass. The new texts' energy under the same model needs no pass: a ``TextHint`` passes it on.

    Raises ``InvalidInput`` for lengths out of order, beyond the model or too short for the lock, and for states
    narrower than ``max_length``.
    """

    move_names = ("suffix",)

    def __init__(
        self,
        model: Autoregressive,
        *,
        min_length: int = 1,
        max_length: int,
        truncation: Truncation | None = None,
        lock: Lock | None = None,
        cuts: Literal["uniform", "open"] = "uniform",
        following: Following | None = None,
    ) -> None:
        if cuts not in ("uniform", "open"):
            raise InvalidInput(f"cuts is {cuts!r}; choose 'uniform' or 'open'")
        if lock is not None:
            lock.check_length(max_length)
        self.model, self.lock, self.cuts = model, lock, cuts
        self.distribution = SequenceDistribution(
            model, min_length=min_length, max_length=max_length, truncation=truncation, following=following
        )

    def memory(self, x: Tensor) -> Tensor:
        """``float64 [chains, 2, width + 1]`` in nats: see ``SequenceDistribution.token_scores``."""
        return self.distribution.token_scores(x)

    def __call__(self, x: Tensor, rng: torch.Generator, memory: Tensor | None = None) -> Proposed:
        longest = self.distribution.max_length
        if x.shape[1] < longest:
            raise InvalidInput(f"the states are {x.shape[1]} wide and max_length is {longest}; widen them to that")
        if memory is None:
            memory = self.memory(x)
        weights = self._cut_weights(x, memory)
        stuck = ~(weights > 0).any(dim=1)
        cut = categorical(weights.where(~stuck.unsqueeze(1), 1.0).log(), rng)
        new, scores = self.distribution.redraw(x, cut.clamp(max=longest), rng)
        after = torch.arange(weights.shape[1], device=x.device) >= cut.unsqueeze(1)
        drawn, old = (each[:, 0].where(after, 0.0).sum(dim=1) for each in (scores, memory))
        scores = torch.where((after & ~stuck.unsqueeze(1)).unsqueeze(1), scores, memory)
        there, back = (_log_share(each, cut) for each in (weights, self._cut_weights(new, scores)))
        return Proposed(
            x.where(stuck.unsqueeze(1), new),
            (drawn + there).masked_fill(stuck, 0.0),
            (old + back).masked_fill((back == -math.inf) | stuck, -math.inf),
            hint=self._hint(new, scores, stuck),
            memory=scores,
        )

    def _hint(self, new: Tensor, scores: Tensor, stuck: Tensor) -> TextHint:
        nlls = scores[:, 1].sum(dim=1).masked_fill(stuck, math.nan)
        end = self.model.space.lengths(new).unsqueeze(1)
        endless = scores[:, 1].scatter(1, end, 0.0).sum(dim=1).masked_fill(stuck, math.nan)
        return TextHint(self.model, nlls, endless)

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        """``float64 [chains]``: the log-density of the move, summed over all cuts that can make it."""
        return self.cut_log_probs(x_to, x_from).logsumexp(dim=1)

    def cut_log_probs(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        """``float64 [chains, width + 1]``: ``log q(x_to, t | x_from)`` for every cut ``t``.

        A text without any cut keeps itself; that move is listed at ``t = 0``.
        """
        weights = self._cut_weights(x_from, None if self.cuts == "uniform" else self.memory(x_from))
        drawn = self.distribution.token_scores(x_to)[:, 0].flip(1).cumsum(dim=1).flip(1)
        same = (x_to == x_from).cumprod(dim=1).bool()
        before = torch.nn.functional.pad(same, (1, 0), value=True)  # everything before the cut
        within = torch.arange(weights.shape[1], device=x_to.device) <= self.model.space.lengths(x_to).unsqueeze(1)
        total = (drawn + weights.log() - weights.sum(dim=1, keepdim=True).log()).masked_fill(
            ~((weights > 0) & before & within), -math.inf
        )
        stuck = ~(weights > 0).any(dim=1)
        total[stuck] = -math.inf
        total[stuck & same[:, -1], 0] = 0.0
        return total

    def _cut_weights(self, x: Tensor, scores: Tensor | None) -> Tensor:
        """``float64 [chains, width + 1]``: the probability of each cut is in proportion to it; 0: impossible.

        ``scores`` are those of ``x``, as in ``memory``.
        """
        cuts = self._cuts(x)
        if self.cuts == "uniform" or scores is None:
            return cuts.double()
        return (-torch.expm1(scores[:, 0])).where(cuts, 0.0).clamp(min=0.0)

    def _cuts(self, x: Tensor) -> Tensor:
        """``bool [chains, width + 1]``: where a text may be cut; nowhere if it must be kept."""
        column, lengths = torch.arange(x.shape[1] + 1, device=x.device), self.model.space.lengths(x).unsqueeze(1)
        cuts = (column <= lengths) & (lengths <= self.distribution.max_length)
        stays = self.model.space.fixed(x)
        if self.lock is not None:
            held, found = self.lock.search(x)
            stays, cuts = stays | (held > 0), cuts & found.unsqueeze(1)
        return cuts & (column >= (stays * column[1:]).amax(dim=1, keepdim=True))


def _log_share(weights: Tensor, column: Tensor) -> Tensor:
    """``float64 [rows]``: log of the share of ``column int64 [rows]`` in ``weights``; ``-inf`` where they are 0."""
    weight = weights.gather(1, column.unsqueeze(1)).squeeze(1)
    return (weight.log() - weights.sum(dim=1).log()).masked_fill(weight == 0, -math.inf)
