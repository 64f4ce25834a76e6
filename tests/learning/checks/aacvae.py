"""The adversary activated conditional VAE: its bound given the class, and the digits it shows."""

from __future__ import annotations

from tests.learning.checks.cvae import decoder_is_not_told
from tests.learning.labelled import bound, class_of_samples, shuffles_labels
from tests.learning.learning_check import LearningCheck
from unigen_edu.declarations import Batch, Loss, Model
from unigen_edu.models.aacvae import AACVAE


def weighs_by_q(model: Model) -> None:
    """The weight q(y=0|x) = 1 - D in place of the reversed q^r(y=0|x) = D."""
    assert isinstance(model, AACVAE)
    right = model.activated_loss

    def activated_loss(data, generated, judge, cost) -> Loss:
        return right(data, generated, lambda pool: -judge(pool), cost)

    model.activated_loss = activated_loss  # type: ignore[method-assign]


def reverses_the_labels(model: Model) -> None:
    """The discriminator calls samples data and data samples."""
    assert isinstance(model, AACVAE)

    def discriminator_loss(batch: Batch) -> Loss:
        return model.adversary_loss(model.generated(batch), model.observed(batch), model.judge)

    model.discriminator_loss = discriminator_loss  # type: ignore[method-assign]


TRAINED = {"steps": 300, "lr": 2e-3, "options": {"latent": 8}}

CHECKS = (
    LearningCheck(
        model="aacvae",
        form="bound",
        metric="ELBO of a test image given its label in nats, mnist-mini binarised with seed 0",
        measure=bound,
        threshold=-150.0,
        higher_is_better=True,
        mutants={"weights not reversed": weighs_by_q, "domains exchanged": reverses_the_labels},
        **TRAINED,
    ),
    LearningCheck(
        model="aacvae",
        form="class",
        metric="share of 1000 samples that show the digit asked for, by the shipped classifier",
        measure=class_of_samples,
        threshold=0.4,
        higher_is_better=True,
        mutants={
            "labels shuffled": shuffles_labels,
            "label not given to the decoder": decoder_is_not_told,
            "weights not reversed": weighs_by_q,
        },
        **TRAINED,
    ),
)
