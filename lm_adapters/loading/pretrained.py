"""Load a Hugging Face model by embedded name, folder or hub name, with one-line errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from lm_adapters.forward.oom import is_out_of_memory
from lm_adapters.loading.model_files import check_config, check_loaded, check_size, check_weights
from lm_adapters.pretrained import embedded_names, embedded_path
from samplers import InvalidInput

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "DTYPES",
    "Task",
    "alike_each_time",
    "check_device",
    "check_dtype",
    "load_pretrained",
    "loading_errors",
    "locate",
    "task_of",
]

Task = Literal["masked", "causal", "seq2seq", "encoder"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
AUTO_CLASS = {
    "masked": "AutoModelForMaskedLM",
    "causal": "AutoModelForCausalLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "encoder": "AutoModel",
}
SHOWN = 240  # characters of other libraries' messages
NEEDED = {
    "masked": "a masked language model",
    "causal": "a causal language model",
    "seq2seq": "a seq2seq model",
    "encoder": "a sentence encoder",
}


def check_device(device: str) -> torch.device:
    """The device, if this machine has it."""
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InvalidInput(
            f"device {device!r} cannot be used here; choose cpu, or cuda where there is a GPU"
        ) from error
    return found


def check_dtype(dtype: str) -> torch.dtype:
    if dtype not in DTYPES:
        raise InvalidInput(f"dtype {dtype!r} is unknown; choose one of {', '.join(DTYPES)}")
    return DTYPES[dtype]


def locate(name_or_path: str, trust_remote_code: bool = False) -> tuple[str, dict[str, Any]]:
    """The folder or hub name that Hugging Face is to be asked for, and how: no useless retries, no code unasked for."""
    source = str(embedded_path(name_or_path) or name_or_path)
    # Left to its default, trust_remote_code asks on stdin whether to run what the folder brings along.
    return source, {
        "trust_remote_code": trust_remote_code,
        "local_files_only": Path(source).is_dir() or not _hub_answers(),
    }


@contextmanager
def alike_each_time() -> Iterator[None]:
    """Weights that a file lacks are drawn at random: not from the caller's generator, and the same each time.

    Or else the pooler that nobody reads would make another model of an encoder each time it is loaded.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


@contextmanager
def loading_errors(name_or_path: str) -> Iterator[None]:
    """What goes wrong while ``name_or_path`` is loaded becomes one line of ``InvalidInput``; nothing is printed.

    Whatever it is: the files of a model are anybody's, and make the libraries that read them fail in every way.
    """
    try:
        with _quiet():
            yield
    except InvalidInput:
        raise
    except BaseException as error:
        # A tokenizer's library written in Rust panics, which is no Exception.
        panics = type(error).__name__ == "PanicException"
        if is_out_of_memory(error) or not (isinstance(error, Exception) or panics):
            raise
        raise InvalidInput(_what_is_wrong(name_or_path, error)) from error


