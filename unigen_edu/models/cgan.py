r"""Conditional GAN.

Graphical model: the GAN's, given a class c. The label comes with the data, c ~ p_data(c); under
y = 0 the generator makes x = G(z, c), under y = 1 x is a data point of class c. The discriminator
q_phi(y|x, c) sees the label, so it judges two things at once: is x like data, and is it a c?

A generated image takes the label of a data point of the batch. So p(c) is the same in both domains,
p(y|c) = 1/2 for every c, and each class is a GAN of its own, joined to the others only by shared
parameters. With a(x, c) the logit of D(x, c) = q_phi(y=1|x, c):

    discriminator  -L_phi = E_{p(c)} [ 1/2 E_{p_data(x|c)} softplus(-a)
                                       + 1/2 E_{p_g(x|c)} softplus(a) ]      (eq-conditional-phi)
    generator      -L_theta = E_{p(c)} 1/2 E_{p_g(x|c)} softplus(-a) + const (eq-conditional-theta)

At theta_0 the gradient of -L_theta is that of Lemma 1, class by class (eq-conditional-gradient).
A discriminator that does not see c leaves the classes free: then only p_g(x), the sum over classes,
is held against the data (eq-conditional-blind).

Paper: Mirza and Osindero 2014; a logit that is linear in a vector for each class: Miyato and
Koyama 2018. Left out: an auxiliary classifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from unigen_edu.declarations import Batch, Factor, Phase, Sample, Variable, check_count
from unigen_edu.models.gan import GAN
from unigen_edu.networks import Discriminator, Generator, evaluating, labels_to_draw


class CGAN(GAN):
    """GAN + a label that generator and discriminator see.

    Args:
        shape, network, latent, objective: as for `GAN`.
        classes: number of labels 0, 1, ..., classes - 1; 1 is the GAN.
    """

    name = "cgan"
    title = "Conditional GAN"
    paper = "mirza2014conditional"
    chapter = "17_conditional"
    needs: ClassVar[frozenset[str]] = frozenset({"label"})
    variables = (*GAN.variables, Variable("c", "c", "class", observed=True))
    factors = (
        Factor(
            r"p_\theta(\mathbf{x}\mid\mathbf{z},c,y)", "x", ("z", "c", "y"), "generative",
            "generator",
        ),
        Factor(r"q_\phi(y\mid\mathbf{x},c)", "y", ("x", "c"), "adversarial", "discriminator"),
    )  # fmt: skip
    phases: ClassVar[tuple[Phase, ...]] = (
        Phase(
            "discriminator",
            moves=("discriminator",),
            reduces=r"\mathbb{E}_{p_{\theta_0}(\mathbf{x},c)}\,\mathrm{KL}\big("
            r"p_{\theta_0}(y\mid\mathbf{x},c)\,\|\,q_\phi(y\mid\mathbf{x},c)\big)",
            direction="q_phi in the second slot, on data and dreams alike: a sleep step",
            equation="eq-conditional-phi-kl",
        ),
        Phase(
            "generator",
            moves=("generator",),
            reduces=r"\mathbb{E}_{p(c)}\Big[\mathbb{E}_{p(y)}\,\mathrm{KL}\big(p_\theta("
            r"\mathbf{x}\mid c,y)\,\|\,q^r(\mathbf{x}\mid c,y)\big)-\mathrm{JSD}_{\theta\mid c}"
            r"\Big]",
            direction="p_theta in the first slot, at theta_0: Lemma 1 in every class",
            equation="eq-conditional-gradient",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "mlp",
        latent: int = 64,
        objective: str = "non-saturating",
        classes: int = 10,
    ):
        check_count("classes", classes, "it counts the labels, and classes=1 is the GAN")
        super().__init__(shape=shape, network=network, latent=latent, objective=objective)
        self.config["classes"] = classes
        self.classes = classes
        self.generator = Generator(network, shape, latent, classes)
        self.discriminator = Discriminator(network, shape, classes)

    def generated(self, batch: Batch) -> Sample:
        """A draw from p_g(x|c) for the label of each data point, once a step: value (B, *shape)."""
        return batch.once("generated", lambda: self.generator.sample(len(batch), batch.label))

    def logits(self, x: Tensor, batch: Batch) -> Tensor:
        """a(x, c): x (n, *shape) -> (n,). Image i has the label of row i, modulo len(batch)."""
        label = batch.label
        if label is not None and len(x) != len(batch):
            label = label.repeat(len(x) // len(batch))
        return self.discriminator(x, label)

    @torch.no_grad()
    def sample(self, n: int, label: Tensor | int | None = None) -> Tensor:
        """`n` draws from p_g(x|c): (n, *shape), normalised by running averages, so independent.

        Args:
            label: (n,) int64, or one number for all; None is 0, 1, ..., classes - 1, 0, ...
        """
        with evaluating(self.generator):
            chosen = labels_to_draw(n, label, self.classes, self.device)
            return self.generator.sample(n, chosen).value
