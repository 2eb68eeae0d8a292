"""Encoder-decoder models of a few thousand random weights, with tokenizers that frame a text as theirs do."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from tokenizers import Tokenizer, normalizers, processors
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    MBartTokenizer,
    MT5Config,
    MT5ForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
)

from lm_adapters.models.seq2seq_lm import Seq2SeqLM
from tests.lm_adapters import tiny

Built = tuple[PreTrainedModel, PreTrainedTokenizerBase]

LETTERS = "abcdefghijklmnopqrstuvwxyz"
PIECES = [(f"▁{c}", -2.0) for c in LETTERS] + [(c, -3.0) for c in LETTERS] + [("▁he", -1.5), ("llo", -1.5)]


def sentencepiece() -> PreTrainedTokenizerBase:
    """``text </s>``, as T5's."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -5.0)]
    return T5Tokenizer(vocab=special + PIECES, extra_ids=2)


def multilingual() -> PreTrainedTokenizerBase:
    """``text </s> en_XX``, as mBART's."""
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -5.0)]
    return MBartTokenizer(vocab=special + PIECES, src_lang="en_XX", tgt_lang="ro_RO")


class TwoSpellings(PreTrainedTokenizerFast):
    """One vocabulary, and two ways to spell, as Marian's: only targets are spelled in pieces of several letters."""

    spm_target = True

    def _switch_to_target_mode(self) -> None:
        self.backend_tokenizer.normalizer = normalizers.Sequence([])

    def _switch_to_input_mode(self) -> None:
        self.backend_tokenizer.normalizer = normalizers.Replace("hello", "h e l l o")


def two_spellings() -> PreTrainedTokenizerBase:
    inner: Tokenizer = sentencepiece().backend_tokenizer
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = TwoSpellings(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    tokenizer._switch_to_input_mode()
    return tokenizer


def t5(config: type[T5Config], model: type[PreTrainedModel], factor: float) -> Built:
    tokenizer = sentencepiece()
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "relative_attention_num_buckets": 8}
    sizes |= {"initializer_factor": factor, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    return model(config(vocab_size=len(tokenizer) + tiny.SPARE, **sizes)), tokenizer


def bart_sizes(tokenizer: PreTrainedTokenizerBase, **more: object) -> dict[str, object]:
    sides = {f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    sides |= {"encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "d_model": 16, "max_position_embeddings": tiny.POSITIONS}
    names = ("pad", "eos", "bos")
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in names}
    return {"vocab_size": len(tokenizer) + tiny.SPARE, **sides, **ids, **more}


def biased(model: PreTrainedModel) -> PreTrainedModel:
    """With a bias of the logits, which trained models have and new ones lack."""
    model.final_logits_bias.normal_(std=2.0)
    return model


def bart(*, forced: bool) -> Built:
    tokenizer = tiny.byte_level()
    model = BartForConditionalGeneration(BartConfig(**bart_sizes(tokenizer), decoder_start_token_id=2))
    model.generation_config.forced_bos_token_id = 0 if forced else None
    return biased(model), tokenizer


def mbart(*, forced: bool) -> Built:
    """Of the first generation, which starts with the language; or of the second, which forces it behind ``</s>``."""
    tokenizer = multilingual()
    language = tokenizer.convert_tokens_to_ids("ro_RO")
    config = MBartConfig(**bart_sizes(tokenizer), decoder_start_token_id=2 if forced else language)
    model = MBartForConditionalGeneration(config)
    model.generation_config.forced_bos_token_id = language if forced else None
    return biased(model), tokenizer


def marian(tokenizer: PreTrainedTokenizerBase | None = None, **more: object) -> Built:
    tokenizer = tokenizer or two_spellings()
    sizes = bart_sizes(tokenizer, decoder_start_token_id=tokenizer.pad_token_id, forced_eos_token_id=1)
    return biased(MarianMTModel(MarianConfig(**sizes, **more))), tokenizer


def encoder_decoder(*, width: int = 16) -> Built:
    tokenizer = tiny.word_level([*LETTERS, "hello"])
    sides = BertConfig(**tiny.sizes(tokenizer, hidden_size=width)), BertConfig(**tiny.sizes(tokenizer))
    model = EncoderDecoderModel(EncoderDecoderConfig.from_encoder_decoder_configs(*sides))
    model.config.decoder_start_token_id = tokenizer.cls_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.sep_token_id
    return model, tokenizer


CLASSES: dict[str, Callable[[], Built]] = {
    "t5": lambda: t5(T5Config, T5ForConditionalGeneration, factor=0.3),
    "mt5": lambda: t5(MT5Config, MT5ForConditionalGeneration, factor=0.15),
    "bart": lambda: bart(forced=False),
    "bart forced": lambda: bart(forced=True),
    "mbart": lambda: mbart(forced=False),
    "mbart forced": lambda: mbart(forced=True),
    "marian": marian,
    "encoder-decoder": encoder_decoder,
    "encoder-decoder wide": lambda: encoder_decoder(width=20),
}


def build(name: str, *, scale: float = 16.0, double: bool = False) -> Seq2SeqLM:
    """A model of ``CLASSES`` with weights ``scale`` times the usual, so that what it predicts is far from flat."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model, tokenizer = CLASSES[name]()
    model = tiny.enlarged(model, scale)
    if isinstance(model, MarianMTModel):  # its positions are waves that no file holds; undone exactly by a power of two
        for side in (model.get_encoder(), model.get_decoder()):
            side.embed_positions.weight.div_(scale)
    return Seq2SeqLM(model.double() if double else model, tokenizer)


# What tests of every class share

SOURCE = "hello b c"
TEXTS = ["a b c d", "e", "hello z a"]
CONTEXT = {  # what stands before the first token of text, by name
    "t5": ["<pad>"],
    "mt5": ["<pad>"],
    "bart": ["</s>"],
    "bart forced": ["</s>", "<s>"],
    "mbart": ["ro_RO"],
    "mbart forced": ["</s>", "ro_RO"],
    "marian": ["<pad>"],
    "encoder-decoder": ["[CLS]"],
    "encoder-decoder wide": ["[CLS]"],
}
END = {name: "[SEP]" if name.startswith("encoder") else "</s>" for name in CONTEXT}
EXACT = {"atol": 1e-10, "rtol": 0}  # the models are of float64
classes = pytest.mark.parametrize("name", CLASSES)


@cache
def lm(name: str, double: bool = True) -> Seq2SeqLM:
    return build(name, double=double)


def bodies(model: Seq2SeqLM, texts: list[str] = TEXTS) -> list[list[int]]:
    x = model.space.encode(texts)
    return [row[row != model.space.pad_id].tolist() for row in x]


def ids(name: str, tokens: list[str]) -> list[int]:
    return lm(name).tokenizer.convert_tokens_to_ids(tokens)


def by_hand(name: str, read: list[int], target: list[int]) -> list[float]:
    """``-log p`` of each token of ``target`` and of the end: one full forward pass for each."""
    model, told, written = lm(name).model, [], ids(name, CONTEXT[name])
    for token in [*target, *ids(name, [END[name]])]:
        logits = model(input_ids=torch.tensor([read]), decoder_input_ids=torch.tensor([written])).logits[0, -1]
        told.append(-float(logits.log_softmax(dim=0)[token]))
        written.append(token)
    return told
