"""Chapter 4: every labelled equation.

The other side of each comparison comes from elsewhere: sums over tables that are written out here,
`torch.distributions`, a Riemann sum on a fine grid, or the package's own loss with all its noise
listed on the nodes of a quadrature.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy

from unigen_edu.declarations import Batch, Sample
from unigen_edu.densities import DiagonalNormal, bernoulli_log_prob, gaussian_log_prob
from unigen_edu.exact.checks import gap, gradient, jacobian
from unigen_edu.exact.continuous import GaussianIWAEWorld, normal_quadrature
from unigen_edu.exact.networks import TableDecoder, TableEncoder
from unigen_edu.exact.vae import VAEWorld
from unigen_edu.exact.vae_networks import QuadratureEncoder, SineDecoder
from unigen_edu.models.vae import VAE

SEEDS = range(6)
WORLDS = [VAEWorld.random(seed, n_x=4 + seed % 2, n_z=3) for seed in SEEDS]
AWAY = {w: (w.other_theta(), w.other_eta()) for w in WORLDS}
SMOOTH = [
    GaussianIWAEWorld.example(),
    GaussianIWAEWorld(
        torch.tensor([-0.6, 0.9]).double(),
        torch.tensor([0.4, 0.2]).double(),
        torch.tensor(-0.5).double(),
    ),
]
GRID = torch.linspace(-14, 14, 56_001, dtype=torch.float64)
STEP = float(GRID[1] - GRID[0])


def rand(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tables(w: VAEWorld) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """p_data (X,), p(z) (Z,), p(x|z) as (X, Z), q(z|x) (X, Z), away from theta0 and eta0."""
    theta, eta = AWAY[w]
    return w.p_data, w.p_z_given_y[0], theta.softmax(-1).T, eta.softmax(-1)


def kl(q: Tensor, p: Tensor) -> Tensor:
    """sum q log q/p over the last axis."""
    return (q * (q / p).log()).sum(-1)


def elbo(w: VAEWorld) -> Tensor:
    """E_q log p(x|z) - KL(q||p(z)) of each x."""
    _, p_z, decoder, q = tables(w)
    return (q * decoder.log()).sum(-1) - kl(q, p_z)


def rate(p_data: Tensor, p_z: Tensor, q: Tensor) -> Tensor:
    return (p_data * kl(q, p_z)).sum()


def distortion(p_data: Tensor, decoder: Tensor, q: Tensor) -> Tensor:
    return -(p_data[:, None] * q * decoder.log()).sum()


def model_of(w: VAEWorld, **options: float) -> tuple[VAE, Batch]:
    theta, eta = AWAY[w]
    model = VAE(shape=(2,), likelihood="gaussian", latent=1, **options)
    model.encoder = TableEncoder(eta, w.p_z_given_y[0])
    model.decoder = TableDecoder(theta)
    return model, Batch(torch.arange(len(w.p_data)), weight=w.p_data)


# ---- the bound -----------------------------------------------------------------------------------


@pytest.mark.equation("eq-vae-gap", "eq-vae-split")
def test_the_evidence_is_bound_plus_gap(measure):
    for w in WORLDS:
        _, p_z, decoder, q = tables(w)
        joint = p_z * decoder
        log_p, posterior = joint.sum(-1).log(), joint / joint.sum(-1, keepdim=True)
        assert measure("eq-vae-gap", log_p, elbo(w) + kl(q, posterior))
        assert measure("eq-vae-gap", elbo(w), log_p, relation="<=")
        assert gap(log_p, elbo(w) + kl(posterior, q)) > 1e-4
        first = (q * (joint / q).log()).sum(-1)
        assert measure("eq-vae-split", log_p, first + (q * (q / posterior).log()).sum(-1))
        assert measure("eq-vae-split", first, elbo(w))
        theta, eta = AWAY[w]
        assert measure("eq-vae-gap", w.elbo(theta, eta), elbo(w))
    # The integral in place of the sum: one code, a decoder with a bend.
    for smooth in SMOOTH:
        log_joint = smooth.log_w(GRID) + Normal(smooth.eta0[0], smooth.eta0[1].exp()).log_prob(GRID)
        evidence = log_joint.exp().sum() * STEP
        log_q = Normal(smooth.eta0[0], smooth.eta0[1].exp()).log_prob(GRID)
        q = log_q.exp() * STEP
        bound = (q * (log_joint - log_q)).sum()
        price = (q * (log_q - (log_joint - evidence.log()))).sum()
        assert measure("eq-vae-gap", evidence.log(), bound + price, tolerance=1e-9)
        assert measure("eq-vae-gap", bound, smooth.bound(1), tolerance=1e-9)


@pytest.mark.equation("eq-vae-joint-kl", "eq-vae-covering")
def test_the_average_over_the_data(measure):
    for w in WORLDS:
        p_data, p_z, decoder, q = tables(w)
        joint = p_z * decoder
        loss = -(p_data * elbo(w)).sum()
        entropy = -(p_data * p_data.log()).sum()
        inferred = p_data[:, None] * q
        one = (inferred * (inferred / joint).log()).sum()
        assert measure("eq-vae-joint-kl", loss, one + entropy)
        model, batch = model_of(w)
        assert measure("eq-vae-joint-kl", model.loss("variational", batch).value, one + entropy)
        p_x = joint.sum(-1)
        seek = (p_data * kl(q, joint / p_x[:, None])).sum()
        assert measure("eq-vae-covering", loss, entropy + kl(p_data, p_x) + seek)


# ---- the closed form -----------------------------------------------------------------------------


@pytest.mark.equation("eq-vae-kl", "eq-vae-kl-one", "eq-vae-kl-ratio", "eq-vae-kl-reversed")
def test_kl_of_normals(measure):
    standard = Normal(torch.zeros(()).double(), 1.0)
    for seed in SEEDS:
        mu, log_s = 0.7 * rand(5, seed=seed), 0.2 * rand(5, seed=100 + seed)
        s = log_s.exp()
        z = rand(9, 1, seed=200 + seed)
        ratio = Normal(mu, s).log_prob(z) - standard.log_prob(z)
        assert measure("eq-vae-kl-ratio", -log_s - (z - mu) ** 2 / (2 * s**2) + z**2 / 2, ratio)
        closed = 0.5 * (mu**2 + s**2 - 1 - (s**2).log())
        assert measure("eq-vae-kl-one", closed, kl_divergence(Normal(mu, s), standard))
        on_grid = Normal(mu[:, None], s[:, None]).log_prob(GRID)
        summed = (on_grid.exp() * (on_grid - standard.log_prob(GRID))).sum(-1) * STEP
        assert measure("eq-vae-kl-one", closed, summed, tolerance=1e-9)
        reversed_ = 0.5 * ((1 + mu**2) / s**2 - 1 + (s**2).log())
        assert measure("eq-vae-kl-reversed", reversed_, kl_divergence(standard, Normal(mu, s)))
        assert gap(closed, reversed_) > 1e-3
        full = MultivariateNormal(mu, torch.diag(s**2))
        whole = kl_divergence(
            full, MultivariateNormal(torch.zeros(5).double(), torch.eye(5).double())
        )
        assert measure("eq-vae-kl", closed.sum(), whole)
        assert measure("eq-vae-kl", DiagonalNormal(mu[None], 2 * log_s[None]).kl_q_p()[0], whole)


# ---- a gradient through a draw -------------------------------------------------------------------


@pytest.mark.equation("eq-vae-reparameterise", "eq-vae-path", "eq-vae-score")
def test_two_ways_to_differentiate_a_mean(measure):
    nodes, law = normal_quadrature(40)
    eps, law = torch.cartesian_prod(nodes, nodes), (law[:, None] * law).flatten()

    def f(z: Tensor) -> Tensor:
        return z[..., 0] ** 2 * z[..., 1] + torch.sin(z[..., 0])

    def mean(eta: Tensor) -> Tensor:
        """E f in closed form, eta = (mu_1, mu_2, log s_1, log s_2)."""
        v = (2 * eta[2]).exp()
        return (eta[0] ** 2 + v) * eta[1] + torch.exp(-v / 2) * torch.sin(eta[0])

    def draws(eta: Tensor) -> Tensor:
        return eta[:2] + eta[2:].exp() * eps

    for seed in SEEDS:
        eta = 0.5 * rand(4, seed=seed)
        wanted = gradient(mean, eta)
        assert measure("eq-vae-reparameterise", law @ f(draws(eta)), mean(eta))
        z = draws(eta)
        slope = jacobian(lambda t, z=z: f(z + t), torch.zeros(2).double())  # df/dz at each draw
        by_hand = torch.cat([law @ slope, law @ (slope * eps * eta[2:].exp())])
        assert measure("eq-vae-path", by_hand, wanted)
        assert measure("eq-vae-path", gradient(lambda e: law @ f(draws(e)), eta), wanted)
        # d log q = (z - mu)/s^2 in mu, eps^2 - 1 in log s
        score = torch.cat([eps / eta[2:].exp(), eps**2 - 1], dim=1)
        assert measure("eq-vae-score", (law * f(z)) @ score, wanted)
        assert (law * f(z) ** 2) @ score[:, 0] ** 2 > (law @ slope[:, 0] ** 2)


@pytest.mark.equation("eq-vae-estimate")
def test_one_draw_has_no_bias(measure):
    """The model's own loss for one draw, averaged over all nodes, against the bound on a grid."""
    for world in SMOOTH:
        world = dataclasses.replace(world, nodes=121)

        def bound(theta, eta, world=world):
            """E_q[log p(x,z) - log q(z)] by a Riemann sum over z, no reparameterisation."""
            log_q = Normal(eta[0], eta[1].exp()).log_prob(GRID)
            log_joint = Normal(0.0, 1.0).log_prob(GRID)
            mean = theta[0] * GRID + theta[1] * torch.sin(GRID)
            log_joint = log_joint + Normal(mean, 0.7).log_prob(world.x)
            return (log_q.exp() * (log_joint - log_q)).sum() * STEP

        model = VAE(shape=(1,), likelihood="gaussian", latent=1)
        model.encoder, model.decoder = QuadratureEncoder(world), SineDecoder(world)
        q = model.encoder(world.x.reshape(1, 1))
        z, weight = q.sample()
        one_draw = model.decoder.log_prob(world.x.reshape(1, 1), z[0]) - q.kl_q_p()  # (nodes, 1)
        found = (weight * one_draw).sum()
        assert measure("eq-vae-estimate", found, bound(world.theta0, world.eta0), tolerance=1e-9)
        theta, eta = torch.autograd.grad(found, [model.decoder.theta, model.encoder.eta])
        right = gradient(lambda t, b=bound, w=world: b(t, w.eta0), world.theta0)
        assert measure("eq-vae-estimate", theta, right, tolerance=1e-8)
        right = gradient(lambda e, b=bound, w=world: b(w.theta0, e), world.eta0)
        assert measure("eq-vae-estimate", eta, right, tolerance=1e-8)


