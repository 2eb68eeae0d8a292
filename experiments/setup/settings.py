"""What every text experiment is told the same way: how many chains, how long, where to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Literal

from experiments.setup.custom_energy import CustomEnergy, load_custom_energies

if TYPE_CHECKING:
    from lm_adapters import ForbiddenWords, MaskedLM, TextSpace
    from samplers import Energy

__all__ = ["LIMITS", "UNTOLD", "WHOLE", "Settings"]

LIMITS = {
    "chains": (1, 10**6),
    "steps": (1, 10**7),
    "burn_in": (0, None),
    "thin": (1, None),
    "seed": (0, None),
    "shard_size": (1, None),
    "commit_every": (1, None),
    "workers": (1, 1024),
}  # least and most of what is counted; above it a machine has no memory, or a person no patience
UNTOLD = ("progress", "allow_version_change", "share")  # of one process, not of the run
WHOLE = ("anneal", "rejection", "importance")  # samplers without burn-in and thinning


@dataclass(frozen=True)
class Settings:
    """The options that every experiment shares, with their defaults; ``options.py`` has the command line's.

    What is drawn
        ``model`` is the masked language model that proposes: a name, a folder, or a loaded ``MaskedLM``. ``steps``
        counts all steps, of which ``burn_in`` are not kept; of the rest every ``thin``-th is. ``energies`` are added to
        the experiment's own target, and no text may hold a word that is in ``forbid``. ``seed`` decides the draws,
        together with ``shard_size``: so many chains share a generator. ``nan="reject"`` rejects and counts proposals
        whose energy is NaN, up to 1 %.
    Where and how
        ``out`` is the folder for the run's files, ``None`` for none. The same call goes on where the run in it stopped;
        with more ``steps`` it extends one of Markov chains. What is drawn is kept every ``commit_every`` steps.
        ``allow_version_change``: other versions of libraries than the run began with are a warning. ``workers``:
        processes that share the shards, with the same draws for any number. ``progress`` shows a bar on stderr, or is
        told of every step. ``share``, ``(k, n)``: do shards ``k, k + n, ...`` of a run that another process has begun
        and whose lock it keeps. ``trust_remote_code``: code that a model brings along is run.
    """

    model: str | MaskedLM = "masked-en"
    chains: int = 10
    steps: int = 300
    burn_in: int = 100
    thin: int = 4
    seed: int = 0
    nan: Literal["raise", "reject"] = "raise"
    energies: Sequence[str | CustomEnergy] = ()
    forbid: Sequence[str] = ()
    device: str = "cpu"
    dtype: str = "float32"
    trust_remote_code: bool = False
    out: str | None = None
    shard_size: int = 256
    commit_every: int = 100
    workers: int = 1
    allow_version_change: bool = False
    progress: bool | Callable[[int], None] = False
    share: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Raise ``InvalidInput``, in the options' own words, for what can be seen before a model is loaded."""
        from lm_adapters import check_device
        from samplers import InvalidInput

        for name, (least, most) in LIMITS.items():
            value, option = getattr(self, name), name.replace("_", "-")
            if value < least:
                raise InvalidInput(f"--{option} is {value}; give at least {least}")
            if most is not None and value > most:
                raise InvalidInput(f"--{option} is {value}; give at most {most}")
        if any(not word.strip() for word in self.forbid):
            raise InvalidInput("--forbid is empty; give a word")
        check_device(self.device)
        object.__setattr__(self, "energies", tuple(load_custom_energies(self.energies)))

    def check_for(self, sampler: str = "mh") -> None:
        """Raise ``InvalidInput`` for what ``sampler`` cannot do.

        Markov chains must keep a draw; the others keep what they draw or find. Only a proposal can be rejected.
        """
        from samplers import InvalidInput

        for option, given in (("--nan reject", self.nan == "reject"), ("--workers", self.workers > 1)):
            if given and sampler in ("rejection", "importance"):
                raise InvalidInput(f"{option} has no meaning for --sampler {sampler}; leave it out")
        if self.workers > 1 and not self.out:
            raise InvalidInput("--workers needs a folder to work in; give --out")
        if sampler in WHOLE:
            return
        kept = self.steps - self.burn_in
        if kept < 1:
            raise InvalidInput(
                f"--burn-in is {self.burn_in} of {self.steps} steps and leaves none to keep; lower it or raise --steps"
            )
        if self.thin > kept:
            raise InvalidInput(f"--thin is {self.thin}, but only {kept} steps follow the burn-in; lower it")

    def masked_lm(self) -> MaskedLM:
        from lm_adapters import MaskedLM

        if isinstance(self.model, MaskedLM):
            return self.model
        return MaskedLM.from_pretrained(self.model, self.device, self.dtype, trust_remote_code=self.trust_remote_code)

    def forbidden(self, space: TextSpace) -> list[ForbiddenWords]:
        """The constraint that ``forbid`` makes, if it names a word."""
        from lm_adapters import ForbiddenWords

        return [ForbiddenWords(space, self.forbid)] if self.forbid else []

    def with_custom(self, energy: Energy, space: TextSpace) -> Energy:
        """``energy`` plus the user's own, without the words that are forbidden.

        Raises ``InvalidInput`` where one of them has the name of another term, which would hide it in the samples.
        """
        from samplers import InvalidInput, term_names

        for custom in self.energies:
            if isinstance(custom, CustomEnergy) and custom.name in term_names(energy):
                raise InvalidInput(f"--energy names {custom.name!r}, which the experiment has already; rename it")
        own = [custom.term(space) for custom in self.energies if isinstance(custom, CustomEnergy)]
        return reduce(add, [*own, *self.forbidden(space)], energy)

    def config(self, experiment: str, **own: Any) -> dict[str, Any]:
        """As ``config.json`` has it: the experiment's own arguments beside the shared ones.

        Raises ``InvalidInput`` for arguments that ``workers`` could not be told.
        """
        from samplers import InvalidInput

        for name, value in [("model", self.model), *own.items()]:
            if self.workers > 1 and hasattr(value, "model"):
                raise InvalidInput(f"--workers load models for themselves; give the name or folder of {name}")
        shared = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in UNTOLD}
        own_energies = [energy for energy in self.energies if isinstance(energy, CustomEnergy)]
        shared["energies"] = [energy.spec for energy in own_energies]
        shared["energy_sha256"] = [energy.sha256 for energy in own_energies]
        told = {name: _name(value) for name, value in {**own, **shared}.items()}
        return {"experiment": experiment, **told}


def _name(value: Any) -> Any:
    """A loaded model by its class, everything else as it is."""
    return type(value.model).__name__ if hasattr(value, "model") else value
