"""Domain adaptation: how well the labels of upright digits are read from slanted ones."""

from __future__ import annotations

import torch

from tests.learning.learning_check import LearningCheck, test_data
from unigen_edu.declarations import Batch, Loss, Model, Sample
from unigen_edu.models.ada import ADA
from unigen_edu.models.adda import ADDA

DATA = "mnist-mini+mnist-mini/slanted"


def target_accuracy(model: ADA, seed: int) -> float:
    return model.own_metrics(test_data(DATA))["target_accuracy"]


def learns_from_the_source_alone(model: Model) -> None:
    """The classifier of the source, read on the target: what adaptation has to beat."""
    assert isinstance(model, ADA)
    model.strength = 0.0


def helps_the_discriminator(model: Model) -> None:
    """The labels of the domains are not flipped, or the gradient is not reversed."""
    assert isinstance(model, ADA)
    right = model.adversarial

    def adversarial(source: Sample, target: Sample) -> torch.Tensor:
        return -right(source, target)

    model.adversarial = adversarial  # type: ignore[method-assign]


def shuffles_labels(model: Model) -> None:
    """The labels of the source belong to other images of the batch."""
    assert isinstance(model, ADA)
    right = model.label_log_score

    def label_log_score(source: Sample, label: torch.Tensor) -> torch.Tensor:
        return right(source, label.roll(1))

    model.label_log_score = label_log_score  # type: ignore[method-assign]


def leaves_the_target_where_the_source_is(model: Model) -> None:
    """The target's encoder stays the source's: a classifier of the source alone."""
    assert isinstance(model, ADDA)
    right = model.target_loss

    def target_loss(batch: Batch) -> Loss:
        value, terms = right(batch)
        return Loss(0.0 * value, terms)

    model.target_loss = target_loss  # type: ignore[method-assign]


def leads_the_target_away(model: Model) -> None:
    """The target's encoder descends -log(1 - D): it makes itself easy to tell apart."""
    assert isinstance(model, ADDA)
    right = model.target_loss

    def target_loss(batch: Batch) -> Loss:
        value, terms = right(batch)
        return Loss(-value, terms)

    model.target_loss = target_loss  # type: ignore[method-assign]


METRIC = "share of 2000 slanted digits read right, the labels learned from upright digits alone"
TRAINED = {
    "metric": METRIC,
    "measure": target_accuracy,
    "threshold": 0.77,
    "higher_is_better": True,
    "steps": 700,
    "data": DATA,
    "lr": 1e-3,
}

CHECKS = (
    LearningCheck(
        model="ada",
        options={"strength": 3.0},
        mutants={
            "source alone": learns_from_the_source_alone,
            "labels of the domains not flipped": helps_the_discriminator,
            "labels shuffled": shuffles_labels,
        },
        **TRAINED,  # type: ignore[arg-type]
    ),
    LearningCheck(
        model="ada-reversal",
        options={"strength": 2.0},
        mutants={
            "source alone": learns_from_the_source_alone,
            "gradient not reversed": helps_the_discriminator,
            "labels shuffled": shuffles_labels,
        },
        **TRAINED,  # type: ignore[arg-type]
    ),
    LearningCheck(
        model="adda",
        options={"rate": 0.1},
        mutants={
            "target's encoder stays": leaves_the_target_where_the_source_is,
            "labels of the domains not flipped": leads_the_target_away,
            "labels shuffled": shuffles_labels,
        },
        **TRAINED | {"threshold": 0.795},  # type: ignore[arg-type]
    ),
)
