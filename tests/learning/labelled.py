"""What the checks of models with labels share: two measures and one mistake."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from tests.learning.learning_check import test_data
from unigen_edu import metrics
from unigen_edu.classifier import load_classifier
from unigen_edu.data import Dataset
from unigen_edu.declarations import Batch, Loss, Model


def class_of_samples(model: Model, seed: int) -> float:
    """Share of 1000 samples, a hundred of each digit, that the classifier takes for that digit."""
    made: Any = model
    label = torch.arange(1000) % 10
    guess = load_classifier()(made.sample(1000, label)).argmax(1)
    return (guess == label).double().mean().item()


@cache
def binary_test_images() -> Dataset:
    return test_data("mnist-mini").binarised(metrics.BINARISATION_SEED)


def bound(model: Model, seed: int) -> float:
    """ELBO of the binarised test images, in nats."""
    return metrics.elbo(model, binary_test_images(), seed=seed).value  # type: ignore[arg-type]


def test_error(model: Model, seed: int) -> float:
    """Share of test images that the model's own classifier gets wrong."""
    made: Any = model
    return made.own_metrics(test_data("mnist-mini"))["test_error"]


test_error.__test__ = False  # type: ignore[attr-defined]  # no test, in spite of its name


def shuffles_labels(model: Model) -> None:
    """Every image has the label of another one of its batch."""
    right = model.loss

    def loss(phase: str, batch: Batch) -> Loss:
        def shuffled() -> Batch:
            assert batch.label is not None
            return Batch(batch.x, batch.label[torch.randperm(len(batch))], batch.weight)

        return right(phase, batch.once("shuffled", shuffled))

    model.loss = loss  # type: ignore[method-assign]
