r"""Adversarial discriminative domain adaptation (ADDA): a GAN whose data are source features.

Graphical model: that of `ADA`, but each domain has an encoder of its own,

    y = 1   f = E(x)   the source's encoder, trained with the labels alone;
    y = 0   f = T(x)   the target's encoder, trained to make features like those of the source.

In the adversarial phases the source's features are *data*: no gradient flows into E. So under
y = 1 theta is absent, and this is the GAN of Lemma 1, word for word, with T as its generator.

    discriminator  1/2 E_source softplus(-a(E(x))) + 1/2 E_target softplus(a(T(x)))
                                                                              (eq-domains-phi)
    target         1/2 E_target softplus(-a(T(x)))                            (eq-domains-adda)
    source         1/2 E_source[-log q_omega(c|E(x))]                         (eq-domains-source)

T starts as a copy of E: without that nothing would tell T which of the source's classes a feature
should resemble. The paper trains E to its end, copies it and freezes it. Here the phases alternate
from the first step, and T is E moved by an *offset* of every parameter, which starts at zero and is
all that the target's phase moves,

    T = E with parameters  theta_E + rate * offset.

While E learns, T learns with it; when E rests, its features are frozen, and the phases are those of
the paper. The rate must be small: T may leave E only after E has learned the labels. At rate 1 it
leaves at once, matches the source's features with the classes exchanged, and reads the target at
the level of chance while the discriminator is perfectly deceived.

Paper: Tzeng et al. 2017.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from unigen_edu.declarations import P_Y, Batch, Factor, Loss, Phase, Sample, expect
from unigen_edu.errors import UnigenError
from unigen_edu.models.ada import ADA, FeatureEncoder, known_label, second_domain


class OffsetEncoder(nn.Module):
    """The target's encoder: another encoder with every parameter moved by `rate` x an offset."""

    def __init__(self, encoder: FeatureEncoder, rate: float):
        super().__init__()
        self.rate = rate
        self.offsets = nn.ParameterList(torch.zeros_like(p) for p in encoder.parameters())

    def parameters_of(self, encoder: FeatureEncoder) -> dict[str, Tensor]:
        """The moved parameters. Those of `encoder` are constants: only the offsets are learned."""
        named = zip(encoder.named_parameters(), self.offsets, strict=True)
        return {name: p.detach() + self.rate * offset for (name, p), offset in named}

    def forward(self, encoder: FeatureEncoder, x: Tensor, weight: Tensor | None = None) -> Sample:
        """What `encoder` with the moved parameters makes of x and weight."""
        return functional_call(encoder, self.parameters_of(encoder), (x, weight))


class ADDA(ADA):
    """ADA with an encoder for each domain.

    Args:
        shape, network, classes, features: as for `ADA`.
        rate: of the target's encoder, above 0 and at most 1: how far it moves for one unit of its
            offsets, and so how much more slowly than the source's it may move.
    """

    name = "adda"
    title = "Adversarial discriminative domain adaptation"
    paper = "tzeng2017adversarial"
    factors = (
        ADA.factors[0],
        Factor(r"p(\mathbf{f}\mid\mathbf{x},y{=}1)", "f", ("x", "y"), "generative", "encoder"),
        Factor(
            r"p_\theta(\mathbf{f}\mid\mathbf{x},y{=}0)",
            "f",
            ("x", "y"),
            "generative",
            "target_encoder",
        ),
        *ADA.factors[2:],
    )
    phases = (
        ADA.phases[0],
        Phase(
            "target",
            moves=("target_encoder",),
            reduces=r"\mathbb{E}_{p(y)}\,\mathrm{KL}\big(p_\theta(\mathbf{f}\mid y)\,\|\,"
            r"q^r(\mathbf{f}\mid y)\big)-\mathrm{JSD}_\theta",
            direction="p_theta in the first slot, under y=0 only, at theta_0: a GAN on features",
            equation="eq-domains-adda",
        ),
        Phase(
            "source",
            moves=("encoder", "classifier"),
            reduces=r"\tfrac12\big[\mathbb{E}_{p(\mathbf{f}\mid y=1)}\,\mathrm{KL}\big("
            r"p(c\mid\mathbf{f},y{=}1)\,\|\,q_\omega(c\mid\mathbf{f})\big)"
            r"-I(\mathbf{f};c\mid y{=}1)\big]",
            direction="q_omega in the second slot; the encoder keeps what the labels say",
            equation="eq-domains-source",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "mlp",
        classes: int = 10,
        features: int = 64,
        rate: float = 0.05,
    ):
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0.0 < rate <= 1.0:
            raise UnigenError(
                f"rate is {rate!r}, but it says how far the target's encoder moves for a step of "
                "its offsets: give a number above 0 and at most 1."
            )
        super().__init__(shape=shape, network=network, classes=classes, features=features)
        del self.config["strength"]  # it would only scale the target's loss
        self.config["rate"] = rate
        self.rate = rate
        self.target_encoder = OffsetEncoder(self.encoder, rate)

    def target(self, batch: Batch) -> Sample:
        images = second_domain(batch)
        return batch.once(
            "target", lambda: self.target_encoder(self.encoder, images.x, images.weight)
        )

    def target_loss(self, batch: Batch) -> Loss:
        """The non-saturating loss of a GAN on features (eq-domains-adda), in nats."""
        target = self.target(batch)
        value = P_Y * expect(F.softplus(-self.discriminator(target.value)), target.weight)
        return Loss(value, {"loss": value.detach()})

    def source_loss(self, batch: Batch) -> Loss:
        """Half the cross-entropy of the source's labels (eq-domains-source), in nats."""
        value = -self.label_log_score(self.source(batch), known_label(batch))
        return Loss(value, {"loss": value.detach()})

    def target_features(self, x: Tensor) -> Tensor:
        return self.target_encoder(self.encoder, x).value
