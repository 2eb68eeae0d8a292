"""Corpus files, held-out rule and shared tokenizer of the embedded Chinese models.

``tang-couplets.zho.txt.gz`` has a couplet a row, ``tatoeba.eng-cmn.tsv.gz`` English sentences with their Mandarin
translations. Traditional characters are made simplified (OpenCC), in both. The last ``HELD_OUT`` rows of each are
never trained on, nor is any pair whose English is held out.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.training.data import EOS, HELD_OUT, Pair, read_rows, translation_split

if TYPE_CHECKING:
    from opencc import OpenCC
    from transformers import PreTrainedTokenizerFast

__all__ = [
    "character_tokenizer",
    "chinese_tokenizer",
    "couplets_split",
    "lines_of",
    "mandarin_paraphrases",
    "mandarin_split",
    "simplified",
]

SPECIAL = ["<pad>", "<s>", EOS, "<unk>", "<mask>", *(f"<extra_{i}>" for i in range(27))]
COMMA = "\uff0c"  # full-width
RAREST = 3  # times a character stands in the training rows; rarer ones are written by their bytes


def couplets_split(corpus: Path) -> tuple[list[str], list[str]]:
    """Training and held-out couplets of Tang poems."""
    rows = simplified(read_rows(corpus, "tang-couplets.zho.txt.gz"))
    held_out = rows[-HELD_OUT:]
    hidden = set(held_out)
    return [row for row in rows[:-HELD_OUT] if row not in hidden], held_out


def mandarin_split(corpus: Path) -> tuple[list[Pair], list[Pair]]:
    """Pairs, Mandarin and English, to train on, and those whose English is a held-out sentence."""
    training, held_out = (
        list(zip(simplified([pair[0] for pair in pairs]), (pair[1] for pair in pairs), strict=True))
        for pairs in translation_split(corpus, "cmn")
    )
    hidden = {mandarin for mandarin, _ in held_out}
    return [pair for pair in training if pair[0] not in hidden], held_out


def lines_of(couplets: Iterable[str]) -> list[Pair]:
    """First and second line of each couplet that has a comma between them and nowhere else."""
    halves = (row.partition(COMMA) for row in couplets)
    return [(first + comma, second) for first, comma, second in halves if comma and COMMA not in second]


def mandarin_paraphrases(pairs: Iterable[Pair]) -> list[Pair]:
    """Mandarin sentences that translate the same English one, each to each other."""
    same: dict[str, dict[str, None]] = {}
    for mandarin, english in pairs:
        same.setdefault(english, {})[mandarin] = None
    return [pair for sentences in same.values() for pair in permutations(sentences, 2)]


def simplified(texts: Sequence[str]) -> list[str]:
    """The texts with simplified characters for traditional ones.

    Raises ``InvalidInput`` where OpenCC is not installed.
    """
    convert = _converter()
    return [convert.convert(text) for text in texts]


@cache
def _converter() -> OpenCC:
    try:
        from opencc import OpenCC
    except ImportError as error:
        from samplers import InvalidInput

        raise InvalidInput("Chinese training needs OpenCC: pip install 'mcmc-text[chinese]'") from error
    return OpenCC("t2s")


def chinese_tokenizer(corpus: Path) -> PreTrainedTokenizerFast:
    """That of the training rows: all embedded Chinese models share its tokens."""
    return character_tokenizer([*couplets_split(corpus)[0], *(pair[0] for pair in mandarin_split(corpus)[0])])


def character_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A token for each character of ASCII and for those that ``texts`` hold ``RAREST`` times or more.

    Of any other character a token for each byte, so that every text has tokens and comes back as it was. A text is
    framed ``<s> text </s>``.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    counts = Counter(character for text in texts for character in text)
    common = [character for character, count in counts.most_common() if count >= RAREST]
    ascii_characters = [character for character in string.printable if character.isprintable()]
    tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *dict.fromkeys([*ascii_characters, *common])]
    tokenizer = Tokenizer(
        models.BPE({token: i for i, token in enumerate(tokens)}, merges=[], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"<s> $A {EOS}", pair=f"<s> $A {EOS} $B {EOS}", special_tokens=[("<s>", 1), (EOS, 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token=EOS,
        unk_token="<unk>",
        mask_token="<mask>",
        cls_token="<s>",
        sep_token=EOS,
        additional_special_tokens=SPECIAL[5:],
        model_max_length=128,
        clean_up_tokenization_spaces=False,
    )
