"""A seq2seq model as a scorer in both directions: ``-log p(x | source)`` and ``-log p(source | x)``.

Alignment. For a target of tokens ``t_1 .. t_n`` and a decoder context ``c_1 .. c_k`` the model runs on::

    encoder input     special tokens around [prefix] source, as the tokenizer frames a text
    decoder input     c_1 .. c_k  t_1 .. t_n
    its outputs       -  .. t_1   t_2 .. end

The output at the last token of the context tells of the first token of text, the output at ``t_n`` of the end, and
``log p = sum over j of log p(t_j | t_<j, source) + log p(end | t, source)``, a softmax over the whole vocabulary each.

The context is what ``generate`` is given or forced to begin with: ``decoder_start_token_id`` (T5 and Marian: the
padding token; BART: the end token; mBART: the code of the target language), then ``forced_bos_token_id`` where the
generation settings have one (BART: ``<s>``; mBART-50, M2M-100 and NLLB: the code of the target language). It is given,
not text: no part of it has a share in ``log p``. A model that learnt to write an opening token itself, and whose
settings do not force it (BERT2BERT: ``[CLS]``), needs ``model.generation_config.forced_bos_token_id`` set.

``model(labels=...)`` feeds ``labels`` shifted by one behind the start token: where nothing is forced, its mean loss on
``t_1 .. t_n end`` is ``-log p / (n + 1)``; otherwise its labels begin with the forced token, and its sum has one term
more. Prefix and source are spelled each on its own, then joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lm_adapters.energies.reconstruction import Reconstruction
from lm_adapters.energies.sequence_energy import SequenceEnergy
from lm_adapters.forward.batching import checked_tokens
from lm_adapters.forward.lm_head import HeadOnRows
from lm_adapters.forward.model_inputs import framed, positions
from lm_adapters.loading.identity import Identified
from lm_adapters.loading.pretrained import load_pretrained
from lm_adapters.models.beam_search import beam_search
from lm_adapters.models.conditioned_decoder import GivenSource
from lm_adapters.models.seq2seq_config import TargetSpelling, check_known, decoder_context, end_token, shared_vocabulary
from lm_adapters.text import TextSpace
from samplers import InvalidInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Seq2SeqLM"]

SPARE = 10  # tokens that a translation may have beyond twice its source, unless told otherwise


class Seq2SeqLM(Identified):
    """An encoder-decoder model (T5, mT5, BART, mBART, Marian, EncoderDecoder) and its tokenizer.

    ``space`` is that of targets, of all states that ``energy`` scores. ``source_space`` is that of sources and of the
    states that ``reconstruction`` scores. They are one and the same, except for Marian tokenizers, which spell the
    two languages by two sentencepiece models over one vocabulary: there ``ThroughText`` leads from one to the other
    (the class itself: ``ThroughText.of`` compares vocabularies only).

    ``tokens_per_pass`` bounds the tokens of one forward pass, hence memory; results do not depend on it.
    Raises ``InvalidInput`` for a model without encoder, two vocabularies, or no start or end token of the decoder.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, tokens_per_pass: int | None = None
    ) -> None:
        if not model.config.is_encoder_decoder:
            raise InvalidInput(f"the model is a {model.config.model_type}; a seq2seq model is needed here")
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.tokens_per_pass = checked_tokens(tokens_per_pass, model.device)
        vocabulary = shared_vocabulary(model, tokenizer)
        self.source_space = self.space = TextSpace(tokenizer, vocabulary)
        if hasattr(tokenizer, "spm_target"):
            self.space = TextSpace(TargetSpelling(tokenizer), vocabulary)
        self.allowed = self.space.proposable.to(self.device)
        if not bool(self.allowed.any()):
            raise InvalidInput("the tokenizer has no token that may be proposed; is its vocabulary missing?")
        self.eos_id = end_token(model, tokenizer)
        check_known([*decoder_context(model), self.eos_id], vocabulary)
        self.head = HeadOnRows(model, model.get_decoder().base_model)
        self._last: tuple[tuple[Any, ...], GivenSource] | None = None

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        device: str = "cpu",
        dtype: str = "float32",
        *,
        tokens_per_pass: int | None = None,
        trust_remote_code: bool = False,
    ) -> Seq2SeqLM:
        """An embedded model, a local folder or a Hugging Face name; see ``load_pretrained`` for what is refused."""
        model, tokenizer = load_pretrained(
            "seq2seq", name_or_path, device=device, dtype=dtype, trust_remote_code=trust_remote_code
        )
        return cls(model, tokenizer, tokens_per_pass=tokens_per_pass)

    def close(self) -> None:
        """Give the model back unhooked."""
        self.head.remove()

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def context(self) -> list[int]:
        """What the decoder reads before the first token of text; see the top of this module."""
        return decoder_context(self.model)

    @property
    def max_length(self) -> int:
        """Tokens of text that fit the decoder's positions."""
        return positions(self.model.get_decoder().base_model) - len(self.context)

    def task_prefix(self, task: str) -> str:
        """What the model's configuration puts before a source for ``task``; nothing if it names no tasks."""
        tasks = getattr(self.model.config, "task_specific_params", None) or {}
        if tasks and task not in tasks:
            raise InvalidInput(f"the model has no task {task!r}; choose one of {', '.join(tasks)}, or give a prefix")
        return tasks.get(task, {}).get("prefix", "")

    def condition_on(self, source: str, prefix: str = "") -> GivenSource:
        """``p(text | source)`` as an ``Autoregressive``: the encoder runs now, and never again for this source.

        The last one is kept, so energy, start and proposal of one source share it. Raises ``InvalidInput`` for a
        source that is empty, cannot be spelled, or is longer than the model takes.
        """
        key = (source, prefix, *self.context)
        if self._last is None or self._last[0] != key:
            self._last = (key, GivenSource(self, source, prefix))
        return self._last[1]

    def energy(self, source: str, prefix: str = "") -> SequenceEnergy:
        """``forward``: ``-log p(x | source)`` in nats, the end included."""
        return SequenceEnergy(self.condition_on(source, prefix), name="forward")

    def reconstruction(self, source: str, prefix: str = "") -> Reconstruction:
        """``reconstruction``: ``-log p(source | x)`` in nats; add it to ``energy`` for both directions at once."""
        return Reconstruction(self, source, prefix)

    def translate(self, source: str, prefix: str = "", *, max_length: int | None = None, beams: int = 4) -> str:
        """The model's own text for a source, by beam search: at most ``max_length`` tokens, no special ones.

        By default twice as many tokens as the encoder reads, and ten. Raises as ``given`` does.
        """
        given = self.condition_on(source, prefix)
        room = max_length or 2 * given.states.shape[1] + SPARE
        return beam_search(given, min(room, self.max_length), beams)

    def prefix_ids(self, prefix: str) -> list[int]:
        """A task prefix, which may hold special tokens, without the blanks at its end."""
        ids = self.tokenizer(prefix.rstrip(), add_special_tokens=False)["input_ids"] if prefix.strip() else []
        if self.tokenizer.unk_token_id in ids:
            raise InvalidInput(f"the tokenizer cannot represent a part of the prefix {prefix!r}; use another")
        return ids

    def encoder_input(self, x: Tensor, prefix: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Input ids and attention mask of ``source_space`` states behind ``prefix_ids``."""
        length, room = int(self.source_space.lengths(x).max()), self.source_room(prefix)
        if length > room:
            raise InvalidInput(
                f"a source has {length} tokens, the encoder takes {room} beside prefix and special tokens; shorten it"
            )
        return framed(self.source_space, x, prefix)

    def source_room(self, prefix: Sequence[int]) -> int:
        """Tokens of source that fit the encoder's positions behind ``prefix_ids``."""
        frame = len(self.source_space.prefix) + len(prefix) + len(self.source_space.suffix)
        return positions(self.model.get_encoder()) - frame