# ---- pixels --------------------------------------------------------------------------------------


@pytest.mark.equation("eq-vae-bernoulli", "eq-vae-grey", "eq-vae-mass")
def test_black_white_and_grey(measure):
    binary = torch.tensor(list(itertools.product((0.0, 1.0), repeat=5))).double()
    for seed in SEEDS:
        logits = 2 * rand(5, seed=seed)
        grey = rand(5, seed=50 + seed).sigmoid()
        law = Independent(Bernoulli(logits=logits), 1)
        assert measure("eq-vae-bernoulli", bernoulli_log_prob(binary, logits), law.log_prob(binary))
        pi = logits.sigmoid()
        first = (binary * pi.log() + (1 - binary) * (1 - pi).log()).sum(-1)
        assert measure("eq-vae-bernoulli", first, law.log_prob(binary))
        drawn = (grey**binary * (1 - grey) ** (1 - binary)).prod(-1)
        entropy = -binary_cross_entropy(pi, grey, reduction="sum")
        assert measure("eq-vae-grey", drawn @ law.log_prob(binary), entropy)
        assert measure("eq-vae-grey", bernoulli_log_prob(grey[None], logits[None])[0], entropy)
        assert gap((drawn @ law.log_prob(binary).exp()).log(), entropy) > 1e-3
        # Gauss-Legendre on [0, 1], by the eigenvalues of its Jacobi matrix.
        n = torch.arange(1, 20).double()
        beside = n / (4 * n**2 - 1).sqrt()
        values, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
        x, weight = (values + 1) / 2, vectors[0] ** 2
        area = (weight[:, None] * pi ** x[:, None] * (1 - pi) ** (1 - x[:, None])).sum(0)
        assert measure("eq-vae-mass", area, (2 * pi - 1) / logits)
        assert (area < 1).all()
    small = torch.tensor(1e-4).double()
    assert measure("eq-vae-mass", (2 * small.sigmoid() - 1) / small, 0.5, tolerance=1e-8)


