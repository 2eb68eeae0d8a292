"""A run as one page to look at: its texts, its figures and how far to rely on them, with nothing to run or to fetch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from experiments.declaration.wording import argument
from experiments.results.chart import BOX, chart
from experiments.results.figures import nats
from experiments.results.protocol import Run
from experiments.results.safe_text import visible

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["fragment", "page"]

TEXTS = 200  # of more chains the rest is in samples.jsonl
FRAGMENT_TEXTS = 20

# Everything is escaped; the policy keeps the page harmless even where that failed.
TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ name }}</title>
<style>
:root { color-scheme: light dark; --ink: #1c1e21; --faint: #656b73; --line: #d9dce0; --paper: #fff; --note: #f3f4f6 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e6e9; --faint: #9aa1aa; --line: #3a3f46; --paper: #17191c; --note: #22262b }
}
body { margin: 0 auto; max-width: 56rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.4rem; margin: .5rem 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
.trust { background: var(--note); border-left: .25rem solid var(--faint); padding: .5rem .75rem; margin: 0 0 .5rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25rem .5rem; border-bottom: 1px solid var(--line) }
th { color: var(--faint); font-weight: normal }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; width: 1% }
.label { width: 30% }
svg { width: 100%; height: auto; display: block } svg path { fill: none; stroke-width: 1.2; stroke-opacity: .7 }
svg text { fill: var(--faint); font-size: 11px } svg line { stroke: var(--line) }
p.small { color: var(--faint); font-size: .875rem; margin: .25rem 0 }
</style>
</head>
<body>
<h1>{{ name }}</h1>
<p class="trust">{{ trust }}</p>
{%- if trusted %}
<p class="trust">Code that the models bring along was run ({{ trusted }}).</p>
{%- endif %}
<h2>Texts</h2>
<table>
<tr><th class="number">{{ counted }}</th><th class="number">nats</th><th>{{ shown }}</th></tr>
{%- for index, energy, text in texts %}
<tr><td class="number">{{ index }}</td><td class="number">{{ energy }}</td><td dir="auto">{{ text }}</td></tr>
{%- endfor %}
</table>
{%- if more %}
<p class="small">and {{ more }} more in samples.jsonl</p>
{%- endif %}
{%- if chart %}
<h2>Energy</h2>
<svg viewBox="0 0 {{ box.width }} {{ box.height }}" role="img" aria-label="{{ chart.caption }}">
{%- for y, label in chart.levels %}
<line x1="{{ box.left }}" x2="{{ box.width }}" y1="{{ y }}" y2="{{ y }}"/>
<text x="{{ box.left - 6 }}" y="{{ y + 4 }}" text-anchor="end">{{ label }}</text>
{%- endfor %}
<text x="{{ box.left }}" y="{{ box.height - 6 }}">step {{ chart.first }}</text>
<text x="{{ box.width }}" y="{{ box.height - 6 }}" text-anchor="end">step {{ chart.last }}</text>
{%- for path in chart.paths %}
<path d="{{ path }}" stroke="hsl({{ chart.hues[loop.index0] }} 65% 50%)"/>
{%- endfor %}
</svg>
<p class="small">{{ chart.caption }}</p>
{%- endif %}
{%- for title, rows in tables %}
<h2>{{ title }}</h2>
<table>
{%- for label, value in rows %}
<tr><th class="label">{{ label }}</th><td>{{ value }}</td></tr>
{%- endfor %}
</table>
{%- endfor %}
</body>
</html>
"""

FRAGMENT = """\
<table>
<tr><th>{{ counted }}</th><th>nats</th><th>{{ shown }}</th></tr>
{%- for index, energy, text in texts %}
<tr><td>{{ index }}</td><td>{{ energy }}</td><td dir="auto">{{ text }}</td></tr>
{%- endfor %}
</table>
{%- if more %}
<p>and {{ more }} more</p>
{%- endif %}
<p>{{ trust }}</p>
"""


def page(run: Run, summary: Mapping[str, Any]) -> str:
    """The whole of ``report.html``, for a run of any experiment and its ``summary()``. Always valid UTF-8."""
    counted, shown = run.heading()
    texts = [(index, nats(energy), _line(text)) for index, energy, text in run.shown()]
    config = [(_line(name), _line(str(value))) for name, value in run.config.items() if value not in (None, [], ())]
    facts = [(_line(label), _line(value)) for label, value in run.facts(summary)]
    times = [(_line(label), _line(value)) for label, value in run.spent.in_words()]
    return _template(TEMPLATE).render(
        name=_line(str(run.config["experiment"])),
        trust=_line(summary["trust"]),
        trusted=argument("trust_remote_code") if run.config["trust_remote_code"] else None,
        counted=_line(counted),
        shown=_line(shown),
        texts=texts[:TEXTS],
        more=max(0, len(texts) - TEXTS),
        chart=chart(*history) if (history := run.history()) else None,
        tables=[("Figures", facts), *([("Time by term", times)] if times else []), ("Configuration", config)],
        box=BOX,
    )


def fragment(heading: tuple[str, str], rows: Iterable[tuple[int, float, str]], trust: str) -> str:
    """A table of texts and the line of trust, without style, for a page of somebody else's."""
    texts = [(index, nats(energy), _line(text)) for index, energy, text in rows]
    counted, shown = map(_line, heading)
    more = max(0, len(texts) - FRAGMENT_TEXTS)
    return _template(FRAGMENT).render(
        counted=counted, shown=shown, texts=texts[:FRAGMENT_TEXTS], more=more, trust=_line(trust)
    )


@cache
def _template(source: str) -> Template:
    from jinja2 import Environment, StrictUndefined

    return Environment(autoescape=True, undefined=StrictUndefined).from_string(source)


def _line(text: str) -> str:
    return visible(" ".join(text.split()))
