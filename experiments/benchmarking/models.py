"""The models that a benchmark runs: the embedded ones, or random weights in the shape of models that everybody knows.

Speed depends on shapes alone, so random weights serve. All read texts of the embedded tokenizer, whatever the number
of tokens that their head scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from experiments.benchmarking.reference_forwards import BareCausal, BareMasked, BareSeq2Seq
from experiments.setup.scorers import source_prefix
from lm_adapters import DTYPES, CausalLM, MaskedLM, Seq2SeqLM, check_device
from lm_adapters.loading import load_tokenizer
from lm_adapters.pretrained import embedded_names, embedded_path

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["ABSENT", "SOURCE", "Absent", "Models", "make_models"]

SOURCE = "je voudrais rentrer à la maison avec mes amis ."  # what the seq2seq models translate
NAMES = {"masked": "masked-en", "causal": "causal-en", "seq2seq": "seq2seq-en"}
CLASSES: dict[str, Any] = {"masked": MaskedLM, "causal": CausalLM, "seq2seq": Seq2SeqLM}
ABSENT = "{name} is not among the embedded models"


class Absent(Exception):
    """A model that is not there; the message says which."""


@dataclass
class Models:
    """Loaded when first asked for. ``load(task)`` gives the adapter of a task, or raises ``Absent``."""

    name: str
    load: Callable[[str], Any]

    @cached_property
    def masked(self) -> MaskedLM:
        return self.load("masked")

    @cached_property
    def causal(self) -> CausalLM:
        return self.load("causal")

    @cached_property
    def seq2seq(self) -> Seq2SeqLM:
        return self.load("seq2seq")

    @cached_property
    def bare_masked(self) -> BareMasked:
        return BareMasked(self.masked)

    @cached_property
    def bare_causal(self) -> BareCausal:
        return BareCausal(self.causal)

    @cached_property
    def bare_seq2seq(self) -> BareSeq2Seq:
        return BareSeq2Seq(self.seq2seq, SOURCE, self.prefix)

    @cached_property
    def prefix(self) -> str:
        """What stands before the source."""
        return source_prefix(self.seq2seq)


def make_models(
    kind: str,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    vocabulary: int | None = None,
    tokens_per_pass: int | None = None,
) -> Models:
    """``embedded``, ``base`` (BERT-base, GPT-2 small and T5-small) or ``small`` (2 layers, 64 wide).

    The weights of the last two are random; with ``vocabulary`` those of the first are, too.

    Raises ``InvalidInput`` for a device that is not there.
    """
    check_device(device)
    options: dict[str, Any] = {} if tokens_per_pass is None else {"tokens_per_pass": tokens_per_pass}

    def load(task: str) -> Any:
        if kind == "embedded" and NAMES[task] not in embedded_names():
            raise Absent(ABSENT.format(name=NAMES[task]))
        if kind == "embedded" and vocabulary is None:
            return CLASSES[task].from_pretrained(NAMES[task], device, dtype, **options)
        tokenizer = _tokenizer()
        config = _embedded_shape(task) if kind == "embedded" else SHAPES[kind](task, tokenizer)
        if vocabulary is not None:
            config.vocab_size = vocabulary
        model: torch.nn.Module = _random(task, config)
        return CLASSES[task](model.to(device, DTYPES[dtype]), tokenizer, **options)

    return Models(kind, load)


def _random(task: str, config: PretrainedConfig) -> PreTrainedModel:
    import transformers

    auto = {"masked": "AutoModelForMaskedLM", "causal": "AutoModelForCausalLM", "seq2seq": "AutoModelForSeq2SeqLM"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return getattr(transformers, auto[task]).from_config(config)


def _tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(NAMES["masked"], trust_remote_code=False)


def _embedded_shape(task: str) -> PretrainedConfig:
    import transformers

    return transformers.AutoConfig.from_pretrained(str(embedded_path(NAMES[task])))


def _base_shape(task: str, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """Sizes as published, which are the defaults of these classes; the special tokens are the tokenizer's."""
    import transformers

    pad, start, end = tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id
    if task == "masked":
        return transformers.BertConfig(pad_token_id=pad)
    if task == "causal":
        return transformers.GPT2Config(bos_token_id=start, eos_token_id=end)
    return transformers.T5Config(pad_token_id=pad, eos_token_id=end, decoder_start_token_id=pad)  # type: ignore[call-arg]


def _small_shape(task: str, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """The classes of ``base`` so small that what a sampler does beside the model shows."""
    names = {
        "masked": ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
        "causal": ("n_embd", "n_layer", "n_head", "n_inner"),
        "seq2seq": ("d_model", "num_layers", "num_heads", "d_ff"),
    }
    config = _base_shape(task, tokenizer)
    sizes: dict[str, Any] = dict(zip(names[task], (64, 2, 2, 256), strict=True))
    return type(config)(**{**config.to_dict(), **sizes, "vocab_size": len(tokenizer)})


SHAPES = {"base": _base_shape, "small": _small_shape}
