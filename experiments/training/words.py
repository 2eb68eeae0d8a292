"""The list of English words that ships with the models: those of the sentences that they are trained on."""

from __future__ import annotations

import gzip
from pathlib import Path

from experiments.training.data import books_split, english_split
from lm_adapters import WordList

__all__ = ["write_words"]

ABOUT = """# words-en

{count:,} English words, in lower case, one a line: all words of the training sentences of the embedded models. Held-out
sentences are not among them. They tell which words of a text are real (`--real-words`, `lm_adapters.RealWords`).

Made by `mcmc-text train-embedded words-en --corpus DIR --out DIR`. Sources: sentences of
[Tatoeba](https://tatoeba.org), CC BY 2.0 FR, as [manythings.org/anki](https://www.manythings.org/anki/) distributes
them, and sentences of books from [Standard Ebooks](https://standardebooks.org), CC0. The list is of words alone and
holds no sentence of either.
"""


def write_words(corpus: Path, out: Path) -> Path:
    """``words.txt.gz`` and ``README.md`` in ``out``, the same bytes for the same corpus; the path of the list."""
    words = sorted(WordList([*english_split(corpus)[0], *books_split(corpus)[0]]).words)
    out.mkdir(parents=True, exist_ok=True)
    (out / "README.md").write_text(ABOUT.format(count=len(words)))
    path = out / "words.txt.gz"
    path.write_bytes(gzip.compress("\n".join([*words, ""]).encode(), mtime=0))
    return path
