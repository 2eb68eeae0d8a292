"""The sentences that the embedded models are trained on, as the digests that ship with them."""

from __future__ import annotations

from pathlib import Path

from experiments.training.data import books_split, english_split
from lm_adapters import KnownTexts

__all__ = ["write_known"]

ABOUT = """# known-en

Digests of {count:,} English sentences, 32 bits each, from which no sentence can be read: the training sentences of the
embedded models. Held-out sentences are not among them. They tell which texts are new (`--new-texts`,
`lm_adapters.NewTexts`).

Made by `mcmc-text train-embedded known-en --corpus DIR --out DIR`. Sources: sentences of
[Tatoeba](https://tatoeba.org), CC BY 2.0 FR, as [manythings.org/anki](https://www.manythings.org/anki/) distributes
them, and sentences of books from [Standard Ebooks](https://standardebooks.org), CC0.
"""


def write_known(corpus: Path, out: Path) -> Path:
    """``digests.bin`` and ``README.md`` in ``out``, the same bytes for the same corpus; the path of the digests."""
    known = KnownTexts([*english_split(corpus)[0], *books_split(corpus)[0]])
    out.mkdir(parents=True, exist_ok=True)
    (out / "README.md").write_text(ABOUT.format(count=len(known.digests)))
    path = out / "digests.bin"
    known.write(path)
    return path
