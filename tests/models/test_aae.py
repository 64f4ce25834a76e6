"""The adversarial autoencoder against numbers by hand and closed forms."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unigen_edu import models
from unigen_edu.checkpoints import parameter_checksum
from unigen_edu.data import Dataset
from unigen_edu.declarations import Batch, Sample
from unigen_edu.densities import DiagonalNormal
from unigen_edu.errors import UnigenError
from unigen_edu.models.aae import AAE, PointMass, energy_coefficient
from unigen_edu.training import fit

X = torch.tensor([[-1.0], [0.2], [1.5], [2.5]], dtype=torch.float64)
Z = torch.tensor([[0.4], [-0.8], [1.1], [3.0]], dtype=torch.float64)
PRIOR = torch.tensor([[-0.5], [0.1], [0.7], [1.3]], dtype=torch.float64)


class Codes(nn.Module):
    """An encoder whose codes are its parameters: their gradient is that of each code."""

    def __init__(self, values: torch.Tensor):
        super().__init__()
        self.values = nn.Parameter(values)

    def forward(self, x: torch.Tensor) -> PointMass:
        return PointMass(self.values)


class Copies(nn.Module):
    """q(x|z) = N(gain z, 1), up to its constant."""

    def __init__(self, gain: float):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain, dtype=torch.float64))

    def log_prob(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return -0.5 * (x - self.gain * z).square().sum(-1)


@pytest.fixture
def by_hand(line):
    def build(strength: float = 0.6) -> AAE:
        model = AAE(shape=(1,), latent=1, likelihood="gaussian", strength=strength)
        model.encoder, model.decoder = Codes(Z.clone()), Copies(0.9)
        model.discriminator = line(1.7, -0.4)
        model.prior = lambda n: Sample(PRIOR[:n])
        return model

    return build


def gradient(model, phase, parameter):
    return torch.autograd.grad(model.loss(phase, Batch(X)).value, parameter)[0]


@pytest.mark.parametrize("strength", [0.6, 0.0])
def test_the_encoders_gradient_code_by_code(strength, by_hand):
    model = by_hand(strength)
    d = torch.sigmoid(1.7 * Z - 0.4)
    # d/dz -log D = -1.7 (1 - D) and d/dz (x - 0.9 z)^2 / 2 = -0.9 (x - 0.9 z)
    delta = -1.7 * (1 - d) - strength * 0.9 * (X - 0.9 * Z)
    found = gradient(model, "encoder", model.encoder.values)
    assert torch.allclose(found, 0.5 * delta / 4, atol=1e-12, rtol=0)


def test_the_decoders_gradient_by_hand(by_hand):
    model = by_hand()
    expected = -((X - 0.9 * Z) * Z).mean()
    assert gradient(model, "decoder", model.decoder.gain).item() == pytest.approx(expected.item())


def test_the_discriminator_by_hand(by_hand):
    model = by_hand()
    d_prior, d_code = torch.sigmoid(1.7 * PRIOR - 0.4), torch.sigmoid(1.7 * Z - 0.4)
    loss = model.loss("discriminator", Batch(X))
    expected = -0.5 * (d_prior.log().mean() + (1 - d_code).log().mean())
    assert {name: term.item() for name, term in loss.terms.items()} == pytest.approx(
        {
            "loss": expected.item(),
            "D(prior)": d_prior.mean().item(),
            "D(codes)": d_code.mean().item(),
        }
    )
    offset = 0.5 * (-(1 - d_prior).mean() + d_code.mean())
    found = gradient(model, "discriminator", model.discriminator.offset)
    assert found.item() == pytest.approx(offset.item())


def test_values_and_terms_by_hand(by_hand):
    loss = by_hand(0.6).loss("encoder", Batch(X))
    minus_log_d = -torch.sigmoid(1.7 * Z - 0.4).log().mean().item()
    error = 0.5 * (X - 0.9 * Z).square().mean().item()
    assert {name: term.item() for name, term in loss.terms.items()} == pytest.approx(
        {"loss": 0.5 * (minus_log_d + 0.6 * error), "-log D": minus_log_d, "-log q(x|z)": error}
    )
    assert by_hand().loss("decoder", Batch(X)).value.item() == pytest.approx(error)


def test_losses_are_finite_for_a_certain_discriminator(by_hand):
    model = by_hand()
    model.discriminator.slope.data.fill_(1e4)
    for phase, parameter in (
        ("discriminator", model.discriminator.offset),
        ("encoder", model.encoder.values),
    ):
        assert model.loss(phase, Batch(X)).value.isfinite()
        assert gradient(model, phase, parameter).isfinite().all()


@pytest.mark.parametrize("posterior", ["deterministic", "gaussian"])
def test_each_phase_leaves_the_other_networks_alone(posterior, digits, small):
    model = small("aae", posterior=posterior)
    paths = {"discriminator": {"discriminator"}, "decoder": {"decoder"}}
    for phase, allowed in paths.items():
        value = model.loss(phase, Batch(digits.images())).value
        for part in ("encoder", "decoder", "discriminator"):
            found = torch.autograd.grad(
                value, list(getattr(model, part).parameters()), retain_graph=True, allow_unused=True
            )
            assert any(g is not None for g in found) == (part in allowed), f"{phase} and {part}"


def test_every_parameter_is_moved_by_exactly_one_phase(small):
    model = small("aae")
    moved = [id(p) for f in model.phases for m in f.moves for p in getattr(model, m).parameters()]
    assert sorted(moved) == sorted(id(p) for p in model.parameters())


def test_the_reconstruction_sums_over_pixels_and_averages_over_images(digits, small):
    model = small("aae")
    x = digits.images()
    loss = model.loss("decoder", Batch(x))
    per_pixel = F.binary_cross_entropy(model.reconstruct(x), x, reduction="none")
    assert loss.value.item() == pytest.approx(per_pixel.sum((1, 2, 3)).mean().item(), rel=1e-5)


# ---- the code ------------------------------------------------------------------------------------


def test_a_deterministic_code_has_no_noise_and_a_gaussian_one_has(digits, small):
    x = digits.images()
    sure = small("aae").encoder(x)
    assert isinstance(sure, PointMass)
    assert torch.equal(sure.sample().value, sure.sample().value)
    assert sure.sample().value.shape == (1, 21, 3)
    model = small("aae", posterior="gaussian")
    noisy = model.encoder(x)
    assert isinstance(noisy, DiagonalNormal)
    assert not torch.equal(noisy.sample().value, noisy.sample().value)
    assert torch.equal(model.encode(x), noisy.mean)


def test_the_phases_of_a_step_share_one_code(digits, small):
    model = small("aae", posterior="gaussian")
    batch = Batch(digits.images())
    assert model.codes(batch) is model.codes(batch)


def test_the_prior_is_standard_normal(small):
    torch.manual_seed(0)
    n = 20_000
    z = small("aae").prior(n).value
    assert z.shape == (n, 3)
    assert z.mean(0).abs().max() < 5 / math.sqrt(n)
    assert (z.square().mean(0) - 1).abs().max() < 5 * math.sqrt(2 / n)


def test_encode_reconstruct_sample(digits, small):
    model = small("aae")
    x = digits.images()
    z, back, drawn = model.encode(x), model.reconstruct(x), model.sample(5)
    assert z.shape == (21, 3)
    assert torch.equal(back, model.decoder(z))
    assert drawn.shape == (5, 1, 4, 4)
    for images in (back, drawn):
        assert not images.requires_grad
        assert 0 <= images.min() <= images.max() <= 1


# ---- the two-sample statistic --------------------------------------------------------------------


def test_the_energy_coefficient_by_hand():
    a, b = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [3.0]])
    # Within: 2 and 2. Between: the mean of 1, 3, 1, 1.
    assert energy_coefficient(a, b).item() == pytest.approx(1 - 4 / (2 * 1.5))
    far = energy_coefficient(a, b + 1e4).item()
    assert far == pytest.approx(1.0, abs=1e-3)


def test_the_energy_coefficient_of_two_gaussians():
    """E|a-b| in closed form: a - b is normal, and |normal| has a folded mean."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 3000, 1, generator=generator, dtype=torch.float64)
    within = 2 / math.sqrt(math.pi)
    for shift in (0.0, 0.5, 2.0):
        tail = 0.5 * math.erfc(shift / 2)  # P(N(0, 2) > shift)
        between = within * math.exp(-(shift**2) / 4) + shift * (1 - 2 * tail)
        expected = 1 - within / between
        assert energy_coefficient(a, b + shift).item() == pytest.approx(expected, abs=0.01)


