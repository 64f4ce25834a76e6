"""Chapter 1: every labelled equation, on random tables, by enumeration or by quadrature.

The divergences are written out here once more, from their definitions, as sums over outcomes; the
functions of the package stand on the other side. Inequalities are measured with "<=".
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from unigen_edu.divergences import F_DIVERGENCES, FDivergence
from unigen_edu.exact.checks import gradient
from unigen_edu.exact.tables import (
    entropy,
    generator_from,
    jsd,
    jsd_weighted,
    kl_p_q,
    mutual_information,
    posterior,
    random_distribution,
    table,
)

SEEDS = range(8)
GENERATOR = generator_from(11)
PAIRS = [
    (random_distribution(5, generator=GENERATOR), random_distribution(5, generator=GENERATOR))
    for _ in SEEDS
]
# p(y) and p(x|y), rows y; every second world has even weights.
URNS = [
    (
        table([0.5, 0.5]) if i % 2 else random_distribution(2, generator=GENERATOR),
        random_distribution(2, 4, generator=GENERATOR),
    )
    for i in SEEDS
]
JOINTS = [
    tuple(random_distribution(12, generator=GENERATOR).reshape(4, 3) for _ in range(2))
    for _ in SEEDS
]
CHANNELS = [random_distribution(5, 3, generator=GENERATOR) for _ in SEEDS]
GENERATORS = list(F_DIVERGENCES.values())
DIVERGENCES = [d for d in GENERATORS if d.name != "gan"]  # f(1) = 0


def surprise(p: Tensor, q: Tensor) -> float:
    """-sum p log q, one outcome after the other."""
    return -sum(a * math.log(b) for a, b in zip(p.tolist(), q.tolist(), strict=True) if a > 0)


def kl(p: Tensor, q: Tensor) -> float:
    return surprise(p, q) - surprise(p, p)


def tv(p: Tensor, q: Tensor) -> float:
    return sum(abs(a - b) for a, b in zip(p.tolist(), q.tolist(), strict=True)) / 2


def js_by_hand(p: Tensor, q: Tensor) -> float:
    m = (p + q) / 2
    return (kl(p, m) + kl(q, m)) / 2


def d_f(d: FDivergence, p: Tensor, q: Tensor) -> float:
    return sum(float(b * d.f(a / b)) for a, b in zip(p, q, strict=True))


def slope_at_one(d: FDivergence) -> float:
    """f'(1), by autograd."""
    return float(gradient(lambda u: d.f(u), table(1.0)))


def prices(d: FDivergence) -> tuple[float, float]:
    """f(0) and the limit of f(u)/u, infinite if they grow without end."""
    near, far = (float(d.f(table(u))) for u in (1e-100, 1e-200))
    at_zero = far if abs(far - near) < 1 else math.inf
    near, far = (float(d.f(table(u))) / u for u in (1e60, 1e120))
    return at_zero, far if abs(far - near) < 1 else math.inf


# ---- entropy and KL ----------------------------------------------------------------------------


@pytest.mark.equation("eq-divergences-range", "eq-divergences-excess", "eq-divergences-gibbs")
def test_surprise_in_excess(measure):
    for p, q in PAIRS:
        assert measure("eq-divergences-range", 0.0, surprise(p, p), relation="<=")
        assert measure("eq-divergences-range", entropy(p), math.log(5), relation="<=")
        assert measure("eq-divergences-excess", surprise(p, q), entropy(p) + kl_p_q(p, q))
        assert measure("eq-divergences-gibbs", 0.0, kl(p, q), relation="<=")
        assert measure("eq-divergences-gibbs", kl_p_q(p, p), 0.0)
        assert kl(p, q) > 1e-4
    certain, fair = table([0.0, 1.0, 0.0]), table([1 / 3, 1 / 3, 1 / 3])
    assert measure("eq-divergences-range", entropy(certain), 0.0)
    assert measure("eq-divergences-range", entropy(fair), math.log(3))


