r"""Adversary activated conditional VAE: the transfer of the AAVAE to images with labels.

Graphical model: the conditional VAE's, with the discriminator q_phi(y|x, c) of the conditional GAN
in place of the perfect one. Samples take their labels from the batch, so p(c) is that of the data
in both domains and D cannot learn the share of a class instead. With m_0(x, c) = p(c) (p_g(x|c) +
p_data(x|c))/2 at theta_0, and everything with a subscript 0 frozen:

    discriminator  that of the conditional GAN, on data and samples       (eq-conditional-phi)
    variational    E_{m_0} [ D_0(x, c) (-ELBO(x|c)) ]              (eq-conditional-aacvae-step)

the AAVAE's step in every class. For the best function of (x, c), half of the conditional VAE's
gradient is left (eq-conditional-aacvae-bayes). The best function of x alone is not enough: it lets
samples pass that look like data of another class.

Paper: Hu et al. 2018. Left out: as for the AAVAE.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from unigen_edu.declarations import Batch, Factor, Phase
from unigen_edu.models.aavae import ActiveAdversary
from unigen_edu.models.cgan import CGAN
from unigen_edu.models.cvae import CVAE
from unigen_edu.networks import Discriminator
from unigen_edu.noise import normal


class AACVAE(ActiveAdversary, CVAE):
    """Conditional VAE + a learned adversary that sees the label.

    Args:
        shape, network, latent, likelihood, classes: as for `CVAE`.
        weights, samples_teach: as for `AAVAE`.
    """

    name = "aacvae"
    title = "Adversary activated conditional VAE"
    paper = "hu2018unifying"
    chapter = "17_conditional"
    factors: ClassVar[tuple[Factor, ...]] = (*CVAE.factors[:2], CGAN.factors[1])
    phases: ClassVar[tuple[Phase, ...]] = (
        CGAN.phases[0],
        Phase(
            "variational",
            moves=("encoder", "decoder"),
            reduces=r"Z_0\,\mathrm{KL}\big(q^r_{\phi_0}(\mathbf{x},c\mid y{=}0)\,"
            r"q_\eta(\mathbf{z}\mid\mathbf{x},c)\,\|\,p(c)\,p_\theta(\mathbf{x},\mathbf{z}\mid "
            r"c)\big)",
            direction="p_theta in the second slot, q_eta in the first: covers what D believes",
            equation="eq-conditional-aacvae-step",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "mlp",
        latent: int = 32,
        likelihood: str = "bernoulli",
        classes: int = 10,
        weights: str | float = "each",
        samples_teach: str = "both",
    ):
        super().__init__(
            shape=shape, network=network, latent=latent, likelihood=likelihood, classes=classes
        )
        self.weigh_images(weights, samples_teach)
        self.discriminator = Discriminator(network, shape, classes)

    @torch.no_grad()
    def dreams(self, batch: Batch) -> Batch:
        """Draws from p_g(x|c) for the label of each data point: a code, then pixels."""
        z = normal(len(batch), self.latent, like=batch.x)
        return Batch(self.decoder.sample(z, batch.label), batch.label)

    def judge(self, pool: Batch) -> Tensor:
        """Logits a(x, c) of D(x, c): (B,)."""
        return self.discriminator(pool.x, pool.label)

    def negative_elbo(self, pool: Batch) -> Tensor:
        """-ELBO of each image given its label, with one draw of its code: (B,), in nats."""
        return -self.elbo(pool.x, pool.label)
