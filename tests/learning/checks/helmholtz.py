"""The Helmholtz machine: its bound on the log-likelihood of test images."""

from __future__ import annotations

from functools import cache

import torch

from tests.learning.learning_check import LearningCheck, test_data
from unigen_edu import metrics
from unigen_edu.data import Dataset
from unigen_edu.declarations import Batch, Loss, Model
from unigen_edu.models.helmholtz import Helmholtz


@cache
def binary_test_images() -> Dataset:
    return test_data("mnist-mini").binarised(metrics.BINARISATION_SEED)


def bound(model: Helmholtz, seed: int) -> float:
    return metrics.elbo(model, binary_test_images(), seed=seed).value


def _loss(log_probability: torch.Tensor) -> Loss:
    value = -log_probability.mean()
    return Loss(value, {"loss": value.detach()})


def _inferred(model: Helmholtz, batch: Batch) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    with torch.no_grad():
        x = torch.bernoulli(batch.x).flatten(1)
        return x, model.recognition.sample(x).states


def _dreamed(model: Helmholtz, n: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    with torch.no_grad():
        *h, x = model.generative.sample(torch.ones(n, 1)).states
    return x, h[::-1]


def sleeps_on_data(model: Model) -> None:
    """The recognition network learns its own answers about real images, not dreams."""
    assert isinstance(model, Helmholtz)

    def sleep_loss(batch: Batch) -> Loss:
        x, h = _inferred(model, batch)
        return _loss(model.log_q(h, x))

    model.sleep_loss = sleep_loss  # type: ignore[method-assign]


def wakes_on_dreams(model: Model) -> None:
    """The generative network learns its own dreams, not data."""
    assert isinstance(model, Helmholtz)

    def wake_loss(batch: Batch) -> Loss:
        x, h = _dreamed(model, len(batch))
        return _loss(model.log_p(x, h))

    model.wake_loss = wake_loss  # type: ignore[method-assign]


def forgets_which_cause(model: Model) -> None:
    """Sleep pairs each dream with the causes of another one."""
    assert isinstance(model, Helmholtz)

    def sleep_loss(batch: Batch) -> Loss:
        x, h = _dreamed(model, len(batch))
        return _loss(model.log_q(h, x.roll(1, dims=1)))

    model.sleep_loss = sleep_loss  # type: ignore[method-assign]


def wakes_without_inferring(model: Model) -> None:
    """Wake pairs a real image with causes that were dreamed, not inferred from it."""
    assert isinstance(model, Helmholtz)

    def wake_loss(batch: Batch) -> Loss:
        x, _ = _inferred(model, batch)
        _, h = _dreamed(model, len(batch))
        return _loss(model.log_p(x, h))

    model.wake_loss = wake_loss  # type: ignore[method-assign]


CHECK = LearningCheck(
    model="helmholtz",
    metric="ELBO of a test image in nats, one draw, mnist-mini test set binarised with seed 0",
    measure=bound,  # type: ignore[arg-type]
    threshold=-160.0,
    higher_is_better=True,
    steps=400,
    options={"layers": (100, 30)},
    lr=1e-2,
    mutants={
        "sleep on data": sleeps_on_data,
        "wake on dreams": wakes_on_dreams,
        "dreams without their causes": forgets_which_cause,
        "causes not inferred": wakes_without_inferring,
    },
)
