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
from samplers.testing.mutants.independence import StaleDensity, UntilOneIsAccepted
from samplers.testing.mutants.informed import (
    ForgottenReverseGradient,
    RefreshedEstimate,
    WithoutBackwardNormaliser,
    WithoutReferences,
)
from samplers.testing.mutants.moves import DataDependentSite, ForcedCurrent, RenormalisedLiu, SwapSign, WrongNormaliser
from samplers.testing.mutants.paths import LastRungCopied, SwapWithoutLogQ
from samplers.testing.mutants.populations import AdaptiveResampling, ForgottenPath, WithoutLogQ
from samplers.testing.mutants.stages import FirstStageAlone, StaleSurrogate, SurrogateForgotten

__all__ = [
    "AdaptiveResampling",
    "DataDependentSite",
    "FirstStageAlone",
    "FlippedHastings",
    "ForcedCurrent",
    "ForgottenPath",
    "ForgottenReverseGradient",
    "KeepAdapting",
    "LastRungCopied",
    "MissingHastings",
    "NoAccept",
    "RefreshedEstimate",
    "RenormalisedLiu",
    "StaleDensity",
    "StaleEnergyCache",
    "StaleMemory",
    "StaleSurrogate",
    "SurrogateForgotten",
    "SwapSign",
    "SwapWithoutLogQ",
    "UntilAccepted",
    "UntilOneIsAccepted",
    "WithoutBackwardNormaliser",
    "WithoutLogQ",
    "WithoutReferences",
    "WrongNormaliser",
    "drop_rejected",
]
