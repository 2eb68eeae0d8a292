"""A causal model as a distribution over texts: what is drawn has the probability that is told, and they add up to 1."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor

from lm_adapters import SequenceEnergy
from lm_adapters.models.causal_lm import CausalLM
from lm_adapters.proposals.sequence_distribution import SequenceDistribution
from lm_adapters.proposals.truncation import Truncation
from samplers import Constraint, Energy, InvalidInput, importance_sample, rejection_sample
from samplers.randomness import generator, scoped_global_seed
from samplers.testing.gates import kl_gate, kl_statistic, pool
from samplers.testing.targets import Enumerated, enumerate_states
from tests.lm_adapters import tiny_causal

WORDS = ("red", "green", "blue", "grey")
LONGEST = 3
DRAWS = 2**13
TRUNCATIONS = {
    "whole": Truncation(),
    "hot": Truncation(temperature=1.7),
    "top-k": Truncation(top_k=2),
    "top-p": Truncation(top_p=0.7),
    "all three": Truncation(temperature=0.7, top_k=3, top_p=0.9),
}
truncations = pytest.mark.parametrize("truncation", TRUNCATIONS.values(), ids=list(TRUNCATIONS))
classes = pytest.mark.parametrize("name", tiny_causal.CLASSES)


@cache
def lm() -> CausalLM:
    return tiny_causal.words_lm(WORDS, seed=1, scale=6.0)


@cache
def texts(shortest: int = 1, longest: int = LONGEST, width: int = LONGEST) -> Tensor:
    """Every text of those lengths."""
    words = lm().space.encode([" ".join(WORDS)])[0]
    parts = [words[enumerate_states(len(WORDS), length)] for length in range(shortest, longest + 1)]
    pad = lm().space.pad_id
    return torch.cat([torch.nn.functional.pad(part, (0, width - part.shape[1]), value=pad) for part in parts])


def distribution(
    truncation: Truncation | None = None, shortest: int = 1, longest: int = LONGEST
) -> SequenceDistribution:
    return SequenceDistribution(lm().condition_on(), min_length=shortest, max_length=longest, truncation=truncation)


def drawn(law: SequenceDistribution, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Texts with the log-probabilities that they were drawn with."""
    empty = torch.full((count, law.max_length), law.model.space.pad_id)
    new = law.redraw(empty, empty.new_zeros(count), generator(seed))
    return new.x, new.scores[:, 0].sum(dim=1)


def strain(x: Tensor, states: Tensor, law: Tensor) -> float:
    """``n * KL`` of the states ``x`` to ``law`` over its gate: above 1 is a rejection."""
    space = Enumerated(states, lambda y: torch.zeros(len(y)))
    counts, law = pool(torch.bincount(space.index(x), minlength=len(states)), law)
    return kl_statistic(counts, law) / kl_gate(int((law > 0).sum()))


@truncations
@pytest.mark.parametrize("shortest", [1, 2, 3])
def test_probabilities_add_up_to_one(shortest: int, truncation: Truncation):
    total = distribution(truncation, shortest).log_prob(texts(shortest)).logsumexp(0)
    assert abs(float(total)) < 1e-12


@truncations
@pytest.mark.parametrize("shortest", [1, 3])
def test_draws_follow_the_probabilities(shortest: int, truncation: Truncation):
    law = distribution(truncation, shortest)
    x, _ = drawn(law, DRAWS, 1)
    assert strain(x, texts(shortest), law.log_prob(texts(shortest)).exp()) < 1


def test_the_law_is_far_from_flat_and_has_every_length():
    law = distribution().log_prob(texts()).exp()
    lengths = lm().space.lengths(texts())
    assert float(law.max()) > 5 * float(law.median())
    assert all(float(law[lengths == length].sum()) > 0.05 for length in (1, 2, 3))


