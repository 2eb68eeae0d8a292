"""A list for blind reading: texts of all kinds, shuffled and numbered, and in another file what each of them is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from experiments.declaration.wording import argument
from experiments.evaluating.cases import Case
from experiments.evaluating.table import Texts
from experiments.results.terminal import printable

__all__ = ["check_blind", "key_of", "write_blind"]

READ = 50  # texts of a kind, at most


def key_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.key")


def check_blind(path: Path) -> None:
    """Raise ``InvalidInput`` where one of the two files is there already, or the folder is not."""
    from samplers import InvalidInput

    for file in (path, key_of(path)):
        if file.exists():
            raise InvalidInput(f"{argument('blind')}: {str(file)!r} is there already; name another file or remove it")
    if not path.parent.is_dir():
        raise InvalidInput(f"{argument('blind')}: there is no folder {str(path.parent)!r}; make it")


def write_blind(path: Path, rows: Sequence[Texts], seed: int) -> None:
    """At most 50 different texts of each row, a line each, with the source where there is one.

    The key has the numbers with tabs before the names of the rows. Raises as ``check_blind``, and ``StoreError`` where
    a file cannot be written.
    """
    from samplers.storage import write_atomically

    check_blind(path)
    rng, mixed = random.Random(seed), []
    for row in rows:
        cases = row.cases or [Case("")] * len(row.texts)
        different = list({text: case for text, case in zip(row.texts, cases, strict=True)}.items())
        chosen = rng.sample(different, min(READ, len(different)))
        mixed += [(text, case.source, row.name) for text, case in chosen]
    rng.shuffle(mixed)
    lines = [
        f"{number}. {printable(text)}" + (f"   [of: {printable(source)}]" if source else "")
        for number, (text, source, _) in enumerate(mixed, start=1)
    ]
    key = [f"{number}\t{name}" for number, (_, _, name) in enumerate(mixed, start=1)]
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode())
    write_atomically(key_of(path), "".join(f"{line}\n" for line in key).encode())
