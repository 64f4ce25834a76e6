"""The conditional VAE: its bound given the class, and the digit that a sample shows."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.learning.labelled import bound, class_of_samples, shuffles_labels
from tests.learning.learning_check import LearningCheck
from unigen_edu.declarations import Batch, Loss, Model
from unigen_edu.models.cvae import CVAE


def averages_pixels(model: Model) -> None:
    """The reconstruction is a mean over pixels, so the KL weighs 784 times too much."""
    assert isinstance(model, CVAE)
    right = model.elbo_terms

    def elbo_terms(x: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_likelihood, kl_q_p = right(x, label)
        return log_likelihood / x[0].numel(), kl_q_p

    def variational_loss(batch: Batch) -> Loss:
        log_likelihood, kl_q_p = elbo_terms(batch.x, batch.label)
        value = (kl_q_p - log_likelihood).mean()
        return Loss(value, {"loss": value.detach()})

    model.variational_loss = variational_loss  # type: ignore[method-assign]


def leaves_the_kl_out(model: Model) -> None:
    """Reconstruction alone: codes drift away from the prior."""
    assert isinstance(model, CVAE)

    def variational_loss(batch: Batch) -> Loss:
        value = -model.elbo_terms(batch.x, batch.label)[0].mean()
        return Loss(value, {"loss": value.detach()})

    model.variational_loss = variational_loss  # type: ignore[method-assign]


def decoder_is_not_told(model: Model) -> None:
    """The decoder takes every label for 0 while it is trained; the encoder sees the right one."""
    assert isinstance(model, CVAE)
    right = model.decoder.log_prob

    def log_prob(x: Tensor, z: Tensor, label: Tensor | None = None) -> Tensor:
        assert label is not None
        return right(x, z, torch.zeros_like(label))

    model.decoder.log_prob = log_prob  # type: ignore[method-assign]


TRAINED = {"steps": 400, "lr": 2e-3, "options": {"latent": 8}}

CHECKS = (
    LearningCheck(
        model="cvae",
        form="bound",
        metric="ELBO of a test image given its label in nats, mnist-mini binarised with seed 0",
        measure=bound,
        threshold=-140.0,
        higher_is_better=True,
        mutants={"pixels averaged": averages_pixels, "KL left out": leaves_the_kl_out},
        **TRAINED,
    ),
    LearningCheck(
        model="cvae",
        form="class",
        metric="share of 1000 samples that show the digit asked for, by the shipped classifier",
        measure=class_of_samples,
        threshold=0.4,
        higher_is_better=True,
        mutants={
            "labels shuffled": shuffles_labels,
            "label not given to the decoder": decoder_is_not_told,
        },
        **TRAINED,
    ),
)
