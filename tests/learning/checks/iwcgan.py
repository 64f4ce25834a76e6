"""The importance weighted conditional GAN, by the same measure as the conditional GAN."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.learning.labelled import class_of_samples, shuffles_labels
from tests.learning.learning_check import LearningCheck
from unigen_edu.declarations import Batch, Model
from unigen_edu.models.iwcgan import IWCGAN


def judges_with_labels_in_another_order(model: Model) -> None:
    """The labels of the draws are repeated block by block, where a group stands together."""
    assert isinstance(model, IWCGAN)

    def group_logits(x: Tensor, batch: Batch) -> Tensor:
        assert batch.label is not None
        a = model.discriminator(x.flatten(0, 1), batch.label.repeat(model.k))
        return a.unflatten(0, (-1, model.k))

    model.group_logits = group_logits  # type: ignore[method-assign]


def is_not_told(model: Model) -> None:
    """The discriminator judges every image as one of class 0: it sees x alone."""
    assert isinstance(model, IWCGAN)
    heads = model.discriminator.forward

    def forward(x: Tensor, label: Tensor | None = None) -> Tensor:
        return heads(x, torch.zeros(len(x), dtype=torch.int64))

    model.discriminator.forward = forward  # type: ignore[method-assign]


CHECK = LearningCheck(
    model="iwcgan",
    metric="share of 1000 samples that show the digit asked for, by the shipped classifier",
    measure=class_of_samples,
    threshold=0.35,
    higher_is_better=True,
    steps=200,
    lr=2e-3,
    options={"k": 3},
    mutants={
        "labels of a group in another order": judges_with_labels_in_another_order,
        "label not given to the discriminator": is_not_told,
        "labels shuffled": shuffles_labels,
    },
)
