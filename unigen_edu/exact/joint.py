"""Joint models in a finite world: VAE/GAN, and ALI (also called BiGAN).

Both are Lemma 1 for many domains (`DomainWorld`) with another choice of what is made and of what
counts as a domain:

* VAE/GAN: an image is made; the domains are the data, the prior, and *each image that is to be
  reconstructed*, because the similarity compares with that image.
* ALI: a pair (x, z) is made; the domains are y = 0 (z first) and y = 1 (x first). Both laws move.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from unigen_edu.densities import LOG_2PI
from unigen_edu.exact.domains import DomainWorld
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.tables import (
    expectation,
    generator_from,
    jsd,
    jsd_weighted,
    kl_p_q,
    normalise,
    random_distribution,
    table,
)

__all__ = ["PairWorld", "VAEGANWorld"]


@dataclass(frozen=True, eq=False)
class VAEGANWorld(DomainWorld):
    """VAE/GAN over X images and Z codes.  theta: (Z, X) decoder logits.

    p_data: (X,).  p_z: (Z,) prior.  theta0: (Z, X) logits of p_theta(x|z).  eta0: (X, Z) logits of
    q_eta(z|x).  features: (X, F), f(x).  head: (F,), so that a(x) = head . f(x).  gamma: weight of
    the similarity.  Domains: 0 the prior, 1 the data, 2 + x the reconstructions of image x.
    """

    p_data: Tensor
    p_z: Tensor
    theta0: Tensor
    eta0: Tensor
    features: Tensor
    head: Tensor
    gamma: float

    @classmethod
    def random(
        cls, seed: int, n_x: int = 5, n_z: int = 3, n_f: int = 2, gamma: float = 0.7
    ) -> VAEGANWorld:
        """A random world with full support, a function of ``seed`` alone."""
        g = generator_from(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g, dtype=torch.float64)

        return cls(
            p_data=random_distribution(n_x, generator=g),
            p_z=random_distribution(n_z, generator=g),
            theta0=normal(n_z, n_x),
            eta0=normal(n_x, n_z),
            features=normal(n_x, n_f),
            head=normal(n_f),
            gamma=gamma,
        )

    # ---- laws ----------------------------------------------------------------------------------

    def p_x_given_z(self, theta: Tensor | None = None) -> Tensor:
        """p_theta(x|z).  (Z, X)"""
        return (self.theta0 if theta is None else theta).softmax(-1)

    def q_z_given_x(self, eta: Tensor | None = None) -> Tensor:
        """q_eta(z|x).  (X, Z)"""
        return (self.eta0 if eta is None else eta).softmax(-1)

    def p_g(self, theta: Tensor | None = None) -> Tensor:
        """Samples: sum_z p(z) p_theta(x|z).  (X,)"""
        return self.p_z @ self.p_x_given_z(theta)

    def p_reconstruction(self, theta: Tensor | None = None) -> Tensor:
        """Reconstructions of each x: sum_z q_eta0(z|x) p_theta(x'|z).  (X, X'), rows sum to one."""
        return self.q_z_given_x() @ self.p_x_given_z(theta)

    def p_domain(self, theta: Tensor | None = None) -> Tensor:
        third = table([1.0, 1.0])
        return torch.cat([third, self.p_data]) / 3.0

    def p_x_given_domain(self, theta: Tensor | None = None) -> Tensor:
        return torch.cat([self.p_g(theta)[None], self.p_data[None], self.p_reconstruction(theta)])

    # ---- what the discriminator says -----------------------------------------------------------

    @property
    def a(self) -> Tensor:
        """The logit of D.  (X,)"""
        return self.features @ self.head

    @property
    def log_similarity(self) -> Tensor:
        """log N(f(x); f(x'), I).  (X, X')"""
        squared = (self.features[:, None] - self.features[None]).square()
        return -0.5 * (squared + LOG_2PI).sum(-1)

    @property
    def scores(self) -> Tensor:
        """D(x') for samples, 1 - D for data, D(x') N(f(x); f(x'), I)^gamma for reconstructions."""
        sent = logsigmoid(self.a)
        reconstructed = sent + self.gamma * self.log_similarity
        return torch.cat([sent[None], logsigmoid(-self.a)[None], reconstructed]).exp()

    # ---- the decoder: functions of theta -------------------------------------------------------

    def p_x_given_y(self, theta: Tensor | None = None) -> Tensor:
        """y = 0: half samples, half reconstructions of data; y = 1: data.  (2, X)"""
        made = 0.5 * (self.p_g(theta) + self.p_data @ self.p_reconstruction(theta))
        return torch.stack([made, self.p_data])

    def jsd_y(self, theta: Tensor | None = None) -> Tensor:
        """JSD of the two domains y, with weights 2/3 and 1/3.  Scalar."""
        return jsd_weighted(table([2 / 3, 1 / 3]), self.p_x_given_y(theta))

    def source_information(self, theta: Tensor | None = None) -> Tensor:
        """I(x; s|y), s the source: the prior or the image to reconstruct.  Scalar."""
        weights = torch.cat([table([1.0]), self.p_data]) / 2.0
        laws = torch.cat([self.p_g(theta)[None], self.p_reconstruction(theta)])
        return 2 / 3 * jsd_weighted(weights, laws)

    def minimax_loss(self, theta: Tensor | None = None) -> Tensor:
        """The decoder's loss of the paper, divided by 3: E log(1 - D) and the similarity.  Scalar.

        1/3 [ -gamma E log N + E_rec log(1 - D) + E_pg log(1 - D) ].
        """
        log_fake = logsigmoid(-self.a)
        pairs = self.p_data[:, None] * self.p_reconstruction(theta)
        similarity = expectation(pairs, self.log_similarity)
        game = expectation(pairs.sum(0), log_fake) + expectation(self.p_g(theta), log_fake)
        return (game - self.gamma * similarity) / 3.0

    # ---- the discriminator ---------------------------------------------------------------------

    def as_gan(self) -> GANWorld:
        """A GAN with p(y=0) = 2/3 whose generator makes samples and reconstructions."""
        made = self.p_x_given_y()[0]
        return GANWorld(self.p_data, made.log(), self.a, table([2 / 3, 1 / 3]))

    # ---- the encoder: functions of eta ---------------------------------------------------------

    def log_p_features(self, theta: Tensor | None = None) -> Tensor:
        """E_{p_theta(x'|z)} log N(f(x); f(x'), I), the log-likelihood of z.  (X, Z)"""
        return self.log_similarity @ self.p_x_given_z(theta).T

    @property
    def feature_posterior(self) -> Tensor:
        """p_theta0(z|f(x)), proportional to p(z) times that likelihood.  (X, Z)"""
        return normalise(self.p_z * self.log_p_features().exp())

    @property
    def log_feature_evidence(self) -> Tensor:
        """log p_theta0(f(x)).  (X,)"""
        return (self.p_z * self.log_p_features().exp()).sum(-1).log()

    def encoder_gap(self, eta: Tensor | None = None) -> Tensor:
        """E_pdata KL(q_eta(z|x) || p_theta0(z|f(x))): what the encoder's phase reduces.  Scalar."""
        return expectation(self.p_data, kl_p_q(self.q_z_given_x(eta), self.feature_posterior))


@dataclass(frozen=True, eq=False)
class PairWorld(DomainWorld):
    """ALI over X images and Z codes; the "x" of Lemma 1 is the pair, index x Z + z.

    The parameter of the world is both networks': theta0 is (2 X Z,), the generator's logits
    (Z, X) and then the encoder's (X, Z), each flattened.
    p_data: (X,).  p_z: (Z,).  phi0: (X, Z) logits of D(x, z).
    """

    p_data: Tensor
    p_z: Tensor
    theta0: Tensor
    phi0: Tensor

    @classmethod
    def random(cls, seed: int, n_x: int = 4, n_z: int = 3) -> PairWorld:
        """A random world with full support, a function of ``seed`` alone."""
        g = generator_from(seed)
        return cls(
            p_data=random_distribution(n_x, generator=g),
            p_z=random_distribution(n_z, generator=g),
            theta0=torch.randn(2 * n_x * n_z, generator=g, dtype=torch.float64),
            phi0=torch.randn(n_x, n_z, generator=g, dtype=torch.float64),
        )

    def split(self, theta: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The generator's (Z, X) and the encoder's (X, Z) part of the parameter, or a gradient."""
        n_x, n_z = self.phi0.shape
        generator, encoder = (self.theta0 if theta is None else theta).chunk(2)
        return generator.reshape(n_z, n_x), encoder.reshape(n_x, n_z)

    def other_theta(self, seed: int = 0, step: float = 0.7) -> Tensor:
        """Networks away from theta0.  (2 X Z,)"""
        g = generator_from(1000 + seed)
        return self.theta0 + step * torch.randn(self.theta0.shape, generator=g, dtype=torch.float64)

    # ---- laws ----------------------------------------------------------------------------------

    def generated(self, theta: Tensor | None = None) -> Tensor:
        """p(z) p_theta(x|z).  (X, Z)"""
        return (self.p_z[:, None] * self.split(theta)[0].softmax(-1)).T

    def inferred(self, theta: Tensor | None = None) -> Tensor:
        """p_data(x) q_eta(z|x).  (X, Z)"""
        return self.p_data[:, None] * self.split(theta)[1].softmax(-1)

    def p_domain(self, theta: Tensor | None = None) -> Tensor:
        return table([0.5, 0.5])

    def p_x_given_domain(self, theta: Tensor | None = None) -> Tensor:
        return torch.stack([self.generated(theta).flatten(), self.inferred(theta).flatten()])

    @property
    def scores(self) -> Tensor:
        """q^r(y|x, z).  (2, X Z)"""
        a = self.phi0.flatten()
        return torch.stack([a.sigmoid(), (-a).sigmoid()])

    def as_gan(self, theta: Tensor | None = None) -> GANWorld:
        """The same as a GAN over pairs, whose "data" are the inferred pairs."""
        return GANWorld(
            self.inferred(theta).flatten(),
            self.generated(theta).flatten().log(),
            self.phi0.flatten(),
            self.p_domain(),
        )

    def with_optimal_discriminator(self) -> PairWorld:
        """The same world judged by D*, the Bayes posterior of y = 1 at theta0."""
        return replace(self, phi0=(self.inferred() / self.generated()).log())

    # ---- at the optimal discriminator: functions of both networks ------------------------------

    def mixture_to_inferred(self, theta: Tensor | None = None) -> Tensor:
        """KL(m || p_data q_eta), m the mixture of both laws: the generator descends it.  Scalar."""
        return kl_p_q(self.p_x(theta), self.inferred(theta).flatten())

    def mixture_to_generated(self, theta: Tensor | None = None) -> Tensor:
        """KL(m || p(z) p_theta(x|z)): the encoder descends it.  Scalar."""
        return kl_p_q(self.p_x(theta), self.generated(theta).flatten())

    def jsd_of_images(self, theta: Tensor | None = None) -> Tensor:
        """JSD of p_g(x) and p_data(x), at most the JSD of the pairs.  Scalar."""
        return jsd(self.generated(theta).sum(1), self.p_data)

    def jsd_of_codes(self, theta: Tensor | None = None) -> Tensor:
        """JSD of p(z) and of the codes of data, at most the JSD of the pairs.  Scalar."""
        return jsd(self.p_z, self.inferred(theta).sum(0))
