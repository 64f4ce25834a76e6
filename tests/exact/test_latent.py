"""Exact inference in latent classes, by mean field and in probabilistic PCA, against sums,
searches and torch's own distributions."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from unigen_edu.errors import UnigenError
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.latent import (
    LatentClassWorld,
    LinearGaussian,
    coordinate_ascent,
    elbo,
    product_of,
)
from unigen_edu.exact.tables import generator_from, kl_p_q, random_distribution, table

SEEDS = range(5)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_joint_of_latent_classes_pixel_by_pixel(seed: int):
    w = LatentClassWorld.random(seed)
    for i, image in enumerate(itertools.product((0, 1), repeat=3)):
        assert w.x[i].tolist() == list(image)
        for z in range(2):
            p = w.p_z[z].item()
            for pixel, on in enumerate(image):
                rate = w.p_on[z, pixel].item()
                p *= rate if on else 1 - rate
            assert math.exp(w.log_joint()[i, z].item()) == pytest.approx(p, abs=1e-14)
    assert gap(w.evidence().sum(), 1.0) < 1e-12


@pytest.mark.parametrize("seed", SEEDS)
def test_the_m_step_is_the_best_there_is(seed: int):
    w = LatentClassWorld.random(seed)
    q = random_distribution(8, 2, generator=generator_from(100 + seed))
    best = w.m_step(q)

    def complete(parameters: torch.Tensor) -> torch.Tensor:
        p_z, p_on = parameters[:2].softmax(0), parameters[2:].reshape(2, 3).sigmoid()
        return LatentClassWorld(w.p_data, p_z, p_on).complete_log_likelihood(q)

    at = torch.cat([best.p_z.log(), best.p_on.logit().flatten()])
    assert gradient(complete, at).abs().max() < 1e-12
    for shift in torch.eye(8, dtype=torch.float64):
        assert complete(at + 0.3 * shift) < complete(at)


def test_em_never_goes_down_and_reaches_a_stationary_point():
    for seed in SEEDS:
        w = LatentClassWorld.random(seed)
        values = []
        for _ in range(400):
            values.append(w.log_likelihood())
            w = w.em_step()
        rises = torch.stack(values).diff()
        assert rises.min() > -1e-13
        assert rises[0] > 1e-6
        assert rises[-1] < 1e-6


@pytest.mark.parametrize("seed", SEEDS)
def test_coordinate_ascent_climbs_to_a_maximum(seed: int):
    log_joint = torch.randn(2, 3, 2, generator=generator_from(seed), dtype=torch.float64)
    start = [torch.full((n,), 1 / n, dtype=torch.float64) for n in (2, 3, 2)]
    factors, trace = coordinate_ascent(log_joint, start, sweeps=200)
    assert (trace.diff() > -1e-13).all()
    assert len(trace) == 1 + 200 * 3
    evidence = log_joint.logsumexp((0, 1, 2))
    posterior = (log_joint - evidence).exp().flatten()
    assert gap(evidence - trace[-1], kl_p_q(product_of(factors).flatten(), posterior)) < 1e-12

    def bound(logits: torch.Tensor) -> torch.Tensor:
        q = product_of([part.softmax(0) for part in logits.split([2, 3, 2])])
        return elbo(log_joint.flatten(), q.flatten())

    assert gradient(bound, torch.cat(factors).log()).abs().max() < 1e-8


def test_coordinate_ascent_finds_independent_variables_in_one_sweep():
    g = generator_from(3)
    truth = [random_distribution(n, generator=g) for n in (2, 4)]
    start = [random_distribution(n, generator=g) for n in (2, 4)]
    found, trace = coordinate_ascent(product_of(truth).log(), start, sweeps=1)
    for a, b in zip(found, truth, strict=True):
        assert gap(a, b) < 1e-12
    assert gap(trace[-1], 0.0) < 1e-12
    with pytest.raises(UnigenError, match="2 factors for 1 latent variables"):
        coordinate_ascent(truth[0].log(), truth, sweeps=1)
    one, _ = coordinate_ascent(truth[0].log(), [start[0]], sweeps=1)
    assert gap(one[0], truth[0]) < 1e-12


@pytest.mark.parametrize("seed", SEEDS)
def test_probabilistic_pca_against_torch(seed: int):
    w = LinearGaussian.random(seed)
    g = generator_from(50 + seed)
    x = torch.randn(6, 4, generator=g, dtype=torch.float64)
    marginal = MultivariateNormal(w.mean, w.covariance)
    assert gap(w.log_evidence(x), marginal.log_prob(x)) < 1e-10
    # Bayes' rule at three arbitrary codes.
    posterior = MultivariateNormal(w.posterior_mean(x), w.posterior_covariance)
    prior = MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    for z in torch.randn(3, 2, generator=g, dtype=torch.float64):
        noise = w.variance * torch.eye(4).double()
        likelihood = MultivariateNormal(w.W @ z + w.mean, noise).log_prob(x)
        bayes = prior.log_prob(z) + likelihood - w.log_evidence(x)
        assert gap(posterior.log_prob(z), bayes) < 1e-10
    # The ELBO of any normal q falls short by its KL divergence to the posterior.
    a = torch.randn(2, 2, generator=g, dtype=torch.float64)
    covariance, mean = a @ a.T + 0.1 * torch.eye(2), torch.randn(6, 2, generator=g).double()
    short = kl_divergence(MultivariateNormal(mean, covariance), posterior)
    assert gap(w.elbo(x, mean, covariance), w.log_evidence(x) - short) < 1e-10
    batched = w.elbo(x, mean, covariance.expand(6, 2, 2))
    assert gap(batched, w.elbo(x, mean, covariance)) < 1e-12


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_diagonal_encoder(seed: int):
    w = LinearGaussian.random(seed)
    x = torch.randn(3, 4, generator=generator_from(seed), dtype=torch.float64)
    at = torch.cat([w.posterior_mean(x).flatten(), w.best_diagonal().log()])

    def bound(parameters: torch.Tensor) -> torch.Tensor:
        mean, spread = parameters[:6].reshape(3, 2), parameters[6:].exp()
        return w.elbo(x, mean, torch.diag(spread)).sum()

    assert gradient(bound, at).abs().max() < 1e-9
    best = w.elbo(x, w.posterior_mean(x), torch.diag(w.best_diagonal()))
    assert gap(w.log_evidence(x) - best, w.diagonal_gap().expand(3)) < 1e-10
    assert w.diagonal_gap() > 1e-4


def test_maximum_likelihood_beats_its_neighbours_and_wants_fewer_coordinates_than_dimensions():
    g = generator_from(0)
    x = (
        torch.randn(200, 5, generator=g, dtype=torch.float64)
        @ torch.randn(5, 5, generator=g).double()
    )
    best = LinearGaussian.maximum_likelihood(x, 2)

    def likelihood(parameters: torch.Tensor) -> torch.Tensor:
        W, mean, log_variance = parameters[:10].reshape(5, 2), parameters[10:15], parameters[15]
        return LinearGaussian(W, mean, log_variance.exp()).log_evidence(x).mean()

    at = torch.cat([best.W.flatten(), best.mean, best.variance.log()[None]])
    assert gradient(likelihood, at).abs().max() < 1e-10
    for shift in torch.randn(20, 16, generator=g, dtype=torch.float64):
        assert likelihood(at + 0.1 * shift) < likelihood(at)
    assert best.diagonal_gap().abs() < 1e-10  # orthogonal columns
    turn = table([[0.6, -0.8], [0.8, 0.6]])
    turned = LinearGaussian(best.W @ turn, best.mean, best.variance)
    assert gap(turned.log_evidence(x), best.log_evidence(x)) < 1e-9
    assert turned.diagonal_gap() > 1e-4
    with pytest.raises(UnigenError, match="leave room for 1 to 4"):
        LinearGaussian.maximum_likelihood(x, 5)
