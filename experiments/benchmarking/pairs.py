"""Pairs of source and target scored by a seq2seq model, each with a source of its own."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from experiments.benchmarking.models import Models
from experiments.benchmarking.recording import Move
from experiments.benchmarking.reference_forwards import Pass
from experiments.benchmarking.task import SHORTEST, Size, Task
from experiments.benchmarking.timing import Stage
from lm_adapters import Seq2SeqLM, pair_log_probs
from lm_adapters.forward import HeadOnRows
from samplers import MetropolisHastings, Proposed, named
from samplers.randomness import generator

__all__ = ["pairs"]

PAIRS = 2048  # that differ
BATCH = 32  # of the loop by hand


def pairs(models: Models, size: Size) -> Task:
    """Other pairs in every step, each scored. Floor: a row of the encoder and one of the decoder for each."""
    lm = models.seq2seq
    table, width = random_pairs(lm, size.length), size.length
    energy = named("pairs", lambda both: -pair_log_probs(lm, both[:, :width], both[:, width:]))
    head = HeadOnRows(lm.model, lm.model.get_decoder().base_model)

    def floor(move: Move) -> Iterator[Stage]:
        yield PairRows(lm, head, move.answer.x, width)

    return Task(
        kernel=MetropolisHastings(OtherPairs(table)),
        energy=energy,
        x0=table[torch.arange(size.chains, device=table.device) % len(table)],
        floor=floor,
        by_hand=labelled(lm, table, width, size.chains),
        by_hand_chains=size.chains,
        models=[lm.model],
        sampled=False,
    )


def random_pairs(lm: Seq2SeqLM, length: int) -> Tensor:
    """``int64 [PAIRS, 2 * length]``: sources and targets of ``SHORTEST`` to ``length`` tokens, beside each other."""
    rng = generator(0, stream="pairs")
    lengths = torch.randint(SHORTEST, length + 1, (PAIRS, 2, 1), generator=rng)
    words = lm.allowed.nonzero().squeeze(1).cpu()
    x = words[torch.randint(len(words), (PAIRS, 2, length), generator=rng)]
    return x.where(torch.arange(length) < lengths, lm.space.pad_id).reshape(PAIRS, -1).to(lm.device)


class OtherPairs:
    """Any row of ``table [pairs, width]``, all alike."""

    move_names = ("pair",)

    def __init__(self, table: Tensor) -> None:
        self.table = table

    def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
        rows = torch.randint(len(self.table), (len(x),), generator=rng, device=x.device)
        even = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        return Proposed(self.table[rows], even, even)

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        return torch.zeros(len(x_to), dtype=torch.float64, device=x_to.device)


class PairRows:
    """Pairs ``both [rows, 2 * width]``: encoder and decoder at the true lengths of a pass, the head at the targets."""

    name, plans = "score", ("whole",)

    def __init__(self, lm: Seq2SeqLM, head: HeadOnRows, both: Tensor, width: int) -> None:
        self.lm, self.head, self.both, self.width = lm, head, both, width
        self.sources, self.targets = (lm.space.lengths(part) for part in both.split(width, dim=1))

    def widths(self, plan: str) -> Tensor:
        space = self.lm.source_space
        return self.sources + self.targets + len(space.prefix) + len(space.suffix) + len(self.lm.context)

    def take(self, rows: Tensor) -> PairRows:
        return PairRows(self.lm, self.head, self.both[rows], self.width)

    def bare(self, plan: str, rows: Tensor) -> Pass:
        source, target = self.both[rows].split(self.width, dim=1)
        ids, attention = self.lm.encoder_input(source, [])
        lengths, context = self.targets[rows].unsqueeze(1), torch.tensor([self.lm.context], device=rows.device)
        read = torch.cat([context.expand(len(rows), -1), target[:, : int(lengths.max())]], dim=1)
        column = torch.arange(read.shape[1], device=rows.device) - (context.shape[1] - 1)
        at, columns = ((column >= 0) & (column <= lengths)).nonzero(as_tuple=True)

        def run() -> Tensor:
            with self.head.rows((at, columns)):
                output = self.lm.model(input_ids=ids, attention_mask=attention, decoder_input_ids=read, use_cache=False)
            logits: Tensor = output.logits.squeeze(0)
            return logits

        return Pass(torch.cat([ids, read], dim=1), run)


def labelled(lm: Seq2SeqLM, table: Tensor, width: int, count: int, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """``count`` pairs and ``-log p`` of each, by ``model(labels=...)`` in padded batches, in the order they come in."""
    rng = torch.Generator(lm.device).manual_seed(seed)
    while True:
        both = table[torch.randint(len(table), (count,), generator=rng, device=table.device)]
        found = []
        for part in both.split(BATCH):
            source, target = part.split(width, dim=1)
            ids, attention = lm.encoder_input(source, [])
            lengths = lm.space.lengths(target).unsqueeze(1)
            labels = pad(target, (0, 1), value=lm.space.pad_id)[:, : int(lengths.max()) + 1].scatter(
                1, lengths, lm.eos_id
            )
            labels = labels.masked_fill(torch.arange(labels.shape[1], device=labels.device) > lengths, -100)
            logits = lm.model(input_ids=ids, attention_mask=attention, labels=labels).logits
            nlls = cross_entropy(logits.transpose(1, 2), labels, reduction="none", ignore_index=-100)
            found.append(nlls.double().sum(dim=1))
        yield both, torch.cat(found)
