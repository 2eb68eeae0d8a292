"""A masked language model as conditionals, as two energies, and (in ``gibbs_proposal.py``) as a proposal.

Only the masked sites reach the vocabulary head.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from lm_adapters.forward.batching import checked_tokens
from lm_adapters.forward.lm_head import HeadOnRows
from lm_adapters.forward.log_probs import nats
from lm_adapters.forward.model_inputs import framed, positions
from lm_adapters.forward.oom import run_passes
from lm_adapters.loading.identity import Identified
from lm_adapters.loading.pretrained import load_pretrained
from lm_adapters.locks.base import Lock
from lm_adapters.proposals.gibbs_proposal import GibbsProposal, SiteHint
from lm_adapters.proposals.truncation import Truncation
from lm_adapters.text import TextSpace
from samplers import EnergyTerm, InvalidInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["MaskedEnergy", "MaskedLM"]

EnergyKind = Literal["raw", "pll"]


class MaskedLM(Identified):
    """A masked language model and its tokenizer.

    ``tokens_per_pass`` bounds the tokens of one forward pass, hence memory; results do not depend on it, but for
    rounding. The default is near the fastest size: 1,024 on a processor, 65,536 elsewhere.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, tokens_per_pass: int | None = None
    ) -> None:
        if tokenizer.mask_token_id is None:
            raise InvalidInput("the tokenizer has no mask token; a masked language model is needed here")
        self.model = model.eval().requires_grad_(False)
        self.tokens_per_pass = checked_tokens(tokens_per_pass, model.device)
        self.space = TextSpace(tokenizer, model.get_input_embeddings().weight.shape[0])
        self.allowed = self.space.proposable.to(self.device)
        if not bool(self.allowed.any()):
            raise InvalidInput("the tokenizer has no token that may be proposed; is its vocabulary missing?")
        self._head = HeadOnRows(model)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        device: str = "cpu",
        dtype: str = "float32",
        *,
        tokens_per_pass: int | None = None,
        trust_remote_code: bool = False,
    ) -> MaskedLM:
        """An embedded model, a local folder or a Hugging Face name; see ``load_pretrained`` for what is refused."""
        model, tokenizer = load_pretrained(
            "masked", name_or_path, device=device, dtype=dtype, trust_remote_code=trust_remote_code
        )
        return cls(model, tokenizer, tokens_per_pass=tokens_per_pass)

    def close(self) -> None:
        """Give the model back unhooked."""
        self._head.remove()

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def max_length(self) -> int:
        """Tokens of text that fit the model's positions."""
        return positions(self.model.base_model) - len(self.space.prefix) - len(self.space.suffix)

    def logits(self, x: Tensor, hidden: Tensor) -> Tensor:
        """``[hidden sites, vocabulary]`` logits at the sites that ``hidden`` (``bool [rows, width]``) masks together.

        In as few forward passes as ``tokens_per_pass`` allows; sites in row-major order.
        """
        masked = x.masked_fill(hidden, self.space.mask_id)
        frame = len(self.space.prefix) + len(self.space.suffix)

        def run(rows: Tensor) -> Tensor:
            return self._read(masked[rows], hidden[rows])

        widths = self.space.lengths(x) + frame
        parts = list(run_passes(widths, self.tokens_per_pass, run, scorer=self))
        if len(parts) == 1:
            return parts[0][1]
        numbers = hidden.flatten().cumsum(dim=0).reshape(hidden.shape) - 1
        logits = parts[0][1].new_empty(int(numbers[-1, -1]) + 1, self.space.vocabulary)
        for rows, part in parts:
            logits[numbers[rows][hidden[rows]]] = part
        return logits

    def _read(self, masked: Tensor, hidden: Tensor) -> Tensor:
        ids, attention = framed(self.space, masked)
        rows, columns = hidden.nonzero(as_tuple=True)
        with self._head.rows((rows, columns + len(self.space.prefix))):
            return self.model(input_ids=ids, attention_mask=attention).logits.squeeze(0)

    def conditionals(self, x: Tensor, hidden: Tensor, truncation: Truncation | None = None) -> Tensor:
        """``float64 [hidden sites, vocabulary]`` log-probabilities of proposable tokens, given what is not hidden."""
        return (truncation or Truncation()).log_prob(self.logits(x, hidden), self.allowed)

    def scores(self, x: Tensor, hidden: Tensor, truncation: Truncation | None = None) -> Tensor:
        """``conditionals`` up to a constant a row, in the model's own precision: enough to draw by."""
        return (truncation or Truncation()).scores(self.logits(x, hidden), self.allowed)

    def gibbs_proposal(
        self, block_size: int = 1, *, truncation: Truncation | None = None, lock: Lock | None = None
    ) -> GibbsProposal:
        """Redraw ``block_size`` sites that ``lock`` leaves free from their conditionals; see ``GibbsProposal``."""
        return GibbsProposal(self, block_size, truncation=truncation, lock=lock)

    def energy(self, kind: EnergyKind) -> MaskedEnergy:
        """``raw``: minus the sum of logits (Goyal et al. 2021, arXiv:2106.02736, E_raw).

        ``pll``: minus the pseudo-log-likelihood (Salazar et al. 2020, arXiv:1910.14659, eq. 1; E_norm of Goyal et al.).
        """
        return MaskedEnergy(self, kind)


