"""What making the starts of a run cost, and the file in which its folder keeps them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.results.cost import counted, totals_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from lm_adapters import TextSpace
    from samplers import RunStore

__all__ = ["STARTS", "Starts", "StoredStarts", "stored_starts"]

STARTS = "starts.safetensors"
LARGEST = 2.0**63  # of a total


@dataclass
class Starts:
    """How those of a run came about: ``totals`` of the cost of making them, and which chains start ``from_below``.

    ``from_below bool [chains]``, on the CPU; ``None`` where all chains start alike.
    """

    totals: dict[str, float] = field(default_factory=dict)
    from_below: Tensor | None = None

    @contextmanager
    def counted(self, models: Iterable[PreTrainedModel]) -> Iterator[None]:
        """Add the passes of ``models`` and the seconds of the block."""
        from samplers import measure_terms

        began = time.monotonic()
        with counted(models) as cost, measure_terms() as terms:
            yield
        for name, value in totals_of(time.monotonic() - began, cost, terms).items():
            self.totals[name] = self.totals.get(name, 0) + value

    def keep(self, store: RunStore, x: Tensor) -> None:
        """Write them to the folder, once it is there."""
        from samplers.storage import save_record

        below = {} if self.from_below is None else {"from_below": self.from_below}
        facts = {"totals": dict(self.totals)}
        store.when_made(lambda: save_record(store.path / STARTS, {"x": x, **below}, facts))


class StoredStarts(NamedTuple):
    """What a run's folder holds: ``x int64 [chains, width]``; the others as in ``Starts``."""

    x: Tensor
    from_below: Tensor | None
    totals: dict[str, float]


def stored_starts(store: RunStore, space: TextSpace, chains: int) -> StoredStarts | None:
    """Those that a run's folder holds; ``None`` where there are none, as in runs of earlier versions.

    Raises ``StoreError`` for a file that cannot be of ``chains`` chains, or has states that are none of ``space``.
    """
    import torch

    from samplers import StoreError
    from samplers.storage import damaged, exists, load_record

    path = store.path / STARTS
    if not exists(path):
        return None

    def expected(forms: Mapping[str, tuple[torch.dtype, tuple[int, ...]]], facts: Mapping[str, Any]) -> bool:
        kind, shape = forms.get("x", (None, ()))
        below, totals = forms.get("from_below"), facts.get("totals")
        return (
            (kind, shape[:1], len(shape)) == (torch.int64, (chains,), 2)
            and forms.keys() <= {"x", "from_below"}
            and below in (None, (torch.bool, (chains,)))
            and isinstance(totals, dict)
            and all(type(value) in (int, float) and 0 <= value < LARGEST for value in totals.values())
        )

    tensors, facts = load_record(path, expected)
    if not bool(space.is_state(tensors["x"]).all()):
        raise StoreError(damaged(path))
    return StoredStarts(tensors["x"], tensors.get("from_below"), facts["totals"])
