"""``--scorer http://...``: a model behind a server in experiments and in ``score``, also when the server dies."""

from __future__ import annotations

import json

import pytest

from experiments.gibbs import gibbs
from experiments.score import score
from lm_adapters.remote import remote_lm, server
from samplers import InvalidInput, McmcTextError
from tests.experiments.tiny_scorers import tiny_causal
from tests.lm_adapters.tiny import build, save
from tests.lm_adapters.tiny_server import served

QUICK = {"chains": 3, "steps": 12, "warmup": 2, "thin": 2, "commit_every": 4, "length": (2, 4), "real_words": False}


@pytest.fixture(scope="module")
def masked():
    return build("roberta", scale=1.0)


@pytest.fixture(scope="module")
def scorer(masked):
    return tiny_causal(masked.space.tokenizer)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(server, "BACKOFF", 0.0)
    monkeypatch.setattr(remote_lm, "PROBES", ("the sea",))


@pytest.fixture(scope="module")
def folder(masked, tmp_path_factory) -> str:
    return str(save(masked.model, masked.space.tokenizer, tmp_path_factory.mktemp("model")))


def test_a_run_whose_server_dies_stops_and_resumes(masked, scorer, folder, tmp_path, monkeypatch):
    monkeypatch.setenv(server.KEY, "s3cret")
    with served(scorer) as found:
        how = {"model": folder, "scorer": found.address, "tokenizer": folder, **QUICK}
        gibbs(out=str(tmp_path / "whole"), **how)
        asked = len(found.requests)
        left = iter(range(asked * 2 // 3))
        found.change = lambda path, answer: answer if next(left, None) is not None else (503, {}, {})
        again = "; its draws so far are in '.*parts'; resume with the same call, with out='.*parts'"
        with pytest.raises(McmcTextError, match=f"answers /completions with status 503: .*{again}$"):
            gibbs(out=str(tmp_path / "parts"), **how)
        assert 0 < len(list((tmp_path / "parts").glob("shards/*/commit*"))) <= 1
        found.change = lambda path, answer: answer
        gibbs(out=str(tmp_path / "parts"), **how)
        kept = [(tmp_path / name / "samples.jsonl").read_bytes() for name in ("whole", "parts")]
        assert kept[0] == kept[1]
        for path in (tmp_path / "parts").rglob("*"):
            assert path.is_dir() or b"s3cret" not in path.read_bytes()


def test_score_by_a_server(scorer, folder):
    with served(scorer) as found:
        (line,) = score(["the sea"], models=[found.address], tokenizer=folder)
    ids = scorer.space.encode(["the sea"])
    from lm_adapters import SequenceEnergy

    assert line["energy"] == pytest.approx(float(SequenceEnergy(scorer.condition_on())(ids)), abs=1e-4)
    with pytest.raises(InvalidInput, match="tokenizer is for a model behind a server, and none is given"):
        list(score(["the sea"], tokenizer=folder))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("keywords", "sea", "--sampler", "rejection"), "--sampler rejection draws from the scorer"),
        (("keywords", "sea", "--top-p", "0.9"), "--top-p 0.9 needs a --scorer that reads from left to right"),
    ],
)
def test_what_needs_more_than_energies_says_so(mcmc_text, scorer, folder, words, told):
    with served(scorer) as found:
        named = ("--model", folder, "--scorer", found.address, "--tokenizer", folder)
        result = mcmc_text(*words, *named, "--any-words", "--length", "2:4")
    assert result.exit_code == 2
    assert told in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_folder_does_not_decide_whose_server_is_asked(mcmc_text, scorer, folder, tmp_path, monkeypatch):
    monkeypatch.setenv(server.KEY, "s3cret")
    short = ("--any-words", "--length", "2:4", "--chains", "2", "--steps", "4", "--out", "run")
    with served(scorer) as found:
        named = ("--scorer", found.address)
        assert mcmc_text("gibbs", "--model", folder, "--tokenizer", folder, *named, *short).exit_code == 0
        asked = len(found.requests)
        resumed = mcmc_text("gibbs", "--resume", "run")
        assert (resumed.exit_code, len(found.requests)) == (2, asked)
        assert f"--scorer was '{found.address}' and is now None" in resumed.stderr
        assert mcmc_text("gibbs", "--resume", "run", *named).exit_code == 0


def test_no_server_no_folder(mcmc_text, folder, tmp_path):
    result = mcmc_text("gibbs", "--model", folder, "--scorer", "http://127.0.0.1:9/v1#x", "--out", "run")
    assert result.exit_code == 2
    assert json.dumps("does not answer")[1:-1] in result.stderr
    assert not (tmp_path / "run").exists()
