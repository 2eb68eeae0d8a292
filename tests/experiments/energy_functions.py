"""Energy functions as people write them, right ones and wrong ones: source files made from a seed.

A right function gives a text a number that depends on the text alone. A wrong one breaks that in one of ``WRONG`` ways.
Both are made of the same parts: a score of a text, and a way to go through the list.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import NamedTuple

__all__ = ["Made", "made"]


class Made(NamedTuple):
    """``source`` of a file that defines ``energy``; ``way`` in which it is wrong, ``None`` if it is right."""

    number: int
    way: str | None
    source: str


HEAD = """\
import functools
import math
import random
import re
import zlib

import numpy as np
import torch

"""

# Scores of one text: expressions of `text`, with constants filled in.
SCORES = (
    "{a} * len(text)",
    "{a} * len(text.split())",
    "-{a} * sum(word in ({words}) for word in text.split())",
    "{a} * len(re.findall(r'[{letters}]', text))",
    "{a} * abs(len(text) - {n})",
    "{{{pairs}}}.get(text.split()[0], {a})",
    "{a} * math.log1p(text.count('{letter}')) + {b}",
    "sum({{{pairs}}}.get(word, {a}) for word in text.split())",
    "{a} * len(set(text.split()))",
    "{a} * (len(text) - len(set(text)))",
    "-{a} if text.endswith('{letter}') else {b}",
    "{a} * (zlib.crc32(text.encode()) % 97) / 97",
    "float(np.dot([len(word) for word in text.split()], np.linspace({b}, {a}, len(text.split()))))",
    "float(torch.tensor([float(ord(c)) for c in text]).std().nan_to_num()) * {a}",
    "float('{letter}' in text)",
    "int('{letter}' in text) * {n}",
)

# Ways to score a list: `score(text)` is defined above each.
RIGHT = {
    "a comprehension": "    return [score(text) for text in texts]",
    "a loop": """\
    values = []
    for text in texts:
        values.append(score(text))
    return values""",
    "a tuple": "    return tuple(score(text) for text in texts)",
    "an array": "    return np.array([score(text) for text in texts])",
    "float32": "    return np.array([score(text) for text in texts], dtype=np.float32) * np.float32({a})",
    "a tensor": "    return torch.tensor([float(score(text)) for text in texts]) * {a}",
    "scalars": "    return [torch.tensor(float(score(text))) for text in texts]",
    "a cache": "    return [cached(text) for text in texts]",
    "a dictionary": """\
    for text in texts:
        if text not in KNOWN:
            KNOWN[text] = score(text)
    return [KNOWN[text] for text in texts]""",
    "each text once": """\
    known = {{text: score(text) for text in set(texts)}}
    return [known[text] for text in texts]""",
    "a condition": "    return [math.inf if '{rare}' in text else score(text) for text in texts]",
    "a sorted copy": """\
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    values = [0.0] * len(texts)
    for i in order:
        values[i] = score(texts[i])
    return values""",
    "padding": """\
    longest = max(len(text) for text in texts)
    codes = np.array([[ord(c) for c in text.ljust(longest, chr(0))] for text in texts], dtype=np.float32)
    return (np.sin(codes * {a}) * (codes > 0)).sum(axis=1) + {b}""",
    "a network": """\
    longest = max(len(text) for text in texts)
    ids = torch.tensor([[ord(c) % 64 for c in text] + [0] * (longest - len(text)) for text in texts])
    real = torch.tensor([[1.0] * len(text) + [0.0] * (longest - len(text)) for text in texts])
    with torch.no_grad():
        hidden = torch.tanh(LAYER(TABLE(ids))) * real.unsqueeze(2)
    return {a} * hidden.sum(dim=(1, 2))""",
    "attention": """\
    longest = max(len(text) for text in texts)
    ids = torch.tensor([[ord(c) % 64 for c in text] + [0] * (longest - len(text)) for text in texts])
    padding = torch.tensor([[False] * len(text) + [True] * (longest - len(text)) for text in texts])
    with torch.no_grad():
        hidden = ATTENTION(*[TABLE(ids)] * 3, key_padding_mask=padding, need_weights=False)[0]
        return 5 * {a} * (hidden * ~padding.unsqueeze(2)).sum(dim=(1, 2))""",
    "rounding": "    return [score(text) * (1 + 1e-6 * len(texts)) for text in texts]",
    "a seed of the text": "    return [score(text) + random.Random(text).random() for text in texts]",
    "a counter that changes nothing": """\
    CALLS[0] += 1
    return [score(text) for text in texts]""",
    "an object": "    return METER(texts)",
    "token ids": "    return TABLE_OF_IDS[x].sum(dim=1) * {a}",
}

WRONG = {
    "place in the batch": (
        "    return [score(text) + {d} * i for i, text in enumerate(texts)]",
        "    return [score(text) - ({d} if i == 0 else 0.0) for i, text in enumerate(texts)]",
        "    return [score(text) + {d} * (i % 2) for i, text in enumerate(texts)]",
    ),
    "the longest of the batch": (
        "    return [{a} * len(text) / max(len(other) for other in texts) for text in texts]",
        "    return [score(text) + {d} * (len(text) == max(map(len, texts))) for text in texts]",
        "    return torch.tensor([float(len(text)) for text in texts]).softmax(dim=0) * {n}",
        """\
    longest = max(len(text) for text in texts)
    ids = torch.tensor([[ord(c) % 64 for c in text.ljust(longest)] for text in texts])
    with torch.no_grad():
        return {a} * torch.tanh(LAYER(TABLE(ids))).mean(dim=(1, 2)) * 50""",
    ),
    "the mean of the batch": (
        (
            "    values = [len(text) * {a} for text in texts]\n"
            "    return [value - sum(values) / len(values) for value in values]"
        ),
        (
            "    values = np.array([float(len(text)) for text in texts])\n"
            "    return (values - values.mean()) / (values.std() + {a})"
        ),
        (
            "    values = [float(len(text)) for text in texts]\n"
            "    return [sorted(values).index(value) * {d} for value in values]"
        ),
    ),
    "chance": (
        "    return [score(text) + random.random() for text in texts]",
        "    return [score(text) + {d} * random.gauss(0, 1) for text in texts]",
        "    return [score(text) + {d} * torch.rand(()).item() for text in texts]",
        "    return np.array([score(text) for text in texts]) + np.random.default_rng().normal(size=len(texts))",
    ),
    "sorted in place": (
        "    texts.sort()\n    return [{a} * len(text) + text.count('e') for text in texts]",
        "    texts.sort(key=len)\n    return [{a} * len(text) + text.count('a') for text in texts]",
        "    texts.reverse()\n    return [{a} * len(text) + text.count('s') for text in texts]",
    ),
    "a set": (
        "    return [score(text) + len(text) for text in set(texts)]",
        "    return [score(text) + len(text) for text in dict.fromkeys(sorted(texts))]",
        "    return list({{text: score(text) + len(text) for text in sorted(texts)}}.values())",
    ),
    "a counter": (
        "    CALLS[0] += 1\n    return [score(text) + {d} * CALLS[0] for text in texts]",
        (
            "    values = []\n"
            "    for text in texts:\n"
            "        CALLS[0] += 1\n"
            "        values.append(score(text) + {d} * CALLS[0])\n"
            "    return values"
        ),
        "    SEEN.extend(texts)\n    return [score(text) + {d} * SEEN.count(text) for text in texts]",
        "    SEEN.extend(map(len, texts))\n    return [len(text) - sum(SEEN) / len(SEEN) for text in texts]",
    ),
    "written into": (
        "    texts[0] = '{rare}' * {n}\n    return [len(text) * {a} for text in texts]",
        "    x[:, 0] = {n}\n    return x.double().sum(dim=1) * {a}",
        "    x.copy_(x.sort(dim=0).values)\n    return x.double().mean(dim=1) * {a}",
        "    value = x.double().sum(dim=1) * {a}\n    x.zero_()\n    return value",
    ),
    "no number for some": (
        "    return [math.nan if '{letter}' in text else score(text) for text in texts]",
        "    return [float('-inf') if '{letter}' in text else score(text) for text in texts]",
        "    return [None if '{letter}' in text else score(text) for text in texts]",
        "    return [score(text) / (text.count('{letter}') == 0) for text in texts]",
    ),
    "another length": (
        "    return [score(text) for text in texts if '{letter}' not in text]",
        "    return [score(text) for text in texts][1:]",
        "    return sum(score(text) for text in texts)",
        "    return [value for text in texts for value in (score(text), 0.0)]",
    ),
    "the first call": (
        "    CALLS[0] += 1\n    return [score(text) + ({d} if CALLS[0] == 1 else 0.0) for text in texts]",
        (
            "    first, CALLS[0] = CALLS[0] == 0, 1\n"
            "    return [0.0 if first else score(text) + len(text) for text in texts]"
        ),
        "    CALLS[0] += 1\n    return [score(text) + {d} * (CALLS[0] % 2) for text in texts]",
    ),
}  # fmt: skip


def made(count: int, seed: int) -> Iterator[Made]:
    """``count`` files, every other one wrong; all ways come as often as each other."""
    rng = random.Random(seed)
    right, wrong = _in_turn(RIGHT, rng), _in_turn(WRONG, rng)
    for number in range(count):
        way = next(wrong) if number % 2 else None
        name = next(right) if way is None else way
        body = RIGHT[name] if way is None else rng.choice(WRONG[way])
        yield Made(number, way, _source(body, rng))


def _in_turn(ways: Mapping[str, object], rng: random.Random) -> Iterator[str]:
    while True:
        yield from rng.sample(list(ways), len(ways))


def _source(body: str, rng: random.Random) -> str:
    letters = rng.sample("aeisthonr", 4)
    words = rng.sample(WORDS, 3)
    fills = {
        "a": round(rng.uniform(0.2, 3.0), 2),
        "b": round(rng.uniform(-2.0, 2.0), 2),
        "d": round(10 ** rng.uniform(-2.0, 0.7), 3),
        "n": rng.randint(2, 12),
        "words": ", ".join(map(repr, words)),
        "pairs": ", ".join(f"{word!r}: {rng.uniform(-2, 2):.2f}" for word in words),
        "letters": "".join(letters),
        "letter": rng.choice("eas"),
        "rare": rng.choice("qxz"),
        "seed": rng.randrange(10**6),
    }
    score = rng.choice(SCORES).format(**fills)
    body = body.format(**fills)
    argument = "texts" if "texts" in body else "x: torch.Tensor"
    return HEAD + PARTS.format(**fills) + f"def score(text):\n    return {score}\n\n\ndef energy({argument}):\n{body}\n"


WORDS = ["the", "sea", "is", "old", "he", "a", "house", "not", "here", "gone"]

PARTS = """\
torch.manual_seed({seed})
TABLE = torch.nn.Embedding(64, 8)
LAYER = torch.nn.Linear(8, 8)
ATTENTION = torch.nn.MultiheadAttention(8, 2, batch_first=True)
TABLE_OF_IDS = torch.rand(1000, dtype=torch.float64)
CALLS, SEEN, KNOWN = [0], [], {{}}


@functools.lru_cache(maxsize=None)
def cached(text):
    return score(text)


class Meter:
    def __init__(self, strength):
        self.strength = strength

    def __call__(self, texts):
        return [self.strength * score(text) for text in texts]


METER = Meter({a})


"""
