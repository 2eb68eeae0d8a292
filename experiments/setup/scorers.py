"""How likely a text is and what it means, by whatever models the user names."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.declaration.wording import argument
from experiments.setup.models import named_model
from experiments.setup.usual_models import check_embedded

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from experiments.setup.settings import Settings
    from lm_adapters import (
        Autoregressive,
        CausalLM,
        MaskedLM,
        RemoteLM,
        SentenceEncoder,
        Seq2SeqLM,
        SequenceEnergy,
        TextSpace,
    )
    from samplers import Constraint, Energy, EnergyTerm

__all__ = [
    "Given",
    "Scorer",
    "check_nucleus",
    "check_rebuilder",
    "check_scorer",
    "check_with_task",
    "kind_here",
    "left_to_right",
    "load_meaning",
    "load_rebuilder",
    "load_scorer",
    "load_seq2seq",
    "load_with_task",
    "rebuilding",
    "source_prefix",
    "spelling",
    "translation_pair",
]

_WITHOUT = "{} 0"  # what may be given in place of a rebuilder
DEFAULT_PAIR = ("fr", "en")  # of a model that translates several, where no languages are given


@dataclass(frozen=True)
class Given:
    """What a seq2seq scorer reads, and for which ``task`` of its configuration: the ``source`` of each text.

    The term is called ``name``; its ``formula`` is shown in the law.
    """

    task: str
    source: str
    name: str
    formula: str


@dataclass(frozen=True)
class Scorer:
    """``energy`` is a term over the proposing model's states, ``lm`` the model that gives it.

    ``constraints`` belong to it: see ``spelling``.
    """

    energy: EnergyTerm
    lm: MaskedLM | CausalLM | Seq2SeqLM | RemoteLM
    constraints: Sequence[EnergyTerm] = ()

    @property
    def readable(self) -> list[Constraint]:
        """For starts: a model with another tokenizer may have no token for what a text holds."""
        from lm_adapters import ThroughText
        from samplers import Constraint

        foreign = isinstance(self.energy, ThroughText)
        return [Constraint("what the scorer reads", lambda x: self.energy(x) < math.inf)] if foreign else []

    @property
    def terms(self) -> Energy:
        """The energy under its constraints."""
        return self.weighted(1.0)

    def weighted(self, weight: float) -> Energy:
        """The energy times ``weight``, under its constraints."""
        return reduce(add, self.constraints, self.energy if weight == 1 else weight * self.energy)

    @property
    def writer(self) -> Autoregressive | None:
        """What draws the texts that it scores, of a model that reads them from left to right in their own tokens."""
        from lm_adapters import SequenceEnergy

        return self.energy.model if isinstance(self.energy, SequenceEnergy) else None

    @property
    def model(self) -> PreTrainedModel | None:
        """Whose passes it costs; ``None`` where they are a server's."""
        return self.lm.model


def load_scorer(
    scorer: str | MaskedLM | CausalLM | Seq2SeqLM | RemoteLM,
    lm: MaskedLM,
    settings: Settings,
    given: Given | None = None,
    *,
    top_p: float = 1.0,
    exempt: Callable[[Tensor], Tensor] | None = None,
    before: str = "",
    name: str = "scorer",
) -> Scorer:
    """A causal model gives ``-log p(x)``, a masked one minus its pseudo-log-likelihood, in nats: ``fluency``.

    A model behind a server is causal. A seq2seq model gives ``-log p(x | source)``, where there is a source that is
    ``given``. ``scorer`` is a name, a folder, an address or a loaded model. One with another tokenizer than ``lm`` sees
    the decoded text. With ``top_p`` below 1 a model that reads from left to right has a ``NucleusEnergy``, in which
    tokens that are ``exempt`` are given. A causal model has read what stands ``before`` the text. It was given as
    the argument ``name``.

    Raises ``InvalidInput`` for a seq2seq model without the task, before its weights are loaded where possible, and for
    any where no source is given; for a model that cannot be truncated.
    """
    from lm_adapters import MaskedEnergy, MaskedLM, RemoteEnergy, RemoteLM, Seq2SeqLM, ThroughText

    model = lm if isinstance(scorer, str) and scorer == settings.model else _loaded(scorer, settings, given, name)
    term, formula = "fluency", ""
    own: EnergyTerm
    check_nucleus(model, lm, top_p)
    if isinstance(model, Seq2SeqLM):
        _check_given(given.task if given else None, name, type(model.model).__name__, model.tasks)
        assert given is not None
        own = left_to_right(model.condition_on(given.source, model.task_prefix(given.task)), top_p, exempt)
        term, formula = given.name, given.formula
    elif isinstance(model, MaskedLM):
        own = MaskedEnergy(model, "pll")
    elif isinstance(model, RemoteLM):
        own = RemoteEnergy(model)
    else:
        own = left_to_right(model.condition_on(before), top_p, exempt)
    energy = ThroughText.of(own, lm.space, model.space, name=term)
    energy.formula = formula
    return Scorer(energy, model, spelling(energy, lm.space))


