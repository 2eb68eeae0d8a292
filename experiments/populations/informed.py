"""A model that has read what is wanted, and writes texts that another one scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments.declaration.wording import argument
from experiments.setup.scorers import Given, Scorer, check_with_task, kind_here, load_scorer, load_with_task

if TYPE_CHECKING:
    from experiments.setup.settings import Settings
    from lm_adapters import Autoregressive, MaskedLM, Seq2SeqLM
    from samplers import InvalidInput

__all__ = ["NONE", "beside_scorer", "check_writer", "load_writer"]

NONE = "none"
SCORER = 0.75  # its share of each token: with less, texts that the writer finds unlikely are hardly ever drawn


def check_writer(writer: Any, scorer: Any, settings: Settings, task: str) -> None:
    """Raise ``InvalidInput`` as ``load_writer`` does, for models that are embedded or in a folder."""
    if writer in (None, NONE):
        return
    if kind_here(scorer, settings) in ("masked", "seq2seq"):
        raise _beside_causal()
    check_with_task("writer", writer, settings, task, NONE)


def load_writer(writer: str | Seq2SeqLM, scored: Scorer, lm: MaskedLM, settings: Settings, given: Given) -> Scorer:
    """The seq2seq model ``writer``, which reads what is ``given``, beside the causal scorer ``scored``.

    Raises ``InvalidInput`` for a model of another kind or without the task, for one with another tokenizer, and beside
    a scorer that reads otherwise.
    """
    from lm_adapters import Seq2SeqLM
    from samplers import InvalidInput

    if scored.writer is None or isinstance(scored.lm, Seq2SeqLM):
        raise _beside_causal()
    model = load_with_task("writer", writer, settings, given.task, NONE)
    found = load_scorer(model, lm, settings, given)
    if found.writer is None:
        raise InvalidInput(
            f"{argument('writer')} has another tokenizer than {argument('model')}; give one with the same, or {NONE}"
        )
    return found


def beside_scorer(scored: Scorer, writer: Scorer) -> Autoregressive:
    """What ``writer`` writes, flattened by the scorer: no text that the law holds is hardly ever drawn."""
    from lm_adapters import MixedReader

    assert scored.writer is not None
    assert writer.writer is not None
    return MixedReader(scored.writer, writer.writer, SCORER)


def _beside_causal() -> InvalidInput:
    from samplers import InvalidInput

    return InvalidInput(
        f"{argument('writer')} stands beside a causal {argument('scorer')} with the tokenizer of {argument('model')}; "
        "leave it out"
    )
