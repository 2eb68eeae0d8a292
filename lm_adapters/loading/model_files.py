"""A model's files are untrusted input: checks before a model is built from them, and after.

A failed check raises ``ValueError`` with the reason; ``loading_errors`` adds the name of the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import torch

from samplers import InvalidInput

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["check_config", "check_loaded", "check_size", "check_weights", "find_file", "read_json"]

JSON_LIMIT = 2**26  # bytes
CONFIG, ADAPTER = "config.json", "adapter_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
# Under such a name a number counts modules, or labels, that are built one by one before any weight is read.
COUNTS = re.compile(r"(?:^|_)(?:layer|block|expert|stage|group|type)s?(?:_num|_sizes|_repeats)?$")
LABELS = re.compile(r"(?:^|_)labels$")
MAX_MODULES, MAX_LABELS = 1_024, 1_000_000
# Weights may be stored in fewer bits than they are run in, and some tables are computed.
SIZE_RATIO, COMPUTED_BYTES = 16, 2**30
TRIAL_TEXT = "a b c d e f"
ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


def find_file(source: str, local: bool, file: str) -> Path | None:
    """The path of a file of the model, downloaded unless ``local``; ``None`` where it cannot be had.

    ``source`` is a folder or a hub name. Raises ``OSError`` or ``ValueError`` where there is no such model.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder / file if (folder / file).is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        return Path(hf_hub_download(source, file, local_files_only=local))
    except (EntryNotFoundError, GatedRepoError):
        return None
    except RepositoryNotFoundError:
        raise
    except HfHubHTTPError:
        return None


def read_json(source: str, local: bool, file: str) -> Any:
    """The content of a JSON file, ``None`` where the model has no such file."""
    path = find_file(source, local, file)
    if path is None:
        return None
    if path.stat().st_size > JSON_LIMIT:
        raise ValueError(f"its {file} is larger than {JSON_LIMIT:,} bytes")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its {file} is not JSON ({type(error).__name__})") from error


def check_config(source: str, local: bool, *, trusted: bool) -> None:
    """Reject a configuration that requires too many modules, foreign code, or pickled weights."""
    if find_file(source, local, CONFIG) is None:  # loading the model gives a better message
        return
    facts = read_json(source, local, CONFIG)
    if not isinstance(facts, dict):
        raise ValueError(f"its {CONFIG} holds {type(facts).__name__}, not an object")
    for name, value in _numbers(facts):
        most = MAX_MODULES if COUNTS.search(name) else MAX_LABELS if LABELS.search(name) else value
        if value > most:
            raise ValueError(f"its {CONFIG} asks for {name} {value:,}; the limit is {most:,}")
    kernels = [value for name, value in _strings(facts) if name.endswith("attn_implementation") and "/" in value]
    if kernels and not trusted:
        raise ValueError(f"it needs code from {kernels[0]!r}, which is only run with trust_remote_code")
    weights = facts.get("transformers_weights")
    if weights is not None and not str(weights).endswith((".safetensors", ".safetensors.index.json")):
        raise ValueError(f"its weights are in {weights!r}; only safetensors are read")


def check_weights(source: str, local: bool, auto: str = "AutoModel") -> None:
    """Reject adapters, and weights in other files than safetensors of the model's own.

    ``auto``: the class of transformers that can convert pickled weights, for the message.
    """
    if find_file(source, local, ADAPTER) is not None:
        raise ValueError("it is an adapter; merge it with its model and save that")
    if _shards(source, local) is None and Path(source).is_dir() and find_file(source, local, WEIGHTS) is None:
        pickled = next((name for name in PICKLED if find_file(source, local, name) is not None), None)
        if pickled is not None:
            path = str(source).replace("'", "\\'")
            raise InvalidInput(
                f"the weights of {source!r} are in {pickled}, which is not read because such a file can run code; if "
                f'you trust it, convert it once: python -c "import transformers; transformers.{auto}.from_pretrained('
                f"'{path}').save_pretrained('{path}')\""
            )


