"""What is shown of a run: how far it is, its texts as they are now, and in the end how far to rely on them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from experiments.entry.open_run import config_of, space_of
from experiments.entry.saved_run import load_run
from experiments.pages.marks import changed, marker, pieces
from experiments.results.figures import nats
from experiments.results.terminal import printable
from experiments.setup.stored_run import Outline, stored_run
from experiments.ui.runs import Status

if TYPE_CHECKING:
    from jinja2 import Template

    from lm_adapters import TextSpace
    from samplers import RunStore

__all__ = ["Views"]

ROWS = 24  # texts that are shown
WORDS = {
    "starting": "is starting",
    "running": "is running",
    "elsewhere": "is running in another process",
    "stopped": "was stopped",
    "finished": "is done",
    "failed": "has failed",
}
Texts = Sequence[tuple[int, float, str]]  # number, energy in nats, text


@dataclass(frozen=True)
class _Seen:
    """What the folder held when it had this ``stamp``."""

    stamp: tuple[Any, ...]
    counted: str = ""
    done: float | None = None  # the share of the work
    progress: str = ""
    texts: Texts = ()
    before: Mapping[int, str] = field(default_factory=dict)  # texts that were seen earlier, by number
    trust: str = ""
    problem: str = ""


class Views:
    """Runs as HTML. A folder is read again only where its files have changed; nothing in it is locked or run."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def html(self, name: str, path: Path, status: Status) -> str:
        seen = self._look(name, path, status) if (path / "config.json").exists() else _Seen(())
        config = _recorded(path) if seen.texts else {}
        found = marker(config)
        rows = []
        for number, energy, text in seen.texts:
            shown, known = printable(text), seen.before.get(number)
            new = [] if known is None or known == text else changed(printable(known), shown)
            kind, spans = ("ins", new) if new else ("mark", found[1](shown) if found else [])
            rows.append({"number": number, "energy": nats(energy), "kind": kind, "parts": list(pieces(shown, spans))})
        html = _template().render(
            name=name,
            state=WORDS[status.state],
            said=[printable(line) for line in status.said.splitlines() if line.strip()],
            link=f"/report/{quote(name, safe='')}" if seen.texts else None,
            rows=rows,
            seen=seen,
        )
        # The browser's side of gradio reads a value as a template.
        return html.replace("{", "&#123;").replace("$", "&#36;")

    def _look(self, name: str, path: Path, status: Status) -> _Seen:
        from samplers import McmcTextError

        stamp, last = (_stamp(path), status.state), self._seen.get(name)
        if last is not None and last.stamp == stamp:
            return last
        before = {number: text for number, _, text in last.texts} if last and status.is_under_way else {}
        try:
            seen = (_at_end if status.state == "finished" else _on_the_way)(path, stamp, before)
        except McmcTextError as error:
            seen = _Seen(stamp, problem=printable(str(error)))
        self._seen[name] = seen
        return seen


def _stamp(path: Path) -> tuple[int, ...]:
    commits = [path / "summary.json", *path.glob("shards/*/commit.safetensors")]
    return tuple(each.stat().st_mtime_ns for each in sorted(commits) if each.exists())


def _at_end(path: Path, stamp: tuple[Any, ...], before: Mapping[int, str]) -> _Seen:
    run = load_run(path)
    return _Seen(
        stamp, run.heading()[0], 1.0, texts=_some(run.shown()), before=before, trust=printable(run.figures["trust"])
    )


def _on_the_way(path: Path, stamp: tuple[Any, ...], before: Mapping[int, str]) -> _Seen:
    from samplers import RunStore
    from samplers.storage import exists

    store = RunStore(path)
    config = config_of(store)
    if not exists(path / "problem.json"):
        return _Seen(stamp)
    outline = Outline.read(store)
    space = _space(path, (path / "models.json").stat().st_mtime_ns)
    if outline.method in ("chains", "search", "smc"):
        return _states(store, config, outline, space, stamp, before)
    run = stored_run(store, config, outline, space)
    if run is None:
        return _Seen(stamp)
    return _Seen(stamp, run.heading()[0], texts=_some(run.shown()), progress=run.summary().get("progress", ""))


def _states(
    store: RunStore,
    config: Mapping[str, Any],
    outline: Outline,
    space: TextSpace,
    stamp: tuple[Any, ...],
    before: Mapping[int, str],
) -> _Seen:
    """Where chains or particles are."""
    from samplers.run import stored_states

    store.is_state = lambda x: bool(space.is_state(x).all())
    is_smc = outline.method == "smc"
    shards = config["populations"] if is_smc else -(-outline.chains // config["shard_size"])
    texts: list[tuple[int, float, str]] = []
    done = 0
    for found in stored_states(store, shards):
        done += found.done
        energies = found.energy.tolist() if outline.known_target else [math.nan] * len(found.energy)
        room = max(0, ROWS - len(texts))
        texts += [(len(texts) + n, energies[n], text) for n, text in enumerate(space.decode(found.x[:room]))]
    if is_smc:
        return _Seen(stamp, "particle", None, f"{done:,} stages of {shards} populations", texts, before)
    total = shards * config["steps"]
    return _Seen(stamp, "chain", done / total, f"{done:,} of {total:,} steps", texts, before)


@lru_cache(8)
def _space(path: Path, _: int) -> TextSpace:
    """That of the run in ``path``; another run may take its place in the folder, with other models."""
    from samplers import RunStore

    store = RunStore(path)
    return space_of(store, config_of(store), Outline.read(store), None)


def _recorded(path: Path) -> dict[str, Any]:
    from samplers import RunStore

    return RunStore(path).read("config.json")


def _some(texts: Iterable[tuple[int, float, str]]) -> Texts:
    return list(islice(texts, ROWS))


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    source = files("experiments.ui").joinpath("view.html").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(source)
