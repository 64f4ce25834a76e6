"""Section 5 of the mathematics: Lemma 2, its constants, and what breaks it; and wake and sleep."""

import math

import pytest
import torch

from unigen_edu.errors import UnigenError
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.tables import entropy, expectation, kl_p_q, table
from unigen_edu.exact.vae import VAEWorld

WORLDS = [
    pytest.param((s, p), id=f"seed{s}-p{p[0]}") for s in (0, 1, 2) for p in ((0.5, 0.5), (0.3, 0.7))
]


@pytest.fixture(params=WORLDS)
def world(request):
    seed, p_y = request.param
    return VAEWorld.random(seed, p_y=p_y)


@pytest.fixture(params=[0, 1])
def points(request, world):
    """theta and eta: at theta0, eta0, and elsewhere."""
    if request.param == 0:
        return world.theta0, world.eta0
    return world.other_theta(), world.other_eta()


def gradients(f, theta, eta):
    """The two gradients of f(theta, eta)."""
    return gradient(lambda t: f(t, eta), theta), gradient(lambda e: f(theta, e), eta)


def looped_line1(world, theta, eta, judge):
    """Line 1 of eq. (6) as four nested loops of plain Python."""
    p_x_z, q_0 = theta.softmax(-1).tolist(), eta.softmax(-1).tolist()
    q_1, p_d = world.q_z_given_x_1.tolist(), world.p_data.tolist()
    prior, pi, q_r = world.p_z_given_y.tolist(), world.p_y.tolist(), judge.tolist()
    origin = world.p_x_given_y().tolist()
    total = 0.0
    for s in (0, 1):
        for x in range(len(p_d)):
            for y in (0, 1):
                for z in range(len(p_x_z)):
                    q = q_r[s][y][x] * (q_0 if y == 0 else q_1)[x][z]
                    if q > 0:
                        p_x = p_x_z[z][x] if y == 0 else p_d[x]
                        cost = -math.log(p_x) + math.log(q / (prior[y][z] * pi[y]))
                        total += pi[s] * origin[s][x] * q * cost
    return total


# ---- the world itself --------------------------------------------------------------------------


def test_line_1_against_loops(world):
    theta, eta = world.other_theta(), world.other_eta()
    for judge in (world.provenance, world.judged_by(world.D)):
        assert (
            gap(world.line1(theta, eta, judge), looped_line1(world, theta, eta, judge)) <= 1e-10
        ), "line 1"


def test_a_world_of_two_states_by_hand():
    world = VAEWorld(
        p_data=table([0.5, 0.5]),
        theta0=table([[0.8, 0.2], [0.4, 0.6]]).log(),
        eta0=table([[0.5, 0.5], [0.25, 0.75]]).log(),
        p_z_given_y=table([[0.5, 0.5], [0.5, 0.5]]),
        q_z_given_x_1=table([[0.5, 0.5], [0.5, 0.5]]),
        phi0=table([0.0, 0.0]),
        p_y=table([0.5, 0.5]),
    )
    assert gap(world.p_g(), table([0.6, 0.4])) <= 1e-10, "p_g"
    assert gap(world.p_z_given_x(), table([[2 / 3, 1 / 3], [0.25, 0.75]])) <= 1e-10, "posterior"
    assert gap(world.elbo()[0], 0.5 * math.log(0.8) + 0.5 * math.log(0.4)) <= 1e-10, "ELBO(0)"
    assert gap(world.elbo()[1], math.log(0.4)) <= 1e-10, "the second encoder row is the posterior"
    assert gap(world.branch_constant(), math.log(2)) <= 1e-10, "C"
    value = world.line1(judge=world.provenance)
    assert gap(value, 0.5 * world.vae_loss() + math.log(2) + 0.5 * math.log(2)) <= 1e-10, "line 1"


def test_the_elbo_is_a_bound(world):
    theta, eta = world.other_theta(), world.other_eta()
    slack = kl_p_q(world.q_z_given_x(eta), world.p_z_given_x(theta))
    assert gap(world.p_g(theta).log(), world.elbo(theta, eta) + slack) <= 1e-10, "log p = ELBO + KL"
    tight = world.elbo(theta, world.p_z_given_x(theta).log())
    assert gap(tight, world.p_g(theta).log()) <= 1e-10, "tight at the posterior"


