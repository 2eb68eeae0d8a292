"""Texts that hold the keywords by construction, drawn whole: what importance sampling needs, and chains start from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lm_adapters.locks.base import free_sites
from lm_adapters.locks.keywords import Keywords
from lm_adapters.locks.span_matching import tokens_after
from lm_adapters.models.masked_lm import MaskedLM
from lm_adapters.proposals.truncation import Truncation
from samplers import EnergyTerm, InvalidInput
from samplers.randomness import categorical, log_share

__all__ = ["KeywordFill", "fill_masks"]

ATTEMPTS = 100  # rounds of drawing again what filled a keyword in a second time


class KeywordFill:
    """Keywords at random places, the rest filled from left to right by a masked language model.

    ``q(x)``, up to a constant, is the product of: the number of free tokens, uniform on what the bounds allow; the
    places of the keywords among them, uniform (their order too, where it is free); and each free token's conditional
    given what stands already, the keywords on both sides included. A draw in which the keywords are found elsewhere
    than they were put (the model wrote one of them again, further left), or that a hard term ``given`` forbids, is
    drawn anew; the constant is the probability that it need not be. Self-normalised weights, and hence importance
    sampling, do not see it.

    Cost: a pass a free token, to draw as to score. Raises ``InvalidInput`` where the keywords do not fit.
    """

    def __init__(
        self,
        model: MaskedLM,
        lock: Keywords,
        *,
        min_length: int,
        max_length: int,
        truncation: Truncation | None = None,
        given: Sequence[EnergyTerm] = (),
    ) -> None:
        lock.check_length(max_length)
        self.model, self.lock, self.truncation = model, lock, truncation or Truncation()
        self.min_length, self.max_length, self.given = min_length, max_length, given
        space = model.space
        self._first = [space.tokenizer(word, add_special_tokens=False)["input_ids"] for word in lock.words]
        self._later = [tokens_after(space, word, " ") for word in lock.words]
        longest = sum(max(len(first), len(later)) for first, later in zip(self._first, self._later, strict=True))
        self._most = max(0, max_length - longest)  # free tokens
        self._fewest = min(self._most, max(0, min_length - lock.min_length))

    def sample(self, sample_shape: torch.Size) -> Tensor:
        """``int64 [n, max_length]``, from the device's global generator as ``torch.distributions`` do."""
        device = self.model.device
        rng = torch.default_generator if device.type == "cpu" else torch.cuda.default_generators[device.index or 0]
        return self.draw(math.prod(sample_shape), rng)

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """``int64 [count, max_length]``."""
        kept: list[Tensor] = []
        missing = count
        for _ in range(ATTEMPTS):
            placed, pieces = self._place(missing, rng)
            x = fill_masks(self.model, placed, rng, truncation=self.truncation)
            kept.append(x[(self.lock.pieces(x) == pieces).all(dim=1) & _possible(self.given, x)])
            missing -= len(kept[-1])
            if not missing:
                return torch.cat(kept)
        terms = ", ".join(term.name for term in (self.lock, *self.given))
        raise InvalidInput(f"the model finds no start that keeps to {terms}; ask for less")

    def log_prob(self, value: Tensor) -> Tensor:
        """``float64 [n]`` in nats, up to a constant; ``-inf`` for what is never drawn."""
        free = free_sites(self.model.space, self.lock, value)
        count = free.sum(dim=1)
        possible = self.lock.found(value) & (count >= self._fewest) & (count <= self._most)
        total = torch.full((len(value),), -math.inf, dtype=torch.float64, device=value.device)
        rows = possible.nonzero().squeeze(1)
        if len(rows):
            total[rows] = self._fill_log_prob(value[rows], free[rows]) - self._log_places(count[rows])
        return total

    def _log_places(self, free: Tensor) -> Tensor:
        """Log of the number of places, in all orders where that is free, for ``free [rows]`` free tokens."""
        n, k = free.double(), len(self.lock.words)
        places = torch.lgamma(n + k + 1) - torch.lgamma(n + 1)
        return places if self.lock.any_order else places - math.lgamma(k + 1)

    def _place(self, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Masked states and the piece that each column belongs to, 0 for none, ``int64 [count, max_length]`` each."""
        x = torch.full((count, self.max_length), self.model.space.pad_id)
        pieces = torch.zeros_like(x)
        words = len(self.lock.words)
        for row in range(count):
            free = int(torch.randint(self._fewest, self._most + 1, (), generator=rng, device=rng.device))
            order = _permutation(words, rng) if self.lock.any_order else list(range(words))
            places = sorted(_permutation(free + words, rng)[:words])
            put = dict(zip(places, order, strict=True))
            ids: list[int] = []
            for item in range(free + words):
                if item in put:
                    spelled = (self._later if ids else self._first)[put[item]]
                    pieces[row, len(ids) : len(ids) + len(spelled)] = put[item] + 1
                    ids += spelled
                else:
                    ids.append(self.model.space.mask_id)
            x[row, : len(ids)] = torch.tensor(ids)
        return x.to(self.model.device), pieces.to(self.model.device)

    def _fill_log_prob(self, x: Tensor, free: Tensor) -> Tensor:
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        seen = x.masked_fill(free, self.model.space.mask_id)
        for site in _in_turn(free):
            chosen = log_share(self.model.scores(seen, site, self.truncation), x[site].unsqueeze(1))
            total.index_add_(0, site.nonzero(as_tuple=True)[0], chosen.squeeze(1))
            seen = torch.where(site, x, seen)
        return total


def fill_masks(
    model: MaskedLM,
    x: Tensor,
    rng: torch.Generator,
    *,
    truncation: Truncation | None = None,
    given: Sequence[EnergyTerm] = (),
) -> Tensor:
    """``int64 [rows, width]`` with every mask token drawn from its conditional, from left to right.

    A state that holds a mask token is outside every target, so chains that start from masks are filled first. Rows that
    one of the hard terms ``given`` then forbids (a lock that misses a piece, a forbidden word) are filled again;
    ``InvalidInput`` when that never ends. Cost: one pass for each mask of the row that has the most.
    """
    filled = x
    for site in _in_turn(x == model.space.mask_id):
        filled = filled.masked_scatter(site, categorical(model.scores(filled, site, truncation), rng))
    for _ in range(ATTEMPTS):
        rows = (~_possible(given, filled)).nonzero().squeeze(1)
        if len(rows) == 0:
            return filled
        filled = filled.index_copy(0, rows, fill_masks(model, x[rows], rng, truncation=truncation))
    terms = ", ".join(term.name for term in given)
    raise InvalidInput(f"the model finds no start that keeps to {terms}; ask for less")


def _permutation(count: int, rng: torch.Generator) -> list[int]:
    return torch.randperm(count, generator=rng, device=rng.device).tolist()


def _possible(given: Sequence[EnergyTerm], x: Tensor) -> Tensor:
    """``bool [rows]``: no term forbids the text."""
    possible = torch.ones(len(x), dtype=torch.bool, device=x.device)
    for term in given:
        possible &= term(x) < math.inf
    return possible


def _in_turn(free: Tensor) -> Iterator[Tensor]:
    """``bool [rows, width]``: the first free site of each row, then the second, ..."""
    rank = free.cumsum(dim=1)
    for turn in range(1, int(rank.max()) + 1):
        yield free & (rank == turn)
