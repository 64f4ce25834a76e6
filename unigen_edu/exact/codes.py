"""GANs with a code: InfoGAN, and with it adversarial autoencoders and CycleGAN.

A code z makes x. The label of a domain is now the *pair* (y, z), and Lemma 1 for many domains
(`DomainWorld`) does the rest; the subtracted term is I(x; (y, z)) = JSD + I(x; z|y).
Axis order of every table: (y, z, x), or (y*Z + z, x) where the pair is one axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from unigen_edu.exact.domains import DomainWorld
from unigen_edu.exact.tables import (
    entropy,
    expectation,
    generator_from,
    jsd_weighted,
    kl_p_q,
    normalise,
    random_distribution,
    table,
)

__all__ = ["AdversarialAutoencoderWorld", "CodeWorld", "CycleWorld"]


@dataclass(frozen=True, eq=False)
class CodeWorld(DomainWorld):
    """InfoGAN.  y = 0: z ~ p(z|0), x ~ p_theta(x|z).  y = 1: x ~ p_data, z ~ p(z|1) on its own.

    p_data: (X,).  theta0: (Z, X) generator logits.  phi0: (X,) logits of D.
    p_z_given_y: (2, Z).  recogniser: (2, Z, X), q_eta0(z|x, y), sums to one over z, frozen.
    strength: the exponent lambda of the recogniser.  p_y: (2,).
    """

    p_data: Tensor
    theta0: Tensor
    phi0: Tensor
    p_z_given_y: Tensor
    recogniser: Tensor
    strength: float
    p_y: Tensor

    @classmethod
    def random(
        cls,
        seed: int,
        n_x: int = 5,
        n_z: int = 3,
        strength: float = 0.7,
        p_y: tuple[float, float] | Tensor = (0.5, 0.5),
    ) -> CodeWorld:
        """A random world with full support, a function of ``seed`` alone."""
        g = generator_from(seed)
        return cls(
            p_data=random_distribution(n_x, generator=g),
            theta0=torch.randn(n_z, n_x, generator=g, dtype=torch.float64),
            phi0=torch.randn(n_x, generator=g, dtype=torch.float64),
            p_z_given_y=random_distribution(2, n_z, generator=g),
            recogniser=random_distribution(2, n_x, n_z, generator=g).transpose(1, 2),
            strength=strength,
            p_y=table(p_y),
        )

    @classmethod
    def blocks(cls, seed: int, n_z: int = 3, block: int = 2) -> CodeWorld:
        """A world in which each code owns a block of x, so that x tells the code."""
        world = cls.random(seed, n_x=n_z * block, n_z=n_z)
        owner = torch.arange(n_z * block) // block
        own = owner[None, :] == torch.arange(n_z)[:, None]
        theta0 = torch.where(own, world.theta0, float("-inf"))
        return cls(
            world.p_data,
            theta0,
            world.phi0,
            world.p_z_given_y,
            world.recogniser,
            world.strength,
            world.p_y,
        )

    def other_theta(self, seed: int = 0, step: float = 0.7) -> Tensor:
        """A generator away from theta0.  (Z, X)"""
        g = generator_from(1000 + seed)
        return self.theta0 + step * torch.randn(self.theta0.shape, generator=g, dtype=torch.float64)

    # ---- laws ----------------------------------------------------------------------------------

    @property
    def w(self) -> Tensor:
        """p(y) p(z|y).  (2, Z)"""
        return self.p_y[:, None] * self.p_z_given_y

    def p_x_given_zy(self, theta: Tensor | None = None) -> Tensor:
        """p_theta(x|z, y): the generator, and p_data for every z.  (2, Z, X)"""
        generator = (self.theta0 if theta is None else theta).softmax(-1)
        return torch.stack([generator, self.p_data.expand_as(generator)])

    def p_x_given_y(self, theta: Tensor | None = None) -> Tensor:
        """p_theta(x|y).  (2, X)"""
        return torch.einsum("yz,yzx->yx", self.p_z_given_y, self.p_x_given_zy(theta))

    def p_z_given_xy(self, theta: Tensor | None = None) -> Tensor:
        """The true posterior p_theta(z|x, y).  (2, Z, X)"""
        return normalise(self.p_xz_given_y(theta), dim=1)

    def p_xz_given_y(self, theta: Tensor | None = None) -> Tensor:
        """p(z|y) p_theta(x|z, y).  (2, Z, X)"""
        return self.p_z_given_y[:, :, None] * self.p_x_given_zy(theta)

    @property
    def q_r(self) -> Tensor:
        """q^r(y|x).  (2, X)"""
        return torch.stack([self.phi0.sigmoid(), (-self.phi0).sigmoid()])

    # ---- the pair (y, z) as the domain: Form A is Lemma 1 --------------------------------------

    def p_domain(self, theta: Tensor | None = None) -> Tensor:
        return self.w.flatten()

    def p_x_given_domain(self, theta: Tensor | None = None) -> Tensor:
        return self.p_x_given_zy(theta).flatten(0, 1)

    @property
    def scores(self) -> Tensor:
        """q_eta0(z|x, y)^lambda q^r(y|x).  (2 Z, X)"""
        return (self.recogniser**self.strength * self.q_r[:, None, :]).flatten(0, 1)

    def infogan_loss(self, theta: Tensor | None = None) -> Tensor:
        """As InfoGAN prints it: -E_{p(z) p_theta(x|z)}[log D(x) + lambda log q(z|x)].  Scalar."""
        reward = logsigmoid(self.phi0) + self.strength * self.recogniser[0].log()
        return -expectation(self.p_xz_given_y(theta)[0], reward)

    def jsd_y(self, theta: Tensor | None = None) -> Tensor:
        """JSD over the two domains only, I(x; y).  Scalar."""
        return jsd_weighted(self.p_y, self.p_x_given_y(theta))

    def code_information(self, theta: Tensor | None = None) -> Tensor:
        """I(x; z|y) = E_w KL(p_theta(x|z, y) || p_theta(x|y)).  Scalar."""
        laws = self.p_x_given_zy(theta)
        marginal = self.p_x_given_y(theta)[:, None, :].expand_as(laws)
        return expectation(self.w, kl_p_q(laws, marginal))

    def code_entropy(self) -> Tensor:
        """H(z|y), a constant.  Scalar."""
        return expectation(self.p_y, entropy(self.p_z_given_y))

    # ---- Form B: the code's posterior inside the target, and exactly -JSD ----------------------

    @property
    def _positive_b(self) -> Tensor:
        return self.scores.reshape(self.recogniser.shape) * self.p_z_given_xy() * self.p_0

    @property
    def target_b(self) -> Tensor:
        """q~(x|z, y) prop. to q_eta0^lambda p_theta0(z|x, y) q^r(y|x) p_0(x), frozen.  (2, Z, X)"""
        return normalise(self._positive_b)

    @property
    def log_evidence_b(self) -> Tensor:
        """E_w log of its normaliser.  Scalar."""
        return expectation(self.w, self._positive_b.sum(-1).log())

    def kl_term_b(self, theta: Tensor | None = None) -> Tensor:
        """E_w KL(p_theta(x|z, y) || q~(x|z, y)).  Scalar."""
        return expectation(self.w, kl_p_q(self.p_x_given_zy(theta), self.target_b))

    def code_posterior_shift(self, theta: Tensor | None = None) -> Tensor:
        """E KL(p_theta(z|x, y) || p_theta0(z|x, y)), stationary at theta0.  Scalar."""
        kl = kl_p_q(self.p_z_given_xy(theta), self.p_z_given_xy(), dim=1)
        return expectation(self.p_y[:, None] * self.p_x_given_y(theta), kl)

    def star_b(self, theta: Tensor | None = None) -> Tensor:
        """Form B of the global identity, equal to the loss at every theta.  Scalar."""
        return (
            self.kl_term_b(theta)
            - self.jsd_y(theta)
            - self.prior_shift(theta)
            - self.code_posterior_shift(theta)
            - self.code_entropy()
            - self.log_evidence_b
        )

    # ---- Form C: one KL over x and z together --------------------------------------------------

    @property
    def _positive_c(self) -> Tensor:
        return self.scores.reshape(self.recogniser.shape) * self.p_0

    @property
    def target_c(self) -> Tensor:
        """q^r(x, z|y) prop. to q_eta0^lambda q^r(y|x) p_0(x), frozen; sums to one over z and x."""
        positive = self._positive_c
        return positive / positive.sum((1, 2), keepdim=True)

    @property
    def log_evidence_c(self) -> Tensor:
        """E_y log of its normaliser; for lambda = 1 the GAN's E_y log Z_y.  Scalar."""
        return expectation(self.p_y, self._positive_c.sum((1, 2)).log())

    def kl_term_c(self, theta: Tensor | None = None) -> Tensor:
        """E_y KL(p_theta(x, z|y) || q^r(x, z|y)).  Scalar."""
        kl = kl_p_q(self.p_xz_given_y(theta).flatten(1), self.target_c.flatten(1))
        return expectation(self.p_y, kl)

    def star_c(self, theta: Tensor | None = None) -> Tensor:
        """Form C of the global identity, equal to the loss at every theta.  Scalar."""
        return (
            self.kl_term_c(theta)
            - self.jsd_y(theta)
            - self.code_information(theta)
            + self.code_entropy()
            - self.prior_shift(theta)
            - self.log_evidence_c
        )

    # ---- z drawn apart from x, and the recogniser's own step -----------------------------------

    def product_loss(self, theta: Tensor | None = None) -> Tensor:
        """-E_{w p_theta(x|y)} log a(x, y, z): z does *not* make x; not InfoGAN's loss.  Scalar."""
        law = self.p_x_given_y(theta)[:, None, :].expand_as(self.recogniser)
        inner = expectation(law, self.scores.reshape(law.shape).log(), dim=-1)
        return -expectation(self.w, inner)

    def product_kl(self, theta: Tensor | None = None) -> Tensor:
        """E_w KL(p_theta(x|y) || q^r(x|z, y)).  Scalar."""
        law = self.p_x_given_y(theta)[:, None, :].expand_as(self.recogniser)
        return expectation(self.w, kl_p_q(law, self.target.reshape(law.shape)))

    def recogniser_objective(self, recogniser: Tensor) -> Tensor:
        """E_{p(y) p_theta0(x, z|y)} log q(z|x, y), maximised by the recogniser.  Scalar."""
        return expectation(self.p_y[:, None, None] * self.p_xz_given_y(), recogniser.log())

    def recogniser_gap(self, recogniser: Tensor) -> Tensor:
        """E KL(p_theta0(z|x, y) || q(z|x, y)): x is dreamed, a sleep step.  Scalar."""
        kl = kl_p_q(self.p_z_given_xy(), recogniser, dim=1)
        return expectation(self.p_y[:, None] * self.p_x_given_y(), kl)

    def code_entropy_given_x(self, theta: Tensor | None = None) -> Tensor:
        """H(z|x, y).  Scalar."""
        conditional = entropy(self.p_z_given_xy(theta), dim=1)
        return expectation(self.p_y[:, None] * self.p_x_given_y(theta), conditional)


