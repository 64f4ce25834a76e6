"""Predictability minimisation against linear codes of Gaussian data, and worked out by hand."""

from __future__ import annotations

import re
from math import log

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unigen_edu import models
from unigen_edu.declarations import Batch, Sample
from unigen_edu.errors import UnigenError
from unigen_edu.models.predictability import (
    LEAD,
    PredictabilityMinimisation,
    Predictors,
    UnitEncoder,
)

D, UNITS, B = 5, 3, 400


class LinearEncoder(nn.Module):
    """c = W x, without a sigmoid."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def sample(self, x: Tensor) -> Sample:
        return Sample((x @ self.weight.T).unsqueeze(0))


class LinearPredictors(nn.Module):
    """P(c) = B c, the diagonal of B being zero."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, c: Tensor) -> Tensor:
        return c @ self.weight.T


class Silent(nn.Module):
    """A decoder that has nothing to say: log p(x|c) = 0."""

    def log_prob(self, x: Tensor, c: Tensor) -> Tensor:
        return c.sum(-1) * 0.0


@pytest.fixture
def gaussian() -> dict[str, Tensor]:
    """Data with covariance exactly S (second moments are all that linear guesses see)."""
    torch.manual_seed(0)
    x = torch.randn(B, D, dtype=torch.float64)
    x = x @ torch.randn(D, D, dtype=torch.float64)
    x = x - x.mean(0)
    w = torch.randn(UNITS, D, dtype=torch.float64)
    return {"x": x, "S": x.T @ x / B, "W": w}


def linear_game(gaussian: dict[str, Tensor], guesses: Tensor) -> PredictabilityMinimisation:
    model = PredictabilityMinimisation(shape=(D,), latent=UNITS, strength=2.5).double()
    model.encoder = LinearEncoder(gaussian["W"])
    model.predictor = LinearPredictors(guesses)
    model.decoder = Silent()
    return model


def best_guesses(gaussian: dict[str, Tensor]) -> Tensor:
    """Regression of each unit on the others, from the precision matrix: -K_ij / K_ii."""
    precision = torch.linalg.inv(gaussian["W"] @ gaussian["S"] @ gaussian["W"].T)
    return -(precision / precision.diag()[:, None]) + torch.eye(UNITS, dtype=torch.float64)


def variance_left(gaussian: dict[str, Tensor], w: Tensor) -> Tensor:
    """sum_i Var(c_i|c_{-i}) = sum_i 1 / (C^-1)_ii for the covariance C = W S W'."""
    return (1.0 / torch.linalg.inv(w @ gaussian["S"] @ w.T).diag()).sum()


# ---- linear codes: the closed form ---------------------------------------------------------------


def test_the_best_linear_predictors_leave_the_conditional_variance(gaussian):
    model = linear_game(gaussian, best_guesses(gaussian))
    loss = model.loss("predictor", Batch(gaussian["x"]))
    wanted = variance_left(gaussian, gaussian["W"])
    assert loss.value.item() == pytest.approx(wanted.item(), rel=1e-12)
    assert loss.terms["error"].item() == pytest.approx(wanted.item() / UNITS, rel=1e-12)
    (grad,) = torch.autograd.grad(loss.value, model.predictor.weight)
    off_diagonal = ~torch.eye(UNITS, dtype=torch.bool)
    assert grad[off_diagonal].abs().max() < 1e-10 * wanted


def test_against_the_best_predictors_the_encoder_climbs_the_conditional_variance(gaussian):
    """The envelope theorem: predictors are frozen, yet the gradient is that of their optimum."""
    w = gaussian["W"].clone().requires_grad_()
    (wanted,) = torch.autograd.grad(-2.5 * variance_left(gaussian, w), w)
    model = linear_game(gaussian, best_guesses(gaussian))
    loss = model.loss("encoder", Batch(gaussian["x"]))
    (grad,) = torch.autograd.grad(loss.value, model.encoder.weight)
    assert (grad - wanted).abs().max() < 1e-9 * wanted.abs().max()
    # Against poor guesses it is another direction.
    model = linear_game(gaussian, 0.5 * best_guesses(gaussian))
    loss = model.loss("encoder", Batch(gaussian["x"]))
    (grad,) = torch.autograd.grad(loss.value, model.encoder.weight)
    assert (grad - wanted).abs().max() > 1e-2 * wanted.abs().max()


def test_the_predictor_phase_is_least_squares(gaussian):
    guesses = torch.randn(UNITS, UNITS, dtype=torch.float64)
    model = linear_game(gaussian, guesses)
    loss = model.loss("predictor", Batch(gaussian["x"]))
    (grad,) = torch.autograd.grad(loss.value, model.predictor.weight)
    covariance = gaussian["W"] @ gaussian["S"] @ gaussian["W"].T
    residual = torch.eye(UNITS, dtype=torch.float64) - guesses
    assert loss.value.item() == pytest.approx((residual @ covariance @ residual.T).trace().item())
    assert torch.allclose(grad, -2 * residual @ covariance, rtol=1e-10)


