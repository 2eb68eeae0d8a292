"""A run under way: its settings, its models, its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.declaration.arguments import Argument
from experiments.declaration.wording import argument, remark
from experiments.executors.share import Committed, ShareTask
from experiments.laws.real_words import word_list
from experiments.pages.page import page
from experiments.results.protocol import Run
from experiments.runs.run_directory import RunDirectory, run_directory, write_run
from experiments.runs.watch import Watch
from experiments.setup.languages import languages_of
from experiments.setup.models import load_masked
from experiments.setup.settings import Settings
from experiments.setup.stored_run import Outline, stored_run
from experiments.starts.made import Starts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lm_adapters import MaskedLM, TextSpace
    from samplers import Constraint, Energy, EnergyTerm

__all__ = ["Job", "Share", "open_job"]


@dataclass(frozen=True)
class Share:
    """The part of a run that one process does; another one has begun the run. ``committed`` is told of every commit."""

    task: ShareTask
    committed: Committed | None = None

    def shards(self, count: int) -> range:
        """Those of ``count`` that are done here."""
        return range(self.task.first, count, self.task.apart)


@dataclass(frozen=True)
class Job:
    """What an experiment is given to work with: ``settings``, and the ``config`` and ``directory`` of its run.

    ``directory`` is ``None`` for a run without a folder. ``location`` is where worker processes find the experiment;
    ``repeat`` tells the command of a configuration.
    """

    settings: Settings
    config: Mapping[str, Any]
    directory: RunDirectory | None
    location: str | None
    repeat: Callable[[Mapping[str, Any]], str]
    share: Share | None = None
    space: list[TextSpace] = field(default_factory=list)  # that of the problem, once it is known
    starts: Starts = field(default_factory=Starts)
    closing: ExitStack = field(default_factory=ExitStack)  # what is to be closed when the run ends, however it does

    @property
    def progress(self) -> bool | Callable[[int], None]:
        return False if self.share else self.settings.progress

    def watch(self, space: TextSpace) -> Watch | None:
        """What shows the texts as they are drawn, if they are to be watched."""
        if self.share or not self.settings.watch:
            return None
        watch = Watch(space)
        self.closing.callback(watch.close)
        return watch

    def masked_lm(self) -> MaskedLM:
        """The model that proposes, with a remark on what texts in its tokens lose."""
        lm = load_masked(self.settings)
        if lm.space.lost:
            name = f" {self.settings.model!r}" if isinstance(self.settings.model, str) else ""
            remark(f"texts of {argument('model')}{name} have {', '.join(lm.space.lost)}")
        return lm

    def constraints(self, lm: MaskedLM, given: Sequence[str], *, new: bool = False) -> list[Constraint]:
        """Real words, none that is forbidden, and new texts, in those of ``lm``, as the settings have it.

        By default words are real with an embedded model, which knows little else, and texts ``new``. Without a list of
        the user's own, all words of the ``given`` texts are real, and these texts count as new.
        """
        embedded = "en" in languages_of(lm)
        real = self._real_words(lm.space, given, usual=embedded)
        return [*real, *self.forbidden(lm.space), *self._new_texts(lm.space, given, usual=embedded and new)]

    def _new_texts(self, space: TextSpace, given: Sequence[str], *, usual: bool) -> list[Constraint]:
        from lm_adapters import NewTexts

        wanted = self.settings.new_texts
        return [NewTexts(space, given=given)] if (usual if wanted is None else wanted) else []

    def _real_words(self, space: TextSpace, given: Sequence[str], *, usual: bool) -> list[Constraint]:
        from lm_adapters import RealWords

        own, wanted = self.settings.word_list is not None, self.settings.real_words
        listed = word_list(self.settings.word_list, usual if wanted is None else wanted)
        return [] if listed is None else [RealWords(space, listed, given=() if own else given)]

    def forbidden(self, space: TextSpace) -> list[Constraint]:
        """The constraint that ``forbid`` makes, if it names a word."""
        from lm_adapters import ForbiddenWords

        return [ForbiddenWords(space, self.settings.forbid)] if self.settings.forbid else []

    def with_custom(self, energy: Energy, space: TextSpace, constraints: Sequence[EnergyTerm] | None = None) -> Energy:
        """The energy of the law: ``energy``, repeats, a prior of the length, the user's own; under ``constraints``.

        At the temperature given.

        ``constraints``: by default none of the forbidden words, and real ones and new texts where they are asked for.

        Raises ``InvalidInput`` where one of them has the name of another term, which would hide it in the samples.
        """
        from samplers import InvalidInput, term_names

        custom = self.settings.custom_energies
        for each in custom:
            if each.name in term_names(energy):
                raise InvalidInput(
                    f"{argument('energies')} names {each.name!r}, which the experiment has already; rename it"
                )
        if constraints is None:
            real, new = self._real_words(space, (), usual=False), self._new_texts(space, (), usual=False)
            constraints = [*real, *self.forbidden(space), *new]
        own = [each.term(space) for each in custom]
        whole = reduce(add, [*self._style(space), *own, *constraints], energy)
        return self.at_temperature(whole)

    def _style(self, space: TextSpace) -> list[Energy]:
        """The energies that ``repeats`` and ``stopping`` ask for."""
        from lm_adapters import LengthPrior, RepeatedNgrams

        settings = self.settings
        repeats = [settings.repeats * RepeatedNgrams(space)] if settings.repeats else []
        return [*repeats, *([] if settings.stopping is None else [LengthPrior.stopping(space, settings.stopping)])]

    def at_temperature(self, energy: Energy) -> Energy:
        from experiments.laws.temperature import AtTemperature

        temperature = self.settings.law_temperature
        return energy if temperature == 1 else AtTemperature(energy, temperature)

    def named(self, parameter: str, model: PreTrainedModel | None) -> str:
        """The ``model`` that was given there, by default the proposing one; of a folder the last part of its path.

        A loaded model has the name it was loaded by, or that of its class; one behind a server, ``None``, its address.
        """
        given = str(self.config[parameter] or self.config["model"])
        if model is not None and given == type(model).__name__:
            given = model.config.name_or_path or given
        return Path(given).name if Path(given).is_dir() else given

    def finish(self, run: Run) -> None:
        """Write samples, summary and page."""
        if self.directory and not self.share:
            summary = run.summary()
            self.directory.finish(run, summary, page(run, summary, self.repeat(self.directory.config)))

    def write_so_far(self) -> None:
        """Samples, summary and page of a run that was stopped, if there is a draw; a second signal ends this."""
        from samplers import McmcTextError

        directory, space = self.directory, self.space
        if directory is None or self.share or not space or not directory.work:
            return
        with suppress(McmcTextError, OSError, MemoryError, KeyboardInterrupt):
            outline = Outline.read(directory.store)
            if run := stored_run(directory.store, directory.config, outline, space[0], directory.progress):
                summary = run.summary()
                write_run(directory.path, run, summary, page(run, summary, self.repeat(directory.config)))
                directory.reported = True


@contextmanager
def open_job(
    settings: Settings,
    config: Mapping[str, Any],
    arguments: Iterable[Argument],
    *,
    extensible: bool,
    location: str | None,
    repeat: Callable[[Mapping[str, Any]], str],
    share: Share | None,
) -> Iterator[Job]:
    """Begin the run, or resume the one that the folder holds. Raises as ``run_directory`` does.

    With more steps than before only if it is ``extensible``. A run that is stopped, or whose server dies, writes what
    it has drawn so far.
    """
    from lm_adapters import ServerError
    from samplers import Interrupted

    if not settings.out:
        job = Job(settings, config, None, location, repeat)
        with job.closing:
            yield job
        return
    with run_directory(
        settings.out,
        config,
        arguments,
        extensible=extensible,
        every=settings.commit_every,
        allow_version_change=settings.allow_version_change,
        location=location,
        held=share is not None,
    ) as directory:
        if share:
            directory.store.committed = share.committed
        job = Job(settings, config, directory, location, repeat, share)
        try:
            with job.closing:
                yield job
        except (Interrupted, ServerError):
            job.write_so_far()
            raise
