"""List the embedded models with their figures."""

from __future__ import annotations

from typing import Any

import click

from lm_adapters.pretrained import embedded_names, embedded_path, figures, known_languages

__all__ = ["command"]

TRANSLATIONS = {"translation_fr_to_en": "French", "translation_en_to_zh": "English"}


@click.command("models")
def command() -> None:
    """The embedded models and their figures."""
    click.echo(f"{'name':<12} {'task':<10} {'languages':<10} {'parameters':>10} {'size':>8}  on held-out sentences")
    for name in embedded_names():
        facts: dict[str, Any] = figures(name)
        path = embedded_path(name)
        size = sum(file.stat().st_size for file in path.iterdir()) / 1e6 if path else 0.0
        parameters = facts["parameters"] / 1e6
        what = f"{name:<12} {facts['task']:<10} {', '.join(known_languages(name)):<10}"
        click.echo(f"{what} {parameters:>8.2f} M {size:>5.1f} MB  {_quality(facts)}")
    click.echo(
        "\nNats: minus log p of a token, given all others (masked), those before it (causal), or those\n"
        "before it and the source (seq2seq). Any Hugging Face name or folder works too."
    )


def _quality(facts: dict[str, Any]) -> str:
    if facts["task"] == "classifier":
        return f"{facts['accuracy']:.1%} told right, of {', '.join(facts['kinds'])}"
    if facts["task"] == "seq2seq":
        task, language = next((task, name) for task, name in TRANSLATIONS.items() if task in facts)
        return f"{facts['nats_per_token'][task]:.3f} nats/token, BLEU {facts[task]['bleu']:.1f} from {language}"
    return f"{facts['nats_per_token']:.3f} nats/token, {facts['nats_per_character']:.3f} nats/character"
