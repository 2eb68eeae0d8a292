"""The folder of an experiment: it goes on, is extended, and tells every way in which another run differs."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from experiments import Job, Problem, TextRun, experiment, load_run, sample_chains
from experiments.cli import main
from experiments.gibbs import gibbs
from experiments.infill import infill
from experiments.keywords import SAMPLERS, keywords
from experiments.paraphrase import paraphrase
from experiments.results.terminal import print_run
from experiments.scoring.lines import read_lines
from experiments.setup.settings import Settings
from experiments.summarize import summarize
from experiments.translate import translate
from lm_adapters import GibbsProposal
from samplers import (
    EnergyError,
    Flat,
    Interrupted,
    InvalidInput,
    McmcTextError,
    MetropolisHastings,
    RunStore,
    StoreError,
    sample,
)
from tests.experiments.tiny_scorers import tiny_causal, tiny_seq2seq, tiny_writer
from tests.lm_adapters.tiny import build
from tests.samplers.doubles import climb

QUICK = {"chains": 3, "steps": 6, "warmup": 2, "thin": 2, "commit_every": 2, "shard_size": 2}
WORDS = {"scorer": None, "length": (3, 8), "shortlist": 8}


@pytest.fixture(scope="module")
def lm():
    return build("roberta", scale=1.0)


@pytest.fixture(scope="module")
def causal(lm):
    return tiny_causal(lm.space.tokenizer)


@pytest.fixture
def own(tmp_path):
    """Write a file with an energy of the user's."""
    path = tmp_path / "mine.py"

    def write(value: str) -> str:
        path.write_text(f"def mine(texts):\n    return [{value} for text in texts]\n")
        return f"{path}:mine"

    return write


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def samples(folder: Path) -> bytes:
    return (folder / "samples.jsonl").read_bytes()


def stopped_and_gone_on(run, folder: Path, stop_after, commits: int):
    """``run(out)`` in two parts, and what it gives in the end."""
    stop_after(commits)
    with pytest.raises(Interrupted):
        run(str(folder))
    assert not (folder / "summary.json").exists() or not load_run(folder).is_complete
    return run(str(folder))


@pytest.mark.parametrize("commits", [1, 3])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_keywords_stopped_and_gone_on_writes_the_same_samples(
    lm, causal, sampler, commits, tmp_path, stop_after, monkeypatch
):
    monkeypatch.setattr("experiments.setup.methods.BATCH", 4)

    def run(out):
        how = {**WORDS, "scorer": causal, "sampler": sampler}
        return keywords(["sea"], model=lm, out=out, **how, **QUICK)

    alone = run(str(tmp_path / "alone"))
    parts = stopped_and_gone_on(run, tmp_path / "parts", stop_after, commits)
    assert samples(tmp_path / "parts") == samples(tmp_path / "alone")
    assert parts.spent.cost.rows >= alone.spent.cost.rows > 0
    assert parts.spent.news == alone.spent.news == ""


@pytest.mark.parametrize("how", [{"correct": "none"}, {"scan": "systematic"}, {"block": 2, "init": "the pupil"}])
def test_gibbs_stopped_and_gone_on_writes_the_same_samples(lm, how, tmp_path, stop_after):
    def run(out):
        return gibbs(model=lm, out=out, **how, **QUICK)

    run(str(tmp_path / "alone"))
    stopped_and_gone_on(run, tmp_path / "parts", stop_after, 2)
    assert samples(tmp_path / "parts") == samples(tmp_path / "alone")


def test_experiments_that_start_from_a_text_go_on_too(lm, causal, embedded, tmp_path, stop_after):
    seq2seq = tiny_seq2seq(embedded.space.tokenizer)
    writer = tiny_writer(lm.space.tokenizer, "paraphrase", "words_to_sentence")
    runs = {
        "infill": lambda out: infill("the [MASK] is the pupil", model=lm, scorer=causal, out=out, **QUICK),
        "paraphrase": lambda out: paraphrase("the teacher", model=lm, scorer=causal, out=out, **QUICK),
        "summarize": lambda out: summarize(
            "the teacher is the pupil", max_words=3, model=lm, scorer=causal, rebuilder=writer, out=out, **QUICK
        ),
        "translate": lambda out: translate("Tom est ici.", model=embedded, scorer=seq2seq, out=out, **QUICK),
    }
    for name, run in runs.items():
        run(str(tmp_path / name / "alone"))
        stopped_and_gone_on(run, tmp_path / name / "parts", stop_after, 1)
        assert samples(tmp_path / name / "parts") == samples(tmp_path / name / "alone"), name