@pytest.mark.equation("eq-vae-gaussian", "eq-vae-scale")
def test_gaussian_pixels(measure):
    for seed in SEEDS:
        x, mean = rand(50, 6, seed=seed), rand(50, 6, seed=70 + seed)
        tau2 = torch.tensor(0.3 + 0.2 * seed).double()
        formula = -3 * (2 * math.pi * tau2).log() - ((x - mean) ** 2).sum(-1) / (2 * tau2)
        assert measure("eq-vae-gaussian", formula, Normal(mean, tau2.sqrt()).log_prob(x).sum(-1))
        assert measure("eq-vae-gaussian", gaussian_log_prob(x, mean, tau2.log()), formula)
        best = ((x - mean) ** 2).sum(-1).mean() / 6

        def average(log_var, x=x, mean=mean):
            return gaussian_log_prob(x, mean, log_var).mean()

        assert measure("eq-vae-scale", gradient(average, best.log()), 0.0)
        assert measure("eq-vae-scale", average(best.log()), -3 * ((2 * math.pi * best).log() + 1))
        top = average(best.log())
        for other in (0.5, 0.9, 1.1, 2.0):
            assert measure("eq-vae-scale", average((other * best).log()), top, relation="<=")


# ---- rate and distortion -------------------------------------------------------------------------


