"""``mcmc-text check-energy FILE.py:NAME``: a doctor of energies."""

from __future__ import annotations

from pathlib import Path

import click

from experiments.declaration.user_code import debug_option, prints_to_stderr, shielded
from experiments.doctor.examine import findings_of
from experiments.doctor.findings import Examination
from experiments.scoring.lines import read_lines
from experiments.setup.custom_energy import load_custom_energies
from experiments.setup.settings import SHARED

__all__ = ["command"]

MOST = 1000  # texts of a file that are tried


@click.command("check-energy")
@click.argument("energies", metavar="FILE.py:NAME")
@click.option(
    "--texts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help=f'Try it on these texts too, one a line, or JSON Lines with "text"; the first {MOST:,}.',
)
@click.option(
    "--run/--no-run",
    "run",
    default=True,
    show_default=True,
    help="Also a short run of gibbs, with it and without; this alone loads models.",
)
@click.option(
    "--model", default=SHARED["model"].default, show_default=True, help="Of the run; of an energy of tensors."
)
@click.option("--scorer", metavar="NAME", help="Of the run.  [default: that of gibbs]")
@click.pass_context
def command(
    context: click.Context, energies: str, texts: Path | None, run: bool, model: str, scorer: str | None
) -> None:
    """Try an energy of yours on texts, and say what is wrong with it and how to mend it.

    FILE.py:NAME[=WEIGHT], MODULE:NAME, or the NAME that a package registers, as --energy takes it. The exit code is 0
    where it is well, 1 where there are errors, 2 for bad input.
    """
    given = _texts(texts) if texts else []
    with prints_to_stderr():
        (energy,) = load_custom_energies([energies])
    found = Examination(energy.spec)
    for each in shielded(lambda: findings_of(energy, given, run=run, model=model, scorer=scorer)):
        found.findings.append(each)
        click.echo("\n".join(each.lines()))
    click.echo(f"\n{found.verdict()}")
    if not found.is_well:
        context.exit(1)


command.params.append(debug_option())


def _texts(path: Path) -> list[str]:
    """Raises ``InvalidInput`` for a file without a text, or with a line that is none."""
    from samplers import InvalidInput

    found: list[str] = []
    name = f"--texts {str(path)!r}"
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(read_lines(stream, "auto", name), 1):
                if line.problem:
                    raise InvalidInput(f"{name}, line {number}: {line.problem}")
                found += [line.text] if line.text.strip() else []
                if len(found) == MOST:
                    break
    except OSError as error:
        raise InvalidInput(f"{name} cannot be read ({error.strerror})") from error
    if not found:
        raise InvalidInput(f"{name} has no text; write one a line")
    return found
