"""What a run cost, in the one currency that all samplers share: the forward passes of its models."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from samplers import TermCost

__all__ = ["Cost", "Spent", "counted", "totals_of"]

LEAST = 1e-9  # seconds, for speeds
NOTABLE = 0.25  # of the time of a run
STATES, SECONDS = "states of term ", "seconds of term "  # names of totals


@dataclass
class Cost:
    """Forward passes, their rows and their tokens (padding included).

    An encoder-decoder's halves count apart: an encoder pass that serves many decoder passes counts once.
    """

    forwards: int = 0
    rows: int = 0
    tokens: int = 0

    def __str__(self) -> str:
        return f"{self.forwards:,} forwards, {self.rows:,} rows, {self.tokens:,} tokens"


@dataclass(frozen=True)
class Spent:
    """Seconds and passes of a run, all processes that worked on it together, and a line of ``news`` if there is any.

    ``terms``: texts that each term of the energy scored, and how long it took; ``own`` are the user's own of them.
    ``starts``: tokens and seconds, of all these, that went into the texts to start from.
    """

    seconds: float
    cost: Cost
    news: str = ""
    terms: Mapping[str, TermCost] = field(default_factory=dict)
    own: tuple[str, ...] = ()
    starts: tuple[int, float] = (0, 0.0)

    @classmethod
    def of(
        cls, totals: Mapping[str, float], own: tuple[str, ...] = (), starts: Mapping[str, float] | None = None
    ) -> Spent:
        """From what has been added up, as ``totals_of`` has it, in the run and in making its ``starts``."""
        from samplers import TermCost

        starts = starts or {}
        totals = {name: totals.get(name, 0) + starts.get(name, 0) for name in {**totals, **starts}}
        cost = Cost(*(int(totals.get(field.name, 0)) for field in fields(Cost)))
        names = [name.removeprefix(STATES) for name in totals if name.startswith(STATES)]
        terms = {name: TermCost(int(totals[STATES + name]), totals.get(SECONDS + name, 0.0)) for name in names}
        of_starts = (int(starts.get("tokens", 0)), float(starts.get("seconds", 0.0)))
        return cls(max(totals.get("seconds", 0.0), LEAST), cost, terms=terms, own=own, starts=of_starts)

    def efficiency(self, ess: float) -> dict[str, float]:
        """Effective draws a second and a million tokens, as ``summary.json`` has them."""
        return {
            "ess_per_second": ess / max(self.seconds, LEAST),
            "ess_per_million_tokens": 1e6 * ess / self.cost.tokens if self.cost.tokens else math.nan,
        }

    def facts(self) -> Iterator[tuple[str, str]]:
        """The lines on what the run cost."""
        yield "cost", str(self.cost)
        tokens, seconds = self.starts
        if tokens:
            yield "of it for starts", f"{tokens:,} tokens, {seconds:.1f} s"
        yield from self.notable()

    @property
    def _dearest_first(self) -> list[tuple[str, TermCost]]:
        return sorted(self.terms.items(), key=lambda item: -item[1].seconds)

    def of_terms(self) -> dict[str, dict[str, float]]:
        """As ``summary.json`` has them."""
        return {name: {"texts": term.states, "seconds": term.seconds} for name, term in self._dearest_first}

    def in_words(self) -> Iterator[tuple[str, str]]:
        """Label and value for each term."""
        for name, term in self._dearest_first:
            each = f", {1000 * term.seconds / term.states:.2g} ms each" if term.states else ""
            yield name, f"{term.seconds:.1f} of {self.seconds:.1f} s for {term.states:,} texts{each}"

    def notable(self) -> Iterator[tuple[str, str]]:
        """The line of each term of the user's own that takes a share of the time worth a thought."""
        for name, words in self.in_words():
            if name in self.own and self.terms[name].seconds > NOTABLE * self.seconds:
                yield f"time of {name}", words


def totals_of(seconds: float, cost: Cost, terms: Mapping[str, TermCost]) -> dict[str, float]:
    """As a run's folder adds them up."""
    states = {STATES + name: term.states for name, term in terms.items()}
    of_terms = {SECONDS + name: term.seconds for name, term in terms.items()}
    return {"seconds": seconds, **vars(cost), **states, **of_terms}


@contextmanager
def counted(models: Iterable[PreTrainedModel | None]) -> Iterator[Cost]:
    """Count the passes of these models inside the block; a model that is given twice counts once.

    ``None``, of a model behind a server, is not counted.
    """
    cost = Cost()

    def add(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        (ids,) = arguments
        cost.forwards += 1
        cost.rows += ids.shape[0]
        cost.tokens += ids.numel()

    # A pass looks its tokens up once; a head that is run in parts calls the model again for each.
    tables = {id(table): table for model in models if model for table in _tables(model)}
    hooks = [table.register_forward_pre_hook(add) for table in tables.values()]
    try:
        yield cost
    finally:
        for hook in hooks:
            hook.remove()


def _tables(model: PreTrainedModel) -> list[nn.Module]:
    if model.config.is_encoder_decoder:
        return [half.get_input_embeddings() for half in (model.get_encoder(), model.get_decoder())]
    return [model.get_input_embeddings()]
