"""Load a Hugging Face model by embedded name, folder or hub name, with one-line errors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from lm_adapters.pretrained import embedded_names, embedded_path
from samplers import InvalidInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["DTYPES", "Task", "check_device", "load_pretrained"]

Task = Literal["masked"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
AUTO_CLASS = {"masked": "AutoModelForMaskedLM"}


def check_device(device: str) -> torch.device:
    """The device, if this machine has it."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InvalidInput(
            f"device {device!r} cannot be used here; choose cpu, or cuda where there is a GPU"
        ) from error
    return found


def load_pretrained(
    task: Task, name_or_path: str, *, device: str = "cpu", dtype: str = "float32"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer; safetensors only, and no code from the hub is ever run.

    Raises ``InvalidInput``, before anything is loaded where possible: unknown device or type, no such model, another
    kind of model, weights that are not there.
    """
    found = check_device(device)
    if dtype not in DTYPES:
        raise InvalidInput(f"dtype {dtype!r} is unknown; choose one of {', '.join(DTYPES)}")
    import transformers

    source = str(embedded_path(name_or_path) or name_or_path)
    auto = getattr(transformers, AUTO_CLASS[task])
    try:
        config = transformers.AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise InvalidInput(_not_found(name_or_path, error)) from error
    if type(config) not in auto._model_mapping or config.is_encoder_decoder:
        raise InvalidInput(f"{name_or_path!r} is a {config.model_type} model; a {task} language model is needed here")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
        model, report = auto.from_pretrained(
            source, config=config, dtype=DTYPES[dtype], use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        raise InvalidInput(_not_found(name_or_path, error)) from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])[0]
        raise InvalidInput(f"{name_or_path!r} lacks weights of its {task} head ({missing}); choose a complete model")
    return model.to(found), tokenizer


def _not_found(name: str, error: Exception) -> str:
    if Path(name).is_dir():
        return f"the folder {name!r} holds no usable model: {str(error).strip().splitlines()[0]}"
    return (
        f"no model {name!r}: it is no embedded model ({', '.join(embedded_names())}), no local folder, and neither in "
        "the Hugging Face cache nor reachable on the hub; choose an embedded model or give a folder"
    )
