"""Limits on words and lengths, and energies that give a length its weight. Each is a term for any sum of energies."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lm_adapters.text import TextSpace
from samplers import Constraint, Energy, EnergyTerm, InvalidInput, evaluate, named, term_names

__all__ = ["ForbiddenWords", "LengthPrior", "LengthRange", "PerToken", "WordLimit", "check_compatible", "word_spans"]

WORD = re.compile(r"\w+(?:['\u2019]\w+)*")


class ForbiddenWords(Constraint):
    """0 nats where none of ``words`` stands in the decoded text, ``+inf`` elsewhere.

    Whole words: "art" does not forbid "party". A word ends where its letters and digits do, so "dog" forbids "dog's"
    too. A phrase of several words is one item. It is text that is compared, however it is cut into tokens, spaced
    around signs (a tokenizer may write "don ' t") or encoded (Unicode NFKC), and a word is looked for as the
    tokenizer writes it too (without its accents, say). Meant for scripts that put spaces between words.

    Raises ``InvalidInput`` for no words and for an empty one.
    """

    def __init__(self, space: TextSpace, words: Sequence[str], ignore_case: bool = True) -> None:
        if isinstance(words, str) or not words:
            raise InvalidInput(f"the forbidden words are {words!r}; give a list of at least one")
        if any(not word.strip() for word in words):
            raise InvalidInput(f"one of the forbidden words {list(words)} is empty; take it out")
        written = space.tokenizer.batch_decode(space.tokenizer(list(words), add_special_tokens=False)["input_ids"])
        pattern = _any_of([*words, *filter(str.strip, written)], ignore_case)

        def free(x: Tensor) -> Tensor:
            found = [pattern.search(_plain(text, ignore_case)) is not None for text in space.decode(x)]
            return ~torch.tensor(found, dtype=torch.bool, device=x.device)

        super().__init__("forbidden words", free)


class LengthRange(Constraint):
    """0 nats for texts of ``low`` to ``high`` tokens, both included, ``+inf`` elsewhere.

    Raises ``InvalidInput`` unless ``1 <= low <= high``.
    """

    def __init__(self, space: TextSpace, low: int, high: int) -> None:
        if not 1 <= low <= high:
            raise InvalidInput(f"the length range is {low} to {high} tokens; give 1 <= low <= high")

        def fits(x: Tensor) -> Tensor:
            lengths = space.lengths(x)
            return (lengths >= low) & (lengths <= high)

        super().__init__("length", fits)


class WordLimit(Constraint):
    """0 nats for decoded texts of at most ``max_words`` words, ``+inf`` elsewhere.

    A word is a run of letters and digits, apostrophes inside it included. Both halves of "well-known" count, so that
    words cannot be joined to pass for one: a text within the limit is so by any other count as well.

    Raises ``InvalidInput`` for a limit below 1.
    """

    def __init__(self, space: TextSpace, max_words: int) -> None:
        if max_words < 1:
            raise InvalidInput(f"max_words is {max_words}; give at least 1")

        def fits(x: Tensor) -> Tensor:
            counts = [len(word_spans(text)) for text in space.decode(x)]
            return torch.tensor(counts, device=x.device) <= max_words

        super().__init__("words", fits)


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where each word that ``WordLimit`` counts starts and ends."""
    return [match.span() for match in WORD.finditer(text)]


class LengthPrior(EnergyTerm):
    """``-log p(l)`` nats for a text of ``l`` tokens, ``p(l) = h(l) prod over k < l of (1 - h(k))``, ``l >= 1``.

    ``hazard`` maps lengths ``1, 2, ...`` (``float64 [n]``) to ``h``, the probability that a text which has come to
    that length stops there. The empty text has ``p = 0``. ``p`` is a law (its sum is 1) if ``sum h`` diverges.

    As a factor of a target over texts of every length it makes the target proper if it falls faster than the mass of
    the other factors rises: ``sum over l of p(l) S(l)`` must be finite, ``S(l)`` the sum of ``exp(-E)`` over the texts
    of ``l`` tokens. ``p_LM ** gamma`` with ``gamma < 1`` has ``S`` rising like ``c ** l``, ``c`` above 1 as a rule, so
    by itself it has no law at all, and with a constant hazard ``h`` only where ``c (1 - h) < 1``. ``stopping`` is
    enough for every ``c``.

    Raises ``InvalidInput`` where a hazard is outside [0, 1].
    """

    name = "length prior"

    def __init__(self, space: TextSpace, hazard: Callable[[Tensor], Tensor]) -> None:
        self.space, self.hazard = space, hazard
        self._log_prob(1)

    @classmethod
    def stopping(cls, space: TextSpace, epsilon: float) -> LengthPrior:
        """``h(l) = 1 - (1 - epsilon) ** l``: ``p(l) = h(l) (1 - epsilon) ** (l (l - 1) / 2)``.

        The lower bound on stopping of a self-terminating language model (Welleck et al. 2020, arXiv:2002.02492). It
        falls faster than any ``c ** -l``, so it makes every target proper whose energy is bounded below by a multiple
        of the length. The larger ``epsilon``, the shorter the texts: alone, it has its median near
        ``sqrt(1.4 / epsilon)`` tokens. Texts of more than about ``37 / epsilon`` are forbidden: there ``h`` rounds to
        1. Raises ``InvalidInput`` for ``epsilon`` outside (0, 1).
        """
        if not 0 < epsilon < 1:
            raise InvalidInput(f"epsilon is {epsilon}; give a probability above 0 and below 1")
        return cls(space, lambda lengths: -torch.expm1(lengths * math.log1p(-epsilon)))

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        return -self._log_prob(x.shape[1]).to(x.device)[self.space.lengths(x)]

    def _log_prob(self, width: int) -> Tensor:
        """``float64 [width + 1]``: the log-probabilities of lengths 0 to ``width``."""
        lengths = torch.arange(1, width + 1, dtype=torch.float64)
        hazard = torch.as_tensor(self.hazard(lengths), dtype=torch.float64)
        if bool((outside := ~((hazard >= 0) & (hazard <= 1))).any()):
            at = int(outside.nonzero()[0])
            raise InvalidInput(f"the hazard of length {at + 1} is {hazard[at]:g}; give a probability")
        reached = torch.cat([torch.zeros(1, dtype=torch.float64), torch.log1p(-hazard).cumsum(0)[:-1]])
        return torch.cat([torch.full((1,), -math.inf, dtype=torch.float64), hazard.log() + reached])


