"""Chapter 5: every labelled equation, on random tables, by quadrature, or in closed form.

One side is written out here with plain sums; the other is the package's, or autograd's. What is
claimed of every discriminator is measured over many random ones.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from unigen_edu import data, metrics
from unigen_edu.exact.checks import gradient
from unigen_edu.exact.continuous import normal_quadrature
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.tables import generator_from

SEEDS = range(8)
WORLDS = [GANWorld.random(seed, n_x=4 + seed % 3) for seed in SEEDS]
LOG4 = math.log(4)


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of strictly positive tables, as a plain sum."""
    return sum((a * (a / b).log() for a, b in zip(p, q, strict=True)), torch.zeros(()))


def two_jsd(p: Tensor, q: Tensor) -> Tensor:
    m = (p + q) / 2
    return kl(p, m) + kl(q, m)


def value(w: GANWorld, D: Tensor) -> Tensor:
    """V = E_data log D + E_g log(1 - D), state by state."""
    terms = zip(w.p_data, w.p_g(), D, strict=True)
    return sum((b * d.log() + c * (1 - d).log() for b, c, d in terms), torch.zeros(()))


def some_discriminators(w: GANWorld, n: int = 50) -> Tensor:
    """n random D with 0 < D < 1.  (n, X)"""
    g = generator_from(len(w.p_data))
    return torch.randn(n, len(w.p_data), generator=g, dtype=torch.float64).mul(2).sigmoid()


def frozen(loss, w: GANWorld, D: Tensor) -> Tensor:
    """Gradient in theta, at theta0, of E_{p_g} loss(D), D held fixed."""
    return gradient(lambda t: (t.softmax(0) * loss(D)).sum(), w.theta0)


# ---- the value of the game -----------------------------------------------------------------------


@pytest.mark.equation("eq-gan-sum", "eq-gan-optimal", "eq-gan-ratio")
def test_the_value_is_a_sum_whose_maximum_is_the_density_ratio(measure):
    for w in WORLDS:
        assert measure("eq-gan-sum", w.value_function(), value(w, w.D))
        star = w.p_data / (w.p_data + w.p_g())
        for D in some_discriminators(w):
            assert measure("eq-gan-optimal", value(w, D), value(w, star), relation="<=")
            assert measure("eq-gan-optimal", value(w, D), value(w, star), 1e-6, relation="!=")
        slope = gradient(lambda a, w=w: w.value_function(phi=a), star.logit())
        assert measure("eq-gan-optimal", slope, torch.zeros_like(slope))
        assert measure("eq-gan-optimal", w.optimal_discriminator(), star)
        best = w.with_optimal_discriminator()
        assert measure("eq-gan-ratio", best.D / (1 - best.D), w.p_data / w.p_g())
        assert measure("eq-gan-ratio", best.phi0, w.p_data.log() - w.p_g().log())


@pytest.mark.equation("eq-gan-pointwise")
def test_the_slope_of_one_summand(measure):
    b, c = torch.tensor([0.3, 0.02]).double(), torch.tensor([0.1, 0.5]).double()
    for u in torch.linspace(0.05, 0.95, 19).double():
        slope = gradient(lambda u, b=b, c=c: (b * u.log() + c * (1 - u).log()).sum(), u.expand(2))
        assert measure("eq-gan-pointwise", slope, (b - (b + c) * u) / (u * (1 - u)))


@pytest.mark.equation("eq-gan-jsd", "eq-gan-insert", "eq-gan-gap", "eq-gan-bound")
def test_the_largest_value_and_what_others_miss(measure):
    for w in WORLDS:
        p_data, p_g = w.p_data, w.p_g()
        star = w.optimal_discriminator()
        largest = value(w, star)
        assert measure("eq-gan-jsd", largest, two_jsd(p_data, p_g) - LOG4)
        assert measure("eq-gan-jsd", w.with_optimal_discriminator().value_function(), largest)
        two_m = p_data + p_g
        inserted = (p_data * (p_data / two_m).log()).sum() + (p_g * (p_g / two_m).log()).sum()
        assert measure("eq-gan-insert", largest, inserted)
        for D in some_discriminators(w, 10):
            coins = torch.stack(
                [
                    kl(torch.stack([s, 1 - s]), torch.stack([d, 1 - d]))
                    for s, d in zip(star, D, strict=True)
                ]
            )
            assert measure("eq-gan-gap", largest - value(w, D), (two_m * coins).sum())
            bound = value(w, D) / 2 + math.log(2)
            assert measure("eq-gan-bound", bound, two_jsd(p_data, p_g) / 2, relation="<=")


