"""Predictability minimisation: units that are independent, and that still say what x is.

Either alone is easy. An autoencoder without the game keeps x and has units that follow from each
other; an encoder that serves the game alone has independent units that the decoder cannot read.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tests.learning.learning_check import LearningCheck, test_data, training_data
from unigen_edu.declarations import Batch, Loss, Model, Sample, expect
from unigen_edu.models import predictability
from unigen_edu.models.predictability import PredictabilityMinimisation


def quadratic(c: Tensor) -> Tensor:
    """1, all units, and all products of two: (N, n) -> (N, 1 + n + n (n + 1) / 2)."""
    i, j = torch.triu_indices(c.shape[1], c.shape[1])
    return torch.cat([torch.ones(len(c), 1, dtype=c.dtype), c, c[:, i] * c[:, j]], 1)


def unpredictable_variance(model: PredictabilityMinimisation, seed: int) -> float:
    """Mean over units of E (c_i - P_i(c_{-i}))^2 over 1/4, P_i fitted to codes of training images.

    P_i is the best quadratic polynomial by least squares: a predictor that never played the game.
    """
    c = model.encode(training_data("mnist-mini").images()).double() - 0.5
    c_test = model.encode(test_data("mnist-mini").images()).double() - 0.5
    errors = []
    for i in range(c.shape[1]):
        others = [j for j in range(c.shape[1]) if j != i]
        features = quadratic(c[:, others])
        ridge = 1e-6 * len(c) * torch.eye(features.shape[1], dtype=c.dtype)
        fitted = torch.linalg.solve(features.T @ features + ridge, features.T @ c[:, i])
        errors.append((c_test[:, i] - quadratic(c_test[:, others]) @ fitted).square().mean())
    return 4.0 * torch.stack(errors).mean().item()


def reconstruction(model: PredictabilityMinimisation, seed: int) -> float:
    x = test_data("mnist-mini").images()
    return -model.decoder.log_prob(x, model.encode(x).unsqueeze(0)).mean().item()


def never_plays(model: Model) -> None:
    """The encoder is never told how well its units are predicted: an autoencoder."""
    model.strength = 0.0


def helps_the_predictors(model: Model) -> None:
    """The sign of the game is reversed in the encoder's phase."""
    model.strength = -model.strength  # type: ignore[operator]


def lets_predictors_see(model: Model) -> None:
    """Each predictor sees its own unit: it copies, and its error says nothing."""
    model.predictor.others.fill_(1.0)  # type: ignore[union-attr, operator]


def outruns_the_predictors(model: Model) -> None:
    """The predictors move no faster than the encoder: their guesses are always out of date."""
    slow = predictability.Predictors(model.latent, model.config["hidden"])  # type: ignore[arg-type]
    lead = predictability.LEAD

    def forward(c: Tensor) -> Tensor:
        w1 = slow.w1 * slow.others
        hidden = torch.einsum("...j,ijh->...ih", c - 0.5, w1) + slow.b1
        return (torch.nn.functional.leaky_relu(hidden, 0.2) * slow.w2).sum(-1) + slow.b2

    with torch.no_grad():
        for parameter in slow.parameters():
            parameter.mul_(lead)
    slow.forward = forward  # type: ignore[method-assign]
    model.predictor = slow


def reads_the_wrong_code(model: Model) -> None:
    """The decoder sees the code of another image."""
    assert isinstance(model, PredictabilityMinimisation)
    decoder = model.decoder
    log_prob = decoder.log_prob
    decoder.log_prob = (  # type: ignore[method-assign]
        lambda x, c: log_prob(x, c.roll(1, dims=1)) if model.training else log_prob(x, c)
    )


def does_not_hear_the_decoder(model: Model) -> None:
    """The decoder's gradient stops at the code: the encoder serves the game alone."""
    assert isinstance(model, PredictabilityMinimisation)

    def encoder_loss(batch: Batch) -> Loss:
        c, _ = model.code(batch)
        value = -expect(model.decoder.log_prob(batch.x, c.detach()))
        value = value - model.strength * expect(model.error(c))
        return Loss(value, {"loss": value.detach()})

    model.encoder_loss = encoder_loss  # type: ignore[method-assign]


def has_units_that_rest(model: Model) -> None:
    """Half of the units always say one half: the code is narrower than declared."""
    assert isinstance(model, PredictabilityMinimisation)
    sample = model.encoder.sample

    def half(x: Tensor) -> Sample:
        c = sample(x).value
        rests = torch.arange(c.shape[-1]) % 2 == 0
        return Sample(torch.where(rests, 0.5, c))

    model.encoder.sample = half  # type: ignore[method-assign]


CHECKS = (
    LearningCheck(
        model="predictability",
        form="independent",
        metric="variance of a unit that a quadratic guess from the other units leaves, in shares "
        "of 1/4 (0: it follows from them, 1: a fair coin), mnist-mini test images",
        measure=unpredictable_variance,  # type: ignore[arg-type]
        threshold=0.06,
        higher_is_better=True,
        steps=300,
        mutants={
            "no game": never_plays,
            "reversed game": helps_the_predictors,
            "predictors see their unit": lets_predictors_see,
            "encoder outruns predictors": outruns_the_predictors,
        },
    ),
    LearningCheck(
        model="predictability",
        form="informative",
        metric="cross-entropy of a reconstruction in nats, grey mnist-mini test images",
        measure=reconstruction,  # type: ignore[arg-type]
        threshold=175.0,
        higher_is_better=False,
        steps=300,
        mutants={
            "decoder reads the wrong code": reads_the_wrong_code,
            "encoder does not hear the decoder": does_not_hear_the_decoder,
        },
    ),
)