@truncations
def test_log_prob_is_the_product_by_hand(truncation: Truncation):
    """One forward pass a token; the truncation spelled out anew."""
    model, words = lm(), set(lm().space.encode([" ".join(WORDS)])[0].tolist())
    law = distribution(truncation, shortest=2)
    for row in texts(2)[::7]:
        read, total = [model.start_id], 0.0
        for place, token in enumerate([*row[row != model.space.pad_id].tolist(), model.eos_id]):
            scores = model.model(input_ids=torch.tensor([read])).logits[0, -1] / truncation.temperature
            kept = words | ({model.eos_id} if place >= 2 else set())
            ranked = sorted(kept, key=lambda i: -float(scores[i]))[: truncation.top_k]
            weights = torch.stack([scores[i] for i in ranked]).softmax(0)
            needed = int((weights.cumsum(0) < truncation.top_p).sum()) + 1
            weights = dict(zip(ranked[:needed], (weights[:needed] / weights[:needed].sum()).tolist(), strict=True))
            if place < LONGEST:
                total += math.log(weights[token]) if token in weights else -math.inf
            read.append(token)
        assert float(law.log_prob(row)) == pytest.approx(total, abs=1e-10)


@classes
@truncations
@pytest.mark.parametrize("prompt", ["", "We do not like"], ids=["no prompt", "prompt"])
@pytest.mark.parametrize(("double", "exact"), [(False, 1e-5), (True, 1e-10)], ids=["float32", "float64"])
def test_what_is_told_when_a_text_is_drawn_is_what_is_told_when_it_is_scored(
    name: str, truncation: Truncation, prompt: str, double: bool, exact: float
):
    given = built(name, double).condition_on(prompt)
    law = SequenceDistribution(given, max_length=6, truncation=truncation)
    x, log_prob = drawn(law, 40, 2)
    assert float(log_prob.std()) > 0.1
    torch.testing.assert_close(law.log_prob(x), log_prob, atol=exact, rtol=0)
    cut = torch.arange(40) % (given.space.lengths(x) + 1)
    new = law.redraw(x, cut, generator(3))
    assert all(torch.equal(new.x[row, :n], x[row, :n]) for row, n in enumerate(cut.tolist()))
    behind = (torch.arange(7) >= cut.unsqueeze(1)).unsqueeze(1)
    told = law.token_scores(new.x).where(behind, 0.0)
    torch.testing.assert_close(told, new.scores, atol=exact, rtol=0)
    torch.testing.assert_close(
        SequenceEnergy(given.lm.condition_on(prompt))(x), law.token_scores(x)[:, 1].sum(dim=1), atol=exact, rtol=0
    )
    plain = law.redraw(x, cut, generator(3), score_end=False)
    assert torch.equal(plain.x, new.x)
    torch.testing.assert_close(plain.scores[:, 0], new.scores[:, 0], atol=exact, rtol=0)


@cache
def built(name: str, double: bool = False) -> CausalLM:
    return tiny_causal.build(name, double=double)


@classes
def test_only_proposable_tokens_are_drawn_and_no_length_is_exceeded(name: str):
    model = built(name)
    law = SequenceDistribution(model.condition_on(), min_length=2, max_length=5, truncation=Truncation(temperature=3.0))
    x, _ = drawn(law, 1500, 4)
    lengths = model.space.lengths(x)
    assert x.shape == (1500, 5)
    assert int(lengths.min()) >= 2
    assert len(lengths.unique()) > 1
    inside = torch.arange(5) < lengths.unsqueeze(1)
    assert model.allowed[x[inside]].all()
    assert (x[~inside] == model.space.pad_id).all()


@pytest.mark.parametrize("tokens_per_pass", [1, 7, 10**6])
def test_draws_and_probabilities_do_not_depend_on_the_budget(tokens_per_pass: int):
    cut = CausalLM(lm().model, lm().space.tokenizer, tokens_per_pass=tokens_per_pass)
    x, log_prob = drawn(SequenceDistribution(cut.condition_on(), max_length=LONGEST), 60, 5)
    expected, expected_log_prob = drawn(distribution(), 60, 5)
    assert torch.equal(x, expected)
    torch.testing.assert_close(log_prob, expected_log_prob, atol=1e-10, rtol=0)
    again = SequenceDistribution(cut.condition_on(), max_length=LONGEST).log_prob(x)
    torch.testing.assert_close(again, log_prob, atol=1e-10, rtol=0)


