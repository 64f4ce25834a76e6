"""The VAE: its bound on the log-likelihood of test images."""

from __future__ import annotations

from functools import cache

import torch

from tests.learning.learning_check import LearningCheck, test_data
from unigen_edu import metrics
from unigen_edu.data import Dataset
from unigen_edu.declarations import Batch, Loss, Model
from unigen_edu.models.vae import VAE


@cache
def binary_test_images() -> Dataset:
    return test_data("mnist-mini").binarised(metrics.BINARISATION_SEED)


def bound(model: Model, seed: int) -> float:
    return metrics.elbo(model, binary_test_images(), seed=seed).value  # type: ignore[arg-type]


def _loss(cost: torch.Tensor) -> Loss:
    value = cost.mean()
    return Loss(value, {"loss": value.detach()})


def swaps_the_slots(model: Model) -> None:
    """KL(p(z) || q(z|x)) in place of KL(q(z|x) || p(z))."""
    assert isinstance(model, VAE)

    def variational_loss(batch: Batch) -> Loss:
        q = model.encoder(batch.x)
        kl_p_q = 0.5 * ((1 + q.mean.square()) * torch.exp(-q.log_var) - 1 + q.log_var).sum(-1)
        return _loss(kl_p_q - model.log_likelihood(batch.x, q))

    model.variational_loss = variational_loss  # type: ignore[method-assign]


def averages_over_pixels(model: Model) -> None:
    """The mean over pixels in place of the sum: the KL counts 784 times too much."""
    assert isinstance(model, VAE)

    def variational_loss(batch: Batch) -> Loss:
        log_likelihood, kl_q_p = model.elbo_terms(batch.x)
        return _loss(kl_q_p - log_likelihood / batch.x[0].numel())

    model.variational_loss = variational_loss  # type: ignore[method-assign]


def forgets_the_kl(model: Model) -> None:
    """Only the reconstruction: codes stray from the prior, and nobody pays."""
    assert isinstance(model, VAE)

    def variational_loss(batch: Batch) -> Loss:
        return _loss(-model.elbo_terms(batch.x)[0])

    model.variational_loss = variational_loss  # type: ignore[method-assign]


def detaches_the_code(model: Model) -> None:
    """No path from the decoder to the encoder, which hears the KL alone."""
    assert isinstance(model, VAE)

    def variational_loss(batch: Batch) -> Loss:
        q = model.encoder(batch.x)
        code = q.sample().value.detach()
        return _loss(q.kl_q_p() - model.decoder.log_prob(batch.x, code))

    model.variational_loss = variational_loss  # type: ignore[method-assign]


def leaves_the_noise_out(model: Model) -> None:
    """The mean of q in place of a draw: the decoder never meets the codes it will be judged by."""
    assert isinstance(model, VAE)

    def variational_loss(batch: Batch) -> Loss:
        q = model.encoder(batch.x)
        log_likelihood = model.decoder.log_prob(batch.x, q.mean[None])
        return _loss(q.kl_q_p() - log_likelihood)

    model.variational_loss = variational_loss  # type: ignore[method-assign]


CHECK = LearningCheck(
    model="vae",
    metric="ELBO of a test image in nats, one draw, mnist-mini test set binarised with seed 0",
    measure=bound,
    threshold=-166.0,
    higher_is_better=True,
    steps=200,
    options={"latent": 8},
    mutants={
        "KL with its slots swapped": swaps_the_slots,
        "mean over pixels": averages_over_pixels,
        "KL left out": forgets_the_kl,
        "code detached": detaches_the_code,
        "code without noise": leaves_the_noise_out,
    },
)
