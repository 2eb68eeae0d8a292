"""Similarity in meaning to a reference text, as an energy."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lm_adapters.models.sentence_encoder import SentenceEncoder
from lm_adapters.text import TextSpace
from samplers import EnergyTerm, InvalidInput

__all__ = ["Similarity"]


class Similarity(EnergyTerm):
    """``-log max(floor, cos(v(x), v(reference)))`` in nats, ``v`` the sentence vectors of ``encoder``.

    0 for a text of the same meaning, at most ``-log floor`` (6.9 nats by default) for an unrelated one. So
    ``exp(-weight * E)`` is a factor ``cos ** weight`` of the target. The scale of cosines depends on the encoder: those
    of a language model's pooled states are all close to 1, those of a model trained on sentences are not.

    Cost: the reference is encoded once, here; each text once a call. Raises ``InvalidInput`` for an empty reference, a
    floor outside (0, 1), and a text that is longer than the encoder takes.
    """

    name = "similarity"
    expensive = True
    lower_bound = 0.0
    transient = ("reference",)  # a function of the text; its last bits depend on the machine

    def __init__(self, space: TextSpace, encoder: SentenceEncoder, reference: str, floor: float = 1e-3) -> None:
        if not reference.strip():
            raise InvalidInput(f"the reference text is {reference!r}; give at least one word")
        if not 0 < floor < 1:
            raise InvalidInput(f"floor is {floor}; give a cosine above 0 and below 1")
        self.space, self.encoder, self.text, self.floor = space, encoder, reference, floor
        self.reference = encoder.embed([reference])[0]

    def values(self, x: Tensor, hint: Any = None) -> Tensor:
        cosine = self.encoder.embed(self.space.decode(x)) @ self.reference
        return -cosine.clamp(self.floor, 1.0).log().to(x.device)
