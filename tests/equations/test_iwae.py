"""Chapter 14: every labelled equation.

Groups of codes are listed by `itertools.product`, or lie on a grid, or are counted. What a law for
large k claims is measured twice: exactly, at two values of k and extrapolated, and for the ratios
of signal to noise by independent draws with a stated interval.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from unigen_edu.declarations import Batch
from unigen_edu.exact.checks import gap, gradient, jacobian
from unigen_edu.exact.continuous import GaussianIWAEWorld, normal_quadrature
from unigen_edu.exact.importance import (
    effective_sample_size,
    iwae_bound,
    iwae_weights,
    log_mean_bound_by_counts,
    multisets,
)
from unigen_edu.exact.networks import TableDecoder
from unigen_edu.exact.vae import VAEWorld
from unigen_edu.exact.vae_networks import GroupedTableEncoder, QuadratureEncoder, SineDecoder
from unigen_edu.models.iwae import IWAE

SEEDS = range(6)
WORLDS = [VAEWorld.random(seed, n_x=2, n_z=3) for seed in SEEDS]
SMOOTH = [
    GaussianIWAEWorld.example(),
    GaussianIWAEWorld(
        torch.tensor([-0.6, 0.9]).double(),
        torch.tensor([0.4, 0.2]).double(),
        torch.tensor(-0.5).double(),
    ),
]


def rand(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tables(w: VAEWorld) -> tuple[Tensor, Tensor]:
    """q(z|x) and p(x, z), both (X, Z), away from theta0 and eta0."""
    theta, eta = w.other_theta(), w.other_eta()
    return eta.softmax(-1), (w.p_z_given_y[0][:, None] * theta.softmax(-1)).T


def every_group(n: int, k: int) -> list[list[int]]:
    return [list(group) for group in itertools.product(range(n), repeat=k)]


def mean_over_groups(q: Tensor, k: int, f: Callable[[list[int]], Tensor]) -> Tensor:
    return sum(q[group].prod() * f(group) for group in every_group(len(q), k))


def bound(q: Tensor, w: Tensor, k: int) -> Tensor:
    """E log (1/k) sum_i w(z_i)."""
    return mean_over_groups(q, k, lambda group: w[group].mean().log())


def implied(q: Tensor, w: Tensor, k: int) -> Tensor:
    """The law of the code that is picked: (Z,)"""
    one_hot = torch.eye(len(q), dtype=torch.float64)
    return mean_over_groups(q, k, lambda group: (w[group] / w[group].sum()) @ one_hot[group])


def kl(q: Tensor, p: Tensor) -> Tensor:
    return (q * (q / p).log()).sum(-1)


# ---- the bound -----------------------------------------------------------------------------------


@pytest.mark.equation("eq-iwae-evidence", "eq-iwae-monotone")
def test_the_ladder(measure):
    for w in WORLDS:
        for q, joint in zip(*tables(w), strict=True):
            weight, p_x = joint / q, joint.sum()
            assert measure("eq-iwae-evidence", q @ weight, p_x)
            rungs = [bound(q, weight, k) for k in (1, 2, 3, 4)]
            assert measure("eq-iwae-monotone", rungs[0], p_x.log() - kl(q, joint / p_x))
            for low, high in itertools.pairwise([*rungs, p_x.log()]):
                assert measure("eq-iwae-monotone", low, high, relation="<=")
                assert high - low > 1e-7
            posterior = joint / p_x
            for k in (1, 3):
                assert measure(
                    "eq-iwae-monotone", bound(posterior, joint / posterior, k), p_x.log()
                )
        # The package's loss is minus this bound, and so is its table version.
        theta, eta = w.other_theta(), w.other_eta()
        model = IWAE(shape=(2,), likelihood="gaussian", latent=1, k=3)
        model.encoder = GroupedTableEncoder(eta, w.p_z_given_y[0])
        model.decoder = TableDecoder(theta)
        loss = model.loss("variational", Batch(torch.arange(2), weight=w.p_data)).value
        by_hand = torch.stack([bound(q, j / q, 3) for q, j in zip(*tables(w), strict=True)])
        assert gap(loss, -(w.p_data @ by_hand)) < 1e-10
        assert gap(iwae_bound(w, 3, theta, eta), by_hand) < 1e-10


@pytest.mark.equation("eq-iwae-subsets")
def test_an_average_in_two_rounds(measure):
    for k in (1, 2, 6):
        w = rand(k + 1, seed=k).exp()
        rounds = [w[[i for i in range(k + 1) if i != j]].mean() for j in range(k + 1)]
        assert measure("eq-iwae-subsets", w.mean(), torch.stack(rounds).mean())
        # And so Jensen's step: the log of the mean is at least the mean of the logs.
        assert w.mean().log() >= torch.stack(rounds).log().mean()


@pytest.mark.equation("eq-iwae-gap", "eq-iwae-chi")
def test_the_gap_closes_like_one_over_k(measure):
    for w in WORLDS:
        for q, joint in zip(*tables(w), strict=True):
            weight, p_x = joint / q, joint.sum()
            variance = q @ (weight - p_x) ** 2
            posterior = joint / p_x
            assert measure("eq-iwae-chi", variance / p_x**2, (posterior**2 / q).sum() - 1)

            def scaled(k, q=q, weight=weight, p_x=p_x):
                return k * (p_x.log() - log_mean_bound_by_counts(q, weight, k))

            wanted = variance / (2 * p_x**2)
            # k gap = c + b/k + ..., so this takes out b.
            found = 2 * scaled(128) - scaled(64)
            assert measure("eq-iwae-gap", found / wanted, 1.0, tolerance=5e-3)
            assert abs(scaled(128) / wanted - 1) < 0.05


@pytest.mark.equation("eq-iwae-extended", "eq-iwae-ratio", "eq-iwae-joint-kl")
def test_one_kl_divergence_between_joints(measure):
    for w in WORLDS:
        for k in (1, 2, 3):
            total, both, value = 0.0, torch.zeros(2).double(), 0.0
            for x, (q, joint) in enumerate(zip(*tables(w), strict=True)):
                weight = joint / q
                for group in every_group(3, k):
                    shares = weight[group] / weight[group].sum()
                    mean = weight[group].mean()
                    for i in range(k):
                        first = shares[i] * q[group].prod()
                        others = group[:i] + group[i + 1 :]
                        second = joint[group[i]] / k * q[others].prod()
                        assert measure("eq-iwae-ratio", first / second, 1 / mean)
                        inferred = w.p_data[x] * first
                        both += torch.stack([inferred, second])
                        total = total + inferred * (inferred / second).log()
                value = value - w.p_data[x] * bound(q, weight, k)
            # Both are distributions over images, codes and the index.
            assert measure("eq-iwae-extended", both, torch.ones(2))
            entropy = -(w.p_data * w.p_data.log()).sum()
            assert measure("eq-iwae-joint-kl", value, total + entropy)


@pytest.mark.equation("eq-iwae-between", "eq-iwae-implied-limit")
def test_the_encoder_that_k_draws_imply(measure):
    for w in WORLDS:
        for q, joint in zip(*tables(w), strict=True):
            weight, p_x = joint / q, joint.sum()
            posterior = joint / p_x
            assert gap(implied(q, weight, 1), q) < 1e-12
            for k in (1, 2, 3, 4):
                price = kl(implied(q, weight, k), posterior)
                assert measure(
                    "eq-iwae-between", price, p_x.log() - bound(q, weight, k), relation="<="
                )

            def large(k, q=q, weight=weight):
                counts, log_coefficient = multisets(3, k)
                law = (log_coefficient + counts @ q.log()).exp()
                shares = counts * weight
                return law @ (shares / shares.sum(-1, keepdim=True))

            assert gap(large(3), implied(q, weight, 3)) < 1e-10
            assert measure(
                "eq-iwae-implied-limit", 2 * large(128) - large(64), posterior, tolerance=1e-3
            )
            assert gap(large(128), posterior) < 0.1 * gap(q, posterior) + 1e-3


# ---- gradients -----------------------------------------------------------------------------------


def on_nodes(world: GaussianIWAEWorld, n: int):
    """Noise, its law, and d log w: decoder; encoder in full, path, score."""
    noise, law = normal_quadrature(n)
    z = world.z(noise)
    score = jacobian(
        lambda e: Normal(e[0], e[1].exp()).log_prob(z), world.eta0
    )  # d log q(z) at a fixed z
    return (
        noise,
        law,
        z,
        jacobian(lambda t: world.log_w(z, theta=t), world.theta0),
        jacobian(lambda e: world.log_w(world.z(noise, e), eta=e), world.eta0),
        jacobian(lambda e: world.log_w(world.z(noise, e)), world.eta0),
        score,
    )


def pairs(law: Tensor, log_w: Tensor, d: Tensor, power: Callable[[Tensor], Tensor]) -> Tensor:
    """E sum_i power(w~_i) d_i over all groups of two nodes."""
    n = len(law)
    i, j = torch.cartesian_prod(torch.arange(n), torch.arange(n)).T
    share = (log_w[i] - torch.logaddexp(log_w[i], log_w[j])).exp()
    p = law[i] * law[j]
    return 2 * (p * power(share)) @ d[i]  # both members of a group have the same mean


@pytest.mark.equation("eq-iwae-gradient", "eq-iwae-dreg", "eq-iwae-parts", "eq-iwae-score")
def test_the_gradient_and_its_second_form(measure):
    for world in SMOOTH:
        world = dataclasses.replace(world, nodes=161)
        _, law, z, d_theta, d_eta, d_path, score = on_nodes(world, 161)
        log_w = world.log_w(z)
        assert measure("eq-iwae-parts", d_eta, d_path - score)
        right = gradient(lambda t, w=world: w.bound(2, theta=t), world.theta0)
        assert measure("eq-iwae-gradient", pairs(law, log_w, d_theta, lambda s: s), right)
        right = gradient(lambda e, w=world: w.bound(2, eta=e), world.eta0)
        assert measure("eq-iwae-gradient", pairs(law, log_w, d_eta, lambda s: s), right)
        squared = pairs(law, log_w, d_path, lambda s: s**2)
        assert measure("eq-iwae-dreg", squared, right, tolerance=1e-9)
        assert gap(pairs(law, log_w, d_path, lambda s: s), right) > 1e-3
        assert gap(pairs(law, log_w, d_path, lambda s: s**3), right) > 1e-3
        left = pairs(law, log_w, score, lambda s: s)
        assert measure(
            "eq-iwae-score", left, pairs(law, log_w, d_path, lambda s: s * (1 - s)), tolerance=1e-9
        )
        # Both forms of the package have this gradient.
        for form in ("standard", "doubly-reparameterised"):
            model = IWAE(shape=(1,), likelihood="gaussian", latent=1, k=2, gradient=form)
            model.encoder, model.decoder = QuadratureEncoder(world), SineDecoder(world)
            value = model.loss("variational", Batch(world.x.reshape(1, 1))).value
            (found,) = torch.autograd.grad(value, [model.encoder.eta])
            assert measure("eq-iwae-dreg", -found, right, tolerance=1e-9)
    # In a table the softmax does it for the decoder, group by group.
    for w in WORLDS:
        q, joint = (part[0] for part in tables(w))
        theta = w.other_theta()

        def log_joint(t, w=w):
            return (w.p_z_given_y[0] * t.softmax(-1)[:, 0]).log()

        slopes = jacobian(lambda t, f=log_joint: f(t.reshape(3, 2)), theta.flatten())
        weight = joint / q
        by_hand = mean_over_groups(q, 3, lambda g, w=weight, s=slopes: (w[g] / w[g].sum()) @ s[g])
        right = gradient(lambda t, f=log_joint, q=q: bound(q, f(t).exp() / q, 3), theta)
        assert measure("eq-iwae-gradient", by_hand, right.flatten())


@pytest.mark.equation("eq-iwae-exchange")
def test_a_score_can_be_exchanged_for_a_path(measure):
    noise, law = normal_quadrature(80)
    for seed in SEEDS:
        eta = 0.5 * rand(2, seed=seed)
        z = eta[0] + eta[1].exp() * noise
        for f in (torch.sin, lambda z: torch.sigmoid(2 * z), lambda z: z**3):
            score = jacobian(lambda e, z=z: Normal(e[0], e[1].exp()).log_prob(z), eta)
            path = jacobian(lambda e, f=f: f(e[0] + e[1].exp() * noise), eta)
            assert measure("eq-iwae-exchange", (law * f(z)) @ score, law @ path, tolerance=1e-8)


@pytest.mark.equation("eq-iwae-rest")
def test_at_the_posterior_the_squared_form_rests(measure):
    for seed in SEEDS:
        slope, x = 0.5 + 0.2 * seed, 0.9 - 0.3 * seed
        v = 1 / (1 + slope**2 / 0.49)
        eta = torch.tensor([v * slope * x / 0.49, 0.5 * math.log(v)], dtype=torch.float64)
        theta = torch.tensor([slope, 0.0], dtype=torch.float64)
        world = GaussianIWAEWorld(theta, eta, torch.tensor(x, dtype=torch.float64))
        _, _, z, _, d_eta, d_path, _ = on_nodes(world, 21)
        shares = world.log_w(z).softmax(0)
        assert measure("eq-iwae-rest", shares[:, None] ** 2 * d_path, torch.zeros(21, 2))
        assert measure("eq-iwae-rest", d_path, torch.zeros(21, 2))
        assert d_eta.abs().max() > 0.1


class Counted:
    """Groups of k codes of one image, by a fine grid of the noise and integrals over t.

    S^-a is the integral of t^(a-1) e^(-tS) / (a-1)!, and e^(-tS) factorises over the draws.
    """

    def __init__(self, world: GaussianIWAEWorld):
        self.world = world
        self.noise = torch.linspace(-9.0, 9.0, 451, dtype=torch.float64)
        law = torch.exp(-0.5 * self.noise**2)
        self.law = law / law.sum()
        self.z = world.z(self.noise)
        weight = world.log_w(self.z).exp()
        self.p_x = self.law @ weight
        self.r = weight / self.p_x
        self.t = torch.arange(-30.0, 22.0, 0.05, dtype=torch.float64).exp()
        self.decay = torch.exp(-self.t[:, None] * self.r)
        self.phi = self.decay @ self.law

    def mean_and_sd(self, k: int, f: Tensor, power: int) -> tuple[Tensor, Tensor]:
        """Of sum_i w~_i^power f_i."""
        t, du = self.t, 0.05
        one = self.decay @ (self.law * self.r**power * f)
        two = self.decay @ (self.law * self.r ** (2 * power) * f**2)
        mean = k * du * (t**power / math.factorial(power - 1) * one * self.phi ** (k - 1)).sum()
        inner = k * two * self.phi ** (k - 1) + k * (k - 1) * one**2 * self.phi ** max(k - 2, 0)
        second = du * (t ** (2 * power) / math.factorial(2 * power - 1) * inner).sum()
        return mean, (second - mean**2).sqrt()

    def snr(self, k: int, f: Tensor, power: int = 1) -> Tensor:
        mean, sd = self.mean_and_sd(k, f, power)
        return mean.abs() / sd

    def sd(self, f: Tensor) -> Tensor:
        return (self.law @ f**2 - (self.law @ f) ** 2).sqrt()

    def derivatives(self) -> tuple[Tensor, Tensor, Tensor]:
        """d log w in theta_1; in mu, in full; in mu, along the path.  (n,) each"""
        world, noise, z = self.world, self.noise, self.z
        return (
            jacobian(lambda t: world.log_w(z, theta=t), world.theta0)[:, 0],
            jacobian(lambda e: world.log_w(world.z(noise, e), eta=e), world.eta0)[:, 0],
            jacobian(lambda e: world.log_w(world.z(noise, e)), world.eta0)[:, 0],
        )


ONE = Counted(SMOOTH[0])


def test_the_integrals_over_groups_are_right():
    """They agree with all groups of two nodes, and with a million draws."""
    world = dataclasses.replace(SMOOTH[0], nodes=121)
    _, g_eta, h = ONE.derivatives()
    assert gap(ONE.mean_and_sd(2, g_eta, 1)[0], world.path_gradient(2)[0]) < 1e-9
    right = world.doubly_reparameterised_gradient(2)[0]
    assert gap(ONE.mean_and_sd(2, h, 2)[0], right) < 1e-9
    noise = rand(200_000, 8, seed=5)
    z = world.z(noise)
    shares = world.log_w(z).softmax(-1)
    # d log w / d mu along the path, written out: z moves with mu at the rate 1.
    t = world.theta0
    mean, slope = t[0] * z + t[1] * torch.sin(z), t[0] + t[1] * torch.cos(z)
    path = -z + (world.x - mean) * slope / 0.49 + noise / world.eta0[1].exp()
    full = path - noise / world.eta0[1].exp()
    for f, power, exact in ((full, 1, g_eta), (path, 2, h)):
        drawn = (shares**power * f).sum(-1)
        mean, sd = ONE.mean_and_sd(8, exact, power)
        assert abs(drawn.mean() - mean) < 5 * sd / 200_000**0.5
        assert abs(drawn.std() / sd - 1) < 0.03


@pytest.mark.equation("eq-iwae-sides")
def test_what_each_side_receives(measure):
    for w in WORLDS:
        theta, eta = w.other_theta(), w.other_eta()

        def large(k, t=theta, e=eta, w=w):
            q, weight = w.q_z_given_x(e)[0], iwae_weights(w, t, e)[0]
            return log_mean_bound_by_counts(q, weight, k)

        def decoder(k, f=large, t=theta):
            return gradient(lambda s: f(k, t=s), t)

        def encoder(k, f=large, e=eta):
            return k * gradient(lambda s: f(k, e=s), e)

        wanted = gradient(lambda t, w=w: w.p_xz(t)[0].sum().log(), theta)
        assert measure("eq-iwae-sides", 2 * decoder(96) - decoder(48), wanted, tolerance=1e-3)
        posterior = w.p_z_given_x(theta)[0]
        limit = gradient(lambda e, p=posterior: -0.5 * (p**2 / e.softmax(-1)[0]).sum(), eta)
        found = 2 * encoder(96) - encoder(48)
        assert measure("eq-iwae-sides", found, limit, tolerance=0.01 * float(limit.norm()) + 1e-4)


@pytest.mark.equation("eq-iwae-snr", "eq-iwae-dreg-snr")
def test_signal_and_noise(measure):
    for counted in (ONE, Counted(SMOOTH[1])):
        law, r = counted.law, counted.r
        g_theta, g_eta, h = counted.derivatives()
        assert abs(law @ (r * g_eta)) < 1e-9  # the encoder's signal vanishes at first order

        signal = law @ (r * g_theta)
        theta = signal.abs() / counted.sd(r * (g_theta - signal))
        posterior, world = law * r, counted.world
        log_joint = world.log_w(counted.z) + Normal(world.eta0[0], world.eta0[1].exp()).log_prob(
            counted.z
        )

        def chi2(e, posterior=posterior, c=counted, log_joint=log_joint):
            log_q = Normal(e[0], e[1].exp()).log_prob(c.z)
            return (posterior * (log_joint - log_q).exp()).sum() / c.p_x - 1

        eta = gradient(chi2, world.eta0)[0].abs() / (2 * counted.sd(r * g_eta))
        signal = law @ (r**2 * h)
        squared = signal.abs() / counted.sd(r**2 * h - 2 * r * signal)
        for label, f, power, rate, wanted in (
            ("eq-iwae-snr", g_theta, 1, 0.5, theta),
            ("eq-iwae-snr", g_eta, 1, -0.5, eta),
            ("eq-iwae-dreg-snr", h, 2, 0.5, squared),
        ):
            scaled = [counted.snr(k, f, power) / k**rate for k in (1024, 2048)]
            found = 2 * scaled[1] - scaled[0]  # takes out the correction of order 1/k
            assert measure(label, found / wanted, 1.0, tolerance=2e-3)
        assert counted.snr(1024, g_eta) < 0.1 * counted.snr(1024, h, 2)


# ---- how many draws count ------------------------------------------------------------------------


@pytest.mark.equation("eq-iwae-effective", "eq-iwae-effective-limit")
def test_effective_draws(measure):
    for seed in SEEDS:
        for k in (1, 2, 7):
            w = (2 * rand(50, k, seed=seed)).exp()
            shares = w / w.sum(-1, keepdim=True)
            n_eff = 1 / (shares**2).sum(-1)
            assert measure("eq-iwae-effective", n_eff, effective_sample_size(w))
            assert measure("eq-iwae-effective", torch.ones(50), n_eff, relation="<=")
            assert measure("eq-iwae-effective", n_eff, torch.full((50,), float(k)), relation="<=")
        assert measure("eq-iwae-effective", effective_sample_size(torch.ones(7).double()), 7.0)
    for w in WORLDS:
        for q, joint in zip(*tables(w), strict=True):
            weight = joint / q
            chi2 = ((joint / joint.sum()) ** 2 / q).sum() - 1

            def fraction(k, q=q, weight=weight):
                counts, log_coefficient = multisets(3, k)
                law = (log_coefficient + counts @ q.log()).exp()
                shares = weight / (counts @ weight)[:, None]
                return law @ (1 / (counts * shares**2).sum(-1)) / k

            found = (8 * fraction(200) - 6 * fraction(100) + fraction(50)) / 3
            assert measure("eq-iwae-effective-limit", found, 1 / (1 + chi2), tolerance=5e-3)


@pytest.mark.equation("eq-iwae-missed")
def test_what_the_encoder_never_visits(measure):
    for w in WORLDS:
        joint = tables(w)[1][0]
        q = torch.tensor([0.55, 0.45]).double()
        weight = joint[:2] / q
        covered = joint[:2].sum() / joint.sum()
        limit = joint.sum().log() + covered.log()

        def found(k, q=q, weight=weight):
            return log_mean_bound_by_counts(q, weight, k)

        assert measure("eq-iwae-missed", 2 * found(2000) - found(1000), limit, tolerance=1e-5)
        assert found(2000) < limit < joint.sum().log() - 1e-3


@pytest.mark.equation("eq-iwae-attached")
def test_shares_in_the_graph_reward_inequality(measure):
    for seed in SEEDS:
        for k in (2, 5):
            log_w = 2 * rand(20, k, seed=seed)
            shares = log_w.softmax(-1)
            log_mean = log_w.exp().mean(-1).log()
            uniform = torch.full_like(shares, 1 / k)
            assert measure(
                "eq-iwae-attached", (shares * log_w).sum(-1), log_mean + kl(shares, uniform)
            )
            attached = gradient(lambda a: (a.softmax(-1) * a).sum(), log_w)
            right = gradient(lambda a: (a.detach().softmax(-1) * a).sum(), log_w)
            assert gap(right, shares) < 1e-12
            assert gap(attached, right) > 1e-2
    # No bound: in a world where the weights differ much it lies above the evidence.
    q, weight = torch.tensor([0.9, 0.1]).double(), torch.tensor([0.2, 3.0]).double()
    value = mean_over_groups(
        q, 3, lambda g: ((weight[g] / weight[g].sum()) * weight[g].log()).sum()
    )
    assert value > bound(q, weight, 3) + 0.1
    many = mean_over_groups(q, 8, lambda g: ((weight[g] / weight[g].sum()) * weight[g].log()).sum())
    assert many > (q @ weight).log()
