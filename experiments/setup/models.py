"""Models by the names that users give: embedded, of a package, in a folder, or on the hub."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

from experiments.declaration.plugins import find_plugin, load_plugin
from experiments.declaration.wording import argument
from experiments.setup.usual_models import check_embedded

if TYPE_CHECKING:
    from experiments.setup.settings import Settings
    from lm_adapters import CausalLM, MaskedLM

__all__ = ["check_causal", "load_causal", "load_masked", "named_model"]


def named_model(name: str, device: str, dtype: str, tokenizer: str | None = None) -> Any:
    """The model that a package brings along under this name, or where it lies; any other name as it is.

    Of an address the model behind the server, whose ``tokenizer`` is there. Raises ``InvalidInput`` for a package that
    is broken, and for a server as ``load_remote`` does.
    """
    from lm_adapters import is_remote, load_remote
    from lm_adapters.pretrained import embedded_names

    if is_remote(name):
        return load_remote(name, tokenizer)
    check_embedded(name)
    plugin = None if name in embedded_names() else find_plugin("models", name)
    if plugin is None:
        return name
    found = load_plugin(plugin)
    if isinstance(found, str | PathLike):
        return str(found)
    return found(device, dtype)


def load_masked(settings: Settings) -> MaskedLM:
    """The model that proposes. Raises ``InvalidInput`` for one that cannot."""
    from lm_adapters import MaskedLM
    from samplers import InvalidInput

    model = settings.model
    if isinstance(model, str):
        model = named_model(model, settings.device, settings.dtype)
    if isinstance(model, str):
        return MaskedLM.from_pretrained(
            model, settings.device, settings.dtype, trust_remote_code=settings.trust_remote_code
        )
    if not isinstance(model, MaskedLM):
        raise InvalidInput(
            f"{argument('model')} {settings.model!r} is a {type(model).__name__}; give a masked language model"
        )
    return model


def check_causal(settings: Settings) -> None:
    """Raise ``InvalidInput`` for a model that does not write from left to right, before its weights are loaded."""
    from lm_adapters import CausalLM, task_of
    from samplers import InvalidInput

    model = settings.model
    found = named_model(model, settings.device, settings.dtype) if isinstance(model, str) else model
    if isinstance(found, str):
        kind = f"{task_of(found, trust_remote_code=settings.trust_remote_code)} language model"
    else:
        kind = "causal language model" if isinstance(found, CausalLM) else type(found).__name__
    if kind != "causal language model":
        raise InvalidInput(f"{argument('model')} {model!r} is a {kind}; give a causal language model")


def load_causal(settings: Settings) -> CausalLM:
    """The model that writes, which ``check_causal`` has found to be one."""
    from lm_adapters import CausalLM

    model: Any = settings.model
    if isinstance(model, str):
        model = named_model(model, settings.device, settings.dtype)
    if isinstance(model, str):
        trusted = settings.trust_remote_code
        model = CausalLM.from_pretrained(model, settings.device, settings.dtype, trust_remote_code=trusted)
    assert isinstance(model, CausalLM)
    return model