def load_pretrained(
    task: Task, name_or_path: str, *, device: str = "cpu", dtype: str = "float32", trust_remote_code: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer; safetensors only. Code that a model brings along is run only with ``trust_remote_code``.

    Raises ``InvalidInput``, before anything is loaded where possible: unknown device or type, no such model, another
    kind of model, files that are damaged or do not fit each other, weights that are missing or no numbers.
    """
    found, weights = check_device(device), check_dtype(dtype)
    import transformers

    source, options = locate(name_or_path, trust_remote_code)
    auto = getattr(transformers, AUTO_CLASS[task])
    with loading_errors(name_or_path):
        config = _configuration(source, options)
    # BART has a masked-LM and a causal class too, built on parts of it that were never trained for either.
    other = config.is_encoder_decoder != (task == "seq2seq") or (
        task == "causal" and _reads_both_ways(config, trust_remote_code)
    )
    if not _has_class(config, task, trust_remote_code) or other:
        raise InvalidInput(f"{name_or_path!r} is a {config.model_type} model; {NEEDED[task]} is needed here")
    with loading_errors(name_or_path), alike_each_time():
        with _panics_unprinted():
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
        check_weights(source, options["local_files_only"])
        if not trust_remote_code:
            check_size(config, auto, source, options["local_files_only"])
        model, report = auto.from_pretrained(
            source, config=config, dtype=weights, use_safetensors=True, output_loading_info=True, **options
        )
    # Nobody reads an encoder's pooler: sentences are pooled from the states of their tokens.
    missing = [key for key in report["missing_keys"] if task != "encoder" or not key.startswith("pooler.")]
    if missing:
        raise InvalidInput(f"{name_or_path!r} lacks weights ({min(missing)}): no {task} model; choose a complete one")
    with loading_errors(name_or_path):
        model = model.to(found)
        check_loaded(model, tokenizer)
    return model, tokenizer


def task_of(name_or_path: str, *, trust_remote_code: bool = False) -> Task:
    """What a model is for, read from its configuration alone.

    Raises ``InvalidInput`` if there is no such model, or none that scores text.
    """
    source, options = locate(name_or_path, trust_remote_code)
    with loading_errors(name_or_path):
        config = _configuration(source, options)
    if config.is_encoder_decoder:
        return "seq2seq"
    if _reads_both_ways(config, trust_remote_code):
        return "masked"
    if _has_class(config, "causal", trust_remote_code):
        return "causal"
    raise InvalidInput(f"{name_or_path!r} is a {config.model_type} model, which scores no text; choose another")


def _configuration(source: str, options: dict[str, Any]) -> PretrainedConfig:
    import transformers

    check_config(source, options["local_files_only"], trusted=options["trust_remote_code"])
    return transformers.AutoConfig.from_pretrained(source, **options)


def _has_class(config: PretrainedConfig, task: Task, trusted: bool) -> bool:
    """Whether the library has a model for the task, or the files themselves where they are trusted."""
    import transformers

    auto = AUTO_CLASS[task]
    own = trusted and auto in (getattr(config, "auto_map", None) or {})
    return own or type(config) in getattr(transformers, auto)._model_mapping


def _reads_both_ways(config: PretrainedConfig, trusted: bool) -> bool:
    """BERT and its kin have a causal class too; they are causal only where their configuration says so."""
    return _has_class(config, "masked", trusted) and not getattr(config, "is_decoder", False)


def _hub_answers() -> bool:
    """One short request: without it the hub's client retries for half a minute on a machine without internet."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:  # for whatever reason: then the cache is all there is
        return False
    return True


@contextmanager
def _quiet() -> Iterator[None]:
    """No weight-loading bar and no report of missing weights on stderr: what is wrong is raised."""
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


@contextmanager
def _panics_unprinted() -> Iterator[None]:
    """Rust writes a panic to stderr, past Python, before it is raised."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _what_is_wrong(name: str, error: BaseException) -> str:
    from huggingface_hub.errors import HFValidationError
    from safetensors import SafetensorError

    reason = " ".join(str(error).split())
    if "trust_remote_code" in reason:
        return f"{name!r} needs code of its own, which is run only with --trust-remote-code; read that code first"
    if "mismatched_sizes" in reason:
        return f"the weights of {name!r} do not fit its configuration; get them again"
    folder = Path(name).is_dir()
    if not folder and isinstance(error, OSError | HFValidationError):
        return (
            f"no model {name!r}: it is no embedded model ({', '.join(embedded_names())}), no local folder, and neither "
            "in the Hugging Face cache nor reachable on the hub; choose an embedded model or give a folder"
        )
    if not isinstance(error, OSError | ValueError | SafetensorError):  # a key, or nothing at all
        reason = f"{type(error).__name__}: {reason}"
    short = reason if len(reason) <= SHOWN else f"{reason[:SHOWN]}..."
    return f"{f'the folder {name!r} holds' if folder else f'{name!r} is'} no usable model: {short}"
