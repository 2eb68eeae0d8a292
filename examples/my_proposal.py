"""A proposal of your own: raise or lower one site by one.

Run this file to prove it: python my_proposal.py. Then use it in any kernel: MetropolisHastings(Nudge(4)).
"""

import torch

from samplers import InvalidInput, MetropolisHastings, Proposed
from samplers.testing import check_kernel, check_proposal, enumerate_states


class Nudge:
    """One site, drawn evenly, goes up by one with probability ``up`` or else down by one, around ``values`` values."""

    move_names = ("nudge",)  # what a trace counts acceptances by; with several moves, Proposed.move says which it was

    def __init__(self, values, up=0.7):
        if values < 3 or not 0 < up < 1:
            raise InvalidInput(f"values is {values} and up is {up}; give 3 or more values, and up between 0 and 1")
        self.values, self.up = values, up

    def __call__(self, x, rng):
        # x is int64 [chains, sites]. Draw from rng alone, for all chains together: no loop over chains.
        site = torch.randint(x.shape[1], (len(x), 1), device=x.device, generator=rng)
        rises = torch.rand(len(x), 1, device=x.device, generator=rng) < self.up
        new = (x.gather(1, site) + torch.where(rises, 1, -1)) % self.values
        proposed = x.scatter(1, site, new)
        return Proposed(proposed, self.log_prob(proposed, x), self.log_prob(x, proposed))

    def log_prob(self, x_to, x_from):
        """``float64 [chains]``: the log-probability of proposing ``x_to`` from ``x_from``; ``-inf`` if impossible."""
        step = (x_to - x_from) % self.values
        rises, falls = (step == 1).double(), (step == self.values - 1).double()
        probability = (self.up * rises + (1 - self.up) * falls).sum(dim=1) / x_to.shape[1]
        return probability.masked_fill((step != 0).sum(dim=1) != 1, 0.0).log()


if __name__ == "__main__":
    # All states that it can reach: draws must follow log_prob, and log_prob add up to 1.
    print(check_proposal(Nudge(4), enumerate_states(values=4, sites=3)))
    print(check_kernel(MetropolisHastings(Nudge(4))))
