"""A GAN in a finite world: x takes a few values and every distribution is a table.

Domains: y = 0 generated, y = 1 data.  Axis order of every table: (y, x).

    p_theta(x|y=0) = p_g(x) = softmax(theta),   p_theta(x|y=1) = p_data(x)
    q_phi(y=1|x)   = D(x)   = sigmoid(phi),     q^r(y|x) = q_phi(1-y|x)

*Frozen* means built from ``theta0`` and ``phi0``: numbers, through which no gradient flows. Methods
that take ``theta`` are functions of theta; leave it out for their value at ``theta0``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from unigen_edu.errors import UnigenError
from unigen_edu.exact.tables import (
    check_distribution,
    entropy,
    expectation,
    generator_from,
    jsd_weighted,
    kl_p_q,
    log_table,
    mixture,
    normalise,
    posterior,
    random_distribution,
    table,
)

__all__ = ["GANWorld"]


@dataclass(frozen=True, eq=False)
class GANWorld:
    """Data, a generator and a discriminator over X states.

    p_data: (X,) distribution.  theta0: (X,) logits of p_g.  phi0: (X,) logits of D.
    p_y: (2,) distribution of the domain; the paper takes (1/2, 1/2).
    """

    p_data: Tensor
    theta0: Tensor
    phi0: Tensor
    p_y: Tensor

    def __post_init__(self) -> None:
        check_distribution("p_data", self.p_data)
        check_distribution("p_y", self.p_y)
        n_x = self.p_data.shape[0]
        for name, logits in (("theta0", self.theta0), ("phi0", self.phi0)):
            if logits.shape != (n_x,) or logits.dtype != torch.float64:
                raise UnigenError(
                    f"{name} must be a float64 table of shape ({n_x},) like p_data, "
                    f"not {logits.dtype} of shape {tuple(logits.shape)}."
                )
        if self.p_y.shape != (2,):
            raise UnigenError(f"p_y must have shape (2,), not {tuple(self.p_y.shape)}.")

    # ---- making worlds -------------------------------------------------------------------------

    @classmethod
    def random(
        cls, seed: int, n_x: int = 5, p_y: tuple[float, float] | Tensor = (0.5, 0.5)
    ) -> GANWorld:
        """A random world with full support, a function of ``seed`` alone."""
        g = generator_from(seed)
        return cls(
            p_data=random_distribution(n_x, generator=g),
            theta0=torch.randn(n_x, generator=g, dtype=torch.float64),
            phi0=torch.randn(n_x, generator=g, dtype=torch.float64),
            p_y=table(p_y),
        )

    @classmethod
    def from_tables(
        cls,
        p_data: object,
        p_g: object,
        D: object | None = None,
        p_y: tuple[float, float] | Tensor = (0.5, 0.5),
    ) -> GANWorld:
        """A world from plain lists of probabilities; without ``D`` the discriminator is optimal."""
        theta0 = log_table(table(p_g))
        world = cls(table(p_data), theta0, torch.zeros_like(theta0), table(p_y))
        if D is None:
            return world.with_optimal_discriminator()
        return world.with_discriminator(table(D))

    def with_discriminator(self, D: Tensor) -> GANWorld:
        """The same world judged by another D(x) in [0, 1], shape (X,)."""
        return dataclasses.replace(self, phi0=torch.logit(D))

    def with_optimal_discriminator(self) -> GANWorld:
        """The same world judged by D*, the Bayes posterior of y = 1 at theta0."""
        return self.with_discriminator(self.optimal_discriminator())

    def with_theta0(self, theta0: Tensor) -> GANWorld:
        """The same world with the frozen generator moved to ``theta0``."""
        return dataclasses.replace(self, theta0=theta0.detach().clone())

    def other_theta(self, seed: int = 0, step: float = 0.7) -> Tensor:
        """A parameter away from theta0, to show what holds only *at* theta0.  (X,)"""
        noise = torch.randn(
            self.theta0.shape, generator=generator_from(1000 + seed), dtype=torch.float64
        )
        return self.theta0 + step * noise

    # ---- the generative side: functions of theta -----------------------------------------------

    def p_g(self, theta: Tensor | None = None) -> Tensor:
        """p_g(x) = softmax(theta).  (X,)"""
        return (self.theta0 if theta is None else theta).softmax(-1)

    def p_x_given_y(self, theta: Tensor | None = None) -> Tensor:
        """p_theta(x|y): row 0 is p_g, row 1 is p_data.  (2, X)"""
        return torch.stack([self.p_g(theta), self.p_data])

    def p_x(self, theta: Tensor | None = None, p_y: Tensor | None = None) -> Tensor:
        """p_theta(x) = sum_y p(y) p_theta(x|y).  (X,)"""
        return mixture(self.p_y if p_y is None else p_y, self.p_x_given_y(theta))

    def p_y_given_x(self, theta: Tensor | None = None) -> Tensor:
        """The true posterior p_theta(y|x), by Bayes' rule.  (2, X)"""
        return posterior(self.p_y, self.p_x_given_y(theta))

    # ---- the discriminator and the frozen target -----------------------------------------------

    @property
    def D(self) -> Tensor:
        """D(x) = q_phi0(y=1|x).  (X,)"""
        return self.phi0.sigmoid()

    def log_q_y_given_x(self, phi: Tensor | None = None) -> Tensor:
        """log q_phi(y|x), computed from logits.  (2, X)"""
        a = self.phi0 if phi is None else phi
        return torch.stack([logsigmoid(-a), logsigmoid(a)])

    @property
    def q_y_given_x(self) -> Tensor:
        """q_phi0(y|x).  (2, X)"""
        return torch.stack([1 - self.D, self.D])

    @property
    def q_r(self) -> Tensor:
        """The reversed q^r(y|x) = q_phi0(1-y|x): row 0 is D, row 1 is 1 - D.  (2, X)"""
        return self.q_y_given_x.flip(0)

    @property
    def log_q_r(self) -> Tensor:
        """log q^r(y|x), computed from logits.  (2, X)"""
        return self.log_q_y_given_x().flip(0)

    @property
    def p_0(self) -> Tensor:
        """The frozen prior p_theta0(x).  (X,)"""
        return self.p_x()

    @property
    def Z(self) -> Tensor:
        """The evidence Z_y = sum_x q^r(y|x) p_0(x); Z_0 + Z_1 = 1.  (2,)"""
        return (self.q_r * self.p_0).sum(-1)

    @property
    def q_r_x_given_y(self) -> Tensor:
        """The frozen target q^r(x|y) = q^r(y|x) p_0(x) / Z_y, a posterior over x.  (2, X)"""
        return normalise(self.q_r * self.p_0)

    def optimal_discriminator(self, theta: Tensor | None = None) -> Tensor:
        """D*(x) = p(y=1) p_data(x) / p_theta(x), the discriminator that maximises L_phi.  (X,)"""
        return self.p_y_given_x(theta)[1]

    # ---- the two objectives of the game (both are maximised) -----------------------------------

    def discriminator_objective(
        self, phi: Tensor | None = None, theta: Tensor | None = None
    ) -> Tensor:
        """L_phi = E_{p(y) p_theta(x|y)} log q_phi(y|x).  Scalar."""
        inner = expectation(self.p_x_given_y(theta), self.log_q_y_given_x(phi), dim=-1)
        return expectation(self.p_y, inner)

    def generator_objective(self, theta: Tensor | None = None, p_y: Tensor | None = None) -> Tensor:
        """L_theta = E_{p(y) p_theta(x|y)} log q^r(y|x), the discriminator frozen.  Scalar.

        ``p_y`` replaces p(y), to see what happens if it depends on theta.
        """
        inner = expectation(self.p_x_given_y(theta), self.log_q_r, dim=-1)
        return expectation(self.p_y if p_y is None else p_y, inner)

    def value_function(self, theta: Tensor | None = None, phi: Tensor | None = None) -> Tensor:
        """The classic V(G, D) = E_pdata log D + E_pg log(1 - D).  Scalar."""
        log_q = self.log_q_y_given_x(phi)
        return expectation(self.p_data, log_q[1]) + expectation(self.p_g(theta), log_q[0])

    def non_saturating_loss(self, theta: Tensor | None = None) -> Tensor:
        """The classic generator loss -E_pg log D (minimised).  Scalar."""
        return -expectation(self.p_g(theta), self.log_q_y_given_x()[1])

    def minimax_loss(self, theta: Tensor | None = None) -> Tensor:
        """The saturating generator loss E_pg log(1 - D) (minimised).  Scalar."""
        return expectation(self.p_g(theta), self.log_q_y_given_x()[0])

    def discriminator_gap(self, phi: Tensor | None = None) -> Tensor:
        """E_{p_0(x)} KL(p_theta0(y|x) || q_phi(y|x)): what the discriminator step reduces."""
        q = self.log_q_y_given_x(phi).exp()
        return expectation(self.p_0, kl_p_q(self.p_y_given_x(), q, dim=0))

    def domain_entropy(self) -> Tensor:
        """H(y), the entropy of p(y); log 2 if uniform.  Scalar."""
        return entropy(self.p_y)

    # ---- the terms of Lemma 1: functions of theta ----------------------------------------------

    def kl_terms(self, theta: Tensor | None = None) -> Tensor:
        """KL(p_theta(x|y) || q^r(x|y)) for y = 0, 1, the target frozen.  (2,)"""
        return kl_p_q(self.p_x_given_y(theta), self.q_r_x_given_y)

    def kl_term(self, theta: Tensor | None = None, p_y: Tensor | None = None) -> Tensor:
        """E_{p(y)} KL(p_theta(x|y) || q^r(x|y)).  Scalar."""
        return expectation(self.p_y if p_y is None else p_y, self.kl_terms(theta))

    def jsd_term(self, theta: Tensor | None = None, p_y: Tensor | None = None) -> Tensor:
        """JSD of p_g and p_data with weights p(y) = I(x; y).  Scalar."""
        return jsd_weighted(self.p_y if p_y is None else p_y, self.p_x_given_y(theta))

    def jsd_unweighted(self, theta: Tensor | None = None) -> Tensor:
        """JSD with weights 1/2, 1/2, the wrong one when p(y) is not uniform.  Scalar."""
        return jsd_weighted(table([0.5, 0.5]), self.p_x_given_y(theta))

    def prior_shift(self, theta: Tensor | None = None, p_y: Tensor | None = None) -> Tensor:
        """KL(p_theta(x) || p_0(x)): zero at theta0, and so is its gradient there.  Scalar."""
        return kl_p_q(self.p_x(theta, p_y), self.p_0)

    def log_evidence(self, p_y: Tensor | None = None) -> Tensor:
        """E_{p(y)} log Z_y, a constant in theta.  Scalar."""
        return expectation(self.p_y if p_y is None else p_y, self.Z.log())

    def star(self, theta: Tensor | None = None, p_y: Tensor | None = None) -> Tensor:
        """Right side of the global identity (*): equals -L_theta at *every* theta.  Scalar.

        E_y KL(p_theta(x|y) || q^r(x|y)) - JSD - KL(p_theta(x) || p_0(x)) - E_y log Z_y.
        """
        return (
            self.kl_term(theta, p_y)
            - self.jsd_term(theta, p_y)
            - self.prior_shift(theta, p_y)
            - self.log_evidence(p_y)
        )

    def lemma1(self, theta: Tensor | None = None) -> Tensor:
        """E_y KL - JSD: the function whose gradient *at theta0* is that of -L_theta."""
        return self.kl_term(theta) - self.jsd_term(theta)

    def free_energy(self, theta: Tensor | None = None) -> Tensor:
        """E_y[-E log q^r(y|x) + KL(p_theta(x|y) || p_0)]: prior p_0, likelihood q^r(y|x)."""
        to_prior = kl_p_q(self.p_x_given_y(theta), self.p_0.expand(2, -1))
        return -self.generator_objective(theta) + expectation(self.p_y, to_prior)

    # ---- what goes wrong when an assumption is dropped -----------------------------------------

    def kl_term_unnormalised(self, theta: Tensor | None = None) -> Tensor:
        """`kl_term` without dividing by Z_y: off by a constant, so harmless."""
        unnormalised = self.q_r * self.p_0
        return expectation(self.p_y, kl_p_q(self.p_x_given_y(theta), unnormalised))

    def Z_unfrozen(self, theta: Tensor | None = None) -> Tensor:
        """Z_y(theta) = sum_x q^r(y|x) p_theta(x), the evidence under a moving prior.  (2,)"""
        return (self.q_r * self.p_x(theta)).sum(-1)

    def log_evidence_unfrozen(self, theta: Tensor | None = None) -> Tensor:
        """E_{p(y)} log Z_y(theta).  Scalar."""
        return expectation(self.p_y, self.Z_unfrozen(theta).log())

    def kl_term_unfrozen(self, theta: Tensor | None = None) -> Tensor:
        """`kl_term` with the moving target q^r(x|y) proportional to q^r(y|x) p_theta(x)."""
        target = normalise(self.q_r * self.p_x(theta))
        return expectation(self.p_y, kl_p_q(self.p_x_given_y(theta), target))

    def kl_term_reversed(self, theta: Tensor | None = None) -> Tensor:
        """E_{p(y)} KL(q^r(x|y) || p_theta(x|y)): the wrong direction."""
        return expectation(self.p_y, kl_p_q(self.q_r_x_given_y, self.p_x_given_y(theta)))

    def kl_term_unreversed(self, theta: Tensor | None = None) -> Tensor:
        """`kl_term` with q in place of q^r: the target q(x|y) proportional to q_phi(y|x) p_0(x)."""
        target = normalise(self.q_y_given_x * self.p_0)
        return expectation(self.p_y, kl_p_q(self.p_x_given_y(theta), target))

    # ---- the optimal discriminator -------------------------------------------------------------

    def kl_g_data(self, theta: Tensor | None = None) -> Tensor:
        """KL(p_g || p_data).  Scalar."""
        return kl_p_q(self.p_g(theta), self.p_data)

    def kl_data_g(self, theta: Tensor | None = None) -> Tensor:
        """KL(p_data || p_g).  Scalar."""
        return kl_p_q(self.p_data, self.p_g(theta))

    def kl_x_data(self, theta: Tensor | None = None) -> Tensor:
        """KL(p_theta(x) || p_data): what the generator step reduces at D*.  Scalar."""
        return kl_p_q(self.p_x(theta), self.p_data)