def test_the_energy_coefficient_sees_spread_and_shape_too():
    g = torch.Generator().manual_seed(1)
    normal, other = torch.randn(2, 1500, 2, generator=g)
    ring = F.normalize(torch.randn(1500, 2, generator=g)) * math.sqrt(2)  # same mean and covariance
    noise = abs(energy_coefficient(normal, other).item())
    assert noise < 0.003
    assert energy_coefficient(normal, 2 * other).item() > 10 * noise
    assert energy_coefficient(normal, ring).item() > 10 * noise


def test_own_metrics_at_their_ends(small):
    torch.manual_seed(0)
    x = torch.randint(0, 256, (400, 1, 4, 4), generator=torch.Generator().manual_seed(3))
    data = Dataset(x.to(torch.uint8))
    model = small("aae")
    images = data.images()
    model.decoder.forward = lambda z: images  # knows every image
    model.encoder.forward = lambda x: PointMass(torch.randn(len(x), 3))  # follows the prior
    found = model.own_metrics(data)
    assert found["unexplained_variance"] == 0.0
    assert abs(found["codes_vs_prior"]) < 0.01
    model.decoder.forward = lambda z: images.mean(0).expand_as(images)  # knows their mean
    model.encoder.forward = lambda x: PointMass(torch.randn(len(x), 3) + 3.0)
    found = model.own_metrics(data)
    assert found["unexplained_variance"] == pytest.approx(1.0)
    assert found["codes_vs_prior"] > 0.3


