"""A device ``cuda`` that is not there: tensors that say they lie on it and are computed on the CPU.

It fails where tensors of two devices meet, and records every operator at which a real device would make the processor
wait for all that is queued.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["PretendCuda", "pretend_cuda"]

DEVICE, PROJECT = torch.device("cuda", 0), Path(__file__).resolve().parent.parent
WAITS = {
    "aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::unique_dim",
    "aten::unique_consecutive", "aten::equal", "aten::bincount", "aten::histc", "aten::is_nonzero", "aten::item",
}  # fmt: skip
INDEXING = {"aten::index", "aten::index_put_", "aten::index_put", "aten::_unsafe_index"}
MIXES = INDEXING | {"aten::copy_"}  # operators that take tensors of the CPU beside those of the device


class OnCuda(torch.Tensor):
    """``held``, said to lie on the device."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> OnCuda:
        wrapped: OnCuda = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            layout=held.layout, device="meta",
        )  # fmt: skip
        wrapped.held = held
        return wrapped

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        return False

    def __repr__(self, **_: Any) -> str:
        return f"OnCuda({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} outside of pretend_cuda")


class CudaGenerator(torch.Generator):
    """A generator of the CPU, said to be the device's."""

    @property
    def device(self) -> torch.device:
        return DEVICE


