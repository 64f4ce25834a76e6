"""Chapter 15: every labelled equation, in worlds small enough to list all groups of draws.

The other side of each comparison is written out here: groups by `itertools.product`, weights from
their definition, gradients by autograd or by central differences. What a limit claims is measured
at two values of k and extrapolated.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from unigen_edu.declarations import Batch
from unigen_edu.exact.checks import gap, gradient, jacobian
from unigen_edu.exact.continuous import GaussianGANWorld, normal_log_density, normal_quadrature
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.importance import (
    ConditionalImportanceWorld,
    FiniteNoiseWorld,
    ImportanceWorld,
    effective_sample_size,
    iwae_bound,
    iwae_weights,
    log_mean_bound_by_counts,
    logit_curl,
    logit_field,
)
from unigen_edu.exact.networks import FiniteNoiseDiscriminator, FiniteNoiseGenerator
from unigen_edu.exact.vae import VAEWorld
from unigen_edu.models.gan import GAN
from unigen_edu.models.iwgan import IWGAN

SEEDS = range(6)
UNIFORM = [ImportanceWorld.random(seed) for seed in SEEDS]
WORLDS = UNIFORM + [ImportanceWorld.random(seed, n_x=3, p_y=(0.3, 0.7)) for seed in SEEDS]
BEST = [ImportanceWorld(w.gan.with_optimal_discriminator()) for w in WORLDS]
NOISY = [FiniteNoiseWorld.random(seed) for seed in SEEDS]
AUTOENCODERS = [VAEWorld.random(seed, n_x=2, n_z=3) for seed in SEEDS]
SMOOTH = {k: GaussianGANWorld.counterexample(k).with_nodes(101) for k in (1, 2)}
RIPPLED = SMOOTH[2].with_ripple((0.3, 0.5))


def every_group(n: int, k: int) -> list[list[int]]:
    return [list(group) for group in itertools.product(range(n), repeat=k)]


def mean_over_groups(p: Tensor, k: int, f: Callable[[list[int]], Tensor]) -> Tensor:
    """E f(x_1..x_k), x_i ~ p independent, one group after the other."""
    return sum(p[group].prod() * f(group) for group in every_group(len(p), k))


def bound(p: Tensor, w: Tensor, k: int) -> Tensor:
    """E log (1/k) sum_i w(x_i)."""
    return mean_over_groups(p, k, lambda group: w[group].mean().log())


def weighted(p: Tensor, w: Tensor, f: Tensor, k: int) -> Tensor:
    """E sum_i w~_i f(x_i).  f: (X, ...)"""
    return mean_over_groups(
        p, k, lambda group: torch.tensordot(w[group] / w[group].sum(), f[group], dims=1)
    )


def counted(p: Tensor, w: Tensor, k: int) -> Tensor:
    return weighted(p, w, torch.eye(len(p), dtype=torch.float64), k)


def posterior_of_generated(w: ImportanceWorld) -> Tensor:
    """p_theta0(y|x) as a table [y, x]."""
    joint = w.gan.p_y[:, None] * torch.stack([w.gan.theta0.softmax(0), w.gan.p_data])
    return joint / joint.sum(0)


def numerical_jacobian(field: Callable[[Tensor], Tensor], at: Tensor, h: float = 1e-5) -> Tensor:
    """J[i, j] = d field_i / d at_j by central differences."""
    shifts = h * torch.eye(len(at), dtype=torch.float64)
    return torch.stack([(field(at + s) - field(at - s)) / (2 * h) for s in shifts], dim=1)


# ---- the bound of the autoencoder --------------------------------------------------------------


@pytest.mark.equation("eq-iwgan-evidence")
def test_the_mean_weight_is_the_evidence(measure):
    for w in AUTOENCODERS:
        p_x = sum(w.p_z_given_y[0][z] * w.p_x_given_z()[z] for z in range(3))
        mean = (w.q_z_given_x() * iwae_weights(w)).sum(1)
        assert measure("eq-iwgan-evidence", mean, p_x)
    # A proposal that misses a code finds only the rest of the evidence.
    q, joint = torch.tensor([0.0, 0.4, 0.6]).double(), AUTOENCODERS[0].p_xz()[0]
    assert gap((q[1:] * (joint[1:] / q[1:])).sum(), joint[1:].sum()) < 1e-12
    assert joint[0] > 1e-4


@pytest.mark.equation("eq-iwgan-ladder")
def test_the_bound_climbs_to_the_log_evidence(measure):
    for w in AUTOENCODERS:
        q, joint = w.q_z_given_x(), w.p_xz()
        for x in range(2):
            rungs = [bound(q[x], joint[x] / q[x], k) for k in (1, 2, 3, 4)]
            assert measure("eq-iwgan-ladder", rungs[0], w.elbo()[x])
            assert measure("eq-iwgan-ladder", rungs[2], iwae_bound(w, 3)[x])
            for low, high in itertools.pairwise([*rungs, joint[x].sum().log()]):
                assert measure("eq-iwgan-ladder", low, high, relation="<=")
                assert high - low > 1e-6
            # Every rung is the same if the proposal is the posterior.
            posterior = joint[x] / joint[x].sum()
            assert measure(
                "eq-iwgan-ladder", bound(posterior, joint[x] / posterior, 3), joint[x].sum().log()
            )


@pytest.mark.equation("eq-iwgan-subsets")
def test_an_average_taken_in_two_rounds(measure):
    for k in (1, 2, 5):
        w = torch.rand(k + 1, generator=torch.Generator().manual_seed(k)).double()
        rounds = [w[[i for i in range(k + 1) if i != j]].mean() for j in range(k + 1)]
        assert measure("eq-iwgan-subsets", w.mean(), torch.stack(rounds).mean())


@pytest.mark.equation("eq-iwgan-gap")
def test_the_gap_closes_like_one_over_k(measure):
    for w in AUTOENCODERS:
        q, joint = w.q_z_given_x()[0], w.p_xz()[0]
        weight, p = joint / q, joint.sum()
        coefficient = (q * (weight - p).square()).sum() / (2 * p**2)

        def scaled_gap(k, q=q, weight=weight, p=p):
            return k * (p.log() - log_mean_bound_by_counts(q, weight, k))

        # k * gap = coefficient + c/k + ...: two values of k take out c.
        extrapolated = 2 * scaled_gap(128) - scaled_gap(64)
        assert measure("eq-iwgan-gap", extrapolated / coefficient, 1.0, tolerance=0.01)
        assert abs(scaled_gap(128) / coefficient - 1) < abs(scaled_gap(16) / coefficient - 1) + 1e-3


@pytest.mark.equation("eq-iwgan-path")
def test_the_gradient_is_the_weighted_mean_of_the_gradients_of_log_w(measure):
    # One observation 0.9, z = eta_0 + e^eta_1 eps with four values of eps.
    for seed in SEEDS:
        g = torch.Generator().manual_seed(seed)
        p_eps = torch.rand(4, generator=g, dtype=torch.float64) + 0.1
        p_eps = p_eps / p_eps.sum()
        eps, at = torch.randn(4, generator=g).double(), torch.randn(2, generator=g).double()

        def log_w(eta, eps=eps):
            z = eta[0] + eta[1].exp() * eps
            log_joint = -0.5 * z**2 - 2 * (0.9 - z - torch.sin(z)) ** 2
            return log_joint - normal_log_density(z, eta[0], eta[1])

        for k in (1, 2, 3):
            left = gradient(lambda e, k=k, p=p_eps, f=log_w: bound(p, f(e).exp(), k), at)
            right = weighted(p_eps, log_w(at).exp(), jacobian(log_w, at), k)
            assert measure("eq-iwgan-path", left, right)


@pytest.mark.equation("eq-iwgan-sides")
def test_with_k_the_decoder_gets_its_gradient_and_the_encoder_loses_it(measure):
    for w in AUTOENCODERS:

        def large_k(k, theta=None, eta=None, w=w):
            q, weight = w.q_z_given_x(eta)[0], iwae_weights(w, theta, eta)[0]
            return log_mean_bound_by_counts(q, weight, k)

        def decoder(k, w=w, f=large_k):
            return gradient(lambda t: f(k, theta=t), w.theta0)

        def encoder(k, w=w, f=large_k):
            return gradient(lambda e: f(k, eta=e), w.eta0)

        wanted = gradient(lambda t, w=w: w.p_xz(t)[0].sum().log(), w.theta0)
        assert measure("eq-iwgan-sides", 2 * decoder(128) - decoder(64), wanted, tolerance=1e-3)
        assert measure("eq-iwgan-sides", 2 * encoder(128) - encoder(64), 0 * w.eta0, tolerance=1e-3)
        assert encoder(1).norm() > 10 * encoder(128).norm()
        assert (decoder(128) - wanted).norm() < 0.1 * (decoder(1) - wanted).norm()


# ---- the transfer ------------------------------------------------------------------------------


@pytest.mark.equation("eq-iwgan-mean-weight")
def test_the_exact_weight_has_the_evidence_as_its_mean(measure):
    for w in WORLDS:
        theta = w.gan.other_theta()
        prior = (w.gan.p_y[:, None] * torch.stack([w.gan.p_g(), w.gan.p_data])).sum(0)
        likelihood = torch.stack([w.gan.phi0.sigmoid(), (-w.gan.phi0).sigmoid()])
        for y, p in enumerate((theta.softmax(0), w.gan.p_data)):
            assert measure("eq-iwgan-mean-weight", (p * w.weights(theta, y)).sum(), w.gan.Z[y])
            assert measure("eq-iwgan-mean-weight", w.gan.Z[y], (likelihood[y] * prior).sum())
    narrow = GANWorld.from_tables([0.2, 0.3, 0.5], [0.0, 0.4, 0.6], D=[0.5, 0.5, 0.5])
    mean = (narrow.p_g() * ImportanceWorld(narrow).weights())[1:].sum()
    assert gap(mean, narrow.Z[0] - 0.5 * 0.5 * 0.2) < 1e-12


@pytest.mark.equation("eq-iwgan-transfer")
def test_the_ladder_of_a_generator_step(measure):
    for w in WORLDS:
        for theta in (w.gan.theta0, w.gan.other_theta()):
            for y in (0, 1):
                p, target = w.gan.p_x_given_y(theta)[y], w.gan.q_r_x_given_y[y]
                first = w.gan.Z[y].log() - (p * (p / target).log()).sum()
                rungs = [bound(p, w.weights(theta, y), k) for k in (1, 2, 3)]
                assert measure("eq-iwgan-transfer", first, rungs[0])
                assert measure("eq-iwgan-transfer", w.bound(3, theta, y), rungs[2])
                for low, high in itertools.pairwise([*rungs, w.gan.Z[y].log()]):
                    assert measure("eq-iwgan-transfer", low, high, relation="<=")
    # The printed weights of a discriminator that is not optimal obey no such ceiling.
    printed = [w.gan.p_y[0] * w.plug_in_weights() for w in UNIFORM]
    assert any(
        bound(w.proposal(), v, 4) > w.log_evidence() + 1e-3
        for w, v in zip(UNIFORM, printed, strict=True)
    )


@pytest.mark.equation("eq-iwgan-bayes", "eq-iwgan-plugin", "eq-iwgan-softmax")
def test_the_weight_without_densities(measure):
    for w in WORLDS:
        true = posterior_of_generated(w)
        d = 1 / (1 + (-w.gan.phi0).exp())
        q = torch.stack([1 - d, d])
        for y in (0, 1):
            exact = q[1 - y] * w.gan.p_0 / w.gan.p_x_given_y()[y]
            assert measure("eq-iwgan-bayes", exact, w.gan.p_y[y] * q[1 - y] / true[y])
            assert measure(
                "eq-iwgan-plugin", q[1 - y] / q[y], exact / w.gan.p_y[y] * true[y] / q[y]
            )
            assert gap(q[1 - y] / q[y], exact / w.gan.p_y[y]) > 1e-3
        assert measure("eq-iwgan-softmax", d / (1 - d), w.plug_in_weights())
        shares = d / (1 - d) / (d / (1 - d)).sum()
        assert measure("eq-iwgan-softmax", shares, w.gan.phi0.softmax(0))
        assert measure("eq-iwgan-softmax", shares, (w.gan.phi0 + 3).softmax(0))
        assert gap(w.weights(w.gan.other_theta()), w.weights_by_bayes()) > 1e-3
    for w in BEST:
        for y in (0, 1):
            assert measure("eq-iwgan-plugin", w.plug_in_weights(y), w.weights(y=y) / w.gan.p_y[y])


@pytest.mark.equation("eq-iwgan-data-half")
def test_the_data_half_has_no_gradient(measure):
    for w in WORLDS:
        for k in (1, 2, 3):
            assert measure("eq-iwgan-data-half", w.bound_gradient(k, y=1), 0 * w.gan.theta0)
            # The value at another theta is the same, so this is no accident of theta_0.
            assert measure(
                "eq-iwgan-data-half", w.bound(k, w.gan.other_theta(), 1), w.bound(k, y=1)
            )
        assert w.bound_gradient(2, y=0).abs().max() > 1e-4


def smooth_pieces(
    world: GaussianGANWorld,
) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Noise, its law, log w and x of a `GaussianGANWorld`, from its densities."""
    noise, law = normal_quadrature(world.nodes)

    def x(theta: Tensor) -> Tensor:
        return theta[0] + theta[1].exp() * noise

    def log_prior(x: Tensor) -> Tensor:
        p_g = normal_log_density(x, world.theta0[0], world.theta0[1])
        return torch.logaddexp(p_g, world.log_p_data(x)) - math.log(2)

    def log_w(theta: Tensor) -> Tensor:
        here = x(theta)
        log_p = normal_log_density(here, theta[0], theta[1])
        return logsigmoid(world.a(here)) + log_prior(here) - log_p

    return noise, law, log_w, x