@pytest.mark.equation("eq-vae-rate", "eq-vae-sandwich")
def test_what_the_rate_buys(measure):
    for w in WORLDS:
        p_data, p_z, decoder, q = tables(w)
        q_z = p_data @ q
        information = (p_data * kl(q, q_z)).sum()
        r, d = rate(p_data, p_z, q), distortion(p_data, decoder, q)
        assert measure("eq-vae-rate", r, information + kl(q_z, p_z))
        entropy = -(p_data * p_data.log()).sum()
        assert measure("eq-vae-sandwich", entropy - d, information, relation="<=")
        assert measure("eq-vae-sandwich", information, r, relation="<=")
        # Tight on the left for the encoder's own posterior over images, on the right for p = q(z).
        own = p_data[:, None] * q / q_z
        assert measure("eq-vae-sandwich", entropy - distortion(p_data, own, q), information)
        assert measure("eq-vae-sandwich", rate(p_data, q_z, q), information)


@pytest.mark.equation("eq-vae-beta-bound", "eq-vae-beta-encoder", "eq-vae-slope")
def test_another_price(measure):
    for w in WORLDS:
        p_data, p_z, decoder, _ = tables(w)
        log_p = (p_data * (p_z * decoder).sum(-1).log()).sum()
        for beta in (1.0, 1.5, 4.0):
            model, batch = model_of(w, beta=beta)
            loss = model.loss("variational", batch).value
            mean_elbo = (p_data * elbo(w)).sum()
            assert measure("eq-vae-beta-bound", -loss, mean_elbo, relation="<=")
            assert measure("eq-vae-beta-bound", mean_elbo, log_p, relation="<=")

        def tempered(beta, p_z=p_z, decoder=decoder):
            unnormalised = p_z * decoder ** (1 / beta)
            return unnormalised / unnormalised.sum(-1, keepdim=True)

        def priced(q, beta, p_data=p_data, p_z=p_z, decoder=decoder):
            return distortion(p_data, decoder, q) + beta * rate(p_data, p_z, q)

        for beta in (0.4, 1.0, 3.0):
            best = tempered(beta)
            at_best = gradient(lambda e, b=beta, f=priced: f(e.softmax(-1), b), best.log())
            assert measure("eq-vae-beta-encoder", at_best, torch.zeros_like(at_best))
            for seed in range(3):
                other = (best.log() + 0.3 * rand(*best.shape, seed=seed)).softmax(-1)
                value = priced(best, beta)
                assert measure("eq-vae-beta-encoder", value, priced(other, beta), relation="<=")
            at = torch.tensor(beta, dtype=torch.float64)

            def at_best_encoder(b, p_data=p_data, p_z=p_z, decoder=decoder, t=tempered):
                return torch.stack([distortion(p_data, decoder, t(b)), rate(p_data, p_z, t(b))])

            d_slope, r_slope = jacobian(at_best_encoder, at)
            assert abs(r_slope) > 1e-6
            assert measure("eq-vae-slope", d_slope, -beta * r_slope)
        # Below 1 the priced loss need not be a bound.
        assert -priced(tempered(0.1), 0.1) > log_p


