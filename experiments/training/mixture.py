"""Examples of several tasks of one seq2seq model: encoded, mixed, cut into batches, framed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from experiments.training.data import Pair
from samplers import InvalidInput

__all__ = ["Framed", "Mixture", "corrupt"]


@dataclass(frozen=True)
class Framed:
    """``source int64 [rows, width]``: prefix, text, end, padding; ``target``: text, end, padding."""

    source: Tensor
    target: Tensor
    pad_id: int

    @property
    def attention_mask(self) -> Tensor | None:
        """None where nothing is padded: attention is quicker without a mask."""
        real = self.source != self.pad_id
        return None if bool(real.all()) else real.long()

    @property
    def labels(self) -> Tensor:
        return self.target.masked_fill(self.target == self.pad_id, -100)


class Mixture:
    """Pairs by task, none longer than ``limit`` tokens with what frames it.

    ``prefixes`` has the spare token that begins the source of each task, ``noisy`` the task whose source is its target,
    corrupted anew whenever it is used. ``rows[task]`` are the numbers of its examples.

    Raises ``InvalidInput`` for a task without examples.
    """

    def __init__(
        self, pairs: Mapping[str, Sequence[Pair]], prefixes: Mapping[str, str], tokenizer: PreTrainedTokenizerFast, *,
        noisy: str, limit: int,
    ) -> None:  # fmt: skip
        self.pad_id, self.eos_id, self.mask_id = (
            tokenizer.pad_token_id,
            tokenizer.eos_token_id,
            tokenizer.mask_token_id,
        )
        self.rows: dict[str, Tensor] = {}
        sources: list[list[int]] = []
        targets: list[list[int]] = []
        marks: list[int] = []
        for task, examples in pairs.items():
            begin = len(sources)
            sides = [_ids(tokenizer, side) for side in zip(*examples, strict=True)]
            for source, target in zip(*sides, strict=True):
                if len(source) <= limit - 2 and len(target) <= limit - 1:
                    sources.append(source)
                    targets.append(target)
            if len(sources) == begin:
                raise InvalidInput(f"the corpus has no example of {task}; it needs more rows than are held out")
            self.rows[task] = torch.arange(begin, len(sources))
            marks += [tokenizer.convert_tokens_to_ids(prefixes[task])] * (len(sources) - begin)
        self._source, self._target = _padded(sources, self.pad_id), _padded(targets, self.pad_id)
        self._mark = torch.tensor(marks)
        self._noisy = torch.zeros(len(marks), dtype=torch.bool).index_fill(0, self.rows[noisy], True)
        self._source_tokens = (self._source != self.pad_id).sum(dim=1) + 2
        self._target_tokens = (self._target != self.pad_id).sum(dim=1) + 1

    def tokens(self, index: Tensor) -> Tensor:
        """``int64 [examples]``: of source and target together, framed."""
        return self._source_tokens[index] + self._target_tokens[index]

    def occurrences(self, task: str, vocabulary: int) -> Tensor:
        """``int64 [vocabulary]``: how often each token stands in the targets of a task."""
        target = self._target[self.rows[task]]
        return torch.bincount(target[target != self.pad_id], minlength=vocabulary)

    def epoch(self, shares: Mapping[str, float], rng: torch.Generator) -> Tensor:
        """Numbers of examples, the first task's each once and of the others what their share asks for, by length.

        Those of a task come round again only after all of them were there.
        """
        first = next(iter(shares))
        total = len(self.rows[first]) / shares[first]
        parts = []
        for task, share in shares.items():
            order = torch.randperm(len(self.rows[task]), generator=rng)
            parts.append(self.rows[task][order[torch.arange(round(total * share)) % len(order)]])
        index = torch.cat(parts)
        index = index[torch.randperm(len(index), generator=rng)]
        widest = int(self._source_tokens.max()) + 1
        return index[(self._target_tokens[index] * widest + self._source_tokens[index]).argsort(stable=True)]

    def cut(self, shares: Mapping[str, float], tokens: int, rng: torch.Generator) -> list[Tensor]:
        """The batches of an epoch, about ``tokens`` tokens each: tasks mixed, lengths nearly equal, little padding."""
        index = self.epoch(shares, rng)
        batch = (self.tokens(index).cumsum(dim=0) - 1) // tokens
        return list(index.split(batch.unique_consecutive(return_counts=True)[1].tolist()))

    def framed(self, index: Tensor, rng: torch.Generator) -> Framed:
        """The examples with these numbers as model input; the noise is drawn from ``rng``."""
        source, target = self._source[index].long(), self._target[index].long()
        noisy = self._noisy[index]
        source[noisy] = corrupt(source[noisy], self.pad_id, self.mask_id, rng)
        marked = torch.cat([self._mark[index].unsqueeze(1), self._ended(source)], dim=1)
        return Framed(marked, self._ended(target), self.pad_id)

    def _ended(self, rows: Tensor) -> Tensor:
        """Texts with their end, no wider than the longest needs."""
        lengths = (rows != self.pad_id).sum(dim=1, keepdim=True)
        room = torch.nn.functional.pad(rows, (0, 1), value=self.pad_id)
        return room.scatter(1, lengths, self.eos_id)[:, : int(lengths.max()) + 1]


def corrupt(rows: Tensor, pad_id: int, mask_id: int, rng: torch.Generator) -> Tensor:
    """Texts (``int64 [rows, width]``, padded) without some of their tokens, others masked, the rest shuffled a little.

    Each text has a rate of its own, uniform up to 0.6: so many of its tokens are hit, half of them deleted and half
    masked, one at least is left. The rest move by fewer than three places (noise as in Lample et al. 2018,
    arXiv:1711.00043, section 2.3).
    """
    count, width = rows.shape
    text = rows != pad_id
    rate = 0.6 * torch.rand(count, 1, generator=rng)
    draw = torch.rand(rows.shape, generator=rng)
    deleted = draw < rate / 2
    deleted[:, 0] &= ~(deleted | ~text).all(dim=1)
    place = torch.arange(width) + 3 * torch.rand(rows.shape, generator=rng)
    noisy = rows.masked_fill(text & ~deleted & (draw < rate), mask_id).masked_fill(deleted, pad_id)
    gone = noisy == pad_id
    return noisy.gather(1, place.masked_fill(gone, torch.inf).argsort(dim=1))


def _ids(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    return tokenizer(list(texts), add_special_tokens=False)["input_ids"]


def _padded(rows: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    """``int16 [rows, width]``: the vocabulary fits, and the corpus stays small."""
    lengths = torch.tensor([len(row) for row in rows])
    padded = torch.full((len(rows), int(lengths.max())), pad_id, dtype=torch.int16)
    padded[torch.arange(padded.shape[1]) < lengths.unsqueeze(1)] = torch.tensor([*chain(*rows)], dtype=torch.int16)
    return padded
