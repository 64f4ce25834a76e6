"""The GAN's losses against numbers worked out by hand and against their closed-form gradients."""

from __future__ import annotations

from math import log

import pytest
import torch

from unigen_edu.declarations import Batch
from unigen_edu.models.gan import GAN

# D(data) = 1/2, 3/4 and D(generated) = 1/4, 1/2 when a(x) = x.
X_DATA = torch.tensor([[0.0], [log(3.0)]], dtype=torch.float64)
X_GENERATED = torch.tensor([[-log(3.0)], [0.0]], dtype=torch.float64)


@pytest.fixture
def by_hand(draws, line):
    def build(objective: str = "non-saturating", x_g=X_GENERATED, **slope: float):
        model = GAN(shape=(1,), objective=objective)
        model.generator = draws(x_g.clone())
        model.discriminator = line(**slope)
        return model

    return build


def gradient(model, phase, batch, parameter):
    return torch.autograd.grad(model.loss(phase, batch).value, parameter)[0]


def test_the_discriminators_loss_by_hand(by_hand):
    loss = by_hand().loss("discriminator", Batch(X_DATA))
    # 1/2 mean(log 2, log 4/3) + 1/2 mean(log 4/3, log 2)
    assert loss.value.item() == pytest.approx(0.5 * log(8 / 3), abs=1e-12)
    assert {name: term.item() for name, term in loss.terms.items()} == pytest.approx(
        {"loss": 0.5 * log(8 / 3), "D(data)": 5 / 8, "D(generated)": 3 / 8}
    )


@pytest.mark.parametrize(
    ("objective", "value"),
    [
        ("non-saturating", 0.75 * log(2)),  # -1/2 mean(log 1/4, log 1/2)
        ("minimax", 0.25 * log(3 / 8)),  # 1/2 mean(log 3/4, log 1/2)
    ],
)
def test_the_generators_loss_by_hand(objective, value, by_hand):
    loss = by_hand(objective).loss("generator", Batch(X_DATA))
    assert loss.value.item() == pytest.approx(value, abs=1e-12)


def test_the_discriminators_gradient(by_hand):
    torch.manual_seed(0)
    x, x_g = torch.randn(2, 6, 1, dtype=torch.float64)
    model = by_hand(x_g=x_g, slope=1.7, offset=-0.4)
    d, d_g = (torch.sigmoid(1.7 * points - 0.4) for points in (x, x_g))
    # d/da -log D = -(1 - D) and d/da -log(1 - D) = D
    offset = 0.5 * (-(1 - d).mean() + d_g.mean())
    slope = 0.5 * (-((1 - d) * x).mean() + (d_g * x_g).mean())
    found = [
        gradient(model, "discriminator", Batch(x), p) for p in model.discriminator.parameters()
    ]
    assert torch.allclose(torch.stack(found), torch.stack([slope, offset]), atol=1e-12, rtol=0)


@pytest.mark.parametrize("objective", ["non-saturating", "minimax"])
def test_the_generators_gradient_draw_by_draw(objective, by_hand):
    torch.manual_seed(0)
    x_g = torch.randn(6, 1, dtype=torch.float64)
    model = by_hand(objective, x_g, slope=1.7, offset=-0.4)
    d = torch.sigmoid(1.7 * x_g - 0.4)
    slope = {"non-saturating": -(1 - d), "minimax": -d}[objective] * 1.7
    found = gradient(model, "generator", Batch(x_g), model.generator.values)
    assert torch.allclose(found, 0.5 * slope / 6, atol=1e-12, rtol=0)


def test_minimax_is_the_discriminators_game_and_non_saturating_is_not(by_hand):
    # The minimax generator ascends what the discriminator descends; data play no part in it.
    def own_and_opponents(objective):
        model = by_hand(objective, slope=1.7)
        own = gradient(model, "generator", Batch(X_DATA), model.generator.values)
        a_g = model.discriminator(model.generator.values)
        loss = 0.5 * torch.nn.functional.softplus(a_g).mean()  # without the detach
        return own, torch.autograd.grad(loss, model.generator.values)[0]

    own, opponents = own_and_opponents("minimax")
    assert torch.allclose(own, -opponents, atol=1e-12, rtol=0)
    own, opponents = own_and_opponents("non-saturating")
    assert not torch.allclose(own, -opponents, atol=1e-2)


def test_the_minimax_gradient_vanishes_where_the_generator_is_worst(by_hand):
    bad = torch.full((2, 1), -20.0, dtype=torch.float64)
    for objective, size in (("minimax", 0.0), ("non-saturating", 0.25)):
        model = by_hand(objective, bad)
        found = gradient(model, "generator", Batch(X_DATA), model.generator.values)
        assert found.abs().max().item() == pytest.approx(size, abs=1e-8)


def test_losses_are_finite_for_a_certain_discriminator(by_hand):
    far = torch.tensor([[-1e4], [1e4]], dtype=torch.float64)
    for objective in ("minimax", "non-saturating"):
        model = by_hand(objective, far)
        for phase, parameter in (
            ("discriminator", model.discriminator.offset),
            ("generator", model.generator.values),
        ):
            loss = model.loss(phase, Batch(far))
            assert loss.value.isfinite()
            assert gradient(model, phase, Batch(far), parameter).isfinite().all()


def test_the_discriminators_step_has_no_path_to_the_generator(digits, small):
    model = small("gan")
    loss = model.loss("discriminator", Batch(digits.images())).value
    found = torch.autograd.grad(loss, list(model.generator.parameters()), allow_unused=True)
    assert found == (None,) * len(found)
    assert all(p.grad is None for p in model.parameters())


def test_the_generators_step_goes_through_the_discriminator_and_past_the_data(digits, small):
    model = small("gan")
    batch = Batch(digits.images())
    loss = model.loss("generator", batch).value
    found = torch.autograd.grad(loss, list(model.generator.parameters()))
    assert all(g.isfinite().all() for g in found)
    assert max(float(g.abs().max()) for g in found) > 0
    other = Batch(torch.zeros_like(batch.x))
    other.once("generated", lambda: model.generated(batch))
    assert torch.equal(model.loss("generator", other).value, loss)


def test_there_are_as_many_draws_as_data(digits, small):
    model = small("gan")
    assert model.generated(Batch(digits.images())).value.shape == (21, 1, 4, 4)
