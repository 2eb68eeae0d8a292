"""The arguments that every experiment shares: one table, from which all that is said of them is generated."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import click

from experiments.declaration.arguments import Argument, Option, read_arguments
from experiments.declaration.wording import argument
from experiments.executors.ray_cluster import check_address
from experiments.laws.english import check_english
from experiments.laws.real_words import word_list
from experiments.setup.custom_energy import CustomEnergy, load_custom_energies

if TYPE_CHECKING:
    from experiments.setup.custom_energy import GivenEnergy
    from lm_adapters import MaskedLM

__all__ = ["SEARCHES", "SEARCH_STEPS", "SHARED", "USUAL", "WITHOUT_CHAINS", "Settings", "follow_steps", "usual_shard"]

USUAL = {"steps": 300, "warmup": 100, "thin": 4}  # and what follows from fewer steps, see ``follow_steps``
SHARD = {"cpu": 64, "other": 256}  # more chains a shard are no faster on a CPU, and leave workers without work
SHARD_HELP = (
    f"Chains that share a generator; part of what a seed means.  [default: {SHARD['cpu']} on a CPU, "
    f"{SHARD['other']} elsewhere]"
)
WITHOUT_CHAINS = (
    "anneal",
    "rejection",
    "importance",
    "smc",
    "exact",
    "best",
)  # samplers without warm-up and thinning, and not extensible
SEARCHES = ("anneal",)  # samplers that cool by themselves: the objective is the energy, at temperature 1
SEARCH_STEPS = 60  # of those: with whole texts among the moves, more hardly ever find a better one


@dataclass(frozen=True)
class Settings:
    """What every experiment can be given; every text experiment passes it on to the samplers.

    ``model`` is the masked language model that proposes: a name, a folder, or a loaded ``MaskedLM``. ``lang`` has
    chosen the models before: see ``usual_models``. ``steps`` counts
    all steps, of which ``warmup`` are not kept; of the rest every ``thin``-th is; ``None``: as ``follow_steps`` says.
    ``temperature`` ``None``: the usual one of the experiment, which has resolved it before; here 1. ``seed`` decides
    the draws, together with ``shard_size``: so many chains share a generator. ``out`` is the folder for the run's
    files, ``None`` for none. ``progress`` shows a bar on stderr, or is called with every number of steps done.
    """

    model: Annotated[str | MaskedLM, Option("Embedded model, folder, or hub name.")] = "masked-en"
    lang: Annotated[
        Literal["en", "zh"] | None,
        Option(
            "Language of the texts, whose embedded models are the default.  [default: the one on a given model's card, "
            "or en]",
            on_resume="free",
        ),
    ] = None
    chains: Annotated[int, Option("Chains run together.", minimum=1, maximum=10**6)] = 10
    steps: Annotated[int, Option("Steps in all.", minimum=1, maximum=10**7, on_resume="larger")] = USUAL["steps"]
    warmup: Annotated[int | None, Option("Steps not kept.", minimum=0, formerly="burn_in")] = None
    thin: Annotated[int | None, Option("Keep every n-th step.", minimum=1)] = None
    seed: Annotated[int, Option("Decides the draws.", minimum=0)] = 0
    temperature: Annotated[
        float | None,
        Option("T of the law exp(-E / T), E all energies together; below 1, likelier texts that are less varied."),
    ] = None
    nan: Annotated[
        Literal["raise", "reject"],
        Option("raise: an energy that is NaN ends the run. reject: its proposal is rejected and counted, up to 1 %."),
    ] = "raise"
    energies: Annotated[
        Sequence[GivenEnergy],
        Option(
            "Add your own energy: a function of a list of texts that returns nats, lower is better; MODULE:NAME, or "
            "NAME of one that a package brings. Checked: a text gets the same energy again, alone and beside others. "
            "Repeatable.",
            names=["--energy"],
            metavar="FILE.py:NAME[=WEIGHT]",
            on_resume="code",
            from_folder=False,
        ),
    ] = ()
    repeats: Annotated[
        float,
        Option(
            "Nats for each pair of neighbouring words that a text has held before.",
            minimum=0,
            energies=["RepeatedNgrams"],
        ),
    ] = 0.0
    stopping: Annotated[
        float | None,
        Option(
            "Favour short texts: a text that has reached N tokens goes on with probability (1 - EPSILON) ** N.",
            metavar="EPSILON",
            energies=["LengthPrior"],
        ),
    ] = None
    forbid: Annotated[
        Sequence[str],
        Option(
            'No text may hold this word or phrase as a whole word: "dog" does not forbid "dog\'s". Repeatable.',
            metavar="WORD",
            energies=["ForbiddenWords"],
        ),
    ] = ()
    real_words: Annotated[
        bool | None,
        Option(
            "Each word of a text is one that the embedded models were trained on, or one that you give, or a number."
            "  [default: real words with an embedded --model]",
            names=["--real-words/--any-words"],
            energies=["RealWords"],
        ),
    ] = None
    new_texts: Annotated[
        bool | None,
        Option(
            "No text is a sentence that the embedded models were trained on, case and marks aside, but for those that "
            "you give.  [default: new texts in gibbs and keywords, with an embedded English --model]",
            names=["--new-texts/--any-texts"],
            energies=["NewTexts"],
        ),
    ] = None
    word_list: Annotated[
        str | None,
        Option("Real words are those of this file, one a line, and no others.", metavar="FILE"),
    ] = None
    tokenizer: Annotated[
        str | None,
        Option(
            "Tokenizer of a model behind a server (http://HOST:PORT/v1#MODEL): a folder, or a name.  [default: what "
            "the server calls the model]",
            metavar="NAME",
        ),
    ] = None
    device: Annotated[str, Option("cpu, cuda, cuda:1, ...")] = "cpu"
    dtype: Annotated[str, Option("float32, bfloat16 or float16.")] = "float32"
    trust_remote_code: Annotated[
        bool, Option("Run Python code that a model brings along. Read it first.", from_folder=False)
    ] = False
    out: Annotated[
        str | None,
        Option(
            "Folder for the run's files; a run that is in it is resumed.  [default: runs/NAME-TIME]",
            type=click.Path(),
            on_resume="free",
            from_folder=False,
        ),
    ] = None
    shard_size: Annotated[
        int | None,
        Option(SHARD_HELP, minimum=1),
    ] = None
    commit_every: Annotated[
        int, Option("Steps between two writes of all draws to the folder.", minimum=1, on_resume="free")
    ] = 100
    workers: Annotated[
        int | None,
        Option(
            "Processes that share the shards.  [default: 1; with --backend ray as many as the cluster has room for]",
            minimum=1,
            maximum=1024,
            on_resume="free",
            from_folder=False,
        ),
    ] = None
    backend: Annotated[
        Literal["local", "ray"],
        Option(
            "Where the shards are run: in processes of this machine, or on a Ray cluster.",
            on_resume="free",
            from_folder=False,
        ),
    ] = "local"
    ray_address: Annotated[
        str | None,
        Option(
            "The Ray cluster: HOST:PORT, ray://HOST:PORT, or auto for that of this machine.  [default: RAY_ADDRESS, "
            "else that of this machine, else one that is started on it]",
            metavar="ADDRESS",
            on_resume="free",
            from_folder=False,
        ),
    ] = None
    watch: Annotated[
        bool,
        Option(
            "Show the texts while they are drawn, on stderr; those of other processes as they are committed.",
            recorded=False,
        ),
    ] = False
    allow_version_change: Annotated[
        bool, Option("Resume a run that other versions of the libraries began.", recorded=False)
    ] = False
    progress: bool | Callable[[int], None] = False

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Settings:
        """Those among the ``options`` of a command; what is not given, or ``None``, is as usual here."""
        return cls(**{name: value for name, value in options.items() if name in SHARED and value is not None})

    def __post_init__(self) -> None:
        """Raise ``InvalidInput`` for what can be seen before a model is loaded."""
        from samplers import InvalidInput

        for name, each in SHARED.items():
            if each.option:
                each.check(getattr(self, name))
        if self.temperature is None:
            object.__setattr__(self, "temperature", 1.0)
        if not (math.isfinite(self.law_temperature) and self.law_temperature > 0):
            raise InvalidInput(f"{argument('temperature')} is {self.temperature}; give a finite number above 0")
        if self.stopping is not None and not 0 < self.stopping < 1:
            raise InvalidInput(f"{argument('stopping')} is {self.stopping}; give a probability above 0 and below 1")
        if not math.isfinite(self.repeats):
            raise InvalidInput(f"{argument('repeats')} is {self.repeats}; give a finite number")
        if self.word_list is not None:
            if self.real_words is False:
                raise InvalidInput(f"{argument('word_list')} is given, but any words will do; leave one of the two out")
            word_list(self.word_list, wanted=True)
        if self.new_texts:
            check_english("new_texts", self.model)
        if self.real_words and self.word_list is None:
            check_english("real_words", self.model)
        if any(not word.strip() for word in self.forbid):
            raise InvalidInput(f"{argument('forbid')} is empty; give a word")
        if self.device != "cpu":  # torch takes two seconds to load: an error in other options need not wait for it
            from lm_adapters import check_device

            check_device(self.device)
        if self.shard_size is None:
            object.__setattr__(self, "shard_size", usual_shard(self.device))
        for name, value in follow_steps(self.steps, self.warmup, self.thin, USUAL).items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "energies", tuple(load_custom_energies(self.energies)))

    @property
    def warmup_and_thin(self) -> tuple[int, int]:
        """Those given, or those that follow from ``steps``."""
        assert self.warmup is not None, "they are set at the start"
        assert self.thin is not None
        return self.warmup, self.thin

    @property
    def law_temperature(self) -> float:
        """The one given, or the usual one."""
        assert self.temperature is not None, "it is set at the start"
        return self.temperature

    @property
    def chains_per_shard(self) -> int:
        """``shard_size``, or what the device makes of ``None``: never what ``workers`` would like."""
        assert self.shard_size is not None, "it is set at the start"
        return self.shard_size

    @property
    def elsewhere(self) -> bool:
        """Whether the shards are run in other processes than this one."""
        return self.backend != "local" or (self.workers or 1) > 1

    @property
    def custom_energies(self) -> list[CustomEnergy]:
        return [energy for energy in self.energies if isinstance(energy, CustomEnergy)]

    def check_for(self, sampler: str) -> None:
        """Raise ``InvalidInput`` for what ``sampler`` cannot do.

        Markov chains must keep a draw; the others keep what they draw or find. Only a proposal can be rejected. A
        search has no law. What a scorer draws bounds its law only where this is no hotter.
        """
        from samplers import InvalidInput

        given = {
            f"{argument('nan')} reject": self.nan == "reject",
            argument("workers"): (self.workers or 1) > 1,
            f"{argument('backend')} {self.backend}": self.backend != "local",
        }
        if self.watch and sampler in ("exact", "best"):
            raise InvalidInput(f"{argument('watch')} has no meaning for {argument('sampler')} {sampler}; leave it out")
        for words, is_given in given.items():
            if is_given and sampler in ("exact", "best", "rejection", "importance"):
                raise InvalidInput(f"{words} has no meaning for {argument('sampler')} {sampler}; leave it out")
        if self.temperature != 1 and sampler == "best":
            raise InvalidInput(
                f"{argument('temperature')} does not change which texts are the likeliest, which is what "
                f"{argument('sampler')} best finds; leave it out"
            )
        if self.temperature != 1 and sampler in SEARCHES:
            raise InvalidInput(
                f"{argument('temperature')} has no meaning for {argument('sampler')} {sampler}, which cools by itself; "
                "leave it out, or draw with mh"
            )
        if self.law_temperature > 1 and sampler == "rejection":
            raise InvalidInput(
                f"{argument('temperature')} {self.law_temperature:g} leaves {argument('sampler')} rejection without a "
                "bound; give at most 1, or another sampler"
            )
        if self.elsewhere and not self.out:
            which = argument("workers" if self.backend == "local" else "backend")
            raise InvalidInput(f"{which} needs a folder to work in; give {argument('out')}")
        self._check_backend()
        if sampler in WITHOUT_CHAINS:
            return
        warmup, thin = self.warmup_and_thin
        kept = self.steps - warmup
        if kept < 1:
            raise InvalidInput(
                f"{argument('warmup')} is {warmup} of {self.steps} steps and leaves none to keep; lower it or "
                f"raise {argument('steps')}"
            )
        if thin > kept:
            raise InvalidInput(f"{argument('thin')} is {thin}, but only {kept} steps follow the warm-up; lower it")

    def _check_backend(self) -> None:
        from samplers import InvalidInput

        if self.backend != "ray":
            if self.ray_address is not None:
                raise InvalidInput(f"{argument('ray_address')} is for {argument('backend')} ray; give that too")
            return
        if ":" in self.device:
            raise InvalidInput(
                f"{argument('device')} is {self.device!r}, and Ray chooses among the GPUs of a node; give "
                f"{self.device.partition(':')[0]}"
            )
        check_address(self.ray_address or os.environ.get("RAY_ADDRESS"))

    def as_arguments(self) -> dict[str, Any]:
        """To give another experiment the same."""
        return {name: getattr(self, name) for name in SHARED}


def usual_shard(device: str) -> int:
    """Chains that share a generator there, where no number is given."""
    return SHARD.get(device.partition(":")[0], SHARD["other"])


def follow_steps(steps: int, warmup: int | None, thin: int | None, usual: Mapping[str, int]) -> dict[str, int]:
    """Warm-up and thinning where they are not given: the ``usual`` ones, and for fewer steps the same share of them."""
    if warmup is None:
        warmup = min(usual["warmup"], usual["warmup"] * steps // usual["steps"])
    if thin is None:
        thin = max(1, min(usual["thin"], usual["thin"] * steps // usual["steps"], steps - warmup))
    return {"warmup": warmup, "thin": thin}


SHARED: dict[str, Argument] = {each.name: replace(each, positional=False) for each in read_arguments(Settings)}
