"""Beam search: the likeliest text that a seq2seq model finds by itself, as a start for chains."""

from __future__ import annotations

from functools import partial
from itertools import takewhile
from typing import Any, cast

import torch

from lm_adapters.forward.oom import run_one_row
from lm_adapters.models.conditioned_decoder import ConditionedDecoder

__all__ = ["beam_search"]


def beam_search(decoder: ConditionedDecoder, max_length: int, beams: int) -> str:
    """A text of 1 to ``max_length`` tokens without special ones, by transformers' ``generate``; deterministic.

    The model's own generation settings for other things than start, end and length (``no_repeat_ngram_size``, ...)
    stay in force. Raises ``OutOfMemory`` where the beams do not fit in memory.
    """
    lm, space, begun = decoder.lm, decoder.space, decoder.context.shape[1]
    special = {*space.tokenizer.all_special_ids, *space.tokenizer.added_tokens_decoder, *lm.codes.values()}
    beyond = range(len(space.tokenizer), space.vocabulary)
    generate = partial(
        cast(Any, lm.model).generate,
        encoder_outputs=decoder.encoder_output(1),
        attention_mask=torch.ones(decoder.states.shape[:2], dtype=torch.int64, device=lm.device),
        decoder_input_ids=decoder.context,
        decoder_start_token_id=int(decoder.context[0, 0]),
        forced_bos_token_id=None,  # it is part of the context
        forced_eos_token_id=decoder.eos_id,
        eos_token_id=decoder.eos_id,
        pad_token_id=space.pad_id,
        suppress_tokens=[*(token for token in special - {decoder.eos_id} if token < space.vocabulary), *beyond],
        num_beams=beams,
        do_sample=False,
        min_length=begun + 1,
        max_length=begun + max_length + 1,
    )
    written = run_one_row(generate, scorer=lm, tokens=begun + max_length + 1)
    tokens = list(takewhile(lambda token: token != decoder.eos_id, written[0, begun:].tolist()))
    text = space.decode(torch.tensor([tokens]))[0]
    # Tokenised anew, the text may have more tokens than the model wrote.
    while len(space.tokenizer(text, add_special_tokens=False)["input_ids"]) > max_length:
        tokens.pop()
        text = space.decode(torch.tensor([tokens]))[0]
    return text
