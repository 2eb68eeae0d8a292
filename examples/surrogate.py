"""Texts near to one of 125 sentences by a model that reads both together, and a CUR surrogate that asks it of 12.

    python examples/surrogate.py

A move is tried on the surrogate first, and only what passes is scored against all sentences (`DelayedAcceptance`): the
law is the same, whatever the surrogate.
"""

from itertools import islice

from phrase_list import sentences

from lm_adapters import CrossScores, EditProposal, MaskedEnergy, MaskedLM, Seq2SeqLM
from samplers import DelayedAcceptance, MetropolisHastings, delayed_report, sample

CHAINS, STEPS, ANCHORS = 8, 40, 12


class Pairs:
    """``log p(item | text)`` by a task of a seq2seq model, with the number of pairs that it has read."""

    def __init__(self, lm, task):
        self.lm, self.prefix, self.count = lm, lm.task_prefix(task), 0

    def __call__(self, texts, items):
        self.count += len(texts) * len(items)
        found = self.lm.log_prob([text for text in texts for _ in items], [*items] * len(texts), prefix=self.prefix)
        return found.reshape(len(texts), len(items))


def run(pairs, kernel, energy, x0):
    pairs.count = 0
    trace = sample(kernel, energy, x0, steps=STEPS, seed=1, progress=False)
    print(f"{pairs.count:7,} pairs, {trace.changed:.0%} of steps changed the text")
    return trace


if __name__ == "__main__":
    lm, pairs = MaskedLM.from_pretrained("masked-en"), Pairs(Seq2SeqLM.from_pretrained("seq2seq-en"), "paraphrase")
    items = list(sentences(5))
    whole = CrossScores(lm.space, pairs, items)
    queries = list(islice(items, 0, None, 3))
    cheap = whole.anchored(queries, ANCHORS)
    print(f"{pairs.count:7,} pairs to fit the surrogate to {len(queries)} texts")
    fluency, edits = MaskedEnergy(lm, "pll"), MetropolisHastings(EditProposal(lm, max_length=10))
    x0 = lm.space.encode(queries[:CHAINS], width=10)
    run(pairs, edits, fluency + whole, x0)
    trace = run(pairs, DelayedAcceptance(fluency + cheap, edits), fluency + whole, x0)
    print(delayed_report(trace.final[0]))
