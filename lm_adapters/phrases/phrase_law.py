"""The law of a phrase at a place in a text: a path of the trie, token by token, by a model that reads left to right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.forward.kv_cache import batchable_rows
from lm_adapters.forward.log_probs import aligned_parts
from lm_adapters.forward.oom import run_passes, split_on_oom
from lm_adapters.models.autoregressive import Autoregressive
from lm_adapters.phrases.look_ahead import LookAhead
from lm_adapters.phrases.phrases import Phrases
from samplers.randomness import Weights

__all__ = ["PhraseLaw", "Place"]


@dataclass(frozen=True)
class Place:
    """Where each row's phrase stands, ``int64 [rows]`` each.

    ``start``: its first column; ``stop``: the token right after it, or the end; ``room``: the most tokens it may have.
    """

    start: Tensor
    stop: Tensor
    room: Tensor

    def __getitem__(self, rows: Tensor) -> Place:
        return Place(self.start[rows], self.stop[rows], self.room[rows])


class PhraseLaw:
    """``q(w | left, stop) = prod_t p(w_t | left, w_<t, allowed)``, the stop among the factors.

    Allowed after ``w_<t`` are the tokens by which the trie goes on to a phrase that has room and, where a phrase ends,
    the token that stands after the place: that ends it, and has a share of its own beside the same token as part of a
    longer phrase. Each factor is renormalised over what is allowed, at the ``temperature``, so that the phrases with
    room add up to 1. With ``look_ahead`` the factors are changed, see there, and add up to 1 as well.
    """

    def __init__(
        self,
        model: Autoregressive,
        phrases: Phrases,
        *,
        temperature: float = 1.0,
        look_ahead: LookAhead | None = None,
    ) -> None:
        self.model, self.phrases, self.temperature, self.look_ahead = model, phrases, temperature, look_ahead

    @property
    def depth(self) -> int:
        return self.phrases.trie.depth

    def scores(self, x: Tensor, place: Place, size: Tensor) -> Tensor:
        """``float64 [rows, 2, depth + 1]`` in nats, of each token of the ``size [rows]`` tokens there and of the stop.

        ``[:, 0]`` is ``log q``, ``[:, 1]`` is ``-log p`` under the model itself; 0 after that, and in rows of size 0.
        One pass over each text up to the end of its span.
        """
        offset = torch.arange(self.depth + 1, device=x.device)
        nodes = self.nodes(x, place)
        wanted = (offset <= size.unsqueeze(1)) & (size > 0).unsqueeze(1)
        stops = offset == size.unsqueeze(1)
        found = torch.zeros(len(x), self.depth + 1, 2, dtype=torch.float64, device=x.device)
        rows = (size > 0).nonzero().squeeze(1)
        columns = torch.arange(x.shape[1] + 1, device=x.device)

        def run(part: Tensor) -> Tensor:
            part = rows[part]
            here = wanted[part]
            first = place.start[part].unsqueeze(1)
            marked = (columns >= first) & (columns <= first + size[part].unsqueeze(1))
            row, at = here.nonzero(as_tuple=True)
            row = part[row]
            after = nodes[row, at + 1].masked_fill(stops[row, at], -1)
            return self._scores(self.model.logits(x[part], marked), nodes[row, at], place[row], at, after)

        for part, values in run_passes(
            (place.start + size)[rows] + 1, self.model.tokens_per_pass, run, scorer=self.model.lm
        ):
            here = rows[part]
            found[here] = found[here].masked_scatter(wanted[here].unsqueeze(2), values)
        return found.transpose(1, 2)

    def draw(
        self, x: Tensor, place: Place, kept: Tensor, rng: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Keep the first ``kept int64 [rows]`` tokens that stand there, a way into the trie, and draw the rest.

        Returns the phrases, ``int64 [rows, depth]`` padded, their sizes, and ``scores`` of what was drawn, 0 before it.
        Without ``rng`` torch's global generator draws. Draws depend on neither ``tokens_per_pass`` nor the order of the
        passes. Cost: a pass over what is left of the draw, then one of one token over the unfinished rows for each.
        """
        shape, device = (len(x), self.depth + 1), "cpu" if rng is None else rng.device
        noise = torch.rand(shape, dtype=torch.float64, device=device, generator=rng).to(x.device)
        offset = torch.arange(self.depth, device=x.device)
        new = self.span_tokens(x, place)[:, :-1].masked_fill(offset >= kept.unsqueeze(1), self.model.space.pad_id)
        size = kept.clone()
        scores = torch.zeros(len(x), self.depth + 1, 2, dtype=torch.float64, device=x.device)
        tokens = self.model.tokens_per_pass
        for group in batchable_rows(place.start + kept, self.model.ragged):
            for rows in group.split(max(1, tokens // (int((place.start + kept)[group].max()) + 1))):
                run = partial(self._write, x, place, kept, noise)
                for part, (written, sizes, found) in split_on_oom(rows, run, scorer=self.model.lm):
                    drawn = offset >= kept[part].unsqueeze(1)
                    new[part] = torch.where(drawn, written, new[part])
                    size[part], scores[part] = sizes, found
        return new, size, scores.transpose(1, 2)

    def _write(
        self, x: Tensor, place: Place, kept: Tensor, noise: Tensor, rows: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        place, kept, noise = place[rows], kept[rows], noise[rows]
        written = torch.full((len(rows), self.depth), self.model.space.pad_id, device=x.device)
        scores = torch.zeros(len(rows), self.depth + 1, 2, dtype=torch.float64, device=x.device)
        node = self.nodes(x[rows], place).gather(1, kept.unsqueeze(1)).squeeze(1)
        size, until = kept.clone(), place.start + kept
        columns = torch.arange(x.shape[1] + 1, device=x.device)
        logits, read = self.model.read(x[rows], columns == until.unsqueeze(1))
        going = torch.arange(len(rows), device=x.device)
        before = read.take(going, until)
        while True:
            here = place[going]
            token, node, found = self._draw(logits, node, here, size[going], noise[going, size[going]])
            scores[going, size[going]] = found
            text = node >= 0
            going, token, node = going[text], token[text], node[text]
            if not len(going):
                return written, size, scores
            written[going, size[going]] = token
            size[going] += 1
            if not bool(text.all()):
                before = before.take(text.nonzero().squeeze(1))
            logits, before = self.model.extend(
                before, token.unsqueeze(1), torch.ones_like(token, dtype=torch.bool).unsqueeze(1)
            )

    def nodes(self, x: Tensor, place: Place) -> Tensor:
        """``int64 [rows, depth + 2]``: where what stands there leads, before each token and after; -1 off the trie."""
        return self.phrases.trie_on(x.device).walk(self.phrases.root(place.start), self.span_tokens(x, place))

    def span_tokens(self, x: Tensor, place: Place) -> Tensor:
        """``int64 [rows, depth + 1]``: what stands from the start of each place on."""
        column = place.start.unsqueeze(1) + torch.arange(self.depth + 1, device=x.device)
        return pad(x, (0, self.depth + 1), value=self.model.space.pad_id).gather(1, column)

    def _draw(
        self, logits: Iterable[Tensor], node: Tensor, place: Place, at: Tensor, u: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A token for each row and the node that it leads to, -1 for the stop; its two scores ``float64 [rows, 2]``."""
        trie = self.phrases.trie_on(node.device)
        parts = []
        for part, nodes, stop, left, quantile in aligned_parts(logits, node, place.stop, place.room - at, u):
            first, weights = self._weights(part, nodes, stop, left)
            choice = weights.at(quantile)
            after = torch.where(choice == 0, -1, first + choice - 1)
            token = torch.where(choice == 0, stop, trie.token(after.clamp(min=trie.roots)))
            parts.append((token, after, _told(weights, choice, part, token)))
        tokens, nodes, scores = map(torch.cat, zip(*parts, strict=True))
        return tokens, nodes, scores

    def _scores(self, logits: Iterable[Tensor], node: Tensor, place: Place, at: Tensor, after: Tensor) -> Tensor:
        """Of the tokens that lead from ``node`` to ``after``, -1 for the stop."""
        trie = self.phrases.trie_on(node.device)
        told = []
        for part, nodes, stop, left, then in aligned_parts(logits, node, place.stop, place.room - at, after):
            first, weights = self._weights(part, nodes, stop, left)
            choice = torch.where(then < 0, 0, then - first + 1)
            token = torch.where(then < 0, stop, trie.token(then.clamp(min=trie.roots)))
            told.append(_told(weights, choice, part, token))
        return torch.cat(told)

    def _weights(self, logits: Tensor, node: Tensor, stop: Tensor, left: Tensor) -> tuple[Tensor, Weights]:
        """The first child of each node, and weights of the stop and the children; ``left [rows]``: room in tokens."""
        trie = self.phrases.trie_on(node.device)
        first, count = trie.children(node)
        slot = torch.arange(max(1, int(count.max())), device=node.device)
        child = (first.unsqueeze(1) + slot).clamp(max=len(trie.ends) - 1)
        possible = (slot < count.unsqueeze(1)) & (trie.nearest[child] < left.unsqueeze(1))
        tokens = torch.cat([stop.unsqueeze(1), trie.token(child)], dim=1)
        possible = torch.cat([trie.ends[node].unsqueeze(1), possible], dim=1)
        scores = logits.gather(1, tokens).double() / self.temperature
        scores = scores.masked_fill(~possible, -torch.inf)
        if self.look_ahead is not None:
            exponents = pad(self.look_ahead.exponents(node, child), (1, 0), value=1.0)
            scores = (scores.log_softmax(dim=1) * exponents).masked_fill(~possible, -torch.inf)
        return first, Weights(scores.softmax(dim=1))


def _told(weights: Weights, choice: Tensor, logits: Tensor, token: Tensor) -> Tensor:
    """``float64 [rows, 2]``: ``log q`` of each choice, and ``-log p`` of its token under the model."""
    log_q = weights.log_prob(choice.unsqueeze(1))
    return torch.cat([log_q, -logits.log_softmax(dim=1).gather(1, token.unsqueeze(1)).double()], dim=1)
