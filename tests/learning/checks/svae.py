"""M2: what unlabelled images add to a few labels."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.learning.labelled import test_error
from tests.learning.learning_check import LearningCheck, test_data
from unigen_edu.declarations import Batch, Loss, Model
from unigen_edu.models.svae import SVAE


def error_on_moons(model: Model, seed: int) -> float:
    assert isinstance(model, SVAE)
    return model.own_metrics(test_data("moons"))["test_error"]


def leaves_unlabelled_out(model: Model) -> None:
    """Supervised only: the labelled images train everything, and nothing else does."""
    assert isinstance(model, SVAE)

    def variational_loss(batch: Batch) -> Loss:
        pairs = model.labelled(batch)
        assert pairs.label is not None
        cross_entropy = model.cross_entropy(pairs.x, pairs.label).mean()
        bound = model.pair_bound(pairs.x, pairs.label).mean()
        value = model.alpha * cross_entropy - model.rho * bound
        return Loss(value, {"loss": value.detach()})

    model.variational_loss = variational_loss  # type: ignore[method-assign]


def leaves_the_classification_term_out(model: Model) -> None:
    """alpha = 0: labels reach the classifier only by way of the decoder."""
    assert isinstance(model, SVAE)
    model.alpha = 0.0


def averages_classes(model: Model) -> None:
    """The mean over all classes in place of the expectation under q(c|x)."""
    assert isinstance(model, SVAE)
    right = model.elbo

    def elbo(x: Tensor, label: Tensor | None = None) -> Tensor:
        return model.pair_bounds(x).mean(0) if label is None else right(x, label)

    model.elbo = elbo  # type: ignore[method-assign]


def shuffles_known_labels(model: Model) -> None:
    """Every labelled image has the label of another one of its batch."""
    assert isinstance(model, SVAE)
    right = model.labelled

    def labelled(batch: Batch) -> Batch:
        pairs = right(batch)
        assert pairs.label is not None
        return Batch(pairs.x, pairs.label[torch.randperm(len(pairs))])

    model.labelled = labelled  # type: ignore[method-assign]


CHECKS = (
    LearningCheck(
        model="svae",
        form="digits",
        metric="share of test images of mnist-mini with a wrong class, 100 labels",
        measure=test_error,
        threshold=0.33,
        higher_is_better=False,
        steps=250,
        data="mnist-mini+100",
        batch_size=16,
        lr=3e-3,
        mutants={
            "classification term missing": leaves_the_classification_term_out,
            "labels shuffled": shuffles_known_labels,
        },
    ),
    LearningCheck(
        model="svae",
        form="moons",
        metric="share of test points of two moons with a wrong class, 10 labels",
        measure=error_on_moons,
        threshold=0.185,
        higher_is_better=False,
        steps=500,
        data="moons+10",
        options={"latent": 2, "likelihood": "gaussian", "alpha": 1.0, "rho": 0.1},
        lr=3e-3,
        mutants={
            "unlabelled points left out": leaves_unlabelled_out,
            "classification term missing": leaves_the_classification_term_out,
            "mean over classes": averages_classes,
            "labels shuffled": shuffles_known_labels,
        },
    ),
)
