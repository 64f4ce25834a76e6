r"""Adversarially learned inference (ALI), also known as the bidirectional GAN (BiGAN).

Graphical model: a domain indicator y chooses where the *pair* (x, z) comes from. Under y = 0 the
code comes first, z ~ N(0, I), and the generator makes x = G(z); under y = 1 the image comes first,
x ~ p_data, and the encoder infers z ~ q_eta(z|x). The discriminator q_phi(y|x,z) judges pairs. When
it can do no better than guess, the two joint laws are one, and so the encoder inverts the generator
although no reconstruction was ever compared with anything.

With a(x,z) the logit of D(x,z) = q_phi(y=1|x,z), uniform p(y) and `softplus(-a) = -log D`:

    discriminator  1/2 E_{p_data q_eta} softplus(-a) + 1/2 E_{p p_theta} softplus(a)
                                                                        (eq-joint-ali-discriminator)
    joint          1/2 E_{p_data q_eta} softplus(a) + 1/2 E_{p p_theta} softplus(-a)
                                                                               (eq-joint-ali-joint)

The second line has the labels flipped on both sides, because both laws can move: it is -L_theta
with (x,z) in the place of x, and it is Lemma 1 with parameters under y = 0 *and* y = 1. Nothing is
left out: the term that is constant for a GAN is the encoder's whole objective here. It is not the
discriminator's loss with the sign reversed, which saturates.

No density is evaluated, so there is no bound on log p(x) and the model has no `log_weights`.

Paper: Dumoulin et al. 2017 and, with a deterministic encoder, Donahue et al. 2017. Left out:
noise in the generator, dropout, and the spatial discriminators for large images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unigen_edu.declarations import (
    P_Y,
    Batch,
    Factor,
    Loss,
    Model,
    Phase,
    Sample,
    Variable,
    check_count,
    expect,
    expect_codes,
)
from unigen_edu.networks import Encoder, Generator, evaluating, to_features


class Pairs(NamedTuple):
    """Pairs (x, z) and their probabilities (None: draws)."""

    x: Tensor  # (B, *shape)
    z: Tensor  # (B, latent)
    weight: Tensor | None = None


class PairGenerator(Generator):
    """p(z) p_theta(x|z): z ~ N(0, I), x = G(z)."""

    def sample_pairs(self, n: int) -> Pairs:
        """n reparameterised draws of (x, z)."""
        z = self.noise(n)
        return Pairs(self(z), z)


class PairDiscriminator(nn.Module):
    """q_phi(y=1|x,z) = sigmoid(a(x,z)): features of x and of z, then two layers on both."""

    def __init__(self, kind: str, shape: Sequence[int], latent: int):
        super().__init__()
        width = 64 if len(shape) == 1 else 256
        self.of_x = to_features(kind, shape, width)
        self.of_z = nn.Linear(latent, width)
        self.of_both = nn.Sequential(
            nn.LeakyReLU(0.2),
            nn.Linear(2 * width, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, 1),
        )

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """x (B, *shape) with codes z (d, B, latent), or (B, latent) -> logits (d, B), or (B,)."""
        of_z = self.of_z(z)
        of_x = self.of_x(x).expand_as(of_z)
        return self.of_both(torch.cat([of_x, of_z], -1)).squeeze(-1)


class ALI(Model):
    """ALI with a Gaussian encoder and a deterministic generator.

    Args:
        shape: of one sample, (C, H, W) or (dimensions,).
        network: "mlp" or "conv".
        latent: number of latent coordinates, at least 1.
    """

    name = "ali"
    title = "Adversarially learned inference"
    paper = "dumoulin2017adversarially"
    chapter = "12_joint"
    variables: ClassVar[tuple[Variable, ...]] = (
        Variable("z", r"\mathbf{z}", "latent code", observed=False),
        Variable("x", r"\mathbf{x}", "image", observed=True),
        Variable("y", "y", "domain: 0 generated pair, 1 inferred pair", observed=True),
    )
    factors: ClassVar[tuple[Factor, ...]] = (
        Factor(r"p_\theta(\mathbf{x}\mid\mathbf{z},y)", "x", ("z", "y"), "generative", "generator"),
        Factor(r"q_\eta(\mathbf{z}\mid\mathbf{x},y)", "z", ("x", "y"), "inference", "encoder"),
        Factor(r"q_\phi(y\mid\mathbf{x},\mathbf{z})", "y", ("x", "z"), "adversarial",
               "discriminator"),
    )  # fmt: skip
    phases: ClassVar[tuple[Phase, ...]] = (
        Phase(
            "discriminator",
            moves=("discriminator",),
            reduces=r"\mathbb{E}_{p_{\theta_0,\eta_0}(\mathbf{x},\mathbf{z})}\,\mathrm{KL}\big("
            r"p_{\theta_0,\eta_0}(y\mid\mathbf{x},\mathbf{z})\,\|\,"
            r"q_\phi(y\mid\mathbf{x},\mathbf{z})\big)",
            direction="q_phi in the second slot, on inferred and generated pairs alike",
            equation="eq-joint-ali-discriminator",
        ),
        Phase(
            "joint",
            moves=("encoder", "generator"),
            reduces=r"\mathbb{E}_{p(y)}\,\mathrm{KL}\big(p_{\theta,\eta}(\mathbf{x},\mathbf{z}\mid "
            r"y)\,\|\,q^r(\mathbf{x},\mathbf{z}\mid y)\big)-\mathrm{JSD}_{\theta,\eta}",
            direction="p_theta (y=0) and q_eta (y=1) in the first slot, at theta_0 and eta_0: "
            "posterior inference over pairs",
            equation="eq-joint-ali-joint",
        ),
    )

    def __init__(self, shape: Sequence[int] = (1, 28, 28), network: str = "mlp", latent: int = 32):
        check_count("latent", latent, "it counts the coordinates of a code")
        super().__init__(shape=tuple(shape), network=network, latent=latent)
        self.encoder = Encoder(network, shape, latent)
        self.generator = PairGenerator(network, shape, latent)
        self.discriminator = PairDiscriminator(network, shape, latent)

    def inferred(self, batch: Batch) -> Sample:
        """z ~ q_eta(z|x) for each data point, made once a step: value (d, B, latent).

        `d` is an axis of draws: one in training, every state of z in a finite world.
        """
        return batch.once("inferred", lambda: self.encoder(batch.x).sample())

    def generated(self, batch: Batch) -> Pairs:
        """(x, z) ~ p(z) p_theta(x|z), as many as data points, made once a step."""
        return batch.once("generated", lambda: self.generator.sample_pairs(len(batch)))

    def discriminator_loss(self, batch: Batch) -> Loss:
        """How badly q_phi(y|x,z) tells the two kinds of pairs apart, in nats.

        (eq-joint-ali-discriminator). The pairs are constants: only the discriminator moves.
        """
        z, weight_z = self.inferred(batch)
        x_g, z_g, weight_g = self.generated(batch)
        a_inferred = self.discriminator(batch.x, z.detach())
        a_g = self.discriminator(x_g.detach(), z_g)
        minus_log_q_inferred = expect_codes(F.softplus(-a_inferred), weight_z, batch)
        minus_log_q_g = expect(F.softplus(a_g), weight_g)
        with torch.no_grad():
            d_inferred = expect_codes(torch.sigmoid(a_inferred), weight_z, batch)
            d_g = expect(torch.sigmoid(a_g), weight_g)
        value = P_Y * minus_log_q_inferred + P_Y * minus_log_q_g
        return Loss(value, {"loss": value.detach(), "D(inferred)": d_inferred, "D(generated)": d_g})

    def joint_loss(self, batch: Batch) -> Loss:
        """-L_{theta,eta}: the labels flipped on both sides (eq-joint-ali-joint), in nats."""
        z, weight_z = self.inferred(batch)
        x_g, z_g, weight_g = self.generated(batch)
        encoder = P_Y * expect_codes(F.softplus(self.discriminator(batch.x, z)), weight_z, batch)
        generator = P_Y * expect(F.softplus(-self.discriminator(x_g, z_g)), weight_g)
        value = encoder + generator
        terms = {"loss": value, "encoder": encoder, "generator": generator}
        return Loss(value, {name: term.detach() for name, term in terms.items()})

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """The mean of q(z|x): (B, *shape) -> (B, latent)."""
        return self.encoder(x).mean

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """G at the mean of q(z|x), which no loss ever compared with x: (B, *shape)."""
        with evaluating(self.generator):
            return self.generator(self.encode(x))

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """`n` draws from p_g: (n, *shape), normalised by running averages, so independent."""
        with evaluating(self.generator):
            return self.generator.sample(n).value
