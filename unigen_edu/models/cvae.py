r"""Conditional variational autoencoder.

Graphical model: the VAE's, given a class c, which encoder and decoder see. The code z keeps its
prior: p(z|c) = N(0, I) for every c, so z describes what the class leaves open.

    variational   -ELBO = E_{p_data(x,c)} [ -E_{q_eta(z|x,c)} log p_theta(x|z, c)
                                            + KL(q_eta(z|x, c) || p(z)) ]     (eq-conditional-elbo)

It bounds log p_theta(x|c), not log p_theta(x): a smaller number, because the class need not be
coded. It is a joint KL, given c (eq-conditional-joint-kl). Sum over pixels and latent coordinates,
mean over the batch.

Paper: Sohn et al. 2015; with this prior, Kingma et al. 2014 ("M2" with all labels). Left out: a
prior p(z|c) that is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from unigen_edu.declarations import Batch, Factor, Loss, Phase, Variable, check_count, expect
from unigen_edu.models.vae import VAE
from unigen_edu.networks import Decoder, Encoder, labels_to_draw


class CVAE(VAE):
    """VAE + a label that encoder and decoder see.

    Args:
        shape, network, latent, likelihood: as for `VAE`.
        classes: number of labels 0, 1, ..., classes - 1; 1 is the VAE.
    """

    name = "cvae"
    title = "Conditional VAE"
    paper = "sohn2015learning"
    chapter = "17_conditional"
    needs: ClassVar[frozenset[str]] = frozenset({"label"})
    variables = (*VAE.variables, Variable("c", "c", "class", observed=True))
    factors: ClassVar[tuple[Factor, ...]] = (
        Factor(
            r"p_\theta(\mathbf{x}\mid\mathbf{z},c,y)", "x", ("z", "c", "y"), "generative",
            "decoder",
        ),
        Factor(r"q_\eta(\mathbf{z}\mid\mathbf{x},c)", "z", ("x", "c"), "inference", "encoder"),
        VAE.factors[2],
    )  # fmt: skip
    phases: ClassVar[tuple[Phase, ...]] = (
        Phase(
            "variational",
            moves=("encoder", "decoder"),
            reduces=r"\mathbb{E}_{p_{data}(c)}\,\mathrm{KL}\big(p_{data}(\mathbf{x}\mid c)\,"
            r"q_\eta(\mathbf{z}\mid\mathbf{x},c)\,\|\,p_\theta(\mathbf{x},\mathbf{z}\mid c)\big)",
            direction="p_theta in the second slot, q_eta in the first: covers every class",
            equation="eq-conditional-joint-kl",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "mlp",
        latent: int = 32,
        likelihood: str = "bernoulli",
        classes: int = 10,
    ):
        check_count("classes", classes, "it counts the labels, and classes=1 is the VAE")
        super().__init__(shape=shape, network=network, latent=latent, likelihood=likelihood)
        self.config["classes"] = classes
        self.classes = classes
        self.encoder = Encoder(network, shape, latent, classes)
        self.decoder = Decoder(network, shape, latent, likelihood, classes)

    def elbo_terms(self, x: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """E_q log p(x|z,c) estimated with one draw, and KL(q(z|x,c) || p(z)): (B,) each, in nats.

        Args:
            label: (B,) int64, which this model cannot do without.
        """
        q = self.encoder(x, label)
        z = q.sample()
        return expect(self.decoder.log_prob(x, z.value, label), z.weight, dim=0), q.kl_q_p()

    def elbo(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """One-draw estimate of the lower bound of log p(x|c) of each x: (B,), in nats."""
        log_likelihood, kl_q_p = self.elbo_terms(x, label)
        return log_likelihood - kl_q_p

    def variational_loss(self, batch: Batch) -> Loss:
        """-ELBO averaged over the batch (eq-conditional-elbo)."""
        log_likelihood, kl_q_p = self.elbo_terms(batch.x, batch.label)
        reconstruction = -expect(log_likelihood, batch.weight)
        kl = expect(kl_q_p, batch.weight)
        value = reconstruction + kl
        terms = {"loss": value, "reconstruction": reconstruction, "KL(q||p)": kl}
        return Loss(value, {name: term.detach() for name, term in terms.items()})

    def log_weights(self, x: Tensor, k: int, label: Tensor | None = None) -> Tensor:
        """log p(x, z_i|c) - log q(z_i|x, c) for k draws from q(z|x, c): (k, B), in nats."""
        check_count("k", k, "it counts the draws of the importance weighted bound")
        q = self.encoder(x, label)
        z = q.sample(k).value
        return self.decoder.log_prob(x, z, label) + q.log_prior(z) - q.log_prob(z)

    @torch.no_grad()
    def sample(self, n: int, label: Tensor | int | None = None) -> Tensor:
        """Means of p(x|z, c) at n draws from the prior (what pictures show): (n, *shape).

        Args:
            label: (n,) int64, or one number for all; None is 0, 1, ..., classes - 1, 0, ...
        """
        like = next(self.parameters())
        z = torch.randn(n, self.latent, dtype=like.dtype, device=like.device)
        return self.decoder(z, labels_to_draw(n, label, self.classes, self.device))
