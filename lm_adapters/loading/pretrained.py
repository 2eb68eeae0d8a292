"""Load a Hugging Face model by embedded name, folder or hub name, with errors of one line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging import CRITICAL
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
    "check_device",
    "check_dtype",
    "labels_of",
    "listed_labels",
    "listed_tasks",
    "load_pretrained",
    "loading_errors",
    "resolve_source",
    "seeded_missing_weights",
    "task_of",
    "tasks_of",
]

Task = Literal["masked", "causal", "seq2seq", "encoder", "classifier", "next sentence"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
AUTO_CLASS = {
    "masked": "AutoModelForMaskedLM",
    "causal": "AutoModelForCausalLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "encoder": "AutoModel",
    "classifier": "AutoModelForSequenceClassification",
    "next sentence": "AutoModelForNextSentencePrediction",
}
MAPPING = {
    "masked": "MODEL_FOR_MASKED_LM_MAPPING",
    "causal": "MODEL_FOR_CAUSAL_LM_MAPPING",
    "seq2seq": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING",
    "encoder": "MODEL_MAPPING",
    "classifier": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
    "next sentence": "MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING",
}
MESSAGE_LENGTH = 240  # characters kept of other libraries' messages
NEEDED = {
    "masked": "a masked language model",
    "causal": "a causal language model",
    "seq2seq": "a seq2seq model",
    "encoder": "a sentence encoder",
    "classifier": "a sequence-classification model",
    "next sentence": "a model with a next-sentence head, such as BERT's",
}


def check_device(device: str) -> torch.device:
    """The device of that name. Raises ``InvalidInput`` if this machine does not have it."""
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InvalidInput(
            f"device {device!r} cannot be used here; choose cpu, or cuda where there is a GPU"
        ) from error
    return found


def check_dtype(dtype: str) -> torch.dtype:
    """The dtype of that name, a key of ``DTYPES``. Raises ``InvalidInput`` for any other."""
    if dtype not in DTYPES:
        raise InvalidInput(f"dtype {dtype!r} is unknown; choose one of {', '.join(DTYPES)}")
    return DTYPES[dtype]


def resolve_source(name_or_path: str, trust_remote_code: bool = False) -> tuple[str, dict[str, Any]]:
    """The folder or hub name to pass to ``from_pretrained``, and options: no retries offline, no code by default."""
    source = str(embedded_path(name_or_path) or name_or_path)
    # By default, transformers asks on stdin whether to run code from the folder.
    return source, {
        "trust_remote_code": trust_remote_code,
        "local_files_only": Path(source).is_dir() or not _hub_reachable(),
    }


@contextmanager
def seeded_missing_weights() -> Iterator[None]:
    """Weights that a file lacks are drawn at random: in this context always the same, leaving the global generator.

    Without it the unused pooler of an encoder would change the model's fingerprint with every load.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


@contextmanager
def loading_errors(name_or_path: str) -> Iterator[None]:
    """Any error while ``name_or_path`` is loaded becomes an ``InvalidInput`` of one line; nothing is printed.

    The files of a model are untrusted and can make the libraries that read them fail in any way. Out-of-memory errors
    and interrupts pass through.
    """
    try:
        with _no_output():
            yield
    except InvalidInput:
        raise
    except BaseException as error:
        # A panic of the tokenizers library, written in Rust, is not an Exception.
        panics = type(error).__name__ == "PanicException"
        if is_out_of_memory(error) or not (isinstance(error, Exception) or panics):
            raise
        raise InvalidInput(_error_message(name_or_path, error)) from error


