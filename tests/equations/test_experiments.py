"""Chapter 18: what scores of finite samples and a few seeds can say."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import integrate, stats

from unigen_edu import metrics
from unigen_edu.exact.tables import (
    entropy,
    generator_from,
    kl_p_q,
    mutual_information,
    random_distribution,
)

SEEDS = range(10)


def every_sample(states: int, n: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(states), repeat=n)))


def scored(seed: int):
    """A law of images (X,) and what a classifier says of each, (X, K)."""
    g = generator_from(seed)
    return random_distribution(4, generator=g), random_distribution(4, 3, generator=g, spread=3.0)


def log_score(p_x, p_c_given_x):
    return (p_x * kl_p_q(p_c_given_x, (p_x @ p_c_given_x).expand_as(p_c_given_x))).sum()


@pytest.mark.equation("eq-experiments-is-range")
def test_the_inception_score_is_the_information_between_class_and_image(measure):
    for seed in SEEDS:
        p_x, p_c = scored(seed)
        found = log_score(p_x, p_c)
        assert measure("eq-experiments-is-range", found, mutual_information(p_x[:, None] * p_c))
        assert measure("eq-experiments-is-range", 0.0, found, relation="<=")
        assert measure("eq-experiments-is-range", found, entropy(p_x @ p_c), relation="<=")
        assert measure("eq-experiments-is-range", found, math.log(3), relation="<=")
    certain = torch.eye(3, dtype=torch.float64)
    uniform = torch.full((3,), 1 / 3, dtype=torch.float64)
    assert measure("eq-experiments-is-range", log_score(uniform, certain), math.log(3))


@pytest.mark.equation("eq-experiments-is-bias")
@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_log_of_an_estimated_score_is_too_small_by_a_divergence(n, measure):
    for seed in SEEDS:
        p_x, p_c = scored(seed)
        draws = every_sample(4, n)
        weight, each = p_x[draws].prod(1), p_c[draws]
        mean = each.mean(1)
        estimate = kl_p_q(each, mean[:, None].expand_as(each)).mean(1)
        lost = kl_p_q(mean, (p_x @ p_c).expand_as(mean))
        assert measure(
            "eq-experiments-is-bias",
            (weight * estimate).sum(),
            log_score(p_x, p_c) - (weight * lost).sum(),
        )


@pytest.mark.equation("eq-experiments-fd-map")
def test_the_distance_is_the_cost_of_a_linear_map(measure):
    for seed in SEEDS:
        g = generator_from(seed)
        m1, m2 = torch.randn(2, 3, generator=g, dtype=torch.float64)
        roots = torch.randn(2, 3, 8, generator=g, dtype=torch.float64)
        c1, c2 = roots @ roots.mT / 8

        def power(matrix, exponent):
            values, vectors = torch.linalg.eigh(matrix)
            return vectors @ torch.diag(values**exponent) @ vectors.T

        root = power(c1, 0.5)
        T = power(c1, -0.5) @ power(root @ c2 @ root, 0.5) @ power(c1, -0.5)
        stay = torch.eye(3, dtype=torch.float64) - T
        assert torch.allclose(T @ c1 @ T.T, c2, atol=1e-9)
        cost = (m1 - m2).square().sum() + (stay @ c1 @ stay.T).trace()
        found = metrics.gaussian_frechet_distance(m1, c1, m2, c2)
        assert measure("eq-experiments-fd-map", found, cost, tolerance=1e-9)


@pytest.mark.equation("eq-experiments-fd-bias")
@pytest.mark.parametrize("n", [2, 5, 30])
def test_two_samples_of_one_law_are_at_a_positive_distance(n, measure):
    # E s by quadrature over the chi law; the formula uses Gamma functions.
    mean_s, _ = integrate.quad(
        lambda u: u * stats.chi.pdf(u * math.sqrt(n - 1), n - 1) * math.sqrt(n - 1), 0, 20,
        epsabs=1e-13, limit=400,
    )  # fmt: skip
    c = math.sqrt(2 / (n - 1)) * math.gamma(n / 2) / math.gamma((n - 1) / 2)
    assert measure("eq-experiments-fd-bias", mean_s, c, tolerance=1e-9)
    # The whole formula against drawn samples, within four standard errors.
    g = torch.Generator().manual_seed(n)
    a, b = 1.7 * torch.randn(2, 200_000, n, generator=g, dtype=torch.float64)
    drawn = (a.mean(1) - b.mean(1)) ** 2 + (a.std(1) - b.std(1)) ** 2
    error = 4 * drawn.std() / math.sqrt(len(drawn))
    formula = 1.7**2 * (2 / n + 2 - 2 * c**2)
    assert measure("eq-experiments-fd-bias", drawn.mean(), formula, tolerance=float(error))
    # ... and the approximation for large n.
    large = 2 / 400 + 2 - 2 * (2 / 399) * math.exp(2 * (math.lgamma(200) - math.lgamma(199.5)))
    assert large == pytest.approx(3 / 400, rel=0.01)


@pytest.mark.equation("eq-experiments-modes", "eq-experiments-collision")
def test_modes_and_equal_pairs_by_counting(measure):
    for K, n in ((2, 1), (2, 4), (3, 3), (5, 4)):
        reached = [float(len(set(row.tolist()))) for row in every_sample(K, n)]
        formula = K * (1 - (1 - 1 / K) ** n)
        assert measure("eq-experiments-modes", sum(reached) / len(reached), formula)
        assert measure("eq-experiments-modes", metrics.expected_modes(n, K), formula)
    for seed in SEEDS:
        p = random_distribution(4, generator=generator_from(seed))
        draws = every_sample(4, 4)
        pairs = list(itertools.combinations(range(4), 2))
        share = torch.stack([draws[:, i] == draws[:, j] for i, j in pairs]).double().mean(0)
        assert measure(
            "eq-experiments-collision", (p[draws].prod(1) * share).sum(), p.square().sum()
        )


@pytest.mark.equation("eq-experiments-paired")
def test_the_variance_of_a_difference(measure):
    for seed in SEEDS:
        g = generator_from(seed)
        law = random_distribution(12, generator=g)
        a, b = torch.randn(2, 12, generator=g, dtype=torch.float64)

        def mean(v, law=law):
            return (law * v).sum()

        def covariance(v, w):
            return mean(v * w) - mean(v) * mean(w)

        d = b - a
        assert measure(
            "eq-experiments-paired",
            mean((d - mean(d)) ** 2),
            covariance(a, a) + covariance(b, b) - 2 * covariance(a, b),
        )


@pytest.mark.equation(
    "eq-experiments-interval", "eq-experiments-three", "eq-experiments-signs", "eq-experiments-best"
)
def test_what_few_seeds_say(measure):
    t2 = 0.95 * math.sqrt(2 / (1 - 0.95**2))
    assert measure("eq-experiments-three", t2, stats.t.ppf(0.975, 2), tolerance=1e-9)
    # The interval covers the true difference in 95 % of experiments: +-4 standard errors.
    for n in (3, 10):
        g = torch.Generator().manual_seed(n)
        drawn = 0.3 + 2 * torch.randn(200_000, n, generator=g, dtype=torch.float64)
        half = stats.t.ppf(0.975, n - 1) * drawn.std(1) / math.sqrt(n)
        covered = ((drawn.mean(1) - 0.3).abs() <= half).double().mean()
        error = 4 * math.sqrt(0.95 * 0.05 / len(drawn))
        assert measure("eq-experiments-interval", covered, 0.95, tolerance=error)
    for n in (1, 2, 3, 6):
        signs = torch.tensor(list(itertools.product((-1, 1), repeat=n)))
        one_sign = (signs.sum(1).abs() == n).double().mean()
        assert measure("eq-experiments-signs", one_sign, 2.0 ** (1 - n))
    best, _ = integrate.quad(
        lambda z: z * 3 * stats.norm.cdf(z) ** 2 * stats.norm.pdf(z), -12, 12, epsabs=1e-13
    )
    assert measure("eq-experiments-best", best, 3 / (2 * math.sqrt(math.pi)), tolerance=1e-9)
