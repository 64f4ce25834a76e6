"""ALI: reconstructions near their originals, though nothing was ever compared, and samples.

On points, because what is to be seen is the coupling: two networks that are each other's inverse.
On digits it takes thousands of steps until the two find each other.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.learning.learning_check import LearningCheck, test_data
from unigen_edu import data
from unigen_edu.declarations import P_Y, Batch, Loss, Model, Sample, expect
from unigen_edu.models.ali import ALI


def relative_error(model: Model, seed: int) -> float:
    """E |x - G(E z|x)|^2 over the variance of x. Always to answer with the mean would give 1."""
    assert isinstance(model, ALI)
    x = test_data("ring").x
    error = (x - model.reconstruct(x)).square().sum(1).mean()
    return (error / (x - x.mean(0)).square().sum(1).mean()).item()


def overlap_of_samples(model: Model, seed: int) -> float:
    """sum_k min(share of samples within 3 sd of mode k, 1/8): 0.99 for draws from the data."""
    ring = data.toy("ring")
    mode = ring.mode_of(model.sample(4000))
    share = torch.bincount(mode[mode >= 0], minlength=8) / len(mode)
    return share.clamp(max=1 / 8).sum().item()


def _descend(value: Tensor) -> Loss:
    return Loss(value, {"loss": value.detach()})


def breaks_up_the_pairs(model: Model) -> None:
    """Every code is shown with the image of its neighbour: the marginals are as before."""
    assert isinstance(model, ALI)
    inferred = model.inferred

    def shifted(batch: Batch) -> Sample:
        return batch.once("shifted", lambda: Sample(inferred(batch).value.roll(1, 1)))

    model.inferred = shifted  # type: ignore[method-assign]


def hides_the_code(model: Model) -> None:
    """The discriminator is not shown z: a GAN, and an encoder that nobody teaches."""
    assert isinstance(model, ALI)
    right = model.discriminator.of_z.forward
    model.discriminator.of_z.forward = lambda z: 0.0 * right(z)  # type: ignore[method-assign]


def detaches_the_encoder(model: Model) -> None:
    """The y = 1 half is left out, "constant" as it is for a GAN: the encoder stays as it was."""
    assert isinstance(model, ALI)

    def joint_loss(batch: Batch) -> Loss:
        x_g, z_g, weight_g = model.generated(batch)
        generator = P_Y * expect(F.softplus(-model.discriminator(x_g, z_g)), weight_g)
        return _descend(generator + 0.0 * model.inferred(batch).value.sum())

    model.joint_loss = joint_loss  # type: ignore[method-assign]


def flips_one_side(model: Model) -> None:
    """The encoder descends the discriminator's loss: it helps to tell its pairs apart."""
    assert isinstance(model, ALI)

    def joint_loss(batch: Batch) -> Loss:
        x_g, z_g, weight_g = model.generated(batch)
        generator = expect(F.softplus(-model.discriminator(x_g, z_g)), weight_g)
        encoder = expect(F.softplus(-model.discriminator(batch.x, model.inferred(batch).value)))
        return _descend(P_Y * generator + P_Y * encoder)

    model.joint_loss = joint_loss  # type: ignore[method-assign]


def reverses_the_labels(model: Model) -> None:
    """No label is flipped in the joint phase: all three networks pull together."""
    assert isinstance(model, ALI)

    def joint_loss(batch: Batch) -> Loss:
        x_g, z_g, weight_g = model.generated(batch)
        generator = expect(F.softplus(model.discriminator(x_g, z_g)), weight_g)
        encoder = expect(F.softplus(-model.discriminator(batch.x, model.inferred(batch).value)))
        return _descend(P_Y * generator + P_Y * encoder)

    model.joint_loss = joint_loss  # type: ignore[method-assign]


CHECKS = (
    LearningCheck(
        model="ali",
        form="reconstruction",
        metric="mean squared error of the reconstructed test points of ring, as a share of their "
        "variance",
        measure=relative_error,
        threshold=0.45,
        higher_is_better=False,
        data="ring",
        steps=1000,
        batch_size=128,
        lr=1e-3,
        options={"latent": 2},
        mutants={
            "pairs broken up": breaks_up_the_pairs,
            "code hidden from the discriminator": hides_the_code,
            "encoder detached": detaches_the_encoder,
            "labels flipped on one side only": flips_one_side,
        },
    ),
    LearningCheck(
        model="ali",
        form="samples",
        metric="overlap of 4000 samples with ring: sum over its 8 modes of min(share within 3 sd, "
        "1/8), 0.99 for draws from the data",
        measure=overlap_of_samples,
        threshold=0.5,
        higher_is_better=True,
        data="ring",
        steps=1000,
        batch_size=128,
        lr=1e-3,
        options={"latent": 2},
        mutants={
            "labels reversed": reverses_the_labels,
            "labels flipped on one side only": flips_one_side,
            "encoder detached": detaches_the_encoder,
        },
    ),
)