@pytest.mark.equation("eq-divergences-tangent", "eq-divergences-proof", "eq-divergences-slack")
def test_the_tangent_of_the_logarithm(measure):
    t = torch.logspace(-6, 6, 401, dtype=torch.float64)
    assert measure("eq-divergences-tangent", t.log(), t - 1, relation="<=")
    assert measure("eq-divergences-tangent", table(1.0).log(), 0.0)
    assert ((t - 1 - t.log())[(t - 1).abs() > 0.02] > 1e-4).all()
    for p, q in PAIRS:
        holed = table([0.0, *p[1:]]) / p[1:].sum()
        for first in (p, holed):
            has = first > 0
            tangent = (first[has] * (q[has] / first[has] - 1)).sum()
            assert measure("eq-divergences-proof", -kl(first, q), tangent, relation="<=")
            assert measure("eq-divergences-proof", tangent, q[has].sum() - 1)
            assert measure("eq-divergences-proof", tangent, 0.0, relation="<=")
        bracket = q / p - 1 - (q / p).log()
        assert (bracket >= 0).all()
        assert measure("eq-divergences-slack", (p * bracket).sum(), kl(p, q))
        # Where p has a hole that q has not, the bracket's mean is too low by q's mass there.
        inside = holed > 0
        ratio = q[inside] / holed[inside]
        mean = (holed[inside] * (ratio - 1 - ratio.log())).sum()
        assert measure("eq-divergences-slack", mean + q[0], kl(holed, q))
        assert measure("eq-divergences-slack", mean, kl(holed, q), tolerance=1e-3, relation="!=")


@pytest.mark.equation("eq-divergences-likelihood", "eq-divergences-gradients")
def test_gradients_of_both_orders(measure):
    for p, q in PAIRS:
        theta = q.log()
        # grad log q(x) of a softmax: rows x, an indicator minus q.
        scores = torch.eye(5, dtype=torch.float64) - q
        forward = gradient(lambda t, p=p: kl_p_q(p, t.softmax(-1)), theta)
        backward = gradient(lambda t, p=p: kl_p_q(t.softmax(-1), p), theta)
        likelihood = gradient(lambda t, p=p: (p * t.log_softmax(-1)).sum(), theta)
        assert measure("eq-divergences-likelihood", forward, -likelihood)
        assert measure("eq-divergences-gradients", forward, -p @ scores)
        assert measure("eq-divergences-gradients", backward, (q * (q / p).log()) @ scores)
        assert measure("eq-divergences-likelihood", backward, -likelihood, 1e-4, relation="!=")


@pytest.mark.equation("eq-divergences-moments")
def test_the_covering_normal_has_the_moments_of_the_target(measure):
    x = torch.linspace(-30, 30, 6001, dtype=torch.float64)
    for left in (0.5, 0.3, 0.8):
        p = left * torch.exp(-((x + 2) ** 2)) + (1 - left) * torch.exp(-((x - 3) ** 2) / 4)
        p = p / p.sum()
        mean = (p * x).sum()
        sd = (p * (x - mean) ** 2).sum().sqrt()

        def misfit(mu, s, p=p):
            return float((p * ((x - mu) ** 2 / (2 * s**2) + math.log(s))).sum())

        at = torch.stack([mean, sd])
        slope = gradient(
            lambda t, p=p: (p * ((x - t[0]) ** 2 / (2 * t[1] ** 2) + t[1].log())).sum(), at
        )
        assert measure("eq-divergences-moments", slope, torch.zeros(2))
        best = misfit(float(mean), float(sd))
        for shift, stretch in itertools.product((-0.5, 0.0, 0.5), (0.7, 1.0, 1.4)):
            other = misfit(float(mean) + shift, float(sd) * stretch)
            assert measure("eq-divergences-moments", best, other, relation="<=")


@pytest.mark.equation("eq-divergences-missed", "eq-divergences-energy")
def test_the_price_of_a_missed_part(measure):
    for p, q in PAIRS:
        for size in (1, 2, 3, 4):
            kept = p[:size].sum()
            restricted = torch.cat([p[:size] / kept, torch.zeros(5 - size).double()])
            assert measure("eq-divergences-missed", kl(restricted, p), -math.log(kept))
            assert measure("eq-divergences-missed", kl_p_q(p, restricted), math.inf)
        for z in (0.2, 7.0):
            mean_energy = float((q * (z * p).log()).sum())
            assert measure(
                "eq-divergences-energy", kl(q, p), -surprise(q, q) - mean_energy + math.log(z)
            )


