"""What every experiment returns: the interface of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from experiments.results.cost import Spent

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Run"]


@runtime_checkable
class Run(Protocol):
    """The result of an experiment. ``summary()`` has at least ``trust``, how far to rely on it; ``out``: its folder."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The arguments of the run, as ``config.json`` has them."""

    @property
    def spent(self) -> Spent:
        """Seconds and forward passes."""

    def samples(self) -> Iterator[dict[str, Any]]:
        """One object a kept draw, as ``samples.jsonl`` has them."""

    def summary(self) -> dict[str, Any]:
        """The figures, as ``summary.json`` has them."""

    def shown(self) -> Iterator[tuple[int, float, str]]:
        """Number, energy in nats and text of the draws that are printed; of a search ranked, each text once."""

    def heading(self) -> tuple[str, str]:
        """What the number counts, and what the texts are."""

    def facts(self, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Label and value of each line under the texts."""

    def history(self) -> tuple[Sequence[int], Tensor] | tuple[Sequence[int], Tensor, Tensor | None] | None:
        """Steps ``[kept]`` and energies ``[chains, kept]`` in nats; ``None`` for a run without steps.

        Of a search these are the energies on the way, though only the best text of each chain is a sample.

        A third part says which chains started from below, ``bool [chains]``, where that is known.
        """
