"""Codes of a few binary units, for predictability minimisation.

`UnitsWorld` lists every image and every code, c_1 being the most significant bit. The tables below
stand in for the networks of the model; the code is drawn here, so its probabilities carry theta,
and for binary units both scores of the model have an exact meaning.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unigen_edu.declarations import Sample
from unigen_edu.exact.domains import PredictabilityWorld
from unigen_edu.exact.tables import (
    entropy,
    expectation,
    generator_from,
    kl_p_q,
    normalise,
    random_distribution,
)
from unigen_edu.exact.wake_sleep import binary_states

__all__ = ["PredictedUnit", "TablePredictors", "TableUnitDecoder", "TableUnitEncoder", "UnitsWorld"]


class PredictedUnit(PredictabilityWorld):
    """One unit scored by the predictor itself, q(c_i|c_{-i}): the game is minimax, not reversed."""

    @property
    def scores(self) -> Tensor:
        """q(c_i|c_{-i}).  (2, M)"""
        return super().scores.flip(0)


@dataclass(frozen=True, eq=False)
class UnitsWorld:
    """A stochastic encoder of X images into codes of L binary units.

    p_data: (X,).  theta0: (X, 2^L) logits of p_theta(c|x).  psi0: (2^L, X) logits of p_psi(x|c).
    phi0: (L, 2^(L-1)), for each unit and each state of the others a guess (squared score) or the
        logit of q(c_i=1|c_{-i}) (log score).
    """

    p_data: Tensor
    theta0: Tensor
    psi0: Tensor
    phi0: Tensor

    @classmethod
    def random(cls, seed: int, n_x: int = 4, units: int = 3) -> UnitsWorld:
        """A random world with full support, a function of ``seed`` alone."""
        g = generator_from(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g, dtype=torch.float64)

        return cls(
            p_data=random_distribution(n_x, generator=g),
            theta0=normal(n_x, 2**units),
            psi0=normal(2**units, n_x),
            phi0=normal(units, 2 ** (units - 1)),
        )

    @property
    def units(self) -> int:
        return self.phi0.shape[0]

    def with_best_guesses(self) -> UnitsWorld:
        """The same world with the conditional means as guesses."""
        means = torch.stack([self.unit(i).conditional_mean() for i in range(self.units)])
        return UnitsWorld(self.p_data, self.theta0, self.psi0, means)

    # ---- laws ----------------------------------------------------------------------------------

    def joint(self, theta: Tensor | None = None) -> Tensor:
        """p_data(x) p_theta(c|x).  (X, 2^L)"""
        return self.p_data[:, None] * (self.theta0 if theta is None else theta).softmax(-1)

    def unit_logits(self, i: int, theta: Tensor | None = None) -> Tensor:
        """log p_theta(c_i, c_{-i}), the ``theta`` of the world of one unit.  (2, 2^(L-1))"""
        p_c = self.joint(theta).sum(0).reshape((2,) * self.units)
        return p_c.movedim(i, 0).reshape(2, -1).log()

    def unit(self, i: int) -> PredictabilityWorld:
        """Unit i as the domain, the others as what is observed, scored by q^r."""
        return PredictabilityWorld(self.unit_logits(i), self.phi0[i])

    def predicted_unit(self, i: int) -> PredictedUnit:
        """The same, scored by q itself."""
        return PredictedUnit(self.unit_logits(i), self.phi0[i])

    # ---- the decoder's part --------------------------------------------------------------------

    def reconstruction(self, theta: Tensor | None = None, psi: Tensor | None = None) -> Tensor:
        """-E log p_psi(x|c).  Scalar."""
        log_p = (self.psi0 if psi is None else psi).log_softmax(-1).T
        return -expectation(self.joint(theta), log_p)

    def decoder_gap(self, psi: Tensor | None = None) -> Tensor:
        """E KL(p_theta0(x|c) || p_psi(x|c)).  Scalar."""
        p_x_given_c = normalise(self.joint(), dim=0).T
        q = (self.psi0 if psi is None else psi).softmax(-1)
        return expectation(self.joint().sum(0), kl_p_q(p_x_given_c, q))

    # ---- the game, squared score ---------------------------------------------------------------

    def variance_left(self, theta: Tensor | None = None) -> Tensor:
        """sum_i E Var(c_i|c_{-i}).  Scalar."""
        terms = [self.unit(i).conditional_variance(self.unit_logits(i, theta))
                 for i in range(self.units)]  # fmt: skip
        return torch.stack(terms).sum()

    def guess_error(self, phi: Tensor | None = None, theta: Tensor | None = None) -> Tensor:
        """sum_i E (E[c_i|c_{-i}] - P_i(c_{-i}))^2.  Scalar."""
        guesses = self.phi0 if phi is None else phi
        total = torch.zeros((), dtype=torch.float64)
        for i in range(self.units):
            logits = self.unit_logits(i, theta)
            gap = self.unit(i).conditional_mean(logits) - guesses[i]
            total = total + expectation(logits.exp().sum(0), gap.square())
        return total

    # ---- the game, log score -------------------------------------------------------------------

    def information(self, theta: Tensor | None = None) -> Tensor:
        """sum_i I(c_i; c_{-i}).  Scalar."""
        return torch.stack(
            [self.unit(i).jsd_term(self.unit_logits(i, theta)) for i in range(self.units)]
        ).sum()

    def unit_entropy(self, theta: Tensor | None = None) -> Tensor:
        """sum_i H(c_i).  Scalar."""
        laws = [self.unit_logits(i, theta).exp().sum(1) for i in range(self.units)]
        return entropy(torch.stack(laws)).sum()

    def guess_kl(self, phi: Tensor | None = None, theta: Tensor | None = None) -> Tensor:
        """sum_i E KL(p_theta(c_i|c_{-i}) || q_phi(c_i|c_{-i})).  Scalar."""
        logits = self.phi0 if phi is None else phi
        total = torch.zeros((), dtype=torch.float64)
        for i in range(self.units):
            joint = self.unit_logits(i, theta).exp()
            q = torch.stack([(-logits[i]).sigmoid(), logits[i].sigmoid()])
            kl = kl_p_q(normalise(joint, dim=0), q, dim=0)
            total = total + expectation(joint.sum(0), kl)
        return total


def _index(bits: Tensor) -> Tensor:
    """The number that bits (..., L) write, the first the most significant: (...,) int64."""
    powers = 2 ** torch.arange(bits.shape[-1] - 1, -1, -1)
    return (bits.long() * powers).sum(-1)


class TableUnitEncoder(nn.Module):
    """p_theta(c|x) = softmax(logits[x])[c].  logits: (X, 2^L)"""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone())

    def sample(self, x: Tensor) -> Sample:
        """x (B,) int64 states -> all codes: value (2^L, B, L), weight (2^L, B) differentiable."""
        law = self.logits[x].softmax(-1).T
        codes = binary_states(law.shape[0].bit_length() - 1)
        return Sample(codes[:, None].expand(-1, len(x), -1), law)


class TablePredictors(nn.Module):
    """P_i(c_{-i}) = guesses[i, c_{-i}].  guesses: (L, 2^(L-1))"""

    def __init__(self, guesses: Tensor):
        super().__init__()
        self.guesses = nn.Parameter(guesses.detach().clone())

    def forward(self, c: Tensor) -> Tensor:
        """c (..., L) bits -> (..., L)."""
        units = range(c.shape[-1])
        others = [[j for j in units if j != i] for i in units]
        return torch.stack([self.guesses[i, _index(c[..., others[i]])] for i in units], -1)


class TableUnitDecoder(nn.Module):
    """p_psi(x|c) = softmax(logits[c])[x].  logits: (2^L, X)"""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone())

    def log_prob(self, x: Tensor, c: Tensor) -> Tensor:
        """x (B,) int64 states and c (k, B, L) bits -> (k, B)."""
        index = _index(c)
        return self.logits.log_softmax(-1)[index, x.expand_as(index)]
