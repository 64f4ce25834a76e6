"""Tables that stand in for conditional networks; see `networks` for those without a label.

A conditional GAN gives each generated image the label of a data point: row i of what it generates
belongs to row i of its batch. So a batch that enumerates a world lists, for every class, as many
rows as there are states (or groups of states), and the tables here put their states on those rows,
in the order in which each class occurs: the n-th row of class c holds state n of p_g(x|c), with
the weight p(c) p_g(x|c).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unigen_edu.declarations import Sample
from unigen_edu.errors import UnigenError
from unigen_edu.exact.importance import FiniteNoiseWorld, group_law, groups
from unigen_edu.exact.tables import kl_p_q

__all__ = [
    "ConditionalNoiseDiscriminator",
    "ConditionalNoiseGenerator",
    "ConditionalTableDecoder",
    "ConditionalTableDiscriminator",
    "ConditionalTableEncoder",
    "ConditionalTableGenerator",
    "ConditionalTablePosterior",
    "TableClassifier",
    "state_of_row",
]


def state_of_row(label: Tensor, states: int, classes: int) -> Tensor:
    """How many rows of the same class stand before each row: (B,) -> (B,) int64.

    Raises:
        UnigenError: a class does not have exactly `states` rows.
    """
    one_hot = label[:, None] == torch.arange(classes)
    if one_hot.sum(0).tolist() != [states] * classes:
        raise UnigenError(
            f"the batch has {one_hot.sum(0).tolist()} rows of each class, but a table with "
            f"{states} states needs {states} rows of each of {classes} classes."
        )
    return (one_hot.cumsum(0) - 1).gather(1, label[:, None]).squeeze(1)


def _labels(label: Tensor | None) -> Tensor:
    if label is None:
        raise UnigenError("a conditional table needs a label.")
    return label


class _OnRows(nn.Module):
    """Puts states, or groups of them, and their weights on the rows of a batch."""

    p_c: Tensor

    def laws(self) -> Tensor:
        """The law of a state, given the class.  (C, S)"""
        raise NotImplementedError

    def value(self, label: Tensor, state: Tensor) -> Tensor:
        """What is generated: label and state of any one shape -> values of that shape."""
        raise NotImplementedError

    def sample(self, n: int, label: Tensor | None = None) -> Sample:
        """All states of each class: value (B,), weight (B,); B rows as in the batch."""
        value, weight = self.sample_groups(n, 1, label)
        return Sample(value[:, 0], weight)

    def sample_groups(self, n: int, k: int, label: Tensor | None = None) -> Sample:
        """All groups of k states of one class: value (B, k), weight (B,)."""
        c = _labels(label)
        laws = self.laws()
        index = groups(laws.shape[1], k)
        row = state_of_row(c, len(index), laws.shape[0])
        weight = self.p_c[c] * group_law(laws, k)[c, row]
        return Sample(self.value(c[:, None].expand(-1, k), index[row]), weight)


class ConditionalTableGenerator(_OnRows):
    """p_g(x|c) = softmax(logits[c])[x]; the weights move.  logits: (C, X), p_c: (C,)."""

    def __init__(self, logits: Tensor, p_c: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone())
        self.p_c = p_c

    def laws(self) -> Tensor:
        return self.logits.softmax(-1)

    def value(self, label: Tensor, state: Tensor) -> Tensor:
        return state


class ConditionalTableDiscriminator(nn.Module):
    """a(x, c) = logits[c, x].  logits: (C, X)"""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone())

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """x, label: (B,) int64 -> (B,)."""
        return self.logits[_labels(label), x]


class ConditionalNoiseGenerator(_OnRows):
    """x(z, c, theta) by a `FiniteNoiseWorld` for each class; the values move.  p_c: (C,)."""

    def __init__(self, worlds: tuple[FiniteNoiseWorld, ...], p_c: Tensor):
        super().__init__()
        self.worlds = worlds
        self.p_c = p_c
        self.theta = nn.Parameter(torch.stack([world.theta0 for world in worlds]))

    def laws(self) -> Tensor:
        return torch.stack([world.p_z for world in self.worlds])

    def value(self, label: Tensor, state: Tensor) -> Tensor:
        x = [world.x(t) for world, t in zip(self.worlds, self.theta, strict=True)]
        return torch.stack(x)[label, state]


class ConditionalNoiseDiscriminator(nn.Module):
    """a(x, c) by a `FiniteNoiseWorld` for each class."""

    def __init__(self, worlds: tuple[FiniteNoiseWorld, ...]):
        super().__init__()
        self.worlds = worlds

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """x: (B,) real, label: (B,) -> (B,)."""
        of_each_class = torch.stack([world.logit(x) for world in self.worlds])
        return of_each_class.gather(0, _labels(label)[None]).squeeze(0)


class ConditionalTablePosterior:
    """q(z|x, c) as a table with the interface of `densities.DiagonalNormal`.

    log_q: (..., B, Z) log-probabilities, an axis of classes in front or none.  log_p: (Z,) prior.
    """

    def __init__(self, log_q: Tensor, log_p: Tensor):
        self.log_q = log_q
        self.log_p = log_p

    def sample(self, k: int = 1) -> Sample:
        """All codes: value (Z, ..., B) int64, weight (Z, ..., B) differentiable; k = 1 only.

        For k > 1 all groups: value (k, Z^k, ..., B), weight (Z^k, ..., B).
        """
        index = groups(self.log_q.shape[-1], k).T  # (k, Z^k)
        weight = group_law(self.log_q.exp(), k).movedim(-1, 0)
        front = self.log_q.dim() - 1
        value = index.reshape(*index.shape, *[1] * front).expand(k, *weight.shape)
        return Sample(value[0] if k == 1 else value, weight)

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x, c): z (..., B) int64 -> same shape."""
        table = self.log_q.expand(*z.shape, self.log_q.shape[-1])
        return table.gather(-1, z[..., None]).squeeze(-1)

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z): same shape as z."""
        return self.log_p[z]

    def kl_q_p(self) -> Tensor:
        """KL(q(z|x, c) || p(z)): (..., B)."""
        return kl_p_q(self.log_q.exp(), self.log_p.exp().expand_as(self.log_q))


class ConditionalTableEncoder(nn.Module):
    """q_eta(z|x, c) = softmax(logits[c, x])[z].  logits: (C, X, Z), p_z: (Z,) the prior."""

    def __init__(self, logits: Tensor, p_z: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone())
        self.p_z = p_z

    def forward(self, x: Tensor, label: Tensor | None = None) -> ConditionalTablePosterior:
        """x, label: (B,) int64."""
        log_q = self.logits[_labels(label), x].log_softmax(-1)
        return ConditionalTablePosterior(log_q, self.p_z.log())

    def for_each_class(self, x: Tensor) -> ConditionalTablePosterior:
        """x: (B,) int64; log_q is (C, B, Z)."""
        return ConditionalTablePosterior(self.logits[:, x].log_softmax(-1), self.p_z.log())


class ConditionalTableDecoder(nn.Module):
    """p_theta(x|z, c) = softmax(logits[c, z])[x].  logits: (C, Z, X)"""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone())

    def log_prob(self, x: Tensor, z: Tensor, label: Tensor | None = None) -> Tensor:
        """log p_theta(x|z, c): z (..., B), label and x broadcast to it -> same shape as z."""
        return self.logits.log_softmax(-1)[_labels(label).expand_as(z), z, x.expand_as(z)]


class TableClassifier(nn.Module):
    """q_psi(c|x) = softmax(logits[x])[c].  logits: (X, C)"""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """x: (B,) int64 -> logits (B, C)."""
        return self.logits[x]
