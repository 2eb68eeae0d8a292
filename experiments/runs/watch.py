"""``--watch``: the texts of the chains as they are drawn, in the terminal; a line now and then where there is none."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from experiments.results.columns import cut
from experiments.results.figures import nats
from experiments.results.terminal import printable

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from lm_adapters import TextSpace
    from samplers import ChainState, StepInfo

__all__ = ["Watch"]

ROWS = 16  # chains that are shown
OFTEN, SELDOM = 0.25, 10.0  # seconds between two looks: in a terminal, and in a file
SHARE = 0.015  # of the time that looking may take


class Watch:
    """An observer of ``steps`` steps of chains whose states ``space`` decodes: shows them on stderr.

    Looks are as far apart as it takes to use less than 2 % of the time. Call ``close`` at the end.
    """

    def __init__(self, space: TextSpace, steps: int) -> None:
        self.space, self.steps = space, steps
        self.in_terminal = sys.stderr.isatty()
        self.seconds = 0.0  # spent on looking
        self._next = time.monotonic()
        self._live: Live | None = None

    def __call__(self, step: int, state: ChainState, info: StepInfo) -> None:
        began = time.monotonic()
        if began < self._next and step + 1 < self.steps:
            return
        texts = [printable(text) for text in self.space.decode(state.x[:ROWS])]
        energies = state.energy.cpu()
        if self.in_terminal:
            self._show(step, texts, energies.tolist())
        else:
            best = int(energies.argmin())
            text = printable(self.space.decode(state.x[best : best + 1])[0])
            line = f"step {step + 1:,} of {self.steps:,}: mean {nats(energies.mean().item())}, lowest "
            print(cut(f"{line}{nats(energies[best].item())} nats: {text}", 120), file=sys.stderr, flush=True)
        took = time.monotonic() - began
        self.seconds += took
        self._next = began + took + max(OFTEN if self.in_terminal else SELDOM, took / SHARE)

    def close(self) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _show(self, step: int, texts: list[str], energies: list[float]) -> None:
        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(self._table(step, texts, energies), refresh=True)

    def _table(self, step: int, texts: list[str], energies: list[float]) -> Table:
        from rich.table import Table
        from rich.text import Text

        more = f", {ROWS} of {len(energies):,} chains" if len(energies) > ROWS else ""
        how: dict[str, Any] = {"box": None, "title_justify": "left", "pad_edge": False}
        table = Table(title=f"step {step + 1:,} of {self.steps:,}{more}", **how)
        table.add_column("chain", justify="right")
        table.add_column("nats", justify="right")
        table.add_column("text", no_wrap=True, overflow="ellipsis")
        for chain, (text, energy) in enumerate(zip(texts, energies[:ROWS], strict=True)):
            table.add_row(str(chain), nats(energy), Text(text))  # markup in a text is text
        return table
