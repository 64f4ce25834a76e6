"""Wake-sleep run on every state: each phase has the gradient of the KL that it declares."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from unigen_edu.declarations import Batch, Loss
from unigen_edu.exact.checks import gap, gradient, jacobian
from unigen_edu.exact.tables import entropy, expectation
from unigen_edu.exact.wake_sleep import HelmholtzWorld, binary_states
from unigen_edu.models.helmholtz import Helmholtz

TOLERANCE = 1e-12
WORLDS = [(0, (3, 2, 2)), (1, (3, 2, 2)), (2, (2, 3, 1)), (0, (2, 1, 2, 1))]


@pytest.fixture(params=WORLDS, ids=str)
def world(request) -> HelmholtzWorld:
    seed, sizes = request.param
    return HelmholtzWorld.random(seed, sizes)


def all_images(world: HelmholtzWorld) -> Batch:
    return Batch(world.x[:, None, None, :], weight=world.p_data)


def phase_gradient(model: Helmholtz, phase: str, batch: Batch) -> tuple[Loss, Tensor]:
    (moved,) = next(p.moves for p in model.phases if p.name == phase)
    loss = model.loss(phase, batch)
    found = torch.autograd.grad(loss.value, list(model.get_submodule(moved).parameters()))
    return loss, parameters_to_vector(found)


def test_the_laws_of_the_world_by_hand():
    """One unit after the other, in plain numbers."""
    world = HelmholtzWorld.random(0, (2, 1, 2))
    a, b, v00, v01, c, w0, w1, d0, d1 = world.theta0.tolist()  # top, h_2 -> h_1, h_1 -> x
    e0, e1, f, r0, r1, g0, g1 = world.eta0.tolist()  # x -> h_1, h_1 -> h_2

    def on(logit: float, state: int) -> float:
        p = 1 / (1 + torch.tensor(-logit, dtype=torch.float64).exp().item())
        return p if state else 1 - p

    p, q = world.p_xh(), world.q_h_given_x()
    assert p.shape == q.shape == (4, 8)
    for x0, x1, h, t0, t1 in itertools.product((0, 1), repeat=5):
        wanted_p = on(a, t0) * on(b, t1) * on(v00 * t0 + v01 * t1 + c, h)
        wanted_p *= on(w0 * h + d0, x0) * on(w1 * h + d1, x1)
        wanted_q = on(e0 * x0 + e1 * x1 + f, h) * on(r0 * h + g0, t0) * on(r1 * h + g1, t1)
        at = (2 * x0 + x1, 4 * h + 2 * t0 + t1)
        assert p[at].item() == pytest.approx(wanted_p, rel=1e-12)
        assert q[at].item() == pytest.approx(wanted_q, rel=1e-12)


def test_the_laws_sum_to_one(world):
    assert gap(world.p_xh().sum(), 1.0) < TOLERANCE
    assert gap(world.q_h_given_x().sum(1), torch.ones(len(world.x), dtype=torch.float64)) < 1e-12


def test_binary_states_count_up():
    assert binary_states(2).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


# ---- wake ----------------------------------------------------------------------------------------


def test_the_wake_phase_is_the_joint_kl(world):
    loss, grad = phase_gradient(world.model(), "wake", all_images(world))
    constant = entropy(world.p_data) + expectation(world.p_data, entropy(world.q_h_given_x()))
    assert gap(loss.value, world.wake_kl() + constant) < TOLERANCE
    assert gap(grad, gradient(world.wake_kl, world.theta0)) < TOLERANCE
    assert grad.abs().max() > 1e-3


def test_the_wake_phase_is_the_gradient_of_the_elbo_but_not_of_the_posterior_kl(world):
    _, grad = phase_gradient(world.model(), "wake", all_images(world))
    elbo = gradient(lambda theta: -expectation(world.p_data, world.elbo(theta)), world.theta0)
    assert gap(grad, elbo) < TOLERANCE
    assert gap(grad, gradient(world.variational_gap, world.theta0)) > 1e-4

    def evidence(theta: Tensor) -> Tensor:
        return -expectation(world.p_data, world.p_x(theta).log())

    missing = gradient(evidence, world.theta0)
    assert gap(grad, gradient(world.variational_gap, world.theta0) + missing) < TOLERANCE


# ---- sleep ---------------------------------------------------------------------------------------


def test_the_sleep_phase_is_the_kl_from_the_posterior_on_dreams(world):
    loss, grad = phase_gradient(world.model(), "sleep", all_images(world))
    assert gap(loss.value, world.sleep_kl() + world.cause_entropy_given_x()) < TOLERANCE
    assert gap(grad, gradient(lambda eta: world.sleep_kl(eta=eta), world.eta0)) < TOLERANCE
    assert grad.abs().max() > 1e-3


def test_the_sleep_phase_is_not_the_gradient_of_the_elbo(world):
    """The other direction on dreams, or the same direction on data: neither is the ELBO's."""
    _, grad = phase_gradient(world.model(), "sleep", all_images(world))

    def minus_elbo(eta: Tensor) -> Tensor:
        return -expectation(world.p_data, world.elbo(eta=eta))

    variational = gradient(minus_elbo, world.eta0)
    assert gap(variational, gradient(lambda e: world.variational_gap(eta=e), world.eta0)) < 1e-12
    assert gap(variational, gradient(lambda e: world.wake_kl(eta=e), world.eta0)) < TOLERANCE
    assert gap(grad, variational) > 1e-4
    assert gap(grad, gradient(lambda e: world.sleep_kl_on_data(eta=e), world.eta0)) > 1e-4


