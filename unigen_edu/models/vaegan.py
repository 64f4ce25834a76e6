r"""VAE/GAN: a variational autoencoder whose measure of similarity is learned by a GAN.

Graphical model: z ~ N(0, I) generates x through the decoder p_theta(x|z); the encoder q_eta(z|x)
infers z from x. The domain y = 0 has two sources, each as frequent as the data (y = 1): samples,
decoded from the prior, and reconstructions x', decoded from q_eta(z|x). So p(y=0) = 2/3.
Pixels are never compared. With f(x) the last hidden layer of the discriminator,

    log p(f(x)|z) = log N(f(x); f(x'), I),   x' decoded from z          (eq-joint-vaegan-similarity)

takes the place of log p_theta(x|z). a(x) is the logit of D(x); the 1/3 are the shares of the
sources. Each phase sends its gradient where the paper does, and nowhere else:

    encoder        E_{p_data} [ KL(q_eta(z|x) || p(z)) - E_q log p(f(x)|z) ]
                                                                           (eq-joint-vaegan-encoder)
    decoder        1/3 [ -gamma E log p(f(x)|z) + E softplus(-a(x')) + E_{p_g} softplus(-a(x)) ]
                                                                           (eq-joint-vaegan-decoder)
    discriminator  1/3 [ E_{p_data} softplus(-a(x)) + E softplus(a(x')) + E_{p_g} softplus(a(x)) ]
                                                                     (eq-joint-vaegan-discriminator)

The encoder never sees the game. The discriminator never sees the similarity, which it could make
perfect by looking at nothing. All phases use the draws of one forward pass, as in the paper.

What is exact: in the first two phases f is a constant. The encoder's phase is variational inference
of z from f(x), and the decoder's is Lemma 1 with the similarity as a second score. What is not: the
bound is one on log p(f(x)), whose meaning moves with phi. It bounds no log p(x), so the model has
no `log_weights`; and the three phases descend no common objective. The paper's own decoder descends
the saturating E log(1 - D), which has another target than Lemma 1's: objective="minimax".

Paper: Larsen et al. 2016. Left out: its networks for faces, and arithmetic with attributes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unigen_edu.declarations import (
    Batch,
    Factor,
    Loss,
    Model,
    Phase,
    Sample,
    Variable,
    check_choice,
    check_count,
    constant,
    expect,
)
from unigen_edu.densities import DiagonalNormal, gaussian_log_prob
from unigen_edu.errors import UnigenError
from unigen_edu.networks import Encoder, Generator, evaluating, to_features

P_SOURCE = 1.0 / 3.0  # data, reconstructions and samples come in equal numbers


class ImageDecoder(Generator):
    """p_theta(x|z): one image for each code."""

    def given(self, z: Tensor) -> Sample:
        """One draw of x for each code: z (*batch, latent) -> value (1, *batch, *shape)."""
        return Sample(self(z.flatten(0, -2)).unflatten(0, (1, *z.shape[:-1])))


class FeatureDiscriminator(nn.Module):
    """q_phi(y=1|x) = sigmoid(a(x)), with the layer f(x) on which the logit a is linear.

    Each f(x) is normalised over its own coordinates. That fixes the unit in which the similarity,
    whose variance is 1, measures a difference. (The paper normalises over the batch; but q(y|x) is
    to be a function of one x.)
    """

    def __init__(self, kind: str, shape: Sequence[int]):
        super().__init__()
        self.shape = tuple(shape)
        *hidden, head = to_features(kind, shape, 1).children()
        assert isinstance(head, nn.Linear)
        normalise = nn.LayerNorm(head.in_features, elementwise_affine=False)
        self.body, self.head = nn.Sequential(*hidden, normalise), head

    def features(self, x: Tensor) -> Tensor:
        """f(x): (*batch, *shape) -> (*batch, features)."""
        batch = x.shape[: x.dim() - len(self.shape)]
        return self.body(x.reshape(-1, *self.shape)).reshape(*batch, -1)

    def judge(self, features: Tensor) -> Tensor:
        """The logit a of features: (*batch, features) -> (*batch,)."""
        return self.head(features).squeeze(-1)

    def forward(self, x: Tensor) -> Tensor:
        """x (*batch, *shape) -> logits (*batch,)."""
        return self.judge(self.features(x))


def expect_path(value: Tensor, x_r: Sample, z: Sample, batch: Batch) -> Tensor:
    """E over the path x -> z -> x' of value (d, d, B): over x' given z, over z given x, over x."""
    return expect(expect(expect(value, x_r.weight, 0), z.weight, 0), batch.weight)


class VAEGAN(Model):
    """VAE/GAN with the similarity measured in the last hidden layer of the discriminator.

    Args:
        shape: of one sample, (C, H, W) or (dimensions,).
        network: "mlp" or "conv".
        latent: number of latent coordinates, at least 1.
        gamma: weight of the similarity against the game in the decoder's phase, above 0.
        objective: of the decoder's part in the game, "non-saturating" or, as in the paper,
            "minimax".
    """

    name = "vaegan"
    title = "VAE/GAN"
    paper = "larsen2016autoencoding"
    chapter = "12_joint"
    variables: ClassVar[tuple[Variable, ...]] = (
        Variable("z", r"\mathbf{z}", "latent code", observed=False),
        Variable("x", r"\mathbf{x}", "image", observed=True),
        Variable("y", "y", "domain: 0 sample or reconstruction, 1 data", observed=True),
    )
    factors: ClassVar[tuple[Factor, ...]] = (
        Factor(r"p_\theta(\mathbf{x}\mid\mathbf{z},y)", "x", ("z", "y"), "generative", "decoder"),
        Factor(r"q_\eta(\mathbf{z}\mid\mathbf{x})", "z", ("x",), "inference", "encoder"),
        Factor(r"q_\phi(y\mid\mathbf{x})", "y", ("x",), "adversarial", "discriminator"),
    )
    phases: ClassVar[tuple[Phase, ...]] = (
        Phase(
            "encoder",
            moves=("encoder",),
            reduces=r"\mathbb{E}_{p_{data}(\mathbf{x})}\,\mathrm{KL}\big(q_\eta(\mathbf{z}\mid"
            r"\mathbf{x})\,\|\,p_{\theta_0}(\mathbf{z}\mid f_{\phi_0}(\mathbf{x}))\big)",
            direction="q_eta in the first slot; the posterior is that of the features",
            equation="eq-joint-vaegan-encoder",
        ),
        Phase(
            "decoder",
            moves=("decoder",),
            reduces=r"\mathbb{E}_{p(y,s)}\,\mathrm{KL}\big(p_\theta(\mathbf{x}\mid y,s)\,\|\,"
            r"q^r(\mathbf{x}\mid y,s)\big)-\mathrm{JSD}_\theta-I_\theta(\mathbf{x};s\mid y)",
            direction="p_theta in the first slot, at theta_0; s is the source: the prior, or the "
            "image to be reconstructed",
            equation="eq-joint-vaegan-decoder",
        ),
        Phase(
            "discriminator",
            moves=("discriminator",),
            reduces=r"\mathbb{E}_{p_{\theta_0}(\mathbf{x})}\,"
            r"\mathrm{KL}\big(p_{\theta_0}(y\mid\mathbf{x})\,\|\,q_\phi(y\mid\mathbf{x})\big)",
            direction="q_phi in the second slot, on data and both kinds of dreams",
            equation="eq-joint-vaegan-discriminator",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "mlp",
        latent: int = 32,
        gamma: float = 0.1,
        objective: str = "non-saturating",
    ):
        check_choice("objective", objective, ("non-saturating", "minimax"))
        number = isinstance(gamma, int | float) and not isinstance(gamma, bool)
        if not (number and 0 < gamma < math.inf):
            raise UnigenError(
                f"gamma is {gamma!r}, but it weighs the similarity: give a number above 0."
            )
        check_count("latent", latent, "it counts the coordinates of a code")
        super().__init__(
            shape=tuple(shape), network=network, latent=latent, gamma=gamma, objective=objective
        )
        self.gamma = gamma
        self.objective = objective
        self.encoder = Encoder(network, shape, latent)
        self.decoder = ImageDecoder(network, shape, latent)
        self.discriminator = FeatureDiscriminator(network, shape)

    # One forward pass serves the three phases: what a phase does not move is a constant of it.
    # `d` are leading axes of draws: one draw each in training, every state in a finite world.

    def posterior(self, batch: Batch) -> DiagonalNormal:
        """q_eta(.|x) of each data point."""
        return batch.once("posterior", lambda: self.encoder(batch.x))

    def encoded(self, batch: Batch) -> Sample:
        """z ~ q_eta(z|x): value (d, B, latent)."""
        return batch.once("encoded", lambda: self.posterior(batch).sample())

    def reconstructed(self, batch: Batch) -> Sample:
        """x' ~ p_theta(x|z) for these codes, taken as constants: value (d, d, B, *shape)."""
        z = constant(self.encoded(batch))
        return batch.once("reconstructed", lambda: self.decoder.given(z.value))

    def generated(self, batch: Batch) -> Sample:
        """As many draws from p_g, decoded from the prior: value (B, *shape)."""
        return batch.once("generated", lambda: self.decoder.sample(len(batch)))

    def similarity(self, batch: Batch, f_made: Tensor) -> Tensor:
        """log N(f(x); f(x'), I) with f(x) constant (eq-joint-vaegan-similarity): (d, d, B) nats.

        f_made: f(x'), (d, d, B, features).
        """
        with torch.no_grad():
            f_x = batch.once("features", lambda: self.discriminator.features(batch.x))
        return gaussian_log_prob(f_x, f_made, f_x.new_zeros(()), batch_dims=f_made.dim() - 1)

    def encoder_loss(self, batch: Batch) -> Loss:
        """-ELBO of the features, averaged over the batch (eq-joint-vaegan-encoder), in nats."""
        z = self.encoded(batch)
        x_r = self.decoder.given(z.value)
        log_p = self.similarity(batch, self.discriminator.features(x_r.value))
        similarity = expect_path(log_p, x_r, z, batch)
        kl = expect(self.posterior(batch).kl_q_p(), batch.weight)
        value = kl - similarity
        terms = {"loss": value, "similarity": similarity, "KL(q||p)": kl}
        return Loss(value, {name: term.detach() for name, term in terms.items()})

    def decoder_loss(self, batch: Batch) -> Loss:
        """The similarity and the game (eq-joint-vaegan-decoder), up to a term without theta."""
        z = constant(self.encoded(batch))
        x_r, x_g = self.reconstructed(batch), self.generated(batch)
        f_r = self.discriminator.features(x_r.value)
        similarity = expect_path(self.similarity(batch, f_r), x_r, z, batch)
        a_r, a_g = self.discriminator.judge(f_r), self.discriminator(x_g.value)
        sign = -1.0 if self.objective == "minimax" else 1.0
        game = expect_path(sign * F.softplus(-sign * a_r), x_r, z, batch)
        game = game + expect(sign * F.softplus(-sign * a_g), x_g.weight)
        value = P_SOURCE * (game - self.gamma * similarity)
        terms = {"loss": value, "similarity": similarity, "game": P_SOURCE * game}
        return Loss(value, {name: term.detach() for name, term in terms.items()})

    def discriminator_loss(self, batch: Batch) -> Loss:
        """-L_phi with p(y=0) = 2/3 (eq-joint-vaegan-discriminator), in nats."""
        z, x_r, x_g = (
            constant(made)
            for made in (self.encoded(batch), self.reconstructed(batch), self.generated(batch))
        )
        a_data, a_r, a_g = (self.discriminator(x) for x in (batch.x, x_r.value, x_g.value))
        minus_log_q = (
            expect(F.softplus(-a_data), batch.weight)
            + expect_path(F.softplus(a_r), x_r, z, batch)
            + expect(F.softplus(a_g), x_g.weight)
        )
        value = P_SOURCE * minus_log_q
        with torch.no_grad():
            terms = {
                "loss": value.detach(),
                "D(data)": expect(torch.sigmoid(a_data), batch.weight),
                "D(reconstructed)": expect_path(torch.sigmoid(a_r), x_r, z, batch),
                "D(generated)": expect(torch.sigmoid(a_g), x_g.weight),
            }
        return Loss(value, terms)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """The mean of q(z|x): (B, *shape) -> (B, latent)."""
        return self.encoder(x).mean

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """The image decoded from the mean of q(z|x): (B, *shape) -> (B, *shape)."""
        with evaluating(self.decoder):
            return self.decoder(self.encode(x))

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """`n` draws from p_g: (n, *shape), normalised by running averages, so independent."""
        with evaluating(self.decoder):
            return self.decoder.sample(n).value
