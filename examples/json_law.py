"""A thousand draws of a run under a JSON schema beside their exact law, by all texts of the schema in every spelling.

    mcmc-text power "He asked" --alpha 1 --json-schema examples/asked.json --length 1:9 --sampler csmc \
        --chains 1000 --particles 16 --steps 20 --warmup 19 --thin 1 --out runs/asked
    python examples/json_law.py runs/asked

Each chain ends in a draw of its own: those of populations have parents in common. Without a run the draws are texts
drawn under the mask, kept by rejection, whose bound is known from the list of all texts.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import torch

from lm_adapters import CausalLM, Grammar, Matches, NextTokens, SequenceDistribution, StoppedEnergy
from samplers import rejection_sample

PROMPT, LONGEST, SCHEMA = "He asked", 9, Path(__file__).with_name("asked.json")


def all_texts(lm, grammar, longest):
    """Every text that matches ``grammar``, in every spelling, ``int64 [spellings, longest]``."""
    following, begun, whole = NextTokens(lm.space, grammar), [[]], []
    for place in range(longest):
        x = torch.tensor([tokens or [lm.space.pad_id] for tokens in begun])
        allowed = following.allowed(x, torch.full((len(x),), place))
        begun = [[*begun[row], token] for row, token in allowed.nonzero().tolist()]
        whole += [tokens for tokens in begun if following.is_whole(tokens)]
    return torch.tensor([tokens + [lm.space.pad_id] * (longest - len(tokens)) for tokens in whole])


def exact_law(lm, prompt, grammar, longest):
    """The probability of each text that matches ``grammar``, and how many spellings they have."""
    x, law = all_texts(lm, grammar, longest), Counter()
    energy = StoppedEnergy(lm.condition_on(prompt), longest)(x)
    for text, share in zip(lm.space.decode(x), (-energy).softmax(dim=0).tolist(), strict=True):
        law[text.strip()] += share
    return law, len(x)


def independent_draws(lm, prompt, grammar, longest, count):
    """Exact: draws under the mask, accepted by their weight over the largest that a text has."""
    reader = lm.condition_on(prompt)
    masked = SequenceDistribution(reader, max_length=longest, following=NextTokens(lm.space, grammar))
    energy = StoppedEnergy(reader, longest) + Matches(lm.space, grammar)
    x = all_texts(lm, grammar, longest)
    bound = float((-energy(x) - masked.log_prob(x)).max())
    found = rejection_sample(energy, masked, log_bound=bound + 1e-4, num_samples=count, seed=0, max_trials=10**7)
    return [text.strip() for text in lm.space.decode(found.x)]


def chi_square(counts, law):
    """Pearson's statistic of ``counts`` by text, texts expected less than 5 times in one cell, and its p-value."""
    draws = sum(counts.values())
    rare = {text for text, share in law.items() if draws * share < 5}
    cells = [(counts[text], draws * share) for text, share in law.items() if text not in rare]
    if rare:
        cells.append((sum(counts[text] for text in rare), draws * sum(law[text] for text in rare)))
    found = sum((seen - expected) ** 2 / expected for seen, expected in cells)
    half = torch.tensor([(len(cells) - 1) / 2, found / 2], dtype=torch.float64)
    return found, len(cells) - 1, float(torch.special.gammaincc(half[0], half[1]))


if __name__ == "__main__":
    lm, grammar = CausalLM.from_pretrained("causal-en"), Grammar.read(SCHEMA, "JSON schema")
    if len(sys.argv) > 1:
        lines = Path(sys.argv[1], "samples.jsonl").read_text(encoding="utf-8").splitlines()
        texts = [json.loads(line)["text"].strip() for line in lines]
    else:
        texts = independent_draws(lm, PROMPT, grammar, LONGEST, 1000)
    counts = Counter(texts)
    law, spellings = exact_law(lm, PROMPT, grammar, LONGEST)
    print(f"{len(texts)} draws, {sum(counts[text] for text in law)} valid; {len(law)} texts in {spellings} spellings")
    for text, share in law.most_common():
        print(f"{text:22} {counts[text] / len(texts):6.3f} {share:6.3f}")
    found, free, p = chi_square(counts, law)
    print(f"chi-square {found:.1f} with {free} degrees of freedom, p = {p:.2f}")
