r"""Importance weighted GAN: a GAN whose generator step weighs k draws at a time.

Graphical model: that of the GAN. Draws come in groups of k. In a group, draw i has the weight
w_i = q^r(y=0|x_i) / q(y=0|x_i) = exp(a(x_i)), so the normalised weights are the softmax of the
discriminator's logits over the group. They are constants of the step: no gradient flows into them.

    generator: - 1/2 E [ sum_i  w~_i  log D(x_i) ]        (eq-iwgan-step, the negative of eq. 7)

k = 1 is the GAN. For k > 1 this field is the gradient of no objective (eq-iwgan-curl); chapter 15
says what it is instead. The discriminator's step is unchanged: it judges one draw of each group.

With the option `power` t, draws are weighed by exp(t a(x_i)) instead. t = 0 is the control of an
experiment: as many draws, alike in weight, and so the step of the GAN with less noise. What the
weights do can then be told from what more draws do.

Paper: Hu et al. 2018, after the IWAE of Burda et al. 2016. Left out: the doubly reparameterised
gradient, which the chapter derives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from unigen_edu.declarations import P_Y, Batch, Loss, Phase, Sample, check_count, expect
from unigen_edu.errors import UnigenError
from unigen_edu.models.gan import GAN


class IWGAN(GAN):
    """GAN + importance weights.

    Args:
        shape, network, latent: as for `GAN`.
        k: draws per group, at least 1.
        power: of the weights, at least 0: 1 is the paper's, 0 weighs all draws alike.
    """

    name = "iwgan"
    title = "Importance weighted GAN"
    paper = "hu2018unifying"
    chapter = "15_iwgan"
    phases: ClassVar[tuple[Phase, ...]] = (
        GAN.phases[0],
        Phase(
            "generator",
            moves=("generator",),
            reduces=r"-\mathbb{E}\Big[\textstyle\sum_i\tilde w_i\log q^r_{\phi_0}"
            r"(y{=}0\mid\mathbf{x}_i)\Big],\ \tilde w\text{ constant}",
            direction="p_theta in the first slot; draws with a high q^r / q count more",
            equation="eq-iwgan-step",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "mlp",
        latent: int = 64,
        k: int = 5,
        power: float = 1.0,
    ):
        check_count("k", k, "it counts the draws of a group, and k=1 is the GAN")
        number = isinstance(power, int | float) and not isinstance(power, bool)
        if not (number and 0.0 <= power < math.inf):
            raise UnigenError(
                f"power is {power!r}, but the weights are raised to it: give a number of at least "
                "0; 1 is the paper's, and 0 weighs all draws alike."
            )
        super().__init__(shape=shape, network=network, latent=latent)
        del self.config["objective"]  # the weights are derived for the non-saturating loss only
        self.config["k"] = k
        if power != 1.0:
            self.config["power"] = power
        self.k, self.power = k, power

    def groups(self, batch: Batch) -> Sample:
        """A group of k draws per data point, made once a step: value (B, k, *shape)."""
        return batch.once("groups", lambda: self.generator.sample_groups(len(batch), self.k))

    def generated(self, batch: Batch) -> Sample:
        """The first draw of each group: value (B, *shape)."""
        value, weight = self.groups(batch)
        return Sample(value[:, 0], weight)

    def group_logits(self, x: Tensor, batch: Batch) -> Tensor:
        """a(x) of each draw: x (B, k, *shape) -> (B, k). Group i belongs to row i of the batch."""
        return self.discriminator(x.flatten(0, 1)).unflatten(0, (-1, self.k))

    def generator_loss(self, batch: Batch) -> Loss:
        """The surrogate whose gradient is minus eq. (7), averaged over p(y)."""
        x, weight = self.groups(batch)
        a = self.group_logits(x, batch)
        w = torch.softmax(self.power * a.detach(), dim=1)
        value = P_Y * expect((w * F.softplus(-a)).sum(1), weight)
        effective = expect(1.0 / w.square().sum(1), weight)
        return Loss(value, {"loss": value.detach(), "effective draws": effective})
