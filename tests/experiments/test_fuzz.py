"""Whatever is typed: one clear line or a run, never a traceback, nothing written elsewhere, no samples lost."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from transformers import RobertaConfig, RobertaForMaskedLM

from experiments import toy
from experiments.benchmarking import measure, models
from experiments.cli import main
from experiments.setup.settings import Settings
from experiments.training import data
from experiments.training.tasks.causal import CausalTask
from experiments.training.tasks.masked import MaskedTask
from experiments.training.tasks.seq2seq import Seq2SeqTask
from lm_adapters import CausalLM, MaskedLM, Seq2SeqLM, pretrained
from samplers import McmcTextError
from tests.experiments.fuzzing import COMMANDS, MODULES, RUNS, SMALL, cases, command_lines, spoiled_runs, usual
from tests.experiments.tiny_scorers import tiny_causal, tiny_writer
from tests.lm_adapters.tiny import byte_level, save, sizes
from tests.samplers.damaging import damage

MOST = 8  # chains and steps of a run that is really done
NOUNS = ("house", "sea", "teacher", "pupil", "old house", "old sea")

pytestmark = [
    pytest.mark.filterwarnings("default"),  # as they are outside of tests
    pytest.mark.usefixtures("no_sync"),
]


def fuzzed(examples: int, cases: Any = cases) -> Any:
    slow = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    how = settings(max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=slow)
    return lambda test: how(given(case=cases)(test))


@fuzzed(60)
def test_any_command_line_ends_well(bounded: None, ground: Ground, case: tuple[list[str], list[Any]]):
    check(ground, *case)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@fuzzed(2000, command_lines)
def test_any_command_line_at_length(bounded: None, ground: Ground, case: tuple[list[str], list[Any]]):
    check(ground, *case)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@fuzzed(2000, spoiled_runs)
def test_any_spoiled_folder_at_length(bounded: None, ground: Ground, case: tuple[list[str], list[Any]]):
    check(ground, *case)


def test_the_runs_that_are_gone_on_with_are_finished(ground: Ground):
    assert {"gibbs", "keywords", "compare"} <= set(RUNS)
    for name in RUNS:
        assert list((ground.kept / f"run {name}").rglob("samples.jsonl")), name


@pytest.mark.parametrize("act", [
    lambda path: path.write_text("lost"), lambda path: path.unlink(), lambda path: path.rename("taken"),
    lambda path: path.with_name("new").mkdir(), lambda path: os.truncate(path, 0),
    lambda path: Path("link").write_text("lost"),
])  # fmt: skip
def test_what_is_done_elsewhere_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Any):
    work, precious = tmp_path / "work", tmp_path / "precious"
    work.mkdir()
    precious.touch()
    (work / "link").symlink_to(precious)
    monkeypatch.chdir(work)
    with only_in(work):
        Path("mine").write_text(Path("link").read_text())
    with pytest.raises(AssertionError), only_in(work):
        act(precious)


def check(ground: Ground, line: list[str], spoils: Sequence[Any]) -> None:
    """A run (0), a failure (1) or bad input (2), each told as it should be."""
    ground.lay(line)
    for folder in ground.runs():
        for operation, *rest in spoils:
            if operation == "field":
                change_field(folder / "config.json", *rest)
            elif any(path.is_file() for path in folder.rglob("*")):
                damage(folder, operation, *rest)
    before, files = ground.samples(), ground.files()
    with only_in(ground.work):
        result = invoke(line)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (0, 1, 2)
    if "--debug" not in line:  # which shows tracebacks
        check_words(line, result)
    assert result.exit_code == 0 or ground.lost(before) == []
    assert result.exit_code < 2 or ground.files() == files, "bad input leaves nothing"
    assert (ground.work / "folder" / "precious.txt").read_text() == "precious"


def check_words(line: list[str], result: Result) -> None:
    """One line of an error, and warnings."""
    told = [one for one in result.stderr.splitlines() if not one.startswith("warning: ")]
    kinds = [one.partition(":")[0] for one in told]
    assert kinds == ["error"] * (result.exit_code > 0) or (kinds[0] == "Usage" and not line)
    assert "Traceback" not in result.output


def invoke(line: Sequence[str]) -> Result:
    return CliRunner().invoke(main, [*line], prog_name="mcmc-text", default_map=small())


@cache
def small() -> dict[str, dict[str, str]]:
    """Defaults with which a run takes no time, where a command takes them."""
    return {
        name: {each.name: SMALL[each.name] for each in command.params if each.name in SMALL and not each.multiple}
        for name, command in COMMANDS.items()
        if name in (*RUNS, "evaluate")
    }


# --- where it is done


class Ground:
    """A folder in which to type, laid anew for each case, from what is ``kept`` beside it."""

    def __init__(self, root: Path) -> None:
        self.kept, self.work = root / "kept", root / "work"
        self.kept.mkdir()
        self.work.mkdir()
        (root / "precious.txt").write_text("precious")

    def lay(self, line: Sequence[str] = ()) -> None:
        """With the run folder that ``line`` names."""
        for path in self.work.glob("**/unreadable*"):
            path.chmod(0o600)
        for path in self.work.iterdir():  # the folder itself is where this process is
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for name, text in MODULES.items():
            (self.work / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        (self.work / "texts.txt").write_text("the old sea\nWe like it.\n")
        (self.work / "samples.jsonl").write_text('{"text": "the old sea"}\n')
        (self.work / "binary").write_bytes(b"\xff\xfe\0\x80")
        for name in ("unreadable", "unreadable.py"):
            (self.work / name).touch()
            (self.work / name).chmod(0)
        for name in ("empty", "folder", "folder.py"):
            (self.work / name).mkdir()
        (self.work / "folder" / "precious.txt").write_text("precious")
        for link, target in (("link", "folder"), ("dangling", "../gone"), ("loop", "loop")):
            (self.work / link).symlink_to(target)
        shutil.copytree(self.kept / "masked spoilt", self.work / "masked spoilt")
        write_corpora(self.work)
        for path in self.kept.glob("run *"):
            if any(path.name in word for word in line):
                shutil.copytree(path, self.work / path.name)

    def runs(self) -> list[Path]:
        return sorted(self.work.glob("run *"))

    def files(self) -> set[Path]:
        """All paths, without what a run that is there writes in its own folder."""
        return {path for path in self.work.rglob("*") if not path.relative_to(self.work).parts[0].startswith("run ")}

    def lost(self, before: dict[Path, Any]) -> list[Path]:
        """Samples that are no longer as they were, nor as their run drew them, which puts spoiled ones right."""
        now = self.samples()
        changed = [path for path in before if now.get(path) != before[path]]
        drawn = {path: self.kept / path.relative_to(self.work) for path in changed}
        return [path for path in changed if not drawn[path].is_file() or now.get(path) != drawn[path].read_bytes()]

    def samples(self) -> dict[Path, Any]:
        """Their bytes; of files too large to be read, as damage makes them, what the file system tells."""
        paths = [path for run in self.runs() for path in run.rglob("samples.jsonl") if path.is_file()]
        return {path: path.read_bytes() if path.stat().st_size < 2**20 else path.stat() for path in paths}


def write_corpora(work: Path) -> None:
    english = [f"{who} do not like the {noun} {i}" for noun in NOUNS for i, who in enumerate(["I", "We"] * 5)]
    files = {
        "tatoeba.eng.txt.gz": english,
        "tatoeba.eng-fra.tsv.gz": [f"{row}\tphrase {i}" for i, row in enumerate(english)],
        "tatoeba.eng-paraphrase.tsv.gz": [f"{row}\tSay {i}: {row}" for i, row in enumerate(english)],
    }
    for name, rows in files.items():
        lines = "".join(f"{row}\n" for row in rows).encode()
        told = {"corpus": lines, "corpus torn": lines.replace(b"\t", b" "), "corpus broken": b""}
        for folder, text in told.items():
            (work / folder).mkdir(exist_ok=True)
            (work / folder / name).write_bytes(gzip.compress(text, 1) if text else b"no gzip")


def change_field(path: Path, number: int, value: Any) -> None:
    """Of ``config.json``, if it is one still."""
    try:
        config = json.loads(path.read_text())
        config[sorted(config)[number % len(config)]] = value
        path.write_text(json.dumps(config))
    except (OSError, ValueError, TypeError, AttributeError):
        return


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Of tiny models and what they drew."""
    root = tmp_path_factory.mktemp("fuzz")
    made, figures = Ground(root), pretrained.HERE
    tokenizer = byte_level()
    masked = RobertaForMaskedLM(RobertaConfig(**sizes(tokenizer, max_position_embeddings=80, num_hidden_layers=1)))
    for name, model in {
        "masked-en": masked,
        "causal-en": tiny_causal(tokenizer).model,
        "seq2seq-en": tiny_writer(tokenizer, "words_to_sentence", "paraphrase").model,
    }.items():
        save(model, tokenizer, made.kept / "models" / name)
        shutil.copy(figures / name / "figures.json", made.kept / "models" / name)
    shutil.copytree(figures / "kinds-en", made.kept / "models" / "kinds-en")
    shutil.copytree(made.kept / "models" / "masked-en", made.kept / "masked spoilt")
    (made.kept / "masked spoilt" / "config.json").write_text('{"model_type": "roberta", "vocab_size": 10}')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrained, "HERE", made.kept / "models")
        patch.setattr(sys, "dont_write_bytecode", True)
        made.lay()
        patch.chdir(made.work)
        for name in RUNS:
            done = invoke([*usual(name), "--out", f"run {name}"])
            assert done.exit_code == 0, done.output
            (made.work / f"run {name}").rename(made.kept / f"run {name}")
        yield made


