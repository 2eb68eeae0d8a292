"""``@experiment``: a function becomes a command, a Python function, and a run that resumes and has workers."""

from __future__ import annotations

import difflib
import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import click

from experiments.declaration.arguments import Argument, read_arguments
from experiments.declaration.options import click_parameter, given_options, output_options
from experiments.declaration.python_files import USER_FILE, own_line
from experiments.declaration.resume_option import folder_option, resume_option
from experiments.declaration.user_code import prints_to_stderr
from experiments.declaration.wording import argument
from experiments.results.protocol import Run
from experiments.results.terminal import show
from experiments.runs.repeat import how_to_repeat
from experiments.runs.resume_checks import recorded_number
from experiments.setup.job import Share, open_job
from experiments.setup.settings import (
    SEARCH_STEPS,
    SEARCHES,
    SHARED,
    USUAL,
    WITHOUT_CHAINS,
    Settings,
    follow_steps,
    usual_shard,
)
from experiments.setup.usual_models import usual_models

__all__ = ["Experiment", "experiment", "experiment_of"]

Check = Callable[..., None]


def experiment(
    *,
    sampler: str = "mh",
    extensible: bool = True,
    check: Check | None = None,
    show: Callable[..., None] | None = None,
    search_steps: int = SEARCH_STEPS,
    **defaults: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: ``function(job, ...) -> Run`` as an experiment of its name.

    The function
        Its first argument is the ``Job``; the others are the experiment's own: positional ones are arguments of the
        command, keyword ones its options, each with a type and, in ``Annotated``, an ``Option``. It returns a ``Run``,
        such as ``sample_chains`` gives, and says so in its signature. The first paragraph of its docstring is the
        help. What is decorated is called without ``job``, and with every argument of ``Settings``.
    Arguments
        ``defaults`` of ``Settings`` that differ here; ``warmup`` and ``thin`` are those of the default ``steps``,
        ``temperature`` that of all samplers but a search, which has ``search_steps``, too.
        ``sampler``: what solves it, where the function has no argument of that name; ``anneal``, ``rejection`` and
        ``importance`` know no warm-up, and cannot be extended. ``extensible=False``: nor can this.
        ``check(settings, **own)`` raises ``InvalidInput`` for arguments that cannot be, before a folder is made or a
        model loaded. ``show(result, as_json=, quiet=)`` prints a result that is no ``Run``, of which no files are
        written.
    Raises
        ``TypeError`` for a function that cannot be one.
    """

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        declared = Experiment(function, sampler, extensible, check, show, search_steps, defaults)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return declared.run(*args, **kwargs)

        parameters = [each.parameter() for each in declared.arguments]
        call.__signature__ = inspect.signature(function).replace(parameters=parameters)  # type: ignore[attr-defined]
        call.__doc__ = declared.documentation()
        call.experiment = declared  # type: ignore[attr-defined]
        return call

    return declare


def experiment_of(found: Any) -> Experiment | None:
    """Of a decorated function."""
    declared = getattr(found, "experiment", None)
    return declared if isinstance(declared, Experiment) else None


class Prepared(NamedTuple):
    """Checked arguments: the shared ones, the experiment's ``own``, and both as ``config.json`` has them."""

    settings: Settings
    own: dict[str, Any]
    config: dict[str, Any]
    extensible: bool


@dataclass(frozen=True)
class Experiment:
    """What ``@experiment`` knows of a function; arguments as there. ``arguments`` are its own and the shared ones."""

    function: Callable[..., Any]
    sampler: str
    extensible: bool
    check: Check | None
    show: Callable[..., None] | None
    search_steps: int
    defaults: dict[str, Any]
    own: list[Argument] = field(init=False)
    arguments: list[Argument] = field(init=False)

    def __post_init__(self) -> None:
        if "return" not in self.function.__annotations__:
            raise TypeError(f"experiment {self.name!r} declares no result; say what it returns, as in -> TextRun")
        own = read_arguments(self.function, skip=1)
        if twice := {each.name for each in own} & {*SHARED, "as_json", "quiet", "resume"}:
            raise TypeError(f"experiment {self.name!r} has an argument {min(twice)!r}, which every experiment has")
        if unknown := self.defaults.keys() - SHARED.keys():
            raise TypeError(f"experiment {self.name!r} sets {min(unknown)!r}, which no experiment has")
        for each in own:
            click_parameter(each)
        object.__setattr__(self, "own", own)
        shared = [self._shared(each) for each in SHARED.values()]
        object.__setattr__(self, "arguments", [*own, *(replace(each, positional=False) for each in shared)])

    @property
    def usual(self) -> dict[str, int]:
        """Steps, warm-up and thinning where none are given."""
        return {name: self.defaults.get(name, number) for name, number in USUAL.items()}

    @property
    def temperature(self) -> float:
        """Of the law, where none is given. A search has 1."""
        return float(self.defaults.get("temperature", 1.0))

    def _shared(self, each: Argument) -> Argument:
        """An argument of ``Settings`` with the default that it has here, in words where other arguments decide it."""
        notes = {
            name: f"[default: {number}; of fewer than {self.usual['steps']} steps the same share]"
            for name, number in self.usual.items()
            if name != "steps"
        }
        searched = "; of a search 1" if self.temperature != 1 and self._may_search else ""
        notes["temperature"] = f"[default: {self.temperature:g}{searched}]"
        found = replace(each, default=self.defaults.get(each.name, each.default))
        if each.name == "steps" and self._may_search:
            notes["steps"] = f"[default: {self.usual['steps']}; of a search {self.search_steps}]"
            found = replace(found, annotation=int | None)
        if each.name in notes and each.option:
            return replace(
                found, default=None, option=replace(each.option, help=f"{each.option.help}  {notes[each.name]}")
            )
        return found

    @property
    def _may_search(self) -> bool:
        choices = next((each.choices for each in self.own if each.name == "sampler"), (self.sampler,))
        return bool({*choices} & {*SEARCHES})

    @property
    def name(self) -> str:
        return self.function.__name__.replace("_", "-")

    @property
    def location(self) -> str | None:
        """Where another process finds it: ``module:function``, or its file; ``None`` for one that has neither."""
        module = sys.modules.get(self.function.__module__)
        if module is not None and module.__spec__ is not None and module.__name__ != USER_FILE:
            return f"{module.__spec__.name}:{self.function.__qualname__}"
        path = Path(self.function.__code__.co_filename)
        return str(path.resolve()) if path.is_file() else None

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The result of the function. Raises ``TypeError`` for arguments that it has not."""
        return self._run(self._bound(args, kwargs), None)

    def run_share(self, arguments: dict[str, Any], share: Share) -> None:
        """What one worker does of a run that another process has begun."""
        self._run(self._bound((), arguments), share)

    def prepare(self, given: Mapping[str, Any]) -> Prepared:
        """Check the arguments that are ``given``, by name, as far as goes before a folder is made or a model loaded."""
        found = dict(given)
        for name in ("warmup", "thin", "shard_size", "temperature"):
            if found.get(name) is None:
                found[name] = recorded_number(found.get("out"), name, self.arguments)
        own = self._completed(found)
        settings = Settings(**{name: own.pop(name) for name in SHARED})
        sampler = own.get("sampler", self.sampler)
        for each in self.own:
            each.check(own[each.name])
        settings.check_for(sampler)
        if self.check:
            self.check(settings, **own)
        extensible = self.extensible and sampler not in WITHOUT_CHAINS
        return Prepared(settings, own, self._config(settings, own), extensible)

    def how_to_repeat(self, config: Mapping[str, Any]) -> str:
        """The shortest command of a run that records ``config``."""

        def completed(given: Mapping[str, Any]) -> dict[str, Any]:
            found = self._completed(given)
            return {**found, "shard_size": found["shard_size"] or usual_shard(found["device"])}

        return how_to_repeat(config, self.arguments, completed)

    def _completed(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All arguments: those ``given``, the defaults of others, and what follows where other arguments decide it."""
        found = {each.name: each.default for each in self.arguments} | usual_models(self.arguments, given) | dict(given)
        is_search = found.get("sampler", self.sampler) in SEARCHES
        if found["steps"] is None:
            found["steps"] = self.search_steps if is_search else self.usual["steps"]
        if isinstance(found["steps"], int):
            found |= follow_steps(found["steps"], found["warmup"], found["thin"], self.usual)
        if found["temperature"] is None:
            found["temperature"] = 1.0 if is_search else self.temperature
        return found

    def _run(self, given: Mapping[str, Any], share: Share | None) -> Any:
        prepared = self.prepare(given)
        with open_job(
            prepared.settings,
            prepared.config,
            self.arguments,
            extensible=prepared.extensible,
            location=self.location,
            repeat=self.how_to_repeat,
            share=share,
        ) as job:
            result = self.function(job, **prepared.own)
            if self.show is None and not share:
                self._check_result(result)
                job.finish(result)
        return result

    def _bound(self, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Those that are given, by name. Raises ``TypeError``, with the nearest name for one that is misspelt."""
        known = {each.name: each for each in self.arguments}
        for name in kwargs.keys() - known.keys():
            today = [each.name for each in self.arguments if each.option and each.option.formerly == name]
            near = today or difflib.get_close_matches(name, known, 1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{self.function.__name__}() has no argument {name!r}{meant}")
        signature = inspect.Signature([each.parameter() for each in self.arguments])
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.function.__name__}() {error}") from error
        return dict(bound.arguments)

    def _config(self, settings: Settings, own: dict[str, Any]) -> dict[str, Any]:
        """As ``config.json`` has it. Raises ``InvalidInput`` for arguments that other processes could not be given."""
        from samplers import InvalidInput

        given = {**own, **settings.as_arguments()}
        if settings.elsewhere:
            for name in (name for name, value in given.items() if hasattr(value, "model")):
                raise InvalidInput(
                    f"{argument('workers')} load models for themselves; give the name or folder of {name}"
                )
            if any(energy.is_function for energy in settings.custom_energies):
                raise InvalidInput(f"{argument('workers')} read energies from files; give FILE.py:NAME")
            if self.location is None:
                raise InvalidInput(f"{argument('workers')} need a file with the experiment; write it to one")
        given["energies"] = [energy.spec for energy in settings.custom_energies]
        recorded = {each.name: _recorded(each, given[each.name]) for each in self.arguments if each.recorded}
        digests = [energy.sha256 for energy in settings.custom_energies]
        return {"experiment": self.name, **recorded, "energy_sha256": digests}

    def _check_result(self, result: Any) -> None:
        from samplers import McmcTextError

        if not isinstance(result, Run):
            raise McmcTextError(
                f"experiment {self.name!r} returned {type(result).__name__}; return a run, as sample_chains gives it"
            )

    def command(self) -> click.Command:
        """Its command line."""
        parameters: list[click.Parameter] = []
        for each in self.arguments:
            if each.name == "out":
                parameters += [click_parameter(each, callback=folder_option), resume_option(self.arguments)]
            elif each.option:
                parameters.append(click_parameter(each))
        help_text = inspect.cleandoc(self.function.__doc__ or "").partition("\n\n")[0]
        return click.Command(
            self.name, params=[*parameters, *output_options()], help=help_text, callback=self._run_command
        )

    def _run_command(self, as_json: bool, quiet: bool, **options: Any) -> None:
        given = given_options(click.get_current_context(), options)
        self.print_result(self.run_options(given, progress=not quiet), as_json=as_json, quiet=quiet)

    def print_result(self, result: Any, *, as_json: bool, quiet: bool) -> None:
        (self.show or show)(result, as_json=as_json, quiet=quiet)

    def run_options(self, options: Mapping[str, Any], *, progress: bool) -> Any:
        """The result of a run with the ``options`` that its command was given; what its code prints goes to stderr.

        Raises ``McmcTextError`` with the line where code of the user's own raises.
        """
        from samplers import McmcTextError

        try:
            with prints_to_stderr():
                return self._run({**options, "progress": progress}, None)
        except (McmcTextError, click.ClickException, MemoryError):
            raise
        except Exception as error:
            if self.is_ours or "out of memory" in str(error):
                raise
            where = own_line(error, self.function.__code__.co_filename)
            raise McmcTextError(f"experiment {self.name!r} raised {where}") from error

    @property
    def is_ours(self) -> bool:
        return self.function.__module__.partition(".")[0] == "experiments"

    def documentation(self) -> str:
        """The function's docstring, and a line for each argument."""
        lines = [f"    ``{each.name}``: {each.option.help}" for each in self.arguments if each.option]
        text = inspect.cleandoc(self.function.__doc__ or "")
        return "\n".join([text, "", "Arguments", *lines, "    ``progress``: Show a bar on stderr."])


def _recorded(each: Argument, value: Any) -> Any:
    """A loaded model by its class, everything else as it is."""
    if each.is_many:
        return list(value)
    return type(value.model).__name__ if hasattr(value, "model") else value
