"""A run read from its folder, finished or not, with the tokenizer of its model and nothing else of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from experiments.results.cost import Spent
from experiments.results.protocol import Run
from experiments.results.search_run import SearchRun
from experiments.results.stopped_run import DrawsSoFar, StoppedRun
from experiments.results.text_run import TextRun
from experiments.setup.own_energies import own_terms
from experiments.setup.problem import Problem
from experiments.starts.made import StoredStarts, stored_starts

if TYPE_CHECKING:
    from lm_adapters import TextSpace
    from samplers import RunStore

__all__ = ["PROBLEM", "Method", "Outline", "stored_run"]

PROBLEM = "problem.json"
Method = Literal["chains", "search", "rejection", "importance", "smc", "exact"]
SCALARS = {"rejection": ["energy"], "importance": ["log_q", "energy"]}
LARGEST = {"chains": 10**6, "width": 10**5, "vocabulary": 10**8}


@dataclass(frozen=True)
class Outline:
    """What has to be known to read the draws of a run, as ``problem.json`` has it.

    ``space`` is the argument that names the model whose tokens the states are; it scores ``vocabulary`` ids. States are
    ``int64 [chains, width]``. ``own`` are the terms that are the user's; ``target``, ``constraints``, ``known_target``
    and ``fixed_lengths`` as in ``TextRun``.
    """

    method: Method
    target: str
    terms: Sequence[str]
    constraints: Sequence[str]
    own: Sequence[str]
    moves: Sequence[str]
    known_target: bool
    fixed_lengths: bool
    chains: int
    width: int
    space: str
    vocabulary: int

    @classmethod
    def of(
        cls,
        problem: Problem,
        method: Method,
        target: str,
        moves: Sequence[str] = (),
        *,
        known: bool = True,
        fixed: bool = False,
    ) -> Outline:
        from samplers import term_names

        named = (name for name, model in problem.models.items() if getattr(model, "space", None) is problem.space)
        return cls(
            method=method,
            target=target,
            terms=list(term_names(problem.energy)),
            constraints=list(problem.constraints),
            own=[term.name for _, _, term in own_terms(problem.energy)],
            moves=list(moves),
            known_target=known,
            fixed_lengths=fixed,
            chains=problem.x0.shape[0],
            width=problem.x0.shape[1],
            space=next(named, "model"),
            vocabulary=problem.space.vocabulary,
        )

    @classmethod
    def read(cls, store: RunStore) -> Outline:
        """Raises ``InvalidInput`` where there is none, ``StoreError`` for one that cannot be."""
        from samplers import InvalidInput, StoreError
        from samplers.storage import exists

        if not exists(store.path / PROBLEM):
            raise InvalidInput(f"{str(store.path)!r} has no {PROBLEM}: nothing has been drawn, or not by an experiment")
        found = store.read(PROBLEM)
        kinds = {"int": int, "str": str, "bool": bool, "Method": str, "Sequence[str]": list}
        whole = found.keys() == {field.name for field in fields(cls)} and all(
            type(found[field.name]) is kinds[str(field.type)] for field in fields(cls)
        )
        if not (
            whole
            and found["method"] in get_args(Method)
            and all(type(each) is str for name in ("terms", "constraints", "own", "moves") for each in found[name])
            and all(0 < found[name] <= most for name, most in LARGEST.items())
        ):
            raise StoreError(f"{str(store.path / PROBLEM)!r} is damaged: it has values that no run has")
        return cls(**found)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def stored_run(
    store: RunStore, config: Mapping[str, Any], outline: Outline, space: TextSpace, progress: str = ""
) -> Run | None:
    """All that is committed, as one run; a ``StoppedRun`` where that is not the whole. ``None`` without a draw.

    ``progress`` is what the folder's own process says of it. Raises ``StoreError`` for damaged files.
    """
    if outline.method == "exact":  # kept as a whole or not at all
        return None
    store.is_state = lambda x: bool(space.is_state(x).all())
    others = {"smc": config.get("populations", 1), "rejection": 1, "importance": 1}
    shards = others.get(outline.method, -(-outline.chains // config["shard_size"]))
    starts = stored_starts(store, space, outline.chains)
    spent = Spent.of(store.totals(shards), tuple(outline.own), starts.totals if starts else None)
    if outline.method in SCALARS:
        return _draws(store, config, outline, space, spent, progress)
    if outline.method == "smc":
        return _particles(store, config, outline, space, spent, progress)
    parts = list((_chains if outline.method == "chains" else _searches)(store, config, outline, space, spent))
    done = sum(steps for _, steps, _ in parts)
    begun = [(first, _started(run, first, starts)) for first, _, run in parts if _kept(run)]
    if not begun:
        return None
    least = min(steps for _, steps, run in parts if _kept(run))
    common = _joined([run for _, run in begun], replaced={**config, "steps": least})
    if done == shards * config["steps"]:
        return replace(common, config=config)
    progress = progress or f"stopped after {done:,} of {shards * config['steps']:,} steps"
    return StoppedRun(config, common, begun, progress)


def _chains(
    store: RunStore, config: Mapping[str, Any], outline: Outline, space: TextSpace, spent: Spent
) -> Iterator[tuple[int, int, TextRun | SearchRun]]:
    """First chain, steps done and draws of each shard."""
    import torch

    from samplers.run import stored_traces

    for first, done, trace in stored_traces(
        store,
        torch.zeros(outline.chains, 1, dtype=torch.int64).expand(-1, outline.width),
        shard_size=config["shard_size"],
        warmup=config["warmup"],
        thin=config["thin"],
        term_names=outline.terms,
        move_names=outline.moves,
    ):
        if not outline.known_target:  # which is scored at the end only
            unknown = torch.full_like(trace.energy, math.nan)
            trace = replace(trace, energy=unknown, terms=trace.terms[..., :0], term_names=())
        known, fixed, constraints = outline.known_target, outline.fixed_lengths, tuple(outline.constraints)
        yield first, done, TextRun(config, outline.target, space, trace, spent, known, fixed, constraints)


def _searches(
    store: RunStore, config: Mapping[str, Any], outline: Outline, space: TextSpace, spent: Spent
) -> Iterator[tuple[int, int, TextRun | SearchRun]]:
    import torch

    from samplers import Annealed
    from samplers.run import stored_annealed

    x0 = torch.zeros(outline.chains, 1, dtype=torch.int64).expand(-1, outline.width)
    for first, done, best in stored_annealed(store, x0, shard_size=config["shard_size"], terms=len(outline.terms)):
        found = Annealed(
            best["x"], best["energy"], best["terms"], tuple(outline.terms), best["found_at"], best["history"],
            config["seed"], 0, int(best["nan_rejected"]),
        )  # fmt: skip
        yield first, done, SearchRun(config, outline.target, space, found, spent, tuple(outline.constraints))


def _started(run: TextRun | SearchRun, first: int, starts: StoredStarts | None) -> TextRun | SearchRun:
    """With where its chains started, of which ``first`` is the first."""
    if starts is None or starts.from_below is None or not isinstance(run, TextRun):
        return run
    return replace(run, from_below=starts.from_below[first : first + len(run.trace.energy)])


def _kept(run: TextRun | SearchRun) -> int:
    """The number of draws of each chain."""
    return run.trace.energy.shape[1] if isinstance(run, TextRun) else 1


def _joined(runs: Sequence[TextRun | SearchRun], replaced: Mapping[str, Any]) -> TextRun | SearchRun:
    """The draws that all of the runs have."""
    import torch

    from samplers import Trace

    first = runs[0]
    if isinstance(first, SearchRun):
        found = [run.found for run in runs if isinstance(run, SearchRun)]
        common = min(each.history.shape[1] for each in found)
        whole = replace(
            found[0],
            x=torch.cat([each.x for each in found]),
            energy=torch.cat([each.energy for each in found]),
            terms=torch.cat([each.terms for each in found]),
            found_at=torch.cat([each.found_at for each in found]),
            history=torch.cat([each.history[:, :common] for each in found]),
            nan_rejected=sum(each.nan_rejected for each in found),
        )
        return replace(first, config=replaced, found=whole)
    traces = [run.trace for run in runs if isinstance(run, TextRun)]
    below = [run.from_below for run in runs if isinstance(run, TextRun) and run.from_below is not None]
    kept = min(trace.energy.shape[1] for trace in traces)
    cut = [
        replace(t, draws=t.draws[:, :kept], energy=t.energy[:, :kept], terms=t.terms[:, :kept], steps=t.steps[:kept])
        for t in traces
    ]
    joined = Trace.join(cut, seed=replaced["seed"], observer_failures=0)
    return replace(first, config=replaced, trace=joined, from_below=torch.cat(below) if below else None)


def _draws(
    store: RunStore, config: Mapping[str, Any], outline: Outline, space: TextSpace, spent: Spent, progress: str
) -> StoppedRun | None:
    from samplers import generator
    from samplers.randomness import repeated
    from samplers.run import stored_draws

    done, rows = stored_draws(store, SCALARS[outline.method])
    if not rows:
        return None
    x, energy, note = rows["x"], rows["energy"], "Exact and independent draws."
    if outline.method == "importance":
        log_weights = -energy - rows["log_q"]
        if not bool(log_weights.isfinite().any()):
            return None
        chosen = repeated(log_weights, config["chains"], generator(config["seed"], stream="resample"))
        x, energy = x[chosen], energy[chosen]
        note = f"Drawn again by weight from {done:,} weighted draws, which have not been judged yet."
    progress = progress or f"stopped after {done:,} of {config['chains'] * config['steps']:,} texts"
    draws = DrawsSoFar(config, outline.target, space.decode(x), energy.tolist(), note, spent)
    return StoppedRun(config, draws, [(0, draws)], progress)


def _particles(
    store: RunStore, config: Mapping[str, Any], outline: Outline, space: TextSpace, spent: Spent, progress: str
) -> StoppedRun | None:
    """Of the populations that have reached the target."""
    from samplers.run import stored_populations

    found = stored_populations(store, config["populations"], config["particles"], seed=config["seed"])
    if found is None:
        return None
    rows = found.resampled(config["chains"], seed=config["seed"])
    finished = len(found.log_z)
    progress = progress or f"stopped after {finished} of {config['populations']} populations"
    note = (
        f"Drawn again by weight from {finished} of {config['populations']} populations, which have not been judged yet."
    )
    x, energy = found.x[rows], found.energy[rows]
    draws = DrawsSoFar(config, outline.target, space.decode(x), energy.tolist(), note, spent)
    return StoppedRun(config, draws, [(0, draws)], progress)
