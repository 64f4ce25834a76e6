"""Networks for images of 28x28 or 32x32 pixels and for points in the plane.

Two kinds: `mlp` (fully connected, quick on a laptop) and `conv` (DCGAN-like). The generator of
images has batch normalisation, without which its first few hundred steps collapse to one picture.
The discriminator and the encoder have none: they must judge each image by itself, because q(y|x)
and q(z|x) are functions of one x.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from unigen_edu.declarations import Sample
from unigen_edu.densities import DiagonalNormal, bernoulli_log_prob, gaussian_log_prob
from unigen_edu.errors import UnigenError

Kind = Literal["mlp", "conv"]


def check_network(kind: str, shape: Sequence[int]) -> None:
    """Raise one sentence unless `kind` of network exists for samples of `shape`."""
    if kind not in ("mlp", "conv"):
        raise UnigenError(f"There is no network '{kind}'; choose one of: mlp, conv.")
    if len(shape) not in (1, 3) or any(int(size) < 1 for size in shape):
        raise UnigenError(
            f"Samples of shape {tuple(shape)} are not supported: use (channels, height, width) "
            "for images or (dimensions,) for points."
        )
    if kind == "conv" and (len(shape) != 3 or shape[1] != shape[2] or shape[1] not in (28, 32)):
        raise UnigenError(
            f"The conv network takes images of 28x28 or 32x32 pixels, not samples of shape "
            f"{tuple(shape)}: use network='mlp', or resize the images."
        )


def _mlp(sizes: Sequence[int], normalise: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        layers.append(nn.Linear(n_in, n_out))
        if i < len(sizes) - 2:
            if normalise:
                layers.append(nn.BatchNorm1d(n_out))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
    return nn.Sequential(*layers)


def from_latent(kind: str, latent: int, shape: Sequence[int], normalise: bool = False) -> nn.Module:
    """Network from latent codes (B, latent) to raw outputs (B, *shape), without a last activation.

    mlp: latent-256-512-pixels (points: 64-64). conv: latent-7x7x64-14x14x32-28x28 (8x8 for 32x32).
    `normalise` puts batch normalisation before each activation.
    """
    check_network(kind, shape)
    if kind == "conv":
        side = shape[1] // 4
        return nn.Sequential(
            nn.Linear(latent, 64 * side * side),
            nn.Unflatten(1, (64, side, side)),
            nn.BatchNorm2d(64) if normalise else nn.Identity(),
            nn.LeakyReLU(0.2, inplace=True),
            nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
            nn.BatchNorm2d(32) if normalise else nn.Identity(),
            nn.LeakyReLU(0.2, inplace=True),
            nn.ConvTranspose2d(32, shape[0], 4, stride=2, padding=1),
        )
    hidden = (64, 64) if len(shape) == 1 else (256, 512)
    body = _mlp((latent, *hidden, math.prod(shape)), normalise)
    return body if len(shape) == 1 else body.append(nn.Unflatten(1, tuple(shape)))


def to_features(kind: str, shape: Sequence[int], outputs: int) -> nn.Module:
    """Network from samples (B, *shape) to (B, outputs): discriminators and encoders.

    mlp: pixels-512-256-outputs (points: 64-64). conv: 14x14x32-7x7x64-outputs.
    """
    check_network(kind, shape)
    if kind == "conv":
        side = shape[1] // 4
        return nn.Sequential(
            nn.Conv2d(shape[0], 32, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(32, 64, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Flatten(),
            nn.Linear(64 * side * side, outputs),
        )
    hidden = (64, 64) if len(shape) == 1 else (512, 256)
    body = _mlp((math.prod(shape), *hidden, outputs))
    return body if len(shape) == 1 else nn.Sequential(nn.Flatten(), *body)


class Generator(nn.Module):
    """p_theta(x|y=0): x = G(z), z ~ N(0, I). Images leave through a sigmoid, points as they are."""

    def __init__(self, kind: str, shape: Sequence[int], latent: int):
        super().__init__()
        self.shape = tuple(shape)
        self.latent = latent
        self.body = from_latent(kind, latent, shape, normalise=len(shape) == 3)
        self.to_unit = nn.Sigmoid() if len(shape) == 3 else nn.Identity()

    def forward(self, z: Tensor) -> Tensor:
        """z (B, latent) -> x (B, *shape)."""
        if self.training and len(z) < 2 and len(self.shape) == 3:
            raise UnigenError(
                "Batch normalisation has nothing to average over a single generated image: "
                "train with a batch_size of at least 2."
            )
        return self.to_unit(self.body(z))

    def noise(self, n: int) -> Tensor:
        """n codes z ~ N(0, I): (n, latent)."""
        like = next(self.parameters())
        return torch.randn(n, self.latent, dtype=like.dtype, device=like.device)

    def sample(self, n: int) -> Sample:
        """n reparameterised draws: value (n, *shape)."""
        return Sample(self(self.noise(n)))

    def sample_groups(self, n: int, k: int) -> Sample:
        """n groups of k independent draws, for importance weighting: value (n, k, *shape)."""
        return Sample(self(self.noise(n * k)).unflatten(0, (n, k)))


class Discriminator(nn.Module):
    """q_phi(y=1|x) = sigmoid(a(x)): the network returns the logit a."""

    def __init__(self, kind: str, shape: Sequence[int]):
        super().__init__()
        self.body = to_features(kind, shape, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, *shape) -> logits (B,)."""
        return self.body(x).squeeze(-1)