def test_bad_worlds_are_refused():
    w = VAEWorld.random(0)
    with pytest.raises(UnigenError, match=r"eta0 must be a float64 table of shape \(5, 3\)"):
        VAEWorld(w.p_data, w.theta0, w.eta0.T, w.p_z_given_y, w.q_z_given_x_1, w.phi0, w.p_y)
    with pytest.raises(UnigenError, match="q_z_given_x_1 does not sum to 1"):
        VAEWorld(w.p_data, w.theta0, w.eta0, w.p_z_given_y, 2 * w.q_z_given_x_1, w.phi0, w.p_y)


# ---- Lemma 2 -----------------------------------------------------------------------------------


def test_5_1_provenance(world, points):
    theta, eta = points
    perfect, pi = world.provenance, world.p_y
    assert gap(world.line1(theta, eta, perfect), world.lemma2(theta, eta)) <= 1e-10, "value"
    line1 = gradients(lambda t, e: world.line1(t, e, perfect), theta, eta)
    vae = gradients(world.vae_loss, theta, eta)
    for name, left, right in zip(("theta", "eta"), line1, vae, strict=True):
        assert gap(left, pi[1] * right) <= 1e-10, f"p(y=1) times the VAE's gradient, {name}"
        assert gap(left, right) > 1e-4, f"not all of it, {name}"


def test_5_1_uniform_constant():
    world = VAEWorld.random(0)
    value = world.line1(judge=world.provenance)
    constant = math.log(2) + world.branch_constant() / 2
    assert gap(value, world.vae_loss() / 2 + constant) <= 1e-10, "half the VAE, log 2, half of C"
    assert gap(value, world.vae_loss()) > 1e-4, "not the VAE's loss"


def test_5_2_the_second_line(world, points):
    theta, eta = points
    for judge in (world.provenance, world.judged_by(world.D)):
        left, right = world.line2(theta, eta, judge), world.line1(theta, eta, judge)
        assert gap(left, right + world.dropped_term(theta)) <= 1e-10, (
            "line 2 = line 1 + E log p_theta(x)"
        )
        assert gap(left, right) > 1e-4, "the printed equality"


def test_5_2_its_gradients(world):
    theta, eta = world.other_theta(), world.other_eta()
    at_0 = gradients(world.line1, world.theta0, eta), gradients(world.line2, world.theta0, eta)
    assert gap(at_0[0][0], at_0[1][0]) <= 1e-10, "theta, at theta0"
    assert gap(at_0[0][1], at_0[1][1]) <= 1e-10, "eta, at theta0"
    away = gradients(world.line1, theta, eta), gradients(world.line2, theta, eta)
    assert gap(away[0][0], away[1][0]) > 1e-4, "theta, elsewhere"
    assert gap(away[0][1], away[1][1]) <= 1e-10, "eta, elsewhere"


def test_5_2_the_mixture_is_needed(world):
    zero = torch.zeros_like(world.theta0)
    assert gap(gradient(world.dropped_term, world.theta0), zero) <= 1e-10, "under p_0"
    under_data = gradient(lambda t: expectation(world.p_data, world.p_x(t).log()), world.theta0)
    assert gap(under_data, zero) > 1e-4, "under p_data"
    of_p_g = gradient(lambda t: expectation(world.p_0, world.p_g(t).log()), world.theta0)
    assert gap(of_p_g, zero) > 1e-4, "of p_g alone"


def test_5_2_second_order(world):
    """The Hessians differ by minus the Fisher information of the mixture."""
    hessian = torch.autograd.functional.hessian
    extra = hessian(world.dropped_term, world.theta0)
    score = torch.autograd.functional.jacobian(lambda t: world.p_x(t).log(), world.theta0)
    fisher = torch.einsum("x,xab,xcd->abcd", world.p_0, score, score)
    assert gap(extra, -fisher) <= 1e-10, "Fisher"
    assert fisher.abs().max() > 1e-3


def test_5_3_any_discriminator(world, points):
    theta, eta = points
    left = gradients(world.line1, theta, eta)
    right = gradients(world.weighted_vae_loss, theta, eta)
    assert gap(left[0], right[0]) <= 1e-10, "theta"
    assert gap(left[1], right[1]) <= 1e-10, "eta"
    vae = gradients(world.vae_loss, theta, eta)
    assert gap(left[0], world.p_y[1] * vae[0]) > 1e-4, "not the VAE's"


