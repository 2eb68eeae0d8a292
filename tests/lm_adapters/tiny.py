"""Tokenizers and masked language models of a few thousand random weights, made in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

from lm_adapters import MaskedLM

CORPUS = [
    "I don't know what it is, but it isn't here.",
    "We do not like the old house by the sea.",
    "She's the teacher; he's the pupil, and they've all gone.",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z",
]
BERT_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]"]
ROBERTA_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<unused_0>", "<extra_id_1>", "madeupword0000"]
POSITIONS = 24
SPARE = 5  # rows of the embedding beyond the tokenizer, as padded vocabularies have


@cache
def wordpiece() -> PreTrainedTokenizerFast:
    """Lower-cased, ``[CLS] text [SEP]``, as BERT's."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=130, special_tokens=BERT_TOKENS, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return bert_like(tokenizer, frame=True)


@cache
def byte_level() -> PreTrainedTokenizerFast:
    """Cased byte-level BPE, ``<s> text </s>``, as RoBERTa's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=ROBERTA_TOKENS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **{f"{k}_token": v for k, v in names.items()})


def word_level(words: Sequence[str], *, frame: bool = True) -> PreTrainedTokenizerFast:
    """One token a word; without ``frame`` nothing is put around a text."""
    vocabulary = {name: i for i, name in enumerate([*BERT_TOKENS[:5], *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return bert_like(tokenizer, frame=frame)


def bert_like(tokenizer: Tokenizer, *, frame: bool) -> PreTrainedTokenizerFast:
    if frame:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **{f"{k}_token": v for k, v in names.items()})


def sizes(tokenizer: PreTrainedTokenizerBase, **more: object) -> dict[str, object]:
    """Arguments that every configuration here shares."""
    return {
        "vocab_size": len(tokenizer) + SPARE,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": POSITIONS,
        "pad_token_id": tokenizer.pad_token_id,
        **more,
    }


def bert(tokenizer: PreTrainedTokenizerBase, **more: object) -> BertForMaskedLM:
    return BertForMaskedLM(BertConfig(**sizes(tokenizer, **more)))


def roberta(tokenizer: PreTrainedTokenizerBase) -> RobertaForMaskedLM:
    return RobertaForMaskedLM(RobertaConfig(**sizes(tokenizer, bos_token_id=0, eos_token_id=2)))


def distilbert(tokenizer: PreTrainedTokenizerBase) -> DistilBertForMaskedLM:
    names = {"dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2}
    return DistilBertForMaskedLM(
        DistilBertConfig(
            vocab_size=len(tokenizer) + SPARE,
            max_position_embeddings=POSITIONS,
            pad_token_id=tokenizer.pad_token_id,
            **names,
        )
    )


def albert(tokenizer: PreTrainedTokenizerBase) -> AlbertForMaskedLM:
    return AlbertForMaskedLM(AlbertConfig(**sizes(tokenizer, embedding_size=8)))


def electra(tokenizer: PreTrainedTokenizerBase) -> ElectraForMaskedLM:
    return ElectraForMaskedLM(ElectraConfig(**sizes(tokenizer, embedding_size=8)))


def deberta(tokenizer: PreTrainedTokenizerBase, *, legacy: bool) -> DebertaV2ForMaskedLM:
    attention = {
        "relative_attention": True,
        "position_buckets": 4,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
    }
    return DebertaV2ForMaskedLM(
        DebertaV2Config(**sizes(tokenizer, legacy=legacy, type_vocab_size=0, **attention)),
    )


def modernbert(tokenizer: PreTrainedTokenizerBase) -> ModernBertForMaskedLM:
    ids = {"bos": 0, "cls": 0, "eos": 2, "sep": 2}
    return ModernBertForMaskedLM(
        ModernBertConfig(
            **sizes(
                tokenizer, local_attention=8, attn_implementation="sdpa", **{f"{k}_token_id": v for k, v in ids.items()}
            )
        )
    )


CLASSES: dict[str, Callable[[], tuple[PreTrainedModel, PreTrainedTokenizerFast]]] = {
    "bert": lambda: (bert(wordpiece()), wordpiece()),
    "roberta": lambda: (roberta(byte_level()), byte_level()),
    "distilbert": lambda: (distilbert(wordpiece()), wordpiece()),
    "albert": lambda: (albert(wordpiece()), wordpiece()),
    "electra": lambda: (electra(wordpiece()), wordpiece()),
    "deberta legacy head": lambda: (deberta(wordpiece(), legacy=True), wordpiece()),
    "deberta own head": lambda: (deberta(wordpiece(), legacy=False), wordpiece()),
    "modernbert": lambda: (modernbert(byte_level()), byte_level()),
}


def build(name: str, *, scale: float = 25.0) -> MaskedLM:
    """A model of ``CLASSES`` with weights ``scale`` times the usual, so that its conditionals are far from flat."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model, tokenizer = CLASSES[name]()
    return MaskedLM(enlarged(model, scale), tokenizer)


def words_lm(words: Sequence[str], *, table: int = 0, seed: int = 0, scale: float = 25.0) -> MaskedLM:
    """A BERT whose only proposable tokens are ``words``; with ``table`` a ``TableLM`` for texts of that width."""
    tokenizer = word_level(words)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = enlarged(bert(tokenizer, num_hidden_layers=1), scale)
    return TableLM(model, tokenizer, table) if table else MaskedLM(model, tokenizer)


class TableLM(MaskedLM):
    """A model that looks up masked texts it has seen before, so that a step of many chains costs next to nothing."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, width: int) -> None:
        super().__init__(model, tokenizer, tokens_per_pass=10**9)
        self.places = self.space.vocabulary ** torch.arange(width)
        self.known = torch.zeros(self.space.vocabulary**width, dtype=torch.bool)
        self.table = torch.full((len(self.known), width, self.space.vocabulary), torch.nan)

    def logits(self, x: Tensor, hidden: Tensor) -> Tensor:
        x = x.masked_fill(hidden, self.mask_id)
        codes = (x * self.places).sum(dim=1)
        for row in (~self.known[codes]).nonzero().squeeze(1).tolist():
            if not self.known[codes[row]]:
                masks = x[row] == self.mask_id
                self.table[codes[row], masks] = super().logits(x[row : row + 1], masks.unsqueeze(0))
                self.known[codes[row]] = True
        rows, columns = hidden.nonzero(as_tuple=True)
        return self.table[codes[rows], columns]


def enlarged(model: PreTrainedModel, scale: float) -> PreTrainedModel:
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 or name.endswith("decoder.bias"):
                weight.mul_(scale)
    return model


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def pairs(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The same with two texts side by side, ``[CLS] a [SEP] b [SEP]``, the second of token type 1."""
    both = tokenizer.backend_tokenizer
    both.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return bert_like(both, frame=False)
