r"""Importance weighted autoencoder.

Graphical model: that of the VAE. The encoder proposes k codes for an image instead of one, and each
is weighed by how well the generative side explains image and code together:

    w_i = p_theta(x, z_i) / q_eta(z_i|x),   z_1..z_k ~ q_eta(z|x) independent,   w~ = w / sum w
    variational   -L_k = -E_{p_data} E log (1/k) sum_i w_i                    (eq-iwae-bound)

L_1 is the ELBO, L_k grows with k, and none is above log p(x) (eq-iwae-monotone). Averaged over the
data, -L_k is one KL divergence between joints of x, all k codes and the index i of the code that
was picked with probability w~_i (eq-iwae-joint-kl).

The gradient comes in two forms with the same expectation:

    standard                   sum_i w~_i   d log w_i                            (eq-iwae-gradient)
    doubly-reparameterised     the same for theta, and for eta only the path through the codes,
                               sum_i w~_i^2 (d log w_i / d z_i) (d z_i / d eta)       (eq-iwae-dreg)

With the standard form the encoder's gradient drowns in noise as k grows; with the second it does
not, and it is exactly zero for every draw once q_eta(z|x) is the posterior. The second needs codes
that move with eta; a table of codes has the first form only.

Paper: Burda et al. 2016; the second form is Tucker et al. 2019. Left out: networks with several
layers of codes, and other splittings of the bound among encoder and decoder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unigen_edu.declarations import Batch, Loss, Phase, check_choice, check_count, expect
from unigen_edu.densities import DiagonalNormal
from unigen_edu.models.vae import VAE


class IWAE(VAE):
    """VAE + k codes per image, weighed by their importance.

    Args:
        shape, network, latent, likelihood: as for `VAE`.
        k: codes per image, at least 1.
        gradient: "standard", or "doubly-reparameterised" (less noise for the encoder, at the cost
            of one more pass through the decoder, without gradient).
    """

    name = "iwae"
    title = "Importance weighted autoencoder"
    paper = "burda2016importance"
    chapter = "14_iwae"
    phases = (
        Phase(
            "variational",
            moves=("encoder", "decoder"),
            reduces=r"\mathrm{KL}\big(p_{data}(\mathbf{x})\,q_\eta^{(k)}(\mathbf{z}_{1:k},i\mid"
            r"\mathbf{x})\,\|\,p_\theta^{(k)}(\mathbf{x},\mathbf{z}_{1:k},i)\big)",
            direction="p_theta in the second slot, q_eta in the first; of k codes, i is picked",
            equation="eq-iwae-joint-kl",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "mlp",
        latent: int = 32,
        likelihood: str = "bernoulli",
        k: int = 5,
        gradient: str = "standard",
    ):
        check_count("k", k, "it counts the codes of an image, and k=1 is the VAE")
        check_choice("gradient", gradient, ("standard", "doubly-reparameterised"))
        super().__init__(shape=shape, network=network, latent=latent, likelihood=likelihood)
        self.config |= {"k": k, "gradient": gradient}
        self.k = k
        self.gradient = gradient

    def variational_loss(self, batch: Batch) -> Loss:
        """-L_k averaged over the batch (eq-iwae-bound); its gradient is the form asked for."""
        q = self.encoder(batch.x)
        z, weight = q.sample(self.k)  # (k, B, latent); all groups in a finite world: (k, G, B)
        if self.gradient == "doubly-reparameterised":
            z, q = self.squared_path(batch.x, z, q)
        log_w = self.log_w(batch.x, z, q)
        log_mean_w = torch.logsumexp(log_w, 0) - math.log(self.k)
        shares = torch.softmax(log_w.detach(), 0)

        def average(value: Tensor) -> Tensor:
            """Over the groups of an image, if all are listed, and over the batch."""
            per_image = value if weight is None else expect(value, weight, dim=0)
            return expect(per_image, batch.weight)

        value = -average(log_mean_w)
        terms = {
            "loss": value.detach(),
            "-ELBO": -average(log_w.detach().mean(0)),
            "effective draws": average(1.0 / shares.square().sum(0)).detach(),
        }
        return Loss(value, terms)

    def squared_path(
        self, x: Tensor, z: Tensor, q: DiagonalNormal
    ) -> tuple[Tensor, DiagonalNormal]:
        """The same codes and the same q, prepared so that eta receives sum_i w~_i^2 (path of z_i).

        The gradient of log (1/k) sum_i w_i weighs what flows into log w_i by w~_i. Codes whose own
        gradient counts w~_i times make that w~_i^2; a q without gradient leaves the path alone.
        The weights are constants, which takes a pass through the decoder before the one that
        counts.
        """
        held = DiagonalNormal(q.mean.detach(), q.log_var.detach())
        with torch.no_grad():
            shares = torch.softmax(self.log_w(x, z, held), 0)
        return z.detach() + shares[..., None] * (z - z.detach()), held
