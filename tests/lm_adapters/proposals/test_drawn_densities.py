"""What drawing tells: the density of each draw, and the model's own energy; passes are counted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache

import pytest
import torch

from experiments.results.cost import counted
from lm_adapters import (
    HeldTexts,
    KeywordFill,
    Keywords,
    LeftToRightFill,
    NucleusEnergy,
    SequenceDistribution,
    SequenceEnergy,
    Template,
    TemplateFill,
    Truncation,
)
from lm_adapters.energies.hints import TextHint
from samplers import (
    IndependenceProposal,
    MetropolisHastings,
    TrialsExhausted,
    evaluate,
    importance_sample,
    rejection_sample,
    smc,
)
from samplers.randomness import generator, scoped_global_seed
from tests.lm_adapters.proposals.test_keyword_fill import WIDTH, lm, reader

DRAWS = 200
LOCKS = {
    "one": (["red"], False),
    "two": (["red", "blue"], True),
    "repeated": (["red", "red"], True),
    "of several tokens": (["green grey"], False),
}
TEMPLATES = ("[MASK:2-3]", "[MASK:1-2] blue [MASK:1]", "red [MASK:1-3]")


def whole(truncation: Truncation, fewest: int = 1) -> SequenceDistribution:
    return SequenceDistribution(reader(), min_length=fewest, max_length=WIDTH, truncation=truncation)


@cache
def laws() -> dict[str, Callable[[Truncation], object]]:
    found: dict[str, Callable[[Truncation], object]] = {"whole": whole, "two at least": lambda cut: whole(cut, 2)}
    bounds = {"min_length": 2, "max_length": WIDTH}
    for name, (words, any_order) in LOCKS.items():
        lock = Keywords(lm().space, words, any_order=any_order)
        found[f"held, {name}"] = lambda cut, lock=lock: HeldTexts(whole(cut), lock, tries=6)
        found[f"masked, {name}"] = lambda cut, lock=lock: KeywordFill(lm(), lock, truncation=cut, **bounds)
        found[f"read, {name}"] = lambda cut, lock=lock: LeftToRightFill(reader(), lm(), lock, truncation=cut, **bounds)
    for text in TEMPLATES:
        lock = Template(lm().space, text)
        found[f"masked, {text}"] = lambda cut, lock=lock: TemplateFill(lm(), lock, truncation=cut)
        found[f"read, {text}"] = lambda cut, lock=lock: TemplateFill(lm(), lock, reader=reader(), truncation=cut)
    return found


CUTS = {"plain": Truncation(), "cold": Truncation(0.7), "top-k": Truncation(top_k=5), "top-p": Truncation(top_p=0.8)}
truncations = pytest.mark.parametrize("truncation", CUTS.values(), ids=CUTS)


def drawn(law, count: int = DRAWS):
    with torch.inference_mode(), scoped_global_seed(generator(3)):
        return law.sample_and_log_prob(count)


@truncations
@pytest.mark.parametrize("name", laws())
def test_the_density_and_the_energy_are_those_of_the_draws(name, truncation):
    law = laws()[name](truncation)
    x, log_q, hint = drawn(law)
    with torch.inference_mode(), scoped_global_seed(generator(3)):
        assert torch.equal(x, law.sample(torch.Size([DRAWS])))
    masked = name.startswith("masked")  # in float32, and the reader in float64
    torch.testing.assert_close(log_q, law.log_prob(x), rtol=0, atol=1e-5 if masked else 1e-9)
    assert len(x.unique(dim=0)) > 1
    assert (hint is None) == masked
    if hint is not None:
        assert hint.model is reader()
        torch.testing.assert_close(hint.nlls, SequenceEnergy(reader())(x), rtol=0, atol=1e-9)
        some = torch.tensor([5, 0, 5])
        assert torch.equal(hint[some].nlls, hint.nlls[some])


@truncations
def test_no_other_energy_takes_the_hint(truncation):
    """Whatever the draws were truncated to, ``-log p`` is told; of another law nothing is."""
    x, _, hint = drawn(whole(truncation))
    same, wrong = SequenceEnergy(reader()), TextHint(hint.model, hint.nlls + 1)
    torch.testing.assert_close(evaluate(same, x, hint).energy, same(x), rtol=0, atol=1e-9)
    assert torch.equal(evaluate(same, x, wrong).energy, hint.nlls + 1), "the test sees what is taken"
    others = NucleusEnergy(reader(), 0.8), SequenceEnergy(reader().lm.condition_on("red"))
    for other in others:
        assert torch.equal(evaluate(other, x, wrong).energy, evaluate(other, x).energy)
    half = 0.5 * same + NucleusEnergy(reader(), 0.8, "nucleus")
    torch.testing.assert_close(evaluate(half, x, hint).energy, evaluate(half, x).energy, rtol=0, atol=1e-9)


def test_passes_of_the_reader_do_not_change_what_is_drawn():
    """Rows of any length together, in passes of any size, and without a cache."""
    for name in ("whole", "held, one", "read, two", f"read, {TEMPLATES[1]}"):
        law, model = laws()[name](Truncation(0.7)), reader().lm
        usual, passes, route = drawn(law), model.tokens_per_pass, model.route
        try:
            for model.tokens_per_pass, model.route in ((7, route), (passes, type(route)(cache="none"))):
                x, log_q, hint = drawn(law)
                assert torch.equal(x, usual.x)
                torch.testing.assert_close(log_q, usual.log_q, rtol=0, atol=1e-9)
                torch.testing.assert_close(hint.nlls, usual.hint.nlls, rtol=0, atol=1e-9)
        finally:
            model.tokens_per_pass, model.route = passes, route


@pytest.mark.parametrize("count", [1, 16])
def test_a_text_is_read_once(count):
    """To its last token, one token after the other; not again for its density, nor for its energy."""
    law, energy = whole(Truncation()), SequenceEnergy(reader())
    x = drawn(law, count).x
    one = MetropolisHastings(IndependenceProposal(law))
    state = one.init(x, energy)
    runs = {
        "rejection": lambda: rejection_sample(energy, law, log_bound=0.0, num_samples=count, max_trials=count),
        "importance": lambda: importance_sample(energy, law, num_samples=count),
        "independence": lambda: one.step(state, energy, generator(0)),
    }
    for name, run in runs.items():
        with counted([reader().lm.model]) as cost, suppress(TrialsExhausted):
            run()
        assert cost.forwards <= WIDTH + 1, name
        assert cost.tokens <= count * (WIDTH + 1), name


def test_a_population_begins_with_no_more_than_the_draw():
    law, energy = whole(Truncation()), SequenceEnergy(reader())
    with counted([reader().lm.model]) as cost:
        smc(energy, law, MetropolisHastings(IndependenceProposal(law)), num_particles=8, moves=1, temperatures=[1.0],
            progress=False)  # fmt: skip
    # The draws; a step on the target from them, whose old energies and densities are read anew; who is covered.
    assert cost.forwards <= 2 * (WIDTH + 1) + 3


@pytest.mark.parametrize("reads", [False, True])
def test_keywords_cost_their_draw(reads):
    law = laws()["read, two" if reads else "masked, two"](Truncation())
    models = [lm().model, reader().lm.model]
    with counted(models) as drawing:
        importance_sample(law.lock, law, num_samples=1)
    assert drawing.forwards <= WIDTH + 1 if reads else WIDTH
    with counted(models) as cost:
        importance_sample(law.lock + SequenceEnergy(reader()), law, num_samples=1)
    assert cost.forwards - drawing.forwards == (0 if reads else 1)
