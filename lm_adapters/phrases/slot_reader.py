"""What a seq2seq model writes in the slot of a text that it sees on both sides."""

from __future__ import annotations

import torch

from lm_adapters.locks.span_matching import tokens_after
from lm_adapters.locks.template import SLOT
from lm_adapters.models.conditioned_decoder import ConditionedDecoder
from lm_adapters.models.seq2seq_lm import Seq2SeqLM
from lm_adapters.rewriting.tasks import INFILL, span_task
from samplers import InvalidInput

__all__ = ["around_slot", "slot_reader"]

MARK = "[MASK]"


def around_slot(text: str) -> tuple[str, str] | None:
    """What is left and right of the one ``[MASK]`` of ``text``; ``None`` where there is no slot.

    Raises ``InvalidInput`` for several slots, for one with a count of tokens, for one that goes on a word, and where
    there is nothing else.
    """
    left, *slots = SLOT.split(text)
    if not slots:
        return None
    if slots[0] != MARK or len(slots) > 2:
        raise InvalidInput(f"{text!r} has {' and '.join(slots[::2])}; give one {MARK}, where the phrase is to stand")
    if left and left[-1].isalnum():
        raise InvalidInput(f"the slot of {text!r} goes on a word; put a space before {MARK}")
    if not (left + slots[1]).strip():
        raise InvalidInput(f"there is nothing around {MARK}; give a text that a phrase is to fit")
    return left, slots[1]


def slot_reader(model: Seq2SeqLM, text: str) -> ConditionedDecoder:
    """``p(phrase | left, right)`` of what may stand in the ``[MASK]`` of ``text``, as an ``Autoregressive``.

    The model reads ``left sentinel right`` and writes what was there: the task ``infill`` of its configuration. Raises
    ``InvalidInput`` for a model without it, whatever T5's own sentinels: their task ends otherwise than texts do; and
    for a ``text`` as ``around_slot`` does, or without a slot.
    """
    around = around_slot(text)
    if around is None:
        raise InvalidInput(f"{text!r} has no {MARK}; put one where the phrase is to stand")
    if "sentinel" not in model.tasks.get(INFILL, {}):
        raise InvalidInput(
            f"the model has no task {INFILL!r} with a sentinel; give one that has it, or a text without {MARK}"
        )
    left, right = (part.strip() for part in around)
    before = model.space.encode([left])[0].tolist() if left else []
    behind = tokens_after(model.space, right, " " if around[1][0].isspace() else "") if right else []
    source = torch.tensor([[*before, span_task(model).sentinel, *behind]], device=model.device)
    return ConditionedDecoder(model, text, model.task_prefix(INFILL), x=source)
