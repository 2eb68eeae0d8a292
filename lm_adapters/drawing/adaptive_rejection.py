"""Exact draws under a hard constraint by rejection that never tries again what it has seen fail."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lm_adapters.forward.log_probs import aligned_parts
from lm_adapters.models.autoregressive import Autoregressive
from lm_adapters.proposals.redraw import Decoder, Redrawn
from lm_adapters.proposals.sequence_distribution import SequenceDistribution
from lm_adapters.proposals.token_distribution import TokenDistribution
from samplers import Energy, InvalidInput
from samplers.randomness import Weights

__all__ = ["AdaptiveDraws", "AdaptiveRejection"]


class AdaptiveDraws(NamedTuple):
    """Texts ``x int64 [n, max_length]``, and how many were tried for them."""

    x: Tensor
    trials: int


@dataclass
class _Node:
    """A beginning: its ``chance`` after the beginning one token shorter, and the share of its texts known ``dead``."""

    chance: float
    dead: float = 0.0
    children: dict[int, _Node] = field(default_factory=dict)


class AdaptiveRejection:
    """Independent, exact draws of ``law`` given ``constraint``: texts are drawn, and those that it forbids left out.

    What was left out is kept in a trie, with the probability of each token on the way, and is not drawn again: after a
    beginning ``u`` a token ``v`` has the probability ``p(v | u) (1 - dead(uv))`` up to a constant, ``dead(u) = sum_v
    p(v | u) dead(uv)``. A trial is then a draw of ``law`` given that the text is not known to be forbidden, and what
    the constraint allows of it follows ``law`` given the constraint, whatever has been tried before. Trials are drawn
    in batches that share a trie. CARS: Parys et al. 2025, arXiv:2510.01902.

    Pays where much of the mass lies on few texts or beginnings: long lists of never repeated texts gain nothing.

    ``constraint``: an energy in nats, ``+inf`` for what is forbidden. ``hopeless(x) -> bool [rows]`` may say of the
    beginnings ``x int64 [rows, width]`` which no allowed text has (true also of every longer one); then the shortest
    such beginning of a text that failed is dead, else that text alone.

    Cost: each trial a draw of ``law``; the trie is Python objects, one a token of each text that failed.
    """

    def __init__(
        self, law: SequenceDistribution, constraint: Energy, hopeless: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.law, self.constraint, self.hopeless = law, constraint, hopeless
        bounds = (law.min_length, law.max_length)
        self._tokens = _LivingTokens(law.model, law.truncation, *bounds, law.following, law.boost)
        self._root = _Node(1.0)

    @property
    def dead(self) -> float:
        """The mass of ``law`` that is known to be forbidden: no more than ``1 - dead`` is drawn from."""
        return self._root.dead

    def draw(self, count: int, rng: torch.Generator, *, max_trials: int = 100_000, batch: int = 64) -> AdaptiveDraws:
        """``count`` draws, or as many as ``max_trials`` give.

        Raises ``InvalidInput`` where all that ``law`` draws has been found forbidden.
        """
        kept: list[Tensor] = []
        trials = found = 0
        while found < count and trials < max_trials:
            if self.dead >= 1 - 1e-12:
                raise InvalidInput(f"no text of up to {self.law.max_length} tokens meets the constraint")
            tried = self._try(min(batch, max_trials - trials), rng)
            allowed = self.constraint(tried.x) < math.inf
            good = allowed.nonzero().squeeze(1)[: count - found]
            trials += int(good[-1]) + 1 if found + len(good) == count else len(tried.x)
            found += len(good)
            kept.append(tried.x[good])
            self._bury(tried, (~allowed).nonzero().squeeze(1))
        return AdaptiveDraws(torch.cat(kept), trials)

    @torch.inference_mode()
    def _try(self, size: int, rng: torch.Generator) -> Redrawn:
        model, longest = self.law.model, self.law.max_length
        x = torch.full((size, longest), model.space.pad_id, device=model.allowed.device)
        noise = torch.rand((size, longest), dtype=torch.float64, device=rng.device, generator=rng).to(x.device)
        decoder = _LivingDecoder(self._tokens, x, x.new_zeros(size), noise, score_end=False, scored=True)
        decoder.nodes = [self._root] * size
        return decoder.written([size])

    def _bury(self, tried: Redrawn, rows: Tensor) -> None:
        """Enter what is dead of the texts of ``rows int64 [n]``."""
        lengths = self.law.model.space.lengths(tried.x)
        for row in rows.tolist():
            length = int(lengths[row])
            tokens = [
                *tried.x[row, :length].tolist(),
                *([self.law.model.eos_id] if length < self.law.max_length else []),
            ]
            chances = tried.scores[row, 0, : len(tokens)].exp().tolist()
            self._enter(tokens[: self._dead_from(tried.x[row], length)], chances)

    def _dead_from(self, x: Tensor, length: int) -> int:
        """How many tokens the shortest dead beginning of ``x int64 [width]`` has; its end counts as one."""
        if self.hopeless is None:
            return length + 1
        column = torch.arange(len(x), device=x.device)
        held = column < torch.arange(length + 1, device=x.device).unsqueeze(1)
        known = self.hopeless(x.where(held, self.law.model.space.pad_id)).nonzero().squeeze(1)
        return int(known[0]) if len(known) else length + 1

    def _enter(self, tokens: list[int], chances: list[float]) -> None:
        path = [self._root]
        for token, chance in zip(tokens, chances, strict=False):
            if path[-1].dead == 1:
                return
            path.append(path[-1].children.setdefault(token, _Node(chance)))
        more = 1 - path[-1].dead
        path[-1].dead, path[-1].children = 1.0, {}
        for node, below in zip(path[-2::-1], path[:0:-1], strict=True):
            more *= below.chance
            node.dead = min(1.0, node.dead + more)


class _LivingTokens(TokenDistribution[Autoregressive]):
    def draw_living(
        self, logits: Iterable[Tensor], column: Tensor, u: Tensor, living: Tensor, *begun: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As ``draw``, with the weight of each token times ``living float64 [rows, vocabulary]``.

        The log-probabilities are those without this.
        """
        parts = []
        for part, at, quantile, share, *text in aligned_parts(logits, column, u, living, *begun):
            own, weights = self._shares(part, at, None, *text)
            token = Weights(weights.double() * share).at(quantile)
            parts.append((token, *self._scores(own, Weights(weights), at, token)))
        tokens, log_probs, nlls = map(torch.cat, zip(*parts, strict=True))
        return tokens, log_probs, nlls


class _LivingDecoder(Decoder):
    """Writes texts that are not known to be dead; ``nodes``: where in the trie each row is, if it still is."""

    law: Any
    nodes: list[_Node | None]

    def next_tokens(self, rows: Tensor, place: Tensor, logits: Iterable[Tensor], reach: tuple[int, int]) -> Tensor:
        where = rows.tolist()
        living = torch.ones((len(where), len(self.law.model.allowed)), dtype=torch.float64, device=rows.device)
        for index, row in enumerate(where):
            node = self.nodes[row]
            for token, child in node.children.items() if node else ():
                living[index, token] = 1 - child.dead
        begun = (self.x[rows],) if self.law.reads_beginnings else ()
        token, log_probs, nlls = self.law.draw_living(logits, place, self.noise[rows, place], living, *begun)
        self.scores[rows, place] = torch.stack([log_probs, nlls], dim=1)
        self.x[rows, place] = token
        for row, drawn in zip(where, token.tolist(), strict=True):
            node = self.nodes[row]
            self.nodes[row] = node.children.get(drawn) if node else None
        drawn_tokens: Tensor = token
        return drawn_tokens
