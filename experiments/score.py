"""Energies of given texts under one or several models, term by term, in memory that does not grow with their number."""

from __future__ import annotations

import math
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from experiments.declaration.options import click_option
from experiments.declaration.user_code import prints_to_stderr, shielded
from experiments.declaration.wording import argument
from experiments.results.safe_text import json_line
from experiments.scoring.lines import Format, Line, Origin, read_given, read_lines
from experiments.scoring.terms import Conditions, Law
from experiments.scoring.windows import OnError, check_lines, check_reading, score_lines
from experiments.setup.common_options import PREFIX, SOURCE_LANG, TARGET_LANG
from experiments.setup.settings import SHARED
from experiments.setup.usual_models import masked_model_of

if TYPE_CHECKING:
    from experiments.setup.custom_energy import GivenEnergy

__all__ = ["command", "score"]

JSON_LINES = (".jsonl", ".ndjson")


def score(
    texts: Iterable[str | Mapping[str, Any]],
    *,
    models: Sequence[str] = (),
    lang: str | None = None,
    source: str | None = None,
    prefix: str | None = None,
    source_lang: str | None = None,
    target_lang: str | None = None,
    tokenizer: str | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    energies: Sequence[GivenEnergy] = (),
    on_error: OnError = "stop",
    device: str = "cpu",
    dtype: str = "float32",
    trust_remote_code: bool = False,
) -> Iterator[dict[str, Any]]:
    """One object a text, in order: ``text``, ``energy`` (the sum, nats) and ``terms`` by name; lower is likelier.

    Main arguments
        ``texts``: any iterable, of which only a window is held in memory; of strings, or of mappings with a ``text``
        and, for seq2seq models, perhaps a ``source`` of its own. A blank text has the energy ``None``. ``models``, each
        a term: a masked model gives minus the pseudo-log-likelihood, a causal one ``-log p(text)``, a seq2seq one
        ``-log p(text | source)``; where none is given, the masked model of ``lang``. ``energies``: your own, as for
        every experiment. ``temperature`` and ``top_p``: of the law, as for every experiment: all are divided by the
        one, and with the other ``-log p`` of a model that reads from left to right is that of sampling with this
        nucleus, ``inf`` for a text with a token outside it.
    Other arguments
        For seq2seq models: ``source``; ``prefix`` before it, by default that of the model's translation task;
        ``source_lang`` and ``target_lang``, of models that have several. ``tokenizer``: of a model behind a server,
        which is named by its address ``http://HOST:PORT/v1#MODEL``. ``on_error="null"``: a text that cannot be scored
        has the energy ``None``, and an ``error``. ``trust_remote_code``: run code that models bring.
    Cost
        A pass for texts of similar length, with sources of their own for seq2seq models; see ``pair_log_probs``.
    Precision
        Texts are scored together with others of similar length. In float32 this changes an energy by less than 1e-4.
    Raises
        ``InvalidInput`` for a text that a model cannot take, with its place; for a list before anything is scored. For
        a temperature or a nucleus that cannot be, and a nucleus of a masked model.
        ``EnergyError`` from energies.
    """
    from samplers import InvalidInput

    if isinstance(texts, str | bytes | Mapping):
        raise InvalidInput(f"texts is one {type(texts).__name__}; give a list of texts")
    if on_error not in ("stop", "null"):
        raise InvalidInput(f"on_error is {on_error!r}; choose 'stop' or 'null'")
    law = Law(
        models or [masked_model_of(lang)], energies, Conditions(source, prefix, source_lang, target_lang),
        temperature, top_p, tokenizer, device, dtype, trust_remote_code,
    )  # fmt: skip
    law.check()
    origin, checked = Origin("texts", is_file=False), on_error == "stop" and isinstance(texts, Sequence)
    if checked:
        check_reading(read_given(texts), origin, law.asking_model())
    terms = law.load_terms()
    if checked:
        check_lines(read_given(texts), terms, origin)
    return score_lines(read_given(texts), terms, on_error, origin, device)


@click.command("score")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--model", "models", multiple=True, help="Masked, causal or seq2seq model; repeatable, each is a term. "
              " [default: masked-en, of --lang zh masked-zh]")  # fmt: skip