def pairs(law: Tensor, log_w: Tensor, power: int, f: Tensor) -> Tensor:
    """E sum_i (w~_i)^power f_i for k = 2, as a double sum.  f: (n, 2) -> (2,)"""
    share = (log_w[:, None] - log_w[None, :]).sigmoid()  # of the first draw
    return 2 * torch.einsum("i,j,ij,ip->p", law, law, share**power, f)


@pytest.mark.equation("eq-iwgan-brackets")
def test_the_gradient_has_two_brackets_and_equation_7_is_the_first_at_the_optimum(measure):
    for world in (SMOOTH[2], RIPPLED):
        _, law, log_w, x = smooth_pieces(world)
        t0 = world.theta0
        first = jacobian(lambda t, w=world, x=x: logsigmoid(w.a(x(t))), t0)
        second = jacobian(lambda t, f=log_w, w=world, x=x: f(t) - logsigmoid(w.a(x(t))), t0)
        assert measure("eq-iwgan-brackets", world.bound_gradient(1), law @ (first + second))
        kept = pairs(law, log_w(t0), 1, first)
        dropped = pairs(law, log_w(t0), 1, second)
        assert measure("eq-iwgan-brackets", world.bound_gradient(2), kept + dropped)
        assert measure("eq-iwgan-brackets", world.kept_bracket(2), kept)
        assert measure("eq-iwgan-brackets", world.dropped_bracket(2), dropped)
        assert gap(kept, world.bound_gradient(2)) > 1e-3
        printed = pairs(law, world.a(x(t0)), 1, first)
        assert gap(printed, world.eq7(2)) < 1e-10
        if world is RIPPLED:
            assert gap(kept, printed) > 1e-3
        else:
            assert measure("eq-iwgan-brackets", kept, printed)


