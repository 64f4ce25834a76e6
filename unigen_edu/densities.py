"""Log-densities, each defined once, with its reduction stated.

Every function returns one number per sample: it **sums** over the dimensions of an event (pixels,
latent coordinates) and leaves the batch alone. Averaging over the batch is the caller's, by
`declarations.expect`. All values are in nats.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from unigen_edu.declarations import Sample
from unigen_edu.noise import normal

LOG_2PI = math.log(2.0 * math.pi)


def sum_event(value: Tensor, batch_dims: int) -> Tensor:
    """Sum over every axis after the first `batch_dims`."""
    return value.flatten(batch_dims).sum(-1) if value.dim() > batch_dims else value


def bernoulli_log_prob(x: Tensor, logits: Tensor, batch_dims: int = 1) -> Tensor:
    """log Bernoulli(x; sigmoid(logits)), summed over pixels.

    Args:
        x: values in [0, 1], broadcastable to `logits`. For x in {0, 1} this is a log-probability;
            for grey values it is the usual cross-entropy, which is no density of x.
        logits: (*batch, *event).
        batch_dims: number of leading batch axes that are kept.
    """
    # x*l - log(1 + e^l): finite for every finite logit, unlike log(sigmoid(l)).
    return sum_event(x * logits - F.softplus(logits), batch_dims)


def gaussian_log_prob(x: Tensor, mean: Tensor, log_var: Tensor, batch_dims: int = 1) -> Tensor:
    """log N(x; mean, exp(log_var)), summed over the event; `log_var` broadcasts."""
    quadratic = (x - mean).square() * torch.exp(-log_var)
    return -0.5 * sum_event(quadratic + log_var + LOG_2PI, batch_dims)


def laplace_log_prob(x: Tensor, mean: Tensor, log_scale: Tensor, batch_dims: int = 1) -> Tensor:
    """log Laplace(x; mean, exp(log_scale)), summed over the event; `log_scale` broadcasts."""
    deviation = (x - mean).abs() * torch.exp(-log_scale)
    return -sum_event(deviation + log_scale + math.log(2.0), batch_dims)


def categorical_log_prob(index: Tensor, logits: Tensor) -> Tensor:
    """log Categorical(index; softmax(logits)): index (*batch,) int64, logits (*batch, K)."""
    return torch.log_softmax(logits, -1).gather(-1, index.unsqueeze(-1)).squeeze(-1)


class DiagonalNormal:
    """q(z|x) = N(mean(x), diag exp(log_var(x))), one Gaussian per data point.

    Args:
        mean, log_var: (B, L), or (..., B, L) for several Gaussians per data point; then every
            method has the same axes in front of B.
    """

    def __init__(self, mean: Tensor, log_var: Tensor):
        self.mean = mean
        self.log_var = log_var

    def sample(self, k: int = 1) -> Sample:
        """`k` reparameterised draws per data point: value (k, B, L), equal weight."""
        noise = normal(k, *self.mean.shape, like=self.mean, batch_dim=self.mean.dim() - 1)
        return Sample(self.mean + torch.exp(0.5 * self.log_var) * noise)

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x) summed over latent coordinates: z (k, B, L) -> (k, B)."""
        return gaussian_log_prob(z, self.mean, self.log_var, batch_dims=z.dim() - 1)

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z) under the standard normal prior: z (k, B, L) -> (k, B)."""
        zero = torch.zeros((), dtype=z.dtype, device=z.device)
        return gaussian_log_prob(z, zero, zero, batch_dims=z.dim() - 1)

    def kl_q_p(self) -> Tensor:
        """KL(q(z|x) || N(0, I)) in closed form, summed over latent coordinates: (B,)."""
        return self.kl_q_p_by_coordinate().sum(-1)

    def kl_q_p_by_coordinate(self) -> Tensor:
        """KL(q(z_j|x) || N(0, 1)) of each latent coordinate: (B, L)."""
        return 0.5 * (self.log_var.exp() + self.mean.square() - 1.0 - self.log_var)
