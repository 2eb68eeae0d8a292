"""What a run cost, in the one currency that all samplers share: the forward passes of its models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

__all__ = ["Cost", "Spent", "counted"]

LEAST = 1e-9  # seconds, for speeds


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
    """Seconds and passes of a run, all processes that worked on it together, and a line of ``news`` if there is any."""

    seconds: float
    cost: Cost
    news: str = ""

    @classmethod
    def of(cls, totals: Mapping[str, float]) -> Spent:
        """From what a run's folder has added up."""
        cost = Cost(*(int(totals.get(field.name, 0)) for field in fields(Cost)))
        return cls(max(totals.get("seconds", 0.0), LEAST), cost)


@contextmanager
def counted(models: Iterable[PreTrainedModel]) -> Iterator[Cost]:
    """Count the passes of these models inside the block; a model that is given twice counts once."""
    cost = Cost()

    def add(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        (ids,) = arguments
        cost.forwards += 1
        cost.rows += ids.shape[0]
        cost.tokens += ids.numel()

    # A pass looks its tokens up once; a head that is run in parts calls the model again for each.
    tables = {id(table): table for model in models for table in _tables(model)}
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