@pytest.mark.equation("eq-iwgan-k1-jsd")
def test_for_one_draw_what_is_dropped_is_the_jsd(measure):
    for w in WORLDS:
        averaged = {k: sum(w.gan.p_y[y] * w.bound_gradient(k, y) for y in (0, 1)) for k in (1, 2)}
        score = gradient(
            lambda t, w=w: w.gan.p_y[0] * (t.softmax(0) * logsigmoid(w.gan.phi0)).sum(),
            w.gan.theta0,
        )

        def information(theta, w=w):
            joint = w.gan.p_y[:, None] * torch.stack([theta.softmax(0), w.gan.p_data])
            return (joint * (joint / joint.sum(0) / w.gan.p_y[:, None]).log()).sum()

        right = score - gradient(information, w.gan.theta0)
        assert measure("eq-iwgan-k1-jsd", averaged[1], right)
        assert gap(averaged[2], right) > 1e-4


@pytest.mark.equation("eq-iwgan-k1")
def test_equation_7_with_one_draw_is_the_gan(measure):
    for w in NOISY:
        non_saturating = gradient(
            lambda t, w=w: (w.p_z * torch.sigmoid(w.a(t)).log()).sum(), w.theta0
        )
        assert measure("eq-iwgan-k1", w.eq7(1), non_saturating)
        assert gap(w.eq7(2), non_saturating) > 1e-5
        steps = [model_step(w, model) for model in (GAN(shape=(2,)), IWGAN(shape=(2,), k=1))]
        assert measure("eq-iwgan-k1", steps[0], steps[1])


