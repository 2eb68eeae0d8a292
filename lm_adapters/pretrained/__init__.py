"""Embedded models: one folder each, in Hugging Face format, with a model card."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["embedded_names", "embedded_path", "figures"]

HERE = Path(__file__).parent


def embedded_names() -> list[str]:
    """Names of the embedded models, sorted."""
    return sorted(path.parent.name for path in HERE.glob("*/config.json"))


def embedded_path(name: str) -> Path | None:
    """The folder of an embedded model, ``None`` for any other name."""
    return HERE / name if name in embedded_names() else None


def figures(name: str) -> dict[str, object]:
    """Measurements of an embedded model from its training run, the content of ``figures.json``."""
    measured: dict[str, object] = json.loads((HERE / name / "figures.json").read_text())
    return measured
