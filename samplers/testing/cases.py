"""The kernels under test: one line in ``CASES`` and a kernel gets every test of the battery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from samplers.energy.terms import named
from samplers.kernels.compose import Cycle, Mixture
from samplers.kernels.conditional_smc import ConditionalSMC
from samplers.kernels.delayed_acceptance import DelayedAcceptance
from samplers.kernels.gibbs import Gibbs, PseudoGibbs
from samplers.kernels.gradient_proposal import GradientProposal
from samplers.kernels.independence_steps import IndependenceSteps
from samplers.kernels.locally_informed import LocallyInformed, SingleSiteChanges
from samplers.kernels.metropolis import MetropolisHastings
from samplers.kernels.multiple_try import MultipleTry
from samplers.kernels.path_tempering import PathTempered
from samplers.kernels.pseudo_marginal import PseudoMarginal
from samplers.kernels.shortlist_gibbs import ShortlistGibbs
from samplers.kernels.tempering import Tempered
from samplers.run.chains import sample
from samplers.run.trace import Trace
from samplers.testing import mutants
from samplers.testing.chains import transition_matrix
from samplers.testing.proposals import (
    RememberingProposal,
    SiteProposal,
    TabularDistribution,
    TabularProposal,
    TabularShortlist,
    dirichlet_table,
    independence_table,
)
from samplers.testing.spaces import StartedPseudoMarginal, TabularEstimate
from samplers.testing.targets import Enumerated, random_target, two_mode_target
from samplers.types import Kernel

__all__ = ["CASES", "MUTANTS", "Case", "Mutant"]


@dataclass(frozen=True, eq=False)
class Case:
    """A kernel and the law it must sample.

    ``reversible``: its first step is claimed to be; ``ergodic``: it reaches every allowed state; ``betas``: where it
    is claimed to be exact; ``proposal_is_target``: its proposal is the target; ``driver``: what runs it.
    """

    name: str
    kernel: Kernel
    target: Enumerated
    reversible: bool = True
    ergodic: bool = True
    betas: tuple[float, ...] = (1.0, 0.3, 0.0)
    proposal_is_target: bool = False
    driver: Callable[..., Trace] = sample


@dataclass(frozen=True, eq=False)
class Mutant:
    """A case that must fail, and the tests that must each reject it."""

    case: Case
    rejected_by: tuple[str, ...]


# The targets of version 0.1.0; the seeds are those of torch's own generator.
MAIN = random_target(4, 3, seed=1953210663)  # smallest probability 5e-4
BITS = random_target(2, 4, seed=2529995275)
CUBE = random_target(3, 3, seed=2588105456)
HOLES = random_target(3, 3, seed=2004911389, forbidden=5)
PAIR = random_target(2, 2, seed=4060205735)
TRIPLE = random_target(2, 3, seed=1134066760)
GAPS = random_target(2, 3, seed=1134066760, forbidden=3)
MODES = two_mode_target(4, depth=1.2)


def _restricted(target: Enumerated, keep: Callable[[Tensor], Tensor]) -> Enumerated:
    return Enumerated(target.states[keep(target.states)], target.energy)


def _free_but_first(x: Tensor) -> Tensor:
    """Site 0 stays; site 2 may change only in rows where site 0 holds 0."""
    free = torch.ones_like(x, dtype=torch.bool)
    free[:, 0] = False
    free[:, 2] = x[:, 0] == 0
    return free


def _free_by_value(x: Tensor) -> Tensor:
    """Site 0 may change among 0 and 1 alone; site 1 where site 2 holds no 0; nothing where all hold the same."""
    free = torch.stack([x[:, 0] < 2, x[:, 2] > 0, torch.ones_like(x[:, 0], dtype=torch.bool)], dim=1)
    return free & (x != x[:, :1]).any(dim=1, keepdim=True)


def _site(target: Enumerated, seed: int, keep: int | None = None, skewed: bool = False) -> SiteProposal:
    values, sites = int(target.states.max()) + 1, target.states.shape[1]
    weights = torch.arange(1, sites + 1, dtype=torch.float64) if skewed else None
    return SiteProposal(dirichlet_table(sites, values, values, seed=seed), weights=weights, keep=keep)


def _jump(target: Enumerated, seed: int) -> TabularProposal:
    return TabularProposal(target, independence_table(len(target), seed=seed), "jump")


def _table(target: Enumerated, seed: int) -> TabularProposal:
    return TabularProposal(target, dirichlet_table(len(target), len(target), seed=seed))


def _remembering(target: Enumerated, seed: int) -> RememberingProposal:
    return RememberingProposal(target, dirichlet_table(len(target), len(target), seed=seed))


def _drawn(target: Enumerated, seed: int) -> TabularDistribution:
    return TabularDistribution(target, dirichlet_table(len(target), seed=seed))


def _populations(
    make: type[ConditionalSMC], target: Enumerated, particles: int, *temperatures: float
) -> ConditionalSMC:
    kernel = _mh(_site(target, 1))
    return make(_drawn(target, 40), kernel, num_particles=particles, temperatures=temperatures)


def _path(make: type[PathTempered], kernel: Kernel, target: Enumerated, *temperatures: float) -> PathTempered:
    return make(kernel, _drawn(target, 40), temperatures)


_mh = MetropolisHastings
_delayed = DelayedAcceptance
_free_ends = torch.tensor([True, False, True]).expand_as
_subset = _restricted(MAIN, lambda x: (x[:, 1] == 3) & ((x[:, [0, 2]] == 0) | (x[:, [0, 2]] == 2)).all(dim=1))
_perfect = TabularProposal(BITS, BITS.probabilities().expand(len(BITS), -1))
_conditionals = TabularProposal(CUBE, transition_matrix(Gibbs(3), CUBE))
_shortlist = TabularShortlist(4, 3, 3, seed=3195440608)
_mixture = Mixture([(_mh(_site(MAIN, 13)), 0.7), (_mh(_jump(MAIN, 2)), 0.3)])
_hot = Tempered(_mh(_site(TRIPLE, 29)), [1.0, 0.4])
_far = _path(PathTempered, _mh(_site(TRIPLE, 29)), TRIPLE, 1.0)
_tempered_mixture = Tempered(Mixture([(Gibbs(2), 0.5), (_mh(_jump(PAIR, 3)), 0.5)]), [1.0, 0.5])
_unlike = random_target(4, 3, seed=77, scale=0.5).energy  # a surrogate that has nothing to do with the target
_flatter = 0.7 * named("flatter", CUBE.energy) + named("tilt", lambda x: 0.3 * x[:, 0].double())
_in_stages = Mixture([(_delayed(_unlike, _mh(_site(MAIN, 13))), 0.5), (_mh(_jump(MAIN, 2)), 0.5)])
_far_off = mutants.StaleSurrogate(random_target(3, 3, seed=77, scale=2.0).energy, _mh(_site(CUBE, 13)))
_forgetful = Mixture([(mutants.StaleMemory(_remembering(CUBE, 20)), 0.5), (Gibbs(3), 0.5)])
_noisy = TabularEstimate(CUBE, 4, seed=43)
_bits = SingleSiteChanges(2)
_informed_mixture = Mixture([(LocallyInformed(_bits), 0.5), (_mh(_jump(BITS, 2)), 0.5)])
_cycle = Cycle([_mh(_site(CUBE, 39)), Gibbs(3, scan="systematic")])

CASES: tuple[Case, ...] = (
    Case("MH table 3^3", _mh(_table(CUBE, 20)), CUBE),
    Case("MH independence 2^4", _mh(_jump(BITS, 39)), BITS),
    Case("Independence, 3 steps", IndependenceSteps(_drawn(BITS, 39), 3), BITS),
    Case("Independence holes 3^3", IndependenceSteps(_drawn(HOLES, 40), 2), HOLES),
    Case("Mixture, independence", Mixture([(IndependenceSteps(_drawn(CUBE, 40), 3), 0.5), (Gibbs(3), 0.5)]), CUBE),
    Case("MH site 4^3", _mh(_site(MAIN, 13, skewed=True)), MAIN),
    Case("MH site 2^4", _mh(_site(BITS, 38)), BITS),
    Case("MH truncated 4^3", _mh(_site(MAIN, 16, keep=3)), MAIN),
    Case("MH site holes 3^3", _mh(_site(HOLES, 17)), HOLES),
    Case("MH site two modes", _mh(_site(MODES, 38)), MODES),
    Case("MH proposal = target", _mh(_perfect), BITS, betas=(1.0,), proposal_is_target=True),
    Case("Gibbs random 4^3", Gibbs(4), MAIN),
    Case("Gibbs random 2^4", Gibbs(2), BITS),
    Case("Gibbs systematic 3^3", Gibbs(3, scan="systematic"), CUBE),
    Case("Gibbs holes 3^3", Gibbs(3), HOLES),
    Case("Gibbs free by row 3^3", Gibbs(3, free=_free_but_first), CUBE, ergodic=False),
    Case("Gibbs frozen, 2 values", Gibbs(torch.tensor([2, 0]), free=_free_ends), _subset),
    Case("Gibbs frozen, in turn", Gibbs(torch.tensor([2, 0]), scan="systematic", free=_free_ends), _subset),
    Case("Gibbs max_rows 3^3", Gibbs(3, max_rows=10_007), CUBE),
    Case("Shortlist whole 4^3", ShortlistGibbs(TabularShortlist(4, 3, 4, seed=820705584)), MAIN),
    Case("Shortlist 3 of 4^3", ShortlistGibbs(_shortlist), MAIN),
    Case("Shortlist free 4^3", ShortlistGibbs(_shortlist, free=_free_by_value), MAIN, ergodic=False),
    Case(
        "Shortlist holes 3^3",
        ShortlistGibbs(TabularShortlist(3, 3, 2, seed=2331372128), max_rows=10_007),
        HOLES,
        ergodic=False,
    ),
    Case("PseudoGibbs, true laws", PseudoGibbs(_conditionals), CUBE, betas=(1.0,)),
    Case("Mixture 4^3", _mixture, MAIN),
    Case("Mixture, memory 3^3", Mixture([(_mh(_remembering(CUBE, 20)), 0.5), (Gibbs(3), 0.5)]), CUBE),
    Case("Cycle 3^3", _cycle, CUBE),
    Case("Delayed 3^3", _delayed(_flatter, _mh(_table(CUBE, 20))), CUBE),
    Case("Delayed, bad surrogate", _delayed(_unlike, _mh(_site(MAIN, 13))), MAIN),
    Case("Delayed holes 3^3", _delayed(_flatter, _mh(_site(HOLES, 17))), HOLES),
    Case("Delayed, 3 steps", _delayed(_flatter, _mh(_remembering(CUBE, 20)), steps=3), CUBE),
    Case("Delayed Gibbs 3^3", _delayed(_flatter, Gibbs(3)), CUBE),
    Case(
        "Delayed Mixture 3^3", _delayed(_flatter, Mixture([(_mh(_remembering(CUBE, 20)), 0.5), (Gibbs(3), 0.5)])), CUBE
    ),
    Case("Mixture of delayed, MH", _in_stages, MAIN),
    Case("Tempered 1 rung 2^4", Tempered(_mh(_site(BITS, 38)), [1.0]), BITS),
    Case("Tempered 2 rungs 2^3", Tempered(Gibbs(2), [1.0, 0.3]), TRIPLE, reversible=False),
    Case("Tempered 2, every 2", Tempered(_mh(_site(BITS, 38)), [1.0, 0.2], swap_every=2), BITS),
    Case("Tempered 3 rungs 2^2", Tempered(_mh(_site(PAIR, 1)), [1.0, 0.5, 0.0]), PAIR, reversible=False),
    Case("Tempered 3, every 2", Tempered(Gibbs(2), [1.0, 0.5, 0.1], swap_every=2), PAIR),
    Case("Tempered memory 2^3", Tempered(_mh(_remembering(TRIPLE, 5)), [1.0, 0.3]), TRIPLE, reversible=False),
    Case("Tempered Mixture 2^2", _tempered_mixture, PAIR, reversible=False),
    Case("Path 2 rungs 2^3", _path(PathTempered, Gibbs(2), TRIPLE, 1.0), TRIPLE, reversible=False),
    Case("Path 2 rungs, holes", _path(PathTempered, _mh(_site(GAPS, 17)), GAPS, 1.0), GAPS, reversible=False),
    Case("Path 3 rungs 2^2", _path(PathTempered, _mh(_site(PAIR, 1)), PAIR, 0.3, 1.0), PAIR, reversible=False),
    Case("Path 3, memory", _path(PathTempered, _mh(_remembering(PAIR, 5)), PAIR, 0.6, 1.0), PAIR, reversible=False),
    Case("Path 4 rungs 2^2", _path(PathTempered, Gibbs(2), PAIR, 0.2, 0.7, 1.0), PAIR, reversible=False),
    Case("Mixture of path, MH", Mixture([(_far, 0.6), (_mh(_jump(TRIPLE, 4)), 0.4)]), TRIPLE, reversible=False),
    Case("Conditional SMC 2, 3^3", _populations(ConditionalSMC, HOLES, 2, 1.0), HOLES),
    Case("Conditional SMC 2, path", _populations(ConditionalSMC, HOLES, 2, 0.3, 0.7, 1.0), HOLES),
    Case("Conditional SMC 8, path", _populations(ConditionalSMC, TRIPLE, 8, 0.5, 1.0), TRIPLE, betas=(1.0,)),
    Case("Pseudo-marginal, exact", PseudoMarginal(lambda x, u: 0 * u[..., 0], Gibbs(2)), TRIPLE),
    Case("Pseudo-marginal, 1", StartedPseudoMarginal(_noisy, _mh(_site(CUBE, 13))), CUBE, betas=(1.0,)),
    Case("Pseudo-marginal, 5", StartedPseudoMarginal(_noisy, Gibbs(3), samples=5), CUBE, betas=(1.0,)),
    Case("Multiple try, 2", MultipleTry(_site(CUBE, 13), tries=2), CUBE),
    Case("Multiple try, 3 barker", MultipleTry(_table(TRIPLE, 5), tries=3, balance="barker"), TRIPLE),
    Case("Multiple try, memory", MultipleTry(_remembering(GAPS, 20), tries=2), GAPS),
    Case("Multiple try, truncated", MultipleTry(_site(CUBE, 16, keep=2), tries=2), CUBE, ergodic=False),
    Case("Locally informed 3^3", LocallyInformed(SingleSiteChanges(3)), CUBE),
    Case("Locally informed, holes", LocallyInformed(_bits, balance="barker", max_rows=10_007), GAPS),
    Case("Locally informed, free", LocallyInformed(SingleSiteChanges(3, free=_free_by_value)), CUBE, ergodic=False),
    Case("Mixture of informed, MH", _informed_mixture, BITS),
    Case("Gradient 3^3", _mh(GradientProposal(CUBE.relaxed, 3)), CUBE),
    Case("Gradient holes 2^3", _mh(GradientProposal(GAPS.relaxed, 2)), GAPS),
    Case("Gradient, free", _mh(GradientProposal(CUBE.relaxed, 3, free=_free_by_value)), CUBE, ergodic=False),
    Case("Mixture of Tempered, MH", Mixture([(_hot, 0.6), (_mh(_jump(TRIPLE, 4)), 0.4)]), TRIPLE, reversible=False),
)

_local = dirichlet_table(27, 27, seed=41) * torch.exp(0.5 * torch.arange(27).remainder(7)).unsqueeze(1)
_incompatible = TabularProposal(CUBE, transition_matrix(Gibbs(3), random_target(3, 3, seed=1042573110)))


def _broken(name: str, kernel: Kernel, target: Enumerated, *rejected_by: str, **options: Any) -> Mutant:
    return Mutant(Case(name, kernel, target, betas=(1.0,), **options), rejected_by)


MUTANTS: tuple[Mutant, ...] = (
    _broken("missing Hastings", mutants.MissingHastings(_site(MAIN, 13)), MAIN, "T3", "T4", "T4b", "T5"),
    _broken("flipped Hastings", mutants.FlippedHastings(_site(MAIN, 13)), MAIN, "T3", "T4", "T4b", "T5"),
    _broken("no accept step", mutants.NoAccept(_site(MAIN, 13)), MAIN, "T3", "T4", "T4b", "T5"),
    _broken("incompatible conditionals", PseudoGibbs(_incompatible), CUBE, "T2", "T3", "T5"),
    _broken("renormalised Liu ratio", mutants.RenormalisedLiu(4), MAIN, "T3", "T4b", "T5"),
    _broken("until accepted", mutants.UntilAccepted(_site(MAIN, 13)), MAIN, "T3", "T4b", "T5"),
    _broken("data-dependent site", mutants.DataDependentSite(4), MAIN, "T3", "T4b"),
    _broken("forced current value", ShortlistGibbs(mutants.ForcedCurrent(_shortlist)), MAIN, "T2", "T3", "T4", "T5"),
    _broken("stale density", mutants.StaleDensity(_drawn(BITS, 39), 3), BITS, "T3"),
    _broken("until one is accepted", mutants.UntilOneIsAccepted(_drawn(BITS, 39), 3), BITS, "T3"),
    _broken("wrong normaliser", _mh(mutants.WrongNormaliser(CUBE, _local)), CUBE, "T1", "T3", "T4b"),
    _broken("stale memory", _forgetful, CUBE, "T3"),
    _broken("stale energy cache", mutants.StaleEnergyCache(_site(MAIN, 13)), MAIN, "T0", "T3"),
    _broken("first stage alone", mutants.FirstStageAlone(_unlike, _mh(_site(MAIN, 13))), MAIN, "T2", "T3", "T5"),
    _broken("surrogate forgotten", mutants.SurrogateForgotten(_unlike, _mh(_site(MAIN, 13))), MAIN, "T2", "T3", "T5"),
    _broken("stale surrogate", Mixture([(_far_off, 0.8), (_mh(_jump(CUBE, 2)), 0.2)]), CUBE, "T3"),
    _broken("refreshed estimate", mutants.RefreshedEstimate(_noisy, _mh(_site(CUBE, 13))), CUBE, "T3", "T4"),
    _broken("without references", mutants.WithoutReferences(_site(CUBE, 13), tries=2), CUBE, "T3", "T4", "T4b"),
    _broken("no backward sum", mutants.WithoutBackwardNormaliser(SingleSiteChanges(3)), CUBE, "T3", "T4", "T4b"),
    _broken("forgotten gradient", _mh(mutants.ForgottenReverseGradient(CUBE.relaxed, 3)), CUBE, "T1", "T3", "T4"),
    _broken("swap sign", mutants.SwapSign(Gibbs(2), [1.0, 0.3]), TRIPLE, "T3", "T4b", reversible=False),
    _broken(
        "path without log q", _path(mutants.SwapWithoutLogQ, Gibbs(2), TRIPLE, 1.0), TRIPLE, "T3", reversible=False
    ),
    _broken("last rung copied", _path(mutants.LastRungCopied, Gibbs(2), TRIPLE, 1.0), TRIPLE, "T3", reversible=False),
    _broken("adaptive resampling", _populations(mutants.AdaptiveResampling, TRIPLE, 2, 0.5, 1.0), TRIPLE, "T3"),
    _broken("forgotten path", _populations(mutants.ForgottenPath, TRIPLE, 2, 0.5, 1.0), TRIPLE, "T3"),
    _broken("weights without log q", _populations(mutants.WithoutLogQ, TRIPLE, 2, 0.5, 1.0), TRIPLE, "T3"),
    _broken("keep adapting", mutants.KeepAdapting(_site(BITS, 38), _jump(BITS, 2)), BITS, "T3", "T5"),
    _broken("drop rejected draws", _mh(_site(BITS, 38)), BITS, "T3", driver=mutants.drop_rejected),
)