def model_step(w: FiniteNoiseWorld, model: GAN) -> Tensor:
    """The gradient of the model's own generator loss, with the world in place of its networks."""
    model.generator, model.discriminator = FiniteNoiseGenerator(w), FiniteNoiseDiscriminator(w)
    loss = model.loss("generator", Batch(torch.zeros(1, dtype=torch.float64)))
    return torch.autograd.grad(loss.value, model.generator.theta)[0]


@pytest.mark.equation("eq-iwgan-step")
def test_the_training_code_descends_minus_half_equation_7(measure):
    for w in NOISY:
        for k in (1, 2, 3):
            by_hand = weighted(w.p_z, w.a().exp(), w.grad_log_D(), k)
            assert measure("eq-iwgan-step", model_step(w, IWGAN(shape=(2,), k=k)), -0.5 * by_hand)
        flowing = gradient(lambda t, w=w: w.surrogate(3, t, detach=False), w.theta0)
        assert gap(flowing, -w.eq7(3)) > 1e-5


# ---- what the weights do -----------------------------------------------------------------------


@pytest.mark.equation("eq-iwgan-limit", "eq-iwgan-bias")
def test_the_counted_distribution_and_its_limit(measure):
    p, odds = torch.tensor([3 / 4, 1 / 4]).double(), torch.tensor([1 / 3, 3.0]).double()
    assert gap(counted(p, odds, 2), torch.tensor([3 / 5, 2 / 5]).double()) < 1e-7
    for w in WORLDS:
        p, odds = w.proposal(), w.plug_in_weights()
        rho = odds / (p * odds).sum()
        coefficient = -p * (rho**2 - rho * (p * rho**2).sum())
        p_k = {k: counted_for_large_k(p, odds, k) for k in (4, 32, 64)}
        assert gap(p_k[4], counted(p, odds, 4)) < 1e-12
        assert measure("eq-iwgan-limit", 2 * p_k[64] - p_k[32], rho * p, tolerance=1e-2)
        assert gap(p_k[64], rho * p) < gap(p_k[4], rho * p)
        first = 2 * 64 * (p_k[64] - rho * p) - 32 * (p_k[32] - rho * p)
        assert measure(
            "eq-iwgan-bias", first, coefficient, tolerance=0.1 * float(coefficient.abs().max())
        )
    for w in BEST:
        p, odds = w.proposal(), w.plug_in_weights()
        assert measure("eq-iwgan-limit", p * odds / (p * odds).sum(), w.gan.p_data)


