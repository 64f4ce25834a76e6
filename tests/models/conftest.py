"""Stand-ins whose logits and draws are known, so that losses can be worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unigen_edu.declarations import Sample


class Draws(nn.Module):
    """A generator whose draws are its parameters: their gradient is that of each draw."""

    def __init__(self, values: Tensor):
        super().__init__()
        self.values = nn.Parameter(values)

    def sample(self, n: int) -> Sample:
        assert n == len(self.values)
        return Sample(self.values)

    def sample_groups(self, n: int, k: int) -> Sample:
        assert (n, k) == self.values.shape[:2]
        return Sample(self.values)


class Line(nn.Module):
    """a(x) = slope x + offset for points x (B, 1)."""

    def __init__(self, slope: float = 1.0, offset: float = 0.0):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope, dtype=torch.float64))
        self.offset = nn.Parameter(torch.tensor(offset, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.slope * x.squeeze(-1) + self.offset


@pytest.fixture
def draws() -> type[Draws]:
    return Draws


@pytest.fixture
def line() -> type[Line]:
    return Line
