"""What a run's folder holds, whether the run goes on, was stopped or is done, as one object. Changes nothing in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.declaration.plugins import OURS, find_plugin, load_plugin, packages_with
from experiments.declaration.resume_option import current_names
from experiments.declaration.wording import argument
from experiments.entry.experiment import experiment_of
from experiments.entry.saved_run import load_run
from experiments.results.protocol import Run
from experiments.results.search_run import SearchRun
from experiments.results.stopped_run import StoppedRun
from experiments.results.text_run import TextRun
from experiments.setup.models import named_model
from experiments.setup.settings import SHARED
from experiments.setup.stored_run import Outline, stored_run

if TYPE_CHECKING:
    from lm_adapters import TextSpace
    from samplers import RunStore

__all__ = ["OpenedRun", "config_of", "is_finished", "opened", "space_of"]

STOPPED, RUNNING = "stopped after", "still running, so far"


@dataclass(frozen=True)
class OpenedRun:
    """``run`` and its ``summary``; ``repeat``: the command that does it again, where that is known.

    ``is_finished``: samples and summary are in the folder; ``is_running``: another process works in it.
    """

    run: Run
    summary: Mapping[str, Any]
    store: RunStore
    repeat: str | None
    is_finished: bool
    is_running: bool


@contextmanager
def opened(path: str | Path, model: str | None = None) -> Iterator[OpenedRun]:
    """The run in the folder ``path``, which no other process changes within the block, unless it is running.

    Draws that no text has been written of yet are decoded with the tokenizer of the run's model, or of ``model`` if
    that is elsewhere now; no weights are loaded and no code of the folder is run.

    Raises ``InvalidInput`` for a folder without a run or without a draw, and a tokenizer that cannot be found or is
    another one; ``StoreError`` for damaged files.
    """
    from samplers import FolderInUse, InvalidInput, RunStore
    from samplers.storage import exists

    folder = Path(path)
    if not exists(folder / "config.json"):
        raise InvalidInput(f"{str(path)!r} holds no run (no config.json)")
    parts = sorted(each.parent.name for each in folder.glob("*/config.json"))
    if parts and not (folder / "shards").is_dir():
        raise InvalidInput(f"{str(path)!r} holds runs of its own; name one of them: {', '.join(parts)}")
    store = RunStore(folder)
    try:
        store.__enter__()
    except FolderInUse:  # what is committed is never changed: it can be read beside the process that goes on
        yield _opened(store, model, is_running=True)
        return
    try:
        yield _opened(store, model, is_running=False)
    finally:
        store.__exit__(None, None, None)


def _opened(store: RunStore, model: str | None, *, is_running: bool) -> OpenedRun:
    from samplers import InvalidInput

    config = config_of(store)
    outline = Outline.read(store)
    if not is_running and is_finished(store):
        run, summary = _finished(store, config, outline, model)
        return OpenedRun(run, summary, store, _repeat(config), is_finished=True, is_running=False)
    found = stored_run(store, config, outline, space_of(store, config, outline, model))
    if found is None:
        wait = "wait for its first commit" if is_running else "resume it"
        raise InvalidInput(f"the run in {str(store.path)!r} has kept no draw yet; {wait}")
    if is_running and isinstance(found, StoppedRun):
        found = replace(found, progress=found.progress.replace(STOPPED, RUNNING))
    return OpenedRun(found, found.summary(), store, _repeat(config), is_finished=False, is_running=is_running)


def _finished(
    store: RunStore, config: dict[str, Any], outline: Outline, model: str | None
) -> tuple[Run, Mapping[str, Any]]:
    """With its facts where they follow from the draws, and always with its own figures."""
    run: Run = load_run(store.path)
    summary = run.summary()
    if outline.known_target and outline.method in ("chains", "search"):
        stored = stored_run(store, config, outline, space_of(store, config, outline, model))
        run = replace(stored, doubt=summary.get("doubt", "")) if isinstance(stored, TextRun | SearchRun) else run
    return run, summary


def _repeat(config: Mapping[str, Any]) -> str | None:
    """Of our own experiments: nothing that a folder names is imported."""
    name = str(config["experiment"])
    entry = find_plugin("experiments", name) if OURS in packages_with("experiments", name) else None
    declared = experiment_of(load_plugin(entry)) if entry else None
    return declared.how_to_repeat(config) if declared else None


def config_of(store: RunStore) -> dict[str, Any]:
    """The configuration, with values that a run can have. Raises ``InvalidInput``."""
    from samplers import InvalidInput

    config = current_names(store.read("config.json"), SHARED.values())
    try:
        for name, each in SHARED.items():
            if each.recorded and name != "energies":
                if name not in config and (each.required or name == "model"):
                    raise InvalidInput(f"{name} is missing")
                each.check(config.setdefault(name, each.default))  # begun by a version that did not have it
        if not isinstance(config["model"], str) or not isinstance(config.get("experiment"), str):
            raise InvalidInput("model and experiment are no names")
    except InvalidInput as error:
        raise InvalidInput(f"{str(store.path / 'config.json')!r} cannot be used: {error}") from error
    return {**config, "out": str(store.path)}


def is_finished(store: RunStore) -> bool:
    """Whether samples and summary of the whole run are there. Raises ``StoreError``."""
    from samplers.storage import exists

    if not all(exists(store.path / name) for name in ("summary.json", "samples.jsonl")):
        return False
    return store.read("summary.json").get("complete", True) is True


def space_of(store: RunStore, config: dict[str, Any], outline: Outline, model: str | None) -> TextSpace:
    """The space in which the states are texts. Errors as of ``opened``."""
    from lm_adapters import is_remote
    from lm_adapters.loading import load_space
    from samplers import InvalidInput

    name = model or config.get(outline.space)
    identity = store.read("models.json").get(outline.space)
    digest = identity.get("vocabulary") if isinstance(identity, dict) else None
    if not isinstance(name, str) or not isinstance(digest, str) or is_remote(name):
        raise InvalidInput(
            f"{str(store.path)!r} does not say which model its texts are of; name it in {argument('model')}"
        )
    found = named_model(name, "cpu", "float32")
    if not isinstance(found, str):
        space: TextSpace = found.space
        return space
    try:
        return load_space(found, outline.vocabulary, digest)
    except InvalidInput as error:
        raise InvalidInput(f"{error}; or name the model in {argument('model')}") from error
