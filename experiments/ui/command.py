"""``mcmc-text ui``: runs begun, watched, stopped and resumed in a browser."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click

from experiments.declaration.plugins import OURS, find_plugin, load_plugin, packages_with, plugin_names
from experiments.declaration.user_code import debug_option
from experiments.entry.experiment import Experiment, experiment_of

__all__ = ["command", "offered"]

PORT = 7860


def offered() -> dict[str, Experiment]:
    """The experiments whose result is a run, by name: ours, as no code of other packages is run before it is wanted."""
    found = {}
    for name in plugin_names("experiments"):
        entry = find_plugin("experiments", name) if OURS in packages_with("experiments", name) else None
        declared = experiment_of(load_plugin(entry)) if entry else None
        if declared and declared.show is None:
            found[name] = declared
    return found


@click.command("ui")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: any that is free.")
@click.option("--runs", "folder", default="runs", show_default=True, metavar="DIR", help="Where the runs are kept.")
@click.option(
    "--energy",
    "energies",
    multiple=True,
    metavar="FILE.py:NAME[=WEIGHT]",
    help="An energy of your own that runs may be given. Repeatable.",
)
def command(port: int, folder: str, energies: tuple[str, ...]) -> None:
    """Start, watch, stop and resume runs in a browser on this machine, and open their reports.

    Each run is the ordinary command with its folder in DIR: it can be resumed, reported and repeated without the
    browser. Nothing can be reached from other machines, and nothing is fetched from them.
    """
    from samplers import InvalidInput

    if importlib.util.find_spec("gradio") is None:
        raise InvalidInput("the ui needs gradio; install it: pip install 'mcmc-text[ui]'")
    if Path(folder).exists() and not Path(folder).is_dir():
        raise InvalidInput(f"--runs {folder!r} is no folder")
    from experiments.setup.custom_energy import load_custom_energies
    from experiments.ui.runs import Runs
    from experiments.ui.server import HOST, bound_socket, serve, ui_app

    load_custom_energies(energies)
    runs = Runs(folder, energies)
    with bound_socket(port) as bound:
        app = ui_app(runs, offered())
        click.echo(f"http://{HOST}:{bound.getsockname()[1]}/ (Ctrl-C ends it, and stops the runs that it began)")
        try:
            serve(app, bound)
        finally:
            for name in runs.close():
                click.echo(f"stopped {name}", err=True)


command.params.append(debug_option())