def check_nucleus(model: MaskedLM | CausalLM | Seq2SeqLM | RemoteLM, lm: MaskedLM, top_p: float) -> None:
    """Raise ``InvalidInput`` for a ``model`` that has no nucleus, or none of the tokens of ``lm``."""
    from lm_adapters import MaskedLM, RemoteLM
    from samplers import InvalidInput

    reads = not isinstance(model, MaskedLM | RemoteLM)
    if top_p < 1 and not (reads and model.space.tokenizer.get_vocab() == lm.space.tokenizer.get_vocab()):
        raise InvalidInput(
            f"{argument('top_p')} {top_p:g} needs a {argument('scorer')} that reads from left to right and has the "
            f"tokenizer of {argument('model')}; leave it out, or give another"
        )


def left_to_right(
    reader: Autoregressive, top_p: float, exempt: Callable[[Tensor], Tensor] | None = None
) -> SequenceEnergy:
    """``-log p`` by ``reader``; below 1 that of sampling with this nucleus, in which ``exempt`` tokens are given."""
    from lm_adapters import NucleusEnergy, SequenceEnergy

    return NucleusEnergy(reader, top_p, exempt=exempt) if top_p < 1 else SequenceEnergy(reader)


def _loaded(
    scorer: str | MaskedLM | CausalLM | Seq2SeqLM | RemoteLM, settings: Settings, given: Given | None, name: str
) -> MaskedLM | CausalLM | Seq2SeqLM | RemoteLM:
    from lm_adapters import CausalLM, MaskedLM, Seq2SeqLM, task_of, tasks_of

    if not isinstance(scorer, str):
        return scorer
    found = named_model(scorer, settings.device, settings.dtype, settings.tokenizer)
    if not isinstance(found, str):
        loaded: MaskedLM | CausalLM | Seq2SeqLM | RemoteLM = found
        return loaded
    trusted = settings.trust_remote_code
    kind = task_of(found, trust_remote_code=trusted)
    if kind == "seq2seq":
        _check_given(given.task if given else None, name, found, tasks_of(found, trust_remote_code=trusted))
    adapters: dict[str, type[CausalLM | MaskedLM | Seq2SeqLM]]
    adapters = {"causal": CausalLM, "masked": MaskedLM, "seq2seq": Seq2SeqLM}
    return adapters[kind].from_pretrained(found, settings.device, settings.dtype, trust_remote_code=trusted)


def check_scorer(scorer: Any, task: str | None, settings: Settings, name: str = "scorer") -> None:
    """Raise ``InvalidInput`` for an embedded seq2seq model, or one in a folder, that cannot be asked for ``task``.

    Nothing but configurations is read. What other names stand for is looked at when it is loaded.
    """
    from lm_adapters import tasks_of

    if kind_here(scorer, settings) == "seq2seq":
        _check_given(task, name, scorer, tasks_of(scorer, trust_remote_code=settings.trust_remote_code))


def kind_here(model: Any, settings: Settings) -> str | None:
    """Whether an embedded model, or one in a folder, is masked, causal or seq2seq; ``None`` for another name.

    Raises ``InvalidInput`` for one that is lacking, and for a folder that holds none.
    """
    from lm_adapters import task_of
    from lm_adapters.pretrained import embedded_path

    if not isinstance(model, str):
        return None
    check_embedded(model)
    here = embedded_path(model) is not None or Path(model).is_dir()
    return task_of(model, trust_remote_code=settings.trust_remote_code) if here else None


def _check_given(task: str | None, name: str, scorer: str, tasks: Collection[str]) -> None:
    """Raise ``InvalidInput`` for a seq2seq model with these ``tasks``, if it is given nothing, or not among them."""
    from samplers import InvalidInput

    if task is None:
        raise InvalidInput(f"{argument(name)} {scorer!r} is a seq2seq model; give a causal or a masked language model")
    if task not in tasks:
        known = f"its configuration lists {', '.join(tasks)}" if tasks else "its configuration lists none"
        raise InvalidInput(
            f"{argument(name)} {scorer!r} has no task {task!r} ({known}); give a model that has it, or a "
            "causal or masked language model"
        )


def spelling(energy: EnergyTerm, space: TextSpace) -> list[EnergyTerm]:
    """The constraint to canonical tokenisations where a scorer reads the text: each text then counts once."""
    from lm_adapters import Canonical, ThroughText

    return [Canonical(space)] if isinstance(energy, ThroughText) else []


def rebuilding(model: Seq2SeqLM, lm: MaskedLM, source: str, task: str) -> EnergyTerm:
    """``reconstruction``: ``-log p(source | text)`` by a task of ``model``, over the states of ``lm``."""
    from lm_adapters import Reconstruction, ThroughText

    own = Reconstruction(model, source, model.task_prefix(task))
    energy = ThroughText.of(own, lm.space, own.space, max_length=min(own.max_length, 10**6), name="reconstruction")
    energy.formula = "-log p(source | text)"
    return energy


def check_rebuilder(rebuilder: Any, settings: Settings, task: str, reconstruction: float) -> None:
    """Raise ``InvalidInput`` as ``load_rebuilder`` does, for a model that is embedded or in a folder."""
    if reconstruction:
        check_with_task("rebuilder", rebuilder, settings, task, _WITHOUT.format(argument("reconstruction")))


