"""The energy that is examined: called with texts, whatever it takes, and never with our own states."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.declaration.python_files import own_line
from experiments.setup.custom_energy import CustomEnergy

if TYPE_CHECKING:
    from torch import Tensor

    from lm_adapters import TextSpace

__all__ = ["Refused", "Subject"]

WIDEST = 512  # tokens, of every state, as padding must not matter between calls
USAGE = "return one number of nats for each text, in the order of the list"


class Refused(Exception):
    """The energy gave no numbers: what was wrong, and what to do."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem, self.remedy = problem, remedy


class Subject:
    """``energy``, called by ``ask``. One of tensors gets the tokens of the texts in ``model``'s vocabulary.

    ``wrote``: whether it has changed what it was given. ``returned``: what it gave last, as it was.
    """

    def __init__(self, energy: CustomEnergy, model: str) -> None:
        self.energy, self.name = energy, energy.name
        self.wrote, self.returned = False, None
        self._space: TextSpace | None = None
        if energy.takes_states:
            from lm_adapters.loading import target_space

            self._space = target_space(model)
        code = getattr(energy.function, "__code__", None) or getattr(type(energy.function).__call__, "__code__", None)
        self._file = getattr(code, "co_filename", "")

    def takes(self, text: str) -> bool:
        """Whether it can be given the text: one of tensors gets only texts that tokens can spell."""
        from samplers import McmcTextError

        try:
            return self._space is None or len(self._encode([text])) == 1
        except McmcTextError:
            return False

    def ask(self, texts: Sequence[str]) -> list[float]:
        """Its energies, which may be NaN or infinite. Raises ``Refused``."""
        import torch

        from samplers import EnergyError

        try:
            with torch.inference_mode():
                return self._of_tokens(texts) if self._space else self._of_texts(texts)
        except Refused:
            raise
        except EnergyError as error:
            raise Refused(error.problem, USAGE) from error
        except (Exception, SystemExit) as error:
            raise Refused(f"raises {self._described(error)}", "handle such a text, or return inf for it") from error

    def _of_texts(self, texts: Sequence[str]) -> list[float]:
        import torch

        from lm_adapters import TextEnergy

        def call(given: list[str]) -> Any:
            own = list(given)
            self.returned = self.energy.function(own)
            self.wrote |= own != given
            return self.returned

        listed = torch.arange(len(texts)).unsqueeze(1)
        term = TextEnergy(call, lambda x: [texts[row] for row in x[:, 0].tolist()], self.name)
        found: list[float] = term.values(listed).tolist()
        return found

    def _of_tokens(self, texts: Sequence[str]) -> list[float]:
        from torch import Tensor

        x = self._encode(texts)
        own = x.clone()
        returned = self.returned = self.energy.function(own)
        self.wrote |= not bool((own == x).all())
        if not isinstance(returned, Tensor):
            raise Refused(f"returns {type(returned).__name__}, not a tensor", f"return a tensor of shape [{len(x)}]")
        if returned.shape != (len(x),) or returned.is_complex():
            shape = f"{returned.dtype} of shape {list(returned.shape)}"
            raise Refused(f"returns {shape} for {len(x)} states", "return one real number for each row")
        numbers: list[float] = returned.detach().double().tolist()
        return numbers

    def _encode(self, texts: Sequence[str]) -> Tensor:
        assert self._space is not None, "only one of tensors needs tokens"
        x: Tensor = self._space.encode(list(texts), width=WIDEST)
        return x

    def _described(self, error: BaseException) -> str:
        """With the line of its file, whatever the error does when it is asked to describe itself."""
        try:
            if isinstance(error, Exception) and self._file:
                return own_line(error, Path(self._file))
            return f"{type(error).__name__}: {error}"
        except Exception:
            return f"{type(error).__name__}, which cannot say what is wrong"

    @property
    def place(self) -> str:
        """``FILE.py:LINE`` of its definition, where it has one."""
        try:
            return f"{Path(self._file).name}:{inspect.getsourcelines(self.energy.function)[1]}"
        except (OSError, TypeError):
            return Path(self._file).name
