"""The distribution of the next token of a text: a model's, truncated and bounded in length."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from lm_adapters.forward.log_probs import aligned_parts
from lm_adapters.proposals.truncation import Truncation
from samplers.randomness import Weights, joined

if TYPE_CHECKING:
    from lm_adapters.text import TextSpace

__all__ = ["Boost", "Following", "TokenDistribution", "Vocabulary"]


class Vocabulary(Protocol):
    """What a text may hold: ``allowed bool [vocabulary]``, and the token that ends it, which never occurs in one."""

    @property
    def allowed(self) -> Tensor: ...

    @property
    def eos_id(self) -> int: ...


class Following(Protocol):
    """What may follow the beginning of a text, such as ``NextTokens`` of a grammar."""

    def allowed(self, x: Tensor, place: Tensor, end_id: int | None = None) -> Tensor:
        """``bool [rows, vocabulary]``: after the first ``place int64 [rows]`` tokens of ``x int64 [rows, width]``.

        The token ``end_id`` is among them where the text may end there.
        """

    def fitting(self, x: Tensor, place: Tensor, room: Tensor) -> Tensor:
        """As ``allowed`` without the end: tokens after which ``room int64 [rows]`` more are enough, as far as is known.

        A function of its arguments alone, whatever was asked before.
        """

    def spelling(self, x: Tensor, place: Tensor) -> Tensor:
        """``int64 [rows]``: where all that may follow begins one string, the token that writes most of it; else -1.

        Of the first ``place int64 [rows]`` tokens of ``x``. A function of its arguments alone.
        """


class Boost(Protocol):
    """What is made likelier after the beginning of a text, such as the words of a ``WordBoost``."""

    def check(self, space: TextSpace) -> None:
        """Raise ``InvalidInput`` where texts of ``space`` have other tokens than it knows."""

    def shifted(self, logits: Tensor, begun: Tensor, place: Tensor, end_id: int) -> Tensor:
        """``logits [rows, vocabulary]``, in nats changed as the first ``place [rows]`` tokens of ``begun`` ask for."""


M = TypeVar("M", bound=Vocabulary)
UNFIT = 1e-3  # share of draws that do not ask whether a text can end in time
SPELT = 0.8  # share of draws that write a string that must come in the longest tokens, as tokenizers do
EVEN, FEW = 0.05, 64  # share of draws that take any of the tokens that fit alike, where these are few


class TokenDistribution(Generic[M]):
    """A proposable token or the end, from a model's logits under ``truncation``, renormalised.

    The end is forbidden before column ``min_length`` and certain at ``max_length``. With ``following`` only what it
    allows is drawn; where that is nothing, the end. Of a thousand draws 999 are among the tokens that it says are
    fitting, after which the text can end by ``max_length``, where there are any: nothing is forbidden by that, so that
    the support does not depend on how far it looks. Where a string must come, four of five draws take the longest token
    of it: the model, which does not know of it, finds its first letter likely and cannot go on from there. Where few
    tokens fit, one draw in twenty takes any of them alike: a bracket after a ``1``, where the model would never put it,
    while further digits only put off its price. A ``boost`` changes the logits before all that. With either pass the
    beginnings of the texts, ``begun int64 [rows, any]``.
    """

    def __init__(
        self,
        model: M,
        truncation: Truncation,
        min_length: int,
        max_length: int,
        following: Following | None = None,
        boost: Boost | None = None,
    ) -> None:
        self.model, self.truncation, self.following, self.boost = model, truncation, following, boost
        self.min_length, self.max_length = min_length, max_length
        self._possible = model.allowed.clone()
        self._possible[model.eos_id] = True
        self._text = model.allowed.clone()
        self._text[model.eos_id] = False

    @property
    def reads_beginnings(self) -> bool:
        """Whether what is drawn depends on the text so far, beside the model's logits."""
        return self.following is not None or self.boost is not None

    def draw(
        self,
        logits: Iterable[Tensor],
        column: Tensor,
        u: Tensor,
        reach: tuple[int, int] | None = None,
        *begun: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens ``int64 [rows]`` at the quantiles ``u float64 [rows]``, and their ``log_probs``.

        ``reach``: all of ``column`` are between these two, where that is known; it saves work and changes nothing.
        """
        parts = []
        for part, at, quantile, *text in aligned_parts(logits, column, u, *begun):
            own, weights = self._weights(part, at, reach, *text)
            if reach is not None and reach[1] < self.max_length:
                token, log_prob = weights.at_with_log_prob(quantile)
                parts.append((token, log_prob, _nlls(own, token.unsqueeze(1)).squeeze(1)))
            else:
                token = weights.at(quantile).where(at != self.max_length, self.model.eos_id)
                parts.append((token, *self._scores(own, weights, at, token)))
        tokens, log_probs, nlls = map(joined, zip(*parts, strict=True))
        return tokens, log_probs, nlls

    def sample(
        self,
        logits: Iterable[Tensor],
        column: Tensor,
        u: Tensor,
        reach: tuple[int, int] | None = None,
        *begun: Tensor,
    ) -> Tensor:
        """The tokens of ``draw`` alone."""
        parts = []
        for part, at, quantile, *text in aligned_parts(logits, column, u, *begun):
            token = self._weights(part, at, reach, *text)[1].at(quantile)
            ends = reach is None or reach[1] >= self.max_length
            parts.append(token.where(at != self.max_length, self.model.eos_id) if ends else token)
        return joined(parts)

    def log_probs(
        self, logits: Iterable[Tensor], column: Tensor, tokens: Tensor, *begun: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Of ``tokens int64 [rows]`` at ``column int64 [rows]``, ``float64 [rows]`` each, in nats.

        First the log-probability, which at ``max_length`` is 0 for the end and ``-inf`` for the rest; then ``-log p``
        under the model itself, NaN where that rounds to infinity. ``logits`` come in parts of rows.
        """
        parts = []
        for part, at, token, *text in aligned_parts(logits, column, tokens, *begun):
            parts.append(self._scores(*self._weights(part, at, None, *text), at, token))
        log_probs, nlls = map(joined, zip(*parts, strict=True))
        return log_probs, nlls

    def _scores(self, own: Tensor, weights: Weights, column: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        token, full = token.unsqueeze(1), (column == self.max_length).unsqueeze(1)
        only_end = torch.where(token == self.model.eos_id, 0.0, -math.inf)
        log_probs = weights.log_prob(token).where(~full, only_end)
        return log_probs.squeeze(1), _nlls(own, token).squeeze(1)

    def _weights(
        self, logits: Tensor, column: Tensor, reach: tuple[int, int] | None, *begun: Tensor
    ) -> tuple[Tensor, Weights]:
        """The model's probabilities ``[rows, vocabulary]``, and weights of what ``column [rows]`` may hold."""
        own, shares = self._shares(logits, column, reach, *begun)
        return own, Weights(shares)

    def _shares(
        self, logits: Tensor, column: Tensor, reach: tuple[int, int] | None, *begun: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As ``_weights``, both ``[rows, vocabulary]``; those of a row add up to any number."""
        own = drawn = logits.softmax(dim=1)
        if self.boost is not None:
            logits = self.boost.shifted(logits, begun[0], column, self.model.eos_id)
            drawn = logits.softmax(dim=1)
        if self.following is not None:
            return own, self._followed(logits, column, *begun)
        if reach is not None and not self.truncation.changes:
            if reach[0] >= self.min_length:
                return own, drawn * self._possible
            if reach[1] < self.min_length:
                return own, drawn * self._text
        too_short = column < self.min_length
        if self.truncation.changes:
            scores = self.truncation.scores(logits, self._possible, (too_short, self.model.eos_id))
            return own, scores.softmax(dim=1)
        weights = drawn * self._possible
        weights[too_short, self.model.eos_id] = 0.0
        return own, weights

    def _followed(self, logits: Tensor, column: Tensor, begun: Tensor) -> Tensor:
        """``[rows, vocabulary]``: the shares of what may follow, most of it among what fits."""
        assert self.following is not None
        allowed, end = self._after(column, begun), self.model.eos_id
        shares = self.truncation.scores(logits, allowed).softmax(dim=1)
        fitting = allowed & self.following.fitting(begun, column, self.max_length - 1 - column)
        fitting[:, end] = allowed[:, end]
        rows = (fitting.any(dim=1) & (fitting != allowed).any(dim=1)).nonzero().squeeze(1)
        if len(rows):
            most = self.truncation.scores(logits[rows], fitting[rows]).softmax(dim=1)
            shares[rows] = UNFIT * shares[rows] + (1 - UNFIT) * most
        longest = self.following.spelling(begun, column)
        rows = (longest >= 0).nonzero().squeeze(1)
        rows = rows[allowed[rows, longest[rows]]]
        shares[rows] *= 1 - SPELT
        shares[rows, longest[rows]] += SPELT
        count = fitting.sum(dim=1)
        rows = ((count > 1) & (count <= FEW)).nonzero().squeeze(1)
        shares[rows] = (1 - EVEN) * shares[rows] + EVEN * fitting[rows] / count[rows].unsqueeze(1)
        return shares

    def _after(self, column: Tensor, begun: Tensor) -> Tensor:
        """``bool [rows, vocabulary]``: what may follow the first ``column [rows]`` tokens of ``begun``."""
        assert self.following is not None
        allowed = self.following.allowed(begun, column, self.model.eos_id) & self._possible
        allowed[:, self.model.eos_id] &= column >= self.min_length
        allowed[:, self.model.eos_id] |= ~allowed.any(dim=1)
        return allowed


def _nlls(own: Tensor, token: Tensor) -> Tensor:
    """``-log p`` of ``token [rows, 1]`` under ``own [rows, vocabulary]``, NaN where that rounds to infinity."""
    return (-own.gather(1, token).double().log()).nan_to_num(nan=math.nan, posinf=math.nan)