# ---- several variables -------------------------------------------------------------------------


@pytest.mark.equation("eq-divergences-chain", "eq-divergences-marginal", "eq-divergences-product")
def test_the_chain_rule(measure):
    for p, q in JOINTS:
        p_x, q_x = p.sum(1), q.sum(1)
        inner = table([kl(p[i] / p_x[i], q[i] / q_x[i]) for i in range(4)])
        pair = kl_p_q(p.flatten(), q.flatten())
        assert measure("eq-divergences-chain", pair, kl_p_q(p_x, q_x) + p_x @ inner)
        assert measure(
            "eq-divergences-chain", pair, kl_p_q(p_x, q_x) + q_x @ inner, 1e-4, relation="!="
        )
        assert measure("eq-divergences-marginal", kl(p_x, q_x), pair, relation="<=")
        assert measure("eq-divergences-marginal", kl(p.sum(0), q.sum(0)), pair, relation="<=")
        three_p = torch.einsum("i,j,k->ijk", p_x, p[0] / p_x[0], p[1] / p_x[1]).flatten()
        three_q = torch.einsum("i,j,k->ijk", q_x, q[0] / q_x[0], q[1] / q_x[1]).flatten()
        assert measure(
            "eq-divergences-product", kl(three_p, three_q), kl(p_x, q_x) + inner[:2].sum()
        )


@pytest.mark.equation("eq-divergences-processing", "eq-divergences-f-processing")
def test_processing_brings_closer(measure):
    merge = table([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1]])  # a deterministic channel
    relabel = torch.eye(5, dtype=torch.float64)[[3, 1, 4, 0, 2]]
    for (p, q), channel in zip(PAIRS, CHANNELS, strict=True):
        for k in (channel, merge, relabel):
            assert measure("eq-divergences-processing", kl(p @ k, q @ k), kl(p, q), relation="<=")
            for d in GENERATORS:
                after, before = d_f(d, p @ k, q @ k), d_f(d, p, q)
                assert measure("eq-divergences-f-processing", after, before, relation="<=")
        assert measure("eq-divergences-processing", kl(p @ relabel, q @ relabel), kl(p, q))
        assert kl(p @ channel, p @ CHANNELS[0].flip(0)) > 1e-4  # two channels


# ---- Jensen-Shannon ----------------------------------------------------------------------------


@pytest.mark.equation(
    "eq-divergences-compensation",
    "eq-divergences-jsd-information",
    "eq-divergences-jsd-bounds",
    "eq-divergences-classify",
    "eq-divergences-posterior",
)
def test_three_readings_of_the_jsd(measure):
    g = generator_from(12)
    for p_y, urns in URNS:
        p_x = p_y[0] * urns[0] + p_y[1] * urns[1]
        by_hand = sum(float(p_y[y]) * kl(urns[y], p_x) for y in (0, 1))
        r = random_distribution(4, generator=g)
        assert measure(
            "eq-divergences-compensation",
            sum(float(p_y[y]) * kl(urns[y], r) for y in (0, 1)),
            by_hand + kl(p_x, r),
        )
        joint = p_y[:, None] * urns
        h_y_given_x = sum(float(p_x[x]) * surprise(*[joint[:, x] / p_x[x]] * 2) for x in range(4))
        h_x_given_y = sum(float(p_y[y]) * surprise(urns[y], urns[y]) for y in (0, 1))
        assert measure("eq-divergences-jsd-information", by_hand, jsd_weighted(p_y, urns))
        assert measure("eq-divergences-jsd-information", by_hand, mutual_information(joint))
        assert measure("eq-divergences-jsd-information", by_hand, surprise(p_y, p_y) - h_y_given_x)
        assert measure("eq-divergences-jsd-information", by_hand, surprise(p_x, p_x) - h_x_given_y)
        for low, high in itertools.pairwise((0.0, by_hand, surprise(p_y, p_y), math.log(2))):
            assert measure("eq-divergences-jsd-bounds", low, high, relation="<=")
        apart = torch.zeros(2, 4, dtype=torch.float64)
        apart[0, :2], apart[1, 2:] = 0.5, 0.5
        assert measure("eq-divergences-jsd-bounds", jsd_weighted(p_y, apart), surprise(p_y, p_y))
        assert measure("eq-divergences-jsd-bounds", jsd_weighted(p_y, urns[[0, 0]]), 0.0)

        a = torch.randn(4, generator=g, dtype=torch.float64)
        q = torch.stack([torch.sigmoid(-a), torch.sigmoid(a)])
        excess = sum(float(p_x[x]) * kl(joint[:, x] / p_x[x], q[:, x]) for x in range(4))
        assert measure(
            "eq-divergences-classify",
            (joint * q.log()).sum(),
            by_hand - surprise(p_y, p_y) - excess,
        )
        logit = (urns[1] / urns[0]).log() + (p_y[1] / p_y[0]).log()
        assert measure("eq-divergences-posterior", joint[1] / p_x, 1 / (1 + torch.exp(-logit)))
        assert measure(
            "eq-divergences-posterior", posterior(p_y, urns)[1], 1 / (1 + torch.exp(-logit))
        )