class MaskedEnergy(EnergyTerm):
    """``sum over sites of -f(x_i; x with i masked)``, ``f`` the logit (``raw``) or its log-softmax (``pll``), in nats.

    Cost: one masked row a site, folded into as few passes as ``tokens_per_pass`` allows, the head at the masked
    site only. After a proposal of the same model that redrew one site, ``length - 1`` rows: the hint has the other.
    """

    expensive = True

    def __init__(self, model: MaskedLM, kind: EnergyKind) -> None:
        if kind not in ("raw", "pll"):
            raise InvalidInput(f"the energy kind is {kind!r}; choose 'raw' or 'pll'")
        self.model, self.kind, self.name = model, kind, kind

    @property
    def lower_bound(self) -> float:  # type: ignore[override]
        return 0.0 if self.kind == "pll" else -math.inf

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        todo = self.model.space.inside(x)
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        if isinstance(hint, SiteHint) and hint.model is self.model:
            total += self._terms(hint.logits[hint.row], hint.token).where(hint.site >= 0, 0.0)
            todo &= torch.arange(x.shape[1], device=x.device) != hint.site.unsqueeze(1)
        for rows, _, terms in self._passes(x, todo):
            total.index_add_(0, rows, terms)
        return total

    def site_terms(self, x: Tensor) -> Tensor:
        """``float64 [rows, width]``: each site's share of the energy, 0 at padding."""
        total = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
        for rows, sites, terms in self._passes(x, self.model.space.inside(x)):
            total[rows, sites] = terms
        return total

    def _site_terms(self, x: Tensor, sites: Tensor) -> Tensor:
        hidden = torch.zeros_like(x, dtype=torch.bool).scatter(1, sites.unsqueeze(1), True)
        logits = self.model.logits(x, hidden)
        return self._terms(logits, x.gather(1, sites.unsqueeze(1)).squeeze(1))

    def _terms(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """``float64 [rows]`` of ``logits [rows, vocabulary]`` at sites that hold ``tokens [rows]``."""
        if self.kind == "raw":
            return -logits.gather(1, tokens.unsqueeze(1)).squeeze(1).double()
        # The softmax runs over the model's whole vocabulary, as published figures do, not over proposable tokens.
        return nats([logits], tokens.unsqueeze(1)).squeeze(1)

    def _passes(self, x: Tensor, todo: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Rows, sites and their terms, ``[rows of the pass]`` each."""
        rows, sites = todo.nonzero(as_tuple=True)
        widths = self.model.space.lengths(x)[rows] + len(self.model.space.prefix) + len(self.model.space.suffix)

        def run(part: Tensor) -> Tensor:
            return self._site_terms(x[rows[part]], sites[part])

        for part, terms in run_passes(widths, self.model.tokens_per_pass, run, scorer=self.model):
            yield rows[part], sites[part], terms
