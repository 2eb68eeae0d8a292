"""Samplers that are broken on purpose, each by a bug that was published or shipped: the battery must reject them."""

from samplers.testing.mutants.accept_steps import (
    FlippedHastings,
    KeepAdapting,
    MissingHastings,
    NoAccept,
    StaleEnergyCache,
    StaleMemory,
    UntilAccepted,
    drop_rejected,
)
from samplers.testing.mutants.moves import DataDependentSite, ForcedCurrent, RenormalisedLiu, SwapSign, WrongNormaliser

__all__ = [
    "DataDependentSite",
    "FlippedHastings",
    "ForcedCurrent",
    "KeepAdapting",
    "MissingHastings",
    "NoAccept",
    "RenormalisedLiu",
    "StaleEnergyCache",
    "StaleMemory",
    "SwapSign",
    "UntilAccepted",
    "WrongNormaliser",
    "drop_rejected",
]
