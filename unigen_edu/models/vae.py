r"""Variational autoencoder.

Graphical model: z ~ N(0, I) generates x through the decoder p_theta(x|z); the encoder q_eta(z|x)
infers z from x. In the unified view there is also the domain y: a perfect discriminator says
q_*(y=1|x) = 1 on data and q_*(y=0|x) = 1 on generated samples, and so filters out the latter.

    variational   -ELBO = E_{p_data} [ -E_{q_eta(z|x)} log p_theta(x|z) + KL(q_eta(z|x) || p(z)) ]

(eq-lemma2-elbo). Its gradient is twice that of the first line of the poster's eq. (6)
(eq-lemma2-provenance). The reconstruction sums over pixels, the KL over latent coordinates, and
the average is over the batch.

Two options change the price of the code, and with it the objective. `beta` multiplies the KL; for
beta >= 1 the negative loss is still below log p(x). `free_bits` makes the first nats of each
coordinate free, so that a coordinate is not given up early in training:

    KL becomes  beta * sum_j max(free_bits, E_{p_data} KL(q_eta(z_j|x) || p(z_j)))

with the mean over the batch in place of E_{p_data}. The ELBO that `elbo` reports is not changed.

Paper: Kingma and Welling 2014; Rezende et al. 2014. beta: Higgins et al. 2017; free bits: Kingma
et al. 2016. Left out: other priors and posteriors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from unigen_edu.declarations import (
    Batch,
    Factor,
    Loss,
    Model,
    Phase,
    Variable,
    check_count,
    check_likelihood,
    expect,
)
from unigen_edu.densities import DiagonalNormal
from unigen_edu.errors import UnigenError
from unigen_edu.networks import Decoder, Encoder


class VAE(Model):
    """VAE with a Gaussian encoder and a Bernoulli or Gaussian decoder.

    Args:
        shape: of one sample, (C, H, W) or (dimensions,).
        network: "mlp" or "conv".
        latent: number of latent coordinates, at least 1.
        likelihood: "bernoulli" (the ELBO bounds log p(x) for pixels that are 0 or 1) or
            "gaussian" (one learned scale).
        beta: factor of the KL, from 0 to 1000; 1 is the VAE.
        free_bits: nats of each latent coordinate that cost nothing, from 0 to 10; 0 is the VAE.
    """

    name = "vae"
    title = "Variational autoencoder"
    paper = "kingma2014auto"
    chapter = "04_vae"
    variables: ClassVar[tuple[Variable, ...]] = (
        Variable("z", r"\mathbf{z}", "latent code", observed=False),
        Variable("x", r"\mathbf{x}", "image", observed=True),
        Variable("y", "y", "domain: 0 generated, 1 data", observed=True),
    )
    factors: ClassVar[tuple[Factor, ...]] = (
        Factor(r"p_\theta(\mathbf{x}\mid\mathbf{z},y)", "x", ("z", "y"), "generative", "decoder"),
        Factor(r"q_\eta(\mathbf{z}\mid\mathbf{x})", "z", ("x",), "inference", "encoder"),
        Factor(r"q_*(y\mid\mathbf{x})", "y", ("x",), "adversarial", None),
    )
    phases: ClassVar[tuple[Phase, ...]] = (
        Phase(
            "variational",
            moves=("encoder", "decoder"),
            reduces=r"\mathrm{KL}\big(p_{data}(\mathbf{x})\,q_\eta(\mathbf{z}\mid\mathbf{x})\,\|\,"
            r"p_\theta(\mathbf{x},\mathbf{z})\big)",
            direction="p_theta in the second slot, q_eta in the first: covers the data",
            equation="eq-lemma2-joint-kl",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "mlp",
        latent: int = 32,
        likelihood: str = "bernoulli",
        beta: float = 1.0,
        free_bits: float = 0.0,
    ):
        check_likelihood(likelihood, shape)
        check_count("latent", latent, "it counts the coordinates of a code")
        check_amount("beta", beta, "it multiplies the KL", 1000.0)
        check_amount("free_bits", free_bits, "it counts nats of one latent coordinate", 10.0)
        super().__init__(shape=tuple(shape), network=network, latent=latent, likelihood=likelihood)
        # Kept when they are used, so that variants without these options have none in their config.
        given = {"beta": (beta, 1.0), "free_bits": (free_bits, 0.0)}
        self.config |= {name: value for name, (value, usual) in given.items() if value != usual}
        self.latent = latent
        self.beta = beta
        self.free_bits = free_bits
        self.encoder = Encoder(network, shape, latent)
        self.decoder = Decoder(network, shape, latent, likelihood)

    def elbo_terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """E_q log p(x|z) estimated with one draw, and KL(q(z|x) || p(z)): (B,) each, in nats."""
        q = self.encoder(x)
        return self.log_likelihood(x, q), q.kl_q_p()

    def log_likelihood(self, x: Tensor, q: DiagonalNormal) -> Tensor:
        """E_q log p(x|z) of each x, estimated with one draw of z: (B,), in nats."""
        z = q.sample()
        return expect(self.decoder.log_prob(x, z.value), z.weight, dim=0)

    def elbo(self, x: Tensor) -> Tensor:
        """One-draw estimate of the evidence lower bound of each x: (B,), in nats."""
        log_likelihood, kl_q_p = self.elbo_terms(x)
        return log_likelihood - kl_q_p

    def variational_loss(self, batch: Batch) -> Loss:
        """-ELBO averaged over the batch (eq-lemma2-elbo)."""
        q = self.encoder(batch.x)
        reconstruction = -expect(self.log_likelihood(batch.x, q), batch.weight)
        kl = expect(q.kl_q_p(), batch.weight)
        price = self.price_above_free_bits(q, batch.weight) if self.free_bits else kl
        value = reconstruction + self.beta * price
        terms = {"loss": value, "reconstruction": reconstruction, "KL(q||p)": kl}
        return Loss(value, {name: term.detach() for name, term in terms.items()})

    def price_above_free_bits(self, q: DiagonalNormal, weight: Tensor | None) -> Tensor:
        """sum_j max(free_bits, KL_j), KL_j the batch's mean KL of coordinate j: a scalar.

        Where several processes split a batch, each takes the mean of its own part.
        """
        row_weight = None if weight is None else weight[:, None]
        kl_by_coordinate = expect(q.kl_q_p_by_coordinate(), row_weight, dim=0)  # (L,)
        return kl_by_coordinate.clamp(min=self.free_bits).sum()

    def log_weights(self, x: Tensor, k: int) -> Tensor:
        """log w_i = log p(x, z_i) - log q(z_i|x) for k draws from q(z|x): (k, B), in nats."""
        check_count("k", k, "it counts the draws of the importance weighted bound")
        q = self.encoder(x)
        return self.log_w(x, q.sample(k).value, q)

    def log_w(self, x: Tensor, z: Tensor, q: DiagonalNormal) -> Tensor:
        """log p(x, z) - log q(z|x) for given codes: z (k, B, latent) -> (k, B), in nats."""
        return self.decoder.log_prob(x, z) + q.log_prior(z) - q.log_prob(z)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Means of p(x|z) at n draws from the prior (what pictures show): (n, *shape)."""
        like = next(self.parameters())
        z = torch.randn(n, self.latent, dtype=like.dtype, device=like.device)
        return self.decoder(z)


def check_amount(name: str, value: object, why: str, most: float) -> None:
    """Raise one sentence unless the option `name` is a number from 0 to `most`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise UnigenError(f"{name} is {value!r}, but {why}: give a number from 0 to {most:g}.")
