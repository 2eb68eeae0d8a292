"""The text that an experiment starts from, as states with room to change."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from experiments.declaration.wording import argument, remark
from experiments.setup.languages import in_words, languages_of

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import MaskedLM

__all__ = ["check_length", "encode_source", "remark_on_fixed"]


def check_length(length: tuple[int, int], lm: MaskedLM) -> None:
    """Raise ``InvalidInput`` if texts may get longer than the model takes."""
    from samplers import InvalidInput

    if length[1] > lm.max_length:
        raise InvalidInput(
            f"{argument('length')} goes to {length[1]} tokens, the model takes {lm.max_length}; give at most that"
        )


def encode_source(lm: MaskedLM, text: str, chains: int, *, longer: int, name: str) -> tuple[Tensor, int]:
    """``int64 [chains, width]`` of ``text`` and the most tokens that a state may have, ``longer`` than the text has.

    ``name`` is the argument that the text was given as. Blanks at the ends of the text are dropped. What no step can
    change is remarked on. Raises ``InvalidInput`` for a text that cannot be encoded, that the model cannot take, or of
    which no step could change anything.
    """
    from samplers import InvalidInput

    text = text.strip()
    try:
        ids = lm.space.encode([text])
    except InvalidInput as error:
        raise InvalidInput(f"{argument(name)}: {error}") from error
    if ids.shape[1] > lm.max_length:
        raise InvalidInput(f"{argument(name)} has {ids.shape[1]} tokens, the model takes {lm.max_length}; shorten it")
    remark_on_fixed(lm, ids, name)
    if (read := lm.space.decode(ids)[0]) != text:
        remark(f"{argument(name)} is read as {read!r}")
    longest = min(ids.shape[1] + longer, lm.max_length)
    return lm.space.encode([text] * chains, width=longest).to(lm.device), longest


def remark_on_fixed(lm: MaskedLM, x: Tensor, name: str) -> None:
    """Say which parts of the text ``x int64 [1, width]``, given as ``name``, stay as they are in every step.

    Raises ``InvalidInput`` where all of it does.
    """
    from samplers import InvalidInput

    space, known = lm.space, languages_of(lm)
    fixed = space.fixed(x)[0]
    if not space.decode(x[:, ~fixed])[0].strip():
        raise InvalidInput(
            f"no step could change anything in {argument(name)}: {argument('model')} "
            f"{f'knows {in_words(known)} and ' if known else ''}spells all of it in pieces of characters; give a text "
            f"in a language that it knows, or another {argument('model')}"
        )
    runs = groupby(zip(x[0].tolist(), fixed.tolist(), strict=True), key=lambda pair: pair[1])
    parts = dict.fromkeys(space.tokenizer.decode([token for token, _ in run]) for stays, run in runs if stays)
    if parts:
        listed = ", ".join(map(repr, parts))
        tokens = "tokens that are no text by themselves are never proposed"
        remark(f"no step changes {listed} in {argument(name)}: {tokens}")
