"""The loops by hand: the energies of the batched kernels, and their laws."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from itertools import islice, pairwise, product
from types import SimpleNamespace

import pytest
import torch

from experiments.benchmarking import baselines
from experiments.benchmarking.models import SOURCE
from experiments.benchmarking.workloads import WORKLOADS, Size
from lm_adapters import CausalLM, MaskedLM, SequenceEnergy
from tests.experiments.tiny_models import tiny_models
from tests.lm_adapters import tiny, tiny_causal

SIZE = Size(chains=2, length=7, k=5)


@pytest.mark.parametrize(
    "name", ["mh-pll", "long-pll", "delayed", "keywords", "rescored", "suffix", "translate", "draws"]
)
def test_energies_are_those_of_the_batched_kernel(name):
    task = WORKLOADS[name](tiny_models(), SIZE)
    scored = task.energy.parts[-1][1] if name == "keywords" else task.energy  # the scheme knows no whole words
    texts = set()
    with torch.inference_mode():
        for text, energy in islice(task.by_hand, 12):
            told = torch.tensor([energy]).double()
            torch.testing.assert_close(told, scored(torch.tensor([text])), atol=1e-4, rtol=0)
            assert bool(tiny_models().masked.space.proposable[text].all())
            texts.add(tuple(text))
    assert len(texts) > 1


def test_labels_give_the_energies_of_pairs():
    task = WORKLOADS["pairs"](tiny_models(), SIZE)
    with torch.inference_mode():
        for both, nats in islice(task.by_hand, 3):
            torch.testing.assert_close(nats, task.energy(both), atol=1e-6, rtol=0)


def test_a_source_is_read_as_the_adapter_reads_it():
    models = tiny_models()
    text = models.seq2seq.space.encode(["the music of the night"])
    told = baselines.translation_nll(models.seq2seq, models.bare_seq2seq.source, text[0].tolist())
    assert told == pytest.approx(
        float(SequenceEnergy(models.seq2seq.condition_on(SOURCE), name="forward")(text)), abs=1e-6
    )


@pytest.fixture(scope="module")
def words() -> tuple[MaskedLM, CausalLM]:
    """Two models of three words that share a tokenizer."""
    tokenizer = tiny.word_level("pqr")
    tokenizer.bos_token, tokenizer.eos_token = "[CLS]", "[SEP]"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        masked, causal = tiny.enlarged(tiny.bert(tokenizer), 8.0), tiny.enlarged(tiny_causal.gpt2(tokenizer), 8.0)
    return MaskedLM(masked.double(), tokenizer), CausalLM(causal.double(), tokenizer)


def frequencies(chain, steps: int) -> dict[tuple[int, ...], float]:
    with torch.inference_mode():
        counts = Counter(tuple(text) for text, _ in islice(chain, steps))
    return {text: count / steps for text, count in counts.items()}


def distance(found: dict, energies: dict[tuple[int, ...], float]) -> float:
    """Total variation between what was found and ``exp(-energy)``."""
    total = sum(math.exp(-energy) for energy in energies.values())
    return sum(abs(found.get(text, 0.0) - math.exp(-energy) / total) for text, energy in energies.items()) / 2


def texts(masked: MaskedLM, lengths: range) -> list[tuple[int, ...]]:
    tokens = masked.allowed.nonzero().squeeze(1).tolist()
    return [text for length in lengths for text in product(tokens, repeat=length)]


def agree(chain, energies: dict[tuple[int, ...], float]) -> None:
    assert distance(frequencies(chain, 8000), energies) < 0.05
    assert distance(dict.fromkeys(energies, 1 / len(energies)), energies) > 0.15  # another law would be seen


@pytest.fixture
def looked_up(monkeypatch):
    """What the loops ask of models, asked once for each text."""
    for name in ("masked_law", "pseudo_nll", "nll"):
        ask, known = getattr(baselines, name), {}

        def told(lm, text, *more, ask=ask, known=known):
            key = (*text, None, *more)
            if key not in known:
                known[key] = ask(lm, text, *more)
            return known[key]

        monkeypatch.setattr(baselines, name, told)


def remembering(lm: CausalLM) -> SimpleNamespace:
    """Its model asked once for each text; the cache is the text that has been read."""
    known: dict[tuple[int, ...], torch.Tensor] = {}

    def model(input_ids, past_key_values=None, use_cache=False):
        tokens = (*(past_key_values or ()), *input_ids[0].tolist())
        if tokens not in known:
            known[tokens] = lm.model(input_ids=torch.tensor([tokens])).logits
        return SimpleNamespace(logits=known[tokens][:, -input_ids.shape[1] :], past_key_values=tokens)

    named = {name: getattr(lm, name) for name in ("start_id", "eos_id", "allowed", "device")}
    return SimpleNamespace(model=model, **named)


def test_the_published_scheme_keeps_its_keywords_and_lengths(words, looked_up):
    """Of two keywords of two tokens each, neither is torn, and all three moves are made."""
    _, scorer = words
    p, q, r = scorer.allowed.nonzero().squeeze(1).tolist()
    chain = baselines.published_keywords(scorer, [p, q, r, r], [1, 1, 2, 2], (4, 7), k=3)
    kinds, before = set(), [p, q, r, r]
    with torch.inference_mode():
        for text, energy in islice(chain, 300):
            pairs = list(pairwise(text))
            assert (p, q) in pairs
            assert (r, r) in pairs[pairs.index((p, q)) + 2 :]
            assert 4 <= len(text) <= 7
            assert energy == baselines.nll(scorer, text)
            kinds |= {len(text) - len(before)} if text != before else set()
            before = text
    assert kinds == {-1, 0, 1}


def test_the_law_of_the_pseudo_likelihood(words, looked_up):
    masked, _ = words
    energies = energies_of(partial(baselines.pseudo_nll, masked), texts(masked, range(2, 3)))
    agree(baselines.pll_chain(masked, list(next(iter(energies)))), energies)


def test_the_law_among_candidates(words, looked_up):
    masked, scorer = words
    energies = energies_of(partial(baselines.nll, scorer), texts(masked, range(2, 3)))
    agree(baselines.rescored(masked, scorer, list(next(iter(energies))), 3), energies)


def test_the_law_of_suffixes(words, looked_up):
    masked, scorer = words
    energies = energies_of(partial(baselines.nll, scorer), texts(masked, range(1, 3)))
    agree(baselines.suffixes(remembering(scorer), list(next(iter(energies))), (1, 2)), energies)


def test_the_law_of_edits(words, looked_up, monkeypatch):
    """With a causal model in the place of the translation's."""
    masked, scorer = words
    monkeypatch.setattr(baselines, "translation_nll", lambda _, source, text: baselines.nll(scorer, text))
    energies = energies_of(partial(baselines.nll, scorer), texts(masked, range(1, 3)))
    agree(baselines.translations(masked, None, [], list(next(iter(energies))), (1, 2)), energies)


def energies_of(energy, among) -> dict[tuple[int, ...], float]:
    with torch.inference_mode():
        return {text: energy(list(text)) for text in among}
