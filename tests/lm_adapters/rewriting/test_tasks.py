"""Which models rewrite words and spans, and what the others are told."""

from __future__ import annotations

import pytest

from lm_adapters import Keywords, RewriteProposal, SpanProposal, fills_spans, writes_words
from lm_adapters.rewriting.tasks import span_task, words_task
from samplers import InvalidInput
from tests.lm_adapters import tiny_seq2seq
from tests.lm_adapters.rewriting.tiny_writers import lm


def test_the_configuration_names_what_is_put_where():
    model = lm()
    prefix, blank = model.tokenizer.convert_tokens_to_ids(["<words>", "<blank>"])
    words, span = words_task(model), span_task(model)
    assert (words.prefix, words.context, words.end) == ([prefix], model.context, model.eos_id)
    assert (span.prefix, span.context, span.end, span.sentinel) == ([prefix], model.context, model.eos_id, blank)
    assert writes_words(model)
    assert fills_spans(model)


def test_t5_fills_spans_as_it_was_trained_to():
    model = lm(False)
    opening, closing = model.tokenizer.convert_tokens_to_ids(["<extra_id_0>", "<extra_id_1>"])
    task = span_task(model)
    assert (task.prefix, task.context, task.end, task.sentinel) == ([], [*model.context, opening], closing, opening)
    assert fills_spans(model)
    assert not writes_words(model)


def test_a_model_without_the_task_is_refused():
    with pytest.raises(InvalidInput, match="the model has no task 'words_to_sentence'; choose a model that writes"):
        RewriteProposal(lm(False), max_length=4)
    assert RewriteProposal(lm(False), max_length=4, prefix="red").writer.task.prefix
    with pytest.raises(InvalidInput, match="fills no spans: it has neither a task 'infill' with a sentinel"):
        SpanProposal(tiny_seq2seq.lm("bart"), max_length=4)
    with pytest.raises(InvalidInput, match="spells sources otherwise"):
        SpanProposal(tiny_seq2seq.lm("marian"), max_length=4)
    assert not fills_spans(tiny_seq2seq.lm("marian"))
    assert not writes_words(tiny_seq2seq.lm("bart"))


def test_another_vocabulary_is_refused():
    lock = Keywords(tiny_seq2seq.lm("t5").space, ["hello"])
    for kind in (RewriteProposal, SpanProposal):
        with pytest.raises(InvalidInput, match="another tokenizer than the states"):
            kind(lm(), max_length=4, lock=lock)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (RewriteProposal, {"keep": 0.0}, "keep is 0.0"),
        (RewriteProposal, {"keep": 1.0}, "keep is 1.0"),
        (RewriteProposal, {"min_length": 5}, "give 1 <= min_length <= max_length"),
        (SpanProposal, {"min_length": 0}, "give 1 <= min_length <= max_length"),
        (SpanProposal, {"longest": 0}, "longest is 0"),
    ],
)
def test_values_out_of_range_are_refused(kind: type, options: dict[str, float], message: str):
    with pytest.raises(InvalidInput, match=message):
        kind(lm(), max_length=4, **options)


@pytest.mark.parametrize("kind", [RewriteProposal, SpanProposal])
def test_keywords_need_room_and_states_their_width(kind: type):
    with pytest.raises(InvalidInput, match="no room for the keywords"):
        kind(lm(), max_length=2, lock=Keywords(lm().space, ["reder", "red"]))
    with pytest.raises(InvalidInput, match="the states are 1 wide"):
        kind(lm(), max_length=2)(lm().space.encode(["red"]), None)