def counted_for_large_k(p: Tensor, w: Tensor, k: int) -> Tensor:
    """p_k(x) = k p(x) E[w(x) / (w(x) + S)], S the sum of k-1 other weights, for large k.

    1/(w + S) is the integral of e^(-t(w + S)) over t, and E e^(-tS) a power; u = log t.
    """
    u = torch.arange(-40.0, 14.0, 0.05, dtype=torch.float64)
    t = u.exp()[:, None]
    mean = (p * torch.exp(-t * w)).sum(1, keepdim=True)
    return 0.05 * (k * p * w * t * torch.exp(-t * w) * mean ** (k - 1)).sum(0)


@pytest.mark.equation("eq-iwgan-effective")
def test_effective_draws_lie_between_one_and_k(measure):
    g = torch.Generator().manual_seed(0)
    for k in (1, 2, 5, 20):
        a = 4 * torch.randn(1000, k, generator=g).double()
        shares = a.exp() / a.exp().sum(1, keepdim=True)
        n = 1 / (shares**2).sum(1)
        assert measure("eq-iwgan-effective", effective_sample_size(a.exp()), n)
        assert measure("eq-iwgan-effective", 1.0, n, relation="<=")
        assert measure("eq-iwgan-effective", n, float(k), relation="<=")
        assert measure(
            "eq-iwgan-effective", effective_sample_size(torch.full((k,), 0.01)), float(k), 1e-5
        )
    assert measure(
        "eq-iwgan-effective", effective_sample_size(torch.tensor([0.1, 0.9])), 1 / 0.82, 1e-6
    )


