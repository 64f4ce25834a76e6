"""f-GAN on a ring of eight modes, for four divergences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from tests.learning.learning_check import LearningCheck
from unigen_edu import data
from unigen_edu.declarations import Batch, Loss, expect
from unigen_edu.models.fgan import FGAN

RING = data.toy("ring")
INSIDE = 0.98889  # of a two-dimensional normal, within three standard deviations


def distance_from_the_modes(model: FGAN, seed: int) -> float:
    """Total variation between where 4000 samples and true ones fall: eight modes, and outside."""
    mode = RING.mode_of(model.sample(4000))
    found = torch.bincount(mode + 1, minlength=RING.num_modes + 1).double() / len(mode)
    wanted = torch.full_like(found, INSIDE / RING.num_modes)
    wanted[0] = 1 - INSIDE
    return (found - wanted).abs().sum().item() / 2


def data_and_model_exchanged(model: FGAN) -> None:
    def discriminator_loss(batch: Batch) -> Loss:
        x_g, _ = model.generated(batch)
        l, l_g = model.discriminator(batch.x), model.discriminator(x_g.detach())
        value = -model.divergence.variational_bound(l_g, l)
        return Loss(value, {"loss": value.detach()})

    model.discriminator_loss = discriminator_loss  # type: ignore[method-assign]


def no_conjugate(model: FGAN) -> None:
    """E_P T - E_Q T: the f* is forgotten."""
    model.divergence = replace(model.divergence, model_term=model.divergence.data_term)


def generator_with_the_wrong_sign(model: FGAN) -> None:
    def generator_loss(batch: Batch) -> Loss:
        value = expect(model.divergence.model_value(model.discriminator(model.generated(batch)[0])))
        return Loss(value, {"loss": value.detach()})

    model.generator_loss = generator_loss  # type: ignore[method-assign]


def check(name: str, threshold: float, **options: Any) -> LearningCheck:
    return LearningCheck(
        model="fgan",
        form=name,
        metric="total variation from the ring's law over its 8 modes and outside, 4000 samples",
        measure=distance_from_the_modes,  # type: ignore[arg-type]
        threshold=threshold,
        higher_is_better=False,
        steps=1000,
        mutants={  # type: ignore[dict-item]
            "data and model exchanged": data_and_model_exchanged,
            "no conjugate": no_conjugate,
            "generator with the wrong sign": generator_with_the_wrong_sign,
        },
        data="ring",
        options={"latent": 4, "divergence": name, **options},
        batch_size=128,
        lr=2e-3,
        betas=(0.5, 0.9),
    )


CHECKS = (check("js", 0.8), check("kl", 0.8), check("reverse-kl", 0.8), check("pearson", 0.8))
