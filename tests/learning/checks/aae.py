"""AAE: the codes of unseen images follow the prior, and the decoder finds the images in them."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from tests.learning.learning_check import LearningCheck, test_data
from unigen_edu.declarations import Batch, Loss
from unigen_edu.models.aae import AAE

# What is allowed: share of the variance that reconstructions leave, energy coefficient of codes.
UNEXPLAINED, FROM_PRIOR = 0.6, 0.04


def worse_promise(model: AAE, seed: int) -> float:
    """Each of the two numbers as a multiple of what is allowed; the larger one."""
    found = model.own_metrics(test_data("mnist-mini"))
    return max(found["unexplained_variance"] / UNEXPLAINED, found["codes_vs_prior"] / FROM_PRIOR)


def without_an_adversary(model: AAE) -> None:
    model.judged = lambda code: {}  # type: ignore[method-assign]


def reversed_labels(model: AAE) -> None:
    """The discriminator learns that codes are real and the prior is not."""
    right = model.discriminator_loss

    def wrong(batch: Batch) -> Loss:
        logit = model.discriminator.forward
        model.discriminator.forward = lambda z: -logit(z)  # type: ignore[method-assign]
        try:
            return right(batch)
        finally:
            model.discriminator.forward = logit  # type: ignore[method-assign]

    model.discriminator_loss = wrong  # type: ignore[method-assign]


def without_reconstruction(model: AAE) -> None:
    """The encoder only has to please the judge."""
    model.strength = 0.0


def code_of_another_image(model: AAE) -> None:
    """The decoder is asked for an image that did not make the code."""
    log_prob = model.decoder.log_prob

    def wrong(x: Tensor, z: Tensor) -> Tensor:
        return log_prob(x.roll(1, 0), z)

    model.decoder.log_prob = wrong  # type: ignore[method-assign]


CHECK = LearningCheck(
    model="aae",
    metric="the worse of two promises on 2000 mnist-mini test images, as a multiple of what is "
    f"allowed: unexplained variance of reconstructions / {UNEXPLAINED}, energy coefficient of "
    f"codes against the prior / {FROM_PRIOR}",
    measure=worse_promise,
    threshold=1.0,
    higher_is_better=False,
    steps=300,
    lr=1e-3,
    options={"latent": 8},
    mutants={
        "without an adversary": without_an_adversary,
        "reversed labels of the discriminator": reversed_labels,
        "encoder without reconstruction": without_reconstruction,
        "code of another image": code_of_another_image,
    },
)
CHECKS = (CHECK, replace(CHECK, form="gaussian", options={"latent": 8, "posterior": "gaussian"}))
