"""A run is readable at every stop: on a signal, after a kill, and before it is done."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from transformers import RobertaConfig, RobertaForMaskedLM

from experiments import load_run
from experiments.cli import main
from experiments.entry.report import report
from experiments.gibbs import gibbs
from experiments.keywords import keywords
from experiments.results.terminal import print_run
from samplers import Interrupted, InvalidInput, McmcTextError, StoreError
from tests.experiments.tiny_scorers import tiny_causal
from tests.lm_adapters.tiny import byte_level, save, sizes

QUICK = {"chains": 3, "steps": 12, "warmup": 2, "thin": 2, "commit_every": 2, "shard_size": 2, "length": (3, 5)}
TEXTS = ("samples.jsonl", "summary.json", "report.html")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of a masked and of a causal model with one tokenizer."""
    tokenizer, root = byte_level(), tmp_path_factory.mktemp("models")
    masked = RobertaForMaskedLM(RobertaConfig(**sizes(tokenizer, max_position_embeddings=80, num_hidden_layers=1)))
    save(masked, tokenizer, root / "masked")
    save(tiny_causal(tokenizer).model, tokenizer, root / "causal")
    return {"model": str(root / "masked"), "scorer": str(root / "causal")}


@pytest.fixture
def stopped(models, tmp_path, stop_after):
    """The folder of a run that a signal stopped after so many commits."""

    def make(commits: int, name: str = "run", **options: object) -> Path:
        with pytest.MonkeyPatch.context():
            stop_after(commits)
            with pytest.raises(Interrupted) as stop:
                gibbs(model=models["model"], out=str(tmp_path / name), **{**QUICK, **options})
        assert f"its draws so far are in {str(tmp_path / name)!r}; resume with" in str(stop.value)
        return tmp_path / name

    return make


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TEXTS}


def test_a_signal_leaves_the_draws_so_far(models, stopped):
    run = load_run(stopped(3))
    whole = gibbs(model=models["model"], **QUICK)
    assert not run.is_complete
    assert run.summary()["progress"] == "stopped after 7 of 24 steps"
    assert run.summary()["trust"].startswith("Incomplete (stopped after 7 of 24 steps). ")
    assert run.texts() == [texts[:2] for texts in whole.texts()[:2]]
    assert "Incomplete" in (run.path / "report.html").read_text()
    assert len(run.to_pandas()) == 4


def test_after_a_kill_report_writes_the_same(stopped, capsys):
    folder = stopped(3)
    before = contents(folder)
    for name in TEXTS:
        (folder / name).unlink()
    with pytest.raises(InvalidInput, match="`mcmc-text report`"):
        load_run(folder)
    result = CliRunner().invoke(main, ["report", str(folder)])
    assert result.exit_code == 0, result.stderr
    assert "Incomplete (stopped after 7 of 24 steps)" in result.stdout
    after = contents(folder)
    assert after["samples.jsonl"] == before["samples.jsonl"]
    told = json.loads(before["summary.json"].replace(b"raise steps", b"raise --steps"))  # to a shell, no longer Python
    assert json.loads(after["summary.json"]) == told


def test_chains_that_are_further_keep_all_their_draws(models, stopped):
    """The first shard is done, the second one has two of its five draws."""
    folder = stopped(9)
    lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert [line["chain"] for line in lines] == [0] * 5 + [1] * 5 + [2] * 2
    whole = gibbs(model=models["model"], **QUICK)
    assert [line["text"] for line in lines] == [*whole.texts()[0], *whole.texts()[1], *whole.texts()[2][:2]]
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["chains"], summary["kept_per_chain"]) == (3, 2)


def test_no_weights_are_needed(models, stopped, monkeypatch, tmp_path):
    folder = stopped(3)
    monkeypatch.setattr("transformers.AutoModelForMaskedLM.from_pretrained", None)
    monkeypatch.setattr(torch.nn.Module, "__init__", None)
    texts = report(folder).summary()["distinct"]
    assert texts == 4
    Path(models["model"]).rename(tmp_path / "elsewhere")
    try:
        with pytest.raises(InvalidInput, match=r"no model .*; or name the model in model"):
            report(folder)
        with pytest.raises(InvalidInput, match="tokenizer of 'masked-en' is not that of the run"):
            report(folder, model="masked-en")
        assert report(folder, model=str(tmp_path / "elsewhere")).summary()["distinct"] == 4
    finally:
        (tmp_path / "elsewhere").rename(models["model"])