@pytest.mark.equation("eq-gan-saddle")
def test_the_equilibrium_is_a_saddle_point_and_the_only_one(measure):
    for w in WORLDS:
        half = torch.full_like(w.p_data, 0.5)
        at_data = GANWorld.from_tables(w.p_data, w.p_data)
        for D in some_discriminators(w):
            assert measure("eq-gan-saddle", value(at_data, D), -LOG4, relation="<=")
        assert measure("eq-gan-saddle", value(at_data, half), -LOG4)
        assert measure("eq-gan-saddle", w.with_discriminator(half).value_function(), -LOG4)
        best = value(w, w.optimal_discriminator())
        assert measure("eq-gan-saddle", best, -LOG4, 1e-4, relation="!=")


# ---- the generator's losses ----------------------------------------------------------------------


@pytest.mark.equation("eq-gan-slopes", "eq-gan-undetached")
def test_slopes_in_the_logit(measure):
    a = torch.linspace(-8, 8, 33, dtype=torch.float64)
    D = 1 / (1 + (-a).exp())
    assert measure("eq-gan-slopes", gradient(lambda a: (1 - torch.sigmoid(a)).log().sum(), a), -D)
    assert measure("eq-gan-slopes", gradient(lambda a: -torch.sigmoid(a).log().sum(), a), D - 1)
    both = gradient(lambda a: -(torch.sigmoid(a) * torch.sigmoid(-a)).log().sum(), a)
    assert measure("eq-gan-undetached", both, 2 * D - 1)


@pytest.mark.equation("eq-gan-envelope", "eq-gan-nonsaturating")
def test_what_both_losses_reduce_at_the_optimal_discriminator(measure):
    for w in WORLDS:
        star = w.optimal_discriminator()
        best = w.with_optimal_discriminator()
        jsd = gradient(lambda t, w=w: two_jsd(w.p_data, t.softmax(0)), w.theta0)
        reverse_kl = gradient(lambda t, w=w: kl(t.softmax(0), w.p_data), w.theta0)
        for found in (
            frozen(lambda d: (1 - d).log(), w, star),
            gradient(best.minimax_loss, w.theta0),
        ):
            assert measure("eq-gan-envelope", found, jsd)
        for found in (
            frozen(lambda d: -d.log(), w, star),
            gradient(best.non_saturating_loss, w.theta0),
        ):
            assert measure("eq-gan-nonsaturating", found, reverse_kl - jsd)
        # Not for another discriminator, and not with the gradient through D*.
        other = frozen(lambda d: (1 - d).log(), w, w.D)
        assert measure("eq-gan-envelope", other, jsd, 1e-4, relation="!=")
        through = gradient(
            lambda t, w=w: -(t.softmax(0) * (w.p_data / (w.p_data + t.softmax(0))).log()).sum(),
            w.theta0,
        )
        assert measure("eq-gan-nonsaturating", through, reverse_kl - jsd, 1e-4, relation="!=")


