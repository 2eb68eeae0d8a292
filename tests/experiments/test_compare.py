"""Six samplers on one task, a row each."""

from __future__ import annotations

from experiments.compare import COLUMNS, compare, row
from experiments.keywords import SAMPLERS
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
