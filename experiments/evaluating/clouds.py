"""How far the meanings of texts are from those of held-out ones, both as clouds of sentence vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from experiments.results.safe_text import json_line

if TYPE_CHECKING:
    from experiments.evaluating.table import Texts
    from lm_adapters import SentenceEncoder

__all__ = ["show_clouds"]

FEWEST = 4  # texts of a row, of which each half is a cloud
LEGEND = """\
KL, Bhat, W2: distance of the texts' cloud of embeddings from that of held-out text, each a Gaussian
   in the 16 directions in which both vary most. Halves of held-out text, which have one law but half
   as many texts, say what chance does."""


def show_clouds(encoder: SentenceEncoder, rows: Sequence[Texts], *, as_json: bool) -> None:
    """Print the distances of each row from the first, which is held-out text, and of the halves of that."""
    from lm_adapters import cloud_distances

    held_out = encoder.embed(rows[0].texts)
    clouds = {"held-out halves": (held_out[::2], held_out[1::2])}
    clouds |= {row.name: (encoder.embed(row.texts), held_out) for row in rows[1:] if len(row.texts) > 1}
    if len(held_out) < FEWEST:
        click.echo(f"clouds of fewer than {FEWEST} texts are not compared; raise --count", err=True)
        return
    found = {name: cloud_distances(*pair) for name, pair in clouds.items()}
    if as_json:
        for name, distances in found.items():
            click.echo(json_line({"name": name, "clouds": distances._asdict()}))
        return
    click.echo(f"\n{'':15}  {'KL':>7}  {'Bhat':>7}  {'W2':>7}")
    for name, distances in found.items():
        click.echo("  ".join([f"{name:<15.15}", *(f"{each:>7.3f}" for each in distances)]))
    click.echo(f"\n{LEGEND}")