class PerToken(EnergyTerm):
    """``energy / length`` nats a token; an empty text keeps its energy.

    A weight or a temperature means something only relative to the scale of an energy. A sum over tokens grows with
    the text, so at one temperature the law is sharper on long texts than on short ones, and short ones win. Per token
    it is neither; a temperature is then smaller by a factor of the length: the 0.03 with which Liu et al. 2020
    (arXiv:1909.03588) anneal paraphrases is per token. ``exp(-E / length)`` has no finite sum over texts of all
    lengths, so bound the length or give it a prior. Wrap terms one by one to see each in the output.
    """

    def __init__(self, energy: Energy, space: TextSpace) -> None:
        self.energy = energy if isinstance(energy, EnergyTerm) else named(term_names(energy)[0], energy)
        self.space, self.name, self.is_constraint = space, f"{self.energy.name} per token", self.energy.is_constraint

    @property
    def expensive(self) -> bool:  # type: ignore[override]
        return self.energy.expensive

    @property
    def lower_bound(self) -> float:  # type: ignore[override]
        return min(0.0, self.energy.lower_bound)

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        return evaluate(self.energy, x, hint).energy / self._lengths(x)

    def candidate_values(self, x: Tensor, site: Tensor, values: Tensor) -> Tensor:
        return self.energy.candidate_values(x, site, values) / self._lengths(x).unsqueeze(1)

    def _lengths(self, x: Tensor) -> Tensor:
        return self.space.lengths(x).clamp(min=1)


def check_compatible(
    keywords: Sequence[str],
    tokens: int,
    *,
    forbidden: Sequence[str] = (),
    max_length: int | None = None,
    max_words: int | None = None,
    ignore_case: bool = True,
) -> None:
    """Raise ``InvalidInput``, naming both, where no text can hold the keywords and keep another constraint.

    ``tokens`` is the fewest that the keywords take together (``Keywords.min_length``), ``max_length`` the most that a
    text may have; the rest as for ``ForbiddenWords`` and ``WordLimit``.
    """
    for keyword in keywords if forbidden else ():
        if found := _any_of(forbidden, ignore_case).search(_plain(keyword, ignore_case)):
            raise InvalidInput(f"the keyword {keyword!r} holds the forbidden word {found[0]!r}; drop one of the two")
    listed = ", ".join(map(repr, keywords))
    if max_length is not None and tokens > max_length:
        raise InvalidInput(f"the keywords {listed} take {tokens} tokens, a text has at most {max_length}; allow more")
    words = sum(len(WORD.findall(keyword)) for keyword in keywords)
    if max_words is not None and words > max_words:
        raise InvalidInput(f"the keywords {listed} are {words} words, a text has at most {max_words}; allow more")


def _any_of(words: Sequence[str], ignore_case: bool) -> re.Pattern[str]:
    """Finds any of ``words`` as a whole in a ``_plain`` text."""
    patterns = []
    for word in words:
        # Letters and digits in one piece, each other sign for itself.
        first, *others = re.findall(r"\w+|[^\w\s]", _plain(word, ignore_case))
        pattern = (r"(?<!\w)" if _is_word(first) else "") + re.escape(first)
        before = first
        for part in others:
            pattern += (r"\s+" if _is_word(before) and _is_word(part) else r"\s*") + re.escape(part)
            before = part
        patterns.append(pattern + (r"(?!\w)" if _is_word(before) else ""))
    return re.compile("|".join(patterns))


def _is_word(part: str) -> bool:
    return re.match(r"\w", part) is not None


def _plain(text: str, ignore_case: bool) -> str:
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'")
    return unicodedata.normalize("NFKC", text.casefold()) if ignore_case else text