@pytest.mark.equation("eq-vae-beta-variance")
def test_a_price_is_a_variance_in_disguise(measure):
    torch.manual_seed(0)
    x, n = torch.rand(7, 6, dtype=torch.float64), 6
    tau2 = 0.4
    for beta in (0.5, 1.0, 4.0):
        found = []
        for factor, variance in ((beta, tau2), (1.0, beta * tau2)):
            torch.manual_seed(1)
            model = VAE(shape=(n,), latent=2, likelihood="gaussian", beta=factor).double()
            model.decoder.log_var.data.fill_(math.log(variance))
            torch.manual_seed(2)
            loss = model.loss("variational", Batch(x)).value
            moved = [p for name, p in model.named_parameters() if name != "decoder.log_var"]
            found.append((loss, torch.cat([g.flatten() for g in torch.autograd.grad(loss, moved)])))
        constants = -beta * n / 2 * math.log(2 * math.pi * beta * tau2)
        constants += n / 2 * math.log(2 * math.pi * tau2)
        assert measure("eq-vae-beta-variance", found[0][0], beta * found[1][0] + constants)
        assert measure("eq-vae-beta-variance", found[0][1], beta * found[1][1])


# ---- linear networks -----------------------------------------------------------------------------


@pytest.mark.equation("eq-vae-linear", "eq-vae-linear-gap")
def test_linear_networks(measure):
    n, j = 5, 2
    for seed in SEEDS:
        w, b, tau2 = rand(n, j, seed=seed), rand(n, seed=10 + seed), 0.2 + 0.1 * seed
        x, z = rand(n, seed=20 + seed), rand(7, j, seed=30 + seed)
        eye = torch.eye(n).double()
        m = w.T @ w + tau2 * torch.eye(j).double()
        evidence = MultivariateNormal(b, w @ w.T + tau2 * eye)
        mean, covariance = torch.linalg.solve(m, w.T @ (x - b)), tau2 * torch.linalg.inv(m)
        posterior = MultivariateNormal(mean, (covariance + covariance.T) / 2)
        prior = MultivariateNormal(torch.zeros(j).double(), torch.eye(j).double())
        joint = prior.log_prob(z) + Normal(z @ w.T + b, tau2**0.5).log_prob(x).sum(-1)
        assert measure("eq-vae-linear", joint, evidence.log_prob(x) + posterior.log_prob(z))

        best = tau2 / m.diag()
        formula = 0.5 * (m.diag().log().sum() - m.logdet())

        def price(mean, log_var, posterior=posterior):
            return kl_divergence(MultivariateNormal(mean, torch.diag(log_var.exp())), posterior)

        assert measure("eq-vae-linear-gap", price(mean, best.log()), formula, tolerance=1e-9)
        for other in range(10):
            shift = 0.3 * rand(2, j, seed=other)
            assert measure(
                "eq-vae-linear-gap",
                formula,
                price(mean + shift[0], best.log() + shift[1]),
                tolerance=1e-9,
                relation="<=",
            )
        upright = torch.linalg.qr(w).Q * torch.tensor([1.3, 0.4]).double()
        m = upright.T @ upright + tau2 * torch.eye(j).double()
        assert measure("eq-vae-linear-gap", 0.5 * (m.diag().log().sum() - m.logdet()), 0.0)


