"""Models and the user's own energies as terms that score batches of lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from experiments.declaration.plugins import find_plugin
from experiments.declaration.wording import argument
from experiments.laws.top_p import check_top_p
from experiments.scoring.lines import Line
from experiments.setup.custom_energy import load_custom_energies
from experiments.setup.models import named_model
from experiments.setup.scorers import left_to_right, source_prefix

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.setup.custom_energy import GivenEnergy
    from lm_adapters import Seq2SeqLM, TextSpace
    from samplers import Energy, InvalidInput

__all__ = ["Conditions", "Law", "Term", "needs_source"]


@dataclass(frozen=True)
class Conditions:
    """What only seq2seq models take; arguments as in ``score``."""

    source: str | None = None
    prefix: str | None = None
    source_lang: str | None = None
    target_lang: str | None = None


@dataclass(frozen=True)
class Term:
    """An energy by its name, of texts that the model ``reader`` reads in ``space``, up to ``max_length`` tokens.

    ``given(source)`` is the energy, which ``values`` divides by the ``temperature``. Of a seq2seq model
    ``paired(sources, x)`` is the energy of states ``x int64 [texts, width]`` with a source each, and the states that it
    scores; ``check_source`` raises ``InvalidInput`` for a source that it cannot take. Both are ``None`` where there is
    no source to give.
    """

    name: str
    reader: str
    space: TextSpace
    max_length: int
    given: Callable[[str | None], Energy]
    source: str | None = None
    temperature: float = 1.0
    check_source: Callable[[str | None], None] | None = None
    paired: Callable[[Sequence[str], Tensor], tuple[Energy, Tensor]] | None = None

    def source_of(self, line: Line) -> str | None:
        """What a line is scored given: its own source, or that of all."""
        if self.check_source is None:
            return None
        return self.source if line.source is None else line.source

    def encode(self, lines: Sequence[Line]) -> Tensor:
        """``int64 [lines, width]``. Raises ``InvalidInput`` for a text that cannot be scored, or a source."""
        from samplers import InvalidInput

        x = self.space.encode([line.text for line in lines])
        longest = int(self.space.lengths(x).max())
        if longest > self.max_length:
            raise InvalidInput(f"the text has {longest} tokens, {self.reader} takes {self.max_length}; shorten it")
        if self.check_source is not None:
            for source in {self.source_of(line) for line in lines}:
                self.check_source(source)
        return x

    def values(self, lines: Sequence[Line], device: str) -> list[float]:
        """Nats of lines. Raises as ``encode`` and ``evaluate`` do."""
        import torch

        from samplers import evaluate

        x, sources = self.encode(lines).to(device), [self.source_of(line) for line in lines]
        if self.paired is None or len(set(sources)) == 1:
            energy = self.given(sources[0])
        else:
            energy, x = self.paired([source or "" for source in sources], x)
        with torch.inference_mode(), self.space.texts_in_errors():
            energies: list[float] = (evaluate(energy, x).energy / self.temperature).tolist()
        return energies


def needs_source(model: str) -> InvalidInput:
    """Of a seq2seq model, where a line has no source and there is none for all."""
    from samplers import InvalidInput

    return InvalidInput(
        f"{model!r} is a seq2seq model and scores a text given a source; give {argument('source')}, or lines of "
        '{"source": "...", "text": "..."}'
    )


@dataclass(frozen=True)
class Law:
    """What texts are scored under; arguments as in ``score``."""

    models: Sequence[str]
    energies: Sequence[GivenEnergy]
    conditions: Conditions
    temperature: float
    top_p: float
    tokenizer: str | None
    device: str
    dtype: str
    trust_remote_code: bool

    def asking_model(self) -> str | None:
        """The first model that needs a source where none is given for all, by its configuration alone."""
        from lm_adapters import is_remote

        if self.conditions.source is not None:
            return None
        known = (name for name in self.models if not is_remote(name) and find_plugin("models", name) is None)
        return next((name for name in known if self._task_of(name) == "seq2seq"), None)

    def check(self) -> None:
        """Raise ``InvalidInput`` for a temperature or a nucleus that cannot be, by the models' configuration alone."""
        from lm_adapters import is_remote
        from samplers import InvalidInput

        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise InvalidInput(f"{argument('temperature')} is {self.temperature}; give a finite number above 0")
        check_top_p(self.top_p)
        if self.top_p == 1:
            return
        for name in (name for name in self.models if find_plugin("models", name) is None):
            if is_remote(name) or self._task_of(name) == "masked":
                raise no_nucleus(name)

    def load_terms(self) -> list[Term]:
        """A term for each model, then for each energy, which gets texts as the first model's tokenizer writes them.

        Raises ``InvalidInput`` for what cannot be loaded, names that are not distinct, a source that a model cannot
        take, and conditions that no model takes.
        """
        from lm_adapters import check_device, is_remote
        from samplers import InvalidInput

        if not self.models:
            raise InvalidInput(f"{argument('models')} is empty; give at least one")
        custom = load_custom_energies(self.energies)
        check_device(self.device)
        names = [*self.models, *(own.name for own in custom)]
        if twice := [name for name in names if names.count(name) > 1]:
            raise InvalidInput(f"{twice[0]!r} is named twice and would be one term; leave one out, or rename it")
        if self.tokenizer is not None and not any(map(is_remote, self.models)):
            raise InvalidInput(
                f"{argument('tokenizer')} is for a model behind a server, and none is given; leave it out"
            )
        terms = [self._model_term(name) for name in self.models]
        unused = [name for name, value in vars(self.conditions).items() if value is not None]
        if unused and all(term.check_source is None for term in terms):
            raise InvalidInput(f"{argument(unused[0])} is for seq2seq models, and none is given; leave it out")
        for own in custom:
            given = _always(own.term(terms[0].space))
            terms.append(replace(terms[0], name=own.name, given=given, check_source=None))
        return [replace(term, temperature=self.temperature) for term in terms]

    def _task_of(self, model: str) -> str:
        from lm_adapters import task_of

        return task_of(model, trust_remote_code=self.trust_remote_code)

    def _model_term(self, name: str) -> Term:
        from lm_adapters import CausalLM, MaskedEnergy, MaskedLM, RemoteEnergy, RemoteLM, Seq2SeqLM

        model: Any = named_model(name, self.device, self.dtype, self.tokenizer)
        if isinstance(model, str):
            task = self._task_of(model)
            kinds: dict[str, Any] = {"seq2seq": Seq2SeqLM, "causal": CausalLM, "masked": MaskedLM}
            languages = {"source_lang": self.conditions.source_lang, "target_lang": self.conditions.target_lang}
            how: dict[str, Any] = {"trust_remote_code": self.trust_remote_code}
            how |= languages if task == "seq2seq" else {}
            model = kinds[task].from_pretrained(model, self.device, self.dtype, **how)
        if isinstance(model, Seq2SeqLM):
            return _conditional_term(name, model, self.conditions, self.top_p)
        if self.top_p < 1 and isinstance(model, MaskedLM | RemoteLM):
            raise no_nucleus(name)
        energy: Energy
        if isinstance(model, RemoteLM):
            energy = RemoteEnergy(model)
        else:
            masked = isinstance(model, MaskedLM)
            energy = MaskedEnergy(model, "pll") if masked else left_to_right(model.condition_on(), self.top_p)
        return Term(name, name, model.space, model.max_length, _always(energy))


