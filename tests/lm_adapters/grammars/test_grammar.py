"""What patterns, grammars and schemas mean, and what is said of those that cannot be read or match nothing."""

from __future__ import annotations

import json

import pytest

from lm_adapters import Grammar, NextTokens, check_possible
from samplers import InvalidInput
from tests.lm_adapters.grammars.enumerated import lm

PERSON = {
    "type": "object",
    "properties": {"name": {"enum": ["Tom", "Ann"]}, "age": {"type": "integer", "minimum": 1, "maximum": 12}},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("grammar", "whole", "others"),
    [
        (Grammar.pattern(r"^I (like|hate) [a-zé]+\.$"), ["I like thé.", "I hate x."], ["I like x", "So I like x.", ""]),
        (Grammar.pattern("a/b|c\\d"), ["a/b", "c7"], ["a", "c", "a/bc7"]),
        (Grammar.lark('start: "(" start ")" | "x"'), ["x", "((x))"], ["(x", "x)", "(xx)"]),
        (
            Grammar.json_schema(PERSON),
            ['{"name": "Tom"}', '{"name":"Ann","age": 12}'],
            ['{"age": 1}', '{"name": "Tom", "age": 13}', '{"age": 1, "name": "Tom"}', '{ "name": "Tom"}', '{"name": '],
        ),
        (Grammar.json_schema(json.dumps({**PERSON, "x-guidance": {}})), ['{ "name" :\n"Tom" }'], ['{"name": "To"}']),
    ],
)
def test_whole_texts_match_and_others_do_not(grammar: Grammar, whole: list[str], others: list[str]):
    automaton = grammar.automaton([])
    assert all(automaton.is_match(text.encode()) for text in whole)
    assert not any(automaton.is_match(text.encode()) for text in others)


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        (Grammar.pattern, "", "the pattern is empty; give a regular expression"),
        (Grammar.pattern, "x(ab", r"'x\(ab' cannot be read: unclosed group \(character 2 of 'x\(ab'\); mend it"),
        (Grammar.pattern, "a(?=b)", r"look-around, .* is not supported \(character 2 of "),
        (Grammar.pattern, r"[^\s\S]", r"no text matches the pattern '\[\^.*'; change it"),
        (Grammar.lark, "start: a\na: (", r"cannot be read: .* \(line 2, column \d+\); mend it"),
        (Grammar.lark, 'start: "a" b', r'unknown name: "b" \(line 1, column 8\); mend it'),
        (Grammar.lark, "hello: 1", "cannot be read: "),
        (Grammar.lark, 'start: start "a"', "no text matches the grammar a grammar; change it"),
        (Grammar.json_schema, "{", r"the JSON schema a schema is no JSON \(.*line 1 column 2.*\); mend it"),
        (Grammar.json_schema, "[1]", "is neither an object nor true or false; mend it"),
        (Grammar.json_schema, {"type": "strin"}, "cannot be read: Invalid type: strin; mend it"),
        (Grammar.json_schema, {"uniqueItems": True, "type": "array"}, "cannot be read: Unimplemented keys"),
        (Grammar.json_schema, False, r"allows no text \(schema is false\); change it"),
        (Grammar.json_schema, {"type": "string", "minLength": 3, "maxLength": 2}, r"allows no text \(minLength"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(make, given, message: str):
    with pytest.raises(InvalidInput, match=message) as found:
        make(given)
    assert "\n" not in str(found.value)


def test_files(tmp_path):
    file = tmp_path / "one.lark"
    with pytest.raises(InvalidInput, match=r"the grammar '.*one.lark' cannot be read \(No such file or directory\)"):
        Grammar.read(file, "grammar")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match=r"cannot be read \(no UTF-8 text\); give a UTF-8 file"):
        Grammar.read(file, "grammar")
    file.write_text('start: "é"', encoding="utf-8")
    assert Grammar.read(file, "grammar").clause == "of the grammar 'one.lark'"
    file.write_text("{]", encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"the JSON schema 'one.lark' is no JSON"):
        Grammar.read(file, "JSON schema")


def test_a_run_knows_another_grammar():
    one, other = Grammar.pattern("a|b").config(), Grammar.pattern("a|c").config()
    assert one != other
    assert one == Grammar.pattern("a|b").config()


@pytest.mark.parametrize(
    ("grammar", "lengths", "possible"),
    [
        (Grammar.pattern("b{5}"), (1, 4), False),  # no token is "bb"
        (Grammar.pattern("b{5}"), (5, 6), True),
        (Grammar.pattern("(ab){5}"), (1, 4), False),
        (Grammar.pattern("(ab){5}"), (1, 5), True),
        (Grammar.pattern("(ab){2}"), (5, 9), True),  # the space before it is a token
        (Grammar.pattern("(ab){2}"), (6, 9), False),
        (Grammar.pattern("c+"), (1, 20), False),
        (Grammar.pattern(r"[ab]\.?"), (1, 1), True),
        (Grammar.lark('start: pair\npair: "a" pair "b" | "ab"'), (1, 9), True),
        (Grammar.lark('start: "b"~5 | "b"~6'), (1, 4), False),
        (Grammar.json_schema({"enum": [1]}), (1, 9), False),
    ],
)
def test_what_no_text_of_the_length_matches_is_found_out(grammar: Grammar, lengths: tuple[int, int], possible: bool):
    following = NextTokens(lm().space, grammar)
    if possible:
        check_possible(following, *lengths)
    else:
        with pytest.raises(InvalidInput, match=f"no text of {lengths[0]}.* tokens matches the .*; change one of the"):
            check_possible(following, *lengths)