# ---- not a gradient ----------------------------------------------------------------------------


@pytest.mark.equation("eq-iwgan-push", "eq-iwgan-curl")
def test_the_field_of_one_group_and_its_curl(measure):
    g = torch.Generator().manual_seed(0)
    groups = [2 * torch.randn(k, generator=g).double() for k in (2, 3, 5) for _ in range(4)]
    for a in groups:
        d, shares = torch.sigmoid(a), a.exp() / a.exp().sum()
        assert measure("eq-iwgan-push", shares * (1 - d), d / a.exp().sum())
        assert measure("eq-iwgan-push", logit_field(a), shares * (1 - d))
        # The push is what the surrogate's gradient gives each logit.
        pushed = gradient(lambda b, s=shares: -(s * softplus(-b)).sum(), a)
        assert measure("eq-iwgan-push", pushed, d / a.exp().sum())
        curl = shares[:, None] * shares[None, :] * (d[:, None] - d[None, :])
        slopes = numerical_jacobian(lambda b: torch.sigmoid(b) / b.exp().sum(), a)
        assert measure("eq-iwgan-curl", slopes - slopes.T, curl, tolerance=1e-8)
        exact = jacobian(lambda b: b.softmax(0) * torch.sigmoid(-b), a)
        assert measure("eq-iwgan-curl", exact - exact.T, curl)
        assert measure("eq-iwgan-curl", logit_curl(a), curl)
        assert measure("eq-iwgan-curl", curl, 0 * curl, tolerance=1e-3, relation="!=")
    # The mean over noise does not wash it out, and one draw has none.
    assert max(float(w.curl(2).abs().max()) for w in NOISY) > 1e-2
    assert max(float(w.curl(1).abs().max()) for w in NOISY) < 1e-8