class PretendCuda(TorchDispatchMode):
    """``waits``: how often each line of the project, or of a library that it calls, made the processor wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.generator_there = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        leaves = tree_leaves((args, kwargs))
        tensors = [each for each in leaves if isinstance(each, torch.Tensor)]
        on = [each for each in tensors if isinstance(each, OnCuda)]
        wanted = next((each.type for each in leaves if isinstance(each, torch.device)), None)
        name = func._schema.name
        if on:
            self._check(func, name, args, tensors)
        to_device = wanted == "cuda" or (bool(on) and wanted is None)
        self._check_generator(func, leaves, to_device)
        moved = (bool(on) and wanted == "cpu") or (wanted == "cuda" and bool(tensors) and not on)
        if moved and tensors[0].numel():
            self._wait(func)
        copied = name == "aten::copy_" and len(on) == 1 and tensors[1].numel()
        if copied or (on and self._is_wait(name, args, kwargs)):
            self._wait(func)
        with torch.inference_mode(mode=False), torch.no_grad():
            found = func(*tree_map(_held, args), **tree_map(_held, kwargs))
            return self._answer(func, args, kwargs, found, to_device)

    def _answer(self, func: Any, args: Any, kwargs: Any, found: Any, to_device: bool) -> Any:
        if func._schema.is_mutable and func._schema.name[-1] == "_":
            return args[0]
        if any(argument.alias_info and argument.alias_info.is_write for argument in func._schema.arguments):
            return kwargs.get("out", args[0] if args else None)
        return tree_map(_wrapped, found) if to_device else found

    def _check(self, func: Any, name: str, args: Any, tensors: list[torch.Tensor]) -> None:
        stray = [each for each in tensors if not isinstance(each, OnCuda) and each.dim()]
        if stray and name not in MIXES:
            raise RuntimeError(f"{func}: expected all tensors on one device, found {[tuple(s.shape) for s in stray]}")
        if name in INDEXING and not isinstance(args[0], OnCuda):
            raise RuntimeError(f"{func}: indices on the device, the tensor not")
        if stray and name in INDEXING:
            self._wait(func)

    def _check_generator(self, func: Any, leaves: list[Any], to_device: bool) -> None:
        for each in leaves:
            if isinstance(each, torch.Generator) and self.generator_there != to_device:
                raise RuntimeError(f"{func}: a generator of another device")

    def _is_wait(self, name: str, args: Any, kwargs: Any) -> bool:
        if name in INDEXING:
            return any(isinstance(i, torch.Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        if name == "aten::repeat_interleave":
            return kwargs.get("output_size") is None
        return name in WAITS

    def _wait(self, func: Any) -> None:
        frames = [f for f in traceback.extract_stack() if Path(f.filename) != Path(__file__)]
        ours = [
            f for f in frames if str(PROJECT) in f.filename and "/tests/" not in f.filename and "venv" not in f.filename
        ]
        own = ours[-1] if ours else frames[-1]
        where = f"{Path(own.filename).resolve()}:{own.lineno} {own.line}"
        last = next((f for f in reversed(frames) if "/torch/" not in f.filename), frames[-1])
        if last is not own:
            where += f" > {'/'.join(Path(last.filename).parts[-2:])}:{last.lineno} {last.line}"
        self.waits[f"{where.removeprefix(str(PROJECT) + '/')} [{func._schema.name}]"] += 1


class _Functions(TorchFunctionMode):
    """``torch.tensor`` builds on the CPU below all modes; what it builds is moved as a real one would be."""

    def __init__(self, below: PretendCuda) -> None:
        super().__init__()
        self.below = below

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map(_numbered, args), tree_map(_numbered, dict(kwargs or {}))
        if isinstance(kwargs.get("generator"), torch.Generator):
            self.below.generator_there = isinstance(kwargs["generator"], CudaGenerator)
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        if func is torch.nn.functional.scaled_dot_product_attention and isinstance(args[0], OnCuda):
            return OnCuda(func(*tree_map(_held, args), **tree_map(_held, kwargs)))
        if func is torch.Tensor.tolist and isinstance(args[0], OnCuda):
            return args[0].cpu().tolist()
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and isinstance(args[0], OnCuda):
            args = (args[0], _index(args[1]), *args[2:])
        if func is torch.Tensor.__setitem__ and not isinstance(args[2], torch.Tensor) and isinstance(args[0], OnCuda):
            return args[0].held.__setitem__(tree_map(_held, args[1]), args[2])
        if func is torch.Tensor.numpy and isinstance(args[0], OnCuda):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        return func(*args, **kwargs)


class _Event:
    def record(self, *_: Any) -> None: ...

    def elapsed_time(self, other: Any) -> float:
        return 1.0


@contextmanager
def pretend_cuda() -> Iterator[PretendCuda]:
    with ExitStack() as stack:
        for name, value in {
            "is_available": lambda: True, "device_count": lambda: 1, "_lazy_init": lambda: None,
            "current_stream": lambda *_: None, "synchronize": lambda *_: None, "Event": lambda **_: _Event(),
            "empty_cache": lambda: None, "is_initialized": lambda: False, "get_device_name": lambda *_: "pretended",
            "reset_peak_memory_stats": lambda *_: None, "max_memory_allocated": lambda *_: 1,
            "current_device": lambda: 0, "get_rng_state": lambda *_: None, "set_rng_state": lambda *_: None,
        }.items():  # fmt: skip
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        stack.enter_context(mock.patch.object(torch, "Generator", _Make))
        mode = PretendCuda()
        stack.enter_context(_Functions(mode))
        stack.enter_context(mode)
        yield mode


class _Meta(type(torch.Generator)):  # type: ignore[misc]
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, _REAL)

    def __call__(cls, device: Any = "cpu") -> Any:
        return CudaGenerator() if torch.device(device).type == "cuda" else _REAL()


_REAL = torch.Generator


class _Make(metaclass=_Meta): ...


def _numbered(each: Any) -> Any:
    """With the number that a tensor's device has, which torch would ask of the real device."""
    named = isinstance(each, torch.device) or (isinstance(each, str) and each == "cuda")
    return DEVICE if named and torch.device(each).type == "cuda" else each


def _index(index: Any) -> Any:
    """Lists of numbers become tensors of the processor, which is what they cost."""
    if isinstance(index, list):
        return torch.tensor(index, dtype=None if index else torch.int64)
    return tuple(map(_index, index)) if isinstance(index, tuple) else index


def _held(each: Any) -> Any:
    if isinstance(each, torch.device) and each.type == "cuda":
        return torch.device("cpu")
    return each.held if isinstance(each, OnCuda) else each


def _wrapped(each: Any) -> Any:
    return OnCuda(each) if isinstance(each, torch.Tensor) and not isinstance(each, OnCuda) else each
