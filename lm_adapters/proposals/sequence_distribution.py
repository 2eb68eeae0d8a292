"""A distribution over texts, from a model that reads from left to right: draws and log-probabilities."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from lm_adapters.energies.hints import TextHint
from lm_adapters.forward.kv_cache import batchable_rows
from lm_adapters.forward.oom import run_passes, split_on_oom
from lm_adapters.models.autoregressive import Autoregressive, with_end_token
from lm_adapters.proposals.redraw import Redrawn, redraw
from lm_adapters.proposals.token_distribution import Boost, Following, TokenDistribution
from lm_adapters.proposals.truncation import Truncation
from samplers import Drawn, InvalidInput

__all__ = ["SequenceDistribution"]

MANY = 512  # texts that are continued in one pass


class SequenceDistribution:
    """Texts of ``min_length`` to ``max_length`` proposable tokens, one token after the other.

    Each token, or the end, is drawn from the model's logits under ``truncation``, renormalised over proposable tokens
    and the end. The end is forbidden before ``min_length`` and certain at ``max_length``. The result is a product of
    known conditionals that sums to 1: a proposal for rejection and importance sampling (with truncation only for
    targets whose texts are all still possible). It is not the model's own distribution given the length: that is the
    target ``SequenceEnergy`` with a bound on the length.

    With ``following``, such as ``NextTokens`` of a grammar, each token is drawn among those that it allows, and
    renormalised over them, nearly always among those after which the text can end by ``max_length`` (see
    ``TokenDistribution``). A text that nothing may follow ends there, and is no match. Of the model's law given the
    grammar this is a proposal, with the product of the masses that were allowed as the weight: importance sampling, and
    the moves that redraw by it, take that in. With a ``boost``, such as a ``WordBoost``, the model's logits are changed
    before: another proposal with known densities, whose hint still says what the model itself holds of a text.

    Raises ``InvalidInput`` unless ``1 <= min_length <= max_length <= model.max_length``, and for a ``boost`` of other
    tokens.
    """

    def __init__(
        self,
        model: Autoregressive,
        *,
        min_length: int = 1,
        max_length: int,
        truncation: Truncation | None = None,
        following: Following | None = None,
        boost: Boost | None = None,
    ) -> None:
        if not 1 <= min_length <= max_length:
            raise InvalidInput(f"min_length={min_length}, max_length={max_length}: give 1 <= min_length <= max_length")
        if max_length > model.max_length:
            raise InvalidInput(f"max_length is {max_length}, the model takes {model.max_length} tokens; lower it")
        self.model, self.min_length, self.max_length = model, min_length, max_length
        self.truncation = truncation or Truncation()
        if boost is not None:
            boost.check(model.space)
        self.following, self.boost = following, boost
        self._next_token = TokenDistribution(model, self.truncation, min_length, max_length, following, boost)

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """``int64 [*sample_shape, max_length]``, drawn by torch's global generator, as in ``torch.distributions``."""
        shape = (math.prod(sample_shape), self.max_length)
        empty = torch.full(shape, self.model.space.pad_id, device=self.model.allowed.device)
        texts = self.redraw(empty, empty.new_zeros(len(empty)), score_end=False, scored=False).x
        return texts.reshape(*sample_shape, self.max_length)

    def sample_and_log_prob(self, count: int) -> Drawn:
        """``sample`` of ``count`` texts, with their ``log_prob`` and, as a ``TextHint``, the model's own ``-log p``.

        Cost: that of the draw; texts of ``max_length`` tokens are one token longer, the end.
        """
        empty = torch.full((count, self.max_length), self.model.space.pad_id, device=self.model.allowed.device)
        x, scores = self.redraw(empty, empty.new_zeros(count))
        log_q, nlls = scores.sum(dim=2).unbind(dim=1)
        return Drawn(x, log_q, TextHint(self.model, nlls, each=scores[:, 1, :-1]))

    def log_prob(self, x: Tensor) -> Tensor:
        """``float64 [...]`` in nats, for texts ``x int64 [..., width]`` of any width."""
        flat = x.reshape(-1, x.shape[-1])
        return self.token_scores(flat)[:, 0].sum(dim=1).reshape(x.shape[:-1])

    def token_scores(self, x: Tensor) -> Tensor:
        """``float64 [rows, 2, width + 1]`` in nats, for each token and the end, 0 after that.

        ``[:, 0]`` is the log-probability, ``[:, 1]`` is ``-log p`` under the model itself, NaN where that rounds to
        infinity. At ``max_length`` the end has log-probability 0, since only it is possible there; a token there has
        ``-inf``, and what follows it is not scored. Cost: one pass over the texts ``x int64 [rows, width]``.
        """
        lengths, tokens = self.model.space.lengths(x).unsqueeze(1), with_end_token(self.model, x)
        column = torch.arange(tokens.shape[1], device=x.device).expand_as(tokens)
        scores = torch.zeros((*tokens.shape, 2), dtype=torch.float64, device=x.device)
        scores[..., 0].masked_fill_((column >= self.max_length) & (column < lengths), -math.inf)
        wanted = column <= lengths.clamp(max=self.max_length)

        def run(rows: Tensor) -> Tensor:
            here = wanted[rows]
            logits = self.model.logits(x[rows], here)
            begun = (x[rows][here.nonzero()[:, 0]],) if self._next_token.reads_beginnings else ()
            found = self._next_token.log_probs(logits, column[rows][here], tokens[rows][here], *begun)
            return torch.stack(found, dim=1)

        widths = lengths.squeeze(1).clamp(max=self.max_length) + 1
        for rows, part in run_passes(widths, self.model.tokens_per_pass, run, scorer=self.model.lm):
            scores[rows] = scores[rows].masked_scatter(wanted[rows].unsqueeze(2), part)
        return scores.transpose(1, 2)

    def redraw(
        self,
        x: Tensor,
        cut: Tensor,
        rng: torch.Generator | None = None,
        *,
        score_end: bool = True,
        scored: bool = True,
    ) -> Redrawn:
        """Keep the first ``cut int64 [rows]`` tokens of each text and draw the rest.

        ``x int64 [rows, width]`` is at least ``max_length`` wide, ``cut`` at most the length and ``max_length``.
        Without ``rng`` torch's global generator draws. The draws depend on neither ``tokens_per_pass`` nor the order
        of the passes. Without ``score_end`` the score of the end at ``max_length`` is left out, which saves a pass;
        without ``scored`` all scores are, which saves half of what is done beside the passes.

        Cost: a pass over what is kept, then for each further token a pass of one token over the unfinished texts.
        """
        shape, device = (len(x), self.max_length), "cpu" if rng is None else rng.device
        noise = torch.rand(shape, dtype=torch.float64, device=device, generator=rng).to(x.device)
        new = x.clone()
        scores = torch.zeros((len(x), 2, x.shape[1] + 1), dtype=torch.float64, device=x.device)
        # A pass of one token per text is fastest with many texts, but holds the cache of them all.
        tokens = self.model.tokens_per_pass
        most = max(1, min(MANY, tokens // 2), tokens // (self.max_length + 1))
        for group in batchable_rows(cut, self.model.ragged):
            for rows in group.split(most):
                run = partial(redraw, self._next_token, x, cut, noise, score_end, scored=scored)
                for part, drawn in split_on_oom(rows, run, scorer=self.model.lm, tokens=self.max_length + 1):
                    new[part], scores[part] = drawn
        return Redrawn(new, scores)