def load_rebuilder(rebuilder: str | Seq2SeqLM, settings: Settings, task: str) -> Seq2SeqLM:
    """The model that ``rebuilding`` asks for a source; raises as ``load_with_task`` does."""
    return load_with_task("rebuilder", rebuilder, settings, task, _WITHOUT.format(argument("reconstruction")))


def check_with_task(name: str, model: Any, settings: Settings, task: str, otherwise: str) -> None:
    """Raise ``InvalidInput`` as ``load_with_task`` does, for a model that is embedded or in a folder."""
    if kind_here(model, settings):
        _check_task(name, model, model, settings, task, otherwise)


def load_with_task(name: str, model: str | Seq2SeqLM, settings: Settings, task: str, otherwise: str) -> Seq2SeqLM:
    """The seq2seq ``model`` of that name, that folder, or already loaded, which was given as the argument ``name``.

    Raises ``InvalidInput`` for a model of another kind or without the ``task``, before its weights are loaded;
    ``otherwise``: what may be given in its place.
    """
    from lm_adapters import Seq2SeqLM

    found = named_model(model, settings.device, settings.dtype) if isinstance(model, str) else model
    _check_task(name, model, found, settings, task, otherwise)
    if isinstance(found, str):
        trusted = settings.trust_remote_code
        return Seq2SeqLM.from_pretrained(found, settings.device, settings.dtype, trust_remote_code=trusted)
    assert isinstance(found, Seq2SeqLM)
    return found


def _check_task(name: str, given: Any, found: Any, settings: Settings, task: str, otherwise: str) -> None:
    """Raise ``InvalidInput`` unless what was ``found`` under what was ``given`` is a seq2seq model with ``task``."""
    from lm_adapters import Seq2SeqLM, task_of, tasks_of
    from samplers import InvalidInput

    trusted = settings.trust_remote_code
    if isinstance(found, str):
        fits = task_of(found, trust_remote_code=trusted) == "seq2seq"
        tasks = tasks_of(found, trust_remote_code=trusted) if fits else {}
    else:
        fits, tasks = isinstance(found, Seq2SeqLM), getattr(found, "tasks", {})
    if task not in tasks:
        known = f"its configuration lists {', '.join(tasks) or 'none'}" if fits else "it is no seq2seq model"
        raise InvalidInput(
            f"{argument(name)} {given!r} has no task {task!r} ({known}); give a model that has it, or {otherwise}"
        )


def load_seq2seq(
    scorer: str | Seq2SeqLM, settings: Settings, source_lang: str | None = None, target_lang: str | None = None
) -> Seq2SeqLM:
    """A name, a folder or a loaded model.

    Raises ``InvalidInput`` for a model of another kind, and for languages that it has not, or that it lacks.
    """
    from lm_adapters import Seq2SeqLM
    from samplers import InvalidInput

    model = named_model(scorer, settings.device, settings.dtype) if isinstance(scorer, str) else scorer
    if isinstance(model, str):
        return Seq2SeqLM.from_pretrained(
            model,
            settings.device,
            settings.dtype,
            trust_remote_code=settings.trust_remote_code,
            source_lang=source_lang,
            target_lang=target_lang,
        )
    if not isinstance(model, Seq2SeqLM):
        raise InvalidInput(f"{argument('scorer')} {scorer!r} is a {type(model).__name__}; give a seq2seq model")
    if source_lang or target_lang:
        raise InvalidInput(f"{argument('scorer')} is a loaded model; give {argument('source_lang')} when it is made")
    return model


def translation_pair(model: Seq2SeqLM) -> tuple[str, str] | None:
    """The languages that it reads and writes: as chosen, or as its only translation task has them, or French-English.

    ``None`` for a model that says nothing of languages. Raises ``InvalidInput`` for one with several other tasks.
    """
    from samplers import InvalidInput

    pairs = list(model.translations)
    if model.languages or not pairs:
        return model.languages
    if len(pairs) > 1 and DEFAULT_PAIR not in pairs:
        known = ", ".join(f"{source} to {target}" for source, target in pairs)
        raise InvalidInput(
            f"the model translates {known}; give {argument('source_lang')} and {argument('target_lang')}, "
            f"or {argument('prefix')}"
        )
    return pairs[0] if len(pairs) == 1 else DEFAULT_PAIR


def source_prefix(model: Seq2SeqLM, prefix: str | None = None) -> str:
    """What stands before a source: ``prefix``, by default that of the model's translation task, if it has such."""
    if prefix is not None:
        return prefix
    pair = translation_pair(model)
    return model.translations.get(pair, "") if pair else ""


def load_meaning(name: str | None, lm: MaskedLM, settings: Settings) -> SentenceEncoder:
    """The sentence encoder of that name, or the mean-pooled states of ``lm``."""
    from lm_adapters import MeanPooled, SentenceEncoder

    if name is None:
        return MeanPooled(lm.model, lm.space.tokenizer)
    return SentenceEncoder.from_pretrained(
        name, settings.device, settings.dtype, trust_remote_code=settings.trust_remote_code
    )