# ---- by hand -------------------------------------------------------------------------------------


class GivenCodes(nn.Module):
    """The code is a parameter: its gradient is that of each unit of each image."""

    def __init__(self, codes: list[list[float]]):
        super().__init__()
        self.codes = nn.Parameter(torch.tensor(codes, dtype=torch.float64))

    def sample(self, x: Tensor) -> Sample:
        return Sample(self.codes.unsqueeze(0))


def two_units(score: str) -> PredictabilityMinimisation:
    """Codes (0.2, 0.6) and (0.8, 0.5); P_1 = c_2, P_2 = 2 c_1; lambda = 3."""
    model = PredictabilityMinimisation(shape=(2,), latent=2, strength=3.0, score=score).double()
    model.encoder = GivenCodes([[0.2, 0.6], [0.8, 0.5]])
    model.predictor = LinearPredictors(torch.tensor([[0.0, 1.0], [2.0, 0.0]]).double())
    model.decoder = Silent()
    return model


def test_the_squared_error_by_hand():
    # (0.2 - 0.6)^2 + (0.6 - 0.4)^2 = 0.2 and (0.8 - 0.5)^2 + (0.5 - 1.6)^2 = 1.3; mean 0.75
    model = two_units("squared")
    batch = Batch(torch.zeros(2, 2).double())
    assert model.loss("predictor", batch).value.item() == pytest.approx(0.75, abs=1e-12)
    loss = model.loss("encoder", batch)
    assert loss.value.item() == pytest.approx(-2.25, abs=1e-12)
    (grad,) = torch.autograd.grad(loss.value, model.encoder.codes)
    # First image: d/dc_1 of the error = 2 (0.2-0.6) - 2*2 (0.6-0.4) = -1.6, as target and as input;
    # d/dc_2 = -2 (0.2-0.6) + 2 (0.6-0.4) = 1.2. Times -lambda/2 for the mean of two images.
    # Second: 2 (0.3) - 4 (-1.1) = 5 and -2 (0.3) + 2 (-1.1) = -2.8.
    wanted = torch.tensor([[2.4, -1.8], [-7.5, 4.2]]).double()
    assert torch.allclose(grad, wanted, atol=1e-12)


def test_the_log_score_is_the_cross_entropy_of_torch():
    model = two_units("log")
    codes = torch.tensor([[0.2, 0.6], [0.8, 0.5]], dtype=torch.float64)
    logits = torch.tensor([[0.6, 0.4], [0.5, 1.6]], dtype=torch.float64)
    wanted = F.binary_cross_entropy_with_logits(logits, codes, reduction="none").sum(1).mean()
    batch = Batch(torch.zeros(2, 2).double())
    assert model.loss("predictor", batch).value.item() == pytest.approx(wanted.item(), abs=1e-12)
    assert model.loss("encoder", batch).value.item() == pytest.approx(-3 * wanted.item(), abs=1e-12)


def test_the_log_score_is_happiest_with_units_that_say_nothing():
    """All units at 1/2 cost the predictors log 2 each, the most there is; the square is then 0."""
    for score, wanted in (("log", 2 * log(2)), ("squared", 0.0)):
        model = two_units(score)
        model.encoder = GivenCodes([[0.5, 0.5], [0.5, 0.5]])
        model.predictor = LinearPredictors(torch.zeros(2, 2).double())
        if score == "squared":
            model.predictor = LinearPredictors(torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double())
        found = model.loss("predictor", Batch(torch.zeros(2, 2).double())).value
        assert found.item() == pytest.approx(wanted, abs=1e-12)


def test_extreme_logits_stay_finite():
    model = two_units("log")
    model.predictor = LinearPredictors(torch.tensor([[0.0, 1e4], [-1e4, 0.0]]).double())
    for phase in ("predictor", "encoder"):
        assert torch.isfinite(model.loss(phase, Batch(torch.zeros(2, 2).double())).value)


def test_the_reconstruction_is_the_decoders_and_sums_over_pixels(digits, small):
    model = small("predictability", strength=0.0)
    x = digits.images()
    loss = model.loss("encoder", Batch(x))
    logits = model.decoder.body(model.encoder(x))
    wanted = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    assert loss.value.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert loss.terms["reconstruction"].item() == pytest.approx(wanted.item(), rel=1e-5)
    parts = [*model.encoder.parameters(), *model.decoder.parameters()]
    found = torch.autograd.grad(loss.value, parts)
    for gradient, right in zip(found, torch.autograd.grad(wanted, parts), strict=True):
        assert torch.allclose(gradient, right, atol=1e-5)  # the decoder's reaches the encoder
    assert found[0].abs().max() > 1e-4


# ---- networks ------------------------------------------------------------------------------------