@pytest.mark.equation("eq-iwgan-neighbour-a", "eq-iwgan-neighbour-b")
def test_two_neighbours_that_are_gradients(measure):
    for w in NOISY:
        a, d = w.a(), w.a().sigmoid()
        log_1_minus_d = jacobian(lambda t, w=w: logsigmoid(-w.a(t)), w.theta0)
        for k in (1, 2, 3):
            a_gradient = gradient(lambda t, w=w, k=k: bound(w.p_z, w.a(t).exp(), k), w.theta0)
            by_hand = weighted(w.p_z, a.exp(), jacobian(w.a, w.theta0), k)
            rest = weighted(w.p_z, a.exp(), log_1_minus_d, k)
            assert measure("eq-iwgan-neighbour-a", a_gradient, by_hand)
            assert measure("eq-iwgan-neighbour-a", w.gradient_a(k), by_hand)
            assert measure("eq-iwgan-neighbour-a", w.neighbour_a(k), bound(w.p_z, a.exp(), k))
            assert measure("eq-iwgan-neighbour-a", a_gradient, w.eq7(k) - rest)
            b_gradient = gradient(lambda t, w=w, k=k: bound(w.p_z, w.a(t).sigmoid(), k), w.theta0)
            by_hand = weighted(w.p_z, d, w.grad_log_D(), k)
            assert measure("eq-iwgan-neighbour-b", b_gradient, by_hand)
            assert measure("eq-iwgan-neighbour-b", w.gradient_b(k), by_hand)
            assert measure("eq-iwgan-neighbour-b", w.neighbour_b(k), bound(w.p_z, d, k))
        assert gap(w.eq7(3), a_gradient) > 1e-4
        assert gap(w.eq7(3), b_gradient) > 1e-6


@pytest.mark.equation("eq-iwgan-ceiling")
def test_the_ceiling_of_neighbour_a(measure):
    for w in WORLDS:
        p, odds = w.proposal(), w.gan.phi0.exp()
        for k in (1, 2, 3):
            assert measure(
                "eq-iwgan-ceiling", bound(p, odds, k), (p * odds).sum().log(), relation="<="
            )
    for missed in (0.0, 0.4):
        p_data = [missed, (1 - missed) / 3, 2 * (1 - missed) / 3]
        world = GANWorld.from_tables(p_data, [0.0, 0.5, 0.5])
        mean = (world.p_g() * world.phi0.exp())[1:].sum()
        assert measure("eq-iwgan-ceiling", mean.log(), math.log(1 - missed))


# ---- the bound is about a number without theta -------------------------------------------------


@pytest.mark.equation("eq-iwgan-vanish")
def test_the_exact_gradient_dies_like_one_over_k(measure):
    for seed in SEEDS:
        w = ImportanceWorld.random(seed, n_x=3)
        target, at = w.gan.q_r_x_given_y[0], w.gan.theta0

        def exact(k, w=w, at=at):
            return k * gradient(lambda t: w.bound_by_counts(k, t), at)

        limit = -0.5 * gradient(lambda t, q=target: (q**2 / t.softmax(0)).sum() - 1, at)
        assert measure(
            "eq-iwgan-vanish", 2 * exact(64) - exact(32), limit, 0.01 * float(limit.norm())
        )
        assert exact(64).norm() / 64 < 0.1 * exact(1).norm()


def test_following_equation_7_can_lower_the_bound_with_the_optimal_discriminator():
    for k, world in SMOOTH.items():
        slope, step = float(world.bound_gradient(k)[1]), float(world.eq7(k)[1])
        assert slope > 0.1
        assert step < -0.1
        after = world.theta0 + 0.1 * torch.tensor([0.0, step], dtype=torch.float64)
        assert world.bound(k, after) < world.bound(k) - 1e-3
    # For k = 1 the whole vector points downhill, not only its second coordinate.
    assert SMOOTH[1].bound_gradient(1) @ SMOOTH[1].eq7(1) < -1e-2


