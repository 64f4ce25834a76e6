"""Lemma 1 for any number of domains, all of which may move, and any positive scores.

A domain y has a law p_theta(x|y) and a probability p_theta(y). In place of q^r(y|x) stands a frozen
positive table a(x, y) that need not sum to one over y. The proof never uses more than that:

    loss = -E_{p(y) p_theta(x|y)} log a(x, y)
         = E_y KL(p_theta(x|y) || q^r(x|y)) - I(x; y) - KL(p_theta(x) || p_0(x)) - E_y log Z_y,

with q^r(x|y) = a(x, y) p_0(x) / Z_y frozen at theta0. Axis order of every table: (y, x).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from unigen_edu.exact.tables import (
    entropy,
    expectation,
    generator_from,
    jsd_weighted,
    kl_p_q,
    mixture,
    normalise,
    random_distribution,
)

__all__ = ["DomainWorld", "EncodedDomains", "PredictabilityWorld"]


class DomainWorld(ABC):
    """What a world must say (the laws and the scores) and what follows (the terms of Lemma 1)."""

    theta0: Tensor

    @abstractmethod
    def p_domain(self, theta: Tensor | None = None) -> Tensor:
        """p_theta(y).  (Y,)"""

    @abstractmethod
    def p_x_given_domain(self, theta: Tensor | None = None) -> Tensor:
        """p_theta(x|y).  (Y, X)"""

    @property
    @abstractmethod
    def scores(self) -> Tensor:
        """The frozen positive table a(x, y), q^r(y|x) in a GAN.  (Y, X)"""

    def p_x(self, theta: Tensor | None = None) -> Tensor:
        """p_theta(x).  (X,)"""
        return mixture(self.p_domain(theta), self.p_x_given_domain(theta))

    @property
    def p_0(self) -> Tensor:
        """The frozen prior p_theta0(x).  (X,)"""
        return self.p_x()

    @property
    def Z(self) -> Tensor:
        """Z_y = sum_x a(x, y) p_0(x).  (Y,)"""
        return (self.scores * self.p_0).sum(-1)

    @property
    def target(self) -> Tensor:
        """The frozen q^r(x|y) = a(x, y) p_0(x) / Z_y.  (Y, X)"""
        return normalise(self.scores * self.p_0)

    def loss(self, theta: Tensor | None = None) -> Tensor:
        """-E_{p_theta(y) p_theta(x|y)} log a(x, y).  Scalar."""
        inner = expectation(self.p_x_given_domain(theta), self.scores.log(), dim=-1)
        return -expectation(self.p_domain(theta), inner)

    def kl_term(self, theta: Tensor | None = None) -> Tensor:
        """E_y KL(p_theta(x|y) || q^r(x|y)).  Scalar."""
        return expectation(self.p_domain(theta), kl_p_q(self.p_x_given_domain(theta), self.target))

    def jsd_term(self, theta: Tensor | None = None) -> Tensor:
        """I(x; y), the JSD of all domains with weights p_theta(y).  Scalar."""
        return jsd_weighted(self.p_domain(theta), self.p_x_given_domain(theta))

    def prior_shift(self, theta: Tensor | None = None) -> Tensor:
        """KL(p_theta(x) || p_0(x)).  Scalar."""
        return kl_p_q(self.p_x(theta), self.p_0)

    def log_evidence(self, theta: Tensor | None = None) -> Tensor:
        """E_{p_theta(y)} log Z_y: it moves only if p_theta(y) does.  Scalar."""
        return expectation(self.p_domain(theta), self.Z.log())

    def star(self, theta: Tensor | None = None) -> Tensor:
        """The four terms of the global identity: equals the loss at every theta.  Scalar."""
        return self.lemma1(theta) - self.prior_shift(theta) - self.log_evidence(theta)

    def lemma1(self, theta: Tensor | None = None) -> Tensor:
        """E_y KL - I(x; y): at theta0 its gradient is the loss's if p(y) does not move.  Scalar."""
        return self.kl_term(theta) - self.jsd_term(theta)


