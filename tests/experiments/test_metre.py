"""The metre of Chinese verse as energies."""

# ruff: noqa: RUF001  (full-width marks are Chinese)
from __future__ import annotations

import pytest

pytest.importorskip("pypinyin")
from experiments.verse.metre import form, rhyme, tones

WHOLE = ["白日依山尽，黄河入海流。", "国破山河在，城春草木深。", "两个黄鹂鸣翠柳，一行白鹭上青天。"]


def test_what_is_in_metre_costs_nothing():
    assert form(WHOLE) == tones(WHOLE) == rhyme(WHOLE) == [0.0] * 3


def test_what_is_not_costs_a_nat_a_place():
    assert form(["白日依山尽，黄河入流。", "白日依山尽。", "Tom来了，我走。", ""]) == [1.0, 5.0, 6.0, 5.0]
    # 水 in place of 山: no longer the opposite of 日, nor of 海 below.
    assert tones(["白日依水尽，黄河入海流。", "白日依山尽，黄河入海水。"]) == [2.0, 1.0]
    poem = "床前明月光，疑是地上霜。举头望明月，低头思故"
    assert rhyme([f"{poem}乡。", f"{poem}人。", "春风，明月。"]) == [0.0, 1.0, 1.0]
