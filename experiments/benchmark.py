"""Speed of the samplers beside their floor, the bare forward passes that a step needs, and beside the loop by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from experiments.results.safe_text import json_line
from experiments.setup.settings import SHARED

if TYPE_CHECKING:
    from experiments.benchmarking.kernels import KernelLine
    from experiments.benchmarking.measure import Line
    from experiments.benchmarking.models import Models
    from experiments.benchmarking.workloads import Size

__all__ = ["LeftOut", "benchmark", "command"]

WORKLOADS = (
    "gibbs", "mh-pll", "long-pll", "delayed", "keywords", "locked", "rescored", "suffix", "translate", "draws", "pairs",
)  # fmt: skip
MODELS = {"embedded": 126, "base": 510, "small": 510}  # and the tokens of a text that they take
CHAINS, CURVE_CHAINS, QUICK_CHAINS = (1, 8, 32, 128, 512), (32,), (1, 32)
REPEATS, QUICK_REPEATS = 7, 3
ESS_STEPS = 400
MOST_CHAINS, MOST_STEPS = (int(SHARED[name].maximum) for name in ("chains", "steps"))
CURVES = {
    "chains": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
    "length": (8, 16, 32, 64),
    "vocabulary": (8192, 16384, 32768, 65536),
    "k": (8, 16, 32, 64, 128),
}


@dataclass(frozen=True)
class LeftOut:
    """What was not measured, and why."""

    workload: str
    models: str
    why: str

    def __str__(self) -> str:
        return f"left out: {self.workload}, {self.models}: {self.why}"


def benchmark(
    *,
    workloads: Sequence[str] = WORKLOADS,
    models: Sequence[str] = tuple(MODELS),
    chains: Sequence[int] | None = None,
    length: int = 16,
    curve: str | None = None,
    repeats: int = REPEATS,
    ess_steps: int = 0,
    longest: float = 20.0,
    **options: Any,
) -> Iterator[Line | LeftOut]:
    """Measure every workload with all models and numbers of chains; with ``curve`` at the first number, as that grows.

    A line whose step would take longer than ``longest`` seconds, going by the one before, is left out, and so is one
    whose models are not there. ``options`` (device, dtype, tokens_per_pass) are those of ``make_models``.
    Raises ``InvalidInput``, before anything is measured, for a device or type that cannot be used, and for a length
    that the models do not take.
    """
    from lm_adapters import check_device
    from lm_adapters.loading import check_dtype
    from samplers import InvalidInput

    for kind in models:
        if length > MODELS[kind]:
            raise InvalidInput(f"--length is {length}, the {kind} models take {MODELS[kind]} tokens; lower it")
    check_dtype(options.get("dtype", "float32"))
    check_device(options.get("device", "cpu"))
    sizes = {"chains": chains or (CURVE_CHAINS if curve else CHAINS), "length": length, "curve": curve}
    return _lines(workloads, models, sizes, options, longest, {"repeats": repeats, "ess_steps": ess_steps})


def _lines(
    workloads: Sequence[str],
    models: Sequence[str],
    sizes: Mapping[str, Any],
    options: Mapping[str, Any],
    longest: float,
    effort: Mapping[str, int],
) -> Iterator[Line | LeftOut]:
    from experiments.benchmarking.measure import measure
    from experiments.benchmarking.models import Absent, make_models

    for kind in models:
        make = partial(make_models, kind, **options)
        loaded = make()
        for name in workloads:
            before: Line | None = None
            for at, size in _cases(loaded, make, workload=name, **sizes):
                if before is not None and (seconds := _expected(before, size)) > longest:
                    yield LeftOut(name, kind, f"a step of {size} would take some {seconds:.0f} s")
                    break
                try:
                    before = measure(name, at, size, **effort)
                except Absent as absent:
                    yield LeftOut(name, kind, str(absent))
                    break
                yield before


def _cases(
    loaded: Models, make: Any, chains: Sequence[int], length: int, curve: str | None, workload: str
) -> Iterator[tuple[Models, Size]]:
    """Models and sizes at which a workload is measured, in the order in which its steps get dearer."""
    from experiments.benchmarking.workloads import Size

    start = Size(chains[0], length)
    if curve is None:
        yield from ((loaded, replace(start, chains=count)) for count in chains)
    elif curve == "vocabulary":
        yield from ((make(vocabulary=tokens), start) for tokens in CURVES[curve])
    elif curve != "k" or workload == "rescored":
        yield from ((loaded, replace(start, **{curve: value})) for value in CURVES[curve])


def _expected(before: Line, size: Size) -> float:
    """Seconds of a step that grows with the chains, the length and the candidates as if each row cost the same."""
    grown = [getattr(size, name) / getattr(before.size, name) for name in asdict(size)]
    return float(before.step * max(grown))


@click.command("benchmark")
@click.option("--workload", "workloads", multiple=True, type=click.Choice(WORKLOADS),
              help="Repeatable.  [default: all]")  # fmt: skip
@click.option("--models", multiple=True, type=click.Choice(tuple(MODELS)),
              help="embedded, or random weights: base, the shapes of BERT-base, GPT-2 small and T5-small; small, of 2 "
              "layers, 64 wide. Repeatable.  [default: all]")  # fmt: skip
@click.option("--chains", multiple=True, type=click.IntRange(1, MOST_CHAINS),
              help="Repeatable.  [default: 1 8 32 128 512; of a curve: 32]")  # fmt: skip
@click.option(
    "--length", type=click.IntRange(4, 10**4), default=16, show_default=True, help="Tokens of a text, or most."
)
@click.option("--curve", type=click.Choice(tuple(CURVES)), help="How time and memory grow with this alone.")
@click.option(
    "--repeats", type=click.IntRange(1, 10**4), help=f"Rounds, of which medians are shown.  [default: {REPEATS}]"
)
@click.option("--ess", "ess_steps", type=click.IntRange(8, MOST_STEPS), is_flag=False, flag_value=ESS_STEPS,
              default=None,
              help=f"Run each so many steps ({ESS_STEPS} if none are given) for the ESS of its energy.")  # fmt: skip
@click.option("--longest", type=click.FloatRange(min=0), default=20.0, show_default=True,
              help="Leave out what would take more seconds for one step.")  # fmt: skip
@click.option("--quick", is_flag=True, help="Embedded models, 1 and 32 chains, 3 rounds: under a minute.")
@click.option("--kernels", is_flag=True, help="Every kernel of the library on three small tasks instead: ESS by tokens "
              "and CPU seconds.")  # fmt: skip
@click.option("--moves", is_flag=True, help="The chains of five experiments instead, by all their moves and by "
              "edits of one or two tokens alone, under the same law: ESS by tokens and CPU seconds.")  # fmt: skip
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, ...")
@click.option("--dtype", default="float32", show_default=True, help="float32, bfloat16 or float16.")
@click.option("--tokens-per-pass", type=click.IntRange(min=1), help="Bound of the samplers' own passes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines: the machine, then what was measured.")
@click.option("--markdown", is_flag=True, help="Print Markdown.")
def command(quick: bool, as_json: bool, markdown: bool, kernels: bool, moves: bool, **options: Any) -> None:
    """Speed of each sampler, beside its floor (the bare forward passes that a step needs) and the loop by hand."""
    from experiments.benchmarking.table import machine

    if kernels or moves:
        _show_kernels(_kernel_lines(moves=moves), as_json)
        return
    options["models"] = options["models"] or (("embedded",) if quick else tuple(MODELS))
    options["chains"] = options["chains"] or (QUICK_CHAINS if quick and not options["curve"] else None)
    options["repeats"] = options["repeats"] or (QUICK_REPEATS if quick else REPEATS)
    options["workloads"] = options["workloads"] or WORKLOADS
    options["ess_steps"] = options["ess_steps"] or 0
    found, varied = benchmark(**options), options["curve"] or "chains"
    show = _show_json if as_json else _show_markdown if markdown else _show
    show(found, varied, machine(options["device"]))


def _kernel_lines(*, moves: bool) -> Iterator[KernelLine]:
    if moves:
        from experiments.mixing.moves import move_lines

        return move_lines()
    from experiments.benchmarking.kernels import kernel_lines
    from experiments.benchmarking.models import make_models

    return kernel_lines(make_models("embedded"))


def _show_kernels(lines: Iterator[KernelLine], as_json: bool) -> None:
    from experiments.benchmarking.kernels import HEAD, kernel_row
    from experiments.benchmarking.table import machine

    if not as_json:
        click.echo(_on(machine("cpu")))
        click.echo(HEAD)
    for line in lines:
        click.echo(json_line(asdict(line)) if as_json else kernel_row(line))


def _show(found: Iterator[Line | LeftOut], varied: str, machine: dict[str, Any]) -> None:
    """Lines as they come."""
    from experiments.benchmarking.table import COSTS, LEGEND, SPEED, growth, growth_in_words

    click.echo(_on(machine))
    click.echo(SPEED.head(varied))
    lines: list[Line] = []
    missing: list[LeftOut] = []
    for line in _sorted_out(found, lines, missing):
        click.echo(SPEED.row(line, varied))
    click.echo("\n" + COSTS.head(varied))
    for line in lines:
        click.echo(COSTS.row(line, varied))
    click.echo("\n" + LEGEND + "\n")
    for fitted in growth(lines, varied):
        click.echo(growth_in_words(fitted))
    for absent in missing:
        click.echo(str(absent))


def _show_markdown(found: Iterator[Line | LeftOut], varied: str, machine: dict[str, Any]) -> None:
    """Lines as they come."""
    from experiments.benchmarking.table import COSTS, LEGEND, SPEED, growth, growth_in_words

    lines: list[Line] = []
    missing: list[LeftOut] = []
    click.echo(f"{_on(machine)}\n")
    for row in SPEED.markdown(_sorted_out(found, lines, missing), varied):
        click.echo(row)
    notes = [*map(growth_in_words, growth(lines, varied)), *map(str, missing)]
    parts = ["", *COSTS.markdown(lines, varied), "", LEGEND, "", *(f"- {note}" for note in notes)]
    click.echo("\n".join(parts))


def _sorted_out(found: Iterator[Line | LeftOut], lines: list[Line], missing: list[LeftOut]) -> Iterator[Line]:
    """The lines as they come, with which both lists are filled."""
    for each in found:
        if isinstance(each, LeftOut):
            missing.append(each)
        else:
            lines.append(each)
            yield each


def _show_json(found: Iterator[Line | LeftOut], varied: str, machine: dict[str, Any]) -> None:
    from experiments.benchmarking.table import as_json, growth

    click.echo(json_line({"machine": machine}))
    lines = []
    for line in found:
        if isinstance(line, LeftOut):
            click.echo(json_line({"left_out": asdict(line)}))
        else:
            lines.append(line)
            click.echo(json_line(as_json(line)))
    for fitted in growth(lines, varied):
        click.echo(json_line({"growth": fitted}))


def _on(machine: dict[str, Any]) -> str:
    return f"{machine['device']}, {machine['threads']} threads of {machine['cores']} cores, torch {machine['torch']}\n"
