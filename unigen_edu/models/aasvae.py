r"""Adversary activated semi-supervised VAE: "M2" that also learns from its own samples.

Graphical model: that of M2, with two learned discriminators in place of the perfect one. D_U(x)
judges images without labels, D_L(x, c) judges pairs. Each has a pool of its own, half data and half
samples of the model at theta_0: m_U = (p_data(x) + p_g(x))/2 and m_L = (p_lab(x, c) + p_lab(c)
p_g(x|c))/2. With U and L of M2, and everything with a subscript 0 frozen:

    discriminator  the GAN's loss on m_U, plus the conditional GAN's on m_L
                                                                    (eq-conditional-aasvae-phi)
    variational    E_{m_U} [ D_U U ] + E_{m_L} [ D_L (rho L - alpha log q_psi(c|x)) ]
                                                                   (eq-conditional-aasvae-step)

At the best D_U and D_L this is half of the M2 objective, in value and gradient. If pairs were
judged by a function of x alone, samples with a wrong label would pass as labelled images, and it
would not be (eq-conditional-aasvae-bayes).

Paper: Hu et al. 2018, which does not say which images the adversary weighs; here, all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from unigen_edu.declarations import Batch, Factor, Loss, Phase
from unigen_edu.models.aavae import ActiveAdversary
from unigen_edu.models.svae import SVAE
from unigen_edu.networks import Discriminator
from unigen_edu.noise import normal, uniform


class AASVAE(ActiveAdversary, SVAE):
    """M2 + two learned adversaries, of images and of pairs.

    Args:
        shape, network, latent, likelihood, classes, alpha, rho: as for `SVAE`.
        weights: as for `AAVAE`; a mean is that of its own pool, of images or of pairs.
    """

    name = "aasvae"
    title = "Adversary activated semi-supervised VAE"
    paper = "hu2018unifying"
    chapter = "17_conditional"
    factors: ClassVar[tuple[Factor, ...]] = (
        *SVAE.factors[:3],
        Factor(r"q_\phi(y\mid\mathbf{x})", "y", ("x",), "adversarial", "discriminator"),
        Factor(r"q_\phi(y\mid\mathbf{x},c)", "y", ("x", "c"), "adversarial", "pair_discriminator"),
    )
    phases: ClassVar[tuple[Phase, ...]] = (
        Phase(
            "discriminator",
            moves=("discriminator", "pair_discriminator"),
            reduces=r"\mathbb{E}_{m_U(\mathbf{x})}\,\mathrm{KL}\big(p_{\theta_0}(y\mid\mathbf{x})"
            r"\,\|\,q_\phi(y\mid\mathbf{x})\big)+\mathbb{E}_{m_L(\mathbf{x},c)}\,\mathrm{KL}\big("
            r"p_{\theta_0}(y\mid\mathbf{x},c)\,\|\,q_\phi(y\mid\mathbf{x},c)\big)",
            direction="q_phi in the second slot, on data and dreams alike: a sleep step",
            equation="eq-conditional-aasvae-phi",
        ),
        Phase(
            "variational",
            moves=("encoder", "decoder", "classifier"),
            reduces=r"Z_U\,\mathrm{KL}\big(q^r_U(\mathbf{x})\,q(\mathbf{z},c\mid\mathbf{x})\,\|\,"
            r"p_\theta\big)+\rho Z_L\,\mathrm{KL}\big(q^r_L(\mathbf{x},c)\,q_\eta(\mathbf{z}\mid"
            r"\mathbf{x},c)\,\|\,p_\theta\big)+\alpha Z_L\,\mathrm{KL}\big(q^r_L(c\mid\mathbf{x})"
            r"\,\|\,q_\psi(c\mid\mathbf{x})\big)",
            direction="as in M2, with what D_U and D_L believe in place of data and labels",
            equation="eq-conditional-aasvae-step",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "mlp",
        latent: int = 32,
        likelihood: str = "bernoulli",
        classes: int = 10,
        alpha: float = 500.0,
        rho: float = 0.01,
        weights: str | float = "each",
    ):
        super().__init__(
            shape=shape,
            network=network,
            latent=latent,
            likelihood=likelihood,
            classes=classes,
            alpha=alpha,
            rho=rho,
        )
        self.weigh_images(weights)
        self.discriminator = Discriminator(network, shape)
        self.pair_discriminator = Discriminator(network, shape, classes)

    # A pool with labels is one of pairs, and a pool without is one of images: this decides which
    # samples, which judge and which cost belong to it.

    @torch.no_grad()
    def dreams(self, batch: Batch) -> Batch:
        """Samples for the labels of a batch, with them; for a batch without, of any class."""
        z = normal(len(batch), self.latent, like=batch.x)
        if batch.label is not None:
            return Batch(self.decoder.sample(z, batch.label), batch.label)
        drawn = (uniform(len(batch), like=batch.x) * self.classes).long()
        return Batch(self.decoder.sample(z, drawn.clamp(max=self.classes - 1)))

    def judge(self, pool: Batch) -> Tensor:
        """Logits of D_U(x), or of D_L(x, c) if the pool has labels: (B,)."""
        if pool.label is None:
            return self.discriminator(pool.x)
        return self.pair_discriminator(pool.x, pool.label)

    def negative_elbo(self, pool: Batch) -> Tensor:
        """U(x), or rho L(x, c) - alpha log q(c|x) if the pool has labels: (B,), in nats."""
        if pool.label is None:
            return -self.elbo(pool.x)
        cross_entropy = self.cross_entropy(pool.x, pool.label)
        return self.alpha * cross_entropy - self.rho * self.pair_bound(pool.x, pool.label)

    def images(self, batch: Batch) -> Batch:
        """The images of a step without the labels that they may have, made once a step."""
        return batch.once("images", lambda: Batch(batch.x, weight=batch.weight))

    def discriminator_loss(self, batch: Batch) -> Loss:
        """-L_phi of D_U on images plus -L_phi of D_L on pairs (eq-conditional-aasvae-phi)."""
        return self.sum_of_losses(super().discriminator_loss, batch)

    def variational_loss(self, batch: Batch) -> Loss:
        """M2 on data and samples, weighted by D_U and D_L (eq-conditional-aasvae-step)."""
        return self.sum_of_losses(super().variational_loss, batch)

    def sum_of_losses(self, loss_of: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """The loss of the pool of images plus that of the pool of pairs."""
        of_images, of_pairs = loss_of(self.images(batch)), loss_of(self.labelled(batch))
        value = of_images.value + of_pairs.value
        terms = of_images.terms | {f"{name} (pairs)": t for name, t in of_pairs.terms.items()}
        return Loss(value, terms | {"loss": value.detach()})
