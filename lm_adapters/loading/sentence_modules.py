"""What a sentence-transformers model is made of, read from its files before any of them is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from lm_adapters.loading.model_files import WEIGHTS, find_file

__all__ = ["LIBRARY", "beyond_mean_pooling", "check_modules"]

LIBRARY = "sentence_transformers"
# Of the library's names only these are modules for texts that load nothing but settings and weights.
KINDS = {"Transformer", "Pooling", "Normalize", "Dense", "LayerNorm", "Dropout", "WeightedLayerPooling", "CNN", "LSTM"}


def check_modules(modules: Any, source: str, local: bool, *, trusted: bool) -> None:
    """Raise ``ValueError`` for modules whose code or files are elsewhere, and for pickled weights."""
    if not isinstance(modules, list) or not modules or not all(map(_is_module, modules)):
        raise ValueError("its modules.json is no list of modules")
    for kind, path in ((part["type"], PurePosixPath(part["path"])) for part in modules):
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"its modules.json leads out of it, to {str(path)!r}")
        if not kind.startswith(f"{LIBRARY}."):
            if not trusted:
                raise ValueError(f"its module {kind!r} is only run with trust_remote_code")
        elif _name(kind) not in KINDS:
            raise ValueError(f"its module {kind!r} is unknown here; known are {', '.join(sorted(KINDS))}")
        # Transformers are told to take nothing but safetensors.
        unsafe = _name(kind) != "Transformer" and find_file(source, local, str(path / WEIGHTS)) is None
        if unsafe and find_file(source, local, str(path / "pytorch_model.bin")) is not None:
            raise ValueError(f"the weights of its module {kind!r} are pickled; only safetensors are read")


def beyond_mean_pooling(modules: list[dict[str, Any]], read: Callable[[str], Any]) -> str | None:
    """What a model does beside the mean over all of its tokens, if anything. ``read`` gives its JSON files."""
    if foreign := [part["type"] for part in modules if not part["type"].startswith(f"{LIBRARY}.")]:
        return f"is made of {foreign[0]}"
    kinds = [_name(part["type"]) for part in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]) or modules[0]["path"]:
        return f"is made of {', '.join(kinds)}"
    pooling = read(f"{modules[1]['path']}/config.json") or {}
    # One name in files of today, a flag for each way in older ones.
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
