"""A pseudo-log-likelihood of a few passes: every so many sites are masked together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lm_adapters.forward.log_probs import token_nlls
from lm_adapters.forward.oom import run_passes
from lm_adapters.models.masked_lm import MaskedLM
from samplers import EnergyTerm, InvalidInput

__all__ = ["BlockwiseEnergy"]


class BlockwiseEnergy(EnergyTerm):
    """``sum over blocks b, and sites i of b, of -log p(x_i | x without block b)`` in nats, under a masked model.

    Block ``b`` of ``blocks`` is the sites ``b``, ``b + blocks``, ``b + 2 blocks`` and so on, masked together, so that
    each token is scored in a context that lacks one token in ``blocks``. For texts of no more tokens than that it is
    ``MaskedEnergy(model, "pll")``; for longer ones a law of its own, close to that one: a surrogate of it in
    ``DelayedAcceptance``.

    Cost: at most ``blocks`` masked rows a text, whatever its length, where the pseudo-log-likelihood takes one a token.

    Raises ``InvalidInput`` for ``blocks`` below 1, and for a text longer than the model takes.
    """

    expensive = True
    lower_bound = 0.0
    name = "blockwise"

    def __init__(self, model: MaskedLM, blocks: int = 8) -> None:
        if blocks < 1:
            raise InvalidInput(f"blocks is {blocks}; give at least 1")
        self.model, self.blocks = model, blocks

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        lengths = self.model.space.lengths(x)
        if int(lengths.max()) > self.model.max_length:
            raise InvalidInput(
                f"a text has {int(lengths.max())} tokens, the model takes {self.model.max_length}; bound the length"
            )
        blocks = torch.arange(self.blocks, device=x.device)
        rows, chosen = (blocks < lengths.unsqueeze(1)).nonzero(as_tuple=True)
        block_of = torch.arange(x.shape[1], device=x.device) % self.blocks
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        widths = lengths[rows] + len(self.model.space.prefix) + len(self.model.space.suffix)

        def run(part: Tensor) -> Tensor:
            some = x[rows[part]]
            hidden = (block_of == chosen[part].unsqueeze(1)) & self.model.space.is_token(some)
            terms = token_nlls([self.model.logits(some, hidden)], some[hidden].unsqueeze(1)).squeeze(1)
            return torch.zeros(hidden.shape, dtype=torch.float64, device=x.device).masked_scatter(hidden, terms)

        shares = torch.zeros(len(rows), x.shape[1], dtype=torch.float64, device=x.device)
        for part, terms in run_passes(widths, self.model.tokens_per_pass, run, scorer=self.model):
            shares[part] = terms
        # Each site is in one block: added by text in one order, so that the passes change no bit of a sum.
        return total.index_add_(0, rows, shares.sum(dim=1))
