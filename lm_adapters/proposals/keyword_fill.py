"""Draw whole texts that hold the keywords by construction: for importance sampling, and as starts of chains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from lm_adapters.energies.hints import TextHint
from lm_adapters.locks.keywords import Keywords
from lm_adapters.models.masked_lm import MaskedLM
from lm_adapters.proposals.token_distribution import Following
from lm_adapters.proposals.truncation import Truncation
from samplers import Drawn, EnergyTerm, InvalidInput
from samplers.randomness import Weights, log_share

__all__ = [
    "KeywordFill",
    "draw_masks",
    "drawn_in_turns",
    "fill_masks",
    "global_generator",
    "in_turn",
    "masks_log_prob",
    "possible_texts",
    "rows_of",
]

ATTEMPTS = 100  # rounds of redrawing texts that break a constraint


class KeywordFill:
    """Keywords at random places, the rest filled from left to right by a masked language model.

    ``q(x)``, up to a constant, is the product of: the number of free tokens, uniform on what the bounds allow; the
    places of the keywords among them, uniform (their order too, where it is free); the spelling of each keyword,
    uniform on those that may stand at its place; and each free token's conditional given what is already there, the
    keywords on both sides included. A draw is rejected and repeated if its length is out of bounds, if the keywords are
    found elsewhere than they were placed (the model wrote one of them again, further left), or if one of
    ``constraints`` forbids it. The constant is the probability of not being rejected; self-normalised weights, and so
    importance sampling, do not depend on it.

    With ``following``, the ``NextTokens`` of a grammar, free tokens are drawn among those that may follow what stands
    before them, as far as there are any; add the constraint as well.

    Cost: one pass for each free token to draw, which tells the density too, and as many to score. Raises
    ``InvalidInput`` where the keywords do not fit.
    """

    def __init__(
        self,
        model: MaskedLM,
        lock: Keywords,
        *,
        min_length: int,
        max_length: int,
        truncation: Truncation | None = None,
        constraints: Sequence[EnergyTerm] = (),
        following: Following | None = None,
    ) -> None:
        lock.check_length(max_length)
        self.following = following
        self.model, self.lock, self.truncation = model, lock, truncation or Truncation()
        self.min_length, self.max_length, self.constraints = min_length, max_length, constraints
        self._first = [piece.spellings_at(0) for piece in lock.spelt]
        self._later = [piece.spellings_at(1) for piece in lock.spelt]
        longest = sum(max(map(len, spellings)) for spellings in self._first)
        self._max_free = max_length - lock.min_length
        self._min_free = min(self._max_free, max(0, min_length - longest))

    def sample(self, sample_shape: torch.Size) -> Tensor:
        """``int64 [n, max_length]``, drawn by the device's global generator, as in ``torch.distributions``."""
        return self.draw(math.prod(sample_shape), global_generator(self.model.device))

    def sample_and_log_prob(self, count: int) -> Drawn:
        """``sample`` of ``count`` texts, with their ``log_prob``, which costs no pass."""
        return self._drawn(count, global_generator(self.model.device))

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """``int64 [count, max_length]``. Raises ``InvalidInput`` if rejections do not end."""
        return self._drawn(count, rng).x

    def _drawn(self, count: int, rng: torch.Generator) -> Drawn:
        def attempt(missing: int) -> Drawn:
            placed, pieces = self._place(missing, rng)
            x, log_q, hint = self._fill(placed, rng)
            ways = self._log_places((placed == self.model.mask_id).sum(dim=1)) + self._log_spellings(pieces)
            allowed = (self.lock.pieces(x) == pieces).all(dim=1) & possible_texts(self.constraints, x)
            return rows_of(Drawn(x, log_q - ways, hint), allowed)

        return drawn_in_turns(attempt, count, (self.lock, *self.constraints))

    def mass(self, count: int, rng: torch.Generator) -> tuple[float, float]:
        """An estimate from ``count`` texts of what ``exp(log_prob)`` adds up to, and its standard error.

        It is the share of texts that are not rejected, for each of the numbers of free tokens, over which ``log_prob``
        is not normalised.
        """
        rows = [row for _ in range(count) if (row := self._try_row(rng)) is not None]
        numbers = self._max_free - self._min_free + 1
        if not rows:
            return 0.0, 0.0
        placed, pieces = self._table(rows)
        x = self._fill(placed, rng).x
        kept = (self.lock.pieces(x) == pieces).all(dim=1) & possible_texts(self.constraints, x)
        share = int(kept.sum()) / count
        return numbers * share, numbers * math.sqrt(share * (1 - share) / count)

    def log_prob(self, value: Tensor) -> Tensor:
        """``float64 [n]`` in nats, up to a constant, for ``value int64 [n, width]``; ``-inf`` if it is never drawn."""
        held, found = self.lock.search(value)
        free = self.model.space.is_token(value) & (held == 0)
        count, length = free.sum(dim=1), self.model.space.lengths(value)
        possible = found & (length >= self.min_length) & (length <= self.max_length)
        total = torch.full((len(value),), -math.inf, dtype=torch.float64, device=value.device)
        rows = possible.nonzero().squeeze(1)
        if len(rows):
            ways = self._log_places(count[rows]) + self._log_spellings(held[rows])
            total[rows] = self._fill_log_prob(value[rows], free[rows]) - ways
        return total

    def _log_spellings(self, held: Tensor) -> Tensor:
        """Log of the number of ways to spell the keywords at their places in ``held int64 [rows, width]``."""
        total = torch.zeros(len(held), dtype=torch.float64, device=held.device)
        for number, (first, later) in enumerate(zip(self._first, self._later, strict=True), 1):
            at_start = held[:, 0] == number
            total += torch.where(at_start, math.log(len(first)), math.log(max(1, len(later))))
        return total

    def _log_places(self, free: Tensor) -> Tensor:
        """Log of the number of ways to place the keywords among ``free [rows]`` free tokens."""
        n, k = free.double(), len(self.lock.words)
        places = torch.lgamma(n + k + 1) - torch.lgamma(n + 1)
        return places if self.lock.any_order else places - math.lgamma(k + 1)

    def _place(self, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Masked states, and the number of the keyword at each column or 0, ``int64 [count, max_length]`` each."""
        return self._table([self._row(rng) for _ in range(count)])

    def _table(self, rows: Sequence[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor]:
        x = torch.full((len(rows), self.max_length), self.model.space.pad_id)
        pieces = torch.zeros_like(x)
        for row, (ids, held) in enumerate(rows):
            x[row, : len(ids)], pieces[row, : len(ids)] = torch.tensor(ids), torch.tensor(held)
        return x.to(self.model.device), pieces.to(self.model.device)

    def _row(self, rng: torch.Generator) -> tuple[list[int], list[int]]:
        """Tokens with masks, and the number of the keyword that each belongs to, or 0."""
        for _ in range(ATTEMPTS):
            if (row := self._try_row(rng)) is not None:
                return row
        raise InvalidInput(f"no room for {self.lock} in {self.min_length} to {self.max_length} tokens; allow more")

    def _try_row(self, rng: torch.Generator) -> tuple[list[int], list[int]] | None:
        """``None`` where the length is out of bounds, or a keyword has no spelling at its place."""
        words = len(self.lock.words)
        free = _below(self._min_free, self._max_free + 1, rng)
        order = _permutation(words, rng) if self.lock.any_order else list(range(words))
        places = sorted(_permutation(free + words, rng)[:words])
        keyword_at = dict(zip(places, order, strict=True))
        ids: list[int] = []
        held: list[int] = []
        for item in range(free + words):
            tokens: Sequence[int] = [self.model.mask_id]
            if item in keyword_at:
                tokens = _one_of((self._later if ids else self._first)[keyword_at[item]], rng)
            ids += tokens
            held += [keyword_at.get(item, -1) + 1] * len(tokens)
        if self.min_length <= len(ids) <= self.max_length and set(range(1, words + 1)) <= set(held):
            return ids, held
        return None

    def _fill(self, placed: Tensor, rng: torch.Generator) -> Drawn:
        """``placed int64 [rows, width]`` with its masks drawn, and their ``_fill_log_prob``."""
        return draw_masks(self.model, placed, rng, self.truncation, self.following)

    def _fill_log_prob(self, x: Tensor, free: Tensor) -> Tensor:
        return masks_log_prob(self.model, x, free, self.truncation, self.following)


def fill_masks(
    model: MaskedLM,
    x: Tensor,
    rng: torch.Generator,
    *,
    truncation: Truncation | None = None,
    constraints: Sequence[EnergyTerm] = (),
    following: Following | None = None,
) -> Tensor:
    """``x int64 [rows, width]`` with every mask token drawn from its conditional, from left to right.

    A state with a mask token is outside every target, so chains that start from masks must be filled first. Rows that
    one of ``constraints`` then forbids (a lock without one of its pieces, a forbidden word) are filled again; raises
    ``InvalidInput`` if that does not end. ``following``: as for ``KeywordFill``. Cost: one pass for each mask of the
    row that has the most.
    """
    truncation = truncation or Truncation()
    filled = draw_masks(model, x, rng, truncation, following).x
    for _ in range(ATTEMPTS):
        rows = (~possible_texts(constraints, filled)).nonzero().squeeze(1)
        if len(rows) == 0:
            return filled
        filled = filled.index_copy(0, rows, draw_masks(model, x[rows], rng, truncation, following).x)
    terms = ", ".join(term.name for term in constraints)
    raise InvalidInput(f"no draw of the model satisfies {terms}; relax a constraint")


def draw_masks(
    model: MaskedLM, x: Tensor, rng: torch.Generator, truncation: Truncation, following: Following | None = None
) -> Drawn:
    """``fill_masks`` without constraints, and ``masks_log_prob`` of what was drawn, which costs no pass."""
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for site in in_turn(x == model.mask_id):
        weights = Weights(_scores(model, x, site, truncation, following).softmax(dim=1))
        token = weights.draw(rng)
        total.index_add_(0, site.nonzero(as_tuple=True)[0], weights.log_prob(token.unsqueeze(1)).squeeze(1))
        x = x.masked_scatter(site, token)
    return Drawn(x, total)


def masks_log_prob(
    model: MaskedLM, x: Tensor, free: Tensor, truncation: Truncation, following: Following | None = None
) -> Tensor:
    """``float64 [rows]`` in nats: of drawing the ``free`` tokens of ``x int64 [rows, width]`` by ``fill_masks``."""
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    context = x.masked_fill(free, model.mask_id)
    for site in in_turn(free):
        chosen = log_share(_scores(model, context, site, truncation, following), x[site].unsqueeze(1))
        total.index_add_(0, site.nonzero(as_tuple=True)[0], chosen.squeeze(1))
        context = torch.where(site, x, context)
    return total


def _scores(model: MaskedLM, x: Tensor, site: Tensor, truncation: Truncation, following: Following | None) -> Tensor:
    """Log-weights ``[sites, vocabulary]`` of the tokens at ``site bool [rows, width]`` given the rest."""
    allowed = model.allowed
    if following is not None:
        row, column = site.nonzero(as_tuple=True)
        may_follow = following.allowed(x[row], column) & model.allowed
        allowed = may_follow.where(may_follow.any(dim=1, keepdim=True), model.allowed)
    return truncation.scores(model.logits(x, site), allowed)


def drawn_in_turns(attempt: Callable[[int], Drawn], count: int, terms: Sequence[EnergyTerm]) -> Drawn:
    """``count`` draws, by calls of ``attempt`` with the number that is missing, which returns so many or fewer.

    Raises ``InvalidInput`` with the ``terms`` that forbid draws where that does not end.
    """
    kept: list[Drawn] = []
    missing = count
    for _ in range(ATTEMPTS):
        kept.append(attempt(missing))
        missing -= len(kept[-1].x)
        if not missing:
            x, log_q, hints = zip(*kept, strict=True)
            return Drawn(torch.cat(x), torch.cat(log_q), None if hints[0] is None else TextHint.join(hints))
    names = ", ".join(term.name for term in terms)
    raise InvalidInput(f"no draw of the model satisfies {names}; relax a constraint")


def rows_of(drawn: Drawn, allowed: Tensor) -> Drawn:
    """Those rows of ``drawn`` that are ``allowed bool [rows]``."""
    rows = allowed.nonzero().squeeze(1)
    return Drawn(drawn.x[rows], drawn.log_q[rows], None if drawn.hint is None else drawn.hint[rows])


def global_generator(device: torch.device) -> torch.Generator:
    """Torch's own, which ``torch.distributions`` draw from."""
    return torch.default_generator if device.type == "cpu" else torch.cuda.default_generators[device.index or 0]


def _below(low: int, high: int, rng: torch.Generator) -> int:
    return int(torch.randint(low, high, (), generator=rng, device=rng.device))


def _one_of(spellings: Sequence[Sequence[int]], rng: torch.Generator) -> Sequence[int]:
    """None of no spellings."""
    return spellings[_below(0, len(spellings), rng) if len(spellings) > 1 else 0] if spellings else []


def _permutation(count: int, rng: torch.Generator) -> list[int]:
    return torch.randperm(count, generator=rng, device=rng.device).tolist()


def possible_texts(constraints: Sequence[EnergyTerm], x: Tensor) -> Tensor:
    """``bool [rows]``: no term forbids the text."""
    possible = torch.ones(len(x), dtype=torch.bool, device=x.device)
    for term in constraints:
        possible &= term(x) < math.inf
    return possible


def in_turn(free: Tensor) -> Iterator[Tensor]:
    """``bool [rows, width]``: the first free site of each row, then the second, ..."""
    rank = free.cumsum(dim=1)
    for turn in range(1, int(rank.max()) + 1):
        yield free & (rank == turn)
