"""Populations of texts that grow from left to right towards a power of a model's law."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lm_adapters.forward.batching import passes
from lm_adapters.forward.kv_cache import Prefixes, batchable_rows
from lm_adapters.forward.log_probs import aligned_parts, token_nlls
from lm_adapters.forward.oom import split_on_oom
from lm_adapters.grammars.adaptive import Accepted, accepted
from lm_adapters.grammars.next_tokens import NextTokens
from lm_adapters.models.autoregressive import Autoregressive, with_end_token
from lm_adapters.proposals.redraw import DENSE
from lm_adapters.proposals.token_distribution import TokenDistribution
from lm_adapters.proposals.truncation import Truncation
from samplers import InvalidInput, ProposalError
from samplers.randomness import Weights

__all__ = ["Continuation", "Grown"]

MANY = 512  # texts that grow in one pass
# Of 4 with causal-en and three prompts, populations of 128: log Z differed least at 1 / 1.5 (by 0.1 to 1.3 nats; at
# 1 / 2.5 and at 1 by 0.4 to 2.3), and at 1 / 4 two of three missed 1 to 3 nats of it.
ROOT = 3
UNLIKELY = 1e3  # nats of a token, at most, in what is expected of a text


class Grown(NamedTuple):
    """``particles`` continuations of each of ``texts`` beginnings: rows, those of one beginning together.

    x
        ``int64 [rows, width]``.
    log_weights
        ``float64 [rows]``: their weighted sum follows the target; the mean weight estimates its integral, without bias.
    nlls
        ``float64 [rows, 2]`` in nats: ``-log p`` of the new tokens, and of the end, 0 where the text was cut off.
    before
        ``float64 [texts]``: ``-log p`` of the beginnings.
    """

    x: Tensor
    log_weights: Tensor
    nlls: Tensor
    before: Tensor


class Continuation:
    """Sequential Monte Carlo over tokens: ``p(rest | beginning)^power`` by particles that grow together.

    ``p`` is the law of ``StoppedEnergy``: a text of ``max_length`` tokens is cut off and needs no end; none ends before
    ``min_length``. A token is drawn from the model's conditional at ``temperature``, renormalised over proposable
    tokens and the end, and weighs ``p^power`` over that. Every ``block`` tokens the texts that are not finished are
    resampled among themselves by weight, and each then has their mean weight; finished ones keep theirs. So a short
    text does not lose to the beginning of a long one, whose price is still to come. With ``kept`` the first particle of
    each population is the old text (see ``SuffixSMC``).

    The law is kept at any ``temperature``, by default ``power ** (-1 / 3)``. At ``1 / power`` a text with one unlikely
    token before a likely rest is hardly ever drawn, and populations agree on a mass that lacks it.

    With ``following``, the ``NextTokens`` of a grammar, the law is that of the texts that match it: each token is drawn
    among those that may follow and weighs ``p^power`` over that, whatever mass was allowed, and a text that is no match
    in the end weighs nothing. Half of the texts are resampled by their weight times ``p^power`` of what closes them in
    the fewest tokens and ends them, and weigh as much less: the price of what must still come, a key of a schema or the
    end of a string, is paid by all in advance, so that those do not win who have put it off (a twisted target, as in
    Zhao et al. 2024, arXiv:2404.17546, with the model's own continuation as the twist). With ``adaptive`` tokens are
    drawn and tried one by one in place of a mask, and the allowed mass is estimated, without bias (see ``accepted``):
    the weights estimate the same.

    Reference: Doucet, de Freitas & Gordon 2001, chapter 1; Naesseth, Lindsten & Schon 2019 (arXiv:1903.04797).
    Cost: a pass over the beginnings, then for each further token a pass of one token over unfinished texts. The prompt
    is read once, a beginning once for all its particles. With ``following`` also a pass over closings every ``block``
    tokens.

    Raises ``InvalidInput`` for a ``power`` or ``temperature`` not above 0, a ``block`` below 1, and lengths that cannot
    be; for ``adaptive`` without a grammar.
    """

    def __init__(
        self,
        model: Autoregressive,
        *,
        power: float = 1.0,
        temperature: float | None = None,
        min_length: int = 1,
        max_length: int,
        block: int = 8,
        following: NextTokens | None = None,
        adaptive: bool = False,
    ) -> None:
        if adaptive and following is None:
            raise InvalidInput("adaptive is for tokens that a grammar allows or not; give following")
        if not (math.isfinite(power) and power > 0):
            raise InvalidInput(f"power is {power}; give a finite number above 0")
        if block < 1:
            raise InvalidInput(f"block is {block}; give at least 1 token")
        if not 1 <= min_length <= max_length <= model.max_length:
            raise InvalidInput(
                f"min_length={min_length}, max_length={max_length}: give 1 <= min_length <= max_length <= "
                f"{model.max_length}"
            )
        self.model, self.power, self.block = model, power, block
        self.min_length, self.max_length = min_length, max_length
        self.temperature = power ** (-1 / ROOT) if temperature is None else temperature
        self.following, self.adaptive = following, adaptive
        bounds = (model, Truncation(self.temperature), min_length, max_length)
        self._law = _TriedTokens(*bounds, following) if adaptive and following else _Tokens(*bounds, following)

    def config(self) -> dict[str, Any]:
        names = ("model", "power", "temperature", "min_length", "max_length", "block", "following", "adaptive")
        return {name: getattr(self, name) for name in names}

    def grow(self, x: Tensor, cut: Tensor, particles: int, rng: torch.Generator, *, kept: bool = False) -> Grown:
        """Continue the first ``cut int64 [texts]`` tokens of ``x int64 [texts, width]``, each ``particles`` times.

        ``x`` is at least ``max_length`` wide. Draws depend on neither ``tokens_per_pass`` nor the order of passes.
        Raises ``ProposalError`` where an old text that is ``kept`` could not be drawn, and ``InvalidInput`` for one
        beside ``adaptive``, whose estimates would have to be drawn given that text.
        """
        if kept and self.adaptive:
            raise InvalidInput("no text can be kept with adaptive; leave adaptive out")
        size, device = len(x) * particles, x.device
        noise = torch.rand((size, self.max_length, 2), dtype=torch.float64, device=rng.device, generator=rng).to(device)
        grown = Grown(
            x.new_empty(size, x.shape[1]),
            torch.empty(size, dtype=torch.float64, device=device),
            torch.empty((size, 2), dtype=torch.float64, device=device),
            torch.empty(len(x), dtype=torch.float64, device=device),
        )
        tokens = self.model.tokens_per_pass
        most = max(1, max(min(MANY, tokens // 2), tokens // (self.max_length + 1)) // particles)

        def run(texts: Tensor) -> Grown:
            rows = _rows_of(texts, particles)
            return _Growing(self, x[texts], cut[texts], noise[rows], particles, kept).grown()

        for group in batchable_rows(cut, self.model.ragged):
            for some in group.split(most):
                for texts, part in split_on_oom(some, run, scorer=self.model.lm, tokens=self.max_length + 1):
                    rows = _rows_of(texts, particles)
                    for whole, piece in zip(grown, part, strict=True):
                        whole[texts if piece is part.before else rows] = piece
        if kept and bool((grown.log_weights == math.inf).any()):
            text = int(grown.log_weights.argmax()) // particles
            raise ProposalError(f"the model cannot draw the text of chain {text}; start from one that it draws")
        return grown


class _Tokens(TokenDistribution[Autoregressive]):
    def draw_others(
        self, logits: Iterable[Tensor], column: Tensor, u: Tensor, given: Tensor, *begun: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As ``draw``, but tokens that are ``given int64 [rows]`` are not drawn; -1: drawn."""
        parts = []
        for part, at, quantile, kept, *text in aligned_parts(logits, column, u, given, *begun):
            own, weights = self._weights(part, at, None, *text)
            token = kept.where(kept >= 0, weights.at(quantile))
            parts.append((token, *self._scores(own, weights, at, token)))
        tokens, log_probs, nlls = map(torch.cat, zip(*parts, strict=True))
        return tokens, log_probs, nlls


class _TriedTokens(_Tokens):
    """Draws by ``accepted``; the log-probability is that without the grammar, less the log of the estimated mass."""

    def __init__(
        self, model: Autoregressive, truncation: Truncation, min_length: int, max_length: int, following: NextTokens
    ) -> None:
        super().__init__(model, truncation, min_length, max_length)
        self.grammar = following

    def draw_others(
        self, logits: Iterable[Tensor], column: Tensor, u: Tensor, given: Tensor, *begun: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        parts = []
        for part, at, quantile, text in aligned_parts(logits, column, u, *begun):
            own, weights = self._shares(part, at, None)
            shares = (weights.double() / weights.double().sum(dim=1, keepdim=True)).cpu().numpy()
            found = [
                self._tried(*row) for row in zip(shares, at.tolist(), quantile.tolist(), text.tolist(), strict=True)
            ]
            token = torch.tensor([max(each.token, 0) for each in found], device=at.device)
            none = torch.tensor([each.token < 0 for each in found], device=at.device)
            token = token.where(~none, self.model.eos_id)
            log_mass = torch.tensor([each.log_mass for each in found], dtype=torch.float64, device=at.device)
            log_q, nlls = self._scores(own, Weights(weights), at, token)
            parts.append((token, (log_q - log_mass).masked_fill(none, math.inf), nlls))
        tokens, log_probs, nlls = map(torch.cat, zip(*parts, strict=True))
        return tokens, log_probs, nlls

    def _tried(self, shares: NDArray[np.float64], place: int, u: float, text: list[int]) -> Accepted:
        before, end = text[:place], self.model.eos_id
        rng = np.random.default_rng(int(u * 2**53))
        return accepted(shares, lambda token: self.grammar.may_follow(before, token, end), rng)


class _Growing:
    """The populations of some beginnings; arguments as in ``Continuation.grow``, ``noise`` of their rows."""

    def __init__(self, how: Continuation, x: Tensor, cut: Tensor, noise: Tensor, particles: int, kept: bool) -> None:
        self.how, self.law, self.model = how, how._law, how.model
        self.begun, self.cut, self.noise, self.particles, self.kept = x, cut, noise, particles, kept
        self.text = torch.arange(len(x), device=x.device).repeat_interleave(particles)
        before = torch.arange(x.shape[1], device=x.device) < cut.unsqueeze(1)
        self.x = x.where(before, self.model.space.pad_id)[self.text]
        self.place = cut[self.text]
        self.unfinished = self.place < how.max_length
        self.log_weights = torch.zeros(len(self.text), dtype=torch.float64, device=x.device)
        self.nlls = self.log_weights.new_zeros(len(self.text), 2)
        self.before = self.log_weights.new_zeros(len(x))

    def grown(self) -> Grown:
        before = self._begin()
        slot, step = self.text.clone(), 1  # slot: the row of ``before`` that each row continues
        while True:
            chosen = self._resampled(step, self._ahead(before, slot)) if step % self.how.block == 0 else None
            if chosen is not None:
                slot = slot[chosen]
            rows = self.unfinished.nonzero().squeeze(1)
            if not len(rows):
                return Grown(self.x, self.log_weights, self.nlls, self.before)
            if step == 1 or chosen is not None or len(rows) < DENSE * len(before):
                before = before.take(slot[rows])
                slot[rows] = torch.arange(len(rows), device=rows.device)
            read = torch.full_like(before.counts, self.model.eos_id)
            read[slot[rows]] = self.x[rows, self.place[rows] - 1]
            wanted = torch.zeros_like(read, dtype=torch.bool).index_fill_(0, slot[rows], True)
            logits, before = self.model.extend(before, read.unsqueeze(1), wanted.unsqueeze(1))
            self._draw(rows, logits)
            step += 1

    def _begin(self) -> Prefixes:
        """Read the beginnings, draw the first token of every row."""
        x, prefixes = self.begun, []
        columns, tokens = torch.arange(x.shape[1] + 1, device=x.device), with_end_token(self.model, x)
        order = list(passes(self.cut + 1, self.model.tokens_per_pass))
        for texts in order:
            wanted = columns <= self.cut[texts].unsqueeze(1)
            logits, read = self.model.read(x[texts], wanted)
            row, column = wanted.nonzero(as_tuple=True)
            last, first = column == self.cut[texts][row], []
            for part, here, token, text in aligned_parts(logits, last, tokens[texts][wanted], texts[row]):
                first.append(part[here])
                if not bool(here.all()):
                    nlls = token_nlls([part[~here]], token[~here].unsqueeze(1)).squeeze(1)
                    self.before.index_add_(0, text[~here], nlls)
            rows = _rows_of(texts, self.particles)
            growing = rows[self.unfinished[rows]]
            place = torch.zeros_like(self.cut).index_copy_(0, texts, torch.arange(len(texts), device=texts.device))
            if len(growing):
                self._draw(growing, _repeated(torch.cat(first), place[self.text[growing]]))
            prefixes.append(read.take(torch.arange(len(texts), device=texts.device), self.cut[texts]))
        joined = Prefixes.join(prefixes)
        return joined if len(order) == 1 else joined.take(torch.cat(order).argsort())

    def _draw(self, rows: Tensor, logits: Iterator[Tensor]) -> None:
        """Draw the next token of ``rows int64 [n]``, or their end, and weigh it."""
        place, given = self.place[rows], torch.full_like(rows, -1)
        if self.kept:
            old = with_end_token(self.model, self.begun)[self.text[rows], place]
            given = old.where(rows % self.particles == 0, -1)
        begun = () if self.how.following is None else (self.x[rows],)
        token, log_q, nlls = self.law.draw_others(logits, place, self.noise[rows, place, 0], given, *begun)
        ended = token == self.model.eos_id
        # A probability that rounds to 0 is NaN there; whatever drew it, the text has no weight.
        self.log_weights[rows] += (-self.how.power * nlls - log_q).nan_to_num(nan=-math.inf, posinf=math.inf)
        self.nlls[rows] += torch.stack([nlls.where(~ended, 0.0), nlls.where(ended, 0.0)], dim=1)
        self.x[rows[~ended], place[~ended]] = token[~ended]
        self.place[rows] += 1
        self.unfinished[rows] = ~ended & (place + 1 < self.how.max_length)
        if self.how.following is not None:
            finished = rows[~self.unfinished[rows]]
            unmatched = finished[~self.how.following.is_match(self.x[finished])]
            self.log_weights[unmatched] = -math.inf

    def _ahead(self, before: Prefixes, slot: Tensor) -> Tensor:
        """``float64 [rows]``: log of a factor of the weights by which unfinished texts are resampled.

        ``(1 / sum w + h / sum w h) / 2`` within a population: half of the texts are drawn by weight, so that none has
        more than twice what it would have otherwise, and half by what the weight is expected to become, ``h``, see
        ``_expected``. 0 without a grammar.
        """
        if self.how.following is None or not bool(self.unfinished.any()):
            return torch.zeros_like(self.log_weights)
        ahead = self._expected(self.how.following, before, slot).view(-1, self.particles)
        now = self.log_weights.masked_fill(~self.unfinished, -math.inf).view(-1, self.particles)
        shares = [part - (now + part).logsumexp(dim=1, keepdim=True) for part in (torch.zeros_like(ahead), ahead)]
        found = torch.logaddexp(*shares).flatten() - math.log(2)
        return found.where(found.isfinite() & self.unfinished, 0.0)

    def _expected(self, following: NextTokens, before: Prefixes, slot: Tensor) -> Tensor:
        """``float64 [rows]``: log of the weight that a text is expected to take on from here to a match and its end.

        ``power`` times the log-probability of what closes it in the fewest tokens, and of the end; 0 in all of a
        population where that is not known of one of its texts.
        """
        ahead = torch.zeros_like(self.log_weights)
        rows = self.unfinished.nonzero().squeeze(1)
        texts = zip(self.x[rows].tolist(), self.place[rows].tolist(), strict=True)
        closings = [following.closing(tokens[:count]) for tokens, count in texts]
        room = (self.how.max_length - self.place[rows]).tolist()
        known = [[*(each or []), self.model.eos_id][:most] for each, most in zip(closings, room, strict=True)]
        sizes = torch.tensor([len(each) for each in known], device=rows.device)
        width, place = int(sizes.max()), self.place[rows]
        closing = torch.tensor([each + [self.model.eos_id] * (width - len(each)) for each in known], device=rows.device)
        # What fills up short closings must not be read beyond what the model takes.
        fits = int(place.max()) + width <= self.model.max_length
        groups = [torch.arange(len(rows), device=rows.device)] if fits else batchable_rows(place, ragged=False)
        for part in groups:
            some, tokens = rows[part], closing[part, : int(sizes[part].max())]
            wanted = torch.arange(tokens.shape[1], device=rows.device) < sizes[part].unsqueeze(1)
            read = torch.cat([self.x[some, place[part] - 1].unsqueeze(1), tokens[:, :-1]], dim=1)
            logits, _ = self.model.extend(before.take(slot[some]), read, wanted)
            nlls = token_nlls(logits, tokens[wanted].unsqueeze(1)).squeeze(1).clamp(max=UNLIKELY)
            ahead.index_add_(0, some[wanted.nonzero()[:, 0]], -self.how.power * nlls)
        unknown = torch.zeros_like(self.unfinished)
        unknown[rows] = torch.tensor([each is None for each in closings], device=rows.device)
        return ahead.masked_fill(unknown.view(-1, self.particles).any(dim=1).repeat_interleave(self.particles), 0.0)

    def _resampled(self, step: int, ahead: Tensor) -> Tensor:
        """``int64 [rows]``: what each row goes on from. Unfinished ones are drawn by weight, from each other.

        Their weights are those of the law times the factor ``ahead float64 [rows]``, in nats, which is taken back.
        """
        shape = (-1, self.particles)
        unfinished, noise = self.unfinished.view(shape), self.noise[:, step - 1, 1].view(shape)
        log_weights = (self.log_weights + ahead).view(shape).masked_fill(~unfinished, -math.inf)
        total, count = log_weights.logsumexp(dim=1, keepdim=True), unfinished.sum(dim=1, keepdim=True)
        weights = (log_weights - total).exp().nan_to_num(nan=0.0)
        if not self.kept:  # stratified: one draw in each of as many equal shares
            noise = (unfinished.cumsum(dim=1) - 1 + noise).clamp(min=0.0) / count.clamp(min=1)
        cumulative = weights.cumsum(dim=1)
        drawn = torch.searchsorted(cumulative, noise * cumulative[:, -1:], right=True)
        slots = torch.arange(self.particles, device=drawn.device)
        drawn = drawn.minimum(((weights > 0) * slots).amax(dim=1, keepdim=True))
        redrawn = unfinished & (total > -math.inf)
        if self.kept:
            redrawn = redrawn & (slots > 0)
        first = self.text * self.particles
        chosen = first + drawn.where(redrawn, slots).flatten()
        weighed = total - count.log() - ahead[chosen].view(shape)
        self.log_weights = weighed.where(unfinished, self.log_weights.view(shape)).flatten()
        self.x, self.nlls = self.x[chosen], self.nlls[chosen]
        return chosen


def _rows_of(texts: Tensor, particles: int) -> Tensor:
    """``int64 [texts * particles]``: the rows of the particles of ``texts int64 [texts]``."""
    return (texts.unsqueeze(1) * particles + torch.arange(particles, device=texts.device)).flatten()


def _repeated(logits: Tensor, rows: Tensor) -> Iterator[Tensor]:
    """``logits[rows]``, in parts."""
    return (logits[part] for part in rows.split(MANY))
