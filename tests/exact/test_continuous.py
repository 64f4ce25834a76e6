"""What needs a real x: path gradients with densities, moving supports, modes on a grid."""

import dataclasses
import math

import pytest
import torch
from torch.nn.functional import logsigmoid

from unigen_edu.exact.checks import gap, gradient, jacobian
from unigen_edu.exact.continuous import (
    GaussianGANWorld,
    GaussianIWAEWorld,
    MovingUniformWorld,
    TwoBumpsWorld,
    normal_log_density,
    normal_quadrature,
)
from unigen_edu.exact.tables import jsd, kl_p_q, table


def test_quadrature_has_the_moments_of_a_normal():
    x, weight = normal_quadrature(61)
    moments = table([float((weight * x**power).sum()) for power in range(7)])
    assert gap(moments, table([1.0, 0.0, 1.0, 0.0, 3.0, 0.0, 15.0])) <= 1e-10, "moments"
    assert gap((weight * x.exp()).sum(), math.exp(0.5)) <= 1e-10, "E exp"


def test_normal_log_density_against_torch():
    x = table([-1.0, 0.3, 2.0])
    right = torch.distributions.Normal(table(0.5), table(2.0)).log_prob(x)
    assert gap(normal_log_density(x, table(0.5), table(math.log(2.0))), right) <= 1e-10, "density"


# ---- 7.2, 7.3: the importance weighted autoencoder ---------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3])
def test_7_03_doubly_reparameterised(k):
    world = dataclasses.replace(GaussianIWAEWorld.example(), nodes=61)
    left = gradient(lambda eta: world.bound(k, eta=eta), world.eta0)
    assert gap(left, world.path_gradient(k)) <= 1e-10, "path gradient"
    assert gap(left, world.doubly_reparameterised_gradient(k)) <= 1e-9, "squared weights"
    if k > 1:
        assert gap(left, world.doubly_reparameterised_gradient(k, power=1)) > 1e-4, (
            "weights not squared"
        )


# ---- 7.5, 7.9: with densities ------------------------------------------------------------------


@pytest.mark.parametrize("ripple", [(0.0, 0.0), (0.3, 0.5)])
@pytest.mark.parametrize("k", [1, 2])
def test_7_05_what_eq_7_drops(k, ripple):
    world = GaussianGANWorld.counterexample(2).with_ripple(ripple).with_nodes(101)
    exact = world.bound_gradient(k)
    assert gap(exact, world.kept_bracket(k) + world.dropped_bracket(k)) <= 1e-10, "two brackets"
    assert gap(exact, world.kept_bracket(k)) > 1e-4, "the first alone"
    if ripple == (0.0, 0.0) or k == 1:
        assert gap(world.eq7(k), world.kept_bracket(k)) <= 1e-10, "Eq. (7) keeps the first"
    else:
        assert gap(world.eq7(k), world.kept_bracket(k)) > 1e-4, "with its own weights"


@pytest.mark.parametrize("ripple", [(0.0, 0.0), (0.3, 0.5)])
@pytest.mark.parametrize("k", [1, 2])
def test_7_09_a_correct_alternative(k, ripple):
    world = GaussianGANWorld.counterexample(2).with_ripple(ripple).with_nodes(101)
    exact = world.bound_gradient(k)
    assert gap(exact, world.squared_weight_gradient(k)) <= 1e-10, "squared weights"
    apart = gap(exact, world.squared_weight_gradient_of_logit(k))
    assert apart <= 1e-10 if ripple == (0.0, 0.0) else apart > 1e-4, "grad a needs D*"


def test_7_09_one_draw_is_the_reverse_kl():
    world = GaussianGANWorld.counterexample(1)
    nodes, weight = normal_quadrature(world.nodes)

    def reverse_kl(theta):
        x = world.x(nodes, theta)
        return (weight * (world.log_p_g(x, theta) - world.log_p_data(x))).sum()

    left = -gradient(reverse_kl, world.theta0)
    assert gap(left, world.squared_weight_gradient_of_logit(1)) <= 1e-10, "KL(p_g||p_data)"


def test_7_09_it_shrinks_with_k_and_eq_7_does_not():
    world = GaussianGANWorld.counterexample(2).with_nodes(45)
    exact = [float(world.squared_weight_gradient(k).norm()) for k in (1, 2, 3)]
    field = [float(world.eq7(k).norm()) for k in (1, 2, 3)]
    assert exact[2] < exact[1] < exact[0]
    assert exact[2] / exact[0] < field[2] / field[0]
    nodes, weight = normal_quadrature(world.nodes)
    share = weight * world.a(world.x(nodes)).exp()
    limit = jacobian(lambda t: logsigmoid(world.a(world.x(nodes, t))), world.theta0)
    assert (share @ limit / share.sum()).norm() > 0.1  # Eq. (7) for many draws


@pytest.mark.parametrize(("k", "exact", "field"), [(2, 0.13, -0.14), (1, 0.17, -0.12)])
def test_7_10_eq_7_can_decrease_the_bound(k, exact, field):
    world = GaussianGANWorld.counterexample(k)
    assert (
        gap(world.a(table(0.3)), world.log_p_data(table(0.3)) - world.log_p_g(table(0.3))) <= 1e-10
    ), "D is D*"
    assert gap(world.bound_gradient(k)[1], exact) <= 5e-3, "slope of L_k in the log scale"
    assert gap(world.eq7(k)[1], field) <= 5e-3, "Eq. (7)"
    step = table([0.0, 1e-3]) * world.eq7(k).sign()
    assert world.bound(k, world.theta0 + step) < world.bound(k)


# ---- C3.3e: a support that moves ---------------------------------------------------------------


@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.2, 1.0])
def test_3_3e_the_prior_shift_has_a_kink(shift):
    world = MovingUniformWorld()
    closed = 0.5 * abs(shift) * math.log(11)
    assert gap(world.prior_shift(shift), closed) <= 1e-10, "closed form"
    at_0 = world.kl_term(0.0) - world.jsd_term(0.0)
    moved = world.kl_term(shift) - world.jsd_term(shift)
    assert gap(moved - at_0, closed) <= 1e-10, "the loss is constant, KL - JSD is not"
    assert gap(world.jsd_term(shift), world.jsd_term(0.0)) <= 1e-10, "the JSD does not move"


# ---- C3.8: modes -------------------------------------------------------------------------------


def test_3_8_only_one_direction_straddles():
    world = TwoBumpsWorld.example()

    def softened(p, q):
        return 2 * kl_p_q((p + q) / 2, p)

    for divergence in (lambda p, q: kl_p_q(q, p), softened, jsd):
        mean, scale = world.best_fit(divergence)
        assert abs(mean - 2.5) < 0.3  # the larger bump
        assert scale < 1
    mean, scale = world.best_fit(kl_p_q)
    assert abs(mean) < 1
    assert scale > 2
