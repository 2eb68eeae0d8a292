"""Phrases of a list, drawn as whole texts by a model: for independent draws and their weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from lm_adapters.energies.hints import TextHint
from lm_adapters.models.autoregressive import Autoregressive
from lm_adapters.phrases.look_ahead import LookAhead
from lm_adapters.phrases.phrase_law import PhraseLaw, Place
from lm_adapters.phrases.phrases import Phrases
from samplers import Drawn, InvalidInput

__all__ = ["PhraseDistribution", "check_phrases_fit"]


class PhraseDistribution:
    """``PhraseLaw`` of whole texts: the phrases of a list, which add up to 1.

    It is not the model's own law given the list. That is the target ``SequenceEnergy + phrases``, and the weight of a
    phrase, ``prod_t Z_t`` of the mass of what was allowed at each token, says how far the two are apart: a proposal for
    importance sampling and for ``IndependenceProposal``.

    Raises ``InvalidInput`` for phrases ``within`` a text, for those of another tokenizer, and for one that the model
    cannot take.
    """

    def __init__(
        self,
        model: Autoregressive,
        phrases: Phrases,
        *,
        temperature: float = 1.0,
        look_ahead: LookAhead | None = None,
    ) -> None:
        if phrases.within:
            raise InvalidInput("the phrases are those within a text; a distribution of whole texts needs within=False")
        self.max_length = check_phrases_fit(model, phrases, None)
        self.model, self.law = model, PhraseLaw(model, phrases, temperature=temperature, look_ahead=look_ahead)

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """``int64 [*sample_shape, longest phrase]``, drawn by torch's global generator."""
        x, _ = self._draw(math.prod(sample_shape))
        return x.reshape(*sample_shape, self.max_length)

    def sample_and_log_prob(self, count: int) -> Drawn:
        """``sample`` of ``count`` phrases, with their ``log_prob`` and, as a ``TextHint``, the model's ``-log p``.

        Cost: that of the draw.
        """
        x, scores = self._draw(count)
        log_q, nlls = scores.sum(dim=2).unbind(dim=1)
        return Drawn(x, log_q, TextHint(self.model, nlls))

    def log_prob(self, x: Tensor) -> Tensor:
        """``float64 [...]`` in nats, for texts ``x int64 [..., width]`` of any width; ``-inf`` for all but phrases."""
        rows = x.reshape(-1, x.shape[-1])
        _, size = self.law.phrases.span(rows)
        wide = pad(rows, (0, max(0, self.max_length - rows.shape[1])), value=self.model.space.pad_id)
        total = self.law.scores(wide, self._place(rows), size)[:, 0].sum(dim=1)
        return total.masked_fill(size == 0, -math.inf).reshape(x.shape[:-1])

    def _draw(self, count: int) -> tuple[Tensor, Tensor]:
        empty = torch.full((count, self.max_length), self.model.space.pad_id, device=self.model.allowed.device)
        x, _, scores = self.law.draw(empty, self._place(empty), empty.new_zeros(count))
        return x, scores

    def _place(self, x: Tensor) -> Place:
        start = torch.zeros_like(x[:, 0])
        return Place(start, start + self.model.eos_id, start + self.max_length)


def check_phrases_fit(model: Autoregressive, phrases: Phrases, max_length: int | None) -> int:
    """``max_length``, by default that of the longest phrase. Raises ``InvalidInput`` where they do not fit."""
    if model.space.tokenizer.get_vocab() != phrases.space.tokenizer.get_vocab():
        raise InvalidInput("the phrases are in the tokens of another model; make them with the space of this one")
    longest = phrases.trie.depth if max_length is None else max_length
    if longest > model.max_length:
        what = "a phrase has" if max_length is None else "max_length is"
        raise InvalidInput(f"{what} {longest} tokens, the model takes {model.max_length}; shorten it")
    phrases.check_length(longest)
    return longest
