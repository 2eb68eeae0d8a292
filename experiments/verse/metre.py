"""Metre of Chinese verse: how many places break the form, the tones, the rhyme. Each is an energy of texts.

    mcmc-text keywords 明月 --lang zh --length 12 --energy experiments.verse.metre:tones
    mcmc-text score couplets.txt --lang zh --energy experiments.verse.metre:rhyme

They need pypinyin: pip install "mcmc-text[chinese]". Pronunciation is that of today, tones by its rule: the first and
second are level, the third and fourth oblique.
"""

# ruff: noqa: RUF001  (full-width marks are Chinese)
from __future__ import annotations

import re

__all__ = ["check_sounds", "form", "rhyme", "tones"]

LINE = re.compile(r"[^，。？！；、\s]+")

GLIDE = re.compile("^[iuv](?=[ao]|e[inu])")  # before the vowel: guang rhymes with tang


def form(texts: list[str]) -> list[float]:
    """A nat for each character too many or too few: lines of five, or of seven, in pairs, of nothing but characters."""
    return [float(min(_misfits(LINE.findall(text), size) for size in (5, 7))) for text in texts]


def tones(texts: list[str]) -> list[float]:
    """A nat for each tone out of place.

    The second, fourth and sixth characters of a line alternate between level and oblique; those of the line that
    answers it are the opposite, and it ends level.
    """
    return [float(sum(_out_of_place(*pair) for pair in _pairs(LINE.findall(text)))) for text in texts]


def rhyme(texts: list[str]) -> list[float]:
    """A nat for each line that does not rhyme with the second, of the even ones and of a first that ends level."""
    return [float(_unrhymed(LINE.findall(text))) for text in texts]


def check_sounds() -> None:
    """Raise ``InvalidInput`` where pypinyin is not installed."""
    try:
        import pypinyin  # noqa: F401
    except ImportError as error:
        from samplers import InvalidInput

        raise InvalidInput("the metre of Chinese needs pypinyin: pip install 'mcmc-text[chinese]'") from error


def _misfits(lines: list[str], size: int) -> int:
    strange = sum(not "\u3400" <= character <= "\u9fff" for line in lines for character in line)
    return strange + sum(abs(len(line) - size) for line in lines) + size * (len(lines) % 2 or not lines)


def _pairs(lines: list[str]) -> list[tuple[list[bool], list[bool]]]:
    """Whether each character is level, of every two lines."""
    level = [[is_level for _, is_level in _sounds(line)] for line in lines]
    return list(zip(level[::2], level[1::2], strict=False))


def _out_of_place(first: list[bool], second: list[bool]) -> int:
    turning = sum(line[place] == line[place + 2] for line in (first, second) for place in range(1, len(line) - 2, 2))
    answering = sum(first[place] == second[place] for place in range(1, min(len(first), len(second)) - 1, 2))
    return turning + answering + (not second[-1])


def _unrhymed(lines: list[str]) -> int:
    ends = [_sounds(line)[-1] for line in lines]
    if len(ends) < 2:
        return 0
    wanted, _ = ends[1]
    first = int(ends[0][1] and ends[0][0] != wanted)
    return first + sum(sound != wanted for sound, _ in ends[3::2])


def _sounds(line: str) -> list[tuple[str, bool]]:
    """What each character rhymes by, and whether it is level; what is no Chinese sounds like itself."""
    from pypinyin import Style, lazy_pinyin

    finals, tones = (
        lazy_pinyin(line, style=style, errors=list, neutral_tone_with_five=True)  # type: ignore[arg-type]
        for style in (Style.FINALS, Style.TONE3)
    )
    return [(GLIDE.sub("", final), tone[-1] in "12") for final, tone in zip(finals, tones, strict=True)]
