"""What the weights of two energies make of text: draws of one model, weighted to each law, for the judge and a reader.

    python examples/laws.py FOLDER
    mcmc-text evaluate texts FOLDER/*.txt --corpus CORPUS

FOLDER gets a file for each law, over texts of 8 to 14 tokens in real words: 150 of them, drawn without repetition in
proportion to their weights.
"""

import sys
from pathlib import Path

import torch

from lm_adapters import CausalLM, MaskedEnergy, MaskedLM, RealWords, SequenceDistribution, SequenceEnergy
from samplers import generator

LAWS = {
    "exp(-fluency)": (1, 0),
    "exp(-1.2 fluency)": (1.2, 0),
    "exp(-(fluency + 0.15 pll))": (1, 0.15),
    "exp(-(fluency + 0.5 pll))": (1, 0.5),
    "exp(-(0.8 fluency + 0.35 pll))": (0.8, 0.35),
}
DRAWS, LENGTHS, WRITTEN = 5_000, (8, 14), 150


@torch.inference_mode()
def drawn_texts(causal, masked, count, lengths):
    """Texts of ``causal`` in real words, ``int64 [texts, width]``; of each its log-density, ``fluency``, ``pll``."""
    reader = causal.condition_on()
    torch.manual_seed(0)
    x, log_q, _ = SequenceDistribution(reader, min_length=lengths[0], max_length=lengths[1]).sample_and_log_prob(count)
    real = RealWords(causal.space)(x) == 0
    x = x[real]
    return x, log_q[real], SequenceEnergy(reader)(x), MaskedEnergy(masked, "pll")(x)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    causal, masked = CausalLM.from_pretrained("causal-en"), MaskedLM.from_pretrained("masked-en")
    x, log_q, fluency, pll = drawn_texts(causal, masked, DRAWS, LENGTHS)
    texts = causal.space.decode(x)
    print(f"{len(x):,} of {DRAWS:,} texts drawn are in real words\n")
    print(f"{'law':<32} {'tokens':>6} {'ESS':>6}")
    for name, (a, b) in LAWS.items():
        weights = (-a * fluency - b * pll - log_q).softmax(dim=0)
        tokens, ess = float((weights * causal.space.lengths(x)).sum()), 1 / float(weights.square().sum())
        print(f"{name:<32} {tokens:>6.1f} {ess:>6,.0f}")
        chosen = weights.multinomial(WRITTEN, generator=generator(1, stream="laws"))
        (folder / f"{name}.txt").write_text("".join(f"{texts[i]}\n" for i in chosen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
