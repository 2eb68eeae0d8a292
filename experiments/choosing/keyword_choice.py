"""The words of a text that tell most of it: those from which a seq2seq model predicts it best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.declaration.wording import argument, remark
from experiments.setup.job import Job
from experiments.setup.scorers import load_seq2seq

if TYPE_CHECKING:
    from lm_adapters import Seq2SeqLM

__all__ = ["check_choice", "choose_keywords", "keywords_of"]

TASK = "words_to_sentence"


def keywords_of(job: Job, text: str, count: int, scorer: object) -> tuple[list[str], Seq2SeqLM]:
    """``choose_keywords`` by the ``scorer`` of an experiment, which is loaded, with a remark on what was chosen.

    Raises ``InvalidInput`` for a scorer without the task, and for a text that it cannot take.
    """
    from samplers import InvalidInput

    lm = load_seq2seq(scorer, job.settings)  # type: ignore[arg-type]
    if TASK not in lm.tasks:
        raise InvalidInput(f"{argument('keywords_from')} needs a {argument('scorer')} with the task {TASK}; give one")
    try:
        with job.starts.counted([lm.model]):
            words = choose_keywords(lm, text.strip(), count)
    except InvalidInput as error:
        raise InvalidInput(f"{argument('keywords_from')}: {error}") from error
    remark(f"keywords chosen from {argument('keywords_from')}: {', '.join(words)}")
    return words, lm


def choose_keywords(lm: Seq2SeqLM, text: str, count: int) -> list[str]:
    """``count`` words of ``text``, in its order, one after the other that which lowers ``-log p(text | words)`` most.

    The first is ``argmax_i p(text | w_i)`` over the words ``w_i``, as Jianlin Su has it
    (https://kexue.fm/archives/4316), there with ``p(text | w) = prod_k p(w_k | w)`` and here by the model's task
    ``words_to_sentence``; each further one is the best beside those before. Cost: for each, a row for each word.
    """
    import torch

    from lm_adapters import Reconstruction, word_spans

    words = [text[start:end] for start, end in word_spans(text)]
    energy = Reconstruction(lm, text, lm.task_prefix(TASK))
    chosen: list[int] = []
    with torch.inference_mode():
        while len(chosen) < count:
            trials = [sorted([*chosen, at]) for at in range(len(words)) if at not in chosen]
            x = lm.source_space.encode([" ".join(words[at] for at in trial) for trial in trials])
            chosen = trials[int(energy(x.to(lm.device)).argmin())]
    return [words[at] for at in chosen]


def check_choice(words: object, text: str | None, count: int) -> None:
    """Raise ``InvalidInput`` unless words are given, or a text with more than ``count`` of them."""
    from samplers import InvalidInput

    if text is None:
        if not words:
            raise InvalidInput(f"there are no keywords; give {argument('words')}, or {argument('keywords_from')} TEXT")
        return
    if words:
        raise InvalidInput(f"{argument('words')} and {argument('keywords_from')} are given; leave one of them out")
    from lm_adapters import word_spans

    if (found := len(word_spans(text))) <= count:
        raise InvalidInput(
            f"{argument('keywords_from')} has {found} words and {argument('keep')} is {count}; give a longer text"
        )