def load_pretrained(
    task: Task, name_or_path: str, *, device: str = "cpu", dtype: str = "float32", trust_remote_code: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer, from safetensors only. A model's own code runs only with ``trust_remote_code``.

    ``task``: a key of ``AUTO_CLASS``. ``dtype``: a key of ``DTYPES``.

    Raises ``InvalidInput``, where possible before anything is loaded: for an unknown device, dtype or model, a model of
    another kind, files that are damaged or do not fit each other, and weights that are missing, NaN or infinite.
    """
    found, weights = check_device(device), check_dtype(dtype)
    import transformers

    source, options = resolve_source(name_or_path, trust_remote_code)
    auto = getattr(transformers, AUTO_CLASS[task])
    with loading_errors(name_or_path):
        config = _configuration(source, options)
    # BART also has masked and causal classes, built on parts that were not trained for either.
    other = task != "classifier" and (
        config.is_encoder_decoder != (task == "seq2seq")
        or (task == "causal" and _is_bidirectional(config, trust_remote_code))
    )
    if not _has_class(config, task, trust_remote_code) or other:
        raise InvalidInput(f"{name_or_path!r} is a {config.model_type} model; {NEEDED[task]} is needed here")
    with loading_errors(name_or_path), seeded_missing_weights():
        with _no_panic_output():
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
        check_weights(source, options["local_files_only"], AUTO_CLASS[task])
        if not trust_remote_code:
            check_size(config, auto, source, options["local_files_only"])
        model, report = auto.from_pretrained(
            source, config=config, dtype=weights, use_safetensors=True, output_loading_info=True, **options
        )
    # The pooler of an encoder is not used: sentences are pooled from the states of their tokens.
    missing = [key for key in report["missing_keys"] if task != "encoder" or not key.startswith("pooler.")]
    if missing:
        raise InvalidInput(f"{name_or_path!r} lacks weights ({min(missing)}) of {NEEDED[task]}; choose a complete one")
    with loading_errors(name_or_path):
        model = model.to(found)
        check_loaded(model, tokenizer, reads_only=task == "classifier")
    return model, tokenizer


def task_of(name_or_path: str, *, trust_remote_code: bool = False) -> Task:
    """The task of a model, ``masked``, ``causal`` or ``seq2seq``, from its configuration alone.

    Raises ``InvalidInput`` if there is no such model, or if it does not score text.
    """
    source, options = resolve_source(name_or_path, trust_remote_code)
    with loading_errors(name_or_path):
        config = _configuration(source, options)
    if config.is_encoder_decoder:
        return "seq2seq"
    if _is_bidirectional(config, trust_remote_code):
        return "masked"
    if _has_class(config, "causal", trust_remote_code):
        return "causal"
    raise InvalidInput(f"{name_or_path!r} is a {config.model_type} model, which does not score text; choose another")


def tasks_of(name_or_path: str, *, trust_remote_code: bool = False) -> Mapping[str, Mapping[str, Any]]:
    """What a seq2seq model was trained for, by the names in its configuration, which is all that is read.

    Empty where it names nothing. Raises ``InvalidInput`` if there is no such model.
    """
    source, options = resolve_source(name_or_path, trust_remote_code)
    with loading_errors(name_or_path):
        return listed_tasks(_configuration(source, options))


def listed_tasks(config: PretrainedConfig) -> Mapping[str, Mapping[str, Any]]:
    """The tasks that a configuration lists, each with its ``prefix`` and other settings."""
    found = getattr(config, "task_specific_params", None)
    if not isinstance(found, Mapping):
        return {}
    return {str(task): settings if isinstance(settings, Mapping) else {} for task, settings in found.items()}


def labels_of(name_or_path: str, *, trust_remote_code: bool = False) -> tuple[str, ...]:
    """The labels of a sequence-classification model by number, from its configuration alone.

    Raises ``InvalidInput`` if there is no such model, and for a regression model, which has none.
    """
    source, options = resolve_source(name_or_path, trust_remote_code)
    with loading_errors(name_or_path):
        return listed_labels(_configuration(source, options))


def listed_labels(config: PretrainedConfig) -> tuple[str, ...]:
    """The labels that a configuration lists, by number. Raises ``InvalidInput`` for that of a regression model."""
    labels = [str(label) for _, label in sorted((config.id2label or {}).items())]
    if len(labels) < 2 or config.problem_type == "regression":
        raise InvalidInput(
            f"{config.name_or_path or config.model_type!r} is a regression model: it gives a number and no label; give "
            "a classifier of at least two labels"
        )
    return tuple(labels)


def _configuration(source: str, options: dict[str, Any]) -> PretrainedConfig:
    import transformers

    check_config(source, options["local_files_only"], trusted=options["trust_remote_code"])
    config: PretrainedConfig = transformers.AutoConfig.from_pretrained(source, **options)
    return config


def _has_class(config: PretrainedConfig, task: Task, trusted: bool) -> bool:
    """Whether transformers has a class for the task, or, where ``trusted``, the model's own code."""
    import transformers

    own = trusted and AUTO_CLASS[task] in (getattr(config, "auto_map", None) or {})
    return own or type(config) in getattr(transformers, MAPPING[task])


def _is_bidirectional(config: PretrainedConfig, trusted: bool) -> bool:
    """Whether it is a masked model. BERT and its kin have a causal class too, used where ``is_decoder`` is set."""
    return _has_class(config, "masked", trusted) and not getattr(config, "is_decoder", False)


def _hub_reachable() -> bool:
    """One short request, because without internet the hub's client retries for half a minute."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:  # whatever the reason, only the cache is left
        return False
    return True


@contextmanager
def _no_output() -> Iterator[None]:
    """No progress bar and no report of missing weights on stderr; problems are raised instead."""
    from transformers import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


@contextmanager
def _no_panic_output() -> Iterator[None]:
    """Rust writes a panic directly to stderr before Python raises it; this hides the text."""
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


def _error_message(name: str, error: BaseException) -> str:
    from huggingface_hub.errors import HFValidationError
    from safetensors import SafetensorError

    reason = " ".join(str(error).split())
    if "trust_remote_code" in reason:
        return f"{name!r} needs code of its own, which is run only with trust_remote_code=True; read that code first"
    if "mismatched_sizes" in reason:
        return f"the weights of {name!r} do not fit its configuration; download them again"
    folder = Path(name).is_dir()
    if not folder and isinstance(error, OSError | HFValidationError):
        return (
            f"no model {name!r}: it is no embedded model ({', '.join(embedded_names())}), no local folder, and neither "
            "in the Hugging Face cache nor reachable on the hub; choose an embedded model or give a folder"
        )
    if not isinstance(error, OSError | ValueError | SafetensorError):  # the message may be only a key, or empty
        reason = f"{type(error).__name__}: {reason}"
    short = reason if len(reason) <= MESSAGE_LENGTH else f"{reason[:MESSAGE_LENGTH]}..."
    return f"{f'the folder {name!r} holds' if folder else f'{name!r} is'} no usable model: {short}"
