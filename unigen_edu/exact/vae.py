"""A VAE in a finite world, seen as a GAN sees it: with a domain y and a judge of its origin.

Domains: y = 0 generated, y = 1 data.  Axis order of every table: (s, y, x, z), as far as present.

    p_theta(x|z, y=0) = softmax(theta)[z, x]   the decoder        p(x|z, y=1) = p_data(x)
    q_eta(z|x, y=0)   = softmax(eta)[x, z]     the encoder        q(z|x, y=1) a fixed table

s is the *origin* of an x: x ~ p_theta0(x|y=s), s ~ p(y).  A judge q^r(y|x, s) is a table (2, 2, X)
with axes (s, y, x); a discriminator D(x) cannot see s, the perfect one is told it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from unigen_edu.errors import UnigenError
from unigen_edu.exact.tables import (
    check_distribution,
    conditional_entropy,
    entropy,
    expectation,
    generator_from,
    kl_p_q,
    log_table,
    mixture,
    normalise,
    p_log_q,
    posterior,
    random_distribution,
    table,
)

__all__ = ["VAEWorld"]


@dataclass(frozen=True, eq=False)
class VAEWorld:
    """Data, a decoder, an encoder and a discriminator over X observations and Z latent states.

    p_data: (X,).  theta0: (Z, X) decoder logits.  eta0: (X, Z) encoder logits.
    p_z_given_y: (2, Z) priors.  q_z_given_x_1: (X, Z), the fixed encoder of the domain y = 1.
    phi0: (X,) logits of D.  p_y: (2,), the paper takes (1/2, 1/2).
    """

    p_data: Tensor
    theta0: Tensor
    eta0: Tensor
    p_z_given_y: Tensor
    q_z_given_x_1: Tensor
    phi0: Tensor
    p_y: Tensor

    def __post_init__(self) -> None:
        for name in ("p_data", "p_z_given_y", "q_z_given_x_1", "p_y"):
            check_distribution(name, getattr(self, name))
        n_x, n_z = self.p_data.shape[0], self.p_z_given_y.shape[1]
        expected = {
            "theta0": (n_z, n_x),
            "eta0": (n_x, n_z),
            "p_z_given_y": (2, n_z),
            "q_z_given_x_1": (n_x, n_z),
            "phi0": (n_x,),
            "p_y": (2,),
        }
        for name, shape in expected.items():
            found = getattr(self, name)
            if found.shape != shape or found.dtype != torch.float64:
                raise UnigenError(
                    f"{name} must be a float64 table of shape {shape}, "
                    f"not {found.dtype} of shape {tuple(found.shape)}."
                )

    # ---- making worlds -------------------------------------------------------------------------

    @classmethod
    def random(
        cls,
        seed: int,
        n_x: int = 5,
        n_z: int = 3,
        p_y: tuple[float, float] | Tensor = (0.5, 0.5),
    ) -> VAEWorld:
        """A random world with full support, a function of ``seed`` alone."""
        g = generator_from(seed)
        return cls(
            p_data=random_distribution(n_x, generator=g),
            theta0=torch.randn(n_z, n_x, generator=g, dtype=torch.float64),
            eta0=torch.randn(n_x, n_z, generator=g, dtype=torch.float64),
            p_z_given_y=random_distribution(2, n_z, generator=g),
            q_z_given_x_1=random_distribution(n_x, n_z, generator=g),
            phi0=torch.randn(n_x, generator=g, dtype=torch.float64),
            p_y=table(p_y),
        )

    def with_discriminator(self, D: Tensor) -> VAEWorld:
        """The same world judged by another D(x) in [0, 1], shape (X,)."""
        return dataclasses.replace(self, phi0=torch.logit(D))

    def with_optimal_discriminator(self) -> VAEWorld:
        """The same world judged by D*, the Bayes posterior of y = 1 at theta0."""
        return self.with_discriminator(self.optimal_discriminator())

    def other_theta(self, seed: int = 0, step: float = 0.7) -> Tensor:
        """A decoder away from theta0.  (Z, X)"""
        g = generator_from(1000 + seed)
        return self.theta0 + step * torch.randn(self.theta0.shape, generator=g, dtype=torch.float64)

    def other_eta(self, seed: int = 0, step: float = 0.7) -> Tensor:
        """An encoder away from eta0.  (X, Z)"""
        g = generator_from(2000 + seed)
        return self.eta0 + step * torch.randn(self.eta0.shape, generator=g, dtype=torch.float64)

    # ---- the generative side: functions of theta -----------------------------------------------

    def p_x_given_z(self, theta: Tensor | None = None) -> Tensor:
        """The decoder p_theta(x|z, y=0).  (Z, X)"""
        return (self.theta0 if theta is None else theta).softmax(-1)

    def log_p_x_given_z(self, theta: Tensor | None = None) -> Tensor:
        """log p_theta(x|z, y=0).  (X, Z)"""
        return (self.theta0 if theta is None else theta).log_softmax(-1).T

    def log_p_x_given_z_y(self, theta: Tensor | None = None) -> Tensor:
        """log p_theta(x|z, y): row 0 the decoder, row 1 log p_data(x) for every z.  (2, X, Z)"""
        decoder = self.log_p_x_given_z(theta)
        return torch.stack([decoder, log_table(self.p_data)[:, None].expand_as(decoder)])

    def p_g(self, theta: Tensor | None = None) -> Tensor:
        """p_g(x) = sum_z p(z|0) p_theta(x|z), the samples of the VAE.  (X,)"""
        return mixture(self.p_z_given_y[0], self.p_x_given_z(theta))

    def p_x_given_y(self, theta: Tensor | None = None) -> Tensor:
        """p_theta(x|y): row 0 is p_g, row 1 is p_data.  (2, X)"""
        return torch.stack([self.p_g(theta), self.p_data])

    def p_x(self, theta: Tensor | None = None) -> Tensor:
        """p_theta(x) = sum_y p(y) p_theta(x|y).  (X,)"""
        return mixture(self.p_y, self.p_x_given_y(theta))

    @property
    def p_0(self) -> Tensor:
        """The frozen mixture p_theta0(x).  (X,)"""
        return self.p_x()

    def p_xz(self, theta: Tensor | None = None) -> Tensor:
        """The generative joint p_theta(x, z) = p(z|0) p_theta(x|z).  (X, Z)"""
        return (self.p_z_given_y[0][:, None] * self.p_x_given_z(theta)).T

    def p_z_given_x(self, theta: Tensor | None = None) -> Tensor:
        """The true posterior p_theta(z|x, y=0), by Bayes' rule.  (X, Z)"""
        return normalise(self.p_xz(theta))

    def p_zy_given_x(self, theta: Tensor | None = None) -> Tensor:
        """The posterior p_theta(z, y|x) = p_theta(x|z, y) p(z|y) p(y) / p_theta(x).  (2, X, Z)"""
        joint = (
            self.log_p_x_given_z_y(theta).exp()
            * self.p_z_given_y[:, None, :]
            * self.p_y[:, None, None]
        )
        return joint / joint.sum((0, 2), keepdim=True)

    # ---- the inference side: functions of eta --------------------------------------------------

    def q_z_given_x(self, eta: Tensor | None = None) -> Tensor:
        """The encoder q_eta(z|x, y=0).  (X, Z)"""
        return (self.eta0 if eta is None else eta).softmax(-1)

    def q_z_given_x_y(self, eta: Tensor | None = None, shared: bool = False) -> Tensor:
        """q(z|x, y): row 0 the encoder, row 1 the fixed table.  (2, X, Z)

        ``shared`` uses the encoder in both rows, which breaks Lemma 2 for eta.
        """
        encoder = self.q_z_given_x(eta)
        return torch.stack([encoder, encoder if shared else self.q_z_given_x_1])

    def q_xz(self, eta: Tensor | None = None) -> Tensor:
        """The inference joint p_data(x) q_eta(z|x).  (X, Z)"""
        return self.p_data[:, None] * self.q_z_given_x(eta)

    # ---- the VAE, as everybody knows it --------------------------------------------------------

    def elbo(self, theta: Tensor | None = None, eta: Tensor | None = None) -> Tensor:
        """ELBO(x) = E_{q_eta(z|x)} log p_theta(x|z) - KL(q_eta(z|x) || p(z)), in nats.  (X,)"""
        q = self.q_z_given_x(eta)
        reconstruction = expectation(q, self.log_p_x_given_z(theta), dim=-1)
        return reconstruction - kl_p_q(q, self.p_z_given_y[0].expand_as(q))

    def vae_loss(self, theta: Tensor | None = None, eta: Tensor | None = None) -> Tensor:
        """E_pdata[-ELBO(x)] (minimised).  Scalar."""
        return -expectation(self.p_data, self.elbo(theta, eta))

    def joint_kl(self, theta: Tensor | None = None, eta: Tensor | None = None) -> Tensor:
        """KL(p_data(x) q_eta(z|x) || p_theta(x, z)) = E[-ELBO] - H(p_data).  Scalar."""
        return kl_p_q(self.q_xz(eta).flatten(), self.p_xz(theta).flatten())

    def kl_data_g(self, theta: Tensor | None = None) -> Tensor:
        """KL(p_data || p_g): the covering part of the loss, theta in the second slot.  Scalar."""
        return kl_p_q(self.p_data, self.p_g(theta))

    def posterior_gap(self, theta: Tensor | None = None, eta: Tensor | None = None) -> Tensor:
        """E_pdata KL(q_eta(z|x) || p_theta(z|x)): the seeking part, eta in the first slot."""
        return expectation(self.p_data, kl_p_q(self.q_z_given_x(eta), self.p_z_given_x(theta)))

    def data_entropy(self) -> Tensor:
        """H(p_data).  Scalar."""
        return entropy(self.p_data)

    # ---- judges q^r(y|x, s) --------------------------------------------------------------------

    @property
    def D(self) -> Tensor:
        """D(x) = q_phi0(y=1|x).  (X,)"""
        return self.phi0.sigmoid()

    def optimal_discriminator(self) -> Tensor:
        """D*(x) = p(y=1) p_data(x) / p_0(x).  (X,)"""
        return posterior(self.p_y, self.p_x_given_y())[1]

    @property
    def provenance(self) -> Tensor:
        """The perfect q_*^r(y|x, s) = [y = 1 - s]: it is told where x comes from.  (2, 2, X)"""
        swap = table([[0.0, 1.0], [1.0, 0.0]])
        return swap[:, :, None].expand(2, 2, self.p_data.shape[0])

    def judged_by(self, D: Tensor) -> Tensor:
        """q^r(y|x, s) = q^r(y|x): D(x) for y = 0, 1 - D(x) for y = 1, whatever s.  (2, 2, X)"""
        return torch.stack([D, 1 - D]).expand(2, 2, -1)

    def domain_entropy_given_x(self) -> Tensor:
        """H(y|x) at theta0: what even the best function of x cannot know.  Scalar."""
        return conditional_entropy(self.p_y[:, None] * self.p_x_given_y())

    # ---- the two lines of the poster's eq. (6), as losses --------------------------------------

    def _origins(self) -> Tensor:
        """p(s) p_theta0(x|y=s), frozen.  (2, X)"""
        return self.p_y[:, None] * self.p_x_given_y()

    def line1(
        self,
        theta: Tensor | None = None,
        eta: Tensor | None = None,
        judge: Tensor | None = None,
        shared: bool = False,
    ) -> Tensor:
        """First line of eq. (6).  Scalar.

        E_{p_theta0(x)}[ -E_{q(z|x,y) q^r(y|x)} log p_theta(x|z,y)
                         + KL(q(z|x,y) q^r(y|x) || p(z|y) p(y)) ].
        ``judge`` defaults to the world's D: ``judged_by(D)``.
        """
        q_r = self.judged_by(self.D) if judge is None else judge
        q_z = self.q_z_given_x_y(eta, shared)
        prior = (self.p_z_given_y * self.p_y[:, None])[:, None, :].expand_as(q_z)
        joint = q_r[..., None] * q_z  # q(z|x,y) q^r(y|x, s), axes (s, y, x, z)
        fit = expectation(joint, self.log_p_x_given_z_y(theta).expand_as(joint), dim=-1).sum(1)
        to_prior = (p_log_q(joint, joint) - p_log_q(joint, prior.expand_as(joint))).sum((1, 3))
        return expectation(self._origins(), -fit + to_prior)

    def line2(
        self,
        theta: Tensor | None = None,
        eta: Tensor | None = None,
        judge: Tensor | None = None,
        shared: bool = False,
    ) -> Tensor:
        """Second line of eq. (6): E_{p_theta0(x)} KL(q(z|x,y) q^r(y|x) || p_theta(z,y|x))."""
        q_r = self.judged_by(self.D) if judge is None else judge
        joint = q_r[..., None] * self.q_z_given_x_y(eta, shared)
        target = self.p_zy_given_x(theta).expand_as(joint)
        kl = (p_log_q(joint, joint) - p_log_q(joint, target)).sum((1, 3))
        return expectation(self._origins(), kl)

    def dropped_term(self, theta: Tensor | None = None) -> Tensor:
        """line 2 - line 1 = E_{p_theta0(x)} log p_theta(x), stationary at theta0 only.  Scalar."""
        return expectation(self.p_0, self.p_x(theta).log())

    def branch_constant(self, q_z_given_x_1: Tensor | None = None) -> Tensor:
        """C = E_{p_g, theta0}[-log p_data(x) + KL(q(z|x,1) || p(z|1))]: no theta, no eta."""
        q = self.q_z_given_x_1 if q_z_given_x_1 is None else q_z_given_x_1
        inner = -log_table(self.p_data) + kl_p_q(q, self.p_z_given_y[1].expand_as(q))
        return expectation(self.p_g(), inner)

    def lemma2(self, theta: Tensor | None = None, eta: Tensor | None = None) -> Tensor:
        """Value of line 1 for the perfect judge.  Scalar.

        p(y=1) (E_pdata[-ELBO] - log p(y=0)) + p(y=0) (C - log p(y=1)).
        """
        pi_0, pi_1 = self.p_y
        data_part = self.vae_loss(theta, eta) - pi_0.log()
        return pi_1 * data_part + pi_0 * (self.branch_constant() - pi_1.log())

    def weighted_vae_loss(
        self, theta: Tensor | None = None, eta: Tensor | None = None, D: Tensor | None = None
    ) -> Tensor:
        """sum_x p_theta0(x) D(x) [-ELBO(x)]: data *and* samples, weighted (AAVAE).  Scalar."""
        weight = self.p_0 * (self.D if D is None else D)
        return -expectation(weight, self.elbo(theta, eta))

    def shared_encoder_term(self, eta: Tensor | None = None) -> Tensor:
        """p(y=0) E_pg KL(q_eta(z|x) || p(z|1)): what a shared encoder adds to line 1.  Scalar."""
        q = self.q_z_given_x(eta)
        return self.p_y[0] * expectation(self.p_g(), kl_p_q(q, self.p_z_given_y[1].expand_as(q)))

    # ---- wake and sleep ------------------------------------------------------------------------

    def wake_loss(self, theta: Tensor | None = None, eta: Tensor | None = None) -> Tensor:
        """-E_{p_data q_eta} log p_theta(x, z); theta moves.  Scalar."""
        return -expectation(self.q_xz(eta), self.p_xz(theta).log())

    def sleep_loss(self, theta: Tensor | None = None, eta: Tensor | None = None) -> Tensor:
        """-E_{p_theta(x, z)} log q_eta(z|x); eta moves, x is dreamed.  Scalar."""
        return -expectation(self.p_xz(theta), self.q_z_given_x(eta).log())

    def sleep_gap(self, theta: Tensor | None = None, eta: Tensor | None = None) -> Tensor:
        """E_{p_theta(x)} KL(p_theta(z|x) || q_eta(z|x)): what the sleep step reduces.  Scalar."""
        kl = kl_p_q(self.p_z_given_x(theta), self.q_z_given_x(eta))
        return expectation(self.p_g(theta), kl)
