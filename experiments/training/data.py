"""Corpus files, held-out rule, shared tokenizer and batches for the embedded models.

The corpus folder holds gzip files of rows: ``tatoeba.*`` and ``books.*``. The last ``HELD_OUT`` rows of each are never
trained on, and an English sentence held out in ``tatoeba.eng.txt.gz`` is dropped from every training set.
"""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

Batch = TypeVar("Batch")
Pair = tuple[str, str]  # source, target

HELD_OUT = 10_000
MAX_LENGTH = 64  # tokens of a training row, special tokens included; under 0.1 % of the corpus is longer
EOS = "</s>"


def read_rows(corpus: Path, name: str) -> list[str]:
    from samplers import InvalidInput

    if not (corpus / name).exists():
        raise InvalidInput(f"--corpus {str(corpus)!r} has no file {name}; put it there")
    try:
        with gzip.open(corpus / name, "rt", encoding="utf-8") as lines:
            return [line.rstrip("\n") for line in lines]
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InvalidInput(f"{str(corpus / name)!r} cannot be read ({error}); get it again") from error


def english_split(corpus: Path) -> tuple[list[str], list[str]]:
    """Training and held-out English sentences."""
    rows = read_rows(corpus, "tatoeba.eng.txt.gz")
    held_out = rows[-HELD_OUT:]
    hidden = set(held_out)
    return [row for row in rows[:-HELD_OUT] if row not in hidden], held_out


def books_split(corpus: Path) -> tuple[list[str], list[str]]:
    """Training and held-out sentences from books."""
    hidden = set(english_split(corpus)[1])
    rows = read_rows(corpus, "books.eng.txt.gz")
    held_out = rows[-HELD_OUT:]
    hidden.update(held_out)
    return [row for row in rows[:-HELD_OUT] if row not in hidden], held_out


def translation_split(corpus: Path, language: str = "fra") -> tuple[list[Pair], list[Pair]]:
    """Pairs, ``fra`` or ``deu`` to English, to train on, and those whose English is a held-out sentence.

    The file is sorted by length, so its last rows, never trained on either, would be no fair test: all of them long.
    """
    hidden = set(english_split(corpus)[1])
    rows = [(foreign, english) for english, foreign in _pairs(corpus, f"tatoeba.eng-{language}.tsv.gz")]
    training = [pair for pair in rows[:-HELD_OUT] if pair[1] not in hidden]
    return training, _unseen([pair for pair in rows if pair[1] in hidden], training)


def paraphrase_split(corpus: Path) -> tuple[list[Pair], list[Pair]]:
    """English pairs to train on, neither side a held-out sentence, and pairs of the last rows."""
    hidden = set(english_split(corpus)[1])
    rows = _pairs(corpus, "tatoeba.eng-paraphrase.tsv.gz")
    training = [pair for pair in rows[:-HELD_OUT] if hidden.isdisjoint(pair)]
    return training, _unseen(rows[-HELD_OUT:], training)


def _pairs(corpus: Path, name: str) -> list[Pair]:
    from samplers import InvalidInput

    rows = [row.split("\t") for row in read_rows(corpus, name)]
    for number, row in enumerate(rows, start=1):
        if len(row) != 2:
            raise InvalidInput(f"{str(corpus / name)!r}, line {number}: no two texts with a tab between; get it again")
    return [(left, right) for left, right in rows]


def _unseen(held_out: list[Pair], training: list[Pair]) -> list[Pair]:
    """Pairs neither side of which is in a training pair, in an order without meaning: the first n are a fair sample."""
    seen = {sentence for pair in training for sentence in pair}
    kept = [pair for pair in held_out if seen.isdisjoint(pair)]
    random.Random(0).shuffle(kept)
    return kept


def embedded_tokenizer(name: str = "masked-en") -> PreTrainedTokenizerFast:
    """That of an embedded model: all models of its language share its tokens. Raises ``InvalidInput`` without it."""
    from transformers import PreTrainedTokenizerFast

    from lm_adapters.pretrained import embedded_path
    from samplers import InvalidInput

    if (folder := embedded_path(name)) is None:
        raise InvalidInput(f"there is no {name} among the embedded models, whose tokens are needed; train it first")
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(str(folder))
    return tokenizer


def by_length(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], limit: int) -> dict[int, torch.Tensor]:
    """Texts of at most ``limit`` tokens as one ``int64 [rows, length]`` tensor per length, special tokens included."""
    import torch

    groups: dict[int, list[list[int]]] = {}
    for ids in tokenizer(list(texts))["input_ids"]:
        if len(ids) <= limit:
            groups.setdefault(len(ids), []).append(ids)
    return {length: torch.tensor(rows) for length, rows in sorted(groups.items())}


def with_a_share_of(
    groups: dict[int, torch.Tensor], others: dict[int, torch.Tensor], share: float, rng: torch.Generator
) -> dict[int, torch.Tensor]:
    """All rows of ``groups`` and a ``share`` of the ``others``, drawn anew, by length as in ``by_length``."""
    import torch

    joined = dict(groups)
    for length, rows in others.items():
        drawn = rows[torch.randperm(len(rows), generator=rng)[: round(share * len(rows))]]
        if len(drawn):
            joined[length] = torch.cat([groups[length], drawn]) if length in groups else drawn
    return dict(sorted(joined.items()))


def same_length_batches(groups: dict[int, torch.Tensor], tokens: int, rng: torch.Generator) -> list[torch.Tensor]:
    """Every row once, as ``int64 [rows, length]`` of about ``tokens`` tokens each and never any padding."""
    import torch

    cuts: list[torch.Tensor] = []
    for rows in groups.values():
        order = torch.randperm(len(rows), generator=rng)
        cuts += [rows[part] for part in order.split(max(1, tokens // rows.shape[1]))]
    return cuts


def epochs(cut: Callable[[torch.Generator], list[Batch]], seed: int, first_step: int) -> Iterator[tuple[int, Batch]]:
    """Endless ``(step, batch)`` from ``first_step`` on; ``cut`` makes the batches of one epoch, shuffled here.

    Every epoch depends on ``(seed, epoch)`` alone, so a resumed run reads the rows it would have read.
    """
    import torch

    from samplers import InvalidInput

    step = epoch = 0
    while True:
        rng = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        cuts = cut(rng)
        if not cuts:
            raise InvalidInput(f"the corpus has no rows to train on; it needs more than {HELD_OUT} in every file")
        for index in torch.randperm(len(cuts), generator=rng).tolist():
            if step >= first_step:
                yield step, cuts[index]
            step += 1
        epoch += 1
