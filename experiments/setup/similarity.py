"""Similarity in meaning to a text as a term, by the encoder and the whitening that the user names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.declaration.wording import argument
from experiments.setup.job import Job
from experiments.setup.scorers import load_meaning

if TYPE_CHECKING:
    from lm_adapters import MaskedLM, Similarity

__all__ = ["check_whitening", "similarity_to"]


def check_whitening(whiten: str | None) -> None:
    """Raise ``InvalidInput`` for a file that cannot be read, or has fewer than two texts."""
    if whiten is not None:
        _texts(whiten)


def similarity_to(
    job: Job, lm: MaskedLM, text: str, weight: float, encoder: str | None, whiten: str | None
) -> Similarity | None:
    """The term, ``None`` where its ``weight`` is 0. ``whiten``: a file of texts to which a whitening is fitted.

    Raises ``InvalidInput`` for a whitening of embeddings that are not compared.
    """
    from lm_adapters import Similarity, Whitened
    from samplers import InvalidInput

    if not weight:
        if whiten is not None:
            raise InvalidInput(
                f"{argument('whiten')} is for the similarity, which has weight 0; give {argument('similarity')}"
            )
        return None
    meaning = load_meaning(encoder, lm, job.settings)
    if whiten is None:
        return Similarity(lm.space, meaning, text)
    try:
        return Similarity(lm.space, Whitened.fit(meaning, _texts(whiten)), text)
    except InvalidInput as error:
        raise InvalidInput(f"{argument('whiten')}: {error}") from error


def _texts(path: str) -> list[str]:
    from samplers import InvalidInput

    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InvalidInput(f"{argument('whiten')}: {path!r} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{argument('whiten')}: {path!r} is no UTF-8 text (byte {error.start})") from error
    texts = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if len(texts) < 2:
        raise InvalidInput(
            f"{argument('whiten')}: {path!r} has {len(texts)} different texts; give at least two, one a line"
        )
    return texts
