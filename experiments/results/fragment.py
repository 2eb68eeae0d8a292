"""The texts of a run and how far to rely on them, as a cell of a notebook shows them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from experiments.results.figures import nats
from experiments.results.safe_text import visible

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["fragment"]

TEXTS = 20
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


def fragment(heading: tuple[str, str], rows: Iterable[tuple[int, float, str]], trust: str) -> str:
    """A table of texts and the line of trust, without style, for a page of somebody else's."""
    texts = [(index, nats(energy), _line(text)) for index, energy, text in rows]
    counted, shown = map(_line, heading)
    more = max(0, len(texts) - TEXTS)
    return _template().render(counted=counted, shown=shown, texts=texts[:TEXTS], more=more, trust=_line(trust))


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    return Environment(autoescape=True, undefined=StrictUndefined).from_string(FRAGMENT)


def _line(text: str) -> str:
    return visible(" ".join(text.split()))
