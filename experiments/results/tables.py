"""The samples of a run as files that other tools read: Parquet, and netCDF for ArviZ."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

from experiments.results.export import Exports
from experiments.results.protocol import Run

__all__ = ["check_can_write", "write_table"]

NEEDS = {"parquet": "pyarrow", "netcdf": "h5netcdf"}


def check_can_write(formats: Collection[str]) -> None:
    """Raise ``InvalidInput`` for one whose library is missing."""
    for name, library in NEEDS.items():
        if name in formats and find_spec(library) is None:
            from samplers import InvalidInput

            raise InvalidInput(
                f"{name} needs {library}, which is missing; install it with: pip install 'mcmc-text[data]'"
            )


def write_table(folder: Path, run: Run, formats: Collection[str]) -> None:
    """``samples.parquet`` and ``trace.nc`` in the folder, as ``formats`` asks for.

    Raises ``InvalidInput`` for the trace of a run that is no sample, ``StoreError`` for a folder that takes no file.
    """
    from samplers.storage import write_atomically

    if not {*NEEDS} & set(formats):
        return
    assert isinstance(run, Exports), "every run that a folder holds is one"
    with tempfile.TemporaryDirectory() as place:
        if "parquet" in formats:
            frame = run.to_pandas()
            frame["text"] = [text.encode(errors="backslashreplace").decode() for text in frame["text"]]
            frame.to_parquet(Path(place, "samples"), engine="pyarrow", index=False)
            write_atomically(folder / "samples.parquet", Path(place, "samples").read_bytes())
        if "netcdf" in formats:
            run.to_arviz().to_netcdf(Path(place, "trace"), engine="h5netcdf")
            write_atomically(folder / "trace.nc", Path(place, "trace").read_bytes())
