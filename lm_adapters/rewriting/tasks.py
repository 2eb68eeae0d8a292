"""What a seq2seq model is asked to write: a sentence of given words, or what stood where a sentinel is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_adapters.models.seq2seq_lm import Seq2SeqLM
from lm_adapters.text import TextSpace
from samplers import InvalidInput

__all__ = [
    "SpanTask",
    "WritingTask",
    "check_same_tokens",
    "fills_spans",
    "same_tokens",
    "span_task",
    "words_task",
    "writes_words",
]

WORDS, INFILL = "words_to_sentence", "infill"
OPENING, CLOSING = "<extra_id_0>", "<extra_id_1>"  # T5's names of the first two sentinels


@dataclass(frozen=True)
class WritingTask:
    """``prefix`` is read before a source, ``context`` by the decoder before a text, and ``end`` ends the text."""

    prefix: Sequence[int]
    context: Sequence[int]
    end: int


@dataclass(frozen=True)
class SpanTask(WritingTask):
    """``sentinel`` stands in the source where the span was."""

    sentinel: int


def words_task(model: Seq2SeqLM, prefix: str | None = None) -> WritingTask:
    """Words to sentence: ``prefix`` stands before the words, by default that of the task ``words_to_sentence``.

    Raises ``InvalidInput`` for a model whose configuration has no such task, where no prefix is given, and for one that
    spells sources otherwise than targets (Marian).
    """
    _check_one_spelling(model)
    if prefix is None:
        tasks = _tasks(model)
        if WORDS not in tasks:
            raise InvalidInput(
                f"the model has no task {WORDS!r}{_listed(tasks)}; choose a model that writes sentences of given words"
            )
        prefix = str(tasks[WORDS].get("prefix", ""))
    return WritingTask(model.prefix_ids(prefix), model.context, model.eos_id)


def span_task(model: Seq2SeqLM) -> SpanTask:
    """Span infilling: by the task ``infill`` whose configuration names a ``sentinel``, or as T5 was trained.

    T5 reads ``left <extra_id_0> right`` and writes ``<extra_id_0> span <extra_id_1>`` (Raffel et al. 2020,
    arXiv:1910.10683, section 3.1.4). Raises ``InvalidInput`` for a model with neither.
    """
    _check_one_spelling(model)
    tasks = _tasks(model)
    if sentinel := tasks.get(INFILL, {}).get("sentinel"):
        prefix = model.prefix_ids(str(tasks[INFILL].get("prefix", "")))
        return SpanTask(prefix, model.context, model.eos_id, _token(model, str(sentinel), f"the task {INFILL!r} names"))
    if OPENING not in model.tokenizer.get_vocab():
        raise InvalidInput(
            f"the model fills no spans: it has neither a task {INFILL!r} with a sentinel{_listed(tasks)} nor the token "
            f"{OPENING!r}; choose a T5 model"
        )
    opening, closing = (_token(model, name, "T5's span task needs") for name in (OPENING, CLOSING))
    return SpanTask([], [*model.context, opening], closing, opening)


def writes_words(model: Seq2SeqLM) -> bool:
    """Whether ``RewriteProposal`` needs no prefix: the configuration has the task ``words_to_sentence``."""
    return model.source_space is model.space and WORDS in _tasks(model)


def fills_spans(model: Seq2SeqLM) -> bool:
    """Whether ``SpanProposal`` takes the model: it has the task ``infill`` with a sentinel, or T5's sentinels."""
    own = "sentinel" in _tasks(model).get(INFILL, {})
    return model.source_space is model.space and (own or OPENING in model.tokenizer.get_vocab())


def same_tokens(model: Seq2SeqLM, space: TextSpace) -> bool:
    """Whether states of ``space`` are in the tokens of ``model``."""
    return model.space.tokenizer.get_vocab() == space.tokenizer.get_vocab()


def check_same_tokens(model: Seq2SeqLM, space: TextSpace) -> None:
    """Raise ``InvalidInput`` where the states of ``space`` are not in the tokens of ``model``."""
    if not same_tokens(model, space):
        raise InvalidInput(
            "the seq2seq model has another tokenizer than the states; a move writes tokens of the states, so give a "
            "model with the same vocabulary"
        )


def _tasks(model: Seq2SeqLM) -> Mapping[str, Mapping[str, Any]]:
    return getattr(model.model.config, "task_specific_params", None) or {}


def _listed(tasks: Mapping[str, Any]) -> str:
    return f" (it has {', '.join(tasks)})" if tasks else ""


def _token(model: Seq2SeqLM, name: str, needed: str) -> int:
    token = model.tokenizer.get_vocab().get(name)
    if token is None or token >= model.space.vocabulary:
        raise InvalidInput(f"{needed} the token {name!r}, which the model does not have; choose another model")
    return token


def _check_one_spelling(model: Seq2SeqLM) -> None:
    if model.source_space is not model.space:
        raise InvalidInput(
            "the model spells sources otherwise than targets, so it cannot rewrite its own texts; choose another"
        )