# ---- total variation ---------------------------------------------------------------------------


@pytest.mark.equation(
    "eq-divergences-event",
    "eq-divergences-accuracy",
    "eq-divergences-pinsker",
    "eq-divergences-squeeze",
)
def test_total_variation(measure):
    events = [list(e) for n in range(6) for e in itertools.combinations(range(5), n)]
    assert len(events) == 32
    for p, q in PAIRS:
        best = max(float((p - q)[event].sum()) for event in events)
        assert measure("eq-divergences-event", tv(p, q), best)
        # Every rule that names an urn for each ball: the best of all 32.
        right = max(float(p[e].sum() + 1 - q[e].sum()) / 2 for e in events)
        assert measure("eq-divergences-accuracy", right, (1 + tv(p, q)) / 2)
        for first, second in ((p, q), (q, p)):
            bound = math.sqrt(kl(first, second) / 2)
            assert measure("eq-divergences-pinsker", tv(first, second), bound, relation="<=")
        assert measure("eq-divergences-squeeze", tv(p, q) ** 2 / 2, js_by_hand(p, q), relation="<=")
        assert measure("eq-divergences-squeeze", jsd(p, q), tv(p, q) * math.log(2), relation="<=")
    a, b = torch.meshgrid(*[torch.linspace(0.001, 0.999, 200).double()] * 2, indexing="ij")
    coins = a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log()
    assert measure("eq-divergences-pinsker", 2 * (a - b) ** 2, coins, relation="<=")


# ---- f-divergences -----------------------------------------------------------------------------


@pytest.mark.equation("eq-divergences-f-slope", "eq-divergences-f-gibbs", "eq-divergences-f-range")
def test_generators_up_to_a_tangent(measure):
    u = torch.logspace(-4, 4, 201, dtype=torch.float64)
    for d in DIVERGENCES:
        slope = slope_at_one(d)
        above = d.f(u) - slope * (u - 1)
        assert measure("eq-divergences-f-gibbs", torch.zeros_like(u), above, relation="<=")
        at_zero, at_infinity = prices(d)
        for p, q in PAIRS:
            value = d_f(d, p, q)
            tilted = sum(
                float(b * (d.f(a / b) + 1.7 * (a / b - 1))) for a, b in zip(p, q, strict=True)
            )
            assert measure("eq-divergences-f-slope", tilted, value)
            assert measure("eq-divergences-f-slope", d.divergence(p, q), value)
            assert measure("eq-divergences-f-gibbs", 0.0, value, relation="<=")
            assert measure("eq-divergences-f-range", value, at_zero + at_infinity, relation="<=")
        if math.isfinite(at_zero + at_infinity):
            # No outcome in common, reached as a limit: a mass of eps on the other's side.
            eps = 1e-13
            p, q = table([1 - eps, eps]), table([eps, 1 - eps])
            assert measure("eq-divergences-f-range", d_f(d, p, q), at_zero + at_infinity, 1e-5)
            # The tangent shifts one price against the other.
            assert at_zero + slope >= -1e-12
            assert at_infinity - slope >= -1e-12
    assert sum(math.isfinite(sum(prices(d))) for d in DIVERGENCES) >= 2


