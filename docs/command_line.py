"""The directive ``command-line``: the help of every command of ``mcmc-text``, as the program prints it."""

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from experiments.cli import main


class CommandLine(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        parent = click.Context(main, info_name="mcmc-text", **main.context_settings)
        return [self.section(None, parent)] + [
            self.section(name, click.Context(main.get_command(parent, name), parent=parent, info_name=name))
            for name in main.list_commands(parent)
        ]

    def section(self, name: str | None, context: click.Context) -> nodes.section:
        title = f"mcmc-text {name or ''}".strip()
        context.max_content_width, context.terminal_width = 100, 100
        help_text = nodes.literal_block(text=context.get_help(), language="text")
        return nodes.section("", nodes.title(text=title), help_text, ids=[nodes.make_id(title)], names=[title])


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}
