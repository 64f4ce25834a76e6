"""Latent variable models in which inference can be done exactly, and compared with its bounds.

`LatentClassWorld` is a mixture of independent binary pixels, small enough to list all images: EM
has a closed form there. `coordinate_ascent` is mean-field inference on any table of log p(x, z).
`LinearGaussian` is probabilistic PCA: real-valued, and yet everything is known.

Sources: Dempster, Laird and Rubin (1977) for EM; Tipping and Bishop (1999) for probabilistic PCA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unigen_edu.densities import LOG_2PI
from unigen_edu.errors import UnigenError
from unigen_edu.exact.tables import (
    entropy,
    expectation,
    generator_from,
    kl_p_q,
    p_log_q,
    random_distribution,
)
from unigen_edu.exact.wake_sleep import binary_states

__all__ = ["LatentClassWorld", "LinearGaussian", "coordinate_ascent", "elbo", "product_of"]


def elbo(log_joint: Tensor, q: Tensor) -> Tensor:
    """E_q[log p(x, z) - log q(z|x)] over the last axis: tables (..., Z) -> (...), in nats."""
    return expectation(q, log_joint, dim=-1) + entropy(q)


@dataclass(frozen=True, eq=False)
class LatentClassWorld:
    """K classes z, and D binary pixels that are independent given the class.

    p_data: (2^D,) over all images, counting up in binary.  p_z: (K,).
    p_on: (K, D), the probability that a pixel is on.
    """

    p_data: Tensor
    p_z: Tensor
    p_on: Tensor

    @classmethod
    def random(cls, seed: int, pixels: int = 3, classes: int = 2) -> LatentClassWorld:
        """A random world with full support, a function of ``seed`` alone."""
        g = generator_from(seed)
        return cls(
            p_data=random_distribution(2**pixels, generator=g),
            p_z=random_distribution(classes, generator=g),
            p_on=torch.randn(classes, pixels, generator=g, dtype=torch.float64).sigmoid(),
        )

    @property
    def x(self) -> Tensor:
        """All images.  (2^D, D)"""
        return binary_states(self.p_on.shape[1])

    def log_joint(self) -> Tensor:
        """log p(x, z).  (2^D, K)"""
        x = self.x[:, None]
        pixels = p_log_q(x, self.p_on) + p_log_q(1 - x, 1 - self.p_on)  # (X, K, D)
        return self.p_z.log() + pixels.sum(-1)

    def evidence(self) -> Tensor:
        """p(x) = sum_z p(x, z).  (2^D,)"""
        return self.log_joint().exp().sum(-1)

    def posterior(self) -> Tensor:
        """p(z|x), by Bayes' rule.  (2^D, K)"""
        return self.log_joint().softmax(-1)

    def log_likelihood(self) -> Tensor:
        """E_{p_data} log p(x).  Scalar."""
        return expectation(self.p_data, self.evidence().log())

    def expected_elbo(self, q: Tensor) -> Tensor:
        """E_{p_data} ELBO(x) of a table q(z|x).  q: (2^D, K) -> scalar"""
        return expectation(self.p_data, elbo(self.log_joint(), q))

    def expected_gap(self, q: Tensor) -> Tensor:
        """E_{p_data} KL(q(z|x) || p(z|x)).  q: (2^D, K) -> scalar"""
        return expectation(self.p_data, kl_p_q(q, self.posterior()))

    def complete_log_likelihood(self, q: Tensor) -> Tensor:
        """E_{p_data q} log p(x, z), what an M-step raises.  q: (2^D, K) -> scalar"""
        return expectation(self.p_data[:, None] * q, self.log_joint())

    def m_step(self, q: Tensor) -> LatentClassWorld:
        """The parameters with the largest `complete_log_likelihood`: shares and means under q."""
        joint = self.p_data[:, None] * q  # (X, K)
        share = joint.sum(0)
        p_on = (joint.T @ self.x) / share[:, None]
        return LatentClassWorld(self.p_data, share, p_on.clamp(max=1.0))  # not 1 + rounding

    def em_step(self) -> LatentClassWorld:
        """E-step (q is the posterior), then M-step."""
        return self.m_step(self.posterior())


def product_of(factors: Sequence[Tensor]) -> Tensor:
    """The table of independent variables: factors (n_1,), ..., (n_L,) -> (n_1, ..., n_L)."""
    table = torch.ones((), dtype=torch.float64)
    for factor in factors:
        table = table[..., None] * factor
    return table