def closed_loss(w, v, log_s2, covariance, tau2, beta):
    """D + beta R of linear networks on centred data, without the constant (n/2) log(2 pi tau2)."""
    s2 = log_s2.exp()
    miss = torch.eye(len(covariance)).double() - w @ v
    error = (miss @ covariance @ miss.T).trace() + (w.square() @ s2).sum()
    second = (v @ covariance @ v.T).diag()
    return error / (2 * tau2) + beta / 2 * (second + s2 - 1 - log_s2).sum()


@pytest.mark.equation("eq-vae-linear-part", "eq-vae-water", "eq-vae-water-budget")
def test_the_level_of_the_water(measure):
    lam = torch.tensor([3.0, 1.2, 0.6, 0.1]).double()
    axes = torch.linalg.qr(rand(4, 4, seed=3)).Q
    covariance = axes @ torch.diag(lam) @ axes.T
    for tau2, beta in ((0.3, 1.0), (0.3, 3.0), (0.05, 1.0), (0.5, 8.0)):
        level = beta * tau2
        a = (lam - level).clamp(min=0).sqrt()
        v, s2 = a / lam, (level / lam).clamp(max=1.0)
        part = ((1 - a * v) ** 2 * lam + a**2 * s2) / (2 * tau2)
        part = part + beta / 2 * (v**2 * lam + s2 - 1 - s2.log())
        whole = closed_loss(axes * a, v[:, None] * axes.T, s2.log(), covariance, tau2, beta)
        assert measure("eq-vae-linear-part", part.sum(), whole)
        # The part is what the networks of the package pay, off the optimum too.
        torch.manual_seed(0)
        model = VAE(shape=(4,), latent=4, likelihood="gaussian", beta=beta).double()
        model.decoder.body, model.encoder.body = nn.Linear(4, 4).double(), nn.Linear(4, 8).double()
        a_, v_, log_s2_ = rand(3, 4, seed=9)
        with torch.no_grad():
            model.decoder.log_var.fill_(math.log(tau2))
            model.decoder.body.weight.copy_(axes * a_)
            model.decoder.body.bias.zero_()
            model.encoder.body.weight.zero_()
            model.encoder.body.weight[:4] = v_[:, None] * axes.T
            model.encoder.body.bias.copy_(torch.cat([torch.zeros(4).double(), log_s2_]))
        points = 2 * torch.cat([torch.eye(4), -torch.eye(4)]).double()  # mean 0, covariance I
        x = points @ torch.diag(lam.sqrt()) @ axes.T

        def eight_draws(self, k=1, points=points):
            return Sample(self.mean + torch.exp(0.5 * self.log_var) * points[:, None])

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DiagonalNormal, "sample", eight_draws)
            paid = model.loss("variational", Batch(x)).value
        s2_ = log_s2_.exp()
        each = ((1 - a_ * v_) ** 2 * lam + a_**2 * s2_) / (2 * tau2)
        each = each + beta / 2 * (v_**2 * lam + s2_ - 1 - log_s2_)
        assert measure("eq-vae-linear-part", paid, each.sum() + 2 * math.log(2 * math.pi * tau2))

        # Stationary, in all directions of the networks, not only along the axes.
        def flat(p, tau2=tau2, beta=beta):
            w_, v_, l_ = p[:16].reshape(4, 4), p[16:32].reshape(4, 4), p[32:]
            return closed_loss(w_, v_, l_, covariance, tau2, beta)

        at = torch.cat([(axes * a).flatten(), (v[:, None] * axes.T).flatten(), s2.log()])
        assert measure("eq-vae-water", gradient(flat, at), torch.zeros(36))
        for seed in range(30):
            assert measure(
                "eq-vae-water", flat(at), flat(at + 0.5 * rand(36, seed=seed)), relation="<="
            )
        # A descent from elsewhere comes no lower, and comes close.
        p = (0.3 * rand(36, seed=77)).requires_grad_()
        search = torch.optim.LBFGS([p], lr=0.5, max_iter=400, tolerance_grad=1e-9)

        def closure(p=p, search=search, flat=flat):
            search.zero_grad()
            value = flat(p)
            value.backward()
            return value

        search.step(closure)
        assert measure("eq-vae-water", flat(at), flat(p.detach()), 1e-6, relation="<=")
        assert flat(p.detach()) - flat(at) < 1e-4
        assert measure(
            "eq-vae-water-budget",
            0.5 * (v**2 * lam + s2 - 1 - s2.log()),
            (0.5 * (lam / level).log()).clamp(min=0),
        )
        error = (1 - a * v) ** 2 * lam + a**2 * s2
        assert measure("eq-vae-water-budget", error, lam.clamp(max=level))


