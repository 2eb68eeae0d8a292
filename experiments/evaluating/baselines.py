"""What costs nothing to write, or one call of a model: samples have to beat it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from experiments.evaluating.cases import Case, Trial
from experiments.evaluating.drawing import draw_texts
from experiments.judging.judge import shuffled_words
from experiments.judging.kinds import MARKS
from experiments.laws.another import is_copy

if TYPE_CHECKING:
    from lm_adapters import CausalLM

__all__ = ["Baselines", "of_control", "of_infill", "of_keywords", "of_nothing", "of_paraphrase", "of_summarize",
           "of_translate"]  # fmt: skip

# A name, and a text for each case, "" for none. The first is the one that is read blind.
Baselines = Iterator[tuple[str, list[str]]]

CAUSAL, SEQ2SEQ = "causal-en", "seq2seq-en"


def of_nothing(trial: Trial, cases: Sequence[Case]) -> Baselines:
    """The causal model's own draws, and words in an order without meaning."""
    yield CAUSAL, draw_texts(_causal(), len(cases), trial.seed)
    yield _shuffled(trial, cases)


def of_keywords(trial: Trial, cases: Sequence[Case]) -> Baselines:
    """The words with masks around them that the masked model fills from left to right."""
    import torch

    from lm_adapters import KeywordFill, Keywords
    from samplers import generator

    space, low_and_high = trial.lm.space, trial.options.get("length", (3, 16))
    rng, filled = generator(trial.seed, device=trial.lm.device, stream="judged"), []
    for case in cases:
        lock = Keywords(space, case.words)
        fill = KeywordFill(trial.lm, lock, min_length=low_and_high[0], max_length=low_and_high[1])
        with torch.inference_mode():
            filled += space.decode(fill.draw(1, rng))
    yield "masks filled", filled
    yield from of_nothing(trial, cases)


def of_infill(trial: Trial, cases: Sequence[Case]) -> Baselines:
    """In each slot the token that is likeliest there by itself."""
    import torch

    from lm_adapters import Template

    lm, written = trial.lm, []
    assert lm.space.mask_id is not None, "a masked language model has a mask token"
    for case in cases:
        lock = Template(lm.space, case.arguments["template"])
        masked = lock.masks([[fewest for fewest, _ in lock.slots]]).to(lm.device)
        hidden = masked.eq(lm.space.mask_id)
        with torch.inference_mode():
            likeliest = lm.logits(masked, hidden).masked_fill(~lm.allowed, -math.inf).argmax(dim=1)
        written += lm.space.decode(masked.masked_scatter(hidden, likeliest))
    yield "each by itself", written
    yield from of_nothing(trial, cases)


def of_paraphrase(trial: Trial, cases: Sequence[Case]) -> Baselines:
    """The embedded seq2seq model's likeliest paraphrase, with and without those that are copies, and a copy."""
    copy = [case.source for case in cases]
    written = _beam_search("paraphrase", copy)
    yield "beam search", written
    pairs = zip(written, copy, strict=True)
    yield "beam, no copy", ["" if is_copy(text, source) else text for text, source in pairs]
    yield "copy", copy


def of_control(trial: Trial, cases: Sequence[Case]) -> Baselines:
    """The source with the mark of the label, and its likeliest paraphrase."""
    source = [case.source for case in cases]
    yield "other mark", [text[:-1] + MARKS[trial.options["label"]] for text in source]
    yield "beam search", _beam_search("paraphrase", source)


def of_summarize(trial: Trial, cases: Sequence[Case]) -> Baselines:
    """The first words of the source, as many as a summary may have."""
    from lm_adapters import word_spans

    limit, written = trial.options["max_words"], []
    for case in cases:
        spans = word_spans(case.source)
        written.append(case.source[: spans[limit - 1][1]])
    yield f"first {limit} words", written
    yield _shuffled(trial, cases)


def of_translate(trial: Trial, cases: Sequence[Case]) -> Baselines:
    """The embedded seq2seq model's likeliest translation, which knows no required word."""
    yield "beam search", _beam_search("translation_fr_to_en", [case.source for case in cases])


def _shuffled(trial: Trial, cases: Sequence[Case]) -> tuple[str, list[str]]:
    return "words shuffled", shuffled_words([case.held_out for case in cases], trial.seed)


def _causal() -> CausalLM:
    from lm_adapters import CausalLM

    return CausalLM.from_pretrained(CAUSAL)


def _beam_search(task: str, sources: Sequence[str]) -> list[str]:
    from lm_adapters import Seq2SeqLM

    seq2seq = Seq2SeqLM.from_pretrained(SEQ2SEQ)
    return [seq2seq.translate(source, prefix=seq2seq.task_prefix(task)) for source in sources]
