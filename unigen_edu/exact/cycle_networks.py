"""A table that stands in for a translator of CycleGAN.

As in `exact/networks.py`, a table returns every state with its probability.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unigen_edu.declarations import Batch, Sample
from unigen_edu.errors import UnigenError

__all__ = ["TableTranslator"]


class TableTranslator(nn.Module):
    """G(x|z) = softmax(logits[z])[x].  logits: (Z, X)"""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone().double())

    def translate(self, batch: Batch) -> Sample:
        """All x for every z of the batch: value (X, B), weight (X, B) = p(z) G(x|z)."""
        if batch.weight is None:
            raise UnigenError("A table needs the probability of every state: give weight=.")
        p_x = self.logits[batch.x].softmax(-1).T
        return Sample(torch.arange(len(p_x))[:, None].expand_as(p_x), batch.weight * p_x)

    def log_prob(self, x: Tensor, z: Tensor) -> Tensor:
        """log G(x|z): x (B,) and z (..., B) int64 -> (..., B)."""
        return self.logits.log_softmax(-1)[z, x.expand_as(z)]