def test_a_finished_run_writes_its_files_again(models, tmp_path):
    gibbs(model=models["model"], out=str(tmp_path / "run"), **QUICK)
    before = contents(tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink()
    report(tmp_path / "run")
    after = contents(tmp_path / "run")
    assert (after["samples.jsonl"], after["summary.json"]) == (before["samples.jsonl"], before["summary.json"])
    assert b"<svg" in after["report.html"]


@pytest.mark.parametrize("sampler", ["anneal", "tempered", "gibbs", "importance", "rejection"])
def test_every_sampler_is_readable_and_resumes_to_the_same(models, sampler, tmp_path, stop_after, monkeypatch, capsys):
    monkeypatch.setattr("experiments.setup.methods.BATCH", 4)
    how = {**models, **QUICK, "sampler": sampler, "length": (2, 6)}
    stop_after(7 if sampler in ("tempered", "gibbs") else 3)
    with pytest.raises(Interrupted):
        keywords(["sea"], out=str(tmp_path / "run"), **how)
    try:
        print_run(report(tmp_path / "run"))
    except InvalidInput as error:  # chance gave no draw
        assert "has kept no draw yet" in str(error)  # noqa: PT017
        assert sampler == "rejection"
    else:
        assert "Incomplete" in capsys.readouterr().out
        assert not load_run(tmp_path / "run").is_complete
    keywords(["sea"], out=str(tmp_path / "run"), **how)
    keywords(["sea"], out=str(tmp_path / "whole"), **how)
    assert contents(tmp_path / "run")["samples.jsonl"] == contents(tmp_path / "whole")["samples.jsonl"]
    before = contents(tmp_path / "run")
    report(tmp_path / "run")
    assert contents(tmp_path / "run")["samples.jsonl"] == before["samples.jsonl"]


def test_energies_that_are_known_at_the_end_only_are_not_made_up(stopped):
    folder = stopped(7, correct="none")
    first = json.loads((folder / "samples.jsonl").read_text().splitlines()[0])
    assert (first["energy"], first["terms"]) == (None, {})
    assert "No known target" in load_run(folder).summary()["trust"]


def test_a_run_can_be_closed_at_what_is_done_and_grow_again(models, stopped):
    folder = stopped(3)  # seven steps of the first shard
    with pytest.raises(InvalidInput, match=r"steps is 6, but the run in .* has done 7; give at least that many"):
        gibbs(model=models["model"], out=str(folder), **{**QUICK, "steps": 6})
    gibbs(model=models["model"], out=str(folder), **{**QUICK, "steps": 7})
    assert load_run(folder).is_complete
    assert load_run(folder).texts() == gibbs(model=models["model"], **{**QUICK, "steps": 7}).texts()
    gibbs(model=models["model"], out=str(folder), **QUICK)
    assert load_run(folder).texts() == gibbs(model=models["model"], **QUICK).texts()


def test_without_a_draw_or_a_run_it_is_one_line(models, tmp_path, stop_after):
    stop_after(1)
    with pytest.raises(Interrupted):
        gibbs(model=models["model"], out=str(tmp_path / "run"), **{**QUICK, "commit_every": 1})
    assert not (tmp_path / "run" / "samples.jsonl").exists()
    with pytest.raises(InvalidInput, match="has kept no draw yet"):
        report(tmp_path / "run")
    (tmp_path / "folder").mkdir()
    for place in ("folder", "nowhere"):
        result = CliRunner().invoke(main, ["report", str(tmp_path / place)])
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "nowhere").exists()
    assert not list((tmp_path / "folder").iterdir())


@pytest.mark.parametrize(("name", "value"), [
    ("chains", 10**9), ("width", 0), ("terms", [1]), ("moves", "replace"), ("method", "other"), ("known_target", 1),
    ("space", "absent"), ("vocabulary", "many"), ("width", 77), ("terms", []), ("moves", ["one"] * 9), ("chains", 1),
    ("vocabulary", 3),
])  # fmt: skip
def test_an_outline_that_cannot_be_is_one_line(stopped, tmp_path, name, value):
    folder = stopped(3)
    outline = json.loads((folder / "problem.json").read_text())
    (folder / "problem.json").write_text(json.dumps({**outline, name: value}))
    before = contents(folder)
    with pytest.raises(McmcTextError, match=r"damaged|does not say which model|values that are none of this run"):
        report(folder)
    assert contents(folder) == before


def test_a_copy_reads_as_the_original(stopped, tmp_path):
    folder = stopped(3)
    shutil.copytree(folder, tmp_path / "copy")
    report(tmp_path / "copy")
    assert contents(tmp_path / "copy")["samples.jsonl"] == contents(folder)["samples.jsonl"]
    chunk = tmp_path / "copy" / "shards" / "00000" / "00000000.safetensors"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match="is damaged"):
        report(tmp_path / "copy")


@pytest.mark.parametrize(("name", "text"), [
    ("summary.json", '{"trust": 3}'), ("summary.json", '{"trust": "x", "cost": {"lines": 3}}'),
    ("summary.json", '{"trust": "x", "cost": {"rows": "3"}}'), ("summary.json", '{"trust": "x", "seconds": "long"}'),
    ("samples.jsonl", '{"chain": [], "energy": 1, "terms": {}, "text": ""}'), ("samples.jsonl", "\xff" * 9),
    ("samples.jsonl", '{"chain": 0, "energy": 1, "terms": 3, "text": ""}'), ("samples.jsonl", "9" * 5000),
])  # fmt: skip
def test_files_that_no_run_wrote_are_one_line(models, tmp_path, name, text):
    gibbs(model=models["model"], out=str(tmp_path / "run"), **QUICK)
    (tmp_path / "run" / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreError, match=r"figures that no run has|line 1, is no sample"):
        print_run(load_run(tmp_path / "run"))


def test_a_sparse_file_of_samples_is_not_taken_for_a_line(models, tmp_path):
    gibbs(model=models["model"], out=str(tmp_path / "run"), **QUICK)
    with (tmp_path / "run" / "samples.jsonl").open("wb") as file:
        file.truncate(2**36)
    with pytest.raises(StoreError, match="line 1, is no sample"):
        load_run(tmp_path / "run").texts()
