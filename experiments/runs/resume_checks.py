"""Whether what is asked for is the run that a folder holds."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.declaration.arguments import Argument
from experiments.declaration.resume_option import current_names, may_come_from_folder
from experiments.declaration.wording import argument, command_words

if TYPE_CHECKING:
    from samplers import RunStore

__all__ = [
    "check_config",
    "check_experiment",
    "check_models",
    "check_named",
    "check_versions",
    "how_to_resume",
    "recorded_number",
]

PARTS = {"sha256": "digest of weights", "vocabulary": "digest of tokens"}  # of a model's identity, in words


def how_to_resume(
    config: Mapping[str, Any], arguments: Iterable[Argument], path: str, *, allow_version_change: bool
) -> str:
    """The command that resumes the run in ``path``, with what a folder may not decide; in Python the same call."""
    command = command_words()
    if command is None:
        return f"resume with the same call, with out={path!r}"
    again: list[str] = []
    for each in arguments:
        if not each.recorded or each.name == "out" or not each.option:
            continue
        value, option = config[each.name], argument(each.name)
        if not (each.option.from_folder and may_come_from_folder(each, value)):
            if each.is_many:
                again += [word for one in value for word in (option, one)]
            elif value != each.default:
                again += [option] if each.takes(bool) else [option, str(value)]
    again += [argument("allow_version_change")] if allow_version_change else []
    return f"resume with: {shlex.join([*command, '--resume', path, *again])}"


def recorded_number(out: Any, name: str, arguments: Iterable[Argument]) -> float | None:
    """The number that a run with draws in the folder ``out`` has recorded; ``None`` where there is none."""
    try:
        if not out or not Path(out, "shards").is_dir():
            return None
    except (OSError, TypeError, ValueError):
        return None
    from samplers import McmcTextError, RunStore

    try:
        value = current_names(RunStore(out).read("config.json"), arguments).get(name)
    except (OSError, TypeError, ValueError, McmcTextError):  # which is reported when the folder is used
        return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None


def check_experiment(store: RunStore, config: Mapping[str, Any]) -> None:
    """Raise ``InvalidInput`` where ``config.json`` in the folder is of something else than this experiment."""
    from samplers import InvalidInput
    from samplers.storage import exists

    path, wanted, out = store.path, config["experiment"], argument("out")
    try:
        if not path.is_dir():
            return
    except OSError as error:
        raise InvalidInput(f"{out} {str(path)!r} cannot be used ({error.strerror}); choose another folder") from error
    if not exists(path / "config.json"):
        if exists(path / "fingerprint.json"):
            raise InvalidInput(f"{out} {str(path)!r} holds a run that no experiment began; choose another folder")
        return
    found = store.read("config.json").get("experiment")
    if not isinstance(found, str):
        raise InvalidInput(f"{out} {str(path)!r} holds a config.json that is not of a run; choose another folder")
    if found != wanted:
        raise InvalidInput(f"{out} {str(path)!r} holds a run of {found!r}, not of {wanted!r}; choose another folder")


def check_config(
    store: RunStore, config: Mapping[str, Any], arguments: Iterable[Argument], *, extensible: bool
) -> None:
    """Raise ``InvalidInput`` for the first argument that the stored run has otherwise and that may not change."""
    from samplers import InvalidInput

    known = {each.name: each for each in arguments}
    stored, path = current_names(store.read("config.json"), known.values()), str(store.path)
    for field in dict.fromkeys([*config, *stored]):
        was, now = stored.get(field), config.get(field)
        option = known[field].option if field in known else None
        may = option.on_resume if option else "code" if field == "energy_sha256" else "same"
        if was == now or may in ("free", "code"):
            continue
        if may == "same":
            raise InvalidInput(
                f"{path!r} holds another run: {argument(field)} was {_short(was)} and is now {_short(now)}; give the "
                "stored value, or choose another folder"
            )
        if not (extensible and type(was) is int and type(now) is int):
            way = "this run depends on it in all its draws and cannot be extended"
            raise InvalidInput(f"{argument(field)} is {now}, but the run in {path!r} has {_short(was)}; {way}")
        if now < was and now < (done := store.most_done()):
            raise InvalidInput(
                f"{argument(field)} is {now}, but the run in {path!r} has done {done}; give at least that many"
            )
    _check_energies(path, _energies(stored), _energies(config))


def check_models(store: RunStore, facts: Mapping[str, Mapping[str, str]], config: Mapping[str, Any]) -> None:
    """Raise ``InvalidInput`` where a model of the same name computes something else than that of the stored run.

    The revision of a hub's repository means nothing where the weights are the same.
    """
    from samplers import InvalidInput

    stored = store.read("models.json")
    for field, now in facts.items():
        was = stored.get(field)
        was = was if isinstance(was, dict) else {}
        free = {"revision"} if was.get("sha256") == now.get("sha256") else set()
        for part in dict.fromkeys([*now, *was]):
            if was.get(part) != now.get(part) and part not in free:
                raise InvalidInput(
                    f"{argument(field)} {config.get(field)!r} is another model than that of the run in "
                    f"{str(store.path)!r}: its {PARTS.get(part, part)} was {_short(was.get(part))} and is now "
                    f"{_short(now.get(part))}; give the same model, or choose another folder"
                )


def check_versions(store: RunStore, now: Mapping[str, str], *, allowed: bool) -> None:
    """Raise ``InvalidInput`` for a library of another version than the stored run had; warn if that is ``allowed``."""
    from samplers import InvalidInput

    stored = store.read("env.json").get("versions")
    stored = stored if isinstance(stored, dict) else {}
    changed = [f"{name} was {stored.get(name)} and is now {now.get(name)}" for name in {**now, **stored}
               if stored.get(name) != now.get(name)]  # fmt: skip
    if not changed:
        return
    problem = f"the run in {str(store.path)!r} was begun with other versions: {', '.join(changed)}"
    if not allowed:
        raise InvalidInput(
            f"{problem}; install those, or give {argument('allow_version_change')}: the draws may then differ"
        )
    warnings.warn(f"{problem}; the draws may differ from those of an uninterrupted run", stacklevel=2)


def check_named(store: RunStore, config: Mapping[str, Any]) -> None:
    """Raise ``InvalidInput`` where the stored run has energies of the user's own that were not named again."""
    from samplers import InvalidInput

    now = _energies(config)
    missing = [spec for name, (spec, _) in _energies(store.read("config.json")).items() if name not in now]
    if not missing:
        return
    option, problem = argument("energies"), f"the run in {str(store.path)!r} has energies of your own"
    functions = [spec for spec in missing if ":" not in spec]
    if command_words() is None or functions:
        raise InvalidInput(f"{problem}, {', '.join(map(repr, missing))}; give them again in {option}")
    again = shlex.join([part for spec in missing for part in (option, spec)])
    raise InvalidInput(f"{problem}, which are run only where you name them; add {again}")


def _check_energies(path: str, was: Mapping[str, tuple[str, str]], now: Mapping[str, tuple[str, str]]) -> None:
    """Of the user's own energies name, weight and contents count, and not where the file lies."""
    from samplers import InvalidInput

    option = argument("energies")
    if list(was) != list(now):
        raise InvalidInput(
            f"{path!r} holds another run: {option} was {_short(list(was))} and is now {_short(list(now))}; give the "
            "stored ones, or choose another folder"
        )
    for name, (spec, sha) in now.items():
        if was[name][1] != sha:
            raise InvalidInput(
                f"{option} {spec!r} has changed since the run in {path!r} began: the file's SHA-256 was "
                f"{_short(was[name][1])} and is now {_short(sha)}; put it back, or choose another folder"
            )


def _energies(config: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Spec and digest of the file by ``NAME[=WEIGHT]``."""
    specs, digests = (config.get(field) or [] for field in ("energies", "energy_sha256"))
    pairs = zip(specs, digests, strict=False) if isinstance(specs, list) and isinstance(digests, list) else ()
    return {str(spec).rpartition(":")[2]: (str(spec), str(sha)) for spec, sha in pairs}


def _short(value: Any) -> str:
    """At most half a line; long digests by their first figures."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:16]}..."
