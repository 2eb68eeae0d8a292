"""Routes that probes have found, kept in the user's cache folder so that a model is probed once.

The file is ``$XDG_CACHE_HOME/mcmc-text/routes.json`` (``~/.cache`` by default). One that cannot be read or written, or
holds anything else than routes, is as good as none.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from lm_adapters.forward.batching import Together
from lm_adapters.forward.route import Cache, Route
from samplers import __version__
from samplers.storage import digest

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["known_route", "remember_route", "route_key"]

SAMPLED = 64  # elements of each tensor
MOST = 500  # routes; the oldest are dropped
LARGEST = 2**20  # bytes of the file


def route_key(model: PreTrainedModel, tokens: list[list[int]]) -> str:
    """SHA-256 of what a route depends on: class, settings, versions, device, the probe's ``tokens``, and the weights.

    Of each tensor a few elements are read, so that this costs less than a probe.
    """
    import transformers

    device = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else model.device.type
    facts = {
        "class": f"{type(model).__module__}.{type(model).__qualname__}",
        "versions": [__version__, str(torch.__version__), transformers.__version__],
        "device": device,
        "attention": getattr(model.config, "_attn_implementation", None),
        "configuration": model.config.to_diff_dict(),
        "tokens": tokens,
    }
    tensors = chain(model.named_parameters(), model.named_buffers())
    return digest({name: _sampled(tensor) for name, tensor in tensors}, json.dumps(facts, sort_keys=True, default=str))


def known_route(key: str) -> Route | None:
    """The route that was found under this key, ``None`` if none was."""
    facts = _routes().get(key)
    if not isinstance(facts, dict) or set(facts) != {"rows", "cache", "full_head"}:
        return None
    known = facts["rows"] in get_args(Together) and facts["cache"] in get_args(Cache)
    return Route(**facts) if known and isinstance(facts["full_head"], bool) else None


def remember_route(key: str, route: Route) -> None:
    """Keep ``route`` for the next time; does nothing where no file can be written."""
    path = _file()
    if path is None:
        return
    routes = [*_routes().items(), (key, asdict(route))][-MOST:]
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Whole for every reader; that it survives a crash of the machine is not needed.
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(dict(routes), file, indent=0)
        os.replace(file.name, path)


def _routes() -> dict[str, Any]:
    path = _file()
    try:
        if path is None or path.stat().st_size > LARGEST:
            return {}
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _file() -> Path | None:
    """``None`` where there is no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    with suppress(RuntimeError):
        folder = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
        return folder / "mcmc-text" / "routes.json"
    return None


def _sampled(tensor: Tensor) -> Tensor:
    flat = tensor.detach().reshape(-1)
    step = max(1, flat.numel() // SAMPLED)
    return flat[::step]