@dataclass(frozen=True, eq=False)
class AdversarialAutoencoderWorld:
    """Adversarial autoencoder: an encoder makes the code, the discriminator compares it with p(z).

    p_data: (X,).  theta0: (X, Z) encoder logits.  decoder: (Z, X), q(x|z), frozen.
    p_z: (Z,) prior.  phi0: (Z,) logits of D(z), z from the prior being "real".
    """

    p_data: Tensor
    theta0: Tensor
    decoder: Tensor
    p_z: Tensor
    phi0: Tensor

    @classmethod
    def random(cls, seed: int, n_x: int = 4, n_z: int = 3) -> AdversarialAutoencoderWorld:
        """A random world, a function of ``seed`` alone."""
        g = generator_from(seed)
        return cls(
            p_data=random_distribution(n_x, generator=g),
            theta0=torch.randn(n_x, n_z, generator=g, dtype=torch.float64),
            decoder=random_distribution(n_z, n_x, generator=g),
            p_z=random_distribution(n_z, generator=g),
            phi0=torch.randn(n_z, generator=g, dtype=torch.float64),
        )

    def joint(self, theta: Tensor | None = None) -> Tensor:
        """p_data(x) E_theta(z|x).  (X, Z)"""
        return self.p_data[:, None] * (self.theta0 if theta is None else theta).softmax(-1)

    def loss(self, theta: Tensor | None = None) -> Tensor:
        """Reconstruction plus adversarial loss: -E[log q(x|z) + log D(z)].  Scalar."""
        return -expectation(self.joint(theta), self.decoder.log().T + logsigmoid(self.phi0))

    def as_code_world(self) -> CodeWorld:
        """The same as an InfoGAN with x and z exchanged: the data is the "code", z is made."""
        return CodeWorld(
            p_data=self.p_z,
            theta0=self.theta0,
            phi0=self.phi0,
            p_z_given_y=self.p_data.expand(2, -1),
            recogniser=self.decoder.T.expand(2, -1, -1),
            strength=1.0,
            p_y=table([0.5, 0.5]),
        )


