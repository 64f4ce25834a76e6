"""Tables that stand in for the networks of domain adaptation.

As in `exact/networks.py`, a table returns every state with its probability. An encoder returns all
features of all images together: value (F, B), and as weight (F, B) the joint probability of the
image and its feature, so that a label that belongs to the image still stands beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unigen_edu.declarations import Batch, Sample
from unigen_edu.errors import UnigenError
from unigen_edu.exact.domains import EncodedDomains
from unigen_edu.exact.tables import generator_from, mixture, random_distribution

__all__ = ["TableClassifier", "TableFeatureEncoder", "adaptation_batch", "labelled_adaptation"]


class TableFeatureEncoder(nn.Module):
    """p_theta(f|x) = softmax(logits[x])[f].  logits: (X, F)"""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone().double())

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Sample:
        """x: (B,) int64 states with probabilities weight (B,) -> value and weight (F, B)."""
        if weight is None:
            raise UnigenError("A table needs the probability of every image: give weight=.")
        p_f = self.logits[x].softmax(-1).T  # (F, B)
        return Sample(torch.arange(len(p_f))[:, None].expand_as(p_f), weight * p_f)


class TableClassifier(nn.Module):
    """Logits of q(c|f).  logits: (F, C)"""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone().double())

    def forward(self, f: Tensor) -> Tensor:
        """f: (...,) int64 states -> (..., C)."""
        return self.logits[f]


def labelled_adaptation(
    seed: int, n_c: int = 3, n_x: int = 4, n_f: int = 5
) -> tuple[EncodedDomains, Tensor, Tensor, Tensor]:
    """A random task: target and source, and in the source labels.

    Returns:
        The two domains, scored by flipped labels; p(c) (C,) and p(x|c) (C, X) of the source, which
        is their mixture; and logits (F, C) of a classifier. p(y) is uniform.
    """
    world, g = EncodedDomains.adaptation(seed, n_x, n_f), generator_from(500 + seed)
    p_c = random_distribution(n_c, generator=g)
    p_x_given_c = random_distribution(n_c, n_x, generator=g)
    classifier = torch.randn(n_f, n_c, generator=g, dtype=torch.float64)
    inputs = torch.stack([world.p_w_given_y[0], mixture(p_c, p_x_given_c)])
    uniform = torch.full((2,), 0.5, dtype=torch.float64)
    return EncodedDomains(inputs, world.theta0, world.a, uniform), p_c, p_x_given_c, classifier


def adaptation_batch(world: EncodedDomains, p_c: Tensor, p_x_given_c: Tensor) -> Batch:
    """Every (c, x) of the source with its probability, and beside it every x of the target."""
    n_c, n_x = p_x_given_c.shape
    states = torch.arange(n_x)
    return Batch(
        states.repeat(n_c),
        label=torch.arange(n_c).repeat_interleave(n_x),
        weight=(p_c[:, None] * p_x_given_c).flatten(),
        other=Batch(states, weight=world.p_w_given_y[0]),
    )
