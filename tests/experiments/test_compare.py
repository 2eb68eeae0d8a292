"""Six samplers on one task, a row each."""

from __future__ import annotations

from experiments.compare import COLUMNS, compare, row
from experiments.keywords import SAMPLERS
from experiments.results.figures import RATE, number
from tests.experiments.tiny_scorers import tiny_causal


def test_every_sampler_has_its_row_and_its_folder(embedded, tmp_path):
    scorer = tiny_causal(embedded.space.tokenizer)
    found = compare(
        ["music"], model=embedded, scorer=scorer, chains=2, steps=5, warmup=1, thin=1, length=(2, 5),
        out=str(tmp_path / "out"),
    )  # fmt: skip
    assert tuple(found) == SAMPLERS
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == set(SAMPLERS)
    lines = [row(sampler, summary) for sampler, summary in found.items()]
    assert all(len(line.split("  ")) >= len(COLUMNS) and len(line) <= 94 for line in lines)
    assert all(summary["cost"]["tokens"] > 0 for summary in found.values())


def test_the_command_refuses_what_keywords_refuses(mcmc_text):
    result = mcmc_text("compare", "music", "--warmup", 500)
    assert result.exit_code == 2
    assert "--warmup is 500 of 300" in result.stderr


def test_a_rate_is_no_power_of_ten():
    found = [number(value, RATE) for value in (float("nan"), 0.0316, 9.996, 999.4, 999.5, 1391.2, 25_490)]
    assert found == ["-", "0.0316", "10", "999", "1,000", "1,391", "25,490"]