def coordinate_ascent(
    log_joint: Tensor, factors: Sequence[Tensor], sweeps: int
) -> tuple[list[Tensor], Tensor]:
    """Mean-field inference: q_j(z_j) proportional to exp E_{q of the others} log p(x, z), in turn.

    Args:
        log_joint: log p(x, z) of one observation, finite, one axis for each z_j.
        factors: the start, one distribution for each axis.
        sweeps: how often every factor is updated.

    Returns:
        The factors, and the ELBO before the first and after each single update:
        (1 + sweeps * L,), in nats.

    Raises:
        UnigenError: another number of factors than axes.
    """
    if len(factors) != log_joint.dim():
        raise UnigenError(
            f"There are {len(factors)} factors for {log_joint.dim()} latent variables: give one "
            "distribution for each axis of log_joint."
        )
    q = list(factors)
    trace = [elbo(log_joint.flatten(), product_of(q).flatten())]
    for _ in range(sweeps):
        for j in range(len(q)):
            others = product_of([f if i != j else torch.ones_like(f) for i, f in enumerate(q)])
            axes = tuple(i for i in range(len(q)) if i != j)
            weighted = others * log_joint
            q[j] = (weighted.sum(axes) if axes else weighted).softmax(-1)
            trace.append(elbo(log_joint.flatten(), product_of(q).flatten()))
    return q, torch.stack(trace)


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """z ~ N(0, I), x = W z + mean + sigma noise: probabilistic PCA.

    W: (D, L).  mean: (D,).  variance: (), sigma^2 > 0.  All float64.
    """

    W: Tensor
    mean: Tensor
    variance: Tensor

    @classmethod
    def random(cls, seed: int, dimensions: int = 4, latent: int = 2) -> LinearGaussian:
        """A random model, a function of ``seed`` alone."""
        g = generator_from(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g, dtype=torch.float64)

        return cls(normal(dimensions, latent), normal(dimensions), (0.3 * normal(1)).exp()[0])

    @classmethod
    def maximum_likelihood(cls, x: Tensor, latent: int) -> LinearGaussian:
        """The model of largest likelihood: x (N, D), `latent` < D, in closed form.

        The columns of W are eigenvectors of the covariance, so they are orthogonal. W times any
        rotation has the same likelihood.

        Raises:
            UnigenError: as many latent coordinates as dimensions, or none.
        """
        if not 1 <= latent < x.shape[1]:
            raise UnigenError(
                f"latent is {latent}, but {x.shape[1]} dimensions leave room for 1 to "
                f"{x.shape[1] - 1} coordinates."
            )
        data = x.double()
        mean = data.mean(0)
        covariance = (data - mean).T @ (data - mean) / len(data)
        values, vectors = torch.linalg.eigh(covariance)  # ascending
        variance = values[:-latent].mean()
        scale = (values[-latent:] - variance).clamp(min=0.0).sqrt()
        return cls((vectors[:, -latent:] * scale).flip(1), mean, variance)

    @property
    def covariance(self) -> Tensor:
        """Of x: W W' + sigma^2 I.  (D, D)"""
        return self.W @ self.W.T + self.variance * torch.eye(len(self.mean), dtype=torch.float64)

    @property
    def M(self) -> Tensor:
        """W' W + sigma^2 I; the posterior's precision is M / sigma^2.  (L, L)"""
        latent = self.W.shape[1]
        return self.W.T @ self.W + self.variance * torch.eye(latent, dtype=torch.float64)

    @property
    def posterior_covariance(self) -> Tensor:
        """sigma^2 M^-1, the same for every x.  (L, L)"""
        return self.variance * torch.linalg.inv(self.M)

    def posterior_mean(self, x: Tensor) -> Tensor:
        """M^-1 W' (x - mean): (N, D) -> (N, L)"""
        return torch.linalg.solve(self.M, self.W.T @ (x - self.mean).T).T

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x) in nats: (N, D) -> (N,). Inverts L x L matrices only."""
        d, latent = self.W.shape
        centred = x - self.mean
        projected = centred @ self.W
        quadratic = centred.square().sum(-1) - (self.posterior_mean(x) * projected).sum(-1)
        log_det = (d - latent) * self.variance.log() + torch.logdet(self.M)
        return -0.5 * (d * LOG_2PI + log_det + quadratic / self.variance)

    def elbo(self, x: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
        """The ELBO of q(z|x) = N(mean, covariance), exactly, without draws.

        x (N, D), mean (N, L), covariance (L, L) or (N, L, L) -> (N,), in nats.
        """
        d, latent = self.W.shape
        error = (x - self.mean - mean @ self.W.T).square().sum(-1)
        spread = (self.W.T @ self.W * covariance).sum((-2, -1))
        reconstruction = d * (LOG_2PI + self.variance.log()) + (error + spread) / self.variance
        trace = torch.diagonal(covariance, dim1=-2, dim2=-1).sum(-1)
        to_prior = trace + mean.square().sum(-1) - latent - torch.logdet(covariance)
        return -0.5 * (reconstruction + to_prior)

    def best_diagonal(self) -> Tensor:
        """Variances sigma^2 / M_jj of the best q(z|x) with a diagonal covariance.  (L,)"""
        return self.variance / torch.diagonal(self.M)

    def diagonal_gap(self) -> Tensor:
        """log p(x) minus the best diagonal ELBO: (sum_j log M_jj - log|M|) / 2.  Scalar."""
        return 0.5 * (torch.diagonal(self.M).log().sum() - torch.logdet(self.M))