@pytest.mark.equation("eq-divergences-f-slope")
def test_a_tilt_changes_nothing_across_holes(measure):
    """P visits a place that Q does not: the limit term takes part in the cancellation."""
    p, q = table([0.2, 0.3, 0.5]), table([0.4, 0.6, 0.0])
    for d in DIVERGENCES:
        _, at_infinity = prices(d)
        if not math.isfinite(at_infinity):
            continue
        for c in (0.0, 1.7, -0.6):
            inside = sum(
                float(b * (d.f(a / b) + c * (a / b - 1))) for a, b in zip(p[:2], q[:2], strict=True)
            )
            plain = d_f(d, p[:2], q[:2]) + at_infinity * 0.5
            assert measure("eq-divergences-f-slope", inside + (at_infinity + c) * 0.5, plain)


@pytest.mark.equation("eq-divergences-f-swap", "eq-divergences-f-local")
def test_exchange_and_the_quadratic_around_the_target(measure):
    for d in DIVERGENCES:
        curvature = float(gradient(lambda u, d=d: d.derivative(u), table(1.0)))
        for p, q in PAIRS:
            swapped = sum(float(b * (a / b) * d.f(b / a)) for a, b in zip(p, q, strict=True))
            assert measure("eq-divergences-f-swap", swapped, d_f(d, q, p))
            h = (q - p) / 10
            quadratic = curvature * float((h**2 / p).sum()) / 2
            # Odd powers cancel in the mean of +eps and -eps: what is left is of order eps^2.
            off = [
                (d_f(d, p + e * h, p) + d_f(d, p - e * h, p)) / (2 * e * e) - quadratic
                for e in (2e-2, 1e-2)
            ]
            assert abs(off[1]) < abs(off[0]) / 3 + 1e-9
            assert measure("eq-divergences-f-local", (4 * off[1] - off[0]) / 3, 0.0, tolerance=1e-6)


@pytest.mark.equation("eq-divergences-variational", "eq-divergences-legendre")
def test_divergences_are_maxima_over_functions(measure):
    g = generator_from(13)
    for d in GENERATORS:
        r = torch.tensor([0.2, 0.7, 1.0, 1.9, 4.0], dtype=torch.float64)
        t = d.derivative(r)
        assert measure("eq-divergences-legendre", d.conjugate(t), r * t - d.f(r), tolerance=1e-9)
        # The conjugate by brute force: the largest of u t - f(u) on a fine grid.
        u = torch.logspace(-3, 3, 60_001, dtype=torch.float64)
        brute = (u * t[:, None] - d.f(u)).max(1).values
        assert measure("eq-divergences-legendre", brute, r * t - d.f(r), tolerance=1e-6)
        for p, q in PAIRS:
            best = d.derivative(p / q)
            bound = (p * best).sum() - (q * d.conjugate(best)).sum()
            assert measure("eq-divergences-variational", bound, d_f(d, p, q), tolerance=1e-9)
            for _ in range(10):
                v = torch.randn(5, generator=g, dtype=torch.float64)
                value = d.bound(p, q, v)
                assert measure("eq-divergences-variational", value, d_f(d, p, q), relation="<=")


# ---- supports, densities, samples --------------------------------------------------------------


@pytest.mark.equation("eq-divergences-disjoint")
def test_no_outcome_in_common(measure):
    for p, q in PAIRS:
        zero = torch.zeros(5, dtype=torch.float64)
        left, right = torch.cat([p, zero]), torch.cat([zero, q])
        assert measure("eq-divergences-disjoint", kl_p_q(left, right), math.inf)
        assert measure("eq-divergences-disjoint", kl_p_q(right, left), math.inf)
        assert measure("eq-divergences-disjoint", jsd(left, right), math.log(2))
        assert measure("eq-divergences-disjoint", tv(left, right), 1.0)


def normal(x: Tensor, mean: float, sd: float) -> Tensor:
    return torch.exp(-0.5 * ((x - mean) / sd) ** 2) / (sd * math.sqrt(2 * math.pi))


