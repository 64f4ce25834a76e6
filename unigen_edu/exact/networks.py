"""Tables that stand in for networks, so that training code runs in a finite world.

A network draws; a table returns *every* state together with its probability
(`declarations.Sample` with a weight). The loss code of the models takes either, and with tables its
value and gradient are exact expectations. Images are replaced by state indices x: (...,) int64.

Two kinds of generator, because two things can move with theta:

* `TableGenerator`: theta moves the *weights* p_theta(x). The gradient is that of the expectation
  (what a score-function estimator has on average).
* `FiniteNoiseGenerator`: theta moves the *values* x(z, theta), the weights p(z) are fixed. The
  gradient is the path gradient that training follows.

Both are the gradient of the loss when its integrand is a fixed function of the draws. They part at
the constant weights of the IWGAN: a path gradient moves the draws of a group and holds its weights;
in a table the draws do not move, their probabilities do, and with them the weights that occur. So a
table gives the gradient of `ImportanceWorld.weighted_loss`, and finite noise gives Eq. (7).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unigen_edu.declarations import Sample
from unigen_edu.errors import UnigenError
from unigen_edu.exact.importance import FiniteNoiseWorld, group_law, groups
from unigen_edu.exact.tables import kl_p_q

__all__ = [
    "FiniteNoiseDiscriminator",
    "FiniteNoiseGenerator",
    "TableDecoder",
    "TableDiscriminator",
    "TableEncoder",
    "TableGenerator",
    "TablePosterior",
]


def _parameter(logits: Tensor, name: str, axes: int) -> nn.Parameter:
    if logits.dim() != axes:
        raise UnigenError(f"{name} must have {axes} axes, not {logits.dim()}.")
    return nn.Parameter(logits.detach().clone().double())


class TableGenerator(nn.Module):
    """p_g(x) = softmax(logits)[x].  logits: (X,)"""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = _parameter(logits, "logits", 1)

    def sample(self, n: int) -> Sample:
        """All states: value (X,) int64, weight (X,) differentiable. The number n is ignored."""
        p_g = self.logits.softmax(-1)
        return Sample(torch.arange(p_g.shape[0]), p_g)

    def sample_groups(self, n: int, k: int) -> Sample:
        """All groups of k states: value (X^k, k), weight (X^k,) differentiable; n is ignored."""
        p_g = self.logits.softmax(-1)
        return Sample(groups(p_g.shape[0], k), group_law(p_g, k))


class TableDiscriminator(nn.Module):
    """a(x) = logits[x], D(x) = sigmoid(a(x)).  logits: (X,)"""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = _parameter(logits, "logits", 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (...,) int64 states -> (...,) logits."""
        return self.logits[x]


class FiniteNoiseGenerator(nn.Module):
    """x(z, theta) of a `FiniteNoiseWorld` for each of its finitely many z."""

    def __init__(self, world: FiniteNoiseWorld):
        super().__init__()
        self.world = world
        self.theta = nn.Parameter(world.theta0.detach().clone())

    def sample(self, n: int) -> Sample:
        """Every z: value x(z, theta) (Z,) differentiable, weight p(z) (Z,); n is ignored."""
        return Sample(self.world.x(self.theta), self.world.p_z)

    def sample_groups(self, n: int, k: int) -> Sample:
        """All groups of k codes: value (Z^k, k) differentiable, weight (Z^k,); n is ignored."""
        x = self.world.x(self.theta)[groups(self.world.p_z.shape[0], k)]
        return Sample(x, group_law(self.world.p_z, k))


class FiniteNoiseDiscriminator(nn.Module):
    """a(x) of a `FiniteNoiseWorld`."""

    def __init__(self, world: FiniteNoiseWorld):
        super().__init__()
        self.world = world

    def forward(self, x: Tensor) -> Tensor:
        """x: (...,) real -> (...,) logits."""
        return self.world.logit(x)


class TablePosterior:
    """q(z|x) for a batch of x, as a table with the interface of `densities.DiagonalNormal`.

    log_q: (B, Z) log-probabilities.  log_p: (Z,) log-prior.
    """

    def __init__(self, log_q: Tensor, log_p: Tensor):
        self.log_q = log_q
        self.log_p = log_p

    def sample(self, k: int = 1) -> Sample:
        """All codes: value (Z, B) int64, weight (Z, B) differentiable.

        For k > 1 all groups: value (k, Z^k, B), weight (Z^k, B).
        """
        batch, n_z = self.log_q.shape
        index = groups(n_z, k)
        weight = group_law(self.log_q.exp(), k).T
        value = index.T[:, :, None].expand(k, -1, batch)
        return Sample(value[0] if k == 1 else value, weight)

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x): z (..., B) int64 -> (..., B)."""
        return self.log_q[torch.arange(self.log_q.shape[0]).expand_as(z), z]

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z): same shape as z."""
        return self.log_p[z]

    def kl_q_p(self) -> Tensor:
        """KL(q(z|x) || p(z)): (B,)."""
        return kl_p_q(self.log_q.exp(), self.log_p.exp().expand_as(self.log_q))

    def kl_q_p_by_coordinate(self) -> Tensor:
        """KL(q(z|x) || p(z)) of the one coordinate that a table has: (B, 1)."""
        return self.kl_q_p()[:, None]


class TableEncoder(nn.Module):
    """q_eta(z|x) = softmax(logits[x])[z].  logits: (X, Z), p_z: (Z,) the prior."""

    def __init__(self, logits: Tensor, p_z: Tensor):
        super().__init__()
        self.logits = _parameter(logits, "logits", 2)
        self.p_z = p_z

    def forward(self, x: Tensor) -> TablePosterior:
        """x: (B,) int64 states."""
        return TablePosterior(self.logits[x].log_softmax(-1), self.p_z.log())


class TableDecoder(nn.Module):
    """p_theta(x|z) = softmax(logits[z])[x].  logits: (Z, X)"""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = _parameter(logits, "logits", 2)

    def log_prob(self, x: Tensor, z: Tensor) -> Tensor:
        """log p_theta(x|z): x (B,) and z (..., B) int64 -> (..., B)."""
        return self.logits.log_softmax(-1)[z, x.expand_as(z)]
