"""``--pattern``, ``--grammar`` and ``--json-schema``: the law they make, and what is refused."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

from experiments.cli import main
from experiments.continuing.power import power
from experiments.infill import infill
from experiments.keywords import keywords
from samplers import InvalidInput
from tests.lm_adapters.grammars.enumerated import LONGEST, lm, space

PATTERN = "a(ab)+|b{2,5}a?|a b* ?"
SAMPLERS = {
    "mh": {"steps": 6},
    "csmc": {"steps": 6, "particles": 3, "block": 2},
    "smc": {"particles": 300, "populations": 2, "block": 2, "moves": 1},
}
SHORT = {"chains": 2, "steps": 8, "warmup": 4}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_power_draws_texts_that_match_and_says_so(sampler: str):
    found = power("ab", model=lm(), sampler=sampler, length=(1, LONGEST), alpha=2.0, chains=4, pattern=PATTERN,
                  **SAMPLERS[sampler])  # fmt: skip
    assert found.target.endswith(f"over token sequences of length 1 to 4 that match {PATTERN!r}, cut off at 4")
    assert all(re.fullmatch(PATTERN, each["text"].removeprefix(" ")) for each in found.samples())
    if sampler == "smc":
        exact = float((-space("pattern", 2.0).energies).logsumexp(dim=0))
        assert found.summary()["log_z"] == pytest.approx(exact, abs=0.2)


def test_keywords_and_infill_draw_texts_that_match(tmp_path):
    found = keywords(["dog"], pattern=r"(The|My) [a-z ]+\.", **SHORT)
    assert "that hold 'dog'" in found.target
    assert all(re.fullmatch(r"(The|My) [a-z ]+\.", each["text"]) for each in found.samples())
    file = tmp_path / "pets.lark"
    file.write_text('start: "The " PET /( [a-z]+)+/ "."\nPET: "dog" | "cat"')
    found = infill("The [MASK] sat on the [MASK:1-2].", grammar=str(file), **SHORT)
    assert found.target.count("of the grammar 'pets.lark'") == 1
    assert all(each["text"].startswith(("The dog sat", "The cat sat")) for each in found.samples())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["keywords", "dog", "--pattern", "(ab"], "--pattern: the pattern '(ab' cannot be read: unclosed group"),
        (["infill", "A [MASK].", "--grammar", "{}.lark"], "--grammar: the grammar '"),
        (["power", "So", "--json-schema", "{}"], "--json-schema: the JSON schema '"),
        (
            ["power", "So", "--pattern", "a", "--grammar", "b"],
            "--pattern and --grammar are given; leave all but one out",
        ),
        (["power", "So", "--pattern", "[0-9]{90}", "--length", "1:9"], "no text of 1 to 9 tokens matches the pattern"),
    ],
)
def test_bad_input_ends_with_one_line(arguments, message, tmp_path):
    given = [each.format(tmp_path / "no") for each in arguments] if "{}" in " ".join(arguments) else arguments
    found = CliRunner().invoke(main, [*given, "--out", str(tmp_path / "out")])
    assert found.exit_code == 2
    assert message in found.output
    assert len(found.output.strip().splitlines()) == 1


def test_a_schema_without_any_text_is_refused_before_a_model_is_loaded(tmp_path):
    file = tmp_path / "none.json"
    file.write_text(json.dumps({"type": "string", "minLength": 3, "maxLength": 2}))
    with pytest.raises(InvalidInput, match=r"json_schema: the JSON schema 'none.json' allows no text"):
        power("So", model="no-such-model", json_schema=str(file))
