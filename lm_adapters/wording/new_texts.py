"""New texts: none that is known already, such as a sentence that a model was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lm_adapters.pretrained import known_texts_path
from lm_adapters.text import TextSpace
from lm_adapters.wording.words import plain_words
from samplers import Constraint, InvalidInput

__all__ = ["KnownTexts", "NewTexts"]

DIGEST = np.dtype("<u4")


class KnownTexts:
    """A set of texts, kept as digests of 32 bits, from which no text can be read.

    Two texts are the same if their words are: case, marks and spaces between words make no difference. Of ``n`` digests
    one takes a text for known that is not with a probability of ``n / 2^32``: 1 in 7,400 for those that ship.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.digests = np.sort(np.fromiter({_digest(text) for text in texts}, DIGEST))

    @classmethod
    def english(cls) -> KnownTexts:
        """Those that ship with the library: the English sentences that its models were trained on."""
        return _english()

    @classmethod
    def read(cls, path: str | Path) -> KnownTexts:
        """Digests as ``write`` has written them. Raises ``InvalidInput`` for a file that cannot be such."""
        try:
            digests = np.frombuffer(Path(path).read_bytes(), DIGEST)
        except (OSError, ValueError) as error:
            raise InvalidInput(f"the known texts {str(path)!r} cannot be read ({error}); give a file of digests") from (
                error
            )
        if not bool((digests[1:] > digests[:-1]).all()):
            raise InvalidInput(f"the known texts {str(path)!r} are not in ascending order; give a file of digests")
        return cls._of(digests)

    @classmethod
    def _of(cls, digests: NDArray[np.uint32]) -> KnownTexts:
        known = cls()
        known.digests = digests
        return known

    def write(self, path: str | Path) -> None:
        """The digests in ascending order, four bytes each, the lowest first."""
        Path(path).write_bytes(self.digests.tobytes())

    def without(self, texts: Iterable[str]) -> KnownTexts:
        """The set, but for ``texts``."""
        some = [*texts]
        at, found = self._search(some)
        return self._of(np.delete(self.digests, at[found])) if found.any() else self

    def hold(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """``bool [texts]``: whether each is in the set."""
        return self._search(texts)[1]

    def _search(self, texts: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Where each digest is, or would be, and whether it is there."""
        asked = np.fromiter(map(_digest, texts), DIGEST, len(texts))
        if not len(self.digests):
            return np.zeros(len(texts), np.intp), np.zeros(len(texts), np.bool_)
        at = np.minimum(np.searchsorted(self.digests, asked), len(self.digests) - 1)
        return at, self.digests[at] == asked

    def config(self) -> dict[str, Any]:
        """What draws depend on: the set, by digest."""
        return {"texts": sha256(self.digests.tobytes()).hexdigest()}


class NewTexts(Constraint):
    """0 nats where the decoded text is not known, ``+inf`` where it is.

    ``known``: by default ``KnownTexts.english()``. Texts that are ``given`` are allowed.
    """

    def __init__(self, space: TextSpace, known: KnownTexts | None = None, *, given: Sequence[str] = ()) -> None:
        listed = (known or KnownTexts.english()).without(given)

        def allowed(x: Tensor) -> Tensor:
            return ~torch.from_numpy(listed.hold(space.decode(x))).to(x.device)

        super().__init__("new texts", allowed)
        self.clause = "new to the models" if known is None else "none of those that are known"
        self.space, self.known = space, listed

    def config(self) -> dict[str, Any]:
        return {"space": self.space, "known": self.known}


@cache
def _english() -> KnownTexts:
    return KnownTexts.read(known_texts_path())


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(" ".join(plain_words(text)).encode(), digest_size=4).digest(), "little")
