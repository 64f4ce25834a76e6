"""Predictability minimisation run on tables: what each phase reduces, exactly, for both scores."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from unigen_edu.declarations import Batch
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.tables import conditional_entropy, entropy, mutual_information
from unigen_edu.exact.units import (
    TablePredictors,
    TableUnitDecoder,
    TableUnitEncoder,
    UnitsWorld,
)
from unigen_edu.models.predictability import PredictabilityMinimisation

SEEDS = (0, 1, 2)
TOLERANCE = 1e-12
STRENGTH = 0.7


def in_world(world: UnitsWorld, score: str) -> tuple[PredictabilityMinimisation, Batch]:
    model = PredictabilityMinimisation(
        shape=(2,), latent=world.units, strength=STRENGTH, score=score
    )
    model.encoder = TableUnitEncoder(world.theta0)
    model.decoder = TableUnitDecoder(world.psi0)
    model.predictor = TablePredictors(world.phi0)
    return model, Batch(torch.arange(len(world.p_data)), weight=world.p_data)


def phase_gradient(world: UnitsWorld, score: str, phase: str, of: str) -> tuple[Tensor, Tensor]:
    model, batch = in_world(world, score)
    value = model.loss(phase, batch).value
    (parameter,) = model.get_submodule(of).parameters()
    return value, torch.autograd.grad(value, parameter)[0]


@pytest.fixture(params=SEEDS)
def world(request) -> UnitsWorld:
    return UnitsWorld.random(request.param)


def one_unit(world: UnitsWorld, i: int) -> Tensor:
    """p(c_i, c_{-i}) by picking codes one at a time: (2, 4) for three units."""
    p_c = world.joint().sum(0)
    found = torch.zeros(2, 4, dtype=torch.float64)
    for code in range(8):
        bits = [code >> 2 & 1, code >> 1 & 1, code & 1]
        unit = bits.pop(i)
        found[unit, 2 * bits[0] + bits[1]] += p_c[code]
    return found


def test_the_tables_of_one_unit_by_hand(world):
    for i in range(3):
        assert gap(world.unit_logits(i).exp(), one_unit(world, i)) < 1e-15
    informations = [mutual_information(one_unit(world, i)) for i in range(3)]
    entropies = [entropy(one_unit(world, i).sum(1)) for i in range(3)]
    assert gap(world.information(), torch.stack(informations).sum()) < TOLERANCE
    assert gap(world.unit_entropy(), torch.stack(entropies).sum()) < TOLERANCE


# ---- squared score -------------------------------------------------------------------------------


def test_the_predictors_reduce_their_distance_from_the_conditional_mean(world):
    value, grad = phase_gradient(world, "squared", "predictor", "predictor")
    by_unit = [world.unit(i).squared_error(world.phi0[i]) for i in range(world.units)]
    assert gap(value, torch.stack(by_unit).sum()) < TOLERANCE
    assert gap(value, world.variance_left() + world.guess_error()) < TOLERANCE
    assert gap(grad, gradient(world.guess_error, world.phi0)) < TOLERANCE
    assert grad.abs().max() > 1e-3


def test_the_predictors_rest_at_the_conditional_mean(world):
    value, grad = phase_gradient(world.with_best_guesses(), "squared", "predictor", "predictor")
    assert gap(value, world.variance_left()) < TOLERANCE
    assert grad.abs().max() < TOLERANCE


def test_the_encoder_raises_what_the_predictors_lower(world):
    value, grad = phase_gradient(world, "squared", "encoder", "encoder")

    def claimed(theta: Tensor) -> Tensor:
        game = world.variance_left(theta) + world.guess_error(theta=theta)
        return world.reconstruction(theta) - STRENGTH * game

    assert gap(value, claimed(world.theta0)) < TOLERANCE
    assert gap(grad, gradient(claimed, world.theta0)) < TOLERANCE

    def without_the_guesses(theta: Tensor) -> Tensor:
        return world.reconstruction(theta) - STRENGTH * world.variance_left(theta)

    assert gap(grad, gradient(without_the_guesses, world.theta0)) > 1e-4
    _, at_best = phase_gradient(world.with_best_guesses(), "squared", "encoder", "encoder")
    assert gap(at_best, gradient(without_the_guesses, world.theta0)) < TOLERANCE

    def reversed_game(theta: Tensor) -> Tensor:
        return world.reconstruction(theta) + STRENGTH * world.variance_left(theta)

    assert gap(at_best, gradient(reversed_game, world.theta0)) > 1e-4


def test_the_decoder_reduces_a_kl(world):
    for score in ("squared", "log"):
        _, grad = phase_gradient(world, score, "encoder", "decoder")
        assert gap(grad, gradient(world.decoder_gap, world.psi0)) < TOLERANCE
        assert grad.abs().max() > 1e-3


def test_no_code_is_less_predictable_than_fair_coins(world):
    fair = torch.zeros_like(world.theta0)
    assert gap(world.variance_left(fair), world.units / 4) < TOLERANCE
    assert world.variance_left() < world.units / 4 - 1e-3


# ---- log score -----------------------------------------------------------------------------------


def test_with_the_log_score_the_predictors_reduce_a_kl(world):
    value, grad = phase_gradient(world, "log", "predictor", "predictor")
    left = [conditional_entropy(one_unit(world, i)) for i in range(3)]
    assert gap(value, torch.stack(left).sum() + world.guess_kl()) < TOLERANCE
    assert gap(grad, gradient(world.guess_kl, world.phi0)) < TOLERANCE
    assert grad.abs().max() > 1e-3


def test_with_the_log_score_the_encoder_lowers_information_and_raises_entropy(world):
    value, grad = phase_gradient(world, "log", "encoder", "encoder")

    def claimed(theta: Tensor) -> Tensor:
        game = world.information(theta) - world.unit_entropy(theta) - world.guess_kl(theta=theta)
        return world.reconstruction(theta) + STRENGTH * game

    assert gap(value, claimed(world.theta0)) < TOLERANCE
    assert gap(grad, gradient(claimed, world.theta0)) < TOLERANCE

    def information_alone(theta: Tensor) -> Tensor:
        game = world.information(theta) - world.guess_kl(theta=theta)
        return world.reconstruction(theta) + STRENGTH * game

    assert gap(grad, gradient(information_alone, world.theta0)) > 1e-4


def test_with_the_log_score_the_game_is_lemma_1_with_one_more_term(world):
    """Minimax, domain by domain: -(E KL - JSD), and the probability of the domain moves."""
    _, grad = phase_gradient(world, "log", "encoder", "encoder")

    def lemma1(theta: Tensor, moving_domain: bool) -> Tensor:
        total = world.reconstruction(theta)
        for i in range(world.units):
            unit, logits = world.predicted_unit(i), world.unit_logits(i, theta)
            total = total - STRENGTH * unit.lemma1(logits)
            if moving_domain:
                total = total + STRENGTH * unit.log_evidence(logits)
        return total

    assert gap(grad, gradient(lambda t: lemma1(t, True), world.theta0)) < 1e-10
    assert gap(grad, gradient(lambda t: lemma1(t, False), world.theta0)) > 1e-4


def test_the_two_scores_are_two_games(world):
    _, squared = phase_gradient(world, "squared", "encoder", "encoder")
    _, log_score = phase_gradient(world, "log", "encoder", "encoder")
    assert gap(squared, log_score) > 1e-4
    fair = UnitsWorld(world.p_data, 0 * world.theta0, world.psi0, 0 * world.phi0)
    value, _ = phase_gradient(fair, "log", "predictor", "predictor")
    assert gap(value, world.units * math.log(2)) < TOLERANCE
