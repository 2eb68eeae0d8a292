"""Examples of several tasks of one seq2seq model: encoded, mixed, cut into batches, framed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from experiments.training.data import Pair
from samplers import InvalidInput

__all__ = ["Framed", "Mixture", "Noise", "Pool"]


@dataclass(frozen=True)
class Noise:
    """Makes source and target of a sentence, and says how many tokens each will have, about."""

    make: Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]  # of ``int64 [rows, width]``, padded, both ways
    sizes: Callable[[Tensor], tuple[Tensor, Tensor]]  # of the sentences' numbers of tokens


@dataclass(frozen=True)
class Pool:
    """Examples of one task: the token that begins the source, and pairs, or sentences for ``noise`` to make them of."""

    prefix: str
    examples: Sequence[Pair] | Sequence[str]
    noise: Noise | None = None


@dataclass(frozen=True)
class Framed:
    """``source int64 [rows, width]``: prefix, text, end, padding; ``target``: text, end, padding."""

    source: Tensor
    target: Tensor
    pad_id: int

    @property
    def attention_mask(self) -> Tensor:
        return (self.source != self.pad_id).long()

    @property
    def labels(self) -> Tensor:
        return self.target.masked_fill(self.target == self.pad_id, -100)


class Mixture:
    """Pools by task, no example longer than ``limit`` tokens with what frames it.

    ``rows[task]`` are the numbers of its examples. Raises ``InvalidInput`` for a task without examples.
    """

    def __init__(self, pools: Mapping[str, Pool], tokenizer: PreTrainedTokenizerFast, limit: int) -> None:
        self.pad_id, self.eos_id = tokenizer.pad_token_id, tokenizer.eos_token_id
        self.rows: dict[str, Tensor] = {}
        self._noises = [pool.noise for pool in pools.values()]
        sources: list[list[int]] = []
        targets: list[list[int]] = []
        prefixes: list[int] = []
        numbers: list[int] = []  # of the task
        for number, (task, pool) in enumerate(pools.items()):
            begin = len(targets)
            for source, target in _encoded(tokenizer, pool):
                if len(source) <= limit - 2 and len(target) <= limit - 1:
                    sources.append(source)
                    targets.append(target)
            if len(targets) == begin:
                raise InvalidInput(f"the corpus has no example of {task}; it needs more rows than are held out")
            self.rows[task] = torch.arange(begin, len(targets))
            prefixes += [cast(int, tokenizer.convert_tokens_to_ids(pool.prefix))] * (len(targets) - begin)
            numbers += [number] * (len(targets) - begin)
        self._source, self._target = _padded(sources, self.pad_id), _padded(targets, self.pad_id)
        self._prefix, self._number = torch.tensor(prefixes), torch.tensor(numbers)
        self._sizes = self._framed_sizes()

    def tokens(self, index: Tensor) -> Tensor:
        """``int64 [examples]``: of source and target together, framed; estimated where noise is yet to be drawn."""
        return self._sizes[index].sum(dim=1)

    @property
    def targets(self) -> Tensor:
        """``int16 [examples, width]``, padded: what is written, or what noise takes it from."""
        return self._target

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
        source, target = self._sizes[index].unbind(dim=1)
        return index[(target * (int(source.max()) + 1) + source).argsort(stable=True)]

    def cut(self, shares: Mapping[str, float], tokens: int, rng: torch.Generator) -> list[Tensor]:
        """The batches of an epoch, about ``tokens`` tokens each: tasks mixed, lengths nearly equal, little padding."""
        index = self.epoch(shares, rng)
        batch = (self.tokens(index).cumsum(dim=0) - 1) // tokens
        return list(index.split(batch.unique_consecutive(return_counts=True)[1].tolist()))

    def framed(self, index: Tensor, rng: torch.Generator) -> Framed:
        """The examples with these numbers as model input; the noise is drawn from ``rng``."""
        sources, targets = _unpadded(self._source[index], self.pad_id), _unpadded(self._target[index], self.pad_id)
        width = sources.shape[1] + targets.shape[1] + 1  # room for a sentence, as a source, and a sentinel
        source, target = self._widened(sources, width), self._widened(targets, width)
        for number, noise in enumerate(self._noises):
            which = self._number[index] == number
            if noise is not None and bool(which.any()):
                for whole, part in zip((source, target), noise.make(targets[which], rng), strict=True):
                    whole[which] = self._widened(part, width)
        prefixed = torch.cat([self._prefix[index].unsqueeze(1), self._ended(source)], dim=1)
        return Framed(prefixed, self._ended(target), self.pad_id)

    def _framed_sizes(self) -> Tensor:
        """``int64 [examples, 2]``: tokens of source and target."""
        sizes = torch.stack([(self._source != self.pad_id).sum(dim=1), (self._target != self.pad_id).sum(dim=1)], dim=1)
        for number, noise in enumerate(self._noises):
            if noise is not None:
                which = self._number == number
                sizes[which] = torch.stack(noise.sizes(sizes[which, 1]), dim=1)
        return sizes + torch.tensor([2, 1])

    def _widened(self, rows: Tensor, width: int) -> Tensor:
        return torch.nn.functional.pad(rows, (0, width - rows.shape[1]), value=self.pad_id)

    def _ended(self, rows: Tensor) -> Tensor:
        """Texts with their end, no wider than the longest needs."""
        lengths = (rows != self.pad_id).sum(dim=1, keepdim=True)
        room = torch.nn.functional.pad(rows, (0, 1), value=self.pad_id)
        return room.scatter(1, lengths, self.eos_id)[:, : int(lengths.max()) + 1]


def _encoded(tokenizer: PreTrainedTokenizerFast, pool: Pool) -> list[tuple[list[int], list[int]]]:
    """Sources and targets; the source of a sentence is left to the noise."""
    if pool.noise is not None:
        return [([], target) for target in _ids(tokenizer, cast(Sequence[str], pool.examples))]
    pairs = cast(Sequence[Pair], pool.examples)
    sources, targets = ([pair[side] for pair in pairs] for side in (0, 1))
    return list(zip(_ids(tokenizer, sources), _ids(tokenizer, targets), strict=True))


def _ids(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    return tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []


def _padded(rows: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    """``int16 [rows, width]``: the vocabulary fits, and the corpus stays small."""
    lengths = torch.tensor([len(row) for row in rows])
    padded = torch.full((len(rows), int(lengths.max())), pad_id, dtype=torch.int16)
    padded[torch.arange(padded.shape[1]) < lengths.unsqueeze(1)] = torch.tensor([*chain(*rows)], dtype=torch.int16)
    return padded


def _unpadded(rows: Tensor, pad_id: int) -> Tensor:
    """``int64``, no wider than the longest needs."""
    return rows[:, : int((rows != pad_id).sum(dim=1).max())].long()
