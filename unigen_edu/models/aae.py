r"""Adversarial autoencoder: a GAN that plays on codes, and a decoder that keeps them meaningful.

Graphical model: an InfoGAN with image and code exchanged. Under y = 0 a code is made from a data
point, z ~ p_theta(z|x): the encoder is the generator. Under y = 1 it is drawn from the prior,
z ~ N(0, I), which plays the part of the data. The discriminator q_phi(y|z) tells the two apart, and
the decoder q_eta(x|z) is the recogniser: it must find the image in the code.

    discriminator   1/2 E_{p(z)} softplus(-a) + 1/2 E_{p_data p_theta(z|x)} softplus(a)
                                                                              (eq-codes-aae-phi)
    encoder         1/2 E_{p_data p_theta(z|x)} [ -log D(z) - lambda log q_eta(x|z) ]
                                                                                  (eq-codes-aae)
    decoder         E_{p_data p_theta0(z|x)} [ -log q_eta(x|z) ]          (eq-codes-aae-decoder)

The encoder's gradient at theta_0 is that of E KL - JSD - 1/2 I_theta(x; z), as for InfoGAN: the JSD
compares the aggregated posterior, the law of all codes, with the prior. The log-likelihood sums
over pixels, the average is over the batch.

The encoder may be deterministic, z = f(x), or Gaussian. There is no bound on log p(x) here: nothing
in the loss needs the density of a code. As with InfoGAN's recogniser, the encoder and the decoder
move in phases of their own; the paper moves them together on the reconstruction, and the encoder
once more on -log D, which is the same encoder loss with a weight that Adam chooses.

Paper: Makhzani et al. 2016. Left out: priors with classes, dimensionality reduction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unigen_edu.data import Dataset
from unigen_edu.declarations import (
    P_Y,
    Batch,
    Factor,
    Loss,
    Model,
    Phase,
    Sample,
    Variable,
    check_choice,
    check_count,
    check_likelihood,
    check_strength,
    expect,
    expect_codes,
    from_both_sides,
)
from unigen_edu.networks import Decoder, Discriminator, Encoder, to_features
from unigen_edu.noise import normal


class PointMass:
    """p(z|x) with all its mass at one code, the image of x. mean: (B, L)."""

    def __init__(self, mean: Tensor):
        self.mean = mean

    def sample(self) -> Sample:
        """The code, with a leading axis for the draws: value (1, B, L)."""
        return Sample(self.mean.unsqueeze(0))


class PointEncoder(nn.Module):
    """z = f(x): an encoder without noise."""

    def __init__(self, kind: str, shape: Sequence[int], latent: int):
        super().__init__()
        self.body = to_features(kind, shape, latent)

    def forward(self, x: Tensor) -> PointMass:
        """x (B, *shape) -> p(.|x) at a code (B, latent)."""
        return PointMass(self.body(x))


class AAE(Model):
    """Adversarial autoencoder.

    Args:
        shape: of one sample, (C, H, W) or (dimensions,).
        network: "mlp" or "conv", for encoder and decoder; codes are judged by a small mlp.
        latent: coordinates of the code, at least 1.
        posterior: "deterministic" or "gaussian", the encoder's law p_theta(z|x).
        likelihood: "bernoulli" or "gaussian", the decoder's law q_eta(x|z).
        strength: lambda, the exponent of q_eta(x|z), at least 0. With 1, hundreds of pixels
            outvote the one judge, and the codes spread beyond the prior.
    """

    encoder: nn.Module

    name = "aae"
    title = "Adversarial autoencoder"
    paper = "makhzani2016adversarial"
    chapter = "08_codes"
    variables: ClassVar[tuple[Variable, ...]] = (
        Variable("x", r"\mathbf{x}", "image", observed=True),
        Variable("z", r"\mathbf{z}", "code", observed=False),
        Variable("y", "y", "domain of the code: 0 from an image, 1 from the prior", observed=True),
    )
    factors: ClassVar[tuple[Factor, ...]] = (
        Factor(r"p_\theta(\mathbf{z}\mid\mathbf{x},y)", "z", ("x", "y"), "generative", "encoder"),
        Factor(r"q_\eta(\mathbf{x}\mid\mathbf{z})", "x", ("z",), "inference", "decoder"),
        Factor(r"q_\phi(y\mid\mathbf{z})", "y", ("z",), "adversarial", "discriminator"),
    )
    phases: ClassVar[tuple[Phase, ...]] = (
        Phase(
            "discriminator",
            moves=("discriminator",),
            reduces=r"\mathbb{E}_{p_{\theta_0}(\mathbf{z})}\,"
            r"\mathrm{KL}\big(p_{\theta_0}(y\mid\mathbf{z})\,\|\,q_\phi(y\mid\mathbf{z})\big)",
            direction="q_phi in the second slot, on codes of both domains: a sleep step",
            equation="eq-codes-aae-phi",
        ),
        Phase(
            "encoder",
            moves=("encoder",),
            reduces=r"\mathbb{E}_{p(\mathbf{x},y)}\,\mathrm{KL}\big(p_\theta(\mathbf{z}\mid"
            r"\mathbf{x},y)\,\|\,q^r(\mathbf{z}\mid\mathbf{x},y)\big)-\mathrm{JSD}_\theta"
            r"-\tfrac12 I_\theta(\mathbf{x};\mathbf{z})",
            direction="p_theta in the first slot, at theta_0; the target holds q_eta(x|z)^lambda",
            equation="eq-codes-aae",
        ),
        Phase(
            "decoder",
            moves=("decoder",),
            reduces=r"\mathbb{E}_{p_{\theta_0}(\mathbf{z}\mid y=0)}\,\mathrm{KL}\big(p_{\theta_0}"
            r"(\mathbf{x}\mid\mathbf{z})\,\|\,q_\eta(\mathbf{x}\mid\mathbf{z})\big)",
            direction="q_eta in the second slot, on the codes of the data",
            equation="eq-codes-aae-decoder",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "mlp",
        latent: int = 8,
        posterior: str = "deterministic",
        likelihood: str = "bernoulli",
        strength: float = 0.1,
    ):
        check_choice("posterior", posterior, ("deterministic", "gaussian"))
        check_likelihood(likelihood, shape)
        check_count("latent", latent, "it counts the coordinates of a code")
        check_strength(strength, "the reconstruction")
        super().__init__(
            shape=tuple(shape),
            network=network,
            latent=latent,
            posterior=posterior,
            likelihood=likelihood,
            strength=strength,
        )
        self.latent = latent
        self.strength = strength
        noisy = posterior == "gaussian"
        self.encoder = (Encoder if noisy else PointEncoder)(network, shape, latent)
        self.decoder = Decoder(network, shape, latent, likelihood)
        self.discriminator = Discriminator("mlp", (latent,))

    def prior(self, n: int) -> Sample:
        """n draws from p(z) = N(0, I): value (n, latent)."""
        like = next(self.parameters())
        return Sample(normal(n, self.latent, like=like))

    def codes(self, batch: Batch) -> Sample:
        """One code for each data point, made once a step: value (1, B, latent)."""
        return batch.once("codes", lambda: self.encoder(batch.x).sample())

    def style(self, code: Tensor) -> Tensor:
        """The part of a code that has the prior p(z): all of it."""
        return code

    def judged(self, code: Tensor) -> dict[str, Tensor]:
        """The logit that each discriminator gives to the codes: (1, B, latent) -> (1, B)."""
        return {"-log D": self.discriminator(self.style(code))}

    def discriminator_loss(self, batch: Batch) -> Loss:
        """How badly q_phi(y|z) tells codes from the prior (eq-codes-aae-phi), in nats."""
        code, weight = self.codes(batch)
        styles = Sample(self.style(code), weight)
        return self.tell_apart(self.discriminator, self.prior(len(batch)), styles, batch)

    def encoder_loss(self, batch: Batch) -> Loss:
        """1/2 E[-log D(z) - lambda log q(x|z)] in nats (eq-codes-aae)."""
        code, weight = self.codes(batch)
        judged = self.judged(code)
        adversarial = {n: expect_codes(F.softplus(-a), weight, batch) for n, a in judged.items()}
        reconstruction = self.reconstruction(batch, moving="encoder")
        value = P_Y * (sum(adversarial.values()) + self.strength * reconstruction)
        terms = {"loss": value, **adversarial, "-log q(x|z)": reconstruction}
        return Loss(value, {name: term.detach() for name, term in terms.items()})

    def decoder_loss(self, batch: Batch) -> Loss:
        """E[-log q(x|z)] in nats, on the codes of theta_0 (eq-codes-aae-decoder)."""
        value = self.reconstruction(batch, moving="decoder")  # and not the encoder
        return Loss(value, {"loss": value.detach()})

    def reconstruction(self, batch: Batch, moving: str) -> Tensor:
        """E[-log q(x|z)] in nats, with its gradient in the "encoder" or in the "decoder".

        The phase that comes first makes it for both; the decoder may not move in between.
        """

        def cost(codes: Sample) -> Tensor:
            log_q = self.decoder.log_prob(batch.x, codes.value)
            return -expect_codes(log_q, codes.weight, batch)

        return batch.one_of_both(
            "reconstruction",
            ("encoder", "decoder").index(moving),
            lambda: from_both_sides(cost, self.codes(batch), self.decoder),
        )

    def tell_apart(self, judge: nn.Module, real: Sample, made: Sample, batch: Batch) -> Loss:
        """-1/2 E_prior log D - 1/2 E_codes log(1 - D) of one judge; the codes are detached."""
        a_prior, a_code = judge(real.value), judge(made.value.detach())
        minus_log_q_prior = expect(F.softplus(-a_prior), real.weight)
        minus_log_q_code = expect_codes(F.softplus(a_code), made.weight, batch)
        with torch.no_grad():
            d_prior = expect(torch.sigmoid(a_prior), real.weight)
            d_code = expect_codes(torch.sigmoid(a_code), made.weight, batch)
        value = P_Y * minus_log_q_prior + P_Y * minus_log_q_code
        return Loss(value, {"loss": value.detach(), "D(prior)": d_prior, "D(codes)": d_code})

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """The mean of p(z|x): (B, *shape) -> (B, latent)."""
        return self.encoder(x).mean

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """The mean of q(x|z) at the code of each x: (B, *shape) -> (B, *shape)."""
        return self.decoder(self.encode(x))

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Means of q(x|z) at n draws from the prior: (n, *shape)."""
        return self.decoder(self.prior(n).value)

    @torch.no_grad()
    def own_metrics(self, test_set: Dataset) -> dict[str, float]:
        """How well the two promises are kept, on real test images (at most 2000).

        unexplained_variance: squared error of the reconstructions over the variance of the images;
            0 is perfect, 1 is what the mean image reaches.
        codes_vs_prior: `energy_coefficient` between the codes and as many draws from the prior;
            about 0 for equal laws.
        """
        x = test_set.images(slice(0, 2000))
        error = (self.reconstruct(x) - x).square().mean()
        z = self.style(self.encoder(x).sample().value[0])
        return {
            "unexplained_variance": (error / (x - x.mean(0)).square().mean()).item(),
            "codes_vs_prior": energy_coefficient(z, self.prior(len(z)).value).item(),
        }


def energy_coefficient(a: Tensor, b: Tensor) -> Tensor:
    """1 - (E|a-a'| + E|b-b'|) / (2 E|a-b|): 0 for equal laws, below 1 for any others.

    A two-sample statistic without a network or a bandwidth (energy distance over its scale, with
    Euclidean norms; Szekely & Rizzo 2013). Pairs of a point with itself are left out, so equal
    laws give 0 on average up to the division, and a small negative number is possible.

    Args:
        a, b: (n, L) and (m, L), at least two points each. Memory grows as n m.
    """
    n, m = len(a), len(b)
    within = torch.cdist(a, a).sum() / (n * (n - 1)) + torch.cdist(b, b).sum() / (m * (m - 1))
    return 1.0 - within / (2.0 * torch.cdist(a, b).mean())