@dataclass(frozen=True, eq=False)
class CycleWorld:
    """CycleGAN with stochastic maps G: z -> x and F: x -> z.

    p_a: (X,) data of side A.  p_b: (Z,) data of side B.  g0: (Z, X), f0: (X, Z) logits of the maps.
    phi_a: (X,), phi_b: (Z,) logits of the discriminators.  strength: lambda of the cycle loss.
    """

    p_a: Tensor
    p_b: Tensor
    g0: Tensor
    f0: Tensor
    phi_a: Tensor
    phi_b: Tensor
    strength: float

    @classmethod
    def random(cls, seed: int, n_x: int = 4, n_z: int = 3, strength: float = 0.7) -> CycleWorld:
        """A random world, a function of ``seed`` alone."""
        g = generator_from(seed)
        return cls(
            p_a=random_distribution(n_x, generator=g),
            p_b=random_distribution(n_z, generator=g),
            g0=torch.randn(n_z, n_x, generator=g, dtype=torch.float64),
            f0=torch.randn(n_x, n_z, generator=g, dtype=torch.float64),
            phi_a=torch.randn(n_x, generator=g, dtype=torch.float64),
            phi_b=torch.randn(n_z, generator=g, dtype=torch.float64),
            strength=strength,
        )

    def to_a(self, g: Tensor | None = None) -> Tensor:
        """p_B(z) G(x|z).  (Z, X)"""
        return self.p_b[:, None] * (self.g0 if g is None else g).softmax(-1)

    def to_b(self, f: Tensor | None = None) -> Tensor:
        """p_A(x) F(z|x).  (X, Z)"""
        return self.p_a[:, None] * (self.f0 if f is None else f).softmax(-1)

    def loss(self, g: Tensor | None = None, f: Tensor | None = None) -> Tensor:
        """Both adversarial and both cycle losses, each map in three roles.  Scalar."""
        adversarial = -expectation(self.to_a(g), logsigmoid(self.phi_a).expand_as(self.to_a(g)))
        adversarial -= expectation(self.to_b(f), logsigmoid(self.phi_b).expand_as(self.to_b(f)))
        return adversarial + self.cycle_g(g, f) + self.cycle_f(g, f)

    def cycle_g(self, g: Tensor | None = None, f: Tensor | None = None) -> Tensor:
        """-lambda E_{p_B G} log F(z|x): G generates, F recognises.  Scalar."""
        log_f = (self.f0 if f is None else f).log_softmax(-1).T
        return -self.strength * expectation(self.to_a(g), log_f)

    def cycle_f(self, g: Tensor | None = None, f: Tensor | None = None) -> Tensor:
        """-lambda E_{p_A F} log G(x|z): F generates, G recognises.  Scalar."""
        log_g = (self.g0 if g is None else g).log_softmax(-1).T
        return -self.strength * expectation(self.to_b(f), log_g)

    def half_a(self) -> CodeWorld:
        """G as generator, F frozen as recogniser: an InfoGAN with code z."""
        return CodeWorld(
            p_data=self.p_a,
            theta0=self.g0,
            phi0=self.phi_a,
            p_z_given_y=self.p_b.expand(2, -1),
            recogniser=self.f0.softmax(-1).T.expand(2, -1, -1),
            strength=self.strength,
            p_y=table([0.5, 0.5]),
        )

    def half_b(self) -> CodeWorld:
        """F as generator, G frozen as recogniser: an InfoGAN with code x."""
        return CodeWorld(
            p_data=self.p_b,
            theta0=self.f0,
            phi0=self.phi_b,
            p_z_given_y=self.p_a.expand(2, -1),
            recogniser=self.g0.softmax(-1).T.expand(2, -1, -1),
            strength=self.strength,
            p_y=table([0.5, 0.5]),
        )
