"""Every sampler on one text model small enough to enumerate, each beside the exact answer.

The model: sentences of a fixed number of words from a vocabulary of six, with a bigram energy and a wish (the more
often "cat" comes, the better). Its point: rejection and importance sampling draw whole texts, and what they pay for one
useful draw grows exponentially with the length; a Markov chain that changes one word at a time pays about linearly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from samplers import EnergyTerm, Proposal

__all__ = ["Row", "command", "toy"]

WORDS = ("the", "a", "cat", "dog", "sees", "sleeps")
# Nats for the second word after the first; the last row is the start of the text.
BIGRAMS = (
    #   the    a   cat   dog  sees  sleeps
    (5.0, 5.0, 0.5, 1.0, 4.0, 4.0),  # the
    (5.0, 5.0, 1.0, 0.5, 4.0, 4.0),  # a
    (4.0, 4.0, 5.0, 4.0, 0.8, 1.0),  # cat
    (4.0, 4.0, 4.0, 5.0, 1.0, 0.8),  # dog
    (0.7, 0.9, 3.0, 3.0, 5.0, 5.0),  # sees
    (1.5, 1.5, 2.0, 2.0, 4.0, 4.0),  # sleeps
    (0.5, 1.0, 3.0, 3.0, 4.0, 4.0),  # start
)
WISH = 1.0  # nats that each "cat" is worth
CAT = WORDS.index("cat")
CHAINS, WARMUP = 100, 50  # a step of a few more chains takes hardly longer
PER_DRAW = 12  # steps of chains, whose draws depend on each other, in place of an independent draw
TOGETHER = 5  # words that vary inside a part of the enumeration


@dataclass(frozen=True)
class Row:
    """One sampler at one length. ``estimate`` is of the expected number of cats; ``rows_per_draw`` counts the texts
    scored for one effective draw (annealing: for one chain's run; its estimate is the lowest energy found)."""

    sampler: str
    length: int
    exact: float
    estimate: float
    error: float
    rows_per_draw: float


def toy(*, lengths: tuple[int, ...] = (2, 4, 6, 8), draws: int = 4000, seed: int = 0) -> list[Row]:
    """Run every sampler at every length. Raises ``InvalidInput`` for lengths that cannot be enumerated."""
    from samplers import InvalidInput

    if not lengths or min(lengths) < 1 or max(lengths) > 8:
        raise InvalidInput(f"lengths {lengths} are out of range; 1 to 8 words can be enumerated here")
    if draws < 100:
        raise InvalidInput(f"draws is {draws}; give at least 100, or nothing can be told")
    return [row for length in lengths for row in _rows(length, draws, seed)]


def _rows(length: int, draws: int, seed: int) -> Iterator[Row]:
    import torch

    from samplers import (
        CallCounter,
        Gibbs,
        MetropolisHastings,
        TrialsExhausted,
        anneal,
        diagnose,
        generator,
        geometric,
        importance_sample,
        rejection_sample,
        sample,
    )

    energy, uniform = toy_energy(), _uniform(length)
    exact_cats, lowest = enumerate_exactly(length)
    bound = -lowest + length * math.log(len(WORDS))
    try:
        exact_draws = rejection_sample(
            energy, uniform, log_bound=bound, num_samples=draws, seed=seed, max_trials=2_000_000, batch_size=2**16
        )
    except TrialsExhausted as exhausted:
        exact_draws = exhausted.result
    cats = count_cats(exact_draws.x)
    error = float(cats.std()) / math.sqrt(len(cats))
    yield Row("rejection", length, exact_cats, float(cats.mean()), error, exact_draws.trials / exact_draws.accepted)

    weighted = importance_sample(energy, uniform, num_samples=draws * 10, seed=seed)
    mean = float(weighted.expectation(count_cats))
    spread = float(weighted.expectation(lambda x: (count_cats(x) - mean) ** 2))
    error = math.sqrt(spread / weighted.ess)
    yield Row("importance", length, exact_cats, mean, error, draws * 10 / weighted.ess)

    start = torch.randint(len(WORDS), (CHAINS, length), generator=generator(seed, stream="starts"))
    steps = PER_DRAW * draws // CHAINS + WARMUP
    for name, kernel in (
        ("Metropolis-Hastings", MetropolisHastings(one_word_proposal())),
        ("Gibbs", Gibbs(len(WORDS))),
    ):
        counter = CallCounter(energy)
        trace = sample(kernel, counter, start, steps=steps, warmup=WARMUP, seed=seed, progress=False)
        facts = diagnose(count_cats(trace.draws))
        yield Row(name, length, exact_cats, facts.mean, facts.mcse, counter.rows / facts.ess_bulk)

    counter = CallCounter(energy)
    kernel = MetropolisHastings(one_word_proposal())
    best = anneal(kernel, counter, start, schedule=geometric(4.0, 0.05), steps=200, seed=seed, progress=False)
    yield Row("annealing", length, lowest, float(best.energy.min()), 0.0, counter.rows / CHAINS)


def toy_energy() -> EnergyTerm:
    """``x int64 [chains, words] -> [chains]`` nats."""
    import torch

    from samplers import named

    table = torch.tensor(BIGRAMS, dtype=torch.float64)

    def bigrams(x: Tensor) -> Tensor:
        before = torch.cat([torch.full_like(x[:, :1], len(WORDS)), x[:, :-1]], dim=1)
        return table[before, x].sum(dim=1)

    return named("bigrams", bigrams) + named("cats", lambda x: -WISH * count_cats(x))


def count_cats(x: Tensor) -> Tensor:
    return (x == CAT).sum(dim=-1).double()


def enumerate_exactly(length: int) -> tuple[float, float]:
    """Expected number of cats, and the lowest energy, over all ``6 ** length`` texts."""
    import torch

    energy, words = toy_energy(), torch.arange(len(WORDS))
    inner = min(length, TOGETHER)
    last = torch.cartesian_prod(*[words] * inner).reshape(-1, inner)
    log_weights, cats = [], []
    for first in product(range(len(WORDS)), repeat=length - inner):  # all at once would take 600 MB
        x = torch.cat([torch.tensor(first, dtype=torch.int64).expand(len(last), -1), last], dim=1)
        log_weights.append(-energy(x))
        cats.append(count_cats(x))
    log_weight = torch.cat(log_weights)
    return float((torch.softmax(log_weight, dim=0) * torch.cat(cats)).sum()), -float(log_weight.max())


def one_word_proposal() -> Proposal:
    """Put a uniform word at a uniform place: symmetric."""
    import torch

    from samplers import Proposed

    class OneWord:
        move_names = ("one word",)

        def __call__(self, x: Tensor, rng: torch.Generator) -> Proposed:
            site = torch.randint(x.shape[1], (len(x), 1), generator=rng)
            word = torch.randint(len(WORDS), (len(x), 1), generator=rng)
            log_q = torch.full((len(x),), -math.log(x.shape[1] * len(WORDS)), dtype=torch.float64)
            return Proposed(x.scatter(1, site, word), log_q, log_q)

        def log_prob(self, x_to: Tensor, x_from: Tensor) -> Tensor:
            differ = (x_to != x_from).sum(dim=1)
            ways = torch.where(differ == 0, x_to.shape[1], (differ == 1).long()).double()
            return (ways / (x_to.shape[1] * len(WORDS))).log()

    return OneWord()


def _uniform(length: int) -> torch.distributions.Distribution:
    import torch
    from torch.distributions import Categorical, Independent

    return Independent(Categorical(torch.ones(length, len(WORDS), dtype=torch.float64)), 1)


@click.command("toy")
@click.option("--draws", type=click.IntRange(100, 10**6), default=4000, show_default=True, help="Of each sampler.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def command(draws: int, seed: int) -> None:
    """Every sampler on a text model small enough to enumerate, beside the exact answer."""
    rows = toy(draws=draws, seed=seed)
    click.echo("Expected number of cats (annealing: lowest energy, nats), and texts scored for one effective draw\n")
    click.echo(f"{'sampler':<20} {'words':>5} {'exact':>9} {'estimate':>9} {'error':>7} {'texts/draw':>11}")
    names = list(dict.fromkeys(row.sampler for row in rows))
    for row in sorted(rows, key=lambda row: names.index(row.sampler)):
        error = "-" if row.sampler == "annealing" else f"{row.error:.4f}"
        click.echo(
            f"{row.sampler:<20} {row.length:>5} {row.exact:>9.4f} {row.estimate:>9.4f} {error:>7} "
            f"{row.rows_per_draw:>11,.1f}"
        )
    click.echo(f"\n{_moral(rows)}")


def _moral(rows: list[Row]) -> str:
    cost = {(row.sampler, row.length): row.rows_per_draw for row in rows}
    short, long = min(row.length for row in rows), max(row.length for row in rows)
    growth = {name: cost[name, long] / cost[name, short] for name in ("rejection", "importance", "Gibbs")}
    return (
        f"From {short} to {long} words one draw became {growth['rejection']:,.0f} times dearer by rejection, "
        f"{growth['importance']:,.0f} times by importance, {growth['Gibbs']:,.1f} times by Gibbs."
    )