def test_texts_that_cannot_be_drawn_have_no_probability():
    law = distribution(shortest=2, longest=2)
    x = texts(1, 3, 5)
    lengths = lm().space.lengths(x)
    assert torch.equal(law.log_prob(x).isfinite(), lengths == 2)
    unknown = x[lengths == 2][:1].clone()
    unknown[0, 1] = lm().space.tokenizer.unk_token_id
    assert float(law.log_prob(unknown)) == -math.inf
    torch.testing.assert_close(law.log_prob(x[lengths == 2]), law.log_prob(x[lengths == 2][:, :2]))


def test_shapes_are_those_of_torch_distributions():
    law = distribution()
    with scoped_global_seed(generator(0)):
        assert law.sample().shape == (LONGEST,)
        x = law.sample(torch.Size([2, 5]))
    assert x.shape == (2, 5, LONGEST)
    assert x.dtype == torch.int64
    assert law.log_prob(x).shape == (2, 5)
    assert law.log_prob(x).dtype == torch.float64
    assert law.log_prob(x[0, 0]).shape == ()


def test_sample_reads_the_global_generator_and_redraw_does_not():
    law = distribution()
    draws = []
    for _ in range(2):
        with scoped_global_seed(generator(7)):
            draws.append(law.sample((20,)))
    assert torch.equal(*draws)
    before = torch.get_rng_state()
    drawn(law, 5, 0)
    assert torch.equal(torch.get_rng_state(), before)


def few_words(x: Tensor) -> Tensor:
    """A target that the model knows nothing of: no word twice, at least two."""
    words = torch.stack([(x == word).sum(dim=1) for word in texts(1, 1)[:, 0]])
    return (words.amax(dim=0) == 1) & (words.sum(dim=0) >= 2)


def target() -> tuple[Energy, Tensor, float]:
    """An energy, its law over ``texts()`` and the log of its normaliser."""
    energy = SequenceEnergy(lm().condition_on()) + Constraint("no word twice", few_words)
    nats = energy(texts())
    return energy, (-nats).softmax(0), float((-nats).logsumexp(0))


def test_rejection_sampling_of_texts():
    energy, law, log_z = target()
    log_q = distribution().log_prob(texts())
    bound = float((-energy(texts()) - log_q).max())
    assert bound < 0  # what is renormalised over fewer tokens can only be likelier
    result = rejection_sample(energy, distribution(), log_bound=bound, num_samples=2000, seed=1)
    assert strain(result.x, texts(), law) < 1
    assert strain(result.x, texts(), log_q.exp()) > 1
    rate = math.exp(log_z - bound)
    assert abs(result.acceptance - rate) < 6 * math.sqrt(rate * (1 - rate) / result.trials)


def test_importance_sampling_of_texts():
    energy, law, log_z = target()
    result = importance_sample(energy, distribution(TRUNCATIONS["hot"]), num_samples=DRAWS, seed=1)
    assert result.log_z == pytest.approx(log_z, abs=0.1)
    assert result.ess > 100
    seen = result.expectation(lambda x: (x.unsqueeze(1) == texts()).all(dim=2))
    assert float((seen - law).abs().max()) < 6 * math.sqrt(0.25 / result.ess)


@pytest.mark.parametrize(("shortest", "longest"), [(0, 3), (4, 3), (-1, -1)])
def test_lengths_that_cannot_be(shortest: int, longest: int):
    message = f"min_length={shortest}, max_length={longest}: give 1 <= min_length <= max_length"
    with pytest.raises(InvalidInput, match=message):
        distribution(shortest=shortest, longest=longest)


def test_a_length_beyond_the_model():
    with pytest.raises(InvalidInput, match="max_length is 24, the model takes 23 tokens; lower it"):
        distribution(longest=24)
    assert distribution(longest=23).sample((3,)).shape == (3, 23)
