"""Languages that the embedded models know, and remarks on texts that look like another.

A text in a language that a model was not trained on is taken like any other, and what comes of it is worthless. It
shows in what the models themselves make of the text. The limits below are for the embedded models, whose cards list
their languages; what other models know is not known here, and nothing is said of them.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.declaration.wording import argument, remark

if TYPE_CHECKING:
    from lm_adapters import LanguageModel, RemoteLM, Seq2SeqLM

__all__ = ["in_words", "languages_of", "remark_on_language", "remark_on_source", "remark_on_spelling"]

NAMES = {"en": "English", "fr": "French", "de": "German", "zh": "Chinese"}

# Measured on 300 sentences of Tatoeba each, the English ones held out. Nats a token: under causal-en 7 and more have no
# English sentence, all French, 98.6 % of the German ones; under masked-en, by its pseudo-likelihood, 5.6 and more none,
# all, 99 %. Chinese ones are in pieces of characters, which do not count here: they are remarked on as such. Texts that
# hold given words tell nothing of the words, so of words only the spelling is judged.
STRANGE = {"causal": 7.0, "masked": 5.6}
# Under masked-en less than 5.5 have all of the English sentences, no French, under 1 % of the German ones.
ENGLISH = 5.5
# A source has too many pieces a character in none of 120 French sentences of 42 characters or more and 6 % of 240
# shorter ones, in 99 % and 88 % of as many German ones; nats a token of the model's own translation tell Chinese.
# Of German sentences 1 in 1,000 has 0.7 pieces a character, of Chinese ones all.
PIECES = {"fr": 0.4, "de": 0.7}
UNSURE = 0.05
SHORTEST, SENTENCE = 4, 6  # tokens of a text that is judged, and of one that is said to be English
WORDS = re.compile(r"[^\W\d_]+")
FEWEST_WORDS = 3  # of a text that is judged: "2 + 2 = 4" and "R & B" are strange in any language
MOST = 8  # texts judged
OTHER = "for another language give {} and {} that know it"
CHINESE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")


def in_words(codes: Sequence[str]) -> str:
    """``English and French``; a code that has no name here stays a code."""
    *names, last = [NAMES.get(code, code) for code in codes]
    return f"{', '.join(names)} and {last}" if names else last


def remark_on_language(name: str, texts: Sequence[str], *models: LanguageModel | RemoteLM) -> None:
    """Say so if ``texts``, given or made from what was given as ``name``, look like a language that a model lacks.

    The first of ``models`` that is an embedded one judges, by the median of the texts; one of Chinese by whether there
    are Chinese characters.
    """
    judge = next((lm for lm in models if lm.model and lm.task in STRANGE and languages_of(lm)), None)
    if judge is not None and languages_of(judge) == ["zh"]:
        if WORDS.search("".join(texts)) and not CHINESE.search("".join(texts)):
            remark(f"{_name(judge)} knows Chinese and finds no Chinese character in {argument(name)}; {_others(texts)}")
        return
    nats = [] if judge is None else [nats for text in texts[:MOST] if (nats := _nats_a_token(judge, text)) is not None]
    if judge is None or not nats or statistics.median(nats) < STRANGE[judge.task]:
        return
    usual = f"where its own language has less than {STRANGE[judge.task]:g}"
    remark(
        f"{_name(judge)} knows {in_words(languages_of(judge))} and finds {argument(name)} strange "
        f"({statistics.median(nats):.1f} nats a token, {usual}); {_others(texts)}"
    )


def remark_on_spelling(words: Sequence[str], lm: LanguageModel) -> None:
    """Say so if an embedded model has only pieces of characters for a word."""
    known = languages_of(lm)
    pieces = [repr(word) for word in words if known and _is_in_pieces(word, lm)]
    if pieces:
        remark(
            f"{_name(lm)} knows {in_words(known)} and spells {', '.join(pieces)} in pieces of characters; "
            f"{_others(words)}"
        )


def remark_on_source(
    model: Seq2SeqLM, pair: tuple[str, str] | None, text: str, nats_a_token: float, lm: LanguageModel
) -> None:
    """Say so if the ``text`` to translate is in another language than ``pair`` has.

    ``nats_a_token`` is what the model says of its own translation; ``lm``, where it is an embedded model of English,
    tells English.
    """
    if pair is None or not languages_of(model):
        return
    if pair[0] == "en" and CHINESE.search(text):
        remark(f"{_name(model)} reads English, and {argument('text')} holds Chinese characters; give English")
    if pair[0] not in PIECES:
        return
    tokens = model.source_space.encode([text]).shape[1]
    if tokens < SHORTEST:
        return
    english = _nats_a_token(lm, text) if languages_of(lm) == ["en"] else None
    if tokens / len(text) >= PIECES[pair[0]] and nats_a_token >= UNSURE:
        why = f"which it finds strange ({tokens} pieces for {len(text)} characters)"
    elif english is not None and english < ENGLISH and tokens >= SENTENCE:
        why = "which looks like English"
    else:
        return
    others = [source for source, _ in model.translations if source != pair[0]]
    known = f"{in_words(others)} with {argument('source_lang')} {others[0]}, another" if others else "another"
    remark(
        f"{_name(model)} reads {in_words(pair[:1])}, and not {argument('text')}, {why}; for {known} language give "
        f"{argument('scorer')} that knows it"
    )


def _others(texts: Sequence[str]) -> str:
    """What to do about texts in another language than the models know."""
    if CHINESE.search("".join(texts)):
        return f"for Chinese give {argument('lang')} zh"
    return OTHER.format(argument("model"), argument("scorer"))


def _is_in_pieces(word: str, lm: LanguageModel) -> bool:
    x = lm.space.encode([word])
    return not lm.space.decode(x[:, ~lm.space.fixed(x)[0]])[0].strip()


def languages_of(lm: LanguageModel) -> list[str]:
    """Codes, by the card of an embedded model; empty for any other."""
    from lm_adapters.pretrained import known_languages

    return known_languages(lm.model.config.name_or_path or "")


def _name(lm: LanguageModel) -> str:
    return Path(lm.model.config.name_or_path or "").name


def _nats_a_token(lm: LanguageModel, text: str) -> float | None:
    """Of the text and its end under a causal model, of each token given all others under a masked one.

    Without tokens that are no text by themselves. ``None`` for a text that the model cannot take, or that is too short
    to judge.
    """
    import torch

    from lm_adapters import CausalLM, MaskedEnergy, MaskedLM, SequenceEnergy
    from samplers import InvalidInput

    if len(WORDS.findall(text)) < FEWEST_WORDS:
        return None
    try:
        x = lm.space.encode([text.strip()]).to(lm.device)
    except InvalidInput:
        return None
    kept = ~lm.space.fixed(x)[0]
    if int(kept.sum()) < SHORTEST or len(kept) > lm.max_length:
        return None
    with torch.inference_mode():
        if isinstance(lm, CausalLM):
            terms = SequenceEnergy(lm.condition_on()).token_terms(x)[0]
            return float((terms[:-1][kept].sum() + terms[-1]) / (kept.sum() + 1))
        return float(MaskedEnergy(lm, "pll").site_terms(x)[0][kept].mean()) if isinstance(lm, MaskedLM) else None