@click.option("--source", metavar="TEXT", help='What a seq2seq model conditions on, where a line has no "source".')
@click.option("--source-lang", metavar=SOURCE_LANG.metavar, help=SOURCE_LANG.help)
@click.option("--target-lang", metavar=TARGET_LANG.metavar, help=TARGET_LANG.help)
@click.option("--prefix", help=PREFIX.help)
@click.option("--temperature", type=float, default=1.0, show_default=True,
              help="T of the law exp(-E / T), as of the experiments: all energies are divided by it.")  # fmt: skip
@click.option("--top-p", type=float, default=1.0, show_default=True,
              help="-log p of a left-to-right model is that of sampling with this nucleus: renormalised inside, inf "
              "for a text with a token outside.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(["auto", "text", "jsonl"]), default="auto", show_default=True,
              help="auto: jsonl if FILE ends in .jsonl or begins with a JSON object, else text.")  # fmt: skip
@click.option("--on-error", type=click.Choice(["stop", "null"]), default="stop", show_default=True,
              help='At a line that cannot be scored: stop, or go on with "energy": null.')  # fmt: skip
@click_option(SHARED["lang"])
@click_option(SHARED["tokenizer"])
@click_option(SHARED["energies"])
@click.option("--device", default="cpu", show_default=True)
@click.option("--dtype", default="float32", show_default=True)
@click_option(SHARED["trust_remote_code"])
def command(
    file: Path | None,
    models: Sequence[str],
    source: str | None,
    source_lang: str | None,
    target_lang: str | None,
    prefix: str | None,
    temperature: float,
    top_p: float,
    form: Format,
    tokenizer: str | None,
    on_error: OnError,
    lang: str | None,
    energies: Sequence[str],
    device: str,
    dtype: str,
    trust_remote_code: bool,
) -> None:
    """Energies of the texts in FILE (one a line, or JSON Lines with "text"), in nats, as JSON Lines.

    A seq2seq model scores a text given its "source", or --source; pairs of similar length share passes. Every line has
    its line in the output, a blank one too. Without FILE, or for -, standard input is read.
    """
    law = Law(
        models or [masked_model_of(lang)], energies, Conditions(source, prefix, source_lang, target_lang),
        temperature, top_p, tokenizer, device, dtype, trust_remote_code,
    )  # fmt: skip
    law.check()
    with _opened(file) as (stream, origin):
        if form == "auto" and file is not None and file.suffix in JSON_LINES:
            form = "jsonl"
        start = stream.tell() if on_error == "stop" and _is_regular(stream) else None

        def lines() -> Iterator[Line]:
            if start is not None:
                stream.seek(start)
            return read_lines(stream, form, origin.name)

        if start is not None:
            check_reading(lines(), origin, law.asking_model())
        with prints_to_stderr():
            terms = law.load_terms()
        count = None if start is None else check_lines(lines(), terms, origin)
        _print(shielded(lambda: score_lines(lines(), terms, on_error, origin, device)), count)


@contextmanager
def _opened(file: Path | None) -> Iterator[tuple[BinaryIO, Origin]]:
    from samplers import InvalidInput

    if file is None and sys.stdin.isatty():
        raise click.UsageError(f"give {argument('file')}, or - for standard input")
    if file is None or str(file) == "-":
        yield sys.stdin.buffer, Origin("standard input", is_file=True)
        return
    try:
        stream = file.open("rb")
    except OSError as error:
        raise InvalidInput(f"FILE {str(file)!r} cannot be read: {error.strerror}") from error
    with stream:
        yield stream, Origin(f"FILE {str(file)!r}", is_file=True)


def _is_regular(stream: BinaryIO) -> bool:
    """Whether it can be read twice; what comes through a pipe cannot."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except OSError:
        return False


def _print(scored: Iterator[dict[str, Any]], count: int | None) -> None:
    """``count`` lines, if it is known how many there are; a bar on stderr, unless both go to the terminal."""
    from samplers.run import progress_bar

    lines, failed, forbidden = 0, 0, 0
    with progress_bar(count, shown=not sys.stdout.isatty(), unit="text") as bar:
        for each in scored:
            click.echo(json_line(each))
            lines, failed, forbidden = lines + 1, failed + ("error" in each), forbidden + (each["energy"] == math.inf)
            bar.update()
    if failed:
        click.echo(f'{failed:,} of {lines:,} lines could not be scored; their "error" says why', err=True)
    if forbidden:
        click.echo(f'{forbidden:,} of {lines:,} texts are forbidden: their energy is "inf"', err=True)
