"""An experiment of your own: texts that end with a word you give. Change the energy and the arguments.

mcmc-text run my_experiment.py night
mcmc-text run my_experiment.py night --strength 8 --workers 2 --shard-size 5 --out runs/mine
mcmc-text run my_experiment.py --resume runs/mine --steps 400
mcmc-text run my_experiment.py --help
"""

from __future__ import annotations

from typing import Annotated

from experiments import Job, Option, Problem, TextRun, edit_kernel, experiment, sample_chains


@experiment(steps=200, warmup=50)  # and any other default that differs from those of all experiments
def ending(
    job: Job,
    word: Annotated[str, Option("The last word.")],  # positional: an argument of the command
    *,
    strength: Annotated[float, Option("Nats that the right ending is worth.", minimum=0)] = 5.0,  # keyword: an option
) -> TextRun:
    """Texts of up to 12 tokens that are likely and, mostly, end with WORD.

    The law is ``exp(-(pll + strength * ending))``, where ``ending`` is 0 for the right ending and 1 for others.
    """
    from lm_adapters import MaskedEnergy, TextEnergy, fill_masks
    from samplers import generator

    lm = job.masked_lm()  # of --model

    def wrong_ending(texts: list[str]) -> list[float]:
        return [float(not text.rstrip(".!?").endswith(word)) for text in texts]

    energy = MaskedEnergy(lm, "pll") + strength * TextEnergy(wrong_ending, lm.space.decode, "ending")
    energy = job.with_custom(energy, lm.space)  # --energy, --forbid and --temperature
    chains = job.settings.chains
    rng = generator(job.settings.seed, device=lm.device, stream="starts")
    x0 = fill_masks(lm, lm.space.masks([8] * chains, width=12).to(lm.device), rng)
    problem = Problem(lm.space, energy, x0, {"model": lm})  # the law in words is read from the energy
    return sample_chains(problem, edit_kernel(lm, max_length=12), job)  # or search_best, draw_by_importance, ...


if __name__ == "__main__":  # it is a Python function, too
    print(ending("night", chains=2, steps=20, warmup=10).texts())
