"""What every result of an experiment can become: a data frame, an ArviZ tree, a cell of a notebook."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from experiments.results.fragment import fragment

if TYPE_CHECKING:
    from pandas import DataFrame
    from xarray import DataTree

__all__ = ["Exports", "refuse_search"]


class Exports(ABC):
    """Gives a ``Run`` these ways out; all of them read its ``samples()``."""

    @abstractmethod
    def samples(self) -> Iterator[dict[str, Any]]: ...

    @abstractmethod
    def summary(self) -> dict[str, Any]: ...

    @abstractmethod
    def heading(self) -> tuple[str, str]: ...

    @abstractmethod
    def shown(self) -> Iterator[tuple[int, float, str]]: ...

    def to_pandas(self) -> DataFrame:
        """A row for each kept draw: chain, its start and step, or draw; energy and each term in nats; text."""
        from pandas import DataFrame

        return DataFrame([{**_numbers(sample), "text": sample["text"]} for sample in self.samples()])

    def to_arviz(self) -> DataTree:
        """``posterior`` holds ``energy`` and each term, in nats, and ``length``, in characters: all ``[chain, draw]``.

        The coordinate ``start [chain]`` says ``below`` or ``above`` where chains started so.
        Independent draws are one chain. Raises ``InvalidInput`` for a run without draws.
        """
        import arviz_base
        import numpy as np

        from samplers import InvalidInput

        chains: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
        for sample in self.samples():
            chains[sample.get("chain", 0)].append(sample)
        if not chains:
            raise InvalidInput("the run has no draws, so there is nothing to show")
        first = next(iter(chains.values()))
        names = {_free(name): name for name in first[0]["terms"]}
        posterior = {
            "energy": np.array([[row["energy"] for row in rows] for rows in chains.values()], dtype=np.float64),
            "length": np.array([[len(row["text"]) for row in rows] for rows in chains.values()]),
        }
        for free, name in names.items():
            posterior[free] = np.array([[row["terms"][name] for row in rows] for rows in chains.values()], np.float64)
        steps = [row.get("step", row.get("draw")) for row in first]
        tree = arviz_base.from_dict({"posterior": posterior}, coords={"chain": list(chains), "draw": steps})
        if starts := {chain: rows[0]["start"] for chain, rows in chains.items() if "start" in rows[0]}:
            coordinate = ("chain", [starts.get(chain, "") for chain in chains])
            tree["posterior"] = tree["posterior"].to_dataset().assign_coords(start=coordinate)
        for name, variable in tree["posterior"].data_vars.items():
            variable.attrs["units"] = "characters" if name == "length" else "nats"
        return tree

    def _repr_html_(self) -> str:
        """The texts and how far to rely on their averages, as Jupyter shows them."""
        return fragment(self.heading(), self.shown(), self.summary()["trust"])


def refuse_search() -> NoReturn:
    """Raise ``InvalidInput``: the best texts of a search are no draws."""
    from samplers import InvalidInput

    raise InvalidInput("a search is no sample and has no posterior; to_pandas has its texts and energies")


def _numbers(sample: Mapping[str, Any]) -> dict[str, Any]:
    """Its numbers, the terms among them, each under its own name."""
    plain = {name: value for name, value in sample.items() if name not in ("terms", "text")}
    return {**plain, **{_free(name): nats for name, nats in sample["terms"].items()}}


def _free(name: str) -> str:
    """The name of a term as a column, beside those of every sample."""
    return f"{name} (term)" if name in ("chain", "draw", "energy", "length", "start", "step", "text") else name
