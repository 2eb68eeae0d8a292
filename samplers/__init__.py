"""Samplers of ``exp(-energy)`` for any tensor state, batched over chains.

Draw
    ``sample`` (Markov chains), ``smc`` (populations), ``rejection_sample``, ``importance_sample``; ``anneal`` searches
    for the lowest energy; ``iterate`` is the bare loop of a kernel.
Kernels
    ``MetropolisHastings``, ``Gibbs``, ``ShortlistGibbs``, ``PseudoGibbs`` (no known target); ``Mixture``, ``Cycle``,
    ``Tempered``, ``PathTempered``, ``ConditionalSMC``, ``DelayedAcceptance`` and ``PseudoMarginal`` are made of other
    kernels. ``IndependenceSteps`` makes its draws together. ``MultipleTry``, ``LocallyInformed`` and, for
    ``MetropolisHastings``, ``GradientProposal`` choose among many moves by what they lead to.
Energies
    any function ``x [chains, ...] -> [chains]`` in nats; ``named``, ``Constraint``, ``EnergyTerm`` and ``WeightedSum``
    name and add them; ``evaluate`` scores states and checks the answer.
Results
    ``Trace``, ``SMCSample``, ``RejectionSample``, ``ImportanceSample``, ``Annealed``; ``diagnose`` and
    ``compare_starts`` for convergence.
Runs in a folder
    ``run_dir=...`` or ``RunStore``; ``Configurable.config`` is what a resumed run is compared by.
To implement
    the protocols ``Energy``, ``Proposal``, ``Kernel`` and ``Distribution``; ``samplers.testing`` checks them.
Errors
    every error raised on purpose is a ``McmcTextError``; see ``help(samplers.errors)``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
