"""The directive ``command-line``: the help of every command of ``mcmc-text``, as the program prints it."""

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from experiments.cli import main


class CommandLine(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        parent = click.Context(main, info_name="mcmc-text", **main.context_settings)
        return [self.section(context) for context in self.contexts(parent)]

    def contexts(self, context: click.Context) -> list[click.Context]:
        """Of a command and of all below it."""
        group, found = context.command, [context]
        for name in group.list_commands(context) if isinstance(group, click.Group) else []:
            found += self.contexts(click.Context(group.get_command(context, name), parent=context, info_name=name))
        return found

    def section(self, context: click.Context) -> nodes.section:
        title = context.command_path
        context.max_content_width, context.terminal_width = 100, 100
        help_text = nodes.literal_block(text=context.get_help(), language="text")
        return nodes.section("", nodes.title(text=title), help_text, ids=[nodes.make_id(title)], names=[title])


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}
