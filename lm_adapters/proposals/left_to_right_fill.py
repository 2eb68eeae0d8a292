"""Whole texts that hold the keywords by construction, filled by a model that reads from left to right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.energies.hints import TextHint
from lm_adapters.forward.log_probs import aligned_parts, token_nlls
from lm_adapters.forward.oom import split_on_oom
from lm_adapters.locks.keywords import Keywords
from lm_adapters.models.autoregressive import Autoregressive, with_end_token
from lm_adapters.models.masked_lm import MaskedLM
from lm_adapters.proposals.keyword_fill import KeywordFill, in_turn
from lm_adapters.proposals.token_distribution import TokenDistribution
from lm_adapters.proposals.truncation import Truncation
from samplers import Drawn, InvalidInput
from samplers.randomness import log_share

__all__ = ["LeftToRightFill", "read_fill", "read_fill_log_prob"]

MANY = 512  # texts that are continued in one pass
DENSE = 0.75  # where fewer of a pass's texts go on, those that are finished are removed from it
TOO_SHORT, OPEN, FULL = 0, 1, 2  # bounds by which the end is never drawn


class LeftToRightFill(KeywordFill):
    """As ``KeywordFill``, but each free token is drawn by ``reader``, given what stands before it.

    The keywords are no surprise to it, so its log weight against the same model's ``SequenceEnergy`` is the
    log-probability of the keywords and of the end where they stand, up to a constant: what sequential Monte Carlo
    brings in by and by. ``model`` places the keywords and has the tokens of ``reader``.

    Cost: to draw, a pass for each column in which a text has a free token, over what stands since the one before, and
    one over the rest; that tells the density, and the reader's own energy too. To score, one pass.
    """

    def __init__(self, reader: Autoregressive, model: MaskedLM, lock: Keywords, **options: Any) -> None:
        super().__init__(model, lock, **options)
        if self.following is not None:
            raise InvalidInput("following is for fills by a masked model; give the constraint alone")
        self.reader = reader

    def _fill(self, placed: Tensor, rng: torch.Generator) -> Drawn:
        return read_fill(self.reader, placed, placed == self.model.mask_id, rng, self.truncation)

    def _fill_log_prob(self, x: Tensor, free: Tensor) -> Tensor:
        return read_fill_log_prob(self.reader, x, free, self.truncation)


def read_fill(reader: Autoregressive, x: Tensor, free: Tensor, rng: torch.Generator, truncation: Truncation) -> Drawn:
    """``x int64 [rows, width]`` with its ``free bool [rows, width]`` tokens drawn one after the other.

    With their ``read_fill_log_prob`` and, as a ``TextHint``, ``-log p`` of the whole texts under the reader itself.
    """
    noise = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
    for site in in_turn(free):
        drawn = torch.rand(int(site.sum()), dtype=torch.float64, device=rng.device, generator=rng)
        noise = noise.masked_scatter(site, drawn.to(x.device))
    law = TokenDistribution(reader, truncation, min_length=OPEN, max_length=FULL)
    new, scores = x.clone(), torch.zeros((len(x), 2), dtype=torch.float64, device=x.device)
    longest = int(reader.space.lengths(x).max()) + 1
    most = max(1, min(MANY, reader.tokens_per_pass // 2), reader.tokens_per_pass // longest)

    def run(rows: Tensor) -> tuple[Tensor, Tensor]:
        return _filled(law, x[rows], free[rows], noise[rows])

    for rows in torch.arange(len(x), device=x.device).split(most):
        for part, (texts, found) in split_on_oom(rows, run, scorer=reader.lm, tokens=longest):
            new[part], scores[part] = texts, found
    return Drawn(new, scores[:, 0], TextHint(reader, scores[:, 1]))


def _filled(law: TokenDistribution[Autoregressive], x: Tensor, free: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The texts, and ``float64 [rows, 2]``: ``log q`` of the free tokens of each, and ``-log p`` of all its tokens."""
    reader, lengths, tokens = law.model, law.model.space.lengths(x), with_end_token(law.model, x)
    free, noise = pad(free, (0, 1)), pad(noise, (0, 1))
    scores = torch.zeros((len(x), 2), dtype=torch.float64, device=x.device)
    columns = torch.arange(tokens.shape[1], device=x.device)
    rows, before, done = torch.arange(len(x), device=x.device), None, 0
    for stop in [*free.any(dim=0).nonzero().squeeze(1).tolist(), int(lengths.max())]:
        if before is None:
            first, wanted = 0, columns <= lengths.clamp(max=stop).unsqueeze(1)
            logits, before = reader.read(x, wanted)
        else:
            going = (lengths[rows] > done).nonzero().squeeze(1)
            if len(going) < DENSE * len(rows):
                rows, before = rows[going], before.take(going)
            first, read = done + 1, tokens[rows, done:stop]
            wanted = columns[first : stop + 1] <= lengths[rows].unsqueeze(1)
            logits, before = reader.extend(before, read.where(reader.space.is_token(read), reader.eos_id), wanted)
        slot, column = wanted.nonzero(as_tuple=True)
        place = (rows[slot], column + first)
        token, found = _read(law, logits, tokens[place], free[place], noise[place])
        tokens[place] = token
        scores.index_add_(0, place[0], found)
        done = stop
    return tokens[:, :-1].where(columns[:-1] < lengths.unsqueeze(1), x), scores


def _read(
    law: TokenDistribution[Autoregressive], logits: Iterable[Tensor], tokens: Tensor, free: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """``tokens int64 [places]``, the ``free`` ones drawn, and for each ``log q`` (0: given) and ``-log p``."""
    known, found = [], []
    for part, token, is_free, u in aligned_parts(logits, tokens, free, noise):
        scores = torch.zeros((len(token), 2), dtype=torch.float64, device=token.device)
        at, given = is_free.nonzero().squeeze(1), (~is_free).nonzero().squeeze(1)
        if len(given):
            scores[given, 1] = token_nlls([part[given]], token[given].unsqueeze(1)).squeeze(1)
        if len(at):
            drawn, log_q, nlls = law.draw([part[at]], torch.full_like(at, TOO_SHORT), u[at])
            token, scores[at] = token.index_copy(0, at, drawn), torch.stack([log_q, nlls], dim=1)
        known.append(token)
        found.append(scores)
    return torch.cat(known), torch.cat(found)


def read_fill_log_prob(reader: Autoregressive, x: Tensor, free: Tensor, truncation: Truncation) -> Tensor:
    """``float64 [rows]`` in nats: of drawing the ``free`` tokens of ``x`` by ``read_fill``."""
    row, values, done = free.nonzero()[:, 0], x[free].unsqueeze(1), 0
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    if not len(row):
        return total  # nothing is drawn, and a pass that wants nothing cannot be
    for logits in reader.logits(x, pad(free, (0, 1))):
        part = slice(done, done := done + len(logits))
        scores = truncation.scores(logits, reader.allowed)
        total.index_add_(0, row[part], log_share(scores, values[part]).squeeze(1))
    return total