def test_more_steps_extend_a_chain_and_fewer_are_told(lm, tmp_path):
    def run(steps, out):
        return gibbs(model=lm, out=str(tmp_path / out), **{**QUICK, "steps": steps})

    run(10, "long")
    run(5, "grown")
    run(10, "grown")
    assert samples(tmp_path / "grown") == samples(tmp_path / "long")
    assert json.loads((tmp_path / "grown" / "config.json").read_text())["steps"] == 10
    before = contents(tmp_path / "grown")
    with pytest.raises(InvalidInput, match=r"steps is 7, but the run in '.*' has done 10; give at least that many"):
        run(7, "grown")
    assert contents(tmp_path / "grown") == before


@pytest.mark.parametrize("sampler", ["anneal", "rejection", "importance"])
def test_runs_that_depend_on_their_length_are_not_extended(lm, causal, sampler, tmp_path):
    how = {"model": lm, "scorer": causal, "sampler": sampler, "length": (2, 4), "out": str(tmp_path / "run")}
    keywords(["sea"], **how, **QUICK)
    with pytest.raises(InvalidInput, match=r"steps is 9, but the run in .* has 6; .* cannot be extended"):
        keywords(["sea"], **how, **{**QUICK, "steps": 9})


@pytest.mark.parametrize(
    ("sampler", "way"), [("mh", "a larger steps extends it"), ("importance", "it cannot be extended")]
)
def test_a_finished_run_does_nothing_and_says_so(lm, causal, sampler, way, tmp_path, monkeypatch, capsys):
    def run():
        how = {"scorer": causal, "sampler": sampler, "length": (2, 4), "out": str(tmp_path / "run")}
        return keywords(["sea"], model=lm, **how, **QUICK)

    first = run()
    before = contents(tmp_path / "run")
    monkeypatch.setattr("samplers.storage.shard_store.ShardStore.commit", None)  # nothing more may be kept
    again = run()
    assert again.spent.cost == first.spent.cost
    assert again.spent.seconds == first.spent.seconds
    after = contents(tmp_path / "run")
    assert {name for name in after if after[name] != before[name]} == {"events.jsonl"}
    print_run(again)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("The run was finished already")
    assert way in last


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"seed": 1}, "seed was 0 and is now 1"),
        ({"chains": 4}, "chains was 3 and is now 4"),
        ({"shard_size": 3}, "shard_size was 2 and is now 3"),
        ({"warmup": 1}, "warmup was 2 and is now 1"),
        ({"thin": 1}, "thin was 2 and is now 1"),
        ({"block": 2}, "block was None and is now 2"),
        ({"temperature": 2.0}, "temperature was 1.0 and is now 2.0"),
        ({"top_k": 9}, "top_k was None and is now 9"),
        ({"length": (3, 4)}, "length was [8, 14] and is now [3, 4]"),
        ({"forbid": ["sea"]}, "forbid was [] and is now ['sea']"),
    ],
)
def test_another_run_is_told_in_the_words_of_the_caller(lm, changed, told, tmp_path):
    gibbs(model=lm, out=str(tmp_path / "run"), **QUICK)
    before = contents(tmp_path / "run")
    with pytest.raises(InvalidInput) as caught:
        gibbs(model=lm, out=str(tmp_path / "run"), **{**QUICK, **changed})
    assert told in str(caught.value)
    assert contents(tmp_path / "run") == before


