"""Causal language models of a few thousand random weights, and tokenizers that begin a text in each known way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from lm_adapters.models.causal_lm import CausalLM
from tests.lm_adapters.tiny import CORPUS, enlarged, sizes

END = "<|endoftext|>"


def byte_pairs(special: Sequence[str], **names: str) -> PreTrainedTokenizerFast:
    """Cased byte-level BPE with ``special`` tokens first; nothing is put around a text unless ``names`` has a BOS."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    if names.get("bos") != names["eos"] and "bos" in names:
        bos = names["bos"]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **{f"{k}_token": v for k, v in names.items()})


def one_token_for_all() -> PreTrainedTokenizerFast:
    """GPT-2's: one token is begin, end and unknown; there is no padding."""
    return byte_pairs([END], bos=END, eos=END, unk=END)


def begin_and_end() -> PreTrainedTokenizerFast:
    """Llama's: ``<s> text``, no padding."""
    return byte_pairs(["<s>", "</s>", "<unk>"], bos="<s>", eos="</s>", unk="<unk>")


def end_only() -> PreTrainedTokenizerFast:
    """Qwen's: no begin; the end is the padding too."""
    return byte_pairs([END, "<|im_start|>"], eos=END, pad=END)


def word_level(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """One token a word, with a begin, an end and a padding of their own."""
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate([*special, *words])}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def gpt2(tokenizer: PreTrainedTokenizerBase) -> GPT2LMHeadModel:
    shape = sizes(tokenizer)
    del shape["intermediate_size"]
    return GPT2LMHeadModel(
        GPT2Config(**shape, n_inner=24, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    )


def llama(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**sizes(tokenizer), num_key_value_heads=1))


def qwen2(tokenizer: PreTrainedTokenizerBase) -> Qwen2ForCausalLM:
    return Qwen2ForCausalLM(Qwen2Config(**sizes(tokenizer), num_key_value_heads=1))


def qwen3(tokenizer: PreTrainedTokenizerBase) -> Qwen3ForCausalLM:
    window = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
    return Qwen3ForCausalLM(Qwen3Config(**sizes(tokenizer), num_key_value_heads=1, head_dim=8, **window))


CLASSES: dict[str, tuple[Callable[..., PreTrainedModel], Callable[[], PreTrainedTokenizerFast]]] = {
    "gpt2": (gpt2, one_token_for_all),
    "llama": (llama, begin_and_end),
    "qwen2": (qwen2, end_only),
    "qwen3 with a window": (qwen3, end_only),
}


def build(name: str, *, scale: float = 12.0, double: bool = False) -> CausalLM:
    """A model of ``CLASSES`` with weights ``scale`` times the usual, so that its conditionals are far from flat."""
    model, tokenizer = CLASSES[name]
    return _built(model, tokenizer(), scale, double, seed=1)


def words_lm(words: Sequence[str], *, seed: int = 0, scale: float = 12.0) -> CausalLM:
    """A float64 GPT-2 whose only proposable tokens are ``words``."""
    return _built(gpt2, word_level(words), scale, True, seed)


def pieces_lm(pieces: Sequence[str], *, seed: int = 0, scale: float = 12.0) -> CausalLM:
    """A float64 GPT-2 whose only proposable tokens are ``pieces`` of text; a longer one is also spelt by shorter ones.

    A space is written "Ġ"; texts keep the one that they begin with.
    """
    special = ["<pad>", "<s>", "</s>"]
    vocabulary = {name: i for i, name in enumerate([*special, *pieces])}
    pairs = [(piece[:-1], piece[-1]) for piece in pieces if len(piece) > 1]
    tokenizer = Tokenizer(models.BPE(vocabulary, pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    return _built(gpt2, wrapped, scale, True, seed)


def _built(
    model: Callable[..., PreTrainedModel], tokenizer: PreTrainedTokenizerFast, scale: float, double: bool, seed: int
) -> CausalLM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = enlarged(model(tokenizer), scale)
        made.get_output_embeddings().weight.data[tokenizer.eos_token_id] *= 4  # some texts end soon
    return CausalLM(made.double() if double else made, tokenizer)