# ---- collapse, free bits, pixels -----------------------------------------------------------------


@pytest.mark.equation("eq-vae-collapse")
def test_the_bound_does_not_ask_for_a_code(measure):
    for w in WORLDS:
        p_data, p_z, decoder, q = tables(w)
        entropy = -(p_data * p_data.log()).sum()
        total = rate(p_data, p_z, q) + distortion(p_data, decoder, q)
        assert measure("eq-vae-collapse", entropy, total, relation="<=")
        silent, idle = p_data[:, None].expand_as(decoder), p_z.expand_as(q)
        assert measure("eq-vae-collapse", rate(p_data, p_z, idle), 0.0)
        assert measure("eq-vae-collapse", distortion(p_data, silent, idle), entropy)
        # A code that names the image pays the same: rate H, distortion 0.
        names = torch.eye(len(p_data)).double()
        named = (p_data * (1 / p_data).log()).sum()  # KL of a point mass to p(z) = p_data
        assert gap(named, entropy) < 1e-12
        assert (names.diag().log() == 0).all()


@pytest.mark.equation("eq-vae-free-gradient")
def test_free_bits_cut_the_gradient(measure):
    torch.manual_seed(0)
    x = torch.rand(9, 5, dtype=torch.float64)

    def build(**options):
        torch.manual_seed(1)
        return VAE(shape=(5,), latent=6, likelihood="gaussian", **options).double()

    found = build().encoder(x).kl_q_p_by_coordinate().detach().mean(0)
    free = float(found.median()) * 1.01
    model = build(free_bits=free)
    parameters = list(model.encoder.parameters())
    q = model.encoder(x)
    by_coordinate = q.kl_q_p_by_coordinate().mean(0)
    above = by_coordinate > free
    assert 0 < above.sum() < 6
    price = model.price_above_free_bits(q, None)
    assert measure("eq-vae-free-gradient", price, by_coordinate.clamp(min=free).sum())
    found = torch.autograd.grad(price, parameters, retain_graph=True)
    wanted = torch.autograd.grad(by_coordinate[above].sum(), parameters)
    for left, right in zip(found, wanted, strict=True):
        assert measure("eq-vae-free-gradient", left, right)
    assert max(part.abs().max() for part in found) > 1e-6
    torch.manual_seed(3)
    loss = model.loss("variational", Batch(x)).value
    torch.manual_seed(3)
    assert measure("eq-vae-free-gradient", -loss, build().elbo(x).mean(), relation="<=")


@pytest.mark.equation("eq-vae-pixels")
def test_a_mean_over_pixels_is_a_price(measure):
    torch.manual_seed(0)
    x = torch.rand(5, 1, 3, 4, dtype=torch.float64)
    n = 12
    model = VAE(shape=(1, 3, 4), latent=2, beta=float(n)).double()
    parameters = list(model.parameters())
    torch.manual_seed(1)
    right = model.loss("variational", Batch(x)).value
    torch.manual_seed(1)
    q = model.encoder(x)
    wrong = (q.kl_q_p() - model.log_likelihood(x, q) / n).mean()
    assert measure("eq-vae-pixels", n * wrong, right)
    for a, b in zip(
        torch.autograd.grad(n * wrong, parameters),
        torch.autograd.grad(right, parameters),
        strict=True,
    ):
        assert measure("eq-vae-pixels", a, b)
