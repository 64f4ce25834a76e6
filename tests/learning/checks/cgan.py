"""The conditional GAN: does a generated image show the digit that was asked for?"""

from __future__ import annotations

import torch
from torch import Tensor

from tests.learning.labelled import class_of_samples, shuffles_labels
from tests.learning.learning_check import LearningCheck
from unigen_edu.declarations import Batch, Model, Sample
from unigen_edu.models.cgan import CGAN


def discriminator_is_not_told(model: Model) -> None:
    """The discriminator judges every image as one of class 0: it sees x alone."""
    assert isinstance(model, CGAN)

    def logits(x: Tensor, batch: Batch) -> Tensor:
        return model.discriminator(x, torch.zeros(len(x), dtype=torch.int64))

    model.logits = logits  # type: ignore[method-assign]


def generator_is_not_told(model: Model) -> None:
    """The generator makes images of any class, whatever the label says."""
    assert isinstance(model, CGAN)

    def generated(batch: Batch) -> Sample:
        def draw() -> Sample:
            return model.generator.sample(len(batch), torch.randint(10, (len(batch),)))

        return batch.once("generated", draw)

    model.generated = generated  # type: ignore[method-assign]


CHECK = LearningCheck(
    model="cgan",
    metric="share of 1000 samples that show the digit asked for, by the shipped classifier",
    measure=class_of_samples,
    threshold=0.35,
    higher_is_better=True,
    steps=300,
    lr=1e-3,
    mutants={
        "label not given to the discriminator": discriminator_is_not_told,
        "label not given to the generator": generator_is_not_told,
        "labels shuffled": shuffles_labels,
    },
)
