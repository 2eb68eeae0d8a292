"""Corpus files, held-out rule, shared tokenizer and batches for the embedded models.

The corpus folder holds gzip files named ``tatoeba.*``. The last ``HELD_OUT`` rows of each are never trained on,
and an English sentence held out in ``tatoeba.eng.txt.gz`` is dropped from every training set.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

HELD_OUT = 10_000
VOCABULARY = 8_192
PAD, BOS, EOS, UNK, MASK = "<pad>", "<s>", "</s>", "<unk>", "<mask>"
SPARES = [f"<extra_{i}>" for i in range(27)]  # task prefixes and span sentinels of models that share the vocabulary


def read_rows(corpus: Path, name: str) -> list[str]:
    with gzip.open(corpus / name, "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n") for line in lines]


def english_split(corpus: Path) -> tuple[list[str], list[str]]:
    """Training and held-out English sentences."""
    rows = read_rows(corpus, "tatoeba.eng.txt.gz")
    held_out = rows[-HELD_OUT:]
    hidden = set(held_out)
    return [row for row in rows[:-HELD_OUT] if row not in hidden], held_out


def french_training_rows(corpus: Path) -> list[str]:
    return [row.split("\t")[1] for row in read_rows(corpus, "tatoeba.eng-fra.tsv.gz")[:-HELD_OUT]]


def train_tokenizer(corpus: Path) -> PreTrainedTokenizerFast:
    """Cased byte-level BPE on English and French training rows.

    A space is prepended to every text and taken off again when decoding, so a word has one spelling in tokens wherever
    it stands: inserting before the first word does not respell it.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    specials = [PAD, BOS, EOS, UNK, MASK, *SPARES]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    english, _ = english_split(corpus)
    tokenizer.train_from_iterator(english + french_training_rows(corpus), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {EOS}",
        pair=f"{BOS} $A {EOS} $B {EOS}",
        special_tokens=[(BOS, specials.index(BOS)), (EOS, specials.index(EOS))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        cls_token=BOS,
        sep_token=EOS,
        unk_token=UNK,
        mask_token=MASK,
        additional_special_tokens=SPARES,
        clean_up_tokenization_spaces=False,
        model_max_length=128,
    )


def by_length(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], limit: int) -> dict[int, torch.Tensor]:
    """Texts of at most ``limit`` tokens as one ``int64 [rows, length]`` tensor per length, special tokens included."""
    groups: dict[int, list[list[int]]] = {}
    for ids in tokenizer(list(texts))["input_ids"]:
        if len(ids) <= limit:
            groups.setdefault(len(ids), []).append(ids)
    return {length: torch.tensor(rows) for length, rows in sorted(groups.items())}


def batches(
    groups: dict[int, torch.Tensor], tokens: int, seed: int, first_step: int
) -> Iterator[tuple[int, torch.Tensor]]:
    """Endless ``(step, int64 [rows, length])``, about ``tokens`` tokens each and never any padding.

    Every epoch is shuffled by ``(seed, epoch)`` alone, so a resumed run reads the rows it would have read.
    """
    step = epoch = 0
    while True:
        rng = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        cuts = []
        for rows in groups.values():
            order = torch.randperm(len(rows), generator=rng)
            cuts += [rows[part] for part in order.split(max(1, tokens // rows.shape[1]))]
        for index in torch.randperm(len(cuts), generator=rng).tolist():
            if step >= first_step:
                yield step, cuts[index]
            step += 1
        epoch += 1
