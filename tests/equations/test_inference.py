"""Chapter 2: every labelled equation, by listing all codes, by quadrature or against torch.

The model's tables come from `VAEWorld`, `LatentClassWorld` and `LinearGaussian`; sums over codes,
posteriors and gradients are written out here once more.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from unigen_edu.exact.checks import gradient
from unigen_edu.exact.continuous import normal_quadrature
from unigen_edu.exact.latent import (
    LatentClassWorld,
    LinearGaussian,
    coordinate_ascent,
    elbo,
    product_of,
)
from unigen_edu.exact.tables import generator_from, random_distribution, table
from unigen_edu.exact.vae import VAEWorld

SEEDS = range(6)
WORLDS = [VAEWorld.random(seed, n_x=4, n_z=3) for seed in SEEDS]
MIXTURES = [LatentClassWorld.random(seed) for seed in SEEDS]
LINEAR = [LinearGaussian.random(seed) for seed in SEEDS]
POINTS = torch.randn(5, 4, generator=generator_from(7), dtype=torch.float64)


def kl(p: Tensor, q: Tensor) -> float:
    return sum(
        a * (math.log(a) - math.log(b))
        for a, b in zip(p.flatten().tolist(), q.flatten().tolist(), strict=True)
        if a > 0
    )


def case(w: VAEWorld, x: int) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """Prior, joint, posterior and guess of one observation, and its evidence."""
    prior = w.p_z_given_y[0]
    joint = torch.stack([prior[z] * w.p_x_given_z()[z, x] for z in range(3)])
    evidence = float(joint.sum())
    return prior, joint, joint / evidence, w.q_z_given_x()[x], evidence


CASES = [case(w, x) for w in WORLDS for x in range(4)]


def bound(joint: Tensor, q: Tensor) -> float:
    """E_q log p(x, z)/q(z), one code after the other."""
    return sum(float(b * (a / b).log()) for a, b in zip(joint, q, strict=True))


# ---- what is hard ------------------------------------------------------------------------------


@pytest.mark.equation("eq-inference-cost")
def test_draws_from_the_prior_cost_the_exponential_of_the_information(measure):
    for prior, joint, posterior, _, evidence in CASES:
        likelihood = joint / prior
        variance = float((prior * likelihood**2).sum()) - evidence**2
        chi2 = float(((posterior - prior) ** 2 / prior).sum())
        assert measure("eq-inference-cost", variance / evidence**2, chi2)
        assert measure("eq-inference-cost", math.exp(kl(posterior, prior)) - 1, chi2, relation="<=")
    # Sixteen independent bits, each read almost without error: exponential in their number.
    bit = table([0.99, 0.01])
    chi2_of_one = float(((bit - 0.5) ** 2 / 0.5).sum())
    needed = (1 + chi2_of_one) ** 16 - 1
    assert measure(
        "eq-inference-cost", math.exp(16 * kl(bit, table([0.5, 0.5]))) - 1, needed, relation="<="
    )
    assert needed > 1e4


@pytest.mark.equation("eq-inference-fisher")
def test_the_gradient_of_the_evidence_is_an_average_over_the_posterior(measure):
    for w in WORLDS:
        for x in range(4):
            posterior = case(w, x)[2]
            by_code = [
                gradient(lambda t, w=w, x=x, z=z: w.p_xz(t)[x, z].log(), w.theta0) for z in range(3)
            ]
            average = sum(float(posterior[z]) * by_code[z] for z in range(3))
            direct = gradient(lambda t, w=w, x=x: w.p_xz(t)[x].sum().log(), w.theta0)
            assert measure("eq-inference-fisher", direct, average)
            over_guess = sum(float(w.q_z_given_x()[x, z]) * by_code[z] for z in range(3))
            assert measure("eq-inference-fisher", direct, over_guess, 1e-5, relation="!=")


# ---- the bound ---------------------------------------------------------------------------------


@pytest.mark.equation(
    "eq-inference-forms",
    "eq-inference-jensen",
    "eq-inference-gap",
    "eq-inference-weight",
    "eq-inference-sandwich",
)
def test_the_bound_and_its_gap(measure):
    for prior, joint, posterior, q, evidence in CASES:
        value = bound(joint, q)
        fit = float((q * (joint / prior).log()).sum())
        energy, surprise = float((q * joint.log()).sum()), -float((q * q.log()).sum())
        assert measure("eq-inference-forms", value, fit - kl(q, prior))
        assert measure("eq-inference-forms", value, energy + surprise)
        assert measure("eq-inference-forms", elbo(joint.log(), q), value)
        assert measure("eq-inference-jensen", value, math.log(evidence), relation="<=")
        assert measure("eq-inference-jensen", (q * (joint / q)).sum().log(), math.log(evidence))
        assert measure("eq-inference-gap", math.log(evidence), value + kl(q, posterior))
        assert measure("eq-inference-gap", bound(joint, posterior), math.log(evidence))
        wrong = value + kl(posterior, q)
        assert measure("eq-inference-gap", math.log(evidence), wrong, 1e-6, relation="!=")
        assert measure("eq-inference-weight", joint / q, evidence * posterior / q)
        above = float((posterior * (joint / q).log()).sum())
        assert measure("eq-inference-sandwich", value, math.log(evidence), relation="<=")
        assert measure("eq-inference-sandwich", math.log(evidence), above, relation="<=")
        assert measure("eq-inference-sandwich", above, math.log(evidence) + kl(posterior, q))


@pytest.mark.equation("eq-inference-joint", "eq-inference-split")
def test_one_divergence_between_joints(measure):
    for w in WORLDS:
        cases = [case(w, x) for x in range(4)]
        data = w.p_data.tolist()
        loss = -sum(d * bound(c[1], c[3]) for d, c in zip(data, cases, strict=True))
        inferring = torch.stack([d * c[3] for d, c in zip(data, cases, strict=True)])
        generating = torch.stack([c[1] for c in cases])
        surprise = -sum(d * math.log(d) for d in data)
        assert measure("eq-inference-joint", loss, kl(inferring, generating) + surprise)
        covering = kl(w.p_data, table([c[4] for c in cases]))
        seeking = sum(d * kl(c[3], c[2]) for d, c in zip(data, cases, strict=True))
        assert measure("eq-inference-split", kl(inferring, generating), covering + seeking)


# ---- EM ----------------------------------------------------------------------------------------


@pytest.mark.equation("eq-inference-e-step")
def test_the_posterior_is_the_best_guess(measure):
    g = generator_from(21)
    for _, joint, posterior, q, evidence in CASES:
        assert measure("eq-inference-e-step", bound(joint, posterior), math.log(evidence))
        others = [q, *(random_distribution(3, generator=g) for _ in range(5))]
        for other in others:
            assert measure(
                "eq-inference-e-step", bound(joint, other), math.log(evidence), relation="<="
            )


def mixture_by_hand(w: LatentClassWorld) -> Tensor:
    """p(x, z), image by image."""
    rows = []
    for image in itertools.product((0, 1), repeat=3):
        rates = [
            [on if bit else 1 - on for on, bit in zip(w.p_on[k].tolist(), image, strict=True)]
            for k in range(2)
        ]
        rows.append([float(w.p_z[k]) * math.prod(rates[k]) for k in range(2)])
    return table(rows)


@pytest.mark.equation("eq-inference-em", "eq-inference-m-step")
def test_what_an_em_step_gains(measure):
    for seed, w in enumerate(MIXTURES):
        other = LatentClassWorld.random(100 + seed)
        images = table(list(itertools.product((0, 1), repeat=3)))
        joint = mixture_by_hand(w)
        r = joint / joint.sum(1, keepdim=True)
        shares = (w.p_data[:, None] * r).sum(0)
        on = torch.stack(
            [(w.p_data * r[:, k]) @ images / (w.p_data * r[:, k]).sum() for k in range(2)]
        )
        new = w.em_step()
        assert measure("eq-inference-m-step", new.p_z, shares)
        assert measure("eq-inference-m-step", new.p_on, on)
        for target in (new, LatentClassWorld(w.p_data, other.p_z, other.p_on)):
            after = mixture_by_hand(target)
            gain = float(w.p_data @ (after.sum(1).log() - joint.sum(1).log()))
            of_q = float((w.p_data[:, None] * r * (after.log() - joint.log())).sum())
            after_r = after / after.sum(1, keepdim=True)
            moved = sum(float(w.p_data[i]) * kl(r[i], after_r[i]) for i in range(8))
            assert measure("eq-inference-em", gain, of_q + moved)
        # No parameters have a larger Q than those of the M-step: its gradient there is zero.
        at = torch.cat([new.p_z.log(), new.p_on.logit().flatten()])

        def complete(t: Tensor, w: LatentClassWorld = w, r: Tensor = r) -> Tensor:
            moved = LatentClassWorld(w.p_data, t[:2].softmax(0), t[2:].reshape(2, 3).sigmoid())
            return (w.p_data[:, None] * r * moved.log_joint()).sum()

        assert measure("eq-inference-m-step", gradient(complete, at), torch.zeros(8))


# ---- mean field --------------------------------------------------------------------------------


@pytest.mark.equation("eq-inference-field")
def test_one_factor_at_a_time(measure):
    g = generator_from(22)
    for seed in SEEDS:
        log_joint = torch.randn(2, 3, 2, generator=generator_from(seed), dtype=torch.float64)
        q = [random_distribution(n, generator=g) for n in (2, 3, 2)]
        for j in range(3):
            mean_field = torch.zeros(q[j].shape, dtype=torch.float64)
            for state in itertools.product(range(2), range(3), range(2)):
                weight = math.prod(float(q[i][state[i]]) for i in range(3) if i != j)
                mean_field[state[j]] += weight * log_joint[state]
            c = float(mean_field.exp().sum())
            best = mean_field.exp() / c
            entropies = sum(-float((q[i] * q[i].log()).sum()) for i in range(3) if i != j)
            value = elbo(log_joint.flatten(), product_of(q).flatten())
            assert measure("eq-inference-field", value, -kl(q[j], best) + math.log(c) + entropies)
        found, trace = coordinate_ascent(log_joint, q, sweeps=1)
        assert (trace.diff() >= -1e-13).all()
        others = torch.einsum("abc,b,c->a", log_joint, q[1], q[2])
        first = others.exp() / others.exp().sum()
        second = torch.einsum("abc,a,c->b", log_joint, first, q[2]).softmax(0)
        assert measure("eq-inference-field", found[1], second)


@pytest.mark.equation("eq-inference-lamps")
def test_two_lamps(measure):
    posterior = table([[0.0, 0.5], [0.5, 0.0]])
    for first, second in ((0.0, 1.0), (1.0, 0.0)):
        q = product_of([table([1 - first, first]), table([1 - second, second])])
        assert measure("eq-inference-lamps", kl(q, posterior.clamp(min=1e-300)), math.log(2))
    # With a little mass on the forbidden states nothing on a fine grid of products does better.
    for tiny in (1e-4, 1e-8):
        soft = table([[tiny, 0.5 - tiny], [0.5 - tiny, tiny]])
        on = torch.linspace(0.0, 1.0, 401, dtype=torch.float64)
        a, b = torch.meshgrid(on, on, indexing="ij")
        q = torch.stack([(1 - a) * (1 - b), (1 - a) * b, a * (1 - b), a * b], -1)
        gaps = (torch.xlogy(q, q) - q * soft.flatten().log()).sum(-1)
        assert measure("eq-inference-lamps", gaps.min(), math.log(2), tolerance=4 * tiny)
        where = gaps.argmin()
        assert {float(a.flatten()[where]), float(b.flatten()[where])} == {0.0, 1.0}


@pytest.mark.equation("eq-inference-field-normal")
def test_mean_field_of_a_normal_is_too_narrow(measure):
    for seed in SEEDS:
        a = torch.randn(3, 3, generator=generator_from(seed), dtype=torch.float64)
        precision = a @ a.T + 0.3 * torch.eye(3, dtype=torch.float64)
        posterior = MultivariateNormal(torch.zeros(3).double(), precision_matrix=precision)

        def gap(log_variances: Tensor, posterior: MultivariateNormal = posterior) -> Tensor:
            q = MultivariateNormal(posterior.mean, torch.diag(log_variances.exp()))
            return kl_divergence(q, posterior)

        best = -precision.diagonal().log()
        assert measure("eq-inference-field-normal", gradient(gap, best), torch.zeros(3))
        formula = (precision.diagonal().log().sum() - torch.logdet(precision)) / 2
        assert measure("eq-inference-field-normal", gap(best), formula)
        for shift in torch.randn(10, 3, generator=generator_from(seed), dtype=torch.float64):
            assert measure("eq-inference-field-normal", gap(best), gap(best + shift), relation="<=")
        true = torch.linalg.inv(precision).diagonal()
        assert measure("eq-inference-field-normal", best.exp(), true, relation="<=")
        assert (true - best.exp()).max() > 1e-2


# ---- gradients ---------------------------------------------------------------------------------


@pytest.mark.equation("eq-inference-score", "eq-inference-baseline")
def test_the_score_gradient_and_constants(measure):
    for w in WORLDS:
        for x in range(4):
            _, joint, _, q, _ = case(w, x)
            true = gradient(
                lambda eta, x=x, j=joint, w=w: elbo(j.log(), w.q_z_given_x(eta)[x]), w.eta0
            )[x]
            scores = torch.eye(3, dtype=torch.float64) - q  # of the logits of q, rows z
            log_w = (joint / q).log()
            assert measure(
                "eq-inference-score", true, sum(q[z] * log_w[z] * scores[z] for z in range(3))
            )
            for c in (-2.5, float(log_w.mean())):
                shifted = sum(q[z] * (log_w[z] - c) * scores[z] for z in range(3))
                assert measure("eq-inference-baseline", true, shifted)


def log_normal(z: Tensor, mean: Tensor, log_sd: Tensor) -> Tensor:
    return -0.5 * ((z - mean) * torch.exp(-log_sd)) ** 2 - log_sd - 0.5 * math.log(2 * math.pi)


@pytest.mark.equation("eq-inference-path")
def test_both_path_gradients(measure):
    """The posterior with two bumps, z ~ N(0, 1), x|z ~ N(z^2, 1/4), x = 1.5; by quadrature."""
    noise, weight = normal_quadrature(401)
    line = torch.linspace(-12, 12, 6001, dtype=torch.float64)
    zero = table(0.0)

    def log_joint(z: Tensor) -> Tensor:
        return log_normal(z, zero, zero) + log_normal(table(1.5), z**2, table(0.5).log())

    for at in (table([0.9, -1.0]), table([-0.2, -0.3]), table([1.2, -1.6])):

        def on_a_line(eta: Tensor) -> Tensor:
            log_q = log_normal(line, eta[0], eta[1])
            return (log_q.exp() * (log_joint(line) - log_q)).sum() * (line[1] - line[0])

        def through_the_draw(eta: Tensor, frozen: Tensor | None = None) -> Tensor:
            z = eta[0] + eta[1].exp() * noise
            law = eta if frozen is None else frozen
            return (weight * (log_joint(z) - log_normal(z, law[0], law[1]))).sum()

        true = gradient(on_a_line, at)
        assert measure("eq-inference-path", gradient(through_the_draw, at), true, tolerance=1e-8)
        dropped = gradient(lambda eta, at=at: through_the_draw(eta, at), at)
        assert measure("eq-inference-path", dropped, true, tolerance=1e-8)


@pytest.mark.equation("eq-inference-variances")
def test_the_variances_of_four_estimates(measure):
    """Estimates by autograd at every node of a product quadrature; polynomials up to degree 6."""
    nodes, weights = normal_quadrature(61)
    for latent, m in ((1, 0.7), (1, -1.4), (2, 0.9), (3, 0.5)):
        index = torch.cartesian_prod(*[torch.arange(61)] * latent).reshape(-1, latent)
        eps, weight = nodes[index], weights[index].prod(-1)
        mean = torch.full((len(eps), latent), m, dtype=torch.float64, requires_grad=True)
        fixed = mean.detach()

        def log_w(z: Tensor, law: Tensor) -> Tensor:
            return (-0.5 * z**2 + 0.5 * (z - law) ** 2).sum(-1)

        z = mean + eps
        (everything,) = torch.autograd.grad(log_w(z, mean).sum(), mean, retain_graph=True)
        (dropped,) = torch.autograd.grad(log_w(z, fixed).sum(), mean)
        value = log_w(fixed + eps, fixed)
        log_q = -0.5 * (z.detach() - mean) ** 2
        (scores,) = torch.autograd.grad(log_q.sum(), mean)
        centre = (weight * value).sum()
        found = [
            value * scores[:, 0],
            (value - centre) * scores[:, 0],
            everything[:, 0],
            dropped[:, 0],
        ]
        formulas = [
            latent**2 * m**4 / 4 + (latent + 1) * m**2,
            (latent + 1) * m**2,
            1.0,
            0.0,
        ]
        for estimate, formula in zip(found, formulas, strict=True):
            average = (weight * estimate).sum()
            variance = (weight * (estimate - average) ** 2).sum()
            assert measure("eq-inference-variances", average, -m, tolerance=1e-9)
            assert measure("eq-inference-variances", variance, formula, tolerance=1e-8)
        for c in (-0.3, 0.4):  # no other constant does better
            other = (value - centre - c) * scores[:, 0]
            spread = (weight * (other - (weight * other).sum()) ** 2).sum()
            assert measure("eq-inference-variances", formulas[1] + 1e-3, spread, relation="<=")


@pytest.mark.equation("eq-inference-amortised")
def test_the_gap_of_an_encoder_has_two_parts(measure):
    """A family of three codes' worth of guesses: q proportional to (1, t, t^2), one number t."""
    ts = torch.linspace(-4, 4, 2001, dtype=torch.float64)
    family = torch.stack([0 * ts, ts, 2 * ts], -1).softmax(-1)
    for w in WORLDS:
        for x in range(4):
            _, joint, posterior, _, evidence = case(w, x)
            values = elbo(joint.log(), family)
            shared = family[700]  # an encoder that gives every x the same guess
            whole = math.log(evidence) - bound(joint, shared)
            of_family = math.log(evidence) - float(values.max())
            amortisation = float(values.max()) - bound(joint, shared)
            assert measure("eq-inference-amortised", whole, of_family + amortisation)
            assert measure("eq-inference-amortised", 0.0, of_family, relation="<=")
            assert measure("eq-inference-amortised", 0.0, amortisation, relation="<=")
            assert measure(
                "eq-inference-amortised", of_family, kl(family[values.argmax()], posterior)
            )


