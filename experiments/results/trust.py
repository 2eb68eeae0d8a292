"""The last line of a report: how far the numbers can be relied on. Nothing is measured of how the texts read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from experiments.declaration.wording import argument

if TYPE_CHECKING:
    from samplers import Diagnostics, ImportanceSample, RejectionSample, SMCSample, StartComparison

__all__ = [
    "NO_TARGET_LINE",
    "SEARCH_LINE",
    "about_chains",
    "about_populations",
    "about_rejection",
    "about_weights",
    "guarantee",
]

R_HAT = 1.01
ESS_PER_CHAIN = 100  # Vehtari et al. 2021, section 4: below this neither R-hat nor ESS can be relied on
FEWEST = 4  # draws of a chain, for R-hat
P_STARTS = 0.005  # one run in 200 whose chains have forgotten their starts is said not to have
SHRINKS = 0.8  # a difference of which more is left after half of the draws is not said to shrink
MOST_TIMES = 100  # the steps, as advice
PARETO_K = 0.7  # Vehtari et al. 2024, JMLR 25: above it averages cannot be relied on
ESS = 100  # of weighted draws
WORTHLESS = 10  # of weighted draws: fewer in effect are nearly one
SPREAD = 0.5  # nats between estimates of log Z of independent populations
ANCESTORS = 10  # of the draws of a population that have descendants
POPULATIONS = 4  # from which a spread can be told
NOT_JUDGED = "The texts themselves were not judged."

NO_TARGET_LINE = f"No known target: the law of these texts depends on the scan and on when you look. {NOT_JUDGED}"
SEARCH_LINE = (
    "A search, not a sample: the text of the lowest energy that each chain found says nothing about how likely others "
    f"are. {NOT_JUDGED}"
)


def about_chains(
    energy: Diagnostics, *, chains: int, kept: int, compared: int, by_start: StartComparison | None = None
) -> str:
    """``energy`` of ``kept`` draws of each of ``chains``, of which up to ``compared`` have the same target."""
    more = argument("steps")
    if kept < FEWEST:
        return f"Convergence was not measured: it takes {FEWEST} draws a chain, and {kept} were kept; raise {more}."
    if not math.isfinite(energy.mean):
        return "Convergence was not measured: there are draws of infinite energy."
    if math.isnan(energy.r_hat):
        who = "all chains" if compared == chains else "all chains of one length"
        return f"Convergence was not measured: the energy of {who} never changed; raise {more}."
    want, ess = ESS_PER_CHAIN * chains, math.floor(energy.ess_bulk)
    who = "the chains" if compared > 1 else "the halves of the chain" if chains == 1 else "the halves of each chain"
    verdict = f"{who} agree on the energy"
    measured = f"R-hat {_r_hat(energy.r_hat)} (want {R_HAT}), {ess:,} effective draws (want {want:,})"
    if by_start and by_start.p_value < P_STARTS:
        return f"{measured}: {_about_starts(by_start, want / max(1, ess))}. {NOT_JUDGED}"
    if energy.r_hat > R_HAT:
        verdict = f"{who} do not agree yet"
    elif ess < want:
        verdict += ", and averages are rough"
    if energy.r_hat > R_HAT or ess < want:
        verdict += f"; give about {max(2, math.ceil(want / max(1, ess))):,} times the {more}"
    elif chains == 1:
        verdict += f", but one chain does not show what it missed; give more {argument('chains')}"
    return f"{measured}: {verdict}. {NOT_JUDGED}"


def _about_starts(by_start: StartComparison, times: float) -> str:
    """Of chains that have not forgotten where they started; ``times`` the steps would give the effective draws."""
    below, above = (
        f"{by_start.below:.1f} +- {by_start.below_mcse:.1f}",
        f"{by_start.above:.1f} +- {by_start.above_mcse:.1f}",
    )
    verdict = f"the chains depend on where they started, {below} nats from below and {above} from above"
    error = math.hypot(by_start.below_mcse, by_start.above_mcse)
    if not 0 < by_start.left < SHRINKS or not error:
        return f"{verdict}, and do not draw nearer; more {argument('steps')} alone will hardly help"
    # The difference falls by the factor ``left`` in half of the draws, until it is as small as its error.
    halves = math.log(max(math.e, abs(by_start.difference) / error)) / -math.log(by_start.left)
    wanted = max(2, math.ceil(max(times, 1 + halves / 2)))
    if wanted > MOST_TIMES:
        return f"{verdict}; more than {MOST_TIMES} times the {argument('steps')} would be needed"
    return f"{verdict}; give about {wanted:,} times the {argument('steps')}"


def about_rejection(result: RejectionSample, wanted: int) -> str:
    drawn = len(result.x)
    if drawn == wanted:
        return f"Independent draws of the target. {NOT_JUDGED}"
    if drawn == 0:
        return f"Nothing was drawn: none of {result.trials:,} trials was accepted; raise {argument('steps')}."
    return (
        f"Independent draws of the target, but {drawn:,} of {wanted:,}: the trials ran out; raise {argument('steps')}. "
        f"{NOT_JUDGED}"
    )


def about_populations(result: SMCSample) -> str:
    """By how far independent populations agree, and by how many of their draws have descendants."""
    count, fewest = len(result.log_z), int(result.ancestors.min())
    spread = float(result.log_z.std()) if count > 1 else math.nan
    more = f"raise {argument('particles')}"
    if result.uncovered:
        return (
            f"Not to be trusted: {result.uncovered:,} of {len(result.x):,} particles are texts that the distribution "
            f"they came from cannot draw. {NOT_JUDGED}"
        )
    if count < POPULATIONS:
        verdict = f"how far populations agree is not known; give {POPULATIONS} {argument('populations')} or more"
    elif spread > SPREAD:
        verdict = (
            f"the populations do not agree: log Z is likely too low, and averages are those of a few texts; {more}"
        )
    elif fewest < ANCESTORS:
        verdict = f"the populations agree, but few ancestors are left; {more}"
    else:
        verdict = "the populations agree"
    spread_said = "-" if math.isnan(spread) else f"{spread:.2f}"
    measured = f"log Z of {count} populations differs by {spread_said} nats (want {SPREAD})"
    return f"{measured}, at least {fewest:,} ancestors in each (want {ANCESTORS}): {verdict}. {NOT_JUDGED}"


def about_weights(result: ImportanceSample) -> str:
    k = result.pareto_k
    shape = "Pareto k could not be fitted" if math.isnan(k) else f"Pareto k {k:.2f} (want {PARETO_K})"
    verdict = "enough for averages"
    if result.ess < WORTHLESS:
        most = float(result.log_weights.max().exp())
        verdict = (
            f"this is no sample, one draw has {most:.0%} of the weight; draw with {argument('sampler')} smc where "
            f"there is one, or with mh, or raise {argument('steps')}"
        )
    elif math.isnan(k):
        verdict = "how far averages can be relied on is not known"
    elif k > PARETO_K:
        verdict = f"averages cannot be relied on; raise {argument('steps')}"
    elif result.ess < ESS:
        verdict = f"averages are rough; raise {argument('steps')}"
    worth = f"{len(result.x):,} weighted draws are worth {result.ess:,.1f} independent ones"
    return f"{worth}, {shape}: {verdict}. {NOT_JUDGED}"


def guarantee(summary: Mapping[str, Any]) -> str:
    """What the sampler promises of its draws, however far this run came."""
    if "objective" in summary:
        return "Guarantee: none about how likely texts are. A search makes the energy small."
    if NO_TARGET_LINE in str(summary.get("trust")):
        return "Guarantee: none. No law is known that the draws would follow, however long the run."
    if "proved" in summary:
        return "Guarantee: those said to be are the likeliest of the list; nothing was left to chance."
    if "phrases" in summary:
        return "Guarantee: the probabilities are those of the target; nothing was left to chance."
    if "trials" in summary:
        return "Guarantee: each draw follows the target, and owes nothing to the others."
    if "pareto_k" in summary or "populations" in summary:
        return "Guarantee: averages converge to those of the target as draws grow in number; these are somewhat off."
    if "chains" in summary:
        return "Guarantee: averages converge to those of the target as chains get longer; until then their starts show."
    return "Guarantee: that of its sampler."


def _r_hat(value: float) -> str:
    """Never the threshold itself for what is above it."""
    return f"{math.ceil(1000 * value) / 1000:.3f}" if value < 1.1 else f"{value:.2f}" if value < 100 else "over 100"
