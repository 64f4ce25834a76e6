"""More stand-ins for the networks of a VAE and of what is made from it.

They extend `networks.TableEncoder` and its kind: groups of k codes for the importance weighted
bound, an adversary that is told where its images come from, and codes that are real numbers on the
nodes of a quadrature, for gradients that pass *through* the code.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from unigen_edu.declarations import Sample
from unigen_edu.densities import DiagonalNormal
from unigen_edu.errors import UnigenError
from unigen_edu.exact.continuous import GaussianIWAEWorld, normal_log_density, normal_quadrature
from unigen_edu.exact.importance import group_law, groups
from unigen_edu.exact.networks import TableEncoder, TablePosterior

__all__ = [
    "GroupedTableEncoder",
    "GroupedTablePosterior",
    "Provenance",
    "QuadratureEncoder",
    "QuadratureNormal",
    "SineDecoder",
]


class GroupedTablePosterior(TablePosterior):
    """A `TablePosterior` that always lists groups, also groups of one."""

    def sample(self, k: int = 1) -> Sample:
        """All groups of k codes: value (k, Z^k, B) int64, weight (Z^k, B) differentiable."""
        value, weight = super().sample(k)
        return Sample(value[None] if k == 1 else value, weight)


class GroupedTableEncoder(TableEncoder):
    """A `TableEncoder` for models with k codes per image. logits: (X, Z), p_z: (Z,)."""

    def forward(self, x: Tensor) -> GroupedTablePosterior:
        """x: (B,) int64 states."""
        q = super().forward(x)
        return GroupedTablePosterior(q.log_q, q.log_p)


class Provenance(nn.Module):
    """The perfect q_*: told that the first half of what it sees is data and the rest generated.

    No function of x can do this when data and samples overlap.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x: (2n, ...) -> logits (2n,), plus infinity and minus infinity."""
        if len(x) % 2:
            raise UnigenError(f"{len(x)} images have no two halves: pass as many samples as data.")
        certain = torch.full((len(x) // 2,), math.inf, dtype=torch.float64)
        return torch.cat([certain, -certain])


class QuadratureNormal(DiagonalNormal):
    """q(z|x) = N(mean, exp(log_var)) with one coordinate, listed on the nodes of a quadrature."""

    def __init__(self, mean: Tensor, log_var: Tensor, nodes: int):
        super().__init__(mean, log_var)
        if mean.shape[-1] != 1:
            raise UnigenError(f"a quadrature lists one latent coordinate, not {mean.shape[-1]}.")
        self.nodes = nodes

    def sample(self, k: int = 1) -> Sample:
        """All groups of k nodes, moved and scaled: value (k, n^k, B, 1), weight (n^k, 1)."""
        noise, weight = normal_quadrature(self.nodes)
        noise = noise[groups(self.nodes, k)].T[:, :, None, None]
        value = self.mean + torch.exp(0.5 * self.log_var) * noise
        return Sample(value, group_law(weight, k)[:, None])


class QuadratureEncoder(nn.Module):
    """The encoder of a `GaussianIWAEWorld`: q(z|x) = N(eta_0, exp(eta_1)^2) for its one x."""

    def __init__(self, world: GaussianIWAEWorld):
        super().__init__()
        self.nodes = world.nodes
        self.eta = nn.Parameter(world.eta0.detach().clone())

    def forward(self, x: Tensor) -> QuadratureNormal:
        """x: (B, 1)."""
        mean = self.eta[0].expand(len(x), 1)
        log_var = (2 * self.eta[1]).expand(len(x), 1)
        return QuadratureNormal(mean, log_var, self.nodes)


class SineDecoder(nn.Module):
    """The decoder of a `GaussianIWAEWorld`: p(x|z) = N(theta_0 z + theta_1 sin z, 0.7^2)."""

    def __init__(self, world: GaussianIWAEWorld):
        super().__init__()
        self.theta = nn.Parameter(world.theta0.detach().clone())

    def log_prob(self, x: Tensor, z: Tensor) -> Tensor:
        """x (B, 1), z (..., B, 1) -> (..., B)."""
        mean = self.theta[0] * z + self.theta[1] * torch.sin(z)
        log_scale = torch.tensor(math.log(0.7), dtype=torch.float64)
        return normal_log_density(x, mean, log_scale).sum(-1)
