"""Language models as proposals and energies. Importing this package imports torch; transformers only on loading."""

from lm_adapters.gibbs_proposal import GibbsProposal
from lm_adapters.loading import DTYPES, check_device, load_pretrained
from lm_adapters.masked_lm import MaskedEnergy, MaskedLM
from lm_adapters.text import TextSpace
from lm_adapters.text_energy import TextEnergy
from lm_adapters.truncation import Truncation

__all__ = [
    "DTYPES",
    "GibbsProposal",
    "MaskedEnergy",
    "MaskedLM",
    "TextEnergy",
    "TextSpace",
    "Truncation",
    "check_device",
    "load_pretrained",
]
