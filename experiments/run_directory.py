"""The files of a run: configuration and environment before the first step, samples and summary after the last."""

from __future__ import annotations

import json
import math
import os
import platform
import tempfile
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["RunDirectory", "default_directory", "json_line"]

LIBRARIES = ("mcmc-text", "torch", "transformers", "tokenizers", "numpy", "arviz-stats")


def default_directory(experiment: str) -> str:
    return f"runs/{experiment}-{datetime.now():%Y%m%d-%H%M%S}"


class RunDirectory:
    """Creates ``path``; a folder that holds files already is refused, so nothing written is ever lost.

    Raises ``InvalidInput`` if it cannot be written to.
    """

    def __init__(self, path: str | Path) -> None:
        from samplers import InvalidInput

        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if any(self.path.iterdir()):
                raise InvalidInput(f"--out {str(path)!r} holds files already; choose a new folder")
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            reason = error.strerror or str(error)
            raise InvalidInput(f"--out {str(path)!r} cannot be written to ({reason}); choose another folder") from error

    def begin(self, config: Mapping[str, Any]) -> None:
        self._write("config.json", _pretty(config))
        self._write("env.json", _pretty(environment()))

    def finish(self, samples: Iterable[Mapping[str, Any]], summary: Mapping[str, Any]) -> None:
        self._write("samples.jsonl", "".join(json_line(sample) + "\n" for sample in samples))
        self._write("summary.json", _pretty(summary))

    def _write(self, name: str, text: str) -> None:
        partial = self.path / f".{name}.part"
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self.path / name)


def environment() -> dict[str, Any]:
    """What the draws depend on besides the configuration."""
    import torch

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": {name: version(name) for name in LIBRARIES},
    }


def json_line(value: Mapping[str, Any]) -> str:
    return json.dumps(_plain(value), ensure_ascii=False)


def _pretty(value: Mapping[str, Any]) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, indent=2) + "\n"


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: NaN becomes null, infinities strings."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
