"""How many sites to redraw at once: the share of steps that change a text of 9 tokens, on exp(-pll).

python examples/sites.py
"""

import torch

from lm_adapters import GibbsProposal, MaskedEnergy, MaskedLM, SequentialBlock, Truncation, fill_masks
from samplers import MetropolisHastings, generator, sample

CHAINS, TOKENS, STEPS, WARMUP = 48, 9, 60, 20
BLOCKS = ((1, 0.7), (2, 0.7), (2, 1.0), (3, 0.7), (3, 1.0))  # sites and temperature


def main():
    lm = MaskedLM.from_pretrained("masked-en")
    energy, masks = MaskedEnergy(lm, "pll"), lm.space.masks(torch.tensor([TOKENS] * CHAINS))
    with torch.inference_mode():
        x0 = fill_masks(lm, masks, generator(0, stream="starts"))
    print(f"{'sites':>5} {'temperature':>11} {'independently':>13} {'in turn':>7}")
    for size, temperature in BLOCKS:
        shares = []
        for proposal in (GibbsProposal, SequentialBlock):
            kernel = MetropolisHastings(proposal(lm, size, truncation=Truncation(temperature)))
            shares.append(sample(kernel, energy, x0, steps=STEPS, warmup=WARMUP, seed=0).changed)
        print(f"{size:>5} {temperature:>11} {shares[0]:>13.0%} {shares[1]:>7.0%}")


if __name__ == "__main__":
    main()
