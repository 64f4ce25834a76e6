"""Section 5 of the mathematics: Lemma 2, its constants, and what breaks it; and wake and sleep."""

import math

import pytest
import torch

from unigen_edu.errors import UnigenError
from unigen_edu.exact.checks import agree, differ, gradient
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
        agree("line 1", world.line1(theta, eta, judge), looped_line1(world, theta, eta, judge))


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
    agree("p_g", world.p_g(), table([0.6, 0.4]))
    agree("posterior", world.p_z_given_x(), table([[2 / 3, 1 / 3], [0.25, 0.75]]))
    agree("ELBO(0)", world.elbo()[0], 0.5 * math.log(0.8) + 0.5 * math.log(0.4))
    agree("the second encoder row is the posterior", world.elbo()[1], math.log(0.4))
    agree("C", world.branch_constant(), math.log(2))
    value = world.line1(judge=world.provenance)
    agree("line 1", value, 0.5 * world.vae_loss() + math.log(2) + 0.5 * math.log(2))


def test_the_elbo_is_a_bound(world):
    theta, eta = world.other_theta(), world.other_eta()
    gap = kl_p_q(world.q_z_given_x(eta), world.p_z_given_x(theta))
    agree("log p = ELBO + KL", world.p_g(theta).log(), world.elbo(theta, eta) + gap)
    tight = world.elbo(theta, world.p_z_given_x(theta).log())
    agree("tight at the posterior", tight, world.p_g(theta).log())


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
    agree("value", world.line1(theta, eta, perfect), world.lemma2(theta, eta))
    line1 = gradients(lambda t, e: world.line1(t, e, perfect), theta, eta)
    vae = gradients(world.vae_loss, theta, eta)
    for name, left, right in zip(("theta", "eta"), line1, vae, strict=True):
        agree(f"p(y=1) times the VAE's gradient, {name}", left, pi[1] * right)
        differ(f"not all of it, {name}", left, right)


def test_5_1_uniform_constant():
    world = VAEWorld.random(0)
    value = world.line1(judge=world.provenance)
    constant = math.log(2) + world.branch_constant() / 2
    agree("half the VAE, log 2, half of C", value, world.vae_loss() / 2 + constant)
    differ("not the VAE's loss", value, world.vae_loss())


def test_5_2_the_second_line(world, points):
    theta, eta = points
    for judge in (world.provenance, world.judged_by(world.D)):
        left, right = world.line2(theta, eta, judge), world.line1(theta, eta, judge)
        agree("line 2 = line 1 + E log p_theta(x)", left, right + world.dropped_term(theta))
        differ("the printed equality", left, right)


def test_5_2_its_gradients(world):
    theta, eta = world.other_theta(), world.other_eta()
    at_0 = gradients(world.line1, world.theta0, eta), gradients(world.line2, world.theta0, eta)
    agree("theta, at theta0", at_0[0][0], at_0[1][0])
    agree("eta, at theta0", at_0[0][1], at_0[1][1])
    away = gradients(world.line1, theta, eta), gradients(world.line2, theta, eta)
    differ("theta, elsewhere", away[0][0], away[1][0])
    agree("eta, elsewhere", away[0][1], away[1][1])


def test_5_2_the_mixture_is_needed(world):
    zero = torch.zeros_like(world.theta0)
    agree("under p_0", gradient(world.dropped_term, world.theta0), zero)
    under_data = gradient(lambda t: expectation(world.p_data, world.p_x(t).log()), world.theta0)
    differ("under p_data", under_data, zero)
    of_p_g = gradient(lambda t: expectation(world.p_0, world.p_g(t).log()), world.theta0)
    differ("of p_g alone", of_p_g, zero)


def test_5_2_second_order(world):
    """The Hessians differ by minus the Fisher information of the mixture."""
    hessian = torch.autograd.functional.hessian
    extra = hessian(world.dropped_term, world.theta0)
    score = torch.autograd.functional.jacobian(lambda t: world.p_x(t).log(), world.theta0)
    fisher = torch.einsum("x,xab,xcd->abcd", world.p_0, score, score)
    agree("Fisher", extra, -fisher)
    assert fisher.abs().max() > 1e-3


def test_5_3_any_discriminator(world, points):
    theta, eta = points
    left = gradients(world.line1, theta, eta)
    right = gradients(world.weighted_vae_loss, theta, eta)
    agree("theta", left[0], right[0])
    agree("eta", left[1], right[1])
    vae = gradients(world.vae_loss, theta, eta)
    differ("not the VAE's", left[0], world.p_y[1] * vae[0])


def test_5_4_optimal_discriminator(world, points):
    theta, eta = points
    best, pi = world.with_optimal_discriminator(), world.p_y
    left, vae = gradients(best.line1, theta, eta), gradients(world.vae_loss, theta, eta)
    agree("theta", left[0], pi[1] * vae[0])
    agree("eta", left[1], pi[1] * vae[1])
    h = world.domain_entropy_given_x()
    assert h > 1e-2
    agree("value", best.line1(theta, eta), world.lemma2(theta, eta) - h)
    agree(
        "so AAVAE weighs nothing",
        best.weighted_vae_loss(theta, eta),
        pi[1] * world.vae_loss(theta, eta),
    )
    joint = pi[:, None] * world.p_x_given_y()
    agree("H(y|x)", h, entropy(joint.flatten()) - entropy(joint.sum(0)))


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
    agree("D* is 0/1", w.optimal_discriminator(), D)
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
    agree("theta is not affected", left[0], world.p_y[1] * vae[0])
    differ("eta is", left[1], world.p_y[1] * vae[1])
    extra = gradient(world.shared_encoder_term, eta)
    agree("by the KL on samples", left[1] - world.p_y[1] * vae[1], extra)


def test_5_7_covering(world, points):
    theta, eta = points
    agree("E[-ELBO]", world.vae_loss(theta, eta), world.joint_kl(theta, eta) + world.data_entropy())
    parts = world.kl_data_g(theta) + world.posterior_gap(theta, eta)
    agree("joint KL", world.joint_kl(theta, eta), parts)


# ---- wake and sleep ----------------------------------------------------------------------------


def test_6_1_wake(world, points):
    theta, eta = points
    wake = gradient(lambda t: world.wake_loss(t, eta), theta)
    agree("the VAE's theta step", wake, gradient(lambda t: world.vae_loss(t, eta), theta))
    gap = gradient(lambda t: world.posterior_gap(t, eta), theta)
    differ("not the posterior KL", wake, gap)
    evidence = gradient(lambda t: expectation(world.p_data, world.p_g(t).log()), theta)
    agree("off by the evidence", wake - gap, -evidence)


def test_6_2_sleep(world, points):
    theta, eta = points
    sleep = gradient(lambda e: world.sleep_loss(theta, e), eta)
    agree("dreamed KL", sleep, gradient(lambda e: world.sleep_gap(theta, e), eta))
    differ("not the VAE's eta step", sleep, gradient(lambda e: world.vae_loss(theta, e), eta))
