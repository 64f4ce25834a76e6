"""The AAVAE: its bound on digits and on a ring, and what its weights know about its samples.

On the ring the true density is known, so "the adversary tells good samples from bad ones" is a rank
correlation. On digits a short run is enough to see that the adversary has not spoilt the bound.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from tests.learning.learning_check import LearningCheck, test_data
from unigen_edu import data, metrics
from unigen_edu.data import Dataset
from unigen_edu.declarations import Batch, Loss, Model
from unigen_edu.models.aavae import AAVAE, together


@cache
def binary_test_images() -> Dataset:
    return test_data("mnist-mini").binarised(metrics.BINARISATION_SEED)


def bound_on_digits(model: Model, seed: int) -> float:
    return metrics.elbo(model, binary_test_images(), seed=seed).value  # type: ignore[arg-type]


def bound_on_the_ring(model: Model, seed: int) -> float:
    return metrics.elbo(model, test_data("ring"), seed=seed).value  # type: ignore[arg-type]


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's: the correlation of the ranks, from -1 to 1."""
    ranks = torch.stack([a, b]).argsort(1).argsort(1).double()
    return torch.corrcoef(ranks)[0, 1].item()


def weights_know_the_density(model: Model, seed: int) -> float:
    assert isinstance(model, AAVAE)
    x = model.decoder.sample(torch.randn(2000, model.latent))
    return rank_correlation(model.discriminator(x), data.toy("ring").log_density(x))


def reverses_the_labels(model: Model) -> None:
    """The discriminator calls samples data and data samples."""
    assert isinstance(model, AAVAE)

    def discriminator_loss(batch: Batch) -> Loss:
        return model.adversary_loss(model.generated(batch), model.observed(batch), model.judge)

    model.discriminator_loss = discriminator_loss  # type: ignore[method-assign]


def weighs_by_q(model: Model) -> None:
    """The weight q(y=0|x) = 1 - D(x) in place of the reversed q^r(y=0|x) = D(x)."""
    assert isinstance(model, AAVAE)

    def variational_loss(batch: Batch) -> Loss:
        data, generated = model.observed(batch), model.generated(batch)
        return model.activated_loss(
            data, generated, lambda pool: -model.judge(pool), model.negative_elbo
        )

    model.variational_loss = variational_loss  # type: ignore[method-assign]


def shares_one_objective(model: Model) -> None:
    """The discriminator descends the autoencoder's loss too, in place of its own."""
    assert isinstance(model, AAVAE)

    def discriminator_loss(batch: Batch) -> Loss:
        pool = together(model.observed(batch), model.generated(batch))
        with torch.no_grad():
            cost = model.negative_elbo(pool)
        value = (torch.sigmoid(model.judge(pool)) * cost).mean()
        return Loss(value, {"loss": value.detach()})

    model.discriminator_loss = discriminator_loss  # type: ignore[method-assign]


def believes_every_sample(model: Model) -> None:
    """Samples count fully, whatever the discriminator says: the model imitates its past self."""
    assert isinstance(model, AAVAE)

    def variational_loss(batch: Batch) -> Loss:
        data, generated = model.observed(batch), model.generated(batch)

        def judge(pool: Batch) -> Tensor:
            sure = torch.full((len(generated),), 50.0)
            return torch.cat([model.judge(pool)[: len(data)], sure])

        return model.activated_loss(data, generated, judge, model.negative_elbo)

    model.variational_loss = variational_loss  # type: ignore[method-assign]


def judges_means(model: Model) -> None:
    """The discriminator is shown the decoder's means, which are no samples of the model."""
    assert isinstance(model, AAVAE)
    model.dreams = lambda batch: Batch(model.sample(len(batch)))  # type: ignore[method-assign]


ON_THE_RING = {
    "data": "ring",
    "options": {"latent": 2, "likelihood": "gaussian"},
    "steps": 700,
    "batch_size": 128,
    "lr": 2e-3,
    "betas": (0.9, 0.999),
}

CHECKS = (
    LearningCheck(
        model="aavae",
        metric="ELBO of a test image in nats, one draw, mnist-mini test set binarised with seed 0",
        measure=bound_on_digits,
        threshold=-200.0,
        higher_is_better=True,
        steps=200,
        options={"latent": 8},
        lr=1e-3,
        betas=(0.9, 0.999),
        mutants={
            "labels reversed": reverses_the_labels,
            "weights q, not q^r": weighs_by_q,
            "one objective for both": shares_one_objective,
        },
    ),
    LearningCheck(
        model="aavae",
        form="bound",
        metric="ELBO of a test point in nats, one draw, ring",
        measure=bound_on_the_ring,
        threshold=-3.39,
        higher_is_better=True,
        mutants={
            "labels reversed": reverses_the_labels,
            "one objective for both": shares_one_objective,
            "samples of full weight": believes_every_sample,
        },
        **ON_THE_RING,  # type: ignore[arg-type]
    ),
    LearningCheck(
        model="aavae",
        form="weights",
        metric="rank correlation of D(x) with the true density over 2000 of its samples, ring",
        measure=weights_know_the_density,
        threshold=0.6,
        higher_is_better=True,
        mutants={
            "labels reversed": reverses_the_labels,
            "one objective for both": shares_one_objective,
            "means in place of samples": judges_means,
        },
        **ON_THE_RING,  # type: ignore[arg-type]
    ),
)
