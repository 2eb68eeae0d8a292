"""Whitening, CUR and distances of clouds against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence
from torch.testing import assert_close

from lm_adapters import CrossScores, MeanPooled, Similarity, Whitened, cloud_distances
from samplers import InvalidInput
from samplers.randomness import generator
from samplers.testing import check_energy
from tests.lm_adapters import tiny

TEXTS = [f"{a} {b} {c}" for a in "abcd" for b in "efg" for c in "hij"]


@pytest.fixture(scope="module")
def encoder() -> MeanPooled:
    lm = tiny.build("bert", scale=5.0)
    return MeanPooled(lm.model, lm.space.tokenizer)


@pytest.mark.parametrize(("beta", "gamma"), [(1.0, 1.0), (1.0, 0.5), (0.5, 1.0)])
def test_second_moments_of_whitened_vectors(encoder, beta, gamma):
    whitened = Whitened.fit(encoder, TEXTS, dims=5, beta=beta, gamma=gamma)
    raw = encoder.embed(TEXTS)
    moved = (raw - beta * raw.mean(dim=0)) @ whitened.map
    variances = torch.linalg.eigvalsh((raw - beta * raw.mean(0)).T @ (raw - beta * raw.mean(0)) / len(raw)).flip(0)[:5]
    assert_close(moved.T @ moved / len(raw), torch.diag(variances ** (1 - gamma)), rtol=1e-6, atol=1e-9)
    assert_close(whitened.embed(TEXTS), torch.nn.functional.normalize(moved, dim=1))


def test_without_beta_and_gamma_cosines_stay(encoder):
    whitened = Whitened.fit(encoder, TEXTS, dims=99, beta=0.0, gamma=0.0)
    before, after = encoder.embed(TEXTS), whitened.embed(TEXTS)
    assert_close(after @ after.T, before @ before.T, rtol=1e-5, atol=1e-5)


def test_texts_that_looked_alike_are_told_apart(encoder):
    before, after = (each.embed(TEXTS) for each in (encoder, Whitened.fit(encoder, TEXTS)))
    assert (before @ before.T).mean() > 0.5
    assert abs((after @ after.T).mean()) < 0.1


def test_a_similarity_on_it_is_an_energy(encoder):
    energy = Similarity(encoder.space, Whitened.fit(encoder, TEXTS, dims=4), "a e h")
    check_energy(energy, encoder.space.encode(TEXTS[:6]))
    assert float(energy(encoder.space.encode(["a e h"]))) == pytest.approx(0.0, abs=1e-9)
    other = Similarity(encoder.space, Whitened.fit(encoder, TEXTS, dims=4, gamma=0.5), "a e h")
    assert energy.encoder.config()["fitted"] != other.encoder.config()["fitted"]


@pytest.mark.parametrize(
    ("texts", "dims", "problem"),
    [(TEXTS, 0, "dims is 0"), (["a", "a"], 4, "there are 1 different texts"), ([], 4, "there are 0 different texts")],
)
def test_what_cannot_be_fitted(encoder, texts, dims, problem):
    with pytest.raises(InvalidInput, match=problem):
        Whitened.fit(encoder, texts, dims=dims)


ITEMS = [f"{a} {b}" for a in "abcdef" for b in "ghij"]


def low_rank(texts, items):
    """Scores of rank 3: of vectors that the letters of a text and of an item have."""
    rows, columns = (torch.stack([torch.tensor([math.sin(7 * sum(map(ord, t)) + k) for k in range(3)]) for t in ts])
                     for ts in (texts, items))  # fmt: skip
    return rows.double() @ columns.double().T


def test_an_approximation_of_enough_anchors_is_exact():
    space = tiny.words_lm([*"abcdefghij"]).space
    whole = CrossScores(space, low_rank, ITEMS)
    texts = ["a b", "c d e", "f"]
    cheap = whole.anchored(TEXTS, 8)
    assert_close(cheap.scores(texts), whole.scores(texts), rtol=1e-6, atol=1e-8)
    assert_close(cheap(space.encode(texts)), -low_rank(texts, ITEMS).max(dim=1).values, rtol=1e-6, atol=1e-8)
    assert not torch.allclose(whole.anchored(TEXTS, 1).scores(texts), whole.scores(texts))
    assert len(cheap.anchors) == 8


def test_only_anchors_are_scored():
    seen = []

    def score(texts, items):
        seen.append(len(texts) * len(items))
        return low_rank(texts, items)

    cheap = CrossScores(tiny.words_lm([*"abcdefghij"]).space, score, ITEMS).anchored(TEXTS, 4)
    seen.clear()
    cheap.scores(["a", "b"])
    assert seen == [8]


@pytest.mark.parametrize(("queries", "anchors"), [([], 2), (["a"], 0), (["a"], len(ITEMS) + 1)])
def test_approximations_that_cannot_be(queries, anchors):
    with pytest.raises(InvalidInput):
        CrossScores(tiny.words_lm([*"abcdefghij"]).space, low_rank, ITEMS).anchored(queries, anchors)


def test_distances_of_two_gaussians():
    rng = generator(1)
    size = 4
    shapes = [torch.randn(size, size, generator=rng, dtype=torch.float64) for _ in range(2)]
    laws = [
        MultivariateNormal(torch.full((size,), 0.3 * k, dtype=torch.float64), s @ s.T + torch.eye(size))
        for k, s in enumerate(shapes)
    ]
    clouds = [
        law.mean + torch.randn(200_000, size, generator=rng, dtype=torch.float64) @ law.scale_tril.T for law in laws
    ]
    found = cloud_distances(*clouds, ridge=1e-9)
    assert found.kl == pytest.approx(float(kl_divergence(*laws)), rel=0.05)
    middle = MultivariateNormal(laws[0].mean, (laws[0].covariance_matrix + laws[1].covariance_matrix) / 2)
    shift = laws[0].mean - laws[1].mean
    dets = [law.covariance_matrix.logdet() for law in (*laws, middle)]
    exact = shift @ middle.precision_matrix @ shift / 8 + (dets[2] - (dets[0] + dets[1]) / 2) / 2
    assert found.bhattacharyya == pytest.approx(float(exact), rel=0.05)


def test_distances_of_numbers_have_their_closed_form():
    a, b = torch.tensor([[-1.0], [1.0]]), torch.tensor([[0.0], [4.0]])  # means 0 and 2, standard deviations r, 2r
    found = cloud_distances(a, b, ridge=0.0)
    assert found.wasserstein == pytest.approx(math.sqrt(4 + 2))
    assert found.kl == pytest.approx((2 / 8 + 4 / 8 - 1 + math.log(4)) / 2)
    assert found.bhattacharyya == pytest.approx(4 / 5 / 8 + math.log(5 / math.sqrt(16)) / 2)


def test_a_cloud_is_at_no_distance_of_itself_and_order_of_rows_is_nothing():
    cloud = torch.randn(50, 30, generator=generator(2))
    assert max(cloud_distances(cloud, cloud.flip(0))) < 1e-6


@pytest.mark.parametrize(
    ("a", "b", "problem"),
    [
        (torch.zeros(3, 2), torch.zeros(3, 3), "of one dim"),
        (torch.zeros(1, 2), torch.zeros(3, 2), "at least two each"),
        (torch.ones(3, 2), torch.ones(3, 2), "nothing to compare"),
    ],
)
def test_clouds_that_cannot_be_compared(a, b, problem):
    with pytest.raises(InvalidInput, match=problem):
        cloud_distances(a, b)