# ---- probabilistic PCA -------------------------------------------------------------------------


@pytest.mark.equation(
    "eq-inference-ppca-evidence", "eq-inference-ppca-posterior", "eq-inference-ppca-gap"
)
def test_probabilistic_pca(measure):
    eye2, eye4 = torch.eye(2, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    nodes, weights = normal_quadrature(121)
    index = torch.cartesian_prod(torch.arange(121), torch.arange(121))
    codes, weight = nodes[index], weights[index].prod(-1)
    for m in LINEAR:
        marginal = MultivariateNormal(m.mean, m.W @ m.W.T + m.variance * eye4)
        M = m.W.T @ m.W + m.variance * eye2
        posterior = MultivariateNormal(
            torch.linalg.solve(M, m.W.T @ (POINTS - m.mean).T).T, m.variance * torch.linalg.inv(M)
        )
        prior = MultivariateNormal(torch.zeros(2).double(), eye2)
        log_lik = MultivariateNormal(codes @ m.W.T + m.mean, m.variance * eye4).log_prob(
            POINTS[:, None]
        )
        integral = (log_lik + weight.log()).logsumexp(1)
        assert measure(
            "eq-inference-ppca-evidence", marginal.log_prob(POINTS), integral, tolerance=1e-6
        )
        assert measure(
            "eq-inference-ppca-evidence", m.log_evidence(POINTS), marginal.log_prob(POINTS)
        )
        for z in codes[[0, 777, 9000]] / 3:
            bayes = (
                prior.log_prob(z)
                + MultivariateNormal(m.W @ z + m.mean, m.variance * eye4).log_prob(POINTS)
                - marginal.log_prob(POINTS)
            )
            assert measure("eq-inference-ppca-posterior", posterior.log_prob(z), bayes)
        assert measure("eq-inference-ppca-posterior", m.posterior_mean(POINTS), posterior.mean)
        best = torch.diag(m.variance / M.diagonal())
        short = kl_divergence(MultivariateNormal(posterior.mean, best), posterior)
        formula = (M.diagonal().log().sum() - torch.logdet(M)) / 2
        assert measure("eq-inference-ppca-gap", short, formula.expand(5))
        assert measure("eq-inference-ppca-gap", m.diagonal_gap(), formula)
        for factor in (0.8, 1.3):
            other = kl_divergence(MultivariateNormal(posterior.mean, factor * best), posterior)
            assert measure("eq-inference-ppca-gap", formula.expand(5), other, relation="<=")
        orthogonal = LinearGaussian(torch.linalg.qr(m.W)[0] * table([2.0, 0.5]), m.mean, m.variance)
        assert measure("eq-inference-ppca-gap", orthogonal.diagonal_gap(), 0.0)


@pytest.mark.equation("eq-inference-ppca-ml")
def test_maximum_likelihood_of_probabilistic_pca(measure):
    g = generator_from(23)
    for latent in (1, 2, 3):
        x = torch.randn(60, 5, generator=g, dtype=torch.float64) * table([3.0, 2.0, 1.5, 1.0, 0.5])
        centred = x - x.mean(0)
        values, vectors = torch.linalg.eigh(centred.T @ centred / 60)
        values, vectors = values.flip(0), vectors.flip(1)
        variance = values[latent:].mean()
        W = vectors[:, :latent] * (values[:latent] - variance).sqrt()
        found = LinearGaussian.maximum_likelihood(x, latent)
        assert measure("eq-inference-ppca-ml", found.variance, variance)
        assert measure("eq-inference-ppca-ml", found.mean, x.mean(0))
        assert measure("eq-inference-ppca-ml", found.W @ found.W.T, W @ W.T)

        def likelihood(t: Tensor, x: Tensor = x, latent: int = latent) -> Tensor:
            W, mean, log_variance = t[: 5 * latent].reshape(5, latent), t[-6:-1], t[-1]
            covariance = W @ W.T + log_variance.exp() * torch.eye(5, dtype=torch.float64)
            return MultivariateNormal(mean, covariance).log_prob(x).mean()

        at = torch.cat([W.flatten(), x.mean(0), variance.log()[None]])
        assert measure("eq-inference-ppca-ml", gradient(likelihood, at), torch.zeros(len(at)))
        for shift in torch.randn(30, len(at), generator=g, dtype=torch.float64):
            for size in (0.1, 1.0):
                other = likelihood(at + size * shift)
                assert measure("eq-inference-ppca-ml", other, likelihood(at), relation="<=")
