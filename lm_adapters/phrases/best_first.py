"""The likeliest phrases of a list of any size, found along its trie, with the proof that there are none likelier."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lm_adapters.forward.oom import run_passes
from lm_adapters.models.autoregressive import Autoregressive
from lm_adapters.phrases.distribution import check_phrases_fit
from lm_adapters.phrases.phrases import Phrases
from samplers import InvalidInput

__all__ = ["BestPhrases", "best_phrases"]

TOGETHER = 64  # beginnings read in one go, the likeliest of all


class BestPhrases(NamedTuple):
    """What ``best_phrases`` has found.

    x
        ``int64 [found, longest]``: the likeliest of the phrases that were reached, the likeliest first.
    nlls
        ``float64 [found]`` in nats: ``-log p`` of each.
    proved
        how many of the first are the likeliest of the whole list.
    others_above
        no phrase that was not reached has less nats than this.
    log_z
        bounds of the log of what the phrases of the list add up to, in nats.
    reads
        beginnings that the model read.
    """

    x: Tensor
    nlls: Tensor
    proved: int
    others_above: float
    log_z: tuple[float, float]
    reads: int


@torch.inference_mode()
def best_phrases(model: Autoregressive, phrases: Phrases, count: int, *, max_reads: int = 100_000) -> BestPhrases:
    """The ``count`` phrases with the smallest ``-log p``, exactly, from at most ``max_reads`` beginnings.

    Best-first search over the trie (Hart, Nilsson & Raphael 1968, A*, with the bound 0 on what is still to come). A
    beginning ``u`` costs ``g(u) = -log p(u)``, a phrase ``w`` that and ``-log p(end | w)``. Every factor is at most 1,
    so that ``g`` does not fall along a path: no phrase below ``u`` costs less than ``g(u)``.

    Proof: beginnings that were reached and not read yet are open. Each phrase that was not reached has exactly one open
    beginning on its path, since all those before an open one were read and reading one opens all that follow it. So it
    costs at least the least ``g`` of what is open. Where ``count`` reached phrases cost no more than that, no other
    costs less. For the same reason the probabilities of the phrases not reached add up to at most the sum of
    ``exp(-g)`` over what is open, which bounds ``log_z``. Both up to the rounding of the model.

    Where reads run out first, those of the reached phrases that cost no more than what is open are still ``proved``.

    Cost: a row of the model for each beginning that costs less than the ``count``-th phrase, of which there are as few
    as the model is sure, whatever the length of the list.

    Raises ``InvalidInput`` for phrases ``within`` a text, in the tokens of another model, or too long for it, and for
    counts below 1.
    """
    if phrases.within:
        raise InvalidInput("the phrases are those within a text; a search over whole phrases needs within=False")
    if min(count, max_reads) < 1:
        raise InvalidInput(f"count={count}, max_reads={max_reads}: give at least 1 each")
    check_phrases_fit(model, phrases, None)
    device = model.allowed.device
    trie = phrases.trie_on(device)
    node = torch.zeros(1, dtype=torch.int64, device=device)
    cost = torch.zeros(1, dtype=torch.float64, device=device)
    found, nlls, reads = node[:0], cost[:0], 0
    while True:
        least = float(cost.min()) if len(cost) else math.inf
        proved = min(count, int((nlls <= least).sum()))
        if proved == count or not len(node) or reads >= max_reads:
            break
        worst = float(nlls.kthvalue(count).values) if len(nlls) >= count else math.inf
        order = cost.topk(min(len(cost), TOGETHER, max_reads - reads), largest=False).indices
        order = order[cost[order] <= worst]
        reading = torch.zeros_like(cost, dtype=torch.bool).index_fill_(0, order, True)
        ended, child, costs = _read(model, phrases, node[reading], cost[reading])
        reads += len(order)
        found = torch.cat([found, node[reading & trie.ends[node]]])
        nlls = torch.cat([nlls, ended])
        node, cost = torch.cat([node[~reading], child]), torch.cat([cost[~reading], costs])
    reached = (-nlls).logsumexp(dim=0)
    log_z = float(reached), float(torch.logaddexp(reached, (-cost).logsumexp(dim=0)))
    nlls, rank = nlls.sort(stable=True)
    x = found.new_full((len(rank[:count]), trie.depth), model.space.pad_id)
    if len(x):
        tokens = trie.sequences(found[rank[:count]], model.space.pad_id)
        x[:, : tokens.shape[1]] = tokens
    return BestPhrases(x, nlls[:count], proved, least, log_z, reads)


def _read(model: Autoregressive, phrases: Phrases, node: Tensor, cost: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What follows beginnings ``node int64 [rows]``, of ``cost float64 [rows]``, with the costs.

    Those of the phrases that end there, in order, and the nodes below with theirs.
    """
    trie, space = phrases.trie_on(node.device), model.space
    x = node.new_full((len(node), 1), space.pad_id)
    if bool((node >= trie.roots).any()):
        x = trie.sequences(node, space.pad_id)
    lengths = space.lengths(x)
    wanted = torch.arange(x.shape[1] + 1, device=x.device) == lengths.unsqueeze(1)
    row, child = trie.below(node)
    # What may follow: the tokens that lead to the nodes below, then the end of each beginning.
    rows = torch.cat([row, torch.arange(len(node), device=row.device)])
    tokens = torch.cat([trie.token(child), torch.full_like(node, model.eos_id)])
    after = cost.new_zeros(len(rows))
    for part, log_p in run_passes(
        lengths + 1,
        model.tokens_per_pass,
        lambda part: torch.cat([each.log_softmax(dim=1) for each in model.logits(x[part], wanted[part])]),
        scorer=model.lm,
    ):
        place = torch.full_like(node, -1).index_copy_(0, part, torch.arange(len(part), device=part.device))[rows]
        here = place >= 0
        after[here] = -log_p[place[here], tokens[here]].double()
    total = cost[rows] + after.clamp(min=0.0)
    return total[len(child) :][trie.ends[node]], child, total[: len(child)]
