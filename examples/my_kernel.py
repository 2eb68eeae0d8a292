"""A kernel of your own: Barker's accept step (Barker 1965, Australian J. Physics 18).

Run this file to prove it: python my_kernel.py. Then use it like any other: sample(Barker(proposal), energy, x0, ...).
"""

import torch

from samplers import ChainState, InvalidInput, StepInfo, evaluate
from samplers.testing import check_kernel


class Barker:
    """Propose from ``q``, accept with probability ``r / (1 + r)`` of the Hastings ratio ``r``.

    ``pi(x) q(x'|x) r / (1 + r) = a b / (a + b)`` with ``a = pi(x) q(x'|x)`` and ``b = pi(x') q(x|x')`` is symmetric in
    ``x`` and ``x'``, so the kernel is reversible.
    """

    def __init__(self, proposal):
        if not hasattr(proposal, "log_prob"):
            raise InvalidInput(f"proposal {proposal!r} has no log_prob(x_to, x_from)")
        self.proposal = proposal
        self.move_names = getattr(proposal, "move_names", ("barker",))  # what a trace counts acceptances by

    def init(self, x, energy):
        # Everything that a step needs lives in the state; a memory of your own goes into aux, a dict of tensors.
        value, terms = evaluate(energy, x)
        return ChainState(x.clone(), value, {}, terms)

    def step(self, state, energy, rng, *, beta=1.0):
        proposed = self.proposal(state.x.clone(), rng)
        new = evaluate(energy, proposed.x, proposed.hint)  # all chains in one call
        # beta multiplies the energy here and nowhere else: the energies in the state are never tempered.
        log_ratio = beta * (state.energy - new.energy) + proposed.log_q_reverse - proposed.log_q_forward
        uniform = torch.rand(len(state.x), dtype=torch.float64, device=rng.device, generator=rng)
        accepted = uniform < log_ratio.sigmoid()
        x = torch.where(accepted.unsqueeze(1), proposed.x, state.x)
        value = torch.where(accepted, new.energy, state.energy)
        terms = torch.where(accepted.unsqueeze(1), new.terms, state.terms)
        changed = (x != state.x).any(dim=1)
        move = torch.zeros_like(accepted, dtype=torch.int64) if proposed.move is None else proposed.move
        # A rejected chain keeps its old state, which then counts as a draw once more.
        return ChainState(x, value, {}, terms), StepInfo(accepted, changed, move)


if __name__ == "__main__":
    print(check_kernel(Barker))
