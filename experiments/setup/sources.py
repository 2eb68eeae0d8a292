"""The text that an experiment starts from, as states with room to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.declaration.wording import argument

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import MaskedLM

__all__ = ["check_length", "encode_source"]


def check_length(length: tuple[int, int], lm: MaskedLM) -> None:
    """Raise ``InvalidInput`` if texts may get longer than the model takes."""
    from samplers import InvalidInput

    if length[1] > lm.max_length:
        raise InvalidInput(
            f"{argument('length')} goes to {length[1]} tokens, the model takes {lm.max_length}; give at most that"
        )


def encode_source(lm: MaskedLM, text: str, chains: int, *, longer: int, name: str) -> tuple[Tensor, int]:
    """``int64 [chains, width]`` of ``text`` and the most tokens that a state may have, ``longer`` than the text has.

    ``name`` is the argument that the text was given as. Raises ``InvalidInput`` for a text that cannot be encoded,
    that the model cannot take, or that holds tokens which no move could ever change.
    """
    from samplers import InvalidInput

    try:
        ids = lm.space.encode([text])
    except InvalidInput as error:
        raise InvalidInput(f"{argument(name)}: {error}") from error
    if ids.shape[1] > lm.max_length:
        raise InvalidInput(f"{argument(name)} has {ids.shape[1]} tokens, the model takes {lm.max_length}; shorten it")
    stuck = ids[0][~lm.allowed.cpu()[ids[0]]].tolist()
    if stuck:
        names = lm.space.tokenizer.convert_ids_to_tokens(stuck)
        raise InvalidInput(
            f"{argument(name)} holds the tokens {names}, which no step could ever change; use other characters"
        )
    longest = min(ids.shape[1] + longer, lm.max_length)
    return lm.space.encode([text] * chains, width=longest).to(lm.device), longest
