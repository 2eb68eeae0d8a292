"""The parts of an encoder-decoder model, and how a source and a target are laid out for them.

For a target of tokens ``t_1 .. t_n`` and a decoder context ``c_1 .. c_k`` the model runs on::

    encoder input     [prefix] source, with the tokenizer's special tokens around
    decoder input     c_1 .. c_k  t_1 .. t_n
    its outputs       -  .. t_1   t_2 .. end

The output at the last token of the context predicts the first token of text, the output at ``t_n`` the end, and
``log p = sum over j of log p(t_j | t_<j, source) + log p(end | t, source)``, each a softmax over the whole vocabulary.

The context is what ``generate`` starts from: ``decoder_start_token_id`` (T5 and Marian: the padding token; BART: the
end token; mBART: the code of the target language), or else ``bos_token_id`` (T5Gemma), then ``forced_bos_token_id``
where the generation settings have one (BART: ``<s>``; mBART-50, M2M-100 and NLLB: the code of the target language). A
target language that is chosen takes the place of that code. The context is given, not text, and has no share in
``log p``. A model that was trained to write an opening token itself, and whose settings do not force it (BERT2BERT:
``[CLS]``), needs ``model.generation_config.forced_bos_token_id`` set.

``model(labels=...)`` shifts ``labels`` by one, after the start token: where nothing is forced, its mean loss on
``t_1 .. t_n end`` is ``-log p / (n + 1)``; otherwise its labels begin with the forced token, and its sum has one more
term. Prefix and source are tokenised separately, then joined.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from lm_adapters.forward.model_inputs import max_positions, with_special_tokens
from lm_adapters.models.language_model import LanguageModel
from lm_adapters.models.languages import choose_languages, language_codes, reads_language, translation_tasks
from lm_adapters.models.seq2seq_config import (
    check_in_vocabulary,
    check_one_vocabulary,
    decoder_context,
    end_token,
    target_tokenizer,
)
from lm_adapters.text import TextSpace
from samplers import InvalidInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Seq2SeqParts"]


class Seq2SeqParts(LanguageModel):
    """Encoder, decoder, head and special tokens of an encoder-decoder model; ``Seq2SeqLM`` is what users make.

    ``space`` is the space of targets, ``source_space`` that of sources; they are the same object except for Marian.
    ``languages`` are those of source and target, ``None`` where they were neither chosen nor needed; ``translations``
    has the prefix of each translation task, by its two languages, where the model's configuration lists tasks, and
    ``codes`` the token of each language, where the tokenizer has such.
    """

    task = "seq2seq"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        source_lang: str | None = None,
        target_lang: str | None = None,
        tokens_per_pass: int | None = None,
    ) -> None:
        if not model.config.is_encoder_decoder:
            raise InvalidInput(f"the model is a {model.config.model_type}; a seq2seq model is needed here")
        check_one_vocabulary(model, tokenizer)
        self.languages = choose_languages(model, tokenizer, source_lang, target_lang)
        self.translations = translation_tasks(model)
        self.codes = language_codes(tokenizer)
        with reads_language(tokenizer, self.languages and self.languages[0]):
            super().__init__(model, tokenizer, tokens_per_pass=tokens_per_pass)
            self.tokenizer = tokenizer
            self.source_space = self.space
            if self.space.tokenizer is not tokenizer:
                self.source_space = TextSpace(tokenizer, self.space.vocabulary)
        self.allowed[[token for token in self.codes.values() if token < self.space.vocabulary]] = False
        self.eos_id = end_token(model, tokenizer)
        check_in_vocabulary([*self.context, self.eos_id], self.space.vocabulary)

    def config(self) -> dict[str, Any]:
        """What draws depend on: as for every model, and the languages, where they were chosen."""
        chosen = {} if self.languages is None else {"languages": self.languages}
        return {**super().config(), **chosen}

    @property
    def body(self) -> PreTrainedModel:
        """The decoder without the vocabulary head."""
        decoder = self.model.get_decoder()
        return cast("PreTrainedModel", getattr(decoder, "base_model", decoder))

    @property
    def context(self) -> list[int]:
        """What the decoder reads before the first token of text; see the top of this module."""
        language = self.codes[self.languages[1]] if self.languages and self.codes else None
        return decoder_context(self.model, language, self.codes.values())

    @property
    def max_length(self) -> int:
        """The most tokens of text that fit the decoder's positions after the context."""
        return max_positions(self.body) - len(self.context)

    def prefix_ids(self, prefix: str) -> list[int]:
        """Token ids of a task prefix, which may hold special tokens; blanks at its end are dropped.

        Raises ``InvalidInput`` for a prefix that the tokenizer cannot represent.
        """
        ids: list[int] = []
        if prefix.strip():
            ids = self.tokenizer(prefix.rstrip(), add_special_tokens=False)["input_ids"]
        if self.tokenizer.unk_token_id in ids:
            raise InvalidInput(f"prefix: {self.source_space.what_is_wrong(prefix, ids)}")
        return ids

    def encoder_input(self, x: Tensor, prefix: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Input ids and attention mask, ``int64 [rows, tokens]`` each, of ``source_space`` states ``x``.

        ``prefix`` are ``prefix_ids``. Raises ``InvalidInput`` for a source that is longer than the encoder takes.
        """
        length, room = int(self.source_space.lengths(x).max()), self.source_room(prefix)
        if length > room:
            raise InvalidInput(
                f"a source has {length} tokens, the encoder takes {room} beside prefix and special tokens; shorten it"
            )
        return with_special_tokens(self.source_space, x, prefix)

    def source_room(self, prefix: Sequence[int]) -> int:
        """The most tokens of source that fit the encoder's positions after ``prefix_ids``."""
        special = len(self.source_space.prefix) + len(prefix) + len(self.source_space.suffix)
        return max_positions(self.model.get_encoder()) - special

    def target_logits(self, x: Tensor, prefix: Sequence[int], decoder_input: Tensor, wanted: int) -> Iterator[Tensor]:
        """Logits at the last ``wanted`` tokens of ``decoder_input int64 [tokens]``, given each source of ``x``.

        One pass over all ``source_space`` states ``x``, after ``prefix``; parts ``[rows * wanted, vocabulary]``.
        """
        ids, attention = self.encoder_input(x, prefix)
        encoded = self.model.get_encoder()(input_ids=ids, attention_mask=attention)
        marked = torch.zeros(len(x), len(decoder_input), dtype=torch.bool, device=x.device)
        marked[:, -wanted:] = True
        rows, columns = marked.nonzero(as_tuple=True)
        return self.head.read(
            (rows, columns),
            encoder_outputs=encoded,
            attention_mask=attention,
            decoder_input_ids=decoder_input.expand(len(x), -1),
            use_cache=False,
        )

    def _text_space(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> TextSpace:
        return TextSpace(target_tokenizer(tokenizer), vocabulary)
