"""Log-densities against torch.distributions, event axes summed, batch axes kept."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions as D

from unigen_edu.densities import (
    DiagonalNormal,
    bernoulli_log_prob,
    categorical_log_prob,
    gaussian_log_prob,
    laplace_log_prob,
    sum_event,
)

SHAPES = [((5,), (3,)), ((5,), (2, 3, 4)), ((2, 5), (3,)), ((2, 5), (1, 3, 4)), ((5,), ())]


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize(("batch", "event"), SHAPES)
def test_bernoulli(batch, event):
    logits = 3 * normal(*batch, *event)
    x = torch.bernoulli(torch.rand(*batch[-1:], *event, dtype=torch.float64))  # broadcasts over k
    found = bernoulli_log_prob(x, logits, batch_dims=len(batch))
    wanted = D.Independent(D.Bernoulli(logits=logits), len(event)).log_prob(x.expand_as(logits))
    assert found.shape == batch
    assert torch.allclose(found, wanted, atol=1e-12, rtol=0)


def test_bernoulli_is_linear_in_grey_values():
    logits, grey = normal(4, 6), torch.rand(4, 6, dtype=torch.float64)
    white = D.Bernoulli(logits=logits).log_prob(torch.ones(4, 6, dtype=torch.float64))
    black = D.Bernoulli(logits=logits).log_prob(torch.zeros(4, 6, dtype=torch.float64))
    wanted = (grey * white + (1 - grey) * black).sum(1)
    assert torch.allclose(bernoulli_log_prob(grey, logits), wanted, atol=1e-12, rtol=0)


def test_bernoulli_is_finite_for_every_finite_logit():
    logits = torch.tensor([[-1e4], [1e4], [-90.0], [90.0]], requires_grad=True)
    for x in (0.0, 1.0):
        found = bernoulli_log_prob(torch.full((4, 1), x), logits)
        assert found.isfinite().all()
        (gradient,) = torch.autograd.grad(found.sum(), logits)
        assert torch.allclose(gradient, x - torch.sigmoid(logits))
    assert bernoulli_log_prob(torch.ones(1, 1), torch.tensor([[-90.0]])).item() == -90.0


@pytest.mark.parametrize(("batch", "event"), SHAPES)
@pytest.mark.parametrize("scalar", [True, False])
def test_gaussian(batch, event, scalar):
    mean = normal(*batch, *event)
    log_var = normal() if scalar else normal(*batch, *event)
    x = normal(*batch[-1:], *event)
    found = gaussian_log_prob(x, mean, log_var, batch_dims=len(batch))
    sd = torch.exp(log_var / 2).expand_as(mean)
    wanted = D.Independent(D.Normal(mean, sd), len(event)).log_prob(x.expand_as(mean))
    assert found.shape == batch
    assert torch.allclose(found, wanted, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(("batch", "event"), SHAPES)
@pytest.mark.parametrize("scalar", [True, False])
def test_laplace(batch, event, scalar):
    mean = normal(*batch, *event)
    log_scale = normal() if scalar else normal(*batch, *event)
    x = normal(*batch[-1:], *event)
    found = laplace_log_prob(x, mean, log_scale, batch_dims=len(batch))
    scale = torch.exp(log_scale).expand_as(mean)
    wanted = D.Independent(D.Laplace(mean, scale), len(event)).log_prob(x.expand_as(mean))
    assert found.shape == batch
    assert torch.allclose(found, wanted, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("batch", [(4,), (2, 4)])
def test_categorical(batch):
    logits = 3 * normal(*batch, 5)
    index = torch.randint(0, 5, batch)
    wanted = D.Categorical(logits=logits).log_prob(index)
    assert torch.allclose(categorical_log_prob(index, logits), wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    "log_prob",
    [
        lambda x: gaussian_log_prob(x, torch.tensor([0.3]), torch.tensor([-0.7])),
        lambda x: laplace_log_prob(x, torch.tensor([0.3]), torch.tensor([-0.7])),
    ],
    ids=["gaussian", "laplace"],
)
def test_densities_integrate_to_one(log_prob):
    x = torch.linspace(-30, 30, 200_001, dtype=torch.float64)[:, None]
    assert torch.trapezoid(log_prob(x).exp(), x[:, 0]).item() == pytest.approx(1.0, abs=1e-6)


def test_sum_event():
    value = normal(2, 3, 4, 5)
    assert torch.allclose(sum_event(value, 1), value.sum((1, 2, 3)))
    assert torch.allclose(sum_event(value, 3), value.sum(3))
    assert torch.equal(sum_event(value, 4), value)


# ---- DiagonalNormal ------------------------------------------------------------------------------


def test_log_prob_and_prior_of_the_diagonal_normal():
    mean, log_var, z = normal(5, 3), normal(5, 3), normal(4, 5, 3)
    q = DiagonalNormal(mean, log_var)
    posterior = D.Independent(D.Normal(mean, torch.exp(log_var / 2)), 1)
    prior = D.Independent(D.Normal(torch.zeros(3).double(), torch.ones(3).double()), 1)
    assert torch.allclose(q.log_prob(z), posterior.log_prob(z), atol=1e-12, rtol=1e-12)
    assert torch.allclose(q.log_prior(z), prior.log_prob(z), atol=1e-12, rtol=1e-12)
    assert q.log_prob(z).shape == q.log_prior(z).shape == (4, 5)


def test_kl_of_the_diagonal_normal():
    mean, log_var = normal(5, 3), normal(5, 3)
    wanted = D.kl_divergence(
        D.Normal(mean, torch.exp(log_var / 2)), D.Normal(torch.zeros_like(mean), 1.0)
    ).sum(1)
    assert torch.allclose(DiagonalNormal(mean, log_var).kl_q_p(), wanted, atol=1e-12, rtol=1e-12)
    assert (wanted > 0.1).all()


def test_draws_have_the_moments_and_carry_the_gradient():
    mean = torch.tensor([[1.0, -2.0]], dtype=torch.float64, requires_grad=True)
    log_var = torch.tensor([[0.0, math.log(9.0)]], dtype=torch.float64, requires_grad=True)
    q = DiagonalNormal(mean, log_var)
    sample = q.sample(40_000)
    z = sample.value
    assert sample.weight is None
    assert z.shape == (40_000, 1, 2)
    assert torch.allclose(z.mean(0), mean, atol=0.06)
    assert torch.allclose(z.std(0), torch.tensor([[1.0, 3.0]], dtype=torch.float64), rtol=0.02)
    # dz/dmean = 1 and dz/dlog_var = (z - mean) / 2, draw by draw
    d_mean, d_log_var = torch.autograd.grad(z[7].sum(), (mean, log_var))
    assert torch.equal(d_mean, torch.ones_like(mean))
    assert torch.allclose(d_log_var, (z[7] - mean) / 2)
    assert q.sample().value.shape == (1, 1, 2)
