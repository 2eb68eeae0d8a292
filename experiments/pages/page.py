"""A run as one page to look at: its texts, its plots, its figures and how far to rely on them. Nothing is fetched."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from experiments.declaration.wording import argument
from experiments.pages.drawing import drawing
from experiments.pages.draws import Chain, Draws, Text
from experiments.pages.marks import Marker, changed, marker, pieces, source_of
from experiments.pages.plot import Plot
from experiments.pages.plots import plots_of
from experiments.results.figures import nats
from experiments.results.protocol import Run
from experiments.results.safe_text import json_text, plain, visible
from experiments.results.trust import guarantee

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["SAID", "TEXTS", "line", "page", "policy", "read_part", "run_plots", "template"]

TEXTS = 200  # written out; scripts show the others
WALKS, CHANGES = 4, 25  # chains of which the last changes are shown, and how many
SMALLEST = 5e-5  # that is not rounded to nothing
LAWS = ("target", "objective")
SAID = {*LAWS, "made small"}  # labels of figures that are above
OPTION = re.compile(r"(--[a-z-]+)")


def page(run: Run, summary: Mapping[str, Any], repeat: str | None = None) -> str:
    """The whole of ``report.html``, for a run of any experiment and its ``summary()``. Always valid UTF-8.

    ``repeat``: the command that does the run again. Everything is escaped; the page's policy lets no script run but
    its own, and keeps the page harmless even where that failed.
    """
    config = run.config
    draws = Draws.of(run.samples())
    marking, source = marker(config), source_of(config)
    terms, mark = draws.term_names, marking[1] if marking else None
    facts = [(line(label), line(value)) for label, value in run.facts(summary) if label not in SAID]
    settings = [
        (line(name.replace("_", "-")), value) for name, given in config.items() if (value := _setting(name, given))
    ]
    times = [(line(label), line(value)) for label, value in run.spent.in_words()]
    law = next((name for name in LAWS if name in summary), None)
    shown = [drawn for plot in run_plots(run, summary, draws) if (drawn := drawing(plot))]
    return template("page.html").render(
        policy=policy("page.css", "page.js"),
        style=read_part("page.css"),
        script=read_part("page.js"),
        name=line(str(config["experiment"])),
        progress=line(str(summary.get("progress", ""))),
        trust=_whole_options(summary["trust"]),
        guarantee=guarantee(summary),
        trusted=argument("trust_remote_code") if config["trust_remote_code"] else None,
        target=(law.capitalize(), line(str(summary[law]))) if law else None,
        source=(source[0], line(source[1])) if source else None,
        repeat=_whole_options(repeat) if repeat else None,
        marked=marking[0] if marking else None,
        total=_total(draws),
        terms=[line(name) for name in terms],
        is_law=draws.is_law,
        texts=[_row(text, terms, mark, is_law=draws.is_law) for text in draws.texts[:TEXTS]],
        all=len(draws.texts),
        more=f"{more:,}" if (more := len(draws.texts) - TEXTS) > 0 else "",
        walks=[walk for chain in _chosen(draws.chains) if (walk := _walk(chain))["rows"]],
        drawings=shown,
        tables=[("Figures", facts), *([("Time by term", times)] if times else []), ("Configuration", settings)],
        data=_data(draws, terms, mark),
    )


def run_plots(run: Run, summary: Mapping[str, Any], draws: Draws) -> list[Plot]:
    """Of a run of any kind. Names that the run gives, as of moves, are made safe to show."""
    history = run.history() if "objective" in summary else None
    shown = {**summary}
    if isinstance(moves := summary.get("moves"), Mapping):
        shown["moves"] = {line(str(name)): count for name, count in moves.items()}
    return plots_of(draws, shown, history[:2] if history else None, int(run.config.get("steps") or 0))


def line(text: str) -> str:
    """On one line, with nothing unseen in it."""
    return visible(" ".join(text.split()))


def _whole_options(text: str) -> list[tuple[bool, str]]:
    """In parts, each with whether it is an option of the command line, which no line break is to cut."""
    return [(index % 2 == 1, part) for index, part in enumerate(OPTION.split(line(text)))]


def _setting(name: str, value: Any) -> str:
    """As the command line would have it; empty for what was not given."""
    if value is None or value in ([], ()):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    is_range = name == "length" and isinstance(value, list)
    return line((":" if is_range else ", ").join(map(str, value)) if isinstance(value, list) else str(value))


def _total(draws: Draws) -> str:
    count, distinct = draws.count, len(draws.texts)
    if draws.is_law:
        return f"{distinct:,} texts, each with its probability; none was drawn. Energy in nats: lower is likelier."
    chains = f" of {len(draws.chains):,} chains" if draws.chains else ""
    kinds = f"{distinct:,} different texts" if distinct > 1 else "One text"
    what = f"{kinds} in {count:,} draws{chains}." if distinct < count else f"{count:,} texts{chains}."
    sums = " The columns on the right add up to it." if draws.term_names else ""
    return f"{what} Energy in nats: lower is likelier; of a text with several, the lowest.{sums}"


def _row(text: Text, terms: Sequence[str], mark: Marker | None, *, is_law: bool) -> dict[str, Any]:
    shown = line(text.text)
    return {
        "count": _share(text.probability) if is_law else f"{text.count:,}",
        "energy": nats(text.energy),
        "parts": list(pieces(shown, mark(shown) if mark else [])),
        "terms": [nats(text.terms.get(name, float("nan"))) for name in terms],
    }


def _share(probability: float) -> str:
    return f"{probability:.2%}" if probability >= SMALLEST else "<0.01%"


def _data(draws: Draws, terms: Sequence[str], mark: Marker | None) -> str:
    """All texts for the script, as JSON in gzip in base64: a tenth of it, and quickly read past."""
    rows = []
    for text in draws.texts:
        shown = line(text.text)
        ends = [end for span in (mark(shown) if mark else ()) for end in span]
        values = [round(text.terms.get(name, float("nan")), 4) for name in terms]
        rows.append(
            [round(text.probability, 6) if draws.is_law else text.count, round(text.energy, 4), shown, values, ends]
        )
    packed = gzip.compress(json_text(plain(rows)).encode(), compresslevel=6, mtime=0)
    return base64.b64encode(packed).decode()


def _chosen(chains: Sequence[Chain]) -> list[Chain]:
    """Some of each kind of start."""
    below = [chain for chain in chains if chain.start == "below"][: WALKS // 2]
    return [*below, *[chain for chain in chains if chain.start != "below"]][:WALKS]


def _walk(chain: Chain) -> dict[str, Any]:
    """The last draws of a chain that differ from the one before, with what is new in them."""
    start = f", started from {chain.start}" if chain.start else ""
    return {"title": f"Chain {chain.number}{start}", "rows": list(_changes(chain))}


def _changes(chain: Chain) -> Iterator[dict[str, Any]]:
    texts = chain.texts
    moved = [index for index in range(1, len(texts)) if texts[index] != texts[index - 1]]
    for index in moved[-CHANGES:]:
        before, after = line(texts[index - 1]), line(texts[index])
        parts = list(pieces(after, changed(before, after)))
        yield {"step": f"{chain.steps[index]:,}", "energy": nats(chain.energies[index]), "parts": parts}


@cache
def read_part(name: str) -> str:
    """A file of this package: a template, the style or the script."""
    return files("experiments.pages").joinpath(name).read_text(encoding="utf-8").strip()


@cache
def policy(style: str, script: str | None = None) -> str:
    """What a page may do that has this style and this script: nothing else."""
    scripts = f"script-src {_digest(script)}; " if script else ""
    return f"default-src 'none'; style-src {_digest(style)}; {scripts}base-uri 'none'; form-action 'none'"


def _digest(name: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(read_part(name).encode()).digest()).decode()}'"


@cache
def template(name: str) -> Template:
    """One of ours, which escapes everything that it is not told to trust."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(autoescape=True, undefined=StrictUndefined, loader=FunctionLoader(read_part)).get_template(name)
