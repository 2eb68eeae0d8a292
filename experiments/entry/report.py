"""``mcmc-text report DIR``: what a run has drawn so far, from its folder, however it ended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from experiments.declaration.options import output_options
from experiments.declaration.resume_option import current_names
from experiments.declaration.wording import argument
from experiments.entry.saved_run import load_run
from experiments.results.html import page
from experiments.results.protocol import Run
from experiments.results.search_run import SearchRun
from experiments.results.terminal import show
from experiments.results.text_run import TextRun
from experiments.runs.run_directory import write_run
from experiments.setup.models import named_model
from experiments.setup.settings import SHARED
from experiments.setup.stored_run import Outline, stored_run

if TYPE_CHECKING:
    from lm_adapters import TextSpace
    from samplers import RunStore

__all__ = ["command", "report"]


def report(path: str | Path, *, model: str | None = None) -> Run:
    """Write samples, summary and page of the run in the folder ``path``, also of one that was stopped or killed.

    The draws are decoded with the tokenizer of the run's model, or of ``model`` if that is elsewhere now; no weights
    are loaded and no code is run. For an unfinished run the files say so, and ``summary.json`` has ``complete`` false;
    for a finished one only the page is written again.

    Raises ``InvalidInput`` for a folder without a run or without a draw, one that is in use, and a tokenizer that
    cannot be found or is another one; ``StoreError`` for damaged files.
    """
    from samplers import InvalidInput, RunStore
    from samplers.storage import exists

    folder = Path(path)
    if not exists(folder / "config.json"):
        raise InvalidInput(f"{str(path)!r} holds no run (no config.json)")
    with RunStore(folder) as store:
        config = _config(store)
        parts = sorted(each.parent.name for each in folder.glob("*/config.json"))
        if parts and not (folder / "shards").is_dir():
            raise InvalidInput(f"{str(path)!r} holds runs of its own; report one of them: {', '.join(parts)}")
        outline = Outline.read(store)
        if _is_finished(store):
            return _page_again(store, config, outline, model)
        run = stored_run(store, config, outline, _space(store, config, outline, model))
        if run is None:
            raise InvalidInput(f"the run in {str(path)!r} has kept no draw yet; resume it")
        summary = run.summary()
        write_run(folder, run, summary, page(run, summary))
        store.log("reported", progress=summary.get("progress", "finished"))
    return run


def _page_again(store: RunStore, config: dict[str, Any], outline: Outline, model: str | None) -> Run:
    """Of a finished run: with its chart and facts where they follow from the draws, and always with its own figures."""
    from samplers.storage import write_atomically

    run: Run = load_run(store.path)
    summary = run.summary()
    if outline.known_target and outline.method in ("chains", "search"):
        stored = stored_run(store, config, outline, _space(store, config, outline, model))
        run = replace(stored, doubt=summary.get("doubt", "")) if isinstance(stored, TextRun | SearchRun) else run
    write_atomically(store.path / "report.html", page(run, summary).encode())
    return run


def _config(store: RunStore) -> dict[str, Any]:
    """The configuration, with values that a run can have. Raises ``InvalidInput``."""
    from samplers import InvalidInput

    config = current_names(store.read("config.json"), SHARED.values())
    try:
        for name, each in SHARED.items():
            if each.recorded and name != "energies":
                if name not in config:
                    raise InvalidInput(f"{name} is missing")
                each.check(config[name])
        if not isinstance(config["model"], str) or not isinstance(config.get("experiment"), str):
            raise InvalidInput("model and experiment are no names")
    except InvalidInput as error:
        raise InvalidInput(f"{str(store.path / 'config.json')!r} cannot be used: {error}") from error
    return {**config, "out": str(store.path)}


def _is_finished(store: RunStore) -> bool:
    from samplers.storage import exists

    if not all(exists(store.path / name) for name in ("summary.json", "samples.jsonl")):
        return False
    return store.read("summary.json").get("complete", True) is True


def _space(store: RunStore, config: dict[str, Any], outline: Outline, model: str | None) -> TextSpace:
    """The space in which the states are texts."""
    from lm_adapters.loading import load_space
    from samplers import InvalidInput

    name = model or config.get(outline.space)
    identity = store.read("models.json").get(outline.space)
    digest = identity.get("vocabulary") if isinstance(identity, dict) else None
    if not isinstance(name, str) or not isinstance(digest, str):
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


@click.command("report")
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option("--model", metavar="NAME", help="Whose tokenizer it was, if it is not where the run had it.")
def command(folder: str, model: str | None, as_json: bool, quiet: bool) -> None:
    """Write samples, summary and page of the run in DIR: all that it has drawn so far, however it ended."""
    show(report(folder, model=model), as_json=as_json, quiet=quiet)


command.params += output_options()
