"""``run.yaml`` in the folder of a run: the file by which ``mcmc-text run`` draws the same again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.declaration.arguments import Argument
from experiments.declaration.keys import key_of
from experiments.results.safe_text import visible

__all__ = ["RUN_FILE", "run_file", "write_run_file", "yaml_text"]

RUN_FILE = "run.yaml"
HEADER = "# Draws the same again: mcmc-text run {name} (mcmc-text {version}). Paths start where that is called.\n"


def run_file(config: Mapping[str, Any], arguments: Iterable[Argument], location: str | None) -> str:
    """The text of the file, with every option that has a value but the folder.

    ``location`` is that of the experiment; one that lies in a file is named by it.
    """
    from samplers import __version__

    is_file = location is not None and location.endswith(".py")
    values = {"experiment": location if is_file else config["experiment"]}
    for each in arguments:
        value = config.get(each.name) if each.recorded and each.name != "out" else None
        if value is not None and value != []:
            values[key_of(each)] = f"{value[0]}:{value[1]}" if each.is_range else value
    return HEADER.format(name=RUN_FILE, version=__version__) + yaml_text(values)


def yaml_text(values: Mapping[str, Any]) -> str:
    """``values`` as YAML, one key a line, with nothing in it that acts on a terminal."""
    import yaml

    text = str(yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=10**6))
    safe = all(visible(line) == line for line in text.split("\n"))
    return text if safe else str(yaml.safe_dump(dict(values), sort_keys=False, width=10**6))


def write_run_file(folder: Path, text: str) -> None:
    """Raises ``StoreError``."""
    from samplers.storage import write_atomically

    write_atomically(folder / RUN_FILE, text.encode(errors="backslashreplace"))