def test_a_guess_depends_on_every_other_unit_but_not_on_its_own():
    torch.manual_seed(0)
    predictors = Predictors(4, 8)
    slopes = torch.autograd.functional.jacobian(predictors, torch.rand(4))
    own = torch.eye(4, dtype=torch.bool)
    assert (slopes[own] == 0).all()
    assert (slopes[~own].abs() > 1e-4).all()


def test_predictors_are_one_network_for_each_unit():
    torch.manual_seed(0)
    predictors, c = Predictors(4, 8), torch.rand(3, 5, 4)
    for i in range(4):
        others = [j for j in range(4) if j != i]
        hidden = (c[..., others] - 0.5) @ (LEAD * predictors.w1[i, others])
        hidden = hidden + LEAD * predictors.b1[i]
        wanted = F.leaky_relu(hidden, 0.2) @ (LEAD * predictors.w2[i]) + LEAD * predictors.b2[i]
        assert torch.allclose(predictors(c)[..., i], wanted, atol=1e-5)


def test_a_step_moves_the_predictors_further_by_their_lead():
    torch.manual_seed(0)
    predictors = Predictors(3, 4)
    before = LEAD * predictors.b2.detach().clone()
    optimiser = torch.optim.Adam(predictors.parameters(), lr=1e-4)
    predictors(torch.rand(2, 3)).sum().backward()
    optimiser.step()
    moved = (LEAD * predictors.b2 - before).abs()
    assert torch.allclose(moved, torch.full((3,), LEAD * 1e-4), rtol=1e-2)


def test_a_step_encodes_once_and_the_predictors_leave_the_encoder_alone(digits, small):
    model = small("predictability")
    calls = []
    sample = model.encoder.sample
    model.encoder.sample = lambda x: calls.append(len(x)) or sample(x)
    batch = Batch(digits.images())
    loss = model.loss("predictor", batch)
    others = [*model.encoder.parameters(), *model.decoder.parameters()]
    found = torch.autograd.grad(loss.value, others, allow_unused=True)
    assert all(gradient is None for gradient in found)
    loss = model.loss("encoder", batch)
    for gradient in torch.autograd.grad(loss.value, list(model.encoder.parameters())):
        assert torch.isfinite(gradient).all()
    assert calls == [21]


def test_codes_are_normalised_over_the_batch_in_training_and_by_running_averages_after(digits):
    torch.manual_seed(0)
    encoder = UnitEncoder("mlp", (1, 4, 4), 3)
    x = digits.images()
    logits = torch.logit(encoder(x).double())
    assert torch.allclose(logits.mean(0), torch.zeros(3).double(), atol=1e-4)
    assert torch.allclose(logits.var(0, unbiased=False), torch.ones(3).double(), atol=0.05)
    model = models.create("predictability", shape=(1, 4, 4), latent=3)
    assert model.training
    code = model.encode(x)
    assert model.encoder.training
    assert torch.allclose(model.encode(x[:1]), code[:1], atol=1e-6)
    assert ((code > 0) & (code < 1)).all()
    assert torch.allclose(model.reconstruct(x), torch.sigmoid(model.decoder.body(code)))


def test_samples_are_decoded_coins(small, monkeypatch):
    model = small("predictability")
    seen = []
    monkeypatch.setattr(model.decoder, "forward", lambda c: seen.append(c) or c)
    torch.manual_seed(0)
    model.sample(4000)
    assert seen[0].shape == (4000, 3)
    assert set(seen[0].unique().tolist()) == {0.0, 1.0}
    assert (seen[0].mean(0) - 0.5).abs().max() < 5 * 0.5 / 4000**0.5


def test_points_in_the_plane_have_a_gaussian_decoder():
    model = models.create("predictability", shape=(2,), latent=4)
    assert model.decoder.likelihood == "gaussian"
    assert model.sample(3).shape == (3, 2)
    assert torch.isfinite(model.loss("encoder", Batch(torch.randn(8, 2))).value)


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"latent": 0}, "latent is 0"),
        ({"latent": 1}, "latent is 1, but a unit is predicted from the others"),
        ({"hidden": 0}, "hidden is 0"),
        ({"strength": -1.0}, "strength is -1.0"),
        ({"strength": float("inf")}, "strength is inf"),
        ({"strength": "much"}, "strength is 'much'"),
        ({"strength": True}, "strength is True"),
        ({"score": "cubic"}, "no score 'cubic'; choose one of: squared, log"),
    ],
)
def test_options_out_of_range_are_one_sentence(options, words):
    with pytest.raises(UnigenError, match=re.escape(words)) as caught:
        models.create("predictability", **options)
    assert "\n" not in str(caught.value)


def test_a_single_image_cannot_be_normalised(digits, small):
    with pytest.raises(UnigenError, match="batch_size of at least 2"):
        small("predictability").loss("predictor", Batch(digits.images()[:1]))
