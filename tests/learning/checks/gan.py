"""GAN: samples come close to digits, in the eyes of the shipped classifier."""

from __future__ import annotations

from torch.nn import functional as F

from tests.learning.learning_check import LearningCheck, test_data
from unigen_edu import metrics
from unigen_edu.declarations import P_Y, Batch, Loss, Model, expect
from unigen_edu.models.gan import GAN


def distance_of_samples(model: Model, seed: int) -> float:
    return metrics.frechet_distance(model.sample(1000), test_data("mnist-mini").images())


def reverses_the_labels(model: Model) -> None:
    """The discriminator learns that data are generated: y = 0 and y = 1 are swapped."""
    assert isinstance(model, GAN)

    def discriminator_loss(batch: Batch) -> Loss:
        x_g, weight = model.generated(batch)
        a_data, a_g = model.discriminator(batch.x), model.discriminator(x_g.detach())
        value = P_Y * expect(F.softplus(a_data), batch.weight)
        value = value + P_Y * expect(F.softplus(-a_g), weight)
        return Loss(value, {"loss": value.detach()})

    model.discriminator_loss = discriminator_loss  # type: ignore[method-assign]


def pleases_nobody(model: Model) -> None:
    """The generator's sign is wrong: it helps the discriminator."""
    assert isinstance(model, GAN)
    right = model.generator_loss

    def generator_loss(batch: Batch) -> Loss:
        value, terms = right(batch)
        return Loss(-value, terms)

    model.generator_loss = generator_loss  # type: ignore[method-assign]


def sees_no_data(model: Model) -> None:
    """The discriminator's term on data is missing: it says "generated" to everything."""
    assert isinstance(model, GAN)

    def discriminator_loss(batch: Batch) -> Loss:
        x_g, weight = model.generated(batch)
        value = P_Y * expect(F.softplus(model.discriminator(x_g.detach())), weight)
        return Loss(value, {"loss": value.detach()})

    model.discriminator_loss = discriminator_loss  # type: ignore[method-assign]


CHECK = LearningCheck(
    model="gan",
    metric="Frechet distance of 1000 samples to the test set of mnist-mini (classifier's features)",
    measure=distance_of_samples,
    threshold=1000.0,
    higher_is_better=False,
    steps=400,
    options={"latent": 32},
    mutants={
        "reversed labels": reverses_the_labels,
        "generator helps the discriminator": pleases_nobody,
        "no data in the discriminator's loss": sees_no_data,
    },
)
