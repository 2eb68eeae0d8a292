"""A run's folder read by other tools: shown for pipes, side by side with others, as plots, Parquet and netCDF."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from experiments import load_run
from experiments.declaration.options import given_options
from experiments.entry.diff_command import _lines, diff
from experiments.entry.diff_command import command as diff_command
from experiments.entry.experiment import experiment_of
from experiments.entry.open_run import opened
from experiments.entry.report import report
from experiments.entry.show_command import command as show_command
from experiments.entry.show_command import samples_of
from experiments.gibbs import gibbs
from experiments.keywords import keywords
from experiments.pages.comparison import comparison_page
from experiments.results.columns import columns
from experiments.results.safe_text import json_line
from samplers import InvalidInput, RunStore
from tests.experiments.test_page import Reader
from tests.experiments.tiny_scorers import tiny_causal
from tests.lm_adapters.tiny import byte_level, save, sizes

QUICK = {"chains": 4, "steps": 30, "warmup": 4, "thin": 1, "length": (3, 5)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A finished run, the same of another seed, and a search."""
    from transformers import RobertaConfig, RobertaForMaskedLM

    root, tokenizer = tmp_path_factory.mktemp("runs"), byte_level()
    masked = RobertaForMaskedLM(RobertaConfig(**sizes(tokenizer, max_position_embeddings=80, num_hidden_layers=1)))
    save(masked, tokenizer, root / "masked")
    save(tiny_causal(tokenizer).model, tokenizer, root / "causal")
    models = {"model": str(root / "masked")}
    for seed in (0, 1):
        gibbs(**models, **QUICK, seed=seed, out=str(root / f"seed-{seed}"))
    keywords(
        ["sea"], sampler="anneal", scorer=str(root / "causal"), out=str(root / "search"), **models,
        **{**QUICK, "length": (2, 5)},
    )  # fmt: skip
    return root


def test_show_prints_what_the_samples_are(folders):
    folder = folders / "seed-0"
    lines = (folder / "samples.jsonl").read_text("utf-8").splitlines()
    before = {
        path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name not in ("lock", "owner.json")
    }
    shown = CliRunner().invoke(show_command, [str(folder), "--json"])
    assert shown.stdout.splitlines() == lines
    texts = CliRunner().invoke(show_command, [str(folder)]).stdout.splitlines()
    assert len(texts) == len(lines) == 4 * 26
    best = samples_of(folder, best=3, distinct=True)
    energies = sorted({sample["text"]: sample["energy"] for sample in load_run(folder).samples()}.values())
    assert [sample["energy"] for sample in best] == energies[:3]
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name in before} == before


def test_a_run_that_goes_on_is_read_beside_it(folders, tmp_path, stop_after):
    from samplers import Interrupted

    stop_after(9)
    with pytest.raises(Interrupted):
        gibbs(model=str(folders / "masked"), **QUICK, commit_every=2, out=str(tmp_path / "run"))
    before = (tmp_path / "run" / "summary.json").read_bytes()
    with RunStore(tmp_path / "run"):  # as the process that goes on holds it
        found = report(tmp_path / "run").summary()
        assert samples_of(tmp_path / "run") == list(load_run(tmp_path / "run").samples())
    assert found["progress"].startswith("still running, so far ")
    assert (tmp_path / "run" / "summary.json").read_bytes() == before
    assert found["progress"] in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_the_command_repeats_the_run(folders):
    with opened(folders / "seed-1") as found:
        masked = folders / "masked"
        assert (
            found.repeat == f"mcmc-text gibbs --length 3:5 --model {masked} --chains 4 --steps 30 --warmup 4 --seed 1"
        )
        page = (folders / "seed-1" / "report.html").read_text("utf-8")
        assert found.repeat in re.sub("<[^>]+>", "", page)
    with opened(folders / "search") as found:
        assert str(found.repeat).startswith("mcmc-text keywords sea --sampler anneal --scorer ")


@pytest.mark.parametrize(
    "words",
    [
        "keywords music night",
        "keywords sea --sampler anneal --length 2:5 --steps 60",
        "keywords sea --warmup 3 --thin 2 --temperature 0.5 --shard-size 8",
        "keywords sea --model masked-zh",
        "gibbs --model masked-zh --chains 2",
        "keywords sea --model masked-zh --lang en",
        "gibbs --lang zh",
        "gibbs --scorer causal-en --lang zh",
        "gibbs --steps 600 --seed 3 --any-words",
    ],
)
def test_the_command_is_the_shortest(words: str):
    name, *options = words.split()
    declared = experiment_of({"gibbs": gibbs, "keywords": keywords}[name])
    assert declared is not None
    context = declared.command().make_context(name, options)
    known = {each.name for each in declared.arguments}
    given = {option: value for option, value in given_options(context, context.params).items() if option in known}
    assert declared.how_to_repeat(declared.prepare(given).config) == f"mcmc-text {words}"


