"""Texts drawn whole by a causal model, with their log-probabilities, as rejection and importance sampling need them."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.benchmarking import floors
from experiments.benchmarking.baselines import Chain
from experiments.benchmarking.models import Models
from experiments.benchmarking.task import SHORTEST, STARTS, Size, Task
from lm_adapters import CausalLM, SequenceDistribution, SequenceEnergy
from samplers import IndependenceProposal, MetropolisHastings
from samplers.randomness import generator, scoped_global_seed

__all__ = ["draws"]


def draws(models: Models, size: Size) -> Task:
    """Independent draws as moves: text, density and energy. Floor: a pass of one token for each token of a text."""
    scorer = models.causal
    law = SequenceDistribution(scorer.condition_on(), min_length=SHORTEST, max_length=size.length)
    with torch.inference_mode(), scoped_global_seed(generator(0, stream="starts")):
        x0 = law.sample((min(size.chains, STARTS),))
    return Task(
        kernel=MetropolisHastings(IndependenceProposal(law)),
        energy=SequenceEnergy(scorer.condition_on()),
        x0=x0[torch.arange(size.chains, device=x0.device) % len(x0)],
        floor=lambda move: floors.drawn_tokens(models.bare_causal, move),
        by_hand=cached_draws(scorer, size.chains, (SHORTEST, size.length)),
        by_hand_chains=size.chains,
        models=[scorer.model],
    )


def cached_draws(lm: CausalLM, count: int, lengths: tuple[int, int], seed: int = 0) -> Chain:
    """``count`` texts together, token by token with the model's own cache; ``(text, -log p)`` of the first of them.

    Finished texts go on reading their end, as in ``generate``. The log-probability under the model is added up on the
    way, as is that of the draw, which leaves tokens out that are no text by themselves.
    """
    rng = torch.Generator(lm.device).manual_seed(seed)
    possible = lm.allowed.clone()
    possible[lm.eos_id] = True
    while True:
        token = torch.full((count, 1), lm.start_id, device=lm.device)
        going, past = torch.ones(count, dtype=torch.bool, device=lm.device), None
        log_p, log_q = (torch.zeros(count, dtype=torch.float64, device=lm.device) for _ in range(2))
        texts: list[Tensor] = []
        for place in range(lengths[1] + 1):
            output = lm.model(input_ids=token, past_key_values=past, use_cache=True)
            past, own = output.past_key_values, output.logits[:, -1].log_softmax(dim=1)
            law = own.masked_fill(~possible, -torch.inf)
            if place < lengths[0]:
                law[:, lm.eos_id] = -torch.inf
            token = torch.multinomial(law.softmax(dim=1), 1, generator=rng)
            if place == lengths[1]:
                token = torch.full_like(token, lm.eos_id)
            else:
                log_q += law.log_softmax(dim=1).gather(1, token).squeeze(1).double() * going
            log_p += own.gather(1, token).squeeze(1).double() * going
            texts.append(token.where(going.unsqueeze(1), lm.eos_id))
            going = going & (token.squeeze(1) != lm.eos_id)
            if not bool(going.any()):
                break
        first = torch.cat(texts, dim=1)[0].tolist()
        yield first[: first.index(lm.eos_id)], -float(log_p[0])
