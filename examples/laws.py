"""What the weights of two energies make of text: draws of one model, weighted to each law, before the judge.

    python examples/laws.py CORPUS

CORPUS is a folder with the files of `mcmc-text train-embedded`. Each law is over texts of 8 to 14 tokens in real words;
150 texts of each are judged, drawn without repetition in proportion to their weights.
"""

import sys
from pathlib import Path

import torch

from experiments.judging.judge import Judge
from experiments.training.data import english_split
from lm_adapters import CausalLM, MaskedEnergy, MaskedLM, RealWords, SequenceDistribution, SequenceEnergy
from samplers import generator

LAWS = {
    "exp(-fluency)": (1, 0),
    "exp(-1.2 fluency)": (1.2, 0),
    "exp(-(fluency + 0.15 pll))": (1, 0.15),
    "exp(-(fluency + 0.5 pll))": (1, 0.5),
    "exp(-(0.8 fluency + 0.35 pll))": (0.8, 0.35),
}
DRAWS, LENGTHS, JUDGED = 5_000, (8, 14), 150


@torch.inference_mode()
def drawn_texts(causal, masked, count, lengths):
    """Texts of ``causal`` in real words, ``int64 [texts, width]``; of each its log-density, ``fluency``, ``pll``."""
    reader = causal.condition_on()
    torch.manual_seed(0)
    x, log_q, _ = SequenceDistribution(reader, min_length=lengths[0], max_length=lengths[1]).sample_and_log_prob(count)
    real = RealWords(causal.space)(x) == 0
    x = x[real]
    return x, log_q[real], SequenceEnergy(reader)(x), MaskedEnergy(masked, "pll")(x)


def main(corpus):
    masked = MaskedLM.from_pretrained("masked-en")
    causal = CausalLM.from_pretrained("causal-en")
    x, log_q, fluency, pll = drawn_texts(causal, masked, DRAWS, LENGTHS)
    texts, judge = causal.space.decode(x), Judge.from_corpus(corpus)
    print(f"{len(x):,} of {DRAWS:,} texts drawn are in real words\n")
    print(f"{'law':<32} {'train':>6} {'KN':>5} {'distinct':>8} {'tokens':>6} {'ESS':>6}")
    for name, (a, b) in LAWS.items():
        weights = (-a * fluency - b * pll - log_q).softmax(dim=0)
        chosen = weights.multinomial(JUDGED, generator=generator(1, stream="laws"))
        seen = judge.verdict([texts[i] for i in chosen])
        tokens = float((weights * causal.space.lengths(x)).sum())
        ess = 1 / float(weights.square().sum())
        figures = f"{seen.training:>6.0%} {seen.nats_per_word:>5.2f} {seen.distinct_2:>8.2f}"
        print(f"{name:<32} {figures} {tokens:>6.1f} {ess:>6,.0f}")
        for i in chosen[:25]:
            print(f"    {texts[i]}", file=sys.stderr)
    seen = judge.verdict(english_split(corpus)[1][:JUDGED])
    print(f"{'held-out sentences':<32} {seen.training:>6.0%} {seen.nats_per_word:>5.2f} {seen.distinct_2:>8.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