def test_plots_and_tables_are_files(folders):
    pytest.importorskip("matplotlib")
    netcdf, pandas = pytest.importorskip("h5netcdf"), pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    assert netcdf
    report(folders / "seed-0", formats=["png", "csv", "parquet", "netcdf"])
    report(folders / "search", formats=["csv"])
    made = {path.name for path in (folders / "seed-0" / "plots").iterdir()}
    assert {"energy.png", "energy.csv", "ranks.png", "means.csv", "autocorrelation.png", "moves.png"} <= made
    assert (folders / "seed-0" / "plots" / "energy.png").read_bytes()[:4] == b"\x89PNG"
    frame = pandas.read_parquet(folders / "seed-0" / "samples.parquet")
    pandas.testing.assert_frame_equal(frame, load_run(folders / "seed-0").to_pandas(), check_dtype=False)
    from xarray import open_datatree

    tree = open_datatree(folders / "seed-0" / "trace.nc", engine="h5netcdf")
    assert tree["posterior"]["energy"].shape == (4, 26)
    tree.close()
    with (folders / "search" / "plots" / "search.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["series", "temperature", "nats"]
    low = [float(nats) for series, _, nats in rows[1:] if series == "lowest so far"]
    assert low == sorted(low, reverse=True)
    assert (float(rows[1][1]), float(rows[-1][1])) == pytest.approx((1.0, 0.1))
    with pytest.raises(InvalidInput, match="no sample"):
        report(folders / "search", formats=["netcdf"])
    with pytest.raises(InvalidInput, match="formats has 'svg'; choose among png"):
        report(folders / "search", formats=["svg"])


@pytest.mark.parametrize(("name", "library", "extra"), [
    ("png", "matplotlib", "plots"), ("parquet", "pyarrow", "data"), ("netcdf", "h5netcdf", "data"),
])  # fmt: skip
def test_what_is_missing_is_one_line(folders, monkeypatch, name, library, extra):
    for module in ("pages.plot_files", "results.tables"):
        monkeypatch.setattr(f"experiments.{module}.find_spec", lambda _: None)
    with pytest.raises(InvalidInput, match=rf"{library}, which is missing; install it with: .*\[{extra}\]"):
        report(folders / "seed-0", formats=[name])


def test_runs_side_by_side(folders, tmp_path):
    compared = diff([folders / "seed-0", folders / "seed-1"])
    assert compared.names == ["seed-0", "seed-1"]
    assert compared.settings == [("seed", ["0", "1"])]
    assert dict(compared.figures)["energy"] == [
        f"{load_run(folders / name).summary()['energy_mean']:.2f}" for name in compared.names
    ]
    assert compared.remark == "The runs have the same law."
    assert "laws differ" in diff([folders / "seed-0", folders / "search"]).remark
    for width in (40, 80):
        assert max(map(columns, _lines(compared, width))) <= width
    written = CliRunner().invoke(
        diff_command, [str(folders / "seed-0"), str(folders / "search"), "--html", str(tmp_path / "x")]
    )
    assert (written.exit_code, written.stdout) == (0, "")
    tags = Reader((tmp_path / "x").read_text("utf-8")).tags
    assert tags.count("figure") == 3
    with pytest.raises(InvalidInput, match="one run has nothing beside it"):
        diff([folders / "seed-0"])


def test_hostile_words_stay_words_side_by_side(folders, tmp_path):
    hostile = "</style><script>alert(1)</script>\x1b[2J"
    for name in ("a", "b"):
        copied = Path(shutil.copytree(folders / "seed-0", tmp_path / name))
        lines = [json.loads(line) for line in (copied / "samples.jsonl").read_text("utf-8").splitlines()]
        text = "".join(json_line({**each, "text": hostile}) + "\n" for each in lines)
        (copied / "samples.jsonl").write_text(text, "utf-8")
        config = json.loads((copied / "config.json").read_text())
        (copied / "config.json").write_text(json.dumps({**config, "init": hostile + name}))
        summary = json.loads((copied / "summary.json").read_text())
        (copied / "summary.json").write_text(json.dumps({**summary, "trust": hostile}))
    compared = diff([tmp_path / "a", tmp_path / "b"])
    assert "\x1b" not in "".join(_lines(compared, 80))
    assert "script" not in Reader(comparison_page(compared)).tags
    assert "\x1b" not in CliRunner().invoke(show_command, [str(tmp_path / "a")]).stdout
