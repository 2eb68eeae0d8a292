"""Cross-entropy over the vocabulary without paying for the tokens that never have to be written."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["OutputTokens", "mean_nats"]

SHARE = 8  # one in so many of the tokens that are never a target stands in the denominator of a step


class OutputTokens:
    """The tokens that targets are made of, and a few of the others at each step.

    A third of the shared vocabulary is French. English models have to make it unlikely, but not with a third of the
    output's cost: each step sees one in ``SHARE`` of those tokens, drawn anew, and counts it ``SHARE`` times.
    """

    def __init__(self, targets: Iterable[Tensor], vocabulary: int) -> None:
        written = torch.zeros(vocabulary, dtype=torch.bool)
        for rows in targets:
            written[rows.flatten().long()] = True
        self.written = written.nonzero().flatten()
        self.others = (~written).nonzero().flatten()
        drawn = math.ceil(len(self.others) / SHARE)
        self.place = torch.full((vocabulary,), -1)
        self.place[self.written] = torch.arange(len(self.written))
        self.log_count = torch.zeros(len(self.written) + drawn)
        if drawn:
            self.log_count[-drawn:] = math.log(len(self.others) / drawn)
        self._drawn = drawn

    def draw(self, target: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """``tokens int64 [classes]`` of this step, their ``log_count``, and the classes of ``target`` (same shape)."""
        classes = self.place[target]
        assert not bool((classes < 0).any()), "a target, such as the end of a text, is not among the tokens written"
        chosen = self.others[torch.randperm(len(self.others), generator=rng)[: self._drawn]]
        tokens = torch.cat([self.written, chosen])
        return {"tokens": tokens, "log_count": self.log_count, "target": classes}


def mean_nats(states: Tensor, words: Tensor, inputs: dict[str, Tensor], bias: Tensor | None = None) -> Tensor:
    """Mean ``-log p`` of ``inputs["target"] [n]`` given ``states [n, width]`` and output vectors ``words``."""
    tokens = inputs["tokens"]
    logits = torch.nn.functional.linear(states, words[tokens], None if bias is None else bias[tokens])
    return torch.nn.functional.cross_entropy(logits.float() + inputs["log_count"], inputs["target"])
