"""The IWAE, with either form of its gradient: its bound on the log-likelihood of test images."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from tests.learning.learning_check import LearningCheck, test_data
from unigen_edu import metrics
from unigen_edu.data import Dataset
from unigen_edu.declarations import Batch, Loss, Model
from unigen_edu.densities import DiagonalNormal
from unigen_edu.models.iwae import IWAE

K = 5


@cache
def binary_test_images() -> Dataset:
    return test_data("mnist-mini").binarised(metrics.BINARISATION_SEED).subset(slice(500))


def bound(model: Model, seed: int) -> float:
    return metrics.iwae_bound(model, binary_test_images(), K, seed=seed).value  # type: ignore[arg-type]


Cost = Callable[[IWAE, Tensor, Tensor, DiagonalNormal], Tensor]


def _with_cost(cost: Cost) -> Callable[[Model], None]:
    """A mutant that descends the mean of cost(model, x, codes, q), in its form of the gradient."""

    def break_it(model: Model) -> None:
        assert isinstance(model, IWAE)

        def variational_loss(batch: Batch) -> Loss:
            q = model.encoder(batch.x)
            z = q.sample(model.k).value
            if model.gradient == "doubly-reparameterised":
                z, q = model.squared_path(batch.x, z, q)
            value = cost(model, batch.x, z, q).mean()
            return Loss(value, {"loss": value.detach()})

        model.variational_loss = variational_loss  # type: ignore[method-assign]

    return break_it


def _minus_log_mean(log_w: Tensor, dim: int = 0) -> Tensor:
    return math.log(log_w.shape[dim]) - torch.logsumexp(log_w, dim)


def averages_over_images(model: IWAE, x: Tensor, z: Tensor, q: DiagonalNormal) -> Tensor:
    """Weights are averaged over the batch in place of the codes: one image speaks for all."""
    return _minus_log_mean(model.log_w(x, z, q), dim=1)


def forgets_log_q(model: IWAE, x: Tensor, z: Tensor, q: DiagonalNormal) -> Tensor:
    """w = p(x, z): the encoder looks for the one best code."""
    return _minus_log_mean(model.decoder.log_prob(x, z) + q.log_prior(z))


def forgets_the_prior(model: IWAE, x: Tensor, z: Tensor, q: DiagonalNormal) -> Tensor:
    """w = p(x|z) / q(z|x): codes may lie anywhere."""
    return _minus_log_mean(model.decoder.log_prob(x, z) - q.log_prob(z))


def prefers_the_worst(model: IWAE, x: Tensor, z: Tensor, q: DiagonalNormal) -> Tensor:
    """Weights 1/w in place of w."""
    log_w = model.log_w(x, z, q)
    return -(torch.softmax(-log_w.detach(), 0) * log_w).sum(0)


def detaches_the_codes(model: Model) -> None:
    """No path from the decoder to the encoder: what is left is the term that should be left out."""
    assert isinstance(model, IWAE)
    model.squared_path = lambda x, z, q: (z.detach(), q)  # type: ignore[method-assign]


METRIC = f"bound with k = {K} codes, of 500 test images in nats, mnist-mini binarised with seed 0"
WRONG_WEIGHTS = {
    "mean over images, not codes": _with_cost(averages_over_images),
    "log q left out": _with_cost(forgets_log_q),
    "prior left out": _with_cost(forgets_the_prior),
}

CHECKS = (
    LearningCheck(
        model="iwae",
        metric=METRIC,
        measure=bound,
        threshold=-161.0,
        higher_is_better=True,
        steps=150,
        options={"latent": 8, "k": K},
        mutants={**WRONG_WEIGHTS, "weights 1 / w": _with_cost(prefers_the_worst)},
    ),
    LearningCheck(
        model="iwae",
        form="doubly-reparameterised",
        metric=METRIC,
        measure=bound,
        threshold=-158.0,
        higher_is_better=True,
        steps=150,
        options={"latent": 8, "k": K, "gradient": "doubly-reparameterised"},
        mutants={**WRONG_WEIGHTS, "codes detached": detaches_the_codes},
    ),
)
