"""f-GM on a ring of eight modes: its density estimate, and its generator."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor

from tests.learning.learning_check import LearningCheck, test_data
from unigen_edu import data
from unigen_edu.declarations import Batch, Loss
from unigen_edu.models.fgm import FGM

RING = data.toy("ring")


@cache
def places() -> tuple[Tensor, Tensor]:
    """1000 test points and 1000 places anywhere in the square, with the true log-density."""
    anywhere = 6 * torch.rand(1000, 2, generator=torch.Generator().manual_seed(0)) - 3
    x = torch.cat([test_data("ring").images(slice(0, 1000)), anywhere])
    return x, RING.log_density(x)


def rank_correlation(model: FGM, seed: int) -> float:
    x, truth = places()
    return float(spearmanr(model.log_likelihood(x).numpy(), truth.numpy()).statistic)


def error_in_nats(model: FGM, seed: int) -> float:
    """Of log d itself, which claims to be normalised, at the test points."""
    x, truth = (both[:1000] for both in places())
    return (model.log_likelihood(x) - truth).abs().mean().item()


def generators_log_density(model: FGM, seed: int) -> float:
    return model.log_model_density(test_data("ring").images(slice(0, 1000)), 256).mean().item()


def laws_exchanged(model: FGM) -> None:
    """E_Q f'(r) - E_P f*(f'(r)): pairs of P and of Q trade places, r does not."""
    right = model.variational_bound
    model.variational_bound = lambda of_p, of_q: right(of_q, of_p)  # type: ignore[method-assign]


def no_conjugate(model: FGM) -> None:
    """E_P f'(r) - E_Q f'(r): the f* is forgotten."""
    model.divergence = replace(model.divergence, model_term=model.divergence.data_term)


def density_with_the_wrong_sign(model: FGM) -> None:
    """The density estimator makes the bound looser instead of tighter."""
    right = model.density_loss

    def density_loss(batch: Batch) -> Loss:
        loss = right(batch)
        return Loss(-loss.value, loss.terms)

    model.density_loss = density_loss  # type: ignore[method-assign]


def no_generator_density(model: FGM) -> None:
    """log p_theta(x|z) is left out of the ratio."""

    def log_q_over_p(x: Tensor, z: Tensor, q) -> Tensor:  # type: ignore[no-untyped-def]
        return q.log_prob(z) - q.log_prior(z)

    model.log_q_over_p = log_q_over_p  # type: ignore[method-assign]


def joint_phase_with_the_wrong_sign(model: FGM) -> None:
    right = model.joint_loss

    def joint_loss(batch: Batch) -> Loss:
        loss = right(batch)
        return Loss(-loss.value, loss.terms)

    model.joint_loss = joint_loss  # type: ignore[method-assign]


COMMON: dict[str, Any] = {
    "model": "fgm",
    "steps": 800,
    "data": "ring",
    "batch_size": 128,
    "lr": 3e-3,
    "betas": (0.5, 0.9),
}

CHECKS = (
    LearningCheck(
        form="js",
        metric="Spearman correlation of log d with the true log-density, at 1000 test points of "
        "the ring and 1000 random places",
        measure=rank_correlation,  # type: ignore[arg-type]
        threshold=0.8,
        higher_is_better=True,
        options={"latent": 2, "divergence": "js"},
        mutants={  # type: ignore[dict-item]
            "laws exchanged": laws_exchanged,
            "density with the wrong sign": density_with_the_wrong_sign,
            "joint phase with the wrong sign": joint_phase_with_the_wrong_sign,
        },
        **COMMON,
    ),
    LearningCheck(
        form="hellinger",
        metric="mean absolute error of log d at 1000 test points of the ring, nats",
        measure=error_in_nats,  # type: ignore[arg-type]
        threshold=1.6,
        higher_is_better=False,
        options={"latent": 2, "divergence": "hellinger"},
        mutants={  # type: ignore[dict-item]
            "laws exchanged": laws_exchanged,
            "no conjugate": no_conjugate,
            "density with the wrong sign": density_with_the_wrong_sign,
        },
        **COMMON,
    ),
    LearningCheck(
        form="kl",
        metric="mean log p(x) of the generator at 1000 test points of the ring, nats",
        measure=generators_log_density,  # type: ignore[arg-type]
        threshold=-3.0,
        higher_is_better=True,
        options={"latent": 2, "divergence": "kl"},
        mutants={  # type: ignore[dict-item]
            "laws exchanged": laws_exchanged,
            "joint phase with the wrong sign": joint_phase_with_the_wrong_sign,
            "no generator density": no_generator_density,
        },
        **COMMON,
    ),
)
