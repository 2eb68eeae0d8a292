"""The likeliest text that a seq2seq model finds by itself: where a chain may start."""

from __future__ import annotations

from functools import partial
from itertools import takewhile

import torch

from lm_adapters.forward.oom import in_one
from lm_adapters.models.conditioned_decoder import GivenSource

__all__ = ["beam_search"]


def beam_search(given: GivenSource, max_length: int, beams: int) -> str:
    """A text of 1 to ``max_length`` tokens without special ones, by transformers' ``generate``; nothing is drawn.

    Settings of the model's own that are not about framing and length (``no_repeat_ngram_size``, ...) stay in force.
    """
    from transformers.modeling_outputs import BaseModelOutput

    lm, space, begun = given.lm, given.space, given.context.shape[1]
    special = {*space.tokenizer.all_special_ids, *space.tokenizer.added_tokens_decoder} - {given.eos_id}
    beyond = range(len(space.tokenizer), space.vocabulary)
    write = partial(
        lm.model.generate,
        encoder_outputs=BaseModelOutput(last_hidden_state=given.states),
        attention_mask=torch.ones(given.states.shape[:2], dtype=torch.int64, device=lm.device),
        decoder_input_ids=given.context,
        decoder_start_token_id=int(given.context[0, 0]),
        forced_bos_token_id=None,  # it stands in the context
        forced_eos_token_id=given.eos_id,
        eos_token_id=given.eos_id,
        pad_token_id=space.pad_id,
        suppress_tokens=[*(token for token in special if token < space.vocabulary), *beyond],
        num_beams=beams,
        do_sample=False,
        min_length=begun + 1,
        max_length=begun + max_length + 1,
    )
    written = in_one(write, scorer=lm, tokens=begun + max_length + 1)
    tokens = list(takewhile(lambda token: token != given.eos_id, written[0, begun:].tolist()))
    text = space.decode(torch.tensor([tokens]))[0]
    # The text's own spelling may be longer than what the model wrote.
    while len(space.tokenizer(text, add_special_tokens=False)["input_ids"]) > max_length:
        tokens.pop()
        text = space.decode(torch.tensor([tokens]))[0]
    return text
