"""CycleGAN: how far its translations are from the true ones, which it has never seen paired."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from tests.learning.learning_check import LearningCheck, test_data
from unigen_edu.declarations import Batch, Model, Sample, expect
from unigen_edu.models.cyclegan import CycleGAN, Translator

DATA = "mnist-mini+mnist-mini/inverted"


def worse_pairing_error(model: CycleGAN, seed: int) -> float:
    """The larger of both directions' errors; both must be right."""
    pairs = test_data(DATA)
    assert pairs.other is not None
    x, z = pairs.images(slice(0, 500)), pairs.other.images(slice(0, 500))
    return max(F.l1_loss(model.to_a(z), x).item(), F.l1_loss(model.to_b(x), z).item())


def has_no_cycle(model: Model) -> None:
    """Two GANs that know nothing of each other."""
    assert isinstance(model, CycleGAN)
    model.exponent = 0.0


def has_no_adversary(model: Model) -> None:
    """Two autoencoders, whose codes may be anything."""
    assert isinstance(model, CycleGAN)
    intact = model.translation

    def half(*given: Any) -> tuple[Tensor, Tensor]:
        adversarial, cycle = intact(*given)
        return 0.0 * adversarial, cycle

    model.translation = half  # type: ignore[method-assign]


def helps_the_discriminators(model: Model) -> None:
    """The translators descend -log(1 - D): the labels are not reversed."""
    assert isinstance(model, CycleGAN)
    intact = model.translation

    def half(
        code: Batch, made: Sample, discriminator: Any, recogniser: Translator
    ) -> tuple[Tensor, Tensor]:
        _, cycle = intact(code, made, discriminator, recogniser)
        return expect(F.softplus(discriminator(made.value)), made.weight), cycle

    model.translation = half  # type: ignore[method-assign]


def translates_twice_the_same_way(model: Model) -> None:
    """The cycle is closed by the same translator: z against G(G(z))."""
    assert isinstance(model, CycleGAN)
    intact = model.translation

    def half(code: Batch, made: Sample, discriminator: Any, recogniser: Translator) -> Any:
        other = model.to_a if recogniser is model.to_b else model.to_b
        return intact(code, made, discriminator, other)

    model.translation = half  # type: ignore[method-assign]


CHECK = LearningCheck(
    model="cyclegan",
    metric="mean absolute error per pixel of the worse translator against the true inversion, "
    "500 test images (identity 0.95, mean image 0.15)",
    measure=worse_pairing_error,  # type: ignore[arg-type]
    threshold=0.06,
    higher_is_better=False,
    steps=150,
    batch_size=16,
    lr=2e-3,
    data=DATA,
    mutants={
        "no cycle": has_no_cycle,
        "no adversary": has_no_adversary,
        "labels not reversed": helps_the_discriminators,
        "the cycle closed by the same translator": translates_twice_the_same_way,
    },
)
