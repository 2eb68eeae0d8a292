"""Replace the phrase of a text by another of its list, along the trie."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lm_adapters.energies.hints import TextHint
from lm_adapters.models.autoregressive import Autoregressive, with_end_token
from lm_adapters.phrases.distribution import check_phrases_fit
from lm_adapters.phrases.look_ahead import LookAhead
from lm_adapters.phrases.phrase_law import PhraseLaw, Place
from lm_adapters.phrases.phrases import Phrases
from samplers import InvalidInput, Proposed
from samplers.randomness import draw_site

__all__ = ["PhraseProposal"]


class PhraseProposal:
    """Keep the beginning of the phrase that a text is, or holds, and write another end for it along the trie.

    Target
        any energy over texts; add ``phrases`` to it. Texts without a phrase, longer than ``max_length``, or with a
        phrase that is alone in the list are kept, which counts as rejected.
    Acceptance ratio
        ``q(w | w') / q(w' | w)`` with ``q(w' | w) = sum_t 1 / B(w) prod_{j >= t} q(w'_j | left, w'_<j)``: the cut ``t``
        is uniform on the ``B(w)`` prefixes of the phrase after which the trie branches, and the rest is drawn by
        ``PhraseLaw``. The sum is over the cuts within what both phrases begin with. What is left and right of the
        phrase stays, so both directions share it. There is no reverse move (``-inf``) where the new text holds its
        phrase at another place or as a longer one: from there no move leads back.
    Reversible
        yes.
    Reference
        Hastings 1970, Biometrika 57; with the sum over cuts in place of one of them, which costs nothing, because the
        factors of what both begin with are the same.
    Cost
        a pass over what is left of the cut, then a pass of one token over the unfinished rows for each token, however
        long the list is. The density of the old text is kept as the proposal's ``memory``. Where the whole text is the
        phrase its energy under the same model needs no pass: a ``TextHint`` passes it on.

    ``max_length``: the most tokens of a text, by default those of the longest phrase where the whole text is one.
    ``temperature`` and ``look_ahead`` change what is proposed and not what is sampled.

    Raises ``InvalidInput`` for phrases in the tokens of another model, for lengths that do not fit, and for states
    narrower than ``max_length``.
    """

    move_names = ("phrase",)

    def __init__(
        self,
        model: Autoregressive,
        phrases: Phrases,
        *,
        max_length: int | None = None,
        temperature: float = 1.0,
        look_ahead: LookAhead | None = None,
    ) -> None:
        if phrases.within and max_length is None:
            raise InvalidInput("max_length is not given; texts that hold a phrase need one")
        self.max_length = check_phrases_fit(model, phrases, max_length)
        self.model, self.phrases = model, phrases
        self.law = PhraseLaw(model, phrases, temperature=temperature, look_ahead=look_ahead)

    def memory(self, x: Tensor) -> Tensor:
        """``float64 [chains, 2, longest phrase + 1]`` in nats: see ``PhraseLaw.scores``."""
        place, size = self._found(x)
        return self.law.scores(x, place, size)

    def __call__(self, x: Tensor, rng: torch.Generator, memory: Tensor | None = None) -> Proposed:
        if x.shape[1] < self.max_length:
            raise InvalidInput(f"the states are {x.shape[1]} wide and max_length is {self.max_length}; widen them")
        memory = self.memory(x) if memory is None else memory
        place, size = self._found(x)
        nodes = self.law.nodes(x, place)
        cuts = self._cuts(nodes, size)
        stuck = ~cuts.any(dim=1)
        kept = draw_site(cuts | stuck.unsqueeze(1), rng).where(~stuck, 0)
        rows = (~stuck).nonzero().squeeze(1)
        new, new_size, scores = x.clone(), size.clone(), memory.clone()
        if len(rows):
            phrase, drawn, found = self.law.draw(x[rows], place[rows], kept[rows], rng)
            new[rows] = self._joined(x[rows], place[rows], size[rows], phrase, drawn)
            after = (torch.arange(memory.shape[2], device=x.device) >= kept[rows].unsqueeze(1)).unsqueeze(1)
            new_size[rows], scores[rows] = drawn, torch.where(after, found, memory[rows])
        new_nodes = self.law.nodes(new, place)
        shared = self._shared(nodes, size, new_nodes, new_size)
        forward = _log_density(cuts, shared, scores[:, 0])
        reverse = _log_density(self._cuts(new_nodes, new_size), shared, memory[:, 0])
        at, there = self.phrases.span(new)
        reversible = (at == place.start) & (there == new_size) & ~stuck
        hint = None
        if not self.phrases.within:
            hint = TextHint(self.model, scores[:, 1].sum(dim=1).masked_fill(stuck, math.nan))
        return Proposed(
            new, forward.masked_fill(stuck, 0.0), reverse.masked_fill(~reversible, -math.inf), hint=hint, memory=scores
        )

    def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
        """``float64 [chains]``: the log-density of the move, summed over all cuts that can make it."""
        place, size = self._found(x_from)
        nodes = self.law.nodes(x_from, place)
        cuts = self._cuts(nodes, size)
        stuck = ~cuts.any(dim=1)
        new_nodes = self.law.nodes(x_to, place)
        lengths = self.model.space.lengths(x_to)
        new_size = lengths - self.model.space.lengths(x_from) + size
        inside = (new_size > 0) & (new_size <= self.law.depth) & (lengths <= self.max_length) & ~stuck
        new_size = new_size.where(inside, 0)
        last = new_nodes.gather(1, new_size.unsqueeze(1)).squeeze(1)
        trie = self.phrases.trie_on(x_to.device)
        inside &= (last >= 0) & trie.ends[last]
        rebuilt = self._joined(x_from, place, size, self.law.span_tokens(x_to, place), new_size)
        inside &= (rebuilt == x_to).all(dim=1)
        new_size = new_size.where(inside, 0)
        shared = self._shared(nodes, size, new_nodes, new_size)
        total = _log_density(cuts, shared, self.law.scores(x_to, place, new_size)[:, 0])
        stays = torch.where((x_to == x_from).all(dim=1), 0.0, -math.inf).double()
        return total.masked_fill(~inside, -math.inf).where(~stuck, stays)

    def _found(self, x: Tensor) -> tuple[Place, Tensor]:
        """Where the phrase of each text stands, and its size, 0 in texts that are kept."""
        start, size = self.phrases.span(x)
        lengths = self.model.space.lengths(x)
        size = size.where(lengths <= self.max_length, 0)
        stop = with_end_token(self.model, x).gather(1, (start + size).unsqueeze(1)).squeeze(1)
        return Place(start, stop, self.max_length - lengths + size), size

    def _cuts(self, nodes: Tensor, size: Tensor) -> Tensor:
        """``bool [rows, depth + 1]``: after how many tokens of the phrase the trie branches."""
        trie = self.phrases.trie_on(nodes.device)
        inside = torch.arange(self.law.depth + 1, device=nodes.device) <= size.unsqueeze(1)
        node = nodes[:, :-1].where(inside, -1)
        _, count = trie.children(node.flatten())
        ways = count.reshape(node.shape) + (trie.ends[node] & (node >= 0)).long()
        return (ways > 1) & (size > 0).unsqueeze(1)

    def _shared(self, nodes: Tensor, size: Tensor, new_nodes: Tensor, new_size: Tensor) -> Tensor:
        """``bool [rows, depth + 1]``: cuts within what both phrases begin with."""
        column = torch.arange(self.law.depth + 1, device=nodes.device)
        within = column <= torch.minimum(size, new_size).unsqueeze(1)
        return within & (nodes[:, :-1] == new_nodes[:, :-1])

    def _joined(self, x: Tensor, place: Place, size: Tensor, phrase: Tensor, new_size: Tensor) -> Tensor:
        """``x`` with ``phrase int64 [rows, any width]`` in place of the ``size`` tokens there."""
        start, new_end = place.start.unsqueeze(1), (place.start + new_size).unsqueeze(1)
        column = torch.arange(x.shape[1], device=x.device).expand_as(x)
        source = column - (new_size - size).unsqueeze(1)
        right = x.gather(1, source.clamp(min=0, max=x.shape[1] - 1))
        right = right.masked_fill(source >= x.shape[1], self.model.space.pad_id)
        written = phrase.gather(1, (column - start).clamp(min=0, max=phrase.shape[1] - 1))
        return torch.where(column < start, x, torch.where(column < new_end, written, right))


def _log_density(cuts: Tensor, shared: Tensor, log_q: Tensor) -> Tensor:
    """``float64 [rows]``: of the factors from each cut on, summed over the ``cuts`` that are ``shared``."""
    rest = log_q.flip(1).cumsum(dim=1).flip(1)
    total = rest.masked_fill(~(cuts & shared), -math.inf).logsumexp(dim=1)
    return total - cuts.sum(dim=1).clamp(min=1).double().log()
