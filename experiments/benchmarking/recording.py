"""What happens inside steps: what they propose, which rows the proposing model reads, when models are at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from experiments.benchmarking.timing import Clock, Span
from experiments.results.cost import Cost, counted
from samplers import Kernel

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lm_adapters import MaskedLM

__all__ = ["Move", "Recording", "recorded"]

PROPOSERS = ("proposal", "shortlist")  # what a kernel asks for new states, or for candidates


@dataclass
class Move:
    """One call of a kernel's proposal or shortlist.

    ``arguments`` and ``answer`` are those of the call, ``arguments[0]`` the states before the step. ``masked`` has the
    ids and attention masks of the proposing model's passes inside it, ``cut [chains]`` says where texts are redrawn.
    """

    arguments: tuple[Any, ...]
    answer: Any = None
    cut: Tensor | None = None
    masked: list[tuple[Tensor, Tensor | None]] = field(default_factory=list)

    @property
    def x(self) -> Tensor:
        return self.arguments[0]


@dataclass
class Recording:
    """Of all steps inside a ``recorded`` block. ``inside``: when the models were at work."""

    cost: Cost
    moves: list[Move] = field(default_factory=list)
    inside: list[Span] = field(default_factory=list)


@contextmanager
def recorded(
    kernel: Kernel, proposer: MaskedLM | None, models: Sequence[PreTrainedModel], clock: Clock
) -> Iterator[Recording]:
    """Record what ``kernel`` does inside the block; the kernel and the models are left as they were.

    The block's cost beyond the steps themselves is some microseconds a pass and a proposal.
    """
    with ExitStack() as undo:
        recording = Recording(undo.enter_context(counted(models)))
        began: list[Any] = []
        for model in {id(model): model for model in models}.values():
            encoder = [model.get_encoder()] if model.config.is_encoder_decoder else []
            for part in (model, *encoder):
                _time(part, began, recording, clock, undo)
        for part in _leaves(kernel):
            for name in PROPOSERS:
                if hasattr(part, name):
                    _spy(part, name, recording, undo)
        if proposer is not None:
            undo.callback(_note_rows(proposer.model.base_model, recording).remove)
        yield recording


def _leaves(kernel: Any) -> Iterator[Any]:
    inner = getattr(kernel, "parts", [kernel.kernel] if hasattr(kernel, "kernel") else [])
    for part in inner:
        yield from _leaves(part)
    if not inner:
        yield kernel


def _spy(part: Any, name: str, recording: Recording, undo: ExitStack) -> None:
    ask: Callable[..., Any] = getattr(part, name)

    _replace(part, name, (_Drawing if hasattr(ask, "draw") else _Asked)(ask, recording), undo)
    if hasattr(ask, "distribution"):
        _note_cuts(ask.distribution, recording, undo)


class _Asked:
    """A proposal or shortlist whose calls are recorded."""

    def __init__(self, ask: Any, recording: Recording) -> None:
        self._ask, self._recording = ask, recording

    def __call__(self, *arguments: Any) -> Any:
        return self._recorded(self._ask, *arguments)

    def _recorded(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        move = Move(arguments)
        self._recording.moves.append(move)
        move.answer = ask(*arguments)
        return move.answer


class _Drawing(_Asked):
    """One that can draw alone."""

    def __call__(self, *arguments: Any) -> Any:
        return super().__call__(*arguments)

    def draw(self, *arguments: Any) -> Any:
        return self._recorded(self._ask.draw, *arguments)


def _note_cuts(distribution: Any, recording: Recording, undo: ExitStack) -> None:
    redraw: Callable[..., Any] = distribution.redraw

    def noted(x: Tensor, cut: Tensor, *others: Any) -> Any:
        recording.moves[-1].cut = cut
        return redraw(x, cut, *others)

    _replace(distribution, "redraw", noted, undo)


def _replace(owner: Any, name: str, new: Any, undo: ExitStack) -> None:
    """Until the recording is over."""
    own = vars(owner).get(name)
    setattr(owner, name, new)
    if own is None:
        undo.callback(delattr, owner, name)
    else:
        undo.callback(setattr, owner, name, own)


def _note_rows(body: nn.Module, recording: Recording) -> Any:
    def note(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        move = recording.moves[-1] if recording.moves else None
        if move is not None and move.answer is None:  # later passes are the energy's
            ids = named["input_ids"] if named.get("input_ids") is not None else arguments[0]
            move.masked.append((ids, named.get("attention_mask")))

    return body.register_forward_pre_hook(note, with_kwargs=True)


def _time(model: nn.Module, began: list[Any], recording: Recording, clock: Clock, undo: ExitStack) -> None:
    """``began``: of the calls that are not over; an encoder may run inside its model."""

    def enter(*_: Any) -> None:
        began.append(clock.mark())

    def leave(*_: Any) -> None:
        start = began.pop()
        if not began:
            recording.inside.append((start, clock.mark()))

    undo.callback(model.register_forward_pre_hook(enter).remove)
    undo.callback(model.register_forward_hook(leave).remove)