@pytest.mark.equation("eq-iwgan-score", "eq-iwgan-squared")
def test_squared_shares_give_the_exact_gradient(measure):
    for world in (SMOOTH[2], RIPPLED):
        _, law, log_w, x = smooth_pieces(world)
        t0 = world.theta0
        draws = x(t0)
        score = jacobian(lambda t, x=draws: normal_log_density(x, t[0], t[1]), t0)

        def log_w_of_draw(theta, x=x, t0=t0, world=world):
            here = x(theta)
            p_g = normal_log_density(here, t0[0], t0[1])
            prior = torch.logaddexp(p_g, world.log_p_data(here))
            return logsigmoid(world.a(here)) + prior - p_g

        path = jacobian(log_w_of_draw, t0)
        shares = log_w(t0)
        left = pairs(law, shares, 1, score)
        assert measure(
            "eq-iwgan-score", left, pairs(law, shares, 1, path) - pairs(law, shares, 2, path)
        )
        assert measure("eq-iwgan-squared", world.bound_gradient(2), pairs(law, shares, 2, path))
        assert measure(
            "eq-iwgan-squared", world.squared_weight_gradient(2), world.bound_gradient(2)
        )
        logit = jacobian(lambda t, x=x, world=world: world.a(x(t)), t0)
        without_density = pairs(law, world.a(x(t0)), 2, logit)
        if world is RIPPLED:
            assert gap(without_density, world.bound_gradient(2)) > 1e-3
        else:
            assert measure("eq-iwgan-squared", without_density, world.bound_gradient(2))
        assert gap(pairs(law, shares, 1, path), world.bound_gradient(2)) > 1e-3


# ---- code and the conditional case -------------------------------------------------------------


@pytest.mark.equation("eq-iwgan-batch")
def test_a_softmax_over_the_batch_is_another_k(measure):
    for w in NOISY[:3]:
        a, f = w.a(), w.grad_log_D()
        over_batch = mean_over_groups(
            w.p_z, 4, lambda batch, a=a, f=f: a[batch].softmax(0) @ f[batch] / 2
        )
        assert measure("eq-iwgan-batch", over_batch, w.eq7(4) / 2)
        assert gap(over_batch, w.eq7(2)) > 1e-4


@pytest.mark.equation("eq-iwgan-shift", "eq-iwgan-mixing")
def test_classes_in_a_group(measure):
    shift = torch.tensor([0.0, 2.0], dtype=torch.float64)
    for seed in SEEDS:
        w = ConditionalImportanceWorld.random(seed)
        for c in (0, 1):
            assert measure("eq-iwgan-shift", (w.a[c] + shift[c]).softmax(0), w.a[c].softmax(0))
        assert measure("eq-iwgan-shift", w.class_law(2, mixed=False), w.p_c)
        assert gap(w.shifted(shift).class_law(2, mixed=True), w.class_law(2, mixed=True)) > 1e-3
        z = (w.p_g_given_c * w.a.exp()).sum(1)
        within, across = (w.p_c * z.log()).sum(), (w.p_c * z).sum().log()
        assert measure("eq-iwgan-mixing", within, across, relation="<=")
        assert measure("eq-iwgan-mixing", w.bound_within(3), within, relation="<=")
        assert measure("eq-iwgan-mixing", w.bound_mixed(3), across, relation="<=")
        joint, odds = (w.p_c[:, None] * w.p_g_given_c).flatten(), w.a.exp().flatten()
        law = {k: counted_for_large_k(joint, odds, k).reshape(2, 3).sum(1) for k in (2, 32, 64)}
        assert gap(law[2], w.class_law(2, mixed=True)) < 1e-9
        tilted = w.p_c * z / (w.p_c * z).sum()
        assert measure("eq-iwgan-mixing", 2 * law[64] - law[32], tilted, tolerance=1e-2)
        assert measure("eq-iwgan-mixing", w.tilted_class_law(), tilted)
