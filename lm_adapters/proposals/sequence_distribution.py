"""A model that reads from left to right as a distribution over texts that can be drawn from and evaluated."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor

from lm_adapters.forward.kv_cache import together
from lm_adapters.forward.log_probs import beside
from lm_adapters.forward.oom import run_passes, split_on_oom
from lm_adapters.models.autoregressive import Autoregressive, ended
from lm_adapters.proposals.redraw import Redrawn, redraw
from lm_adapters.proposals.truncation import Truncation
from samplers import InvalidInput
from samplers.randomness import Weights

__all__ = ["SequenceDistribution"]

MANY = 512  # texts written on together


class SequenceDistribution:
    """Texts of ``min_length`` to ``max_length`` proposable tokens, one token after the other.

    Each token, or the end, is drawn from the model's logits under ``truncation``, renormalised over proposable tokens
    and the end. The end is forbidden before ``min_length`` and certain at ``max_length``. So the law is a product of
    known conditionals that adds up to 1: a proposal for rejection and importance sampling (with truncation only for
    targets that never leave what is kept). It is not the model's own law given the length: that is the target
    ``SequenceEnergy`` under a bound on the length.

    Raises ``InvalidInput`` for lengths that cannot be.
    """

    def __init__(
        self, model: Autoregressive, *, min_length: int = 1, max_length: int, truncation: Truncation | None = None
    ) -> None:
        if not 1 <= min_length <= max_length:
            raise InvalidInput(f"min_length={min_length}, max_length={max_length}: give 1 <= min_length <= max_length")
        if max_length > model.max_length:
            raise InvalidInput(f"max_length is {max_length}, the model takes {model.max_length} tokens; lower it")
        self.model, self.min_length, self.max_length = model, min_length, max_length
        self.truncation = truncation or Truncation()
        self._possible = model.allowed.clone()
        self._possible[model.eos_id] = True

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """``int64 [*sample_shape, max_length]``, by torch's global generator, as ``torch.distributions`` draw."""
        shape = (math.prod(sample_shape), self.max_length)
        empty = torch.full(shape, self.model.space.pad_id, device=self.model.allowed.device)
        texts = self.redraw(empty, empty.new_zeros(len(empty)), nats=False).x
        return texts.reshape(*sample_shape, self.max_length)

    def log_prob(self, x: Tensor) -> Tensor:
        """``float64 [...]`` of texts ``x int64 [..., width]`` of any width."""
        flat = x.reshape(-1, x.shape[-1])
        return self.token_scores(flat)[:, 0].sum(dim=1).reshape(x.shape[:-1])

    def token_scores(self, x: Tensor) -> Tensor:
        """``float64 [rows, 2, width + 1]`` of each token and of the end, 0 beyond: the log-probability, and the
        ``-log p`` by the model itself, NaN where that rounds to infinity.

        The end has no log-probability at ``max_length``, where only it can stand; a token there has ``-inf``, and what
        is behind it is not scored. Cost: one pass over the texts.
        """
        lengths, tokens = self.model.space.lengths(x).unsqueeze(1), ended(self.model, x)
        column = torch.arange(tokens.shape[1], device=x.device).expand_as(tokens)
        scores = torch.zeros((*tokens.shape, 2), dtype=torch.float64, device=x.device)
        scores[..., 0].masked_fill_((column >= self.max_length) & (column < lengths), -math.inf)
        wanted = column <= lengths.clamp(max=self.max_length)

        def run(rows: Tensor) -> Tensor:
            asked = wanted[rows]
            _, *told = self.told(self.model.logits(x[rows], asked), column[rows][asked], tokens[rows][asked])
            return torch.stack(told, dim=1)

        widths = lengths.squeeze(1).clamp(max=self.max_length) + 1
        for rows, told in run_passes(widths, self.model.tokens_per_pass, run, scorer=self.model.lm):
            scores[rows] = scores[rows].masked_scatter(wanted[rows].unsqueeze(2), told)
        return scores.transpose(1, 2)

    def redraw(self, x: Tensor, cut: Tensor, rng: torch.Generator | None = None, *, nats: bool = True) -> Redrawn:
        """Keep the first ``cut [rows]`` tokens of each text and draw the rest.

        ``x`` is at least ``max_length`` wide, ``cut`` at most the length and ``max_length``. Without ``rng`` the global
        generator draws. The draws depend on neither ``tokens_per_pass`` nor the order of the passes. Without ``nats``
        those of the end at ``max_length`` are left out, and the pass that tells them.

        Cost: a pass over what is kept, and one of one token for each token drawn, of the texts that go on.
        """
        shape, device = (len(x), self.max_length), "cpu" if rng is None else rng.device
        noise = torch.rand(shape, dtype=torch.float64, device=device, generator=rng).to(x.device)
        new = x.clone()
        scores = torch.zeros((len(x), 2, x.shape[1] + 1), dtype=torch.float64, device=x.device)
        # A pass of one token a text is fastest with many texts, but holds all that they have read.
        tokens = self.model.tokens_per_pass
        most = max(1, min(MANY, tokens // 2), tokens // (self.max_length + 1))
        for group in together(cut, self.model.ragged):
            for rows in group.split(most):
                run = partial(redraw, self, x, cut, noise, nats)
                for part, drawn in split_on_oom(rows, run, scorer=self.model.lm, tokens=self.max_length + 1):
                    new[part], scores[part] = drawn
        return Redrawn(new, scores)

    def told(
        self, logits: Iterable[Tensor], column: Tensor, tokens: Tensor | None = None, u: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Given ``tokens int64 [rows]``, or those at the quantiles ``u``; their log-probability, ``float64 [rows]``, as
        what stands at ``column [rows]``, 0 at ``max_length``, where only the end can; and their ``-log p`` by the model
        itself, NaN where that rounds to infinity.
        """
        told = []
        for part, at, given in beside(logits, column, u if tokens is None else tokens):
            own, weights = self._law(part, at)
            full = (at == self.max_length).unsqueeze(1)
            token = given.unsqueeze(1) if u is None else weights.at(given).unsqueeze(1).where(~full, self.model.eos_id)
            nats = -own.gather(1, token).double().log()
            log_prob = weights.log_prob(token).where(~full, torch.where(token == self.model.eos_id, 0.0, -math.inf))
            told.append((token, log_prob, nats.masked_fill(nats == math.inf, math.nan)))
        token, log_prob, nats = (torch.cat(column).squeeze(1) for column in zip(*told, strict=True))
        return token, log_prob, nats

    def _law(self, logits: Tensor, column: Tensor) -> tuple[Tensor, Weights]:
        """Probabilities ``[rows, vocabulary]`` by the model, and the weights of what may stand at ``column [rows]``."""
        own, barred = logits.softmax(dim=1), column < self.min_length
        if self.truncation.changes:
            scores = self.truncation.scores(logits, self._possible, (barred, self.model.eos_id))
            return own, Weights(scores.softmax(dim=1))
        weights = own * self._possible
        weights[barred, self.model.eos_id] = 0.0
        return own, Weights(weights)
