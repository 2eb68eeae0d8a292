"""The fingerprint of a run: a description of all that its draws depend on, compared when it resumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samplers.storage.atomic_files import exists
from samplers.storage.description import describe_all
from samplers.storage.run_store import FINGERPRINT, RunStore

__all__ = ["pin_fingerprint"]

FORMAT = 2


def pin_fingerprint(store: RunStore, facts: Mapping[str, Any]) -> None:
    """Store a description of ``facts``, or compare it with the stored one, which is never rewritten.

    Raises ``InvalidInput`` for what cannot be described, and for the first fact that differs.
    """
    described = {"format": FORMAT, **describe_all(facts)}
    if not exists(store.path / FINGERPRINT):
        store.pin(FINGERPRINT, described)
        return
    stored = store.read(FINGERPRINT)
    left_out = {"libraries"} if store.allow_version_change else set()
    if store.allow_version_change and _python(stored) != _python(described):
        stored, described = _without_code(stored), _without_code(described)
    store.compare(FINGERPRINT, *({n: f for n, f in part.items() if n not in left_out} for part in (stored, described)))


def _python(described: Mapping[str, Any]) -> Any:
    return described.get("libraries", {}).get("python")


def _without_code(described: Any) -> Any:
    """Without the digests of code that another version of Python has compiled."""
    if isinstance(described, Mapping):
        code = {"code", "constants"} if "function" in described else set()
        return {name: _without_code(part) for name, part in described.items() if name not in code}
    return [_without_code(part) for part in described] if isinstance(described, list) else described