# ---- construction and training -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"posterior": "laplace"}, "no posterior 'laplace'; choose one of"),
        ({"likelihood": "poisson"}, "no likelihood 'poisson'; choose one of"),
        ({"shape": (2,)}, "use likelihood='gaussian' for points"),
        ({"latent": 0}, "latent is 0"),
        ({"strength": -1}, "strength is -1"),
        ({"network": "unet"}, "no network 'unet'"),
    ],
)
def test_bad_options_are_one_sentence(options, words):
    with pytest.raises(UnigenError, match=re.escape(words)) as caught:
        models.create("aae", **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value)[-1] in ".?"


def test_the_config_builds_the_same_model(small):
    model = small("aae", posterior="gaussian", strength=0.3, seed=4)
    again = models.create("aae", seed=4, **model.config)
    assert parameter_checksum(again) == parameter_checksum(model)
    assert again.strength == 0.3


@pytest.mark.parametrize("posterior", ["deterministic", "gaussian"])
@pytest.mark.parametrize(
    ("shape", "options"),
    [((1, 28, 28), {"network": "conv"}), ((2,), {"likelihood": "gaussian"})],
)
def test_a_step_of_training_moves_every_network(shape, options, posterior):
    g = torch.Generator().manual_seed(0)
    points = len(shape) == 1
    x = (
        torch.randn(8, *shape, generator=g)
        if points
        else torch.randint(0, 256, (8, *shape), generator=g).to(torch.uint8)
    )
    model = models.create("aae", shape=shape, latent=2, posterior=posterior, **options)
    before = {n: p.clone() for n, p in model.named_parameters()}
    fit(model, Dataset(x), steps=1, batch_size=8, device="cpu", progress=False)
    still = [n for n, p in model.named_parameters() if torch.equal(p, before[n])]
    assert still == []