@pytest.mark.equation("eq-gan-gaussian", "eq-gan-vanish")
def test_two_normal_distributions(measure):
    noise, weight = normal_quadrature(160)
    x = torch.linspace(-25, 25, 200_001, dtype=torch.float64)

    def density(x: Tensor, mean: float) -> Tensor:
        return (-0.5 * (x - mean) ** 2).exp() / math.sqrt(2 * math.pi)

    for mu in (0.5, 1.0, 3.0, 6.0):

        def slope(loss, mu=mu) -> Tensor:
            def at(m: Tensor) -> Tensor:
                x = m + noise
                # log p_data - log p_g with the mu that the discriminator was trained for
                return (weight * loss(0.5 * (x - mu) ** 2 - 0.5 * x**2)).sum()

            return gradient(at, torch.tensor(mu, dtype=torch.float64))

        p_data, p_g = density(x, 0.0), density(x, mu)
        width = x[1] - x[0]
        star = p_data / (p_data + p_g)
        on_samples = (p_g * star)[1:-1].sum() * width
        # Gauss-Hermite meets a sigmoid of slope mu: the error is that of the quadrature.
        assert measure("eq-gan-gaussian", slope(lambda a: logsigmoid(-a)), mu * on_samples, 1e-6)
        assert measure(
            "eq-gan-gaussian", slope(lambda a: -logsigmoid(a)), mu * (1 - on_samples), 1e-6
        )
        half_root = 0.5 * (p_data * p_g).sqrt().sum() * width
        assert measure("eq-gan-vanish", on_samples, half_root, relation="<=")
        assert measure("eq-gan-vanish", half_root, 0.5 * math.exp(-(mu**2) / 8))


@pytest.mark.equation("eq-gan-disjoint")
def test_nothing_in_common(measure):
    for distance in (1, 2, 5):
        p_data, p_g = torch.zeros(12).double(), torch.zeros(12).double()
        p_data[:3] = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
        p_g[3 + distance : 5 + distance] = 0.5
        w = GANWorld.from_tables(p_data, p_g)
        assert measure("eq-gan-disjoint", w.jsd_unweighted(), math.log(2))
        seen = (p_data + p_g) > 0
        D = (p_data / (p_data + p_g))[seen]
        assert measure("eq-gan-disjoint", D * (1 - D), torch.zeros_like(D))


# ---- dynamics ------------------------------------------------------------------------------------


@pytest.mark.equation("eq-gan-dirac")
def test_the_smallest_gan(measure):
    for theta, phi in itertools.product((-2.0, -0.3, 0.01, 0.7, 3.0), repeat=2):
        D = [1 / (1 + math.exp(-phi * x)) for x in (0.0, theta)]  # at the datum, at the sample
        game = math.log(D[0]) + math.log(1 - D[1])
        stated = -math.log(2) + logsigmoid(torch.tensor(-theta * phi, dtype=torch.float64))
        assert measure("eq-gan-dirac", game, stated)
        error = abs(game + LOG4 + theta * phi / 2)
        assert measure("eq-gan-dirac", error, (theta * phi) ** 2 / 8, relation="<=")


@pytest.mark.equation("eq-gan-rotation", "eq-gan-alternating", "eq-gan-penalty")
def test_steps_in_the_bilinear_game(measure):
    g = generator_from(0)
    for h, gamma in itertools.product((0.01, 0.15, 0.9), (0.1, 0.4, 1.5)):
        theta, phi = torch.randn(2, generator=g, dtype=torch.float64)
        v = torch.stack([theta, phi])

        def steps_on_theta_times_phi(v, h=h):
            slope = gradient(lambda v: v[0] * v[1], v)
            return torch.stack([v[0] - h * slope[0], v[1] + h * slope[1]])

        new = steps_on_theta_times_phi(v)
        assert measure("eq-gan-rotation", new.square().sum(), (1 + h**2) * v.square().sum())

        def ellipse(theta, phi, h=h):
            return theta**2 + phi**2 + h * theta * phi

        new_phi = phi + h * theta
        new_theta = theta - h * new_phi
        assert measure("eq-gan-alternating", ellipse(new_theta, new_phi), ellipse(theta, phi))

        def penalised(v, h=h, gamma=gamma):
            payoff = gradient(lambda v: v[0] * v[1] - gamma / 2 * v[1] ** 2, v)
            return torch.stack(
                [v[0] - h * gradient(lambda v: v[0] * v[1], v)[0], v[1] + h * payoff[1]]
            )

        matrix = torch.tensor([[1.0, -h], [h, 1 - h * gamma]], dtype=torch.float64)
        assert measure("eq-gan-penalty", penalised(v), matrix @ v)
        sizes = torch.linalg.eigvals(matrix).abs().square()
        assert measure("eq-gan-penalty", sizes, torch.full_like(sizes, 1 - h * gamma + h**2))


