r"""Variational autoencoder.

Graphical model: z ~ N(0, I) generates x through the decoder p_theta(x|z); the encoder q_eta(z|x)
infers z from x. In the unified view there is also the domain y: a perfect discriminator says
q_*(y=1|x) = 1 on data and q_*(y=0|x) = 1 on generated samples, and so filters out the latter.

    variational   -ELBO = E_{p_data} [ -E_{q_eta(z|x)} log p_theta(x|z) + KL(q_eta(z|x) || p(z)) ]

(eq-lemma2-elbo). Its gradient is twice that of the first line of the poster's eq. (6)
(eq-lemma2-provenance). The reconstruction sums over pixels, the KL over latent coordinates, and
the average is over the batch.

Paper: Kingma and Welling 2014; Rezende et al. 2014. Left out: other priors and posteriors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unigen_edu.declarations import Batch, Factor, Loss, Model, Phase, Variable, check_count, expect
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
    """

    name = "vae"
    title = "Variational autoencoder"
    paper = "kingma2014auto"
    chapter = "10_lemma2"
    variables = (
        Variable("z", r"\mathbf{z}", "latent code", observed=False),
        Variable("x", r"\mathbf{x}", "image", observed=True),
        Variable("y", "y", "domain: 0 generated, 1 data", observed=True),
    )
    factors = (
        Factor(r"p_\theta(\mathbf{x}\mid\mathbf{z},y)", "x", ("z", "y"), "generative", "decoder"),
        Factor(r"q_\eta(\mathbf{z}\mid\mathbf{x})", "z", ("x",), "inference", "encoder"),
        Factor(r"q_*(y\mid\mathbf{x})", "y", ("x",), "adversarial", None),
    )
    phases = (
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
    ):
        if likelihood not in ("bernoulli", "gaussian"):
            raise UnigenError(
                f"There is no likelihood '{likelihood}'; choose one of: bernoulli, gaussian."
            )
        if likelihood == "bernoulli" and len(shape) == 1:
            raise UnigenError(
                "A Bernoulli likelihood needs values in [0, 1]: "
                "use likelihood='gaussian' for points."
            )
        check_count("latent", latent, "it counts the coordinates of a code")
        super().__init__(shape=tuple(shape), network=network, latent=latent, likelihood=likelihood)
        self.latent = latent
        self.encoder = Encoder(network, shape, latent)
        self.decoder = Decoder(network, shape, latent, likelihood)

    def elbo_terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """E_q log p(x|z) estimated with one draw, and KL(q(z|x) || p(z)): (B,) each, in nats."""
        q = self.encoder(x)
        z = q.sample()
        return expect(self.decoder.log_prob(x, z.value), z.weight, dim=0), q.kl_q_p()

    def elbo(self, x: Tensor) -> Tensor:
        """One-draw estimate of the evidence lower bound of each x: (B,), in nats."""
        log_likelihood, kl_q_p = self.elbo_terms(x)
        return log_likelihood - kl_q_p

    def variational_loss(self, batch: Batch) -> Loss:
        """-ELBO averaged over the batch (eq-lemma2-elbo)."""
        log_likelihood, kl_q_p = self.elbo_terms(batch.x)
        reconstruction = -expect(log_likelihood, batch.weight)
        kl = expect(kl_q_p, batch.weight)
        value = reconstruction + kl
        terms = {"loss": value, "reconstruction": reconstruction, "KL(q||p)": kl}
        return Loss(value, {name: term.detach() for name, term in terms.items()})

    def log_weights(self, x: Tensor, k: int) -> Tensor:
        """log w_i = log p(x, z_i) - log q(z_i|x) for k draws from q(z|x): (k, B), in nats."""
        check_count("k", k, "it counts the draws of the importance weighted bound")
        q = self.encoder(x)
        z = q.sample(k).value
        return self.decoder.log_prob(x, z) + q.log_prior(z) - q.log_prob(z)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Means of p(x|z) at n draws from the prior (what pictures show): (n, *shape)."""
        like = next(self.parameters())
        z = torch.randn(n, self.latent, dtype=like.dtype, device=like.device)
        return self.decoder(z)
