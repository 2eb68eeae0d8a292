"""Draws of `mcmc-text choose` beside the law of the whole list, which `--sampler exact` has written.

python examples/phrase_law.py runs/importance runs/exact
"""

import json
import sys
from collections import Counter
from pathlib import Path


def lines(run):
    return [json.loads(line) for line in Path(run, "samples.jsonl").read_text(encoding="utf-8").splitlines()]


def distance(drawn, law):
    """Total variation between what was ``drawn``, a list of texts, and the ``law``, the probability of each text."""
    counts = Counter(drawn)
    return sum(abs(counts[text] / len(drawn) - law.get(text, 0.0)) for text in {*counts, *law}) / 2


if __name__ == "__main__":
    drawn = [line["text"] for line in lines(sys.argv[1])]
    law = {line["text"]: line["probability"] for line in lines(sys.argv[2])}
    counts = Counter(drawn)
    for text, share in Counter(law).most_common(10):
        print(f"{counts[text] / len(drawn):6.3f} {share:6.3f}  {text}")
    print(f"{len(drawn)} draws, total variation {distance(drawn, law):.3f}")