# ---- collapse and its measures -------------------------------------------------------------------


@pytest.mark.equation("eq-gan-reply")
def test_the_best_reply_to_a_fixed_discriminator_is_one_image(measure):
    for w in WORLDS:
        most = w.D.log().max()
        for seed in range(5):
            p_g = w.other_theta(seed).softmax(0)
            assert measure("eq-gan-reply", (p_g * w.D.log()).sum(), most, relation="<=")
        point = torch.zeros_like(w.D)
        point[w.D.argmax()] = 1.0
        assert measure("eq-gan-reply", (point * w.D.log()).sum(), most)


@pytest.mark.equation("eq-gan-coverage", "eq-gan-expected")
def test_coverage(measure):
    ring = data.toy("ring")
    counts = torch.tensor([5, 0, 10, 3, 1, 1, 0, 30])
    points = ring.centres.repeat_interleave(counts, 0).float()
    share = counts[counts > 0].double() / counts.sum()
    by_hand = math.log(8) + (share * share.log()).sum()
    assert measure("eq-gan-coverage", metrics.modes_covered(points, ring).kl_hist_uniform, by_hand)
    uniform = torch.full_like(share, 1 / 8)
    assert measure("eq-gan-coverage", kl(share, uniform), by_hand)
    for j in range(1, 9):
        found = metrics.modes_covered(ring.centres[:j].repeat(4, 1).float(), ring)
        assert measure("eq-gan-coverage", found.kl_hist_uniform, math.log(8 / j))
    for n, K in ((3, 3), (4, 2), (5, 4)):  # all K^n draws
        seen = [len(set(draws)) for draws in itertools.product(range(K), repeat=n)]
        assert measure("eq-gan-expected", sum(seen) / K**n, K * (1 - (1 - 1 / K) ** n))
        assert measure("eq-gan-expected", metrics.expected_modes(n, K), sum(seen) / K**n)


@pytest.mark.equation("eq-gan-birthday")
def test_no_duplicates(measure):
    for s, N in ((2, 5), (3, 4), (4, 6)):
        different = [len(set(draws)) == s for draws in itertools.product(range(N), repeat=s)]
        product = math.prod(1 - i / N for i in range(s))
        assert measure("eq-gan-birthday", sum(different) / N**s, product)


@pytest.mark.equation("eq-gan-frechet")
def test_the_frechet_distance_of_two_gaussians(measure):
    g = generator_from(0)
    for _ in range(5):
        m1, m2 = torch.randn(2, 3, generator=g, dtype=torch.float64)
        s1, s2 = torch.rand(2, 3, generator=g, dtype=torch.float64)
        turn = torch.linalg.qr(torch.randn(3, 3, generator=g, dtype=torch.float64)).Q
        C1, C2 = (turn @ (s**2).diag() @ turn.T for s in (s1, s2))
        found = metrics.gaussian_frechet_distance(m1, C1, m2, C2)
        # Commuting covariances: squared differences of means and of standard deviations.
        assert measure("eq-gan-frechet", found, ((m1 - m2) ** 2).sum() + ((s1 - s2) ** 2).sum())
        A = torch.randn(3, 3, generator=g, dtype=torch.float64)
        C2 = A @ A.T + 0.1 * torch.eye(3)
        values, vectors = torch.linalg.eigh(C1)
        root = vectors @ values.sqrt().diag() @ vectors.T
        inner = torch.linalg.eigvalsh(root @ C2 @ root).clamp(min=0).sqrt().sum()
        stated = ((m1 - m2) ** 2).sum() + C1.trace() + C2.trace() - 2 * inner
        assert measure("eq-gan-frechet", metrics.gaussian_frechet_distance(m1, C1, m2, C2), stated)
