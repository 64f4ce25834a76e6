"""IWGAN: samples come close to digits; not if the gradient flows into the weights."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from tests.learning.checks.gan import distance_of_samples, reverses_the_labels
from tests.learning.learning_check import LearningCheck
from unigen_edu.declarations import P_Y, Batch, Loss, Model, expect
from unigen_edu.models.iwgan import IWGAN


def weighs_with_gradient_of_the_weights_only(model: Model) -> None:
    """The detach is on the wrong factor: gradients flow into the weights, not into log D."""
    assert isinstance(model, IWGAN)

    def generator_loss(batch: Batch) -> Loss:
        x, weight = model.groups(batch)
        a = model.discriminator(x.flatten(0, 1)).unflatten(0, (-1, model.k))
        w = torch.softmax(-a, dim=1)
        value = P_Y * expect((w * F.softplus(-a.detach())).sum(1), weight)
        return Loss(value, {"loss": value.detach()})

    model.generator_loss = generator_loss  # type: ignore[method-assign]


CHECK = LearningCheck(
    model="iwgan",
    metric="Frechet distance of 1000 samples to the test set of mnist-mini (classifier's features)",
    measure=distance_of_samples,
    threshold=1000.0,
    higher_is_better=False,
    steps=300,
    options={"latent": 32, "k": 3},
    mutants={
        "reversed labels": reverses_the_labels,
        "gradient into the weights instead of log D": weighs_with_gradient_of_the_weights_only,
    },
)
