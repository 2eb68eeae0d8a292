"""``load_run``: the run that a folder holds, as an object."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.declaration.resume_option import current_names
from experiments.results.cost import Cost, Spent
from experiments.results.export import Exports, refuse_search
from experiments.results.figures import value_in_words
from experiments.results.headings import chains_heading, draws_heading, ranked, search_heading
from experiments.setup.settings import SHARED

if TYPE_CHECKING:
    from xarray import DataTree

__all__ = ["SavedRun", "load_run"]

LARGEST, LONGEST = 2**40, 2**24  # bytes of samples.jsonl, and of one of its lines


def load_run(path: str | Path) -> SavedRun:
    """The run in the folder ``path``. Loads no model and runs no code.

    Of a run that was stopped these are its draws so far, and ``is_complete`` is false. Raises ``InvalidInput`` for a
    folder without a run, or one that was killed before it wrote its draws as texts; ``StoreError`` for damaged files.
    """
    from samplers import InvalidInput, StoreError
    from samplers.storage import RunStore, exists

    store, folder = RunStore(path), Path(path)
    if not exists(folder / "config.json"):
        raise InvalidInput(f"{str(path)!r} holds no run (no config.json)")
    config = current_names(store.read("config.json"), SHARED.values())
    if not exists(folder / "summary.json") or not exists(folder / "samples.jsonl"):
        parts = sorted(each.parent.name for each in folder.glob("*/config.json"))
        way = (
            f"load one of the runs in it: {', '.join(parts)}"
            if parts
            else f"write its draws so far with report({str(path)!r}) or `mcmc-text report`, or resume it"
        )
        raise InvalidInput(f"the run of {config.get('experiment')!r} in {str(path)!r} is not finished; {way}")
    figures = store.read("summary.json")
    if not _can_be(figures):
        raise StoreError(f"{str(folder / 'summary.json')!r} has figures that no run has; put it back from a copy")
    return SavedRun(folder, config, figures)


@dataclass(frozen=True)
class SavedRun(Exports):
    """What was asked for, ``config``, and what was drawn, as the run's own result has it. Its files are read on use."""

    path: Path
    config: Mapping[str, Any]
    figures: Mapping[str, Any]

    @property
    def is_complete(self) -> bool:
        """Whether the run had reached its end when its files were written."""
        return self.figures.get("complete", True) is True

    @property
    def spent(self) -> Spent:
        return Spent(float(self.figures.get("seconds") or 0), Cost(**self.figures.get("cost", {})))

    @property
    def is_search(self) -> bool:
        return "objective" in self.figures

    def summary(self) -> dict[str, Any]:
        """The figures, as ``summary.json`` has them."""
        figures: dict[str, Any] = _with_nan(self.figures)
        return figures

    def samples(self) -> Iterator[dict[str, Any]]:
        """One object a kept draw. Raises ``StoreError`` for a line that is none."""
        from samplers import StoreError
        from samplers.storage import open_to_read

        path, number = self.path / "samples.jsonl", 0
        with open_to_read(path, LARGEST) as file:
            while line := file.readline(LONGEST):
                number += 1
                try:
                    sample = _sample(json.loads(line))
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                    raise StoreError(f"{str(path)!r}, line {number}, is no sample; put it back from a copy") from error
                yield sample

    def texts(self) -> list[Any]:
        """``texts()[chain][kept]`` of Markov chains; ``texts()[draw]`` of a search and of whole texts."""
        if self.is_search or "chains" not in self.figures:
            return [sample["text"] for sample in self.samples()]
        chains: dict[int, list[str]] = {}
        for sample in self.samples():
            chains.setdefault(sample["chain"], []).append(sample["text"])
        return list(chains.values())

    def heading(self) -> tuple[str, str]:
        if self.is_search:
            return search_heading()
        if "phrases" in self.figures:
            return "rank", "text (of all that were scored, the likeliest first)"
        return chains_heading() if "chains" in self.figures else draws_heading()

    def shown(self) -> Iterator[tuple[int, float, str]]:
        if self.is_search:
            yield from ranked((sample["energy"], sample["text"]) for sample in self.samples())
            return
        last = {sample.get("chain", sample.get("draw", sample.get("rank", 0))): sample for sample in self.samples()}
        yield from ((number, sample["energy"], sample["text"]) for number, sample in last.items())

    def facts(self, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from (
            (name.replace("_", " "), value_in_words(value)) for name, value in summary.items() if name != "trust"
        )

    def history(self) -> None:
        """The chart of the run is in its ``report.html``."""

    def to_arviz(self) -> DataTree:
        """See ``Exports``; raises ``InvalidInput`` for a search, too."""
        if self.is_search:
            refuse_search()
        return super().to_arviz()


def _can_be(figures: Mapping[str, Any]) -> bool:
    """Whether they have what is read here, of the right types."""
    seconds, cost = figures.get("seconds", 0), figures.get("cost", {})
    counts = isinstance(cost, dict) and cost.keys() <= {each.name for each in fields(Cost)}
    numbers = counts and all(type(count) is int for count in cost.values())
    return numbers and type(seconds) in (int, float, type(None)) and isinstance(figures.get("trust"), str)


def _sample(given: Mapping[str, Any]) -> dict[str, Any]:
    """A line of ``samples.jsonl``. Raises ``ValueError``, ``TypeError`` or ``KeyError`` for what is none."""
    if any(type(given[name]) is not int for name in ("chain", "step", "draw") if name in given):
        raise TypeError
    if given.get("start", "below") not in ("below", "above"):
        raise ValueError
    terms = {name: _nats(energy) for name, energy in given["terms"].items()}
    return {**given, "energy": _nats(given["energy"]), "terms": terms, "text": str(given["text"])}


def _with_nan(value: Any) -> Any:
    """JSON has no NaN: it is null there."""
    if isinstance(value, Mapping):
        return {name: _with_nan(each) for name, each in value.items()}
    return math.nan if value is None else value


def _nats(value: Any) -> float:
    """JSON has no NaN and no infinity: they are null and strings there."""
    return math.nan if value is None else float(value)