def test_5_4_optimal_discriminator(world, points):
    theta, eta = points
    best, pi = world.with_optimal_discriminator(), world.p_y
    left, vae = gradients(best.line1, theta, eta), gradients(world.vae_loss, theta, eta)
    assert gap(left[0], pi[1] * vae[0]) <= 1e-10, "theta"
    assert gap(left[1], pi[1] * vae[1]) <= 1e-10, "eta"
    h = world.domain_entropy_given_x()
    assert h > 1e-2
    assert gap(best.line1(theta, eta), world.lemma2(theta, eta) - h) <= 1e-10, "value"
    assert gap(best.weighted_vae_loss(theta, eta), pi[1] * world.vae_loss(theta, eta)) <= 1e-10, (
        "so AAVAE weighs nothing"
    )
    joint = pi[:, None] * world.p_x_given_y()
    assert gap(h, entropy(joint.flatten()) - entropy(joint.sum(0))) <= 1e-10, "H(y|x)"


def test_5_5_a_perfect_function_of_x_needs_disjoint_supports():
    """Then -ELBO on data, and -log p_data on samples, are infinite."""
    w = VAEWorld.random(0, n_x=4)
    no = -math.inf
    samples_only = table([[no, no, 0.0, 0.3], [no, no, 0.2, 0.0], [no, no, 0.1, 0.4]])
    w = VAEWorld(
        table([0.5, 0.5, 0.0, 0.0]),
        samples_only,
        w.eta0,
        w.p_z_given_y,
        w.q_z_given_x_1,
        w.phi0,
        w.p_y,
    )
    D = table([1.0, 1.0, 0.0, 0.0])
    assert gap(w.optimal_discriminator(), D) <= 1e-10, "D* is 0/1"
    assert w.vae_loss() == math.inf
    assert w.branch_constant() == math.inf
    assert w.line1(judge=w.judged_by(D)) == math.inf


@pytest.mark.parametrize("leak", [1e-2, 1e-4, 1e-8])
def test_5_5_a_little_overlap_costs_a_logarithm(leak):
    w = VAEWorld.random(1, n_x=4)
    row = table([leak / 2, leak / 2, 0.5 - leak / 2, 0.5 - leak / 2]).log()
    w = VAEWorld(
        table([0.5, 0.5, 0.0, 0.0]),
        row.expand(3, 4),
        w.eta0,
        w.p_z_given_y,
        w.q_z_given_x_1,
        w.phi0,
        w.p_y,
    )
    assert w.vae_loss() >= -math.log(leak / 2)


def test_5_6_one_encoder_for_both_domains(world, points):
    theta, eta = points
    perfect = world.provenance

    def shared(t, e):
        return world.line1(t, e, perfect, shared=True)

    left, vae = gradients(shared, theta, eta), gradients(world.vae_loss, theta, eta)
    assert gap(left[0], world.p_y[1] * vae[0]) <= 1e-10, "theta is not affected"
    assert gap(left[1], world.p_y[1] * vae[1]) > 1e-4, "eta is"
    extra = gradient(world.shared_encoder_term, eta)
    assert gap(left[1] - world.p_y[1] * vae[1], extra) <= 1e-10, "by the KL on samples"


def test_5_7_covering(world, points):
    theta, eta = points
    assert (
        gap(world.vae_loss(theta, eta), world.joint_kl(theta, eta) + world.data_entropy()) <= 1e-10
    ), "E[-ELBO]"
    parts = world.kl_data_g(theta) + world.posterior_gap(theta, eta)
    assert gap(world.joint_kl(theta, eta), parts) <= 1e-10, "joint KL"


# ---- wake and sleep ----------------------------------------------------------------------------


def test_6_1_wake(world, points):
    theta, eta = points
    wake = gradient(lambda t: world.wake_loss(t, eta), theta)
    assert gap(wake, gradient(lambda t: world.vae_loss(t, eta), theta)) <= 1e-10, (
        "the VAE's theta step"
    )
    posterior = gradient(lambda t: world.posterior_gap(t, eta), theta)
    assert gap(wake, posterior) > 1e-4, "not the posterior KL"
    evidence = gradient(lambda t: expectation(world.p_data, world.p_g(t).log()), theta)
    assert gap(wake - posterior, -evidence) <= 1e-10, "off by the evidence"


def test_6_2_sleep(world, points):
    theta, eta = points
    sleep = gradient(lambda e: world.sleep_loss(theta, e), eta)
    assert gap(sleep, gradient(lambda e: world.sleep_gap(theta, e), eta)) <= 1e-10, "dreamed KL"
    assert gap(sleep, gradient(lambda e: world.vae_loss(theta, e), eta)) > 1e-4, (
        "not the VAE's eta step"
    )
