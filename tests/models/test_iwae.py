"""The IWAE against what is known in closed form: linear networks and Gaussian noise (pPCA)."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal

from unigen_edu import models
from unigen_edu.declarations import Batch, Sample
from unigen_edu.densities import DiagonalNormal
from unigen_edu.exact.continuous import normal_quadrature
from unigen_edu.exact.importance import group_law, groups
from unigen_edu.models.iwae import IWAE

D, Q, B = 4, 2, 5
FORMS = ("standard", "doubly-reparameterised")


class World:
    """p(z) = N(0, I), p(x|z) = N(w z, s^2 I): posterior N(M^-1 w'x, s^2 M^-1), M = w'w + s^2 I.

    The columns of w are orthogonal, so the posterior has a diagonal covariance.
    """

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(0)
        columns = torch.linalg.qr(torch.randn(D, Q, generator=g, dtype=torch.float64)).Q
        self.w = columns * torch.tensor([1.5, 0.7], dtype=torch.float64)
        self.s2 = 0.4
        self.x = torch.randn(B, D, generator=g, dtype=torch.float64)
        self.m = (self.w.T @ self.w).diag() + self.s2
        self.posterior_mean = self.w.T / self.m[:, None]  # times x
        self.posterior_log_var = (self.s2 / self.m).log()
        covariance = self.w @ self.w.T + self.s2 * torch.eye(D, dtype=torch.float64)
        self.log_p = MultivariateNormal(torch.zeros(D).double(), covariance).log_prob(self.x)

    def model(self, mean: Tensor, log_var: Tensor, **options: object) -> IWAE:
        """q(z|x) = N(mean x, exp(log_var))."""
        model = IWAE(shape=(D,), latent=Q, likelihood="gaussian", **options).double()
        model.decoder.body = nn.Linear(Q, D).double()
        model.encoder.body = nn.Linear(D, 2 * Q).double()
        with torch.no_grad():
            model.decoder.body.weight.copy_(self.w)
            model.decoder.body.bias.zero_()
            model.decoder.log_var.fill_(log(self.s2))
            model.encoder.body.weight.zero_()
            model.encoder.body.weight[:Q] = mean
            model.encoder.body.bias.zero_()
            model.encoder.body.bias[Q:] = log_var
        return model

    def with_posterior(self, **options: object) -> IWAE:
        return self.model(self.posterior_mean, self.posterior_log_var, **options)

    def poor(self, **options: object) -> IWAE:
        shift = torch.tensor([0.5, -0.4], dtype=torch.float64)
        return self.model(0.6 * self.posterior_mean, self.posterior_log_var + shift, **options)


@pytest.fixture
def world() -> World:
    return World()


def encoder_gradient(model: IWAE, x: Tensor) -> Tensor:
    loss = model.loss("variational", Batch(x)).value
    parts = torch.autograd.grad(loss, list(model.encoder.parameters()))
    return torch.cat([part.flatten() for part in parts])


def decoder_gradient(model: IWAE, x: Tensor) -> Tensor:
    loss = model.loss("variational", Batch(x)).value
    parts = torch.autograd.grad(loss, list(model.decoder.parameters()))
    return torch.cat([part.flatten() for part in parts])


@pytest.fixture
def sigma_points(monkeypatch):
    """Replace single draws by 2 Q points whose average is exact for every quadratic function."""

    def sample(self: DiagonalNormal, k: int = 1) -> Sample:
        assert k == 1
        directions = torch.eye(Q, dtype=torch.float64) * Q**0.5
        noise = torch.cat([directions, -directions])[:, None, :]
        value = self.mean + torch.exp(0.5 * self.log_var) * noise
        return Sample(value[None], torch.full((2 * Q, 1), 1 / (2 * Q), dtype=torch.float64))

    monkeypatch.setattr(DiagonalNormal, "sample", sample)


@pytest.fixture
def quadrature(monkeypatch):
    """Replace draws of one coordinate by all groups of nodes: an expectation over k codes."""

    def sample(self: DiagonalNormal, k: int = 1) -> Sample:
        n = 101
        nodes, weight = normal_quadrature(n)
        noise = nodes[groups(n, k)].T[:, :, None, None]
        value = self.mean + torch.exp(0.5 * self.log_var) * noise
        return Sample(value, group_law(weight, k)[:, None])

    monkeypatch.setattr(DiagonalNormal, "sample", sample)


# ---- the bound -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("k", [1, 2, 7])
def test_with_the_posterior_every_group_gives_the_evidence(world, form, k):
    model = world.with_posterior(k=k, gradient=form)
    loss = model.loss("variational", Batch(world.x))
    assert loss.value.item() == pytest.approx(-world.log_p.mean().item(), abs=1e-10)
    assert loss.terms["-ELBO"].item() == pytest.approx(-world.log_p.mean().item(), abs=1e-10)
    assert loss.terms["effective draws"].item() == pytest.approx(k, abs=1e-8)


@pytest.mark.parametrize("form", FORMS)
def test_the_bound_by_torch_distributions(world, form):
    model = world.poor(k=3, gradient=form)
    torch.manual_seed(0)
    loss = model.loss("variational", Batch(world.x))
    torch.manual_seed(0)
    mean, log_var = model.encoder.body(world.x).chunk(2, -1)
    q = Normal(mean, torch.exp(log_var / 2))
    z = mean + q.stddev * torch.randn(3, B, Q, dtype=torch.float64)
    log_w = (
        Normal(0.0, 1.0).log_prob(z).sum(-1)
        + Normal(z @ world.w.T, world.s2**0.5).log_prob(world.x).sum(-1)
        - q.log_prob(z).sum(-1)
    )
    w = log_w.exp()
    assert loss.value.item() == pytest.approx(-w.mean(0).log().mean().item(), abs=1e-10)
    assert loss.terms["-ELBO"].item() == pytest.approx(-log_w.mean().item(), abs=1e-10)
    effective = (w.sum(0).square() / w.square().sum(0)).mean()
    assert loss.terms["effective draws"].item() == pytest.approx(effective.item(), abs=1e-10)


def test_more_codes_tighten_the_bound(world):
    x = world.x.repeat(2000, 1)
    torch.manual_seed(0)
    with torch.no_grad():
        found = [world.poor(k=k).loss("variational", Batch(x)).value.item() for k in (1, 4, 32)]
    truth = -world.log_p.mean().item()
    assert found[0] > found[1] + 0.05 > found[2] + 0.1
    assert truth < found[2] < truth + 0.05


# ---- the gradients -------------------------------------------------------------------------------


def test_both_forms_give_the_decoder_the_same_gradient(world):
    found = []
    for form in FORMS:
        torch.manual_seed(0)
        found.append(decoder_gradient(world.poor(k=4, gradient=form), world.x))
    assert torch.allclose(*found, atol=1e-12)
    assert found[0].abs().max() > 0.01


def test_one_code_gives_both_forms_the_gradient_of_the_closed_form_elbo(world, sigma_points):
    """ELBO of N(m, S), in closed form, against the path through exactly averaging points."""
    for form in FORMS:
        model = world.poor(k=1, gradient=form)
        mean, log_var = model.encoder.body(world.x).chunk(2, -1)
        s = log_var.exp()
        w, s2 = model.decoder.body.weight, model.decoder.log_var.exp()
        miss = (world.x - mean @ w.T - model.decoder.body.bias).square().sum(1)
        miss = miss + (s * w.square().sum(0)).sum(1)
        elbo = -0.5 * (D * torch.log(2 * torch.pi * s2) + miss / s2)
        elbo = elbo - 0.5 * (s + mean.square() - 1 - log_var).sum(1)
        parameters = [*model.encoder.parameters(), *model.decoder.parameters()]
        wanted = torch.autograd.grad(-elbo.mean(), parameters)
        found = torch.autograd.grad(model.loss("variational", Batch(world.x)).value, parameters)
        for left, right in zip(found, wanted, strict=True):
            assert torch.allclose(left, right, atol=1e-10)
        assert max(part.abs().max() for part in wanted) > 0.01


@pytest.mark.parametrize("k", [1, 2])
def test_both_forms_agree_on_average_for_any_networks(k, quadrature):
    """Curved encoder and decoder, several images: equal once every group of codes is listed."""
    torch.manual_seed(0)
    x = torch.randn(3, 2, dtype=torch.float64)
    body = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    inference = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    found = []
    for form in FORMS:
        model = IWAE(shape=(2,), latent=1, likelihood="gaussian", k=k, gradient=form).double()
        model.decoder.body, model.encoder.body = body, inference
        found.append((encoder_gradient(model, x), decoder_gradient(model, x)))
    (eta, theta), (eta_double, theta_double) = found
    assert torch.allclose(theta, theta_double, atol=1e-12)
    assert torch.allclose(eta, eta_double, atol=1e-9)
    assert eta.abs().max() > 0.01


def test_at_the_posterior_the_second_form_is_zero_for_every_draw(world):
    for k in (1, 5):
        double = world.with_posterior(k=k, gradient="doubly-reparameterised")
        assert encoder_gradient(double, world.x).abs().max() < 1e-10
        standard = world.with_posterior(k=k)
        assert encoder_gradient(standard, world.x).abs().max() > 0.01  # noise, of mean zero


def noise_of_the_encoder(world: World, k: int, form: str, rows: int = 4000) -> float:
    """sd / |mean|, over groups of codes of one image, of the gradient of q's mean."""
    mean = (0.6 * world.posterior_mean @ world.x[0]).expand(rows, Q).clone().requires_grad_()

    class Leaf(nn.Module):
        def forward(self, x: Tensor) -> DiagonalNormal:
            return DiagonalNormal(mean, (world.posterior_log_var + 0.4).expand(rows, Q))

    model = world.poor(k=k, gradient=form)
    model.encoder = Leaf()
    torch.manual_seed(0)
    value = model.loss("variational", Batch(world.x[:1].expand(rows, D))).value
    (per_row,) = torch.autograd.grad(rows * value, mean)
    return (per_row.std(0).norm() / per_row.mean(0).norm()).item()


def test_with_many_codes_only_the_second_form_is_quiet(world):
    standard, double = ({k: noise_of_the_encoder(world, k, f) for k in (1, 64)} for f in FORMS)
    assert standard[64] > 2 * standard[1]  # grows like sqrt(k)
    assert double[64] < 0.5 * double[1]  # falls like 1 / sqrt(k)


def test_every_network_is_moved(digits, small):
    for form in FORMS:
        model = small("iwae", k=3, gradient=form)
        loss = model.loss("variational", Batch(digits.images())).value
        for gradient in torch.autograd.grad(loss, list(model.parameters())):
            assert gradient.abs().max() > 0


def test_both_forms_report_the_same_numbers(digits, small):
    found = []
    for form in FORMS:
        torch.manual_seed(0)
        found.append(small("iwae", k=3, gradient=form).loss("variational", Batch(digits.images())))
    assert found[0].terms.keys() == found[1].terms.keys()
    for name, term in found[0].terms.items():
        assert torch.allclose(term, found[1].terms[name], rtol=1e-5)
        assert not term.requires_grad


# ---- the model -----------------------------------------------------------------------------------


def test_it_is_measured_and_sampled_like_a_vae(digits, small):
    model = small("iwae", k=2)
    assert model.elbo(digits.images()).shape == (21,)
    assert model.log_weights(digits.images(), 4).shape == (4, 21)
    assert model.sample(3).shape == (3, 1, 4, 4)
    assert models.create("iwae", **model.config).k == 2
    assert set(model.config) == {"shape", "network", "latent", "likelihood", "k", "gradient"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": 0}, "k is 0, but it counts the codes"),
        ({"k": 2.0}, "k is 2.0"),
        ({"k": True}, "k is True"),
        ({"gradient": "dreg"}, "no gradient 'dreg'; choose one of: standard, doubly-"),
    ],
)
def test_bad_options_are_one_sentence(options, words, small):
    with pytest.raises(ValueError, match=words) as caught:
        small("iwae", **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_an_iwae_has_no_price_of_the_code_to_change(small):
    with pytest.raises(ValueError, match="no option of 'iwae' 'beta'"):
        small("iwae", beta=2.0)
