"""Networks for images of 28x28 or 32x32 pixels and for points in the plane.

Two kinds: `mlp` (fully connected, quick on a laptop) and `conv` (DCGAN-like). The generator of
images has batch normalisation, without which its first few hundred steps collapse to one picture.
The discriminator and the encoder have none: they must judge each image by itself, because q(y|x)
and q(z|x) are functions of one x.

With `classes` a network is conditional on a label c (B,) int64, which enters in one of two ways:

* networks from z: c stands beside z, one-hot, as part of the input;
* networks from x: all labels share the layers and each has a last layer of its own ("heads"), of
  which the one of c is read. It is the same for `mlp` and `conv`, where a one-hot beside the pixels
  has no place, and one pass gives the answers for every label. For a discriminator it is the
  projection of Miyato and Koyama (2018): the logit is an inner product of features and a vector
  that depends on c.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from unigen_edu.declarations import Sample
from unigen_edu.densities import DiagonalNormal, bernoulli_log_prob, gaussian_log_prob
from unigen_edu.errors import UnigenError
from unigen_edu.noise import bernoulli, normal

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


def beside_label(z: Tensor, label: Tensor | None, classes: int | None) -> Tensor:
    """z with its label beside it, one-hot: (*batch, latent) -> (*batch, latent + classes).

    Args:
        label: int64, broadcasts to the batch axes of z; None if `classes` is None.

    Raises:
        UnigenError: a conditional network without a label, or another one with a label.
    """
    check_label(label, classes)
    if label is None or classes is None:
        return z
    one_hot = (label.unsqueeze(-1) == torch.arange(classes, device=z.device)).to(z.dtype)
    return torch.cat([z, one_hot.expand(*z.shape[:-1], classes)], -1)


def head_of_label(found: Tensor, label: Tensor | None, classes: int | None) -> Tensor:
    """The outputs of the head of each image's label: (B, classes * n) and (B,) -> (B, n).

    Raises:
        UnigenError: a conditional network without a label, or another one with a label.
    """
    check_label(label, classes)
    if label is None or classes is None:
        return found
    heads = found.unflatten(-1, (classes, -1))  # (B, classes, n)
    index = label[:, None, None].expand(-1, 1, heads.shape[-1])
    return heads.gather(1, index).squeeze(1)


def check_label(label: Tensor | None, classes: int | None) -> None:
    """Raise one sentence unless a label is given exactly if the network has classes."""
    if label is None and classes is not None:
        raise UnigenError(
            f"This network is conditional on one of {classes} classes, but no label was given: "
            "pass label=, one int64 number per sample."
        )
    if label is not None and classes is None:
        raise UnigenError(
            "This network is not conditional, but a label was given: leave it out, or build the "
            "network with classes=."
        )


def labels_to_draw(
    n: int, label: Tensor | int | None, classes: int, device: torch.device
) -> Tensor:
    """One label for each of n samples: (n,) int64.

    Args:
        label: None makes 0, 1, ..., classes - 1, 0, ...; a number is the label of all; (n,) int64
            are the labels themselves.

    Raises:
        UnigenError: another shape or dtype, or a label that is no class. The values are read.
    """
    if label is None:
        return torch.arange(n, device=device) % classes
    given = torch.as_tensor(label, device=device)
    if given.is_floating_point() or given.dtype == torch.bool or given.shape not in ((), (n,)):
        raise UnigenError(
            f"The labels are {given.dtype} of shape {tuple(given.shape)}, but {n} samples need one "
            f"whole number, or {n} of them."
        )
    if given.numel() and not (int(given.min()) >= 0 and int(given.max()) < classes):
        raise UnigenError(
            f"The labels go from {int(given.min())} to {int(given.max())}, but the model has "
            f"{classes} classes: use labels from 0 to {classes - 1}."
        )
    return given.long().expand(n)


class Generator(nn.Module):
    """p_theta(x|y=0): x = G(z), z ~ N(0, I). Images leave through a sigmoid, points as they are.

    With `classes`: p_theta(x|c, y=0), x = G(z, c).
    """

    def __init__(self, kind: str, shape: Sequence[int], latent: int, classes: int | None = None):
        super().__init__()
        self.shape = tuple(shape)
        self.latent = latent
        self.classes = classes
        self.body = from_latent(kind, latent + (classes or 0), shape, normalise=len(shape) == 3)
        self.to_unit = nn.Sigmoid() if len(shape) == 3 else nn.Identity()

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """z (B, latent), label (B,) -> x (B, *shape)."""
        if self.training and len(z) < 2 and len(self.shape) == 3:
            raise UnigenError(
                "Batch normalisation has nothing to average over a single generated image: "
                "train with a batch_size of at least 2."
            )
        return self.to_unit(self.body(beside_label(z, label, self.classes)))

    def noise(self, n: int) -> Tensor:
        """n codes z ~ N(0, I): (n, latent)."""
        like = next(self.parameters())
        return normal(n, self.latent, like=like)

    def sample(self, n: int, label: Tensor | None = None) -> Sample:
        """n reparameterised draws, of the classes `label` (n,): value (n, *shape)."""
        return Sample(self(self.noise(n), label))

    def sample_groups(self, n: int, k: int, label: Tensor | None = None) -> Sample:
        """n groups of k independent draws, for importance weighting: value (n, k, *shape).

        label: (n,), one for the whole group.
        """
        repeated = None if label is None else label.repeat_interleave(k)
        return Sample(self(self.noise(n * k), repeated).unflatten(0, (n, k)))


class Discriminator(nn.Module):
    """q_phi(y=1|x) = sigmoid(a(x)): the network returns the logit a.

    With `classes`: q_phi(y=1|x, c), the logit a(x, c).
    """

    def __init__(self, kind: str, shape: Sequence[int], classes: int | None = None):
        super().__init__()
        self.classes = classes
        self.body = to_features(kind, shape, classes or 1)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """x (B, *shape), label (B,) -> logits (B,)."""
        return head_of_label(self.body(x), label, self.classes).squeeze(-1)


class Classifier(nn.Module):
    """q(c|x): the network returns its logits."""

    def __init__(self, kind: str, shape: Sequence[int], classes: int):
        super().__init__()
        self.body = to_features(kind, shape, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, *shape) -> logits (B, classes)."""
        return self.body(x)