@pytest.fixture
def bounded(monkeypatch: pytest.MonkeyPatch, ground: Ground) -> Iterator[None]:
    """No more work than a test can do, and no other processes."""
    checked, tiny_toy = Settings.check_for, cache(toy.toy)

    def check_for(settings: Settings, *sampler: str) -> None:
        checked(settings, *sampler)
        if max(settings.chains, settings.steps) > MOST:
            raise McmcTextError("more than a test does")

    def refuse(*_: Any, **__: Any) -> None:
        raise McmcTextError("nothing that a test does")

    def no_measure(name: str, at: models.Models, *_: Any, **__: Any) -> None:
        at.masked, at.causal, at.seq2seq  # noqa: B018
        refuse()

    monkeypatch.setattr(Settings, "check_for", check_for)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc")  # where nothing can be kept of what is known of models
    monkeypatch.setattr(toy, "toy", lambda **_: tiny_toy(lengths=(2, 3), draws=100))
    monkeypatch.setattr("experiments.setup.methods.run_shares", lambda *_, **__: None)
    monkeypatch.setattr(measure, "measure", no_measure)
    monkeypatch.setattr(models, "_base_shape", lambda task, tokenizer: models._embedded_shape(task))
    monkeypatch.setattr(data, "HELD_OUT", 30)
    for task in (CausalTask, MaskedTask, Seq2SeqTask):
        monkeypatch.setattr(task, "build", refuse)
    for adapter in (MaskedLM, CausalLM, Seq2SeqLM):
        monkeypatch.setattr(adapter, "from_pretrained", cache(adapter.from_pretrained))
    monkeypatch.setattr("lm_adapters.loading.pretrained._hub_reachable", lambda: False)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    with torch.random.fork_rng(devices=[]):
        yield


