"""Chapter 20: every labelled equation, on chains that can be listed and densities in closed form.

The two sides are computed independently: the bound of a diffusion by listing all paths, and layer
by layer from tables of marginals; normal posteriors from a grid; slopes by central differences.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from unigen_edu.exact.checks import gradient
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.tables import (
    entropy,
    expectation,
    generator_from,
    jsd,
    jsd_weighted,
    kl_p_q,
    mutual_information,
    normalise,
    random_distribution,
)

SEEDS = range(6)
X, T = 3, 3
WORLDS = [GANWorld.random(seed) for seed in SEEDS]
PATHS = list(itertools.product(range(X), repeat=T + 1))  # x_0, ..., x_T


class Chain:
    """noise[t][a, b] = q(x_t=b|x_(t-1)=a) and clean[t][b, a] = p(x_(t-1)=a|x_t=b), t = 1..T."""

    def __init__(self, seed: int):
        g = generator_from(seed)
        self.p_data = random_distribution(X, generator=g)
        self.prior = random_distribution(X, generator=g)
        self.noise = {t: random_distribution(X, X, generator=g) for t in range(1, T + 1)}
        self.clean = {t: random_distribution(X, X, generator=g) for t in range(1, T + 1)}

    def laws(self) -> tuple[Tensor, Tensor]:
        """q(x_1:T|x_0) and p_theta(x_0:T) of every path, one after the other."""
        q, p = [], []
        for path in PATHS:
            forward, backward = 1.0, self.prior[path[-1]]
            for t in range(1, T + 1):
                forward = forward * self.noise[t][path[t - 1], path[t]]
                backward = backward * self.clean[t][path[t], path[t - 1]]
            q.append(forward)
            p.append(backward)
        return torch.stack(q), torch.stack(p)

    def joint(self) -> Tensor:
        """p_data(x_0) q(x_1:T|x_0) as a table with T + 1 axes."""
        start = torch.stack([self.p_data[path[0]] for path in PATHS])
        return (start * self.laws()[0]).reshape((X,) * (T + 1))

    def marginal(self, *axes: int) -> Tensor:
        """q of the x_t of some t, in their order."""
        others = [t for t in range(T + 1) if t not in axes]
        table = self.joint()
        return table.sum(others) if others else table


CHAINS = [Chain(seed) for seed in SEEDS]


@pytest.mark.equation("eq-outlook-joint-kl")
def test_a_diffusion_is_a_vae(measure):
    for w in CHAINS:
        q, p = w.laws()
        minus_elbo = (q * (q / p).log()).reshape(X, -1).sum(1)
        joint_kl = kl_p_q(w.joint().flatten(), p)
        assert measure("eq-outlook-joint-kl", w.p_data @ minus_elbo, joint_kl + entropy(w.p_data))


@pytest.mark.equation("eq-outlook-ratio")
def test_a_noising_step_turned_around(measure):
    for w in CHAINS:
        for t in range(2, T + 1):
            three = w.marginal(0, t - 1, t)  # q(x_0, x_(t-1), x_t)
            posterior = three / three.sum(1, keepdim=True)
            to_t = normalise(w.marginal(0, t))[:, None, :]
            to_before = normalise(w.marginal(0, t - 1))[:, :, None]
            right = posterior * to_t / to_before
            assert measure("eq-outlook-ratio", w.noise[t].expand(X, X, X), right)


@pytest.mark.equation("eq-outlook-bound")
def test_the_bound_is_a_sum_over_layers(measure):
    for w in CHAINS:
        q, p = w.laws()
        minus_elbo = (q * (q / p).log()).reshape(X, -1).sum(1)
        total = kl_p_q(normalise(w.marginal(0, T)), w.prior.expand(X, -1))
        for t in range(2, T + 1):
            three = w.marginal(0, t - 1, t)
            back = normalise(three.transpose(1, 2))  # q(x_(t-1)|x_t, x_0): [x_0, x_t, x_(t-1)]
            kl = kl_p_q(back, w.clean[t].expand(X, X, X))
            total = total + (normalise(w.marginal(0, t)) * kl).sum(1)
        first = normalise(w.marginal(0, 1))
        total = total - (first * w.clean[1].log().T).sum(1)
        assert measure("eq-outlook-bound", minus_elbo, total)


@pytest.mark.equation("eq-outlook-tower")
def test_every_layer_is_compared_with_the_true_reversal(measure):
    for w in CHAINS:
        joint_kl = kl_p_q(w.joint().flatten(), w.laws()[1])
        total = kl_p_q(w.marginal(T), w.prior)
        for t in range(1, T + 1):
            reversal = normalise(w.marginal(t - 1, t).T)
            total = total + expectation(w.marginal(t), kl_p_q(reversal, w.clean[t]))
        assert measure("eq-outlook-tower", joint_kl, total)
        w_best = Chain(0)
        w_best.__dict__.update(w.__dict__)
        w_best.clean = {t: normalise(w.marginal(t - 1, t).T) for t in range(1, T + 1)}
        left = kl_p_q(w.joint().flatten(), w_best.laws()[1])
        assert measure("eq-outlook-tower", left, kl_p_q(w.marginal(T), w.prior))


# ---- Gaussian noise ----------------------------------------------------------------------------

BETA = torch.tensor([0.02, 0.1, 0.3, 0.5], dtype=torch.float64)  # t = 1..4
ALPHA_BAR = (1 - BETA).cumprod(0)


@pytest.mark.equation("eq-outlook-jump")
def test_many_small_steps_are_one_jump(measure):
    mean, variance = torch.tensor([1.7, 0.0], dtype=torch.float64)
    for t, beta in enumerate(BETA):
        mean, variance = (1 - beta).sqrt() * mean, (1 - beta) * variance + beta
        assert measure("eq-outlook-jump", mean, ALPHA_BAR[t].sqrt() * 1.7)
        assert measure("eq-outlook-jump", variance, 1 - ALPHA_BAR[t])


def normal(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return torch.distributions.Normal(mean, variance.sqrt()).log_prob(x).exp()


def posterior_parts(t: int, x_t: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    """mu_t(eps) and beta~_t, as the chapter states them (t counts from 0 here)."""
    mu = (x_t - BETA[t] / (1 - ALPHA_BAR[t]).sqrt() * eps) / (1 - BETA[t]).sqrt()
    return mu, BETA[t] * (1 - ALPHA_BAR[t - 1]) / (1 - ALPHA_BAR[t])


@pytest.mark.equation("eq-outlook-posterior", "eq-outlook-regression")
def test_the_turned_around_step_by_bayes_rule_on_a_grid(measure):
    grid = torch.linspace(-12, 12, 48_001, dtype=torch.float64)
    for t, x_0, eps, guess in ((1, 0.4, -0.7, 0.1), (2, -1.3, 1.1, 0.2), (3, 0.8, 0.3, -1.5)):
        x_0, eps, guess = (torch.tensor(v, dtype=torch.float64) for v in (x_0, eps, guess))
        x_t = ALPHA_BAR[t].sqrt() * x_0 + (1 - ALPHA_BAR[t]).sqrt() * eps
        before = normal(grid, ALPHA_BAR[t - 1].sqrt() * x_0, 1 - ALPHA_BAR[t - 1])
        density = before * normal(x_t, (1 - BETA[t]).sqrt() * grid, BETA[t])
        density = density / torch.trapezoid(density, grid)
        mean = torch.trapezoid(density * grid, grid)
        variance = torch.trapezoid(density * (grid - mean) ** 2, grid)
        mu, beta_tilde = posterior_parts(t, x_t, eps)
        assert measure("eq-outlook-posterior", mean, mu)
        assert measure("eq-outlook-posterior", variance, beta_tilde)

        other = normal(grid, posterior_parts(t, x_t, guess)[0], beta_tilde)
        there = density > 1e-200
        log_ratio = torch.where(there, (density / other.clamp_min(1e-300)).log(), 0.0)
        kl = torch.trapezoid(density * log_ratio, grid)
        weight = BETA[t] ** 2 / (2 * beta_tilde * (1 - BETA[t]) * (1 - ALPHA_BAR[t]))
        assert measure("eq-outlook-regression", kl, weight * (eps - guess) ** 2, 1e-9)


@pytest.mark.equation("eq-outlook-score")
def test_the_expected_noise_is_a_slope(measure):
    for seed in SEEDS:
        g = generator_from(seed)
        data, share = torch.randn(6, generator=g).double(), random_distribution(6, generator=g)
        for a in ALPHA_BAR:

            def log_q(x, a=a, data=data, share=share):
                return (share * normal(x, a.sqrt() * data, (1 - a).expand(6))).sum().log()

            x = torch.randn((), generator=g).double()
            given = normalise(share * normal(x, a.sqrt() * data, (1 - a).expand(6)))
            noise = given @ (x - a.sqrt() * data) / (1 - a).sqrt()
            h = 1e-5
            slope = (log_q(x + h) - log_q(x - h)) / (2 * h)
            assert measure("eq-outlook-score", noise, -(1 - a).sqrt() * slope, 1e-6)
            by_autograd = -(1 - a).sqrt() * gradient(log_q, x)
            assert measure("eq-outlook-score", noise, by_autograd)


# ---- neighbours --------------------------------------------------------------------------------


@pytest.mark.equation("eq-outlook-flow")
def test_the_density_of_an_invertible_map_of_the_plane(measure):
    """Mass near a point, by listing a fine grid of codes, against the formula; and in total one."""

    def generate(z: Tensor) -> Tensor:
        first = z[..., 0] + 0.5 * torch.tanh(z[..., 1])
        return torch.stack([first, 0.7 * z[..., 1] + 0.3 * torch.sin(first)], -1)

    def invert(x: Tensor) -> Tensor:
        second = (x[..., 1] - 0.3 * torch.sin(x[..., 0])) / 0.7
        return torch.stack([x[..., 0] - 0.5 * torch.tanh(second), second], -1)

    standard = torch.distributions.Normal(0.0, 1.0)

    def log_density(x: Tensor) -> Tensor:
        z = invert(x)
        jacobian = torch.func.vmap(torch.func.jacrev(generate))(z)
        return standard.log_prob(z).sum(-1) - torch.linalg.det(jacobian).abs().log()

    axis = torch.linspace(-7, 7, 281, dtype=torch.float64)
    cell = (axis[1] - axis[0]) ** 2
    x = torch.cartesian_prod(axis, axis)
    p = log_density(x).exp() * cell
    assert measure("eq-outlook-flow", p.sum(), 1.0, 1e-6)
    # The mean of a test function, over x with this density and over z through the generator.
    z_law = standard.log_prob(x).sum(1).exp() * cell
    for f in (torch.cos, torch.tanh):
        over_x, over_z = p @ f(2 * x + 1), z_law @ f(2 * generate(x) + 1)
        assert measure("eq-outlook-flow", over_x, over_z, 1e-6)


@pytest.mark.equation("eq-outlook-judge")
def test_two_known_densities_are_a_judge(measure):
    for w in WORLDS:
        found = torch.sigmoid(w.p_data.log() - w.p_g().log())
        assert measure("eq-outlook-judge", found, w.optimal_discriminator())
        # It is the best: no slope is left in the discriminator's objective.
        slope = gradient(w.discriminator_objective, torch.logit(found))
        assert measure("eq-outlook-judge", slope, torch.zeros(5))


@pytest.mark.equation("eq-outlook-autoregressive")
def test_the_divergence_of_a_chain_is_a_sum(measure):
    for seed in SEEDS:
        g = generator_from(seed)
        p, q = (random_distribution(24, generator=g).reshape(2, 3, 4) for _ in range(2))
        total = kl_p_q(p.sum((1, 2)), q.sum((1, 2)))
        for a in range(2):
            p_a, q_a = (law[a].sum(1) / law[a].sum() for law in (p, q))
            total = total + p[a].sum() * kl_p_q(p_a, q_a)
            for b in range(3):
                conditional = kl_p_q(normalise(p[a, b]), normalise(q[a, b]))
                total = total + p[a, b].sum() * conditional
        assert measure("eq-outlook-autoregressive", kl_p_q(p.flatten(), q.flatten()), total)


@pytest.mark.equation("eq-outlook-energy")
def test_data_down_and_dreams_up(measure):
    for seed in SEEDS:
        g = generator_from(seed)
        features = torch.randn(
            5, 3, generator=g, dtype=torch.float64
        )  # E = features theta + theta^2
        theta = torch.randn(3, generator=g, dtype=torch.float64)
        p_data = random_distribution(5, generator=g)

        def energy(theta, features=features):
            return features @ theta + (features @ theta**2) ** 2

        slopes = torch.autograd.functional.jacobian(energy, theta)
        dreams = (-energy(theta)).softmax(0)
        exact = gradient(lambda t, p=p_data: kl_p_q(p, (-energy(t)).softmax(0)), theta)
        assert measure("eq-outlook-energy", exact, p_data @ slopes - dreams @ slopes)


@pytest.mark.equation("eq-outlook-wasserstein")
def test_how_far_a_point_is_carried(measure):
    """The largest difference of means over functions of slope at most one: a linear program."""
    scipy_optimize = pytest.importorskip("scipy.optimize")
    places = torch.tensor([0.0, 0.4, 1.5, 2.0, 4.5]).double()
    rows, bounds = [], []
    for i, j in itertools.permutations(range(5), 2):
        row = torch.zeros(5)
        row[i], row[j] = 1.0, -1.0
        rows.append(row.tolist())
        bounds.append(float((places[i] - places[j]).abs()))
    for at in range(1, 5):
        objective = torch.zeros(5)
        objective[0], objective[at] = -1.0, 1.0  # minimise -(E_p f - E_q f)
        found = scipy_optimize.linprog(
            objective.tolist(), A_ub=rows, b_ub=bounds, bounds=[(-10, 10)] * 5
        )
        assert measure("eq-outlook-wasserstein", -found.fun, places[at], 1e-8)
        p, q = torch.eye(5).double()[0], torch.eye(5).double()[at]
        assert jsd(p, q).item() == pytest.approx(math.log(2))  # whatever the distance


@pytest.mark.equation("eq-outlook-critic")
def test_lemma_1_for_a_critic(measure):
    for w in WORLDS:
        f = torch.randn(5, generator=generator_from(9), dtype=torch.float64) * 3
        target = normalise(f.exp() * w.p_0)

        def right(theta, w=w, target=target):
            laws = w.p_x_given_y(theta)
            half = torch.tensor([0.5, 0.5], dtype=torch.float64)
            return 0.5 * kl_p_q(laws[0], target) - jsd_weighted(half, laws)

        left = gradient(lambda t, w=w, f=f: -0.5 * w.p_g(t) @ f, w.theta0)
        assert measure("eq-outlook-critic", left, gradient(right, w.theta0))
        away = w.other_theta()
        left = gradient(lambda t, w=w, f=f: -0.5 * w.p_g(t) @ f, away)
        assert measure("eq-outlook-critic", left, gradient(right, away), 1e-4, "!=")


@pytest.mark.equation("eq-outlook-reward")
def test_a_reward_with_a_reference_is_a_posterior(measure):
    for w in WORLDS:
        for seed in (0, 1):
            p = random_distribution(5, generator=generator_from(seed))
            r = torch.randn(5, generator=generator_from(50 + seed), dtype=torch.float64) * 2
            z = (w.p_0 * r.exp()).sum()
            left = p @ r - kl_p_q(p, w.p_0)
            assert measure("eq-outlook-reward", left, z.log() - kl_p_q(p, w.p_0 * r.exp() / z))
        assert measure("eq-outlook-reward", normalise(w.p_0 * w.D.log().exp()), w.q_r_x_given_y[0])


# ---- instance noise ----------------------------------------------------------------------------


@pytest.mark.equation("eq-outlook-noisy", "eq-outlook-blur")
def test_lemma_1_through_noise(measure):
    for w in WORLDS:
        K = random_distribution(5, 4, generator=generator_from(3))  # five states seen as four
        D = torch.sigmoid(torch.randn(4, generator=generator_from(4), dtype=torch.float64))
        frozen = w.p_0 @ K
        target = normalise(torch.stack([D, 1 - D]) * frozen)

        def right(theta, w=w, K=K, target=target):
            laws = w.p_x_given_y(theta) @ K
            return 0.5 * kl_p_q(laws, target).sum() - jsd(laws[0], laws[1])

        left = gradient(lambda t, w=w, K=K, D=D: -0.5 * (w.p_g(t) @ K) @ D.log(), w.theta0)
        assert measure("eq-outlook-noisy", left, gradient(right, w.theta0))

        blurred = w.p_x_given_y() @ K
        sharp = jsd(*w.p_x_given_y())
        assert measure("eq-outlook-blur", jsd(*blurred), sharp, relation="<=")
        information = mutual_information(0.5 * blurred)
        assert measure(
            "eq-outlook-blur", information, mutual_information(0.5 * w.p_x_given_y()), relation="<="
        )
    apart = torch.eye(5, dtype=torch.float64)[[0, 4]]
    K = random_distribution(5, 4, generator=generator_from(3))
    assert jsd(*apart).item() == pytest.approx(math.log(2))
    assert jsd(*(apart @ K)) < math.log(2) - 0.01
