"""An encoder-decoder model: texts given a source, and the model's own translation."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lm_adapters.forward.batching import passes
from lm_adapters.forward.model_inputs import max_positions
from lm_adapters.forward.route import Route
from lm_adapters.loading.pretrained import listed_tasks
from lm_adapters.models.beam_search import beam_search
from lm_adapters.models.conditioned_decoder import ConditionedDecoder
from lm_adapters.models.pair_scores import pair_log_probs
from lm_adapters.models.probe import Reading, chosen_route, left_to_right, padded, probe_texts
from lm_adapters.models.seq2seq_parts import Seq2SeqParts
from samplers import InvalidInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Seq2SeqLM"]

EXTRA_TOKENS = 10  # that a translation may have beyond twice its source, unless ``max_length`` is given


class Seq2SeqLM(Seq2SeqParts):
    """An encoder-decoder model (T5, mT5, BART, mBART, Marian, EncoderDecoder) and its tokenizer.

    ``log_prob`` scores pairs of texts. Two energies come from it, in nats: ``-log p(x | source)`` is
    ``SequenceEnergy(lm.condition_on(source))`` and scores states of ``space``; ``-log p(source | x)`` is
    ``Reconstruction(lm, source)`` and scores states of ``source_space``. The two spaces are the same, except for Marian
    tokenizers, which have a sentencepiece model for each language over one vocabulary: there ``ThroughText`` converts
    states (the class itself: ``ThroughText.of`` compares only the vocabularies).

    ``source_lang`` and ``target_lang`` are needed where the tokenizer has codes of languages (mBART, M2M-100, NLLB),
    unless it was made with ``src_lang`` and ``tgt_lang``; for a model with translation tasks they choose one of these.

    Other arguments and errors as for ``LanguageModel``. Raises ``InvalidInput`` for a model without encoder, with two
    vocabularies, or without a start or end token of the decoder, and for languages that are lacking or unknown.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        source_lang: str | None = None,
        target_lang: str | None = None,
        tokens_per_pass: int | None = None,
    ) -> None:
        super().__init__(
            model, tokenizer, source_lang=source_lang, target_lang=target_lang, tokens_per_pass=tokens_per_pass
        )
        self._last: tuple[tuple[Any, ...], ConditionedDecoder] | None = None
        self.route = chosen_route(self, self._readings())

    @property
    def tasks(self) -> Mapping[str, Mapping[str, Any]]:
        """What the model was trained for, as ``tasks_of`` reads it of one that is not loaded."""
        return listed_tasks(self.model.config)

    def task_prefix(self, task: str) -> str:
        """The prefix that the model's configuration puts before a source for ``task``; empty if it names no tasks.

        Raises ``InvalidInput`` for a task that is not among those it names.
        """
        if self.tasks and task not in self.tasks:
            raise InvalidInput(
                f"the model has no task {task!r}; choose one of {', '.join(self.tasks)}, or give a prefix"
            )
        return str(self.tasks.get(task, {}).get("prefix", ""))

    def condition_on(self, source: str, prefix: str = "") -> ConditionedDecoder:
        """``p(text | source)`` as an ``Autoregressive``. The encoder runs here, once for this source.

        The last result is kept, so that energy, start and proposal of one source share it. Raises ``InvalidInput`` for
        a source that is empty, that the tokenizer cannot represent, or that is longer than the encoder takes.
        """
        key = (source, prefix, *self.context)
        if self._last is None or self._last[0] != key:
            self._last = (key, ConditionedDecoder(self, source, prefix))
        return self._last[1]

    def log_prob(self, sources: Sequence[str], targets: Sequence[str], prefix: str = "") -> Tensor:
        """``float64 [pairs]`` in nats: ``log p(target | source)`` of each pair, the end of the target included.

        ``prefix`` stands before every source, as in ``condition_on``. Pairs of similar length share passes, so that
        their order costs nothing; see ``pair_log_probs`` for the cost. Raises ``InvalidInput`` for lists of different
        lengths, and for a text that is empty, that the tokenizer cannot represent, or that is longer than the model
        takes.
        """
        if len(sources) != len(targets):
            raise InvalidInput(f"{len(sources)} sources and {len(targets)} targets; give a source for each target")
        x, read = self.space.encode(targets), self.source_space.encode([source.strip() for source in sources])
        longest = int(self.space.lengths(x).max())
        if longest > self.max_length:
            raise InvalidInput(f"a target has {longest} tokens, the decoder takes {self.max_length}; shorten it")
        with torch.inference_mode():
            found = pair_log_probs(self, read.to(self.device), x.to(self.device), prefix)
        return found.clone()

    def translate(self, source: str, prefix: str = "", *, max_length: int | None = None, beams: int = 4) -> str:
        """The model's own text for a source, by beam search: at most ``max_length`` tokens, no special ones.

        The default limit is ten tokens more than twice the encoder's input. Raises as ``condition_on`` does.
        """
        decoder = self.condition_on(source, prefix)
        limit = max_length or 2 * decoder.states.shape[1] + EXTRA_TOKENS
        return beam_search(decoder, min(limit, self.max_length), beams)

    def _readings(self) -> list[Reading]:
        """Targets given a source, and a target given sources."""
        first = probe_texts(self)[0]
        context, given = self.context, torch.tensor([first], device=self.device)
        # Decoders are made anew for each route: what they keep depends on it.
        decoders: dict[Route, ConditionedDecoder] = {}

        def decoder() -> ConditionedDecoder:
            if self.route not in decoders:
                decoders[self.route] = ConditionedDecoder(self, "", x=given)
            return decoders[self.route]

        def plain(source: list[int], target: list[int]) -> Tensor:
            ids, _ = self.encoder_input(torch.tensor([source], device=self.device), [])
            read = torch.tensor([[*context, *target]], device=self.device)
            logits: Tensor = self.model(input_ids=ids, decoder_input_ids=read, **self.no_cache).logits
            return logits[0, len(context) - 1 :]

        def sources(texts: list[list[int]]) -> Tensor:
            x = padded(texts, self.source_space.pad_id, self.device)
            read = torch.tensor([*context, *first], device=self.device)
            found = [
                torch.cat(list(self.target_logits(x[rows], [], read, len(first) + 1)))
                for rows in passes(self.source_space.lengths(x), 10**9, self.route.rows)
            ]
            return torch.cat(found)

        return [
            left_to_right(decoder, partial(plain, first), ragged=max_positions(self.body) == sys.maxsize),
            Reading(lambda text: plain(text, first), sources),
        ]