@pytest.mark.equation("eq-divergences-normal", "eq-divergences-invariance")
def test_normals_and_other_coordinates(measure):
    x = torch.linspace(-12, 12, 9601, dtype=torch.float64)
    dx = x[1] - x[0]
    for m1, s1, m2, s2 in ((0.0, 1.0, 0.0, 1.0), (0.5, 0.7, -1.0, 1.2), (1.0, 1.1, 0.2, 0.6)):
        p, q = normal(x, m1, s1), normal(x, m2, s2)
        log_ratio = math.log(s2 / s1) - ((x - m1) / s1) ** 2 / 2 + ((x - m2) / s2) ** 2 / 2
        integral = (p * log_ratio).sum() * dx
        closed = math.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5
        assert measure("eq-divergences-normal", integral, closed, tolerance=1e-9)
        # w = x + sin(x)/2 and w = x^3 + x, integrated on a grid of w.
        for jacobian in (1 + torch.cos(x) / 2, 3 * x**2 + 1):
            p_w, q_w = p / jacobian, q / jacobian
            has = (p_w > 1e-290) & (q_w > 1e-290)
            terms = p_w[has] * (p_w[has] / q_w[has]).log() * (jacobian[has] * dx)
            assert measure("eq-divergences-invariance", terms.sum(), closed, tolerance=1e-9)


@pytest.mark.equation("eq-divergences-invariance")
def test_relabelling_outcomes_changes_nothing(measure):
    for p, q in PAIRS:
        order = [4, 2, 0, 1, 3]
        assert measure("eq-divergences-invariance", kl(p[order], q[order]), kl(p, q))


@pytest.mark.equation("eq-divergences-monte-carlo", "eq-divergences-plugin")
def test_estimates_from_every_possible_sample(measure):
    n = 4
    for p, q in PAIRS[:4]:
        ell = (p / q).log()
        mean = square = h_mean = kl_mean = 0.0
        for sample in itertools.product(range(5), repeat=n):
            at = list(sample)
            weight = float(p[at].prod())
            estimate = float(ell[at].mean())
            mean += weight * estimate
            square += weight * estimate**2
            histogram = torch.bincount(torch.tensor(at), minlength=5).double() / n
            h_mean += weight * surprise(histogram, histogram)
            kl_mean += weight * kl(histogram, p)
        variance = float((p * ell**2).sum()) - kl(p, q) ** 2
        assert measure("eq-divergences-monte-carlo", mean, kl(p, q))
        assert measure("eq-divergences-monte-carlo", square - mean**2, variance / n)
        assert measure("eq-divergences-plugin", h_mean, surprise(p, p) - kl_mean)


@pytest.mark.equation("eq-divergences-plugin")
def test_the_bias_of_counting_for_many_draws(measure):
    """Two outcomes: E KL(p^ || p) summed over all counts, n times it tends to 1/2."""
    for heads in (0.5, 0.3):
        p = table([heads, 1 - heads])
        scaled = []
        for n in (200, 400):
            log_weight = [
                math.lgamma(n + 1)
                - math.lgamma(k + 1)
                - math.lgamma(n - k + 1)
                + k * math.log(heads)
                + (n - k) * math.log(1 - heads)
                for k in range(n + 1)
            ]
            values = [kl(table([k / n, 1 - k / n]), p) for k in range(n + 1)]
            scaled.append(n * sum(math.exp(w) * v for w, v in zip(log_weight, values, strict=True)))
        assert measure("eq-divergences-plugin", 2 * scaled[1] - scaled[0], 0.5, tolerance=1e-4)


def test_a_95_percent_interval_holds_the_truth_in_95_percent_of_experiments():
    """4000 experiments: the share is within four of its own standard errors (0.0034 each)."""
    p, q = PAIRS[0]
    draws = torch.multinomial(p, 4000 * 400, replacement=True, generator=generator_from(14))
    ell = (p / q).log()[draws].reshape(4000, 400)
    half = 1.96 * ell.std(1) / 20
    held = ((ell.mean(1) - kl(p, q)).abs() <= half).double().mean()
    assert abs(float(held) - 0.95) < 0.014
