"""``mcmc-text new-energy NAME``: an energy to begin with, and its test."""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
import sys
from pathlib import Path

import click

from experiments.doctor.start import ENERGY, TEST

__all__ = ["command"]


@click.command("new-energy")
@click.argument("name")
def command(name: str) -> None:
    """Write NAME.py, an energy to change into yours, and test_NAME.py, here. Nothing is overwritten.

    Both run as they are. What to do next is printed.
    """
    from samplers import InvalidInput

    if problem := _problem(name):
        raise InvalidInput(problem)
    files = {Path(f"{name}.py"): ENERGY, Path(f"test_{name}.py"): TEST}
    if there := [str(path) for path in files if os.path.lexists(path)]:
        raise InvalidInput(
            f"NAME {name!r}: there is {' and '.join(there)} already, which stays as it is; choose another name"
        )
    written: list[Path] = []
    try:
        for path, text in files.items():
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(re.sub(r"\bNAME\b|(?<=test_)NAME\b", name, text))
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise InvalidInput(f"NAME {name!r}: {path} cannot be written ({error.strerror})") from error
    click.echo(f"wrote {' and '.join(map(str, files))}. Change {name}.py, then")
    click.echo(f"  mcmc-text check-energy {name}.py:{name}")
    click.echo(f"  mcmc-text keywords music night --energy {name}.py:{name}=2")


def _problem(name: str) -> str | None:
    """What keeps it from being the name of a function and of a file beside others."""
    plain = re.sub(r"\W+", "_", name.removesuffix(".py"), flags=re.ASCII).strip("_").lower()
    if not (name.isidentifier() and name.isascii()) or keyword.iskeyword(name):
        better = plain if plain.isidentifier() and not keyword.iskeyword(plain) else f"my_{plain or 'energy'}"
        return f"NAME {name!r} cannot name a function; take letters, figures and _, such as {better!r}"
    if name.startswith("test_") or name in {"texts", "long_letters", "examine_energy"}:
        return f"NAME {name!r} has a meaning of its own in the files; take another, such as 'my_{plain}'"
    if name in sys.stdlib_module_names or _is_installed(name):
        return f"NAME {name!r} is a module of Python, which {name}.py would hide; take another, such as 'my_{name}'"
    return None


def _is_installed(name: str) -> bool:
    """Elsewhere than in the current folder, where a file of that name is told as such."""
    spec = importlib.util.find_spec(name)
    places = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec else []
    return any(place and Path(place).resolve().parent != Path.cwd() for place in places)
