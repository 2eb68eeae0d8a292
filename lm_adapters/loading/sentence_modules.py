"""The modules of a sentence-transformers model, checked from its files before any of them is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from lm_adapters.loading.model_files import WEIGHTS, find_file

__all__ = ["LIBRARY", "beyond_mean_pooling", "check_modules"]

LIBRARY = "sentence_transformers"
# The library's modules for texts that load only settings and weights.
KINDS = {"Transformer", "Pooling", "Normalize", "Dense", "LayerNorm", "Dropout", "WeightedLayerPooling", "CNN", "LSTM"}


def check_modules(modules: Any, source: str, local: bool, *, trusted: bool) -> None:
    """Raise ``ValueError`` for modules with foreign code, files outside the model, or pickled weights."""
    if not isinstance(modules, list) or not modules or not all(map(_is_module, modules)):
        raise ValueError("its modules.json is not a list of modules")
    for kind, path in ((part["type"], PurePosixPath(part["path"])) for part in modules):
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"its modules.json names a path outside the model, {str(path)!r}")
        if not kind.startswith(f"{LIBRARY}."):
            if not trusted:
                raise ValueError(f"its module {kind!r} is only run with trust_remote_code")
        elif _name(kind) not in KINDS:
            raise ValueError(f"its module {kind!r} is unknown; known are {', '.join(sorted(KINDS))}")
        # A Transformer module is loaded with use_safetensors.
        unsafe = _name(kind) != "Transformer" and find_file(source, local, str(path / WEIGHTS)) is None
        if unsafe and find_file(source, local, str(path / "pytorch_model.bin")) is not None:
            raise ValueError(f"the weights of its module {kind!r} are pickled; only safetensors are read")


def beyond_mean_pooling(modules: list[dict[str, Any]], read: Callable[[str], Any]) -> str | None:
    """What a model does beside the mean over all its tokens, ``None`` if nothing. ``read`` returns its JSON files."""
    if foreign := [part["type"] for part in modules if not part["type"].startswith(f"{LIBRARY}.")]:
        return f"is made of {foreign[0]}"
    kinds = [_name(part["type"]) for part in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]) or modules[0]["path"]:
        return f"is made of {', '.join(kinds)}"
    pooling = read(f"{modules[1]['path']}/config.json") or {}
    # Newer files have one name, older ones a flag for each kind of pooling.
    flags = [key.removeprefix("pooling_mode_") for key, on in pooling.items() if key.startswith("pooling_mode_") and on]
    if (how := pooling.get("pooling_mode", flags)) not in ("mean", ["mean"], ["mean_tokens"]):
        return f"pools by {how if isinstance(how, str) else ' and '.join(how)}"
    if (read("sentence_bert_config.json") or {}).get("do_lower_case"):
        return "lower-cases its texts"
    if (read("config_sentence_transformers.json") or {}).get("default_prompt_name"):
        return "puts a prompt before its texts"
    return None


def _is_module(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("type"), str) and isinstance(part.get("path"), str)


def _name(kind: str) -> str:
    return kind.rpartition(".")[2]
