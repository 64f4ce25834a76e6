"""Stand-ins for the networks of f-GM: a generator of pairs (x, z) and a density, as tables."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unigen_edu.errors import UnigenError
from unigen_edu.exact.networks import TableDecoder

__all__ = ["TableDensity", "TablePairGenerator"]


class TablePairGenerator(TableDecoder):
    """p(z) p_theta(x|z) with p_theta(x|z) = softmax(logits[z])[x].  logits: (Z, X), p_z: (Z,)."""

    def __init__(self, logits: Tensor, p_z: Tensor):
        super().__init__(logits)
        self.p_z = p_z

    def sample_pairs(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """All pairs: z (1, Z X), x (Z X,), differentiable weight (1, Z X). n is ignored."""
        n_z, n_x = self.logits.shape
        z = torch.arange(n_z).repeat_interleave(n_x)
        x = torch.arange(n_x).repeat(n_z)
        weight = (self.p_z[:, None] * self.logits.softmax(-1)).flatten()
        return z[None], x, weight[None]


class TableDensity(nn.Module):
    """log d(x) = log_d[x], which need not be normalised.  log_d: (X,)"""

    def __init__(self, log_d: Tensor):
        super().__init__()
        if log_d.dim() != 1:
            raise UnigenError(f"log_d must have 1 axis, not {log_d.dim()}.")
        self.log_d = nn.Parameter(log_d.detach().clone().double())

    def forward(self, x: Tensor) -> Tensor:
        """x: (...,) int64 states -> (...,) log d(x)."""
        return self.log_d[x]
