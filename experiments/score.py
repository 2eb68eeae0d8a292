"""Energies of given texts under one or several models, term by term."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from experiments.declaration.options import click_option
from experiments.declaration.wording import argument
from experiments.results.safe_text import json_line
from experiments.setup.custom_energy import load_custom_energies
from experiments.setup.models import named_model
from experiments.setup.settings import SHARED

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.setup.custom_energy import GivenEnergy
    from lm_adapters import TextSpace
    from samplers import Energy

__all__ = ["command", "score"]

BATCH = 256  # texts scored together; memory is bounded by the models' own passes


def score(
    texts: Sequence[str],
    *,
    models: Sequence[str] = ("masked-en",),
    source: str | None = None,
    prefix: str = "",
    energies: Sequence[GivenEnergy] = (),
    device: str = "cpu",
    dtype: str = "float32",
    trust_remote_code: bool = False,
) -> Iterator[dict[str, Any]]:
    """One object a text: ``text``, ``energy`` (the sum, nats) and ``terms`` by name; lower is likelier.

    Main arguments
        ``models``, each a term: a masked model gives minus the pseudo-log-likelihood, a causal one ``-log p(text)``, a
        seq2seq one ``-log p(text | source)``. ``energies``: your own, as for every experiment.
    Other arguments
        ``source`` for seq2seq models, with ``prefix`` before it. ``trust_remote_code``: run code that models bring.
    Raises
        ``InvalidInput`` for a text that a model cannot take, before anything is scored; ``EnergyError`` from energies.
    """
    from lm_adapters import check_device
    from samplers import InvalidInput

    if not texts:
        raise InvalidInput("there is no text to score; give at least one")
    custom = load_custom_energies(energies)
    check_device(device)
    trusted = {"trust_remote_code": trust_remote_code}
    terms = [_model_term(name, source, prefix, (device, dtype), trusted) for name in models]
    terms += [(own.name, own.term(terms[0][2]), terms[0][2]) for own in custom]
    names = [name for name, _, _ in terms]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InvalidInput(f"{twice[0]!r} is named twice and would be one term; leave one out, or rename it")
    states = [space.encode(texts).to(device) for _, _, space in terms]
    return _scored(texts, terms, states)


def _scored(
    texts: Sequence[str], terms: Sequence[tuple[str, Energy, TextSpace]], states: Sequence[Tensor]
) -> Iterator[dict[str, Any]]:
    import torch

    from samplers import evaluate

    for start in range(0, len(texts), BATCH):
        columns = {}
        for (name, term, space), x in zip(terms, states, strict=True):
            with torch.inference_mode(), space.texts_in_errors():
                columns[name] = evaluate(term, x[start : start + BATCH]).energy.tolist()
        for row, text in enumerate(texts[start : start + BATCH]):
            named = {name: values[row] for name, values in columns.items()}
            yield {"text": text, "energy": sum(named.values()), "terms": named}


def _model_term(
    name: str, source: str | None, prefix: str, where: tuple[str, str], trusted: dict[str, Any]
) -> tuple[str, Energy, TextSpace]:
    """The model's name, its energy and the space of its states."""
    from lm_adapters import CausalLM, MaskedEnergy, MaskedLM, Seq2SeqLM, SequenceEnergy, task_of
    from samplers import InvalidInput

    model = named_model(name, *where)
    if isinstance(model, str):
        kinds = {"seq2seq": Seq2SeqLM, "causal": CausalLM, "masked": MaskedLM}
        model = kinds[task_of(model, **trusted)].from_pretrained(model, *where, **trusted)
    if isinstance(model, Seq2SeqLM):
        if source is None:
            raise InvalidInput(
                f"{name!r} is a seq2seq model and scores a text given a source; give {argument('source')}"
            )
        return name, SequenceEnergy(model.condition_on(source, prefix=prefix)), model.space
    if isinstance(model, MaskedLM):
        return name, MaskedEnergy(model, "pll"), model.space
    return name, SequenceEnergy(model.condition_on()), model.space


def read_texts(path: Path) -> list[str]:
    """One text a line; a line that is a JSON object (as in ``samples.jsonl``) gives its ``text``."""
    from samplers import InvalidInput

    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # and not at U+2028 within a text
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"FILE {str(path)!r} cannot be read as text: {error}") from error
    texts = [_text_of(line, number, path) for number, line in enumerate(lines, start=1) if line.strip()]
    if not texts:
        raise InvalidInput(f"FILE {str(path)!r} has no text; write one a line")
    return texts


def _text_of(line: str, number: int, path: Path) -> str:
    from samplers import InvalidInput

    if not line.lstrip().startswith("{"):
        return line
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, RecursionError) as error:
        raise InvalidInput(f"FILE {str(path)!r}, line {number}: no JSON object with a 'text'") from error
    if not isinstance(text, str):
        raise InvalidInput(f"FILE {str(path)!r}, line {number}: 'text' is {text!r}, not a string")
    return text


@click.command("score")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", "models", multiple=True, default=("masked-en",), show_default=True,
              help="Masked, causal or seq2seq model; repeatable, each is a term.")  # fmt: skip
@click.option("--source", metavar="TEXT", help="What a seq2seq model conditions on.")
@click.option("--prefix", default="", help="Stands before the source in a seq2seq model's input.")
@click_option(SHARED["energies"])
@click.option("--device", default="cpu", show_default=True)
@click.option("--dtype", default="float32", show_default=True)
@click_option(SHARED["trust_remote_code"])
def command(file: Path, **options: Any) -> None:
    """Energies of the texts in FILE (one a line, or JSON Lines with "text"), in nats, as JSON Lines."""
    for line in score(read_texts(file), **options):
        click.echo(json_line(line))