class Encoder(nn.Module):
    """q_eta(z|x): a Gaussian with diagonal covariance for each x."""

    def __init__(self, kind: str, shape: Sequence[int], latent: int):
        super().__init__()
        self.body = to_features(kind, shape, 2 * latent)

    def forward(self, x: Tensor) -> DiagonalNormal:
        """x (B, *shape) -> q(.|x), mean and log-variance (B, latent) each."""
        mean, log_var = self.body(x).chunk(2, -1)
        return DiagonalNormal(mean, log_var)


class Decoder(nn.Module):
    """p_theta(x|z): Bernoulli pixels, or a Gaussian with one learned scale for all dimensions."""

    def __init__(self, kind: str, shape: Sequence[int], latent: int, likelihood: str):
        super().__init__()
        self.shape = tuple(shape)
        self.latent = latent
        self.likelihood = likelihood
        self.body = from_latent(kind, latent, shape)
        if likelihood == "gaussian":
            self.log_var = nn.Parameter(torch.zeros(()))

    def forward(self, z: Tensor) -> Tensor:
        """The mean of x given z: (*batch, latent) -> (*batch, *shape)."""
        raw = self._raw(z)
        bounded = self.likelihood == "bernoulli" or len(self.shape) == 3
        return torch.sigmoid(raw) if bounded else raw

    def log_prob(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z), summed over the event: x (B, *shape), z (k, B, latent) -> (k, B)."""
        if self.likelihood == "bernoulli":
            return bernoulli_log_prob(x, self._raw(z), batch_dims=z.dim() - 1)
        return gaussian_log_prob(x, self(z), self.log_var, batch_dims=z.dim() - 1)

    def sample(self, z: Tensor) -> Tensor:
        """One draw of x given z: (*batch, latent) -> (*batch, *shape); pixels stay in [0, 1]."""
        mean = self(z)
        if self.likelihood == "bernoulli":
            return torch.bernoulli(mean)
        draw = mean + torch.exp(0.5 * self.log_var) * torch.randn_like(mean)
        return draw.clamp(0.0, 1.0) if len(self.shape) == 3 else draw

    def _raw(self, z: Tensor) -> Tensor:
        return self.body(z.reshape(-1, z.shape[-1])).reshape(*z.shape[:-1], *self.shape)
