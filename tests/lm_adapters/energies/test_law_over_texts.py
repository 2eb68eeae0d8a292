"""Two tokenizers over a tiny alphabet: with ``Canonical``, and not without, the law of texts is ``exp(-E(text))``."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from lm_adapters import (
    Canonical,
    CausalLM,
    EditProposal,
    GibbsProposal,
    RescoredReplace,
    SequenceEnergy,
    SwapProposal,
    ThroughText,
)
from samplers import Energy, EnergyTerm, Kernel, MetropolisHastings, Mixture, sample
from samplers.testing.gates import kl_gate, kl_statistic, pool
from samplers.testing.targets import enumerate_states
from tests.lm_adapters import tiny, tiny_causal

WIDTH, CHAINS, STEPS = 3, 1024, 25
WEIGHT = 0.3  # so that longer texts, which can be spelt in more ways, have their share
PIECES = ("a", "b", "ab", "abb", "ba")
MERGES = [("a", "b"), ("ab", "b"), ("b", "a")]


def spelling(special: list[str], pieces: tuple[str, ...], merges: list[tuple[str, str]]) -> PreTrainedTokenizerFast:
    """Texts without spaces, cut by these merges in turn."""
    vocabulary = {name: i for i, name in enumerate([*special, *pieces])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token=special[1]))
    tokenizer.decoder = decoders.Fuse()
    if special[0] == "[PAD]":
        return tiny.bert_like(tokenizer, frame=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


@cache
def proposer() -> tiny.TableLM:
    tokenizer = spelling(tiny.BERT_TOKENS[:5], PIECES, MERGES)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = tiny.enlarged(tiny.bert(tokenizer, num_hidden_layers=1), 10.0)
    return tiny.TableLM(model, tokenizer, WIDTH)


@cache
def fluency() -> EnergyTerm:
    """``-log p`` of the letters of the text."""
    tokenizer = spelling(["<pad>", "<unk>", "<s>", "</s>"], ("a", "b"), [])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        scorer = CausalLM(tiny.enlarged(tiny_causal.gpt2(tokenizer), 3.0), tokenizer)
    return ThroughText.of(SequenceEnergy(scorer.condition_on()), proposer().space, scorer.space, name="fluency")


@cache
def states() -> Tensor:
    """All texts of 1 to 3 tokens, in every tokenisation."""
    ids = proposer().space.tokenizer.convert_tokens_to_ids(list(PIECES))
    rows = [torch.tensor(ids)[enumerate_states(len(ids), length)] for length in range(1, WIDTH + 1)]
    pad_id = proposer().space.pad_id
    return torch.cat([torch.nn.functional.pad(row, (0, WIDTH - row.shape[1]), value=pad_id) for row in rows])


def law_of_texts() -> dict[str, float]:
    """``exp(-E(text))`` on the texts that can be spelt canonically in 1 to 3 tokens, by their letters alone."""
    space = proposer().space
    texts = sorted({text for text in space.decode(states()) if len(space.encode([text])[0]) <= WIDTH})
    scorer = fluency().energy.model
    energy = SequenceEnergy(scorer)(scorer.space.encode(texts))
    return dict(zip(texts, (-WEIGHT * energy).softmax(dim=0).tolist(), strict=True))


def kernel(name: str) -> Kernel:
    lm = proposer()
    edits = EditProposal(lm, max_length=WIDTH)
    parts: list[tuple[Kernel, float]] = [(MetropolisHastings(edits), 0.5)]
    if name == "shortlist":
        return Mixture([*parts, (RescoredReplace(lm, 3), 0.5)])
    parts += [(MetropolisHastings(GibbsProposal(lm, 2)), 0.3), (MetropolisHastings(SwapProposal(lm.space)), 0.2)]
    return Mixture(parts)


def end_texts(energy: Energy, name: str) -> list[str]:
    space = proposer().space
    start = space.encode(["ab", "bb", "abba", "a"] * (CHAINS // 4), WIDTH)
    trace = sample(kernel(name), energy, start, steps=STEPS, warmup=STEPS - 1, seed=2, progress=False)
    return space.decode(trace.draws[:, -1])


def follows(texts: list[str], law: dict[str, float]) -> bool:
    places = {text: place for place, text in enumerate(law)}
    if not set(texts) <= set(law):
        return False
    observed = torch.bincount(torch.tensor([places[text] for text in texts]), minlength=len(law))
    counts, pooled = pool(observed, torch.tensor(list(law.values()), dtype=torch.float64))
    return kl_statistic(counts, pooled) < kl_gate(len(pooled))


def test_several_tokenisations_of_a_text_are_states():
    space = proposer().space
    assert isinstance(fluency(), ThroughText)
    canonical = space.is_canonical(states())
    assert 0 < int(canonical.sum()) < len(states())
    assert space.decode(states()).count("aba") == 3  # ab a, a ba, a b a: of these the first is the tokenizer's own
    assert len(set(space.decode(states()[canonical]))) == int(canonical.sum()) == len(law_of_texts())


@pytest.mark.parametrize("name", ["edits", "shortlist"])
def test_with_the_constraint_draws_follow_the_law_of_texts(name: str):
    assert follows(end_texts(Canonical(proposer().space) + WEIGHT * fluency(), name), law_of_texts())


def test_without_it_a_text_counts_as_often_as_it_can_be_spelt():
    """The negative control: the law of texts is another one, that of the token sequences added up."""
    space, texts = proposer().space, end_texts(WEIGHT * fluency(), "edits")
    assert not follows(texts, law_of_texts())
    weights = (-WEIGHT * fluency()(states())).softmax(dim=0)
    law: dict[str, float] = {}
    for text, weight in zip(space.decode(states()), weights.tolist(), strict=True):
        law[text] = law.get(text, 0.0) + weight
    assert follows(texts, law)
