"""Tables that stand in for the networks of the joint models, VAE/GAN and ALI.

As in `exact/networks.py`, a table returns every state with its probability. A draw of x given z
gets a leading axis of its own, as draws of z given x have: all X states with their probabilities.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unigen_edu.declarations import Sample
from unigen_edu.models.ali import Pairs

__all__ = ["TableFeatureDiscriminator", "TablePairDiscriminator", "TablePairGenerator"]


class TablePairGenerator(nn.Module):
    """p(z) p_theta(x|z), theta in the logits: decoder of the VAE/GAN and generator of ALI.

    logits: (Z, X), p_z: (Z,)
    """

    def __init__(self, logits: Tensor, p_z: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone().double())
        self.p_z = p_z

    def given(self, z: Tensor) -> Sample:
        """All x for each code: z (*batch,) int64 -> value and weight (X, *batch)."""
        p_x = self.logits.softmax(-1)
        states = torch.arange(p_x.shape[1]).reshape(-1, *(1 for _ in z.shape))
        return Sample(states.expand(-1, *z.shape), p_x[z].movedim(-1, 0))

    def sample(self, n: int) -> Sample:
        """All x: value (X,) int64, weight p_g (X,); the number n is ignored."""
        return Sample(torch.arange(self.logits.shape[1]), self.p_z @ self.logits.softmax(-1))

    def sample_pairs(self, n: int) -> Pairs:
        """All pairs (x, z): (Z X,) each, with their weight; n is ignored."""
        n_z, n_x = self.logits.shape
        weight = (self.p_z[:, None] * self.logits.softmax(-1)).flatten()
        x, z = torch.arange(n_x).repeat(n_z), torch.arange(n_z).repeat_interleave(n_x)
        return Pairs(x, z, weight)


class TableFeatureDiscriminator(nn.Module):
    """f(x) = rows[x], a(x) = head . f(x).  rows: (X, F), head: (F,)"""

    def __init__(self, rows: Tensor, head: Tensor):
        super().__init__()
        self.rows = nn.Parameter(rows.detach().clone().double())
        self.head = nn.Parameter(head.detach().clone().double())

    def features(self, x: Tensor) -> Tensor:
        """x: (...,) int64 -> (..., F)."""
        return self.rows[x]

    def judge(self, features: Tensor) -> Tensor:
        """Features (..., F) -> logits (...,)."""
        return features @ self.head

    def forward(self, x: Tensor) -> Tensor:
        """x: (...,) int64 -> logits (...,)."""
        return self.judge(self.features(x))


class TablePairDiscriminator(nn.Module):
    """a(x, z) = logits[x, z].  logits: (X, Z)"""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone().double())

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """x (B,) and z (..., B) int64 -> logits (..., B)."""
        return self.logits[x.expand_as(z), z]
