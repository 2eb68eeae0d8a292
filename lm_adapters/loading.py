"""Load a Hugging Face model by embedded name, folder or hub name, with one-line errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from lm_adapters.pretrained import embedded_names, embedded_path
from samplers import InvalidInput

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["DTYPES", "Task", "check_device", "check_dtype", "load_pretrained", "loading_errors", "locate", "task_of"]

Task = Literal["masked", "causal", "seq2seq", "encoder"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
AUTO_CLASS = {
    "masked": "AutoModelForMaskedLM",
    "causal": "AutoModelForCausalLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "encoder": "AutoModel",
}
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


def locate(name_or_path: str) -> tuple[str, dict[str, Any]]:
    """The folder or hub name that Hugging Face is to be asked for, and how: no code of its own, no useless retries."""
    source = str(embedded_path(name_or_path) or name_or_path)
    # Left to its default, trust_remote_code asks on stdin whether to run what the folder brings along.
    return source, {"trust_remote_code": False, "local_files_only": Path(source).is_dir() or not _hub_answers()}


@contextmanager
def loading_errors(name_or_path: str) -> Iterator[None]:
    """What goes wrong while ``name_or_path`` is loaded becomes one line of ``InvalidInput``; nothing is printed."""
    from safetensors import SafetensorError

    try:
        with _quiet():
            yield
    except (OSError, ValueError, SafetensorError) as error:
        raise InvalidInput(_not_found(name_or_path, error)) from error
    except RuntimeError as error:
        raise InvalidInput(f"the weights of {name_or_path!r} do not fit its configuration; get them again") from error


def load_pretrained(
    task: Task, name_or_path: str, *, device: str = "cpu", dtype: str = "float32"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer; safetensors only, and no code from the hub is ever run.

    Raises ``InvalidInput``, before anything is loaded where possible: unknown device or type, no such model, another
    kind of model, weights that are not there.
    """
    found, weights = check_device(device), check_dtype(dtype)
    import transformers

    source, options = locate(name_or_path)
    auto = getattr(transformers, AUTO_CLASS[task])
    with loading_errors(name_or_path):
        config = transformers.AutoConfig.from_pretrained(source, **options)
    # BART has a masked-LM and a causal class too, built on parts of it that were never trained for either.
    other = config.is_encoder_decoder != (task == "seq2seq") or (task == "causal" and _reads_both_ways(config))
    if type(config) not in auto._model_mapping or other:
        raise InvalidInput(f"{name_or_path!r} is a {config.model_type} model; {NEEDED[task]} is needed here")
    # Weights that are missing are drawn at random before they are reported: not from the caller's generator.
    with loading_errors(name_or_path), torch.random.fork_rng(devices=[]):
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
        model, report = auto.from_pretrained(
            source, config=config, dtype=weights, use_safetensors=True, output_loading_info=True, **options
        )
    # Nobody reads an encoder's pooler: sentences are pooled from the states of their tokens.
    missing = [key for key in report["missing_keys"] if task != "encoder" or not key.startswith("pooler.")]
    if missing:
        raise InvalidInput(f"{name_or_path!r} lacks weights ({min(missing)}): no {task} model; choose a complete one")
    return model.to(found), tokenizer


def task_of(name_or_path: str) -> Task:
    """What a model is for, read from its configuration alone.

    Raises ``InvalidInput`` if there is no such model, or none that scores text.
    """
    import transformers

    source, options = locate(name_or_path)
    with loading_errors(name_or_path):
        config = transformers.AutoConfig.from_pretrained(source, **options)
    if config.is_encoder_decoder:
        return "seq2seq"
    if _reads_both_ways(config):
        return "masked"
    if type(config) in transformers.AutoModelForCausalLM._model_mapping:
        return "causal"
    raise InvalidInput(f"{name_or_path!r} is a {config.model_type} model, which scores no text; choose another")


def _reads_both_ways(config: PretrainedConfig) -> bool:
    """BERT and its kin have a causal class too; they are causal only where their configuration says so."""
    import transformers

    masked = type(config) in transformers.AutoModelForMaskedLM._model_mapping
    return masked and not getattr(config, "is_decoder", False)


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


def _not_found(name: str, error: Exception) -> str:
    if Path(name).is_dir():
        return f"the folder {name!r} holds no usable model: {str(error).strip().splitlines()[0]}"
    return (
        f"no model {name!r}: it is no embedded model ({', '.join(embedded_names())}), no local folder, and neither in "
        "the Hugging Face cache nor reachable on the hub; choose an embedded model or give a folder"
    )