def check_size(config: PretrainedConfig, auto: Any, source: str, local: bool) -> None:
    """Reject a configuration that describes a far larger model than the files hold weights for."""
    names = _shards(source, local)
    shards = {name: find_file(source, local, name) for name in names or [WEIGHTS]}
    if absent := [name for name, path in shards.items() if path is None]:
        if names is None:  # the hub may still convert another file
            return
        raise ValueError(f"its {INDEX} names {absent[0]!r}, which is not there")
    from transformers.initialization import no_init_weights

    held = sum(path.stat().st_size for path in shards.values() if path is not None)
    with torch.device("meta"), no_init_weights():
        model = auto.from_config(config)
    described = sum(tensor.numel() * tensor.element_size() for tensor in chain(model.parameters(), model.buffers()))
    if described > SIZE_RATIO * held + COMPUTED_BYTES:
        raise ValueError(f"its configuration describes {described:,} bytes of weights, its files hold {held:,}")


def check_loaded(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, reads_only: bool = False) -> None:
    """Reject NaN or infinite weights, tokens without an embedding, and a model that fails on a short text.

    ``reads_only``: even with a decoder it gets no target.
    """
    for name, weight in model.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise ValueError(f"it has NaN or infinite weights ({name}) as {str(weight.dtype).removeprefix('torch.')}")
    rows = getattr(_embedding(model), "num_embeddings", None)
    largest = max(_required_ids(tokenizer), default=-1)
    if rows is not None and largest >= rows:
        raise ValueError(f"its tokenizer has a token {largest:,}, and its embedding {rows:,} rows")
    _run_trial(model, tokenizer(TRIAL_TEXT)["input_ids"], reads_only)


def _run_trial(model: PreTrainedModel, tokens: list[int], reads_only: bool) -> None:
    """Settings that fit the weights, such as a number of heads, may still not make a working model."""
    if not tokens:
        return
    ids = torch.tensor([tokens], device=model.device)
    target = (
        {"decoder_input_ids": torch.zeros_like(ids[:, :1])}
        if model.config.is_encoder_decoder and not reads_only
        else {}
    )
    with torch.no_grad():
        answer = model(input_ids=ids, **target)[0]
    if bool(answer.isnan().any()):
        raise ValueError(f"it answers a text with NaN as {str(model.dtype).removeprefix('torch.')}")


def _shards(source: str, local: bool) -> list[str] | None:
    """Names of the weight files where there are several, ``None`` where there is one or none."""
    if find_file(source, local, WEIGHTS) is not None:
        return None
    index = read_json(source, local, INDEX)
    if index is None:
        return None
    parts = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(parts, dict) or not parts or not all(isinstance(part, str) for part in parts.values()):
        raise ValueError(f"its {INDEX} names no files")
    names = sorted(set(parts.values()))
    for name in names:
        if PurePosixPath(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise ValueError(f"its {INDEX} names {name!r}; only safetensors files of its own are read")
    return names


def _embedding(model: PreTrainedModel) -> Any:
    try:
        return model.get_input_embeddings()
    except (NotImplementedError, AttributeError):  # models of characters have no embedding
        return None


def _required_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Ids that a text may have. An added token, for images say, may lack an embedding, since no text uses it."""
    words = set(tokenizer.get_vocab().values()) - set(tokenizer.added_tokens_decoder)
    named: set[Any] = {getattr(tokenizer, f"{role}_token_id", None) for role in ROLES} - {None}
    return words | named | set(tokenizer("a")["input_ids"])


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Every integer, with the key that it or its list has."""
    for key, leaf in _leaves(value, name):
        if isinstance(leaf, int) and not isinstance(leaf, bool):
            yield key, leaf


def _strings(value: Any) -> Iterator[tuple[str, str]]:
    for key, leaf in _leaves(value, ""):
        if isinstance(leaf, str):
            yield key, leaf


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, str(key))
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, name)
    else:
        yield name, value
