"""How likely a text is and what it means, by whatever models the user names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from experiments.setup.settings import Settings
    from lm_adapters import CausalLM, MaskedLM, SentenceEncoder
    from samplers import EnergyTerm

__all__ = ["Scorer", "load_meaning", "load_scorer"]


@dataclass(frozen=True)
class Scorer:
    """``energy`` is the term ``fluency`` over the proposing model's states, ``lm`` the model that gives it."""

    energy: EnergyTerm
    lm: MaskedLM | CausalLM

    @property
    def model(self) -> PreTrainedModel:
        """Whose passes it costs."""
        return self.lm.model


def load_scorer(scorer: str | MaskedLM | CausalLM, lm: MaskedLM, settings: Settings) -> Scorer:
    """A causal model gives ``-log p(x)``, a masked one minus its pseudo-log-likelihood, in nats.

    ``scorer`` is a name, a folder or a loaded model. One with another tokenizer than ``lm`` sees the decoded text.
    Raises ``InvalidInput`` for a seq2seq model, which scores no text without a source.
    """
    from lm_adapters import CausalLM, MaskedLM, ThroughText, task_of
    from samplers import InvalidInput

    if isinstance(scorer, str):
        task = task_of(scorer, trust_remote_code=settings.trust_remote_code)
        if task not in ("causal", "masked"):
            raise InvalidInput(f"--scorer {scorer!r} is a {task} model; give a causal or a masked language model")
        if scorer == settings.model:
            scorer = lm
        else:
            scorer = (CausalLM if task == "causal" else MaskedLM).from_pretrained(
                scorer, settings.device, settings.dtype, trust_remote_code=settings.trust_remote_code
            )
    energy = scorer.energy("pll") if isinstance(scorer, MaskedLM) else scorer.energy()
    return Scorer(ThroughText.of(energy, lm.space, scorer.space, name="fluency"), scorer)


def load_meaning(name: str | None, lm: MaskedLM, settings: Settings) -> SentenceEncoder:
    """The sentence encoder of that name, or the mean-pooled states of ``lm``."""
    from lm_adapters import MeanPooled, load_encoder

    if name is None:
        return MeanPooled(lm.model, lm.space.tokenizer)
    return load_encoder(name, settings.device, settings.dtype, trust_remote_code=settings.trust_remote_code)
