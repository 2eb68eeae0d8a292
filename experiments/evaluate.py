"""Texts judged from outside: those of the experiments on held-out rows, or any others."""

from __future__ import annotations

import click

__all__ = ["command"]

EXPERIMENTS = ("control", "gibbs", "infill", "keywords", "paraphrase", "summarize", "translate")


class _Evaluations(click.Group):
    """Makes a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*EXPERIMENTS, "texts", "truth"]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name == "texts":
            from experiments.evaluating.texts_command import texts_command

            return texts_command()
        if name == "truth":
            from experiments.evaluating.truth_command import truth_command

            return truth_command()
        from experiments.evaluating.command import evaluation_command

        return evaluation_command(name) if name in EXPERIMENTS else None


@click.group("evaluate", cls=_Evaluations)
def command() -> None:
    """Judge texts by what shares nothing with the models that drew them.

    Word 4-grams with Kneser-Ney smoothing, a list of words, training sentences, repeated pairs of words: all from a
    corpus, beside held-out text and baselines, in a table that says which figures of the bar are met. `truth` compares
    samplers with exact draws instead.
    """