def test_learning_ones_own_answers_teaches_nothing(world):
    """Sleep on data, with causes from q itself: E_q grad log q = 0, whatever q is."""
    model, x = world.model(), world.x
    h, weight = model.recognition.sample(x)
    loss = -expectation(world.p_data, expectation(weight.detach(), model.log_q(h, x), dim=0))
    for found in torch.autograd.grad(loss, list(model.recognition.parameters())):
        assert found.abs().max() < TOLERANCE


def test_no_function_has_both_phases_as_its_gradient(world):
    """Second derivatives of a function commute; those of (wake, sleep) do not."""

    def wake_field(eta: Tensor) -> Tensor:
        return _grad(lambda theta: world.wake_loss(theta, eta), world.theta0)

    def sleep_field(theta: Tensor) -> Tensor:
        return _grad(lambda eta: world.sleep_loss(theta, eta), world.eta0)

    def elbo_field(eta: Tensor) -> Tensor:
        return _grad(lambda t: -expectation(world.p_data, world.elbo(t, eta)), world.theta0)

    def elbo_field_of_eta(theta: Tensor) -> Tensor:
        return _grad(lambda e: -expectation(world.p_data, world.elbo(theta, e)), world.eta0)

    of_eta = jacobian(wake_field, world.eta0)
    of_theta = jacobian(sleep_field, world.theta0)
    assert gap(of_eta, of_theta.T) > 1e-4
    one, other = jacobian(elbo_field, world.eta0), jacobian(elbo_field_of_eta, world.theta0)
    assert gap(one, other.T) < TOLERANCE


def _grad(f, at: Tensor) -> Tensor:
    at = at.detach().clone().requires_grad_()
    return torch.autograd.grad(f(at), at, create_graph=True)[0]


def test_both_phases_rest_when_the_machine_is_right():
    """Dreams as data and the true posterior as recognition. Independent units make both easy."""
    world = HelmholtzWorld.random(0)
    bottom = world.sizes[0] * world.sizes[1]
    theta, eta = world.theta0.clone(), world.eta0.clone()
    top, middle = world.sizes[-1], world.sizes[-1] * world.sizes[-2]
    theta[top : top + middle] = 0  # h_2 does not reach h_1
    theta[top + middle + world.sizes[1] :][:bottom] = 0  # h_1 does not reach x
    eta[:bottom] = 0
    eta[bottom : bottom + world.sizes[1]] = theta[top + middle :][: world.sizes[1]]
    eta[bottom + world.sizes[1] :][:middle] = 0
    eta[-top:] = theta[:top]
    data = HelmholtzWorld(world.sizes, world.p_data, theta, eta).p_x()
    right = HelmholtzWorld(world.sizes, data, theta, eta)
    for phase in ("wake", "sleep"):
        _, grad = phase_gradient(right.model(), phase, all_images(right))
        assert grad.abs().max() < TOLERANCE


def test_neither_phase_asks_how_the_other_network_should_draw(world):
    """Here the probabilities of the draws carry a gradient, which the phases must not hand on."""
    model = world.model()
    for phase, other in (("wake", model.recognition), ("sleep", model.generative)):
        loss = model.loss(phase, all_images(world))
        found = torch.autograd.grad(loss.value, list(other.parameters()), allow_unused=True)
        assert all(gradient is None for gradient in found)


# ---- bounds --------------------------------------------------------------------------------------


def test_log_weights_give_the_elbo_and_the_evidence(world):
    model = world.model()
    _, q = model.recognition.sample(world.x)
    log_w = model.log_weights(world.x[:, None, None, :], 1)
    assert gap(expectation(q, log_w, dim=0), world.elbo()) < TOLERANCE
    assert gap(expectation(q, log_w.exp(), dim=0), world.p_x()) < TOLERANCE
