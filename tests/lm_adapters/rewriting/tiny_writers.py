"""Seq2seq models over a handful of tokens, every short text of them, and matrices of moves that have a label."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from lm_adapters import Keywords, Lock, Seq2SeqLM, Truncation
from samplers import MetropolisHastings, Proposal, named, sample
from samplers.kernels.metropolis import log_acceptance
from samplers.randomness import generator
from samplers.testing import Enumerated, enumerate_states
from samplers.testing.law_checks import row_result
from tests.lm_adapters import tiny

WORDS = ("red", "green", "blue", "##er")
SITES = 3
CHAINS = 2**12
SPECIAL = ["<extra_id_0>", "<extra_id_1>", "<words>", "<blank>"]
TRUNCATIONS = {"whole": Truncation(), "cut": Truncation(temperature=0.7, top_k=3, top_p=0.9)}
TASKS = {"words_to_sentence": {"prefix": "<words>"}, "infill": {"prefix": "<words>", "sentinel": "<blank>"}}
LOCKS = {
    "no lock": lambda space: None,
    "word": lambda space: Keywords(space, ["red"]),
    "of two tokens": lambda space: Keywords(space, ["reder"]),
    "phrase": lambda space: Keywords(space, ["red green"]),
    "in order": lambda space: Keywords(space, ["red", "green"]),
    "any order": lambda space: Keywords(space, ["red", "green"], any_order=True),
    "twice": lambda space: Keywords(space, ["red", "red"]),
    "twice in any order": lambda space: Keywords(space, ["red", "red"], any_order=True),
}


def pieces(*more: str) -> PreTrainedTokenizerFast:
    """``[CLS] text [SEP]``; ``reder`` is one word of two tokens."""
    names = [*tiny.BERT_TOKENS[:5], *WORDS, *SPECIAL, *more]
    tokenizer = Tokenizer(models.WordPiece({name: at for at, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece()
    framed = tiny.bert_like(tokenizer, frame=True)
    framed.add_special_tokens({"additional_special_tokens": SPECIAL})
    return framed


def writer(*, tasks: dict[str, dict[str, str]] | None = TASKS, seed: int = 3, scale: float = 5.0) -> Seq2SeqLM:
    """A T5 of a few thousand random weights in float64; without ``tasks`` it is as it was pretrained."""
    tokenizer = pieces()
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "relative_attention_num_buckets": 8}
    config = T5Config(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.sep_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
        initializer_factor=0.3,
        task_specific_params=tasks,
        **sizes,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = tiny.enlarged(T5ForConditionalGeneration(config), scale)
    return Seq2SeqLM(model.double(), tokenizer, tokens_per_pass=10**7)


@cache
def lm(tasks: bool = True) -> Seq2SeqLM:
    return writer(tasks=TASKS if tasks else None)


@cache
def texts(sites: int = SITES) -> Tensor:
    """Every text of 1 to ``sites`` tokens, ``int64 [texts, sites]``."""
    space = lm().space
    ids = torch.tensor(space.tokenizer.convert_tokens_to_ids(list(WORDS)))
    parts = [ids[enumerate_states(len(WORDS), length)] for length in range(1, sites + 1)]
    return torch.cat([torch.nn.functional.pad(part, (0, sites - part.shape[1]), value=space.pad_id) for part in parts])


def problem(lock: Lock | None, sites: int = SITES) -> Enumerated:
    """Every text with a random energy, and infinite where the lock finds nothing."""
    noise = torch.randn(len(texts(sites)), dtype=torch.float64, generator=generator(5))
    energy = named("random", Enumerated(texts(sites), lambda x: noise).energy)
    return Enumerated(texts(sites), energy if lock is None else energy + lock)


def labelled_matrix(space: Enumerated, labels: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Of Metropolis-Hastings label by label: ``log_q`` is what is drawn, ``log_ratio`` what the ratio takes for it.

    Both ``float64 [from, to]``, the label's probability included; ``log_ratio[to, from]`` is the way back. What no
    label moves stays.
    """
    energy = space.energies.expand(len(space), -1)
    matrix = torch.zeros(len(space), len(space), dtype=torch.float64)
    for log_q, log_ratio in labels:
        accept = log_acceptance(energy.T, energy, log_ratio, log_ratio.T).clamp(max=0).exp()
        matrix += log_q.exp() * accept.where(log_q.exp() > 0, 0.0)
    return matrix + torch.diag(1 - matrix.sum(dim=1))


def end_states(proposal: Proposal, space: Enumerated, start: Tensor, steps: int) -> Tensor:
    options = {"warmup": steps - 1, "shard_size": len(start), "progress": False}
    kernel = MetropolisHastings(proposal)
    return sample(kernel, space.energy, start, steps=steps, seed=0, **options).draws[:, -1]


def follows(space: Enumerated, x: Tensor, law: Tensor) -> bool:
    return row_result("law", "", space.index(x), law, pooled=True).passed


def distance(given: Tensor, known: Tensor) -> Tensor:
    """Between densities of which some are 0."""
    return torch.where(given == known, 0.0, (given - known).abs()).nan_to_num(math.inf)
