"""``--watch``: the texts as they are drawn, in the terminal; a line now and then where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from experiments.results.columns import cut
from experiments.results.figures import nats
from experiments.results.terminal import printable

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table
    from torch import Tensor

    from lm_adapters import TextSpace
    from samplers import ChainState, StepInfo

__all__ = ["Watch"]

ROWS = 16  # texts that are shown
OFTEN, SELDOM = 0.25, 10.0  # seconds between two looks: in a terminal, and in a file
SHARE = 0.015  # of the time that looking may take


class Watch:
    """Shows states that ``space`` decodes on stderr: ``steps``, ``stages`` and ``batches`` are observers of samplers.

    Looks are as far apart as it takes to use less than 2 % of the time. Call ``close`` at the end.
    """

    def __init__(self, space: TextSpace) -> None:
        self.space = space
        self.in_terminal = sys.stderr.isatty()
        self.seconds = 0.0  # spent on looking
        self._next = time.monotonic()
        self._live: Live | None = None

    def steps(self, total: int) -> Callable[[int, ChainState, StepInfo], None]:
        """Of chains, the last of ``total`` steps among those that are shown."""

        def observe(step: int, state: ChainState, _: StepInfo) -> None:
            if self.is_due or step + 1 == total:
                self.look(f"step {step + 1:,} of {total:,}", state.x, state.energy)

        return observe

    def stages(self, total: int) -> Callable[[int, float, Tensor, Tensor], None]:
        """Of ``total`` populations, each at its end and on the way."""

        def observe(population: int, t: float, x: Tensor, energy: Tensor) -> None:
            if self.is_due or t == 1:
                self.look(f"population {population + 1} of {total} at {t:.2g} of the way", x, energy)

        return observe

    def batches(self, total: int) -> Callable[[int, Tensor, Tensor], None]:
        """Of whole texts, ``total`` at most; those of the last batch that were kept."""

        def observe(done: int, x: Tensor, energy: Tensor) -> None:
            if len(x) and (self.is_due or done == total):
                self.look(f"text {done:,} of {total:,}", x, energy)

        return observe

    def shards(self, read: Callable[[], Iterable[tuple[int, Tensor, Tensor]]], total: int, unit: str) -> None:
        """Of chains or particles of other processes: done, states and energies of each that ``read`` finds."""
        import torch

        began = time.monotonic()
        if not self.is_due or not (found := list(read())):
            return
        done = sum(each for each, _, _ in found)
        x, energy = torch.cat([each for _, each, _ in found]), torch.cat([each for _, _, each in found])
        self.look(f"{done:,}{f' of {total:,}' if total else ''} {unit}", x, energy, began)

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._next

    def look(self, where: str, x: Tensor, energy: Tensor, began: float | None = None) -> None:
        """Show the states ``x [n, length]`` with their ``energy [n]`` in nats; what it costs counts since ``began``."""
        began = time.monotonic() if began is None else began
        texts, energies = [printable(text) for text in self.space.decode(x[:ROWS])], energy.cpu()
        if self.in_terminal:
            self._show(where, texts, energies.tolist())
        else:
            best = int(energies.argmin())
            text = printable(self.space.decode(x[best : best + 1])[0])
            line = f"{where}: mean {nats(energies.mean().item())}, lowest "
            print(cut(f"{line}{nats(energies[best].item())} nats: {text}", 120), file=sys.stderr, flush=True)
        took = time.monotonic() - began
        self.seconds += took
        self._next = began + took + max(OFTEN if self.in_terminal else SELDOM, took / SHARE)

    def close(self) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _show(self, where: str, texts: list[str], energies: list[float]) -> None:
        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(self._table(where, texts, energies), refresh=True)

    def _table(self, where: str, texts: list[str], energies: list[float]) -> Table:
        from rich.table import Table
        from rich.text import Text

        more = f", {ROWS} of {len(energies):,} texts" if len(energies) > ROWS else ""
        how: dict[str, Any] = {"box": None, "title_justify": "left", "pad_edge": False}
        table = Table(title=f"{where}{more}", **how)
        table.add_column("", justify="right")
        table.add_column("nats", justify="right")
        table.add_column("text", no_wrap=True, overflow="ellipsis")
        for number, (text, energy) in enumerate(zip(texts, energies[:ROWS], strict=True)):
            table.add_row(str(number), nats(energy), Text(text))  # markup in a text is text
        return table