def no_nucleus(model: str) -> InvalidInput:
    """Of a masked model, or one behind a server."""
    from samplers import InvalidInput

    return InvalidInput(
        f"{argument('top_p')} is for models here that read from left to right, and {model!r} is another; leave it out, "
        f"or give another {argument('models')}"
    )


def _always(energy: Energy) -> Callable[[str | None], Energy]:
    return lambda _: energy


def _conditional_term(name: str, model: Seq2SeqLM, conditions: Conditions, top_p: float) -> Term:
    import torch

    from lm_adapters import pair_log_probs
    from samplers import InvalidInput, named

    prefix = source_prefix(model, conditions.prefix)
    before = model.prefix_ids(prefix)

    def check(source: str | None) -> None:
        if source is None:
            raise needs_source(name)
        try:
            model.encoder_input(model.source_space.encode([source]), before)
        except InvalidInput as error:
            raise InvalidInput(f"{argument('source')}: {error}") from error

    def paired(sources: Sequence[str], x: Tensor) -> tuple[Energy, Tensor]:
        read = model.source_space.encode([source.strip() for source in sources]).to(x.device)
        width = read.shape[1]
        source_of = dict(zip(map(tuple, read.tolist()), sources, strict=True))

        def together(both: Tensor) -> Tensor:
            return -pair_log_probs(model, both[:, :width], both[:, width:], prefix)

        def one_by_one(both: Tensor) -> Tensor:
            distinct, of_row = both[:, :width].unique(dim=0, return_inverse=True)
            nats = torch.empty(len(both), dtype=torch.float64, device=x.device)
            for number, tokens in enumerate(distinct.tolist()):
                rows = (of_row == number).nonzero().squeeze(1)
                nats[rows] = given(source_of[tuple(tokens)])(both[rows, width:])
            return nats

        return named(name, together if top_p == 1 else one_by_one), torch.cat([read, x], dim=1)

    def given(source: str | None) -> Energy:
        return left_to_right(model.condition_on(source or "", prefix=prefix), top_p)

    if conditions.source is not None:
        check(conditions.source)
    return Term(
        name,
        name,
        model.space,
        model.max_length,
        given,
        conditions.source,
        check_source=check,
        paired=paired,
    )
