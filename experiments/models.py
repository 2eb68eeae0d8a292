"""List the embedded models with their figures."""

from __future__ import annotations

import click

__all__ = ["command"]


@click.command("models")
def command() -> None:
    """The embedded models and their figures."""
    from lm_adapters.pretrained import embedded_names, embedded_path, figures

    click.echo(f"{'name':<12} {'task':<8} {'parameters':>10} {'size':>8} {'nats/token':>11} {'nats/character':>15}")
    for name in embedded_names():
        facts = figures(name)
        size = sum(file.stat().st_size for file in embedded_path(name).iterdir())
        click.echo(
            f"{name:<12} {facts['task']:<8} {facts['parameters'] / 1e6:>8.2f} M {size / 1e6:>5.1f} MB "
            f"{facts['nats_per_token']:>11.3f} {facts['nats_per_character']:>15.3f}"
        )
    click.echo("\nFigures: pseudo-log-likelihood on held-out sentences. Any Hugging Face name or folder works too.")
