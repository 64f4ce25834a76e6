"""Chapter 3: every labelled equation, on random machines of which every state is listed.

The losses and divergences are rebuilt here as plain sums over pairs (x, h), from the two tables
p_theta(x, h) and q_eta(h|x) alone: no equation is compared with the method that computes it.
The machine with a continuous cause is integrated by quadrature.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.autograd.functional import hessian

from unigen_edu.declarations import Batch
from unigen_edu.exact.checks import gap, gradient, jacobian
from unigen_edu.exact.vae import VAEWorld
from unigen_edu.exact.wake_sleep import HelmholtzWorld, binary_states

WORLDS = [HelmholtzWorld.random(seed) for seed in range(3)]
WORLDS += [HelmholtzWorld.random(seed, (2, 3, 1)) for seed in range(2)]
WORLDS += [HelmholtzWorld.random(0, (2, 1, 2, 1))]
TABLES = [VAEWorld.random(seed, n_x=4, n_z=3) for seed in range(5)]

each_world = pytest.mark.parametrize("w", WORLDS, ids=lambda w: str(w.sizes))


def mean(law: Tensor, value: Tensor) -> Tensor:
    return (law * value).sum()


def kl_by_hand(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p / q).log()).sum()


def entropy_by_hand(p: Tensor) -> Tensor:
    return -(p * p.log()).sum()


def day(w: HelmholtzWorld, eta: Tensor | None = None) -> Tensor:
    """P(x, h): (X, H)"""
    return torch.einsum("x,xh->xh", w.p_data, w.q_h_given_x(eta))


def night(w: HelmholtzWorld, theta: Tensor | None = None) -> Tensor:
    """Q(x, h): (X, H)"""
    return w.p_xh(theta)


def wake(w: HelmholtzWorld, theta: Tensor, eta: Tensor) -> Tensor:
    return -mean(day(w, eta), night(w, theta).log())


def sleep(w: HelmholtzWorld, theta: Tensor, eta: Tensor) -> Tensor:
    return -mean(night(w, theta), w.q_h_given_x(eta).log())


def minus_elbo(w: HelmholtzWorld, theta: Tensor, eta: Tensor) -> Tensor:
    """E_pdata E_q log q(h|x) / p(x, h), one picture at a time."""
    q, p = w.q_h_given_x(eta), night(w, theta)
    rows = [(a * (a / b).log()).sum() for a, b in zip(q, p, strict=True)]
    return mean(w.p_data, torch.stack(rows))


def posterior(w: HelmholtzWorld, theta: Tensor) -> Tensor:
    joint = night(w, theta)
    return joint / joint.sum(1, keepdim=True)


def gap_on_data(w: HelmholtzWorld, theta: Tensor, eta: Tensor) -> Tensor:
    """E_pdata KL(q || posterior)."""
    q, p = w.q_h_given_x(eta), posterior(w, theta)
    return mean(w.p_data, torch.stack([kl_by_hand(a, b) for a, b in zip(q, p, strict=True)]))


def log_likelihood(w: HelmholtzWorld, theta: Tensor) -> Tensor:
    return mean(w.p_data, night(w, theta).sum(1).log())


def graph_gradient(f, at: Tensor) -> Tensor:
    """The gradient of f, differentiable once more."""
    if not at.requires_grad:
        at = at.detach().clone().requires_grad_()
    return torch.autograd.grad(f(at), at, create_graph=True)[0]


# ---- what the phases reduce ----------------------------------------------------------------------


@pytest.mark.equation("eq-wakesleep-wake", "eq-wakesleep-bound")
@each_world
def test_the_wake_loss_and_the_bound_are_the_kl_of_the_joints(w: HelmholtzWorld, measure):
    kl = kl_by_hand(day(w), night(w))
    q_entropy = torch.stack([entropy_by_hand(q) for q in w.q_h_given_x()])
    loss = w.model().loss("wake", Batch(w.x[:, None, None, :], weight=w.p_data)).value
    constant = entropy_by_hand(w.p_data) + mean(w.p_data, q_entropy)
    assert measure("eq-wakesleep-wake", loss, kl + constant)
    gradients = [
        gradient(lambda t, f=f: f(w, t, w.eta0), w.theta0)
        for f in (wake, lambda w, t, e: kl_by_hand(day(w, e), night(w, t)), minus_elbo)
    ]
    assert measure("eq-wakesleep-wake", gradients[0], gradients[1])
    assert measure("eq-wakesleep-wake", gradients[0], gradients[2])

    value = minus_elbo(w, w.theta0, w.eta0)
    assert measure("eq-wakesleep-bound", value, kl + entropy_by_hand(w.p_data))
    parts = kl_by_hand(w.p_data, night(w).sum(1)) + gap_on_data(w, w.theta0, w.eta0)
    assert measure("eq-wakesleep-bound", value, entropy_by_hand(w.p_data) + parts)


@pytest.mark.equation("eq-wakesleep-missing", "eq-wakesleep-fisher")
@each_world
def test_the_wake_step_is_more_than_the_kl_to_the_posterior(w: HelmholtzWorld, measure):
    step = gradient(lambda t: wake(w, t, w.eta0), w.theta0)
    to_posterior = gradient(lambda t: gap_on_data(w, t, w.eta0), w.theta0)
    likelihood = gradient(lambda t: log_likelihood(w, t), w.theta0)
    assert measure("eq-wakesleep-missing", step, to_posterior - likelihood)
    assert measure("eq-wakesleep-missing", step, to_posterior, 1e-4, "!=")

    pairs = w.p_data[:, None] * posterior(w, w.theta0)
    assert measure(
        "eq-wakesleep-fisher",
        gradient(lambda t: mean(pairs, night(w, t).log()), w.theta0),
        likelihood,
    )
    assert measure("eq-wakesleep-fisher", -step, likelihood, 1e-4, "!=")


@pytest.mark.equation("eq-wakesleep-sleep", "eq-wakesleep-reverse")
@each_world
def test_the_sleep_loss_is_the_kl_read_backwards(w: HelmholtzWorld, measure):
    p, q = posterior(w, w.theta0), w.q_h_given_x()
    dreams = night(w).sum(1)
    kl = torch.stack([kl_by_hand(a, b) for a, b in zip(p, q, strict=True)])
    rest = torch.stack([entropy_by_hand(a) for a in p])
    loss = w.model().loss("sleep", Batch(w.x[:, None, None, :], weight=w.p_data)).value
    assert measure("eq-wakesleep-sleep", loss, mean(dreams, kl) + mean(dreams, rest))
    assert measure("eq-wakesleep-sleep", loss, mean(w.p_data, kl) + mean(dreams, rest), 1e-4, "!=")

    step = gradient(lambda e: sleep(w, w.theta0, e), w.eta0)
    backwards = gradient(lambda e: kl_by_hand(night(w), day(w, e)), w.eta0)
    forwards = gradient(lambda e: kl_by_hand(day(w, e), night(w)), w.eta0)
    assert measure("eq-wakesleep-reverse", step, backwards)
    assert measure("eq-wakesleep-reverse", step, forwards, 1e-4, "!=")


# ---- the delta rule ------------------------------------------------------------------------------


@pytest.mark.equation("eq-wakesleep-logit", "eq-wakesleep-delta")
@pytest.mark.parametrize("seed", range(5))
def test_the_delta_rule_of_one_unit(seed: int, measure):
    g = torch.Generator().manual_seed(seed)
    s, weights = torch.randn(2, 4, generator=g, dtype=torch.float64)
    bias = torch.randn((), generator=g, dtype=torch.float64)
    p = 1 / (1 + math.exp(-float(weights @ s + bias)))
    for drawn in (0.0, 1.0):

        def log_p(w: Tensor, b: Tensor, drawn: float = drawn) -> Tensor:
            on = torch.sigmoid(w @ s + b)
            return drawn * on.log() + (1 - drawn) * (1 - on).log()

        by_hand = math.log(p) if drawn else math.log(1 - p)
        assert measure("eq-wakesleep-logit", log_p(weights, bias), by_hand)
        assert measure("eq-wakesleep-logit", gradient(lambda b: log_p(weights, b), bias), drawn - p)
        found = gradient(lambda w: log_p(w, bias), weights)
        assert measure("eq-wakesleep-delta", found, (drawn - p) * s)
        assert measure("eq-wakesleep-delta", gradient(lambda b: log_p(weights, b), bias), drawn - p)


def layer_averages(sizes: tuple[int, ...], flat: Tensor, states: list[Tensor], law: Tensor):
    """E[(d - p) s^T] and E[d - p] of each layer, unit by unit; in the order of the parameters."""
    found, at = [], 0
    for (n_in, n_out), s, d in zip(pairwise(sizes), states, states[1:], strict=False):
        weight = flat[at : at + n_in * n_out].reshape(n_out, n_in)
        at += n_in * n_out
        bias = flat[at : at + n_out]
        at += n_out
        surprise = [d[:, j] - 1 / (1 + (-(s @ weight[j]) - bias[j]).exp()) for j in range(n_out)]
        found += [mean(law, surprise[j] * s[:, i]) for j in range(n_out) for i in range(n_in)]
        found += [mean(law, surprise[j]) for j in range(n_out)]
    return torch.stack(found)


@pytest.mark.equation("eq-wakesleep-layers")
@each_world
def test_both_phases_follow_the_delta_rule(w: HelmholtzWorld, measure):
    units = sum(w.sizes)
    states = binary_states(units)  # every picture with every state of the causes, x slowest
    up = list(states.split(list(w.sizes), dim=1))
    pairs_day, pairs_night = day(w).flatten(), night(w).flatten()

    recognition = layer_averages(w.sizes, w.eta0, up, pairs_night)
    assert measure(
        "eq-wakesleep-layers", recognition, -gradient(lambda e: sleep(w, w.theta0, e), w.eta0)
    )
    top = w.sizes[-1]
    always_on = torch.ones(len(states), 0, dtype=torch.float64)  # the top layer has biases only
    sizes, down = (0, *reversed(w.sizes)), [always_on, *reversed(up)]
    generative = layer_averages(sizes, w.theta0, down, pairs_day)
    assert measure(
        "eq-wakesleep-layers", generative, -gradient(lambda t: wake(w, t, w.eta0), w.theta0)
    )
    assert generative[:top].abs().max() > 1e-3


# ---- sleep beside the bound ----------------------------------------------------------------------


def scores(w: HelmholtzWorld) -> Tensor:
    """grad log q(h|x) of each pair: (X H, parameters)"""
    return jacobian(lambda e: w.q_h_given_x(e).log().flatten(), w.eta0)


@pytest.mark.equation("eq-wakesleep-score", "eq-wakesleep-ratio")
@each_world
def test_the_bound_weighs_with_log_w_and_sleep_with_w_minus_1(w: HelmholtzWorld, measure):
    g, pairs = scores(w), day(w).flatten()
    by_picture = g.reshape(len(w.p_data), -1, g.shape[1])
    averages = torch.einsum("xh,xhk->xk", w.q_h_given_x(), by_picture)
    assert measure("eq-wakesleep-score", averages, torch.zeros_like(averages))
    from_dreams = torch.einsum("xh,xhk->xk", posterior(w, w.theta0), by_picture)
    assert measure("eq-wakesleep-score", from_dreams, torch.zeros_like(averages), 1e-4, "!=")

    ratio = (night(w) / day(w)).flatten()
    bound = gradient(lambda e: minus_elbo(w, w.theta0, e), w.eta0)
    step = gradient(lambda e: sleep(w, w.theta0, e), w.eta0)
    assert measure("eq-wakesleep-ratio", bound, -(pairs * ratio.log()) @ g)
    assert measure("eq-wakesleep-ratio", step, -(pairs * (ratio - 1)) @ g)
    assert measure("eq-wakesleep-ratio", bound, step, 1e-4, "!=")


@pytest.mark.equation("eq-wakesleep-cross")
@pytest.mark.parametrize("w", WORLDS[::3], ids=lambda w: str(w.sizes))
def test_the_mixed_derivatives_of_day_and_night(w: HelmholtzWorld, measure):
    by_day = jacobian(lambda e: graph_gradient(lambda t: wake(w, t, e), w.theta0), w.eta0)
    by_night = jacobian(lambda t: graph_gradient(lambda e: sleep(w, t, e), w.eta0), w.theta0).T
    s_theta = jacobian(lambda t: night(w, t).log().flatten(), w.theta0)
    for found, law in ((by_day, day(w)), (by_night, night(w))):
        products = torch.einsum("n,ni,nj->ij", law.flatten(), s_theta, scores(w))
        assert measure("eq-wakesleep-cross", found, -products)
    assert measure("eq-wakesleep-cross", by_day, by_night, 1e-4, "!=")


def table_losses(w: VAEWorld):
    """wake, sleep and KL(P || Q) of tables, as functions of (theta, eta)."""

    def joints(t: Tensor, e: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q = e.exp() / e.exp().sum(1, keepdim=True)
        p = (w.p_z_given_y[0][:, None] * t.exp() / t.exp().sum(1, keepdim=True)).T
        return w.p_data[:, None] * q, p, q

    def of_wake(t: Tensor, e: Tensor) -> Tensor:
        inferred, p, _ = joints(t, e)
        return -mean(inferred, p.log())

    def of_sleep(t: Tensor, e: Tensor) -> Tensor:
        _, p, q = joints(t, e)
        return -mean(p, q.log())

    def of_kl(t: Tensor, e: Tensor) -> Tensor:
        inferred, p, _ = joints(t, e)
        return kl_by_hand(inferred, p)

    return of_wake, of_sleep, of_kl, joints


@pytest.mark.equation("eq-wakesleep-rest", "eq-wakesleep-local")
@pytest.mark.parametrize("start", TABLES)
def test_at_the_goal_both_rest_and_agree_with_the_bound(start: VAEWorld, measure):
    arrived = replace(start, p_data=start.p_g(), eta0=start.p_z_given_x().log())
    for w, at_goal in ((arrived, True), (start, False)):
        of_wake, of_sleep, of_kl, joints = table_losses(w)
        n = w.theta0.numel()

        def split(v: Tensor, w: VAEWorld = w, n: int = n) -> tuple[Tensor, Tensor]:
            return v[:n].view_as(w.theta0), v[n:].view_as(w.eta0)

        def field(v: Tensor, split=split, of_wake=of_wake, of_sleep=of_sleep) -> Tensor:
            t, e = split(v)
            day_step = graph_gradient(lambda a: of_wake(a, e), t)
            night_step = graph_gradient(lambda a: of_sleep(t, a), e)
            return torch.cat([day_step.flatten(), night_step.flatten()])

        here = torch.cat([w.theta0.flatten(), w.eta0.flatten()]).requires_grad_()
        slopes = torch.autograd.functional.jacobian(field, here)
        second = hessian(lambda v, split=split, of_kl=of_kl: of_kl(*split(v)), here)
        if not at_goal:
            assert measure("eq-wakesleep-rest", field(here), torch.zeros(len(here)), 1e-3, "!=")
            assert measure("eq-wakesleep-local", slopes, second, 1e-4, "!=")
            continue
        assert measure("eq-wakesleep-rest", field(here), torch.zeros(len(here)))
        assert measure("eq-wakesleep-local", slopes, second)

        def log_joint(v: Tensor, joints=joints, split=split) -> Tensor:
            return joints(*split(v))[1].log().flatten()

        def log_q(v: Tensor, joints=joints, split=split) -> Tensor:
            return joints(*split(v))[2].log().flatten()

        s = jacobian(log_joint, here) - jacobian(log_q, here)  # (s_theta, -s_eta)
        law = joints(w.theta0, w.eta0)[1].flatten()
        assert measure("eq-wakesleep-local", slopes, torch.einsum("n,ni,nj->ij", law, s, s))


@pytest.mark.equation("eq-wakesleep-collapse")
@each_world
def test_the_mean_of_the_joint_is_largest_on_one_cause(w: HelmholtzWorld, measure):
    log_p = night(w).log()
    corners = torch.eye(log_p.shape[1], dtype=torch.float64)
    best = torch.stack([(corners @ row).max() for row in log_p])
    assert measure("eq-wakesleep-collapse", best, log_p.max(1).values)
    g = torch.Generator().manual_seed(0)
    others = torch.rand(200, log_p.shape[1], generator=g, dtype=torch.float64)
    others = others / others.sum(1, keepdim=True)
    assert measure("eq-wakesleep-collapse", (others @ log_p.T).max(0).values, best, relation="<=")


# ---- a cause known by its square -----------------------------------------------------------------

H = torch.linspace(-12, 12, 2401, dtype=torch.float64)
STEP = float(H[1] - H[0])
XS = [-0.5, 0.3, 1.0, 2.0, 3.5]


def log_joint_of_square(x: float, s: float) -> Tensor:
    """log p(h) p(x|h) on the grid."""
    log_prior = -(H**2) / 2 - 0.5 * math.log(2 * math.pi)
    return log_prior - (x - H**2) ** 2 / (2 * s**2) - 0.5 * math.log(2 * math.pi * s**2)


def log_normal(m: Tensor, v: Tensor) -> Tensor:
    return -((H - m) ** 2) / (2 * v) - 0.5 * torch.log(2 * math.pi * v)


def minus_elbo_by_quadrature(x: float, s: float, m: Tensor, v: Tensor) -> Tensor:
    log_q = log_normal(m, v)
    return (log_q.exp() * (log_q - log_joint_of_square(x, s))).sum() * STEP


@pytest.mark.equation("eq-wakesleep-moments")
@pytest.mark.parametrize("x", XS)
def test_sleep_fits_the_moments(x: float, measure):
    p = log_joint_of_square(x, 0.5).exp()
    p = p / p.sum()

    def kl(m: Tensor, v: Tensor) -> Tensor:
        return -(p * log_normal(m, v)).sum()  # up to the entropy of p

    m = (p * H).sum()
    v = (p * H**2).sum() - m**2
    assert measure("eq-wakesleep-moments", gradient(lambda m: kl(m, v), m), 0.0)
    assert measure("eq-wakesleep-moments", gradient(lambda v: kl(m, v), v), 0.0)
    for dm, factor in ((0.1, 1.0), (-0.1, 1.0), (0.0, 1.2), (0.0, 0.8), (0.1, 1.2)):
        assert measure("eq-wakesleep-moments", kl(m, v), kl(m + dm, v * factor), relation="<=")


@pytest.mark.equation("eq-wakesleep-square-bound", "eq-wakesleep-seek")
@pytest.mark.parametrize("x", XS)
@pytest.mark.parametrize("s", [0.3, 0.5, 1.0])
def test_the_bounds_normal(x: float, s: float, measure):
    def closed_form(m: Tensor, v: Tensor) -> Tensor:
        h2, h4 = m**2 + v, m**4 + 6 * m**2 * v + 3 * v**2
        fit_term = 0.5 * math.log(2 * math.pi * s**2) + (x**2 - 2 * x * h2 + h4) / (2 * s**2)
        return fit_term + 0.5 * (m**2 + v - 1 - torch.log(v))

    c = 2 * x - s**2
    v_one = torch.tensor((c + math.sqrt(c**2 + 24 * s**2)) / 12, dtype=torch.float64)
    candidates = [(torch.zeros((), dtype=torch.float64), v_one)]
    if c >= math.sqrt(12) * s:
        v_two = torch.tensor((c - math.sqrt(c**2 - 12 * s**2)) / 12, dtype=torch.float64)
        candidates.append(((c / 2 - 3 * v_two).sqrt(), v_two))
    for m, v in candidates:
        by_quadrature = minus_elbo_by_quadrature(x, s, m, v)
        assert measure("eq-wakesleep-square-bound", closed_form(m, v), by_quadrature, 1e-9)
        assert measure("eq-wakesleep-seek", gradient(lambda m, v=v: closed_form(m, v), m), 0.0)
        assert measure("eq-wakesleep-seek", gradient(lambda v, m=m: closed_form(m, v), v), 0.0)
    # No other normal of a fine grid does better than the better candidate.
    best = min(float(closed_form(m, v)) for m, v in candidates)
    m_grid = torch.linspace(0, 2.5, 126, dtype=torch.float64)[:, None]
    v_grid = torch.linspace(-6, 1, 141, dtype=torch.float64).exp()[None]
    assert measure("eq-wakesleep-seek", best, closed_form(m_grid, v_grid).min(), relation="<=")


@pytest.mark.equation("eq-wakesleep-noise")
@pytest.mark.parametrize("seed", range(3))
def test_the_day_fits_the_noise(seed: int, measure):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(6, generator=g, dtype=torch.float64)
    p_x = torch.rand(6, generator=g, dtype=torch.float64)
    p_x = p_x / p_x.sum()
    m = torch.randn(6, 1, generator=g, dtype=torch.float64)
    q = torch.exp(-((H[None] - m) ** 2) / 0.5)
    pairs = p_x[:, None] * q / q.sum(1, keepdim=True)
    squares = (x[:, None] - H[None] ** 2) ** 2

    def day_loss(log_s: Tensor) -> Tensor:
        return mean(pairs, 0.5 * math.log(2 * math.pi) + log_s + squares / (2 * (2 * log_s).exp()))

    s = mean(pairs, squares).sqrt()
    assert measure("eq-wakesleep-noise", gradient(day_loss, s.log()), 0.0)
    for factor in (0.8, 1.25):
        assert measure(
            "eq-wakesleep-noise", day_loss(s.log()), day_loss((factor * s).log()), 0, "<="
        )
    assert gap(s**2, mean(pairs, squares)) < 1e-12