def test_commits_and_folder_name_are_free(lm, tmp_path):
    gibbs(model=lm, out=str(tmp_path / "run"), **QUICK)
    before = samples(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    gibbs(model=lm, out=str(tmp_path / "moved"), **{**QUICK, "commit_every": 1})
    assert samples(tmp_path / "moved") == before


def test_another_model_of_the_same_name_is_told(lm, tmp_path):
    gibbs(model=lm, out=str(tmp_path / "run"), **QUICK)
    other = build("roberta", scale=1.01)
    with pytest.raises(InvalidInput, match=r"model .* is another model than .* its digest of weights was '\w+\.\.\."):
        gibbs(model=other, out=str(tmp_path / "run"), **QUICK)


def test_another_revision_of_the_same_weights_is_the_same_model(lm, tmp_path, monkeypatch):
    def run(revision, model=lm):
        monkeypatch.setattr("lm_adapters.fingerprint.hub_revision", lambda name: revision)
        return gibbs(model=model, out=str(tmp_path / "run"), **QUICK)

    run("before")
    assert run("after").spent.news
    assert json.loads((tmp_path / "run" / "models.json").read_text())["model"]["revision"] == "after"
    assert run(None).spent.news
    with pytest.raises(InvalidInput, match="its digest of weights was"):
        run("after", build("roberta", scale=1.01))


def test_an_energy_of_the_users_own_is_known_by_its_contents(lm, own, tmp_path):
    spec = own("len(text)")

    def run(*energies):
        return gibbs(model=lm, energies=list(energies), out=str(tmp_path / "run"), **QUICK)

    run(spec)
    moved = tmp_path / "elsewhere.py"
    moved.write_bytes((tmp_path / "mine.py").read_bytes())
    assert run(f"{moved}:mine").spent.news
    with pytest.raises(InvalidInput, match=f"has energies of your own, '{moved}:mine'; give them again in energies$"):
        run()
    with pytest.raises(InvalidInput, match=f"has energies of your own, '{moved}:mine'; give them again in energies$"):
        run(f"{spec}=2")
    moved.write_text("def other(texts):\n    return [0.0 for text in texts]\n")
    with pytest.raises(InvalidInput, match=r"energies was \['mine'\] and is now \['mine', 'other'\]"):
        run(spec, f"{moved}:other")
    with pytest.raises(InvalidInput, match=r"mine.py:mine' has changed since .*: the file's SHA-256 was"):
        run(own("2 * len(text)"))


def test_other_versions_are_told_and_can_be_allowed(lm, tmp_path):
    folder = tmp_path / "run"
    gibbs(model=lm, out=str(folder), **QUICK)
    env = json.loads((folder / "env.json").read_text())
    now = env["versions"]["numpy"]
    env["versions"]["numpy"], env["threads"], env["platform"] = "1.0", 99, "elsewhere"
    (folder / "env.json").write_text(json.dumps(env))
    with pytest.raises(InvalidInput, match=f"numpy was 1.0 and is now {now}; .*allow_version_change"):
        gibbs(model=lm, out=str(folder), **QUICK)
    with pytest.warns(UserWarning, match=f"numpy was 1.0 and is now {now}"):
        gibbs(model=lm, out=str(folder), allow_version_change=True, **QUICK)
    env["versions"]["numpy"] = now
    (folder / "env.json").write_text(json.dumps(env))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gibbs(model=lm, out=str(folder), **QUICK)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"thesis.txt": "precious"}, "holds files that are not of a run"),
        ({"config.json": '{"model_type": "bert"}', "model.safetensors": "weights"}, "config.json that is not of a run"),
        ({"config.json": '{"experiment": "keywords"}'}, "holds a run of 'keywords', not of 'gibbs'"),
        ({"fingerprint.json": "{}"}, "holds a run that no experiment began"),
    ],
)
def test_what_is_no_run_of_this_experiment_is_refused_and_not_touched(lm, files, told, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    before = contents(folder)
    with pytest.raises(InvalidInput, match=told):
        gibbs(model=lm, out=str(folder), **QUICK)
    assert contents(folder) == before


def test_a_run_of_the_library_alone_is_refused(lm, tmp_path):
    sample(climb(), Flat(), torch.zeros(2, 1), steps=3, run_dir=tmp_path / "run", progress=False)
    with pytest.raises(InvalidInput, match="holds a run that no experiment began"):
        gibbs(model=lm, out=str(tmp_path / "run"), **QUICK)


@pytest.mark.parametrize("text", ["", "[]", "{", '"' * 9, "[" * 10**5])
def test_a_damaged_configuration_is_told(lm, text, tmp_path):
    gibbs(model=lm, out=str(tmp_path / "run"), **QUICK)
    (tmp_path / "run" / "config.json").write_text(text)
    with pytest.raises(StoreError, match=r"config\.json' is damaged"):
        gibbs(model=lm, out=str(tmp_path / "run"), **QUICK)


def spoiled(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "flipped":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes(byte ^ 1 for byte in data[middle : middle + 1]) + data[middle + 1 :])
    elif how == "list":
        path.write_text("[1, [2], {}]")
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("how", ["missing", "folder", "flipped", "list", "cut"])
def test_a_file_that_is_spoiled_is_told_or_makes_no_difference(lm, how, tmp_path):
    whole = tmp_path / "whole"
    gibbs(model=lm, out=str(whole), **QUICK)
    wanted, told = samples(whole), []
    for name in contents(whole):
        folder = tmp_path / name.replace("/", "-")
        shutil.copytree(whole, folder)
        spoiled(folder / name, how)
        try:
            gibbs(model=lm, out=str(folder), **{**QUICK, "steps": 8})
            gibbs(model=lm, out=str(folder), **{**QUICK, "steps": 8})
        except McmcTextError as error:
            told.append(str(error))
        else:
            lines = samples(folder).splitlines()
            assert [line for line in lines if json.loads(line)["step"] < 6] == wanted.splitlines(), name
    assert len(told) >= 5
    assert all(str(tmp_path) in message for message in told)


def test_the_folder_is_locked_before_a_model_is_loaded(tmp_path, monkeypatch):
    def loaded(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("lm_adapters.MaskedLM.from_pretrained", loaded)
    with RunStore(tmp_path / "run"), pytest.raises(InvalidInput, match=f"out .* in use by process {os.getpid()}"):
        gibbs(out=str(tmp_path / "run"), **QUICK)
    with pytest.raises(AssertionError, match="a model was loaded"):
        gibbs(out=str(tmp_path / "run"), **QUICK)
    with RunStore(tmp_path / "run"):  # the lock was given back
        pass


def test_texts_that_an_energy_fails_on_are_kept(lm, tmp_path):
    folder = tmp_path / "run"

    def later(texts):
        return [0.0 if text == "the pupil" else float("nan") for text in texts]

    with pytest.raises(EnergyError) as caught:
        gibbs(model=lm, energies=[later], init="the pupil", out=str(folder), **QUICK)
    assert str(caught.value).endswith(f"{str(folder / 'failed.jsonl')!r}")
    lines = [json.loads(line) for line in (folder / "failed.jsonl").read_text().splitlines()]
    with (folder / "failed.jsonl").open("rb") as stream:
        read = [line.text for line in read_lines(stream, "jsonl", "FILE")]
    assert [line["text"] for line in lines] == caught.value.texts == read
    assert [line["chain"] for line in lines] == caught.value.rows
    assert {(line["step"], line["term"]) for line in lines} == {(caught.value.step, "later")}
    assert [json.loads(line)["event"] for line in (folder / "events.jsonl").read_text().splitlines()] == [
        "started",
        "failed",
    ]


def test_bad_input_leaves_no_folder(lm, own, tmp_path):
    bad = [({"length": (10**5, 10**5)}, InvalidInput), ({"init": ""}, InvalidInput),
           ({"model": "no/such"}, InvalidInput), ({"energies": [own("float('nan')")]}, EnergyError)]  # fmt: skip
    for how, error in bad:
        with pytest.raises(error):
            gibbs(**{"model": lm, **QUICK, **how}, out=str(tmp_path / "runs" / "new"))
        assert not (tmp_path / "runs").exists(), how


def test_what_kept_a_run_from_its_first_draw_may_be_put_right(lm, own, tmp_path):
    def run(value):
        return gibbs(model=lm, energies=[own(value)], out=str(tmp_path / "run"), **QUICK)

    with pytest.raises(EnergyError):
        run("float('nan')")
    run("float(len(text))")
    assert (tmp_path / "run" / "samples.jsonl").exists()


@pytest.mark.parametrize("sampler", ["mh", "anneal"])
def test_nan_is_rejected_and_counted_where_that_is_asked_for(lm, causal, own, sampler, tmp_path, stop_after):
    spec = own("float('nan') if len(text) % 8 == 0 else 0.0")
    how = {**WORDS, "scorer": causal, "sampler": sampler, "energies": [spec], "nan": "reject", **QUICK, "steps": 24}

    def run(out):
        return keywords(["sea"], model=lm, out=out, **how)

    alone = run(str(tmp_path / "alone"))
    parts = stopped_and_gone_on(run, tmp_path / "parts", stop_after, 1)
    assert samples(tmp_path / "parts") == samples(tmp_path / "alone")
    summary = json.loads((tmp_path / "parts" / "summary.json").read_text())
    assert summary["nan_rejected"] == alone.summary()["nan_rejected"] > 0
    assert "rejected as NaN" in dict(parts.facts(summary))


@pytest.mark.parametrize("sampler", ["rejection", "importance"])
def test_nan_cannot_be_rejected_where_nothing_is_proposed(lm, causal, sampler):
    with pytest.raises(InvalidInput, match=f"nan reject has no meaning for sampler {sampler}"):
        keywords(["sea"], model=lm, scorer=causal, sampler=sampler, nan="reject", **QUICK)


def test_events_tell_what_became_of_the_run(lm, tmp_path, stop_after):
    def run(out):
        return gibbs(model=lm, out=out, **QUICK)

    stopped_and_gone_on(run, tmp_path / "run", stop_after, 1)
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["started", "stopped", "resumed", "finished"]
    assert events[1]["progress"] == "stopped after 3 of 12 steps"  # two shards of six
    assert {event["pid"] for event in events} == {os.getpid()}


@pytest.mark.parametrize("out", ["x" * 5000, "file", "file/below"])
def test_a_name_that_cannot_be_a_folder_is_told(lm, out, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="out"):
        gibbs(model=lm, out=str(tmp_path / out), **QUICK)


def test_without_a_folder_nothing_is_written(lm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gibbs(model=lm, **QUICK)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_the_users_keeps_every_file_also_when_the_run_fails(tmp_path):
    """Hidden partial files, as browsers and this program's own writer leave them, are somebody's."""
    (tmp_path / ".movie.mkv.part").write_bytes(b"half a film")
    for model in ("nosuch", "masked-en"):
        result = CliRunner().invoke(main, ["gibbs", "--model", model, "--steps", "2", "--out", str(tmp_path)])
        assert result.exit_code == 2
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {".movie.mkv.part": b"half a film"}


@pytest.mark.parametrize(("given", "warmup", "thin"), [
    ({"steps": 20}, 6, 1), ({"steps": 150}, 50, 2), ({"steps": 300}, 100, 4), ({"steps": 3000}, 100, 4),
    ({"steps": 1}, 0, 1), ({"steps": 20, "warmup": 0}, 0, 1), ({"steps": 300, "warmup": 298}, 298, 2),
    ({"steps": 300, "warmup": 0}, 0, 4), ({"steps": 20, "thin": 3}, 6, 3),
])  # fmt: skip
def test_warmup_and_thinning_follow_the_steps_where_they_are_not_given(given, warmup, thin):
    assert Settings(**given).warmup_and_thin == (warmup, thin)


def test_they_are_recorded_and_stay_when_a_run_grows(lm, tmp_path):
    quick = {"model": lm, "chains": 2, "length": (2, 3)}
    short = gibbs(**quick, steps=12, out=str(tmp_path / "run"))
    assert (short.config["warmup"], short.config["thin"]) == (3, 1)
    grown = gibbs(**quick, steps=30, out=str(tmp_path / "run"))
    assert (grown.config["warmup"], grown.config["thin"]) == (3, 1)
    gibbs(**quick, steps=30, warmup=3, thin=1, out=str(tmp_path / "whole"))
    assert samples(tmp_path / "run") == samples(tmp_path / "whole")
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace('"warmup": 3', '"warmup": "x"'))
    with pytest.raises(InvalidInput, match="warmup was 'x' and is now 7"):
        gibbs(**quick, steps=30, out=str(tmp_path / "run"))


def test_each_experiment_has_its_own_share(lm):
    def own(job: Job) -> TextRun:
        """Sentences with the sea."""
        problem = Problem(lm.space, Flat(), lm.space.encode(["the sea"] * 2), {"model": lm})
        return sample_chains(problem, MetropolisHastings(GibbsProposal(lm, 1)), job)

    declared = experiment(steps=800, warmup=400)(own)
    run = declared(model=lm, chains=2, steps=8)
    assert (run.config["warmup"], run.config["thin"]) == (4, 1)
    assert "[default: 400; of fewer than 800 steps the same share]" in " ".join(declared.__doc__.split())