@dataclass(frozen=True, eq=False)
class EncodedDomains(DomainWorld):
    """Domains whose inputs w pass through one encoder: p_theta(x|y) = sum_w p(w|y) p_theta(x|w).

    With domains "target" and "source" this is adversarial domain adaptation with flipped labels, x
    being the feature; both domains carry theta.
    p_w_given_y: (Y, W).  theta0: (W, X) encoder logits.  a: (Y, X) positive.  p_y: (Y,).
    """

    p_w_given_y: Tensor
    theta0: Tensor
    a: Tensor
    p_y: Tensor

    @classmethod
    def random(cls, seed: int, n_y: int = 3, n_w: int = 4, n_x: int = 5) -> EncodedDomains:
        """A random world; its scores are positive but sum to nothing in particular."""
        g = generator_from(seed)
        return cls(
            p_w_given_y=random_distribution(n_y, n_w, generator=g),
            theta0=torch.randn(n_w, n_x, generator=g, dtype=torch.float64),
            a=torch.randn(n_y, n_x, generator=g, dtype=torch.float64).exp(),
            p_y=random_distribution(n_y, generator=g),
        )

    @classmethod
    def adaptation(cls, seed: int, n_w: int = 4, n_x: int = 5) -> EncodedDomains:
        """Two domains, 0 the target and 1 the source, scored by the flipped labels q^r(y|x)."""
        world = cls.random(seed, 2, n_w, n_x)
        D = world.a[0].log().sigmoid()
        return cls(world.p_w_given_y, world.theta0, torch.stack([D, 1 - D]), world.p_y)

    def p_domain(self, theta: Tensor | None = None) -> Tensor:
        return self.p_y

    def p_x_given_domain(self, theta: Tensor | None = None) -> Tensor:
        return self.p_w_given_y @ (self.theta0 if theta is None else theta).softmax(-1)

    @property
    def scores(self) -> Tensor:
        return self.a

    def other_theta(self, seed: int = 0, step: float = 0.7) -> Tensor:
        """An encoder away from theta0.  (W, X)"""
        g = generator_from(1000 + seed)
        return self.theta0 + step * torch.randn(self.theta0.shape, generator=g, dtype=torch.float64)

    def data_term(self, theta: Tensor | None = None) -> Tensor:
        """The y = 1 part of the loss: constant in a GAN, not here.  Scalar."""
        return -self.p_y[1] * expectation(self.p_x_given_domain(theta)[1], self.a[1].log())

    # Gradient reversal: the encoder descends L_phi, with the scores q(y|x) = q^r(1-y|x).

    def reversal_objective(self, theta: Tensor | None = None) -> Tensor:
        """L_phi = E log q(y|x) of two domains, descended by the encoder.  Scalar."""
        inner = expectation(self.p_x_given_domain(theta), self.a.flip(0).log(), dim=-1)
        return expectation(self.p_y, inner)

    def reversal_potential(self, theta: Tensor | None = None) -> Tensor:
        """JSD - E_y KL(p_theta(x|y) || q(x|y)), q(x|y) prop. to q(y|x) p_0(x): signs reversed."""
        target = normalise(self.a.flip(0) * self.p_0)
        kl = expectation(self.p_y, kl_p_q(self.p_x_given_domain(theta), target))
        return self.jsd_term(theta) - kl

    def with_optimal_discriminator(self) -> EncodedDomains:
        """Scored by q^r of the Bayes posterior at theta0 (two domains)."""
        joint = self.p_y[:, None] * self.p_x_given_domain()
        return EncodedDomains(
            self.p_w_given_y, self.theta0, normalise(joint, dim=0).flip(0), self.p_y
        )

    def with_labels(
        self, p_label: Tensor, p_w_given_label: Tensor, classifier: Tensor
    ) -> EncodedDomains:
        """Adaptation with a task: domains target, (source, label 0), (source, label 1), ...

        p_label: (L,).  p_w_given_label: (L, W).  classifier: (L, X), C(label|x).
        The source domain must be their mixture. Its scores become C(label|x) q^r(y=1|x).
        """
        return EncodedDomains(
            p_w_given_y=torch.cat([self.p_w_given_y[:1], p_w_given_label]),
            theta0=self.theta0,
            a=torch.cat([self.a[:1], classifier * self.a[1]]),
            p_y=torch.cat([self.p_y[:1], self.p_y[1] * p_label]),
        )


@dataclass(frozen=True, eq=False)
class PredictabilityWorld(DomainWorld):
    """Predictability minimisation for one binary code unit c_i, predicted from the others.

    The domain is y = c_i and x = c_{-i}, so p(y) = p_theta(c_i) *moves with theta*.
    theta0: (2, M) logits of the joint p_theta(c_i, c_{-i}).  phi0: (M,) logits of P(c_i=1|c_{-i}).
    """

    theta0: Tensor
    phi0: Tensor

    @classmethod
    def random(cls, seed: int, n_others: int = 4) -> PredictabilityWorld:
        """A random world, a function of ``seed`` alone."""
        g = generator_from(seed)
        return cls(
            theta0=torch.randn(2, n_others, generator=g, dtype=torch.float64),
            phi0=torch.randn(n_others, generator=g, dtype=torch.float64),
        )

    def joint(self, theta: Tensor | None = None) -> Tensor:
        """p_theta(c_i, c_{-i}).  (2, M)"""
        logits = self.theta0 if theta is None else theta
        return logits.flatten().softmax(-1).reshape(logits.shape)

    def p_domain(self, theta: Tensor | None = None) -> Tensor:
        return self.joint(theta).sum(1)

    def p_x_given_domain(self, theta: Tensor | None = None) -> Tensor:
        return normalise(self.joint(theta))

    @property
    def scores(self) -> Tensor:
        """The reversed predictor q^r(c_i|c_{-i}).  (2, M)"""
        return torch.stack([self.phi0.sigmoid(), (-self.phi0).sigmoid()])

    def log_score(self, theta: Tensor | None = None, phi: Tensor | None = None) -> Tensor:
        """E log q(c_i|c_{-i}), which the predictor maximises.  Scalar."""
        a = self.phi0 if phi is None else phi
        q = torch.stack([(-a).sigmoid(), a.sigmoid()])
        return expectation(self.joint(theta), q.log())

    def best_log_score(self, theta: Tensor | None = None) -> Tensor:
        """Its maximum over predictors, I(c_i; c_{-i}) - H(c_i).  Scalar."""
        return self.jsd_term(theta) - entropy(self.p_domain(theta))

    def squared_error(self, predictor: Tensor, theta: Tensor | None = None) -> Tensor:
        """E (c_i - P(c_{-i}))^2, which real predictability minimisation uses.  (M,) -> scalar"""
        error = torch.stack([predictor.square(), (1 - predictor).square()])
        return expectation(self.joint(theta), error)

    def conditional_mean(self, theta: Tensor | None = None) -> Tensor:
        """E[c_i|c_{-i}], the best predictor.  (M,)"""
        return normalise(self.joint(theta), dim=0)[1]

    def conditional_variance(self, theta: Tensor | None = None) -> Tensor:
        """E Var(c_i|c_{-i}), the least squared error.  Scalar."""
        mean = self.conditional_mean(theta)
        return expectation(self.joint(theta).sum(0), mean * (1 - mean))
