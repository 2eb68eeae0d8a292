"""An energy of your own, as a class: neighbours that differ cost something.

Run this file to check it: python my_energy.py. A function ``x -> [chains]`` is an energy too, and a function of texts
becomes one with ``TextEnergy(function, space.decode)``; a class can hold settings and tell samplers more about itself.
"""

import torch

from samplers import EnergyTerm, Gibbs, InvalidInput, named, sample
from samplers.testing import check_energy, enumerate_states


class Roughness(EnergyTerm):
    """``strength`` nats for each unit by which neighbouring sites differ."""

    name = "roughness"  # of its column in Trace.terms
    lower_bound = 0.0  # no value is below: lets samplers reject a hopeless proposal before they have scored every term
    # expensive = True: it runs a model, so other terms are scored first. is_constraint = True: 0 or +inf, nothing else.

    def __init__(self, strength=1.0):
        if strength < 0:
            raise InvalidInput(f"strength is {strength}; give 0 or more, as lower_bound says")
        self.strength = strength  # keep arguments under their own names: a run that resumes compares them

    def values(self, x, hint=None):
        # x is [chains, sites]; return [chains] nats, lower is likelier, +inf forbids. A chain's energy must depend on
        # its own row alone. hint is what a proposal of the same model knows of x; ignore it.
        return self.strength * (x[:, 1:] - x[:, :-1]).abs().sum(dim=1).double()


def mean_value(x):
    """A function does as well, where there is nothing to set."""
    return x.double().mean(dim=1)


if __name__ == "__main__":
    states = enumerate_states(values=4, sites=5)
    energy = Roughness(0.5) + 2.0 * named("mean", mean_value)  # a weighted sum remembers its terms
    print(check_energy(energy, states))
    trace = sample(Gibbs(4), energy, torch.zeros(8, 5, dtype=torch.int64), steps=400, warmup=100)
    print(f"mean energy {float(trace.energy.mean()):.2f} nats, of which", end=" ")
    print(", ".join(f"{name} {float(trace.terms[..., i].mean()):.2f}" for i, name in enumerate(trace.term_names)))