class Encoder(nn.Module):
    """q_eta(z|x): a Gaussian with diagonal covariance for each x.

    With `classes`: q_eta(z|x, c).
    """

    def __init__(self, kind: str, shape: Sequence[int], latent: int, classes: int | None = None):
        super().__init__()
        self.classes = classes
        self.body = to_features(kind, shape, 2 * latent * (classes or 1))

    def forward(self, x: Tensor, label: Tensor | None = None) -> DiagonalNormal:
        """x (B, *shape), label (B,) -> q(.|x), mean and log-variance (B, latent) each."""
        mean, log_var = head_of_label(self.body(x), label, self.classes).chunk(2, -1)
        return DiagonalNormal(mean, log_var)

    def for_each_class(self, x: Tensor) -> DiagonalNormal:
        """q(.|x, c) for all c, in one pass: x (B, *shape) -> mean, log-var (classes, B, latent)."""
        heads = self.body(x).unflatten(-1, (self.classes or 1, -1)).movedim(1, 0)
        mean, log_var = heads.chunk(2, -1)
        return DiagonalNormal(mean, log_var)


class Decoder(nn.Module):
    """p_theta(x|z): Bernoulli pixels, or a Gaussian with one learned scale for all dimensions.

    With `classes`: p_theta(x|z, c). Then every method takes a label, int64 numbers that broadcast
    to the batch axes of z: (B,), or (classes, 1) for z (k, classes, B, latent).
    """

    def __init__(
        self,
        kind: str,
        shape: Sequence[int],
        latent: int,
        likelihood: str,
        classes: int | None = None,
    ):
        super().__init__()
        self.shape = tuple(shape)
        self.latent = latent
        self.likelihood = likelihood
        self.classes = classes
        self.body = from_latent(kind, latent + (classes or 0), shape)
        if likelihood == "gaussian":
            self.log_var = nn.Parameter(torch.zeros(()))

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """The mean of x given z: (*batch, latent) -> (*batch, *shape)."""
        raw = self._raw(z, label)
        bounded = self.likelihood == "bernoulli" or len(self.shape) == 3
        return torch.sigmoid(raw) if bounded else raw

    def log_prob(self, x: Tensor, z: Tensor, label: Tensor | None = None) -> Tensor:
        """log p(x|z), summed over the event: x (B, *shape), z (..., B, latent) -> (..., B)."""
        if self.likelihood == "bernoulli":
            return bernoulli_log_prob(x, self._raw(z, label), batch_dims=z.dim() - 1)
        return gaussian_log_prob(x, self(z, label), self.log_var, batch_dims=z.dim() - 1)

    def sample(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """One draw of x given z: (*batch, latent) -> (*batch, *shape); pixels stay in [0, 1]."""
        mean, batch_dim = self(z, label), z.dim() - 2
        if self.likelihood == "bernoulli":
            return bernoulli(mean, batch_dim)
        noise = normal(*mean.shape, like=mean, batch_dim=batch_dim)
        draw = mean + torch.exp(0.5 * self.log_var) * noise
        return draw.clamp(0.0, 1.0) if len(self.shape) == 3 else draw

    def _raw(self, z: Tensor, label: Tensor | None) -> Tensor:
        z = beside_label(z, label, self.classes)
        return self.body(z.reshape(-1, z.shape[-1])).reshape(*z.shape[:-1], *self.shape)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside: batch normalisation by running averages. The former mode after."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
