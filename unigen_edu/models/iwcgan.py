r"""Importance weighted conditional GAN: the transfer of the IWGAN to the conditional GAN.

Graphical model: that of the conditional GAN. The k draws of a group share one label c, and their
weights w_i = q^r(y=0|x_i, c) / q(y=0|x_i, c) = exp(a(x_i, c)) are normalised within the group:

    generator: - 1/2 E_{p(c)} E [ sum_i  w~_i  log D(x_i, c) ]           (eq-conditional-iw-step)

Why one label: within a class the softmax cancels whatever shifts all logits of that class, and
every class keeps its share p(c) of the step. A group of mixed labels weighs class against class. It
has a bound too, but of log E_{p(c)} Z_c instead of E_{p(c)} log Z_c, Z_c = E_{p_g(x|c)} e^a, and as
k grows a class gets the share p(c) Z_c / E Z_c of the step (eq-conditional-mixed).

k = 1 is the conditional GAN, classes = 1 the IWGAN.

Paper: Hu et al. 2018. Left out: as for the IWGAN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from unigen_edu.declarations import Batch, Phase, Sample, check_count
from unigen_edu.models.cgan import CGAN
from unigen_edu.models.iwgan import IWGAN


class IWCGAN(IWGAN, CGAN):
    """Conditional GAN + importance weights within each class.

    Args:
        shape, network, latent, classes: as for `CGAN`.
        k: draws per group, at least 1.
    """

    name = "iwcgan"
    title = "Importance weighted conditional GAN"
    paper = "hu2018unifying"
    chapter = "17_conditional"
    phases: ClassVar[tuple[Phase, ...]] = (
        CGAN.phases[0],
        Phase(
            "generator",
            moves=("generator",),
            reduces=r"-\mathbb{E}_{p(c)}\mathbb{E}\Big[\textstyle\sum_i\tilde w_i\log "
            r"q^r_{\phi_0}(y{=}0\mid\mathbf{x}_i,c)\Big],\ \tilde w\text{ constant, one }c"
            r"\text{ per group}",
            direction="p_theta in the first slot; draws with a high q^r / q in their class count "
            "more",
            equation="eq-conditional-iw-step",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "mlp",
        latent: int = 64,
        k: int = 5,
        classes: int = 10,
    ):
        check_count("k", k, "it counts the draws of a group, and k=1 is the conditional GAN")
        CGAN.__init__(self, shape=shape, network=network, latent=latent, classes=classes)
        del self.config["objective"]  # the weights are derived for the non-saturating loss only
        self.config["k"] = k
        self.k, self.power = k, 1.0

    def groups(self, batch: Batch) -> Sample:
        """k draws for the label of each data point, made once a step: value (B, k, *shape)."""

        def draw() -> Sample:
            return self.generator.sample_groups(len(batch), self.k, batch.label)

        return batch.once("groups", draw)

    def group_logits(self, x: Tensor, batch: Batch) -> Tensor:
        """a(x, c) of each draw: x (B, k, *shape) -> (B, k). Group i has the label of row i."""
        label = None if batch.label is None else batch.label.repeat_interleave(self.k)
        return self.discriminator(x.flatten(0, 1), label).unflatten(0, (-1, self.k))