# --- what is written, and where

_WATCHED: list[Path] = []  # one folder at most
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@contextmanager
def only_in(folder: Path) -> Iterator[None]:
    """Nothing is written, made or removed outside of it."""
    strays.clear()
    _WATCHED.append(folder.resolve())
    try:
        yield
    finally:
        _WATCHED.pop()
    assert not strays


strays: list[str] = []


def _watch(event: str, details: tuple[Any, ...]) -> None:
    if not _WATCHED or not (event in CHANGES or (event == "open" and details[2] & WRITES)):
        return
    unnamed = getattr(os, "O_TMPFILE", 0)  # a file without a name, by which a folder is tried
    if event == "open" and unnamed and details[2] & unnamed == unnamed:
        return
    for path in details[: 2 if event in ("os.rename", "os.link") else 1]:
        if isinstance(path, int) or path in (os.devnull, os.devnull.encode()):
            continue
        whole = Path(os.path.abspath(os.fsdecode(path)))
        if whole.is_relative_to("/proc"):  # where nothing can be made, not even by root
            continue
        followed = event == "open" and not details[2] & (getattr(os, "O_NOFOLLOW", 0) | os.O_EXCL)
        real = os.path.realpath(whole if followed else whole.parent)
        if not Path(real).is_relative_to(_WATCHED[0]):
            strays.append(f"{event} {os.fsdecode(path)!r}")


sys.addaudithook(_watch)
