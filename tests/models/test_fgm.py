"""f-GM where everything is known: normals, linear networks, and modes dropped on purpose."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from unigen_edu import data, models
from unigen_edu.checkpoints import load_model
from unigen_edu.declarations import Batch
from unigen_edu.divergences import F_DIVERGENCES
from unigen_edu.errors import UnigenError
from unigen_edu.models.fgm import FGM, DensityEstimator
from unigen_edu.training import fit

# One coordinate of x and one of z: x = W z + B + noise, q(z|x) = N(A x + C, .), x ~ N(M, S^2).
W, B, NOISE = 0.8, 0.3, 0.7
A, C, SPREAD = 0.3, -0.7, 0.6
M, S = 0.4, 1.1


def double(number: float) -> Tensor:
    return torch.tensor(number, dtype=torch.float64)


class ExactDensity(nn.Module):
    """log d = the log-density of a known law."""

    def __init__(self, log_density):
        super().__init__()
        self.log_density = log_density

    def forward(self, x: Tensor) -> Tensor:
        return self.log_density(x)


def linear_fgm(divergence: str = "js", a: float = A, c: float = C) -> FGM:
    model = FGM(shape=(1,), latent=1, divergence=divergence).double()
    model.decoder.body, model.encoder.body = nn.Linear(1, 1).double(), nn.Linear(1, 2).double()
    with torch.no_grad():
        model.decoder.body.weight.fill_(W)
        model.decoder.body.bias.fill_(B)
        model.decoder.log_var.fill_(2 * math.log(NOISE))
        model.encoder.body.weight.copy_(torch.tensor([[a], [0.0]], dtype=torch.float64))
        model.encoder.body.bias.copy_(torch.tensor([c, 2 * math.log(SPREAD)], dtype=torch.float64))
    model.density = ExactDensity(lambda x: Normal(double(M), double(S)).log_prob(x[:, 0]))
    return model


def joint_laws() -> tuple[MultivariateNormal, MultivariateNormal]:
    """P and Q as normals of (x, z)."""
    p_cov = [[S**2, A * S**2], [A * S**2, A**2 * S**2 + SPREAD**2]]
    q_cov = [[W**2 + NOISE**2, W], [W, 1.0]]
    p, q = (
        MultivariateNormal(
            torch.tensor(mean, dtype=torch.float64), torch.tensor(cov, dtype=torch.float64)
        )
        for mean, cov in (([M, A * M + C], p_cov), ([B, 0.0], q_cov))
    )
    return p, q


# ---- the bound, against closed forms -------------------------------------------------------------


def test_the_ratio_is_that_of_the_joint_laws():
    p, q = joint_laws()
    model = linear_fgm()
    torch.manual_seed(0)
    x, z = torch.randn(2, 50, 1, dtype=torch.float64)
    pair = torch.cat([x, z], 1)
    found = model.density(x) + model.log_q_over_p(x, z[None], model.posterior(x))[0]
    assert torch.allclose(found, p.log_prob(pair) - q.log_prob(pair), atol=1e-12, rtol=0)


def test_both_laws_are_drawn_as_they_are_declared():
    model = linear_fgm()
    torch.manual_seed(0)
    z, x, weight = model.decoder.sample_pairs(200_000)
    assert weight is None
    found = torch.cov(torch.cat([x, z[0]], 1).T)
    assert torch.allclose(found, joint_laws()[1].covariance_matrix, atol=0.02)
    batch = Batch(M + S * torch.randn(200_000, 1, dtype=torch.float64))
    of_p = model.inferred(batch)
    log_r = model.density(of_p.x) + of_p.log_q_over_p
    # E_P e^{-l} = 1 and E_Q e^l = 1 if the ratio is right.
    assert torch.exp(-log_r).mean().item() == pytest.approx(1.0, abs=0.03)
    of_q = model.generated(batch)
    log_r = model.density(of_q.x) + of_q.log_q_over_p
    assert torch.exp(log_r).mean().item() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("name", ["kl", "reverse-kl", "jeffreys", "hellinger", "alpha=0.5"])
def test_with_the_density_of_the_data_the_bound_is_the_divergence(name):
    p, q = joint_laws()
    both = (p.covariance_matrix + q.covariance_matrix) / 2
    shift = p.mean - q.mean
    affinity = (
        (p.covariance_matrix.det() * q.covariance_matrix.det()) ** 0.25
        / both.det().sqrt()
        * torch.exp(-shift @ torch.linalg.solve(both, shift) / 8)
    )
    forward, backward = kl_divergence(p, q), kl_divergence(q, p)
    wanted = {
        "kl": forward,
        "reverse-kl": backward,
        "jeffreys": forward + backward,
        "hellinger": 2 - 2 * affinity,
        "alpha=0.5": 4 - 4 * affinity,
    }[name]
    torch.manual_seed(0)
    batch = Batch(M + S * torch.randn(400_000, 1, dtype=torch.float64))
    found = linear_fgm(name).loss("joint", batch).value
    assert found.item() == pytest.approx(wanted.item(), abs=0.02)
    assert wanted > 0.1
    # Any other density lowers the bound.
    torch.manual_seed(0)
    other = linear_fgm(name)
    other.density = ExactDensity(lambda x: Normal(double(M - 0.5), double(0.7)).log_prob(x[:, 0]))
    assert other.loss("joint", Batch(batch.x)).value < found - 0.01


@pytest.mark.parametrize("name", ["js", "hellinger", "reverse-kl", "pearson"])
def test_gradients_are_those_of_the_whole_path(name):
    """With the same random numbers V is a function of theta and eta: compare with differences."""
    torch.manual_seed(0)
    x = M + S * torch.randn(64, 1, dtype=torch.float64)
    model = linear_fgm(name)
    model.density = DensityEstimator("mlp", (1,)).double()

    def loss(phase: str) -> Tensor:
        torch.manual_seed(1)
        return model.loss(phase, Batch(x)).value

    for phase, parts in (("joint", ("decoder", "encoder")), ("density", ("density",))):
        moved = [p for part in parts for p in model.get_submodule(part).parameters()]
        found = torch.autograd.grad(loss(phase), moved)
        for parameter, gradient in zip(moved, found, strict=True):
            with torch.no_grad():
                place = parameter.view(-1)[0].clone()
                values = []
                for step in (1e-5, -1e-5):
                    parameter.view(-1)[0] = place + step
                    values.append(loss(phase).item())
                parameter.view(-1)[0] = place
            slope = (values[0] - values[1]) / 2e-5
            assert gradient.view(-1)[0].item() == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_kl_takes_the_step_of_a_vae_draw_by_draw():
    """The draws of Q play no part in it, and neither does d."""
    torch.manual_seed(0)
    x = M + S * torch.randn(64, 1, dtype=torch.float64)
    model = linear_fgm("kl")
    moved = [*model.encoder.parameters(), *model.decoder.parameters()]
    torch.manual_seed(1)
    found = torch.autograd.grad(model.loss("joint", Batch(x)).value, moved)
    torch.manual_seed(1)
    wanted = torch.autograd.grad(-model.elbo(x).mean(), moved)
    for left, right in zip(found, wanted, strict=True):
        assert torch.allclose(left, right, atol=1e-12, rtol=0)
    # The noise that was left out has mean zero: its average over many draws shrinks.
    big = Batch(M + S * torch.randn(400_000, 1, dtype=torch.float64))
    of_q = model.generated(big)
    integral = torch.exp(model.density(of_q.x) + of_q.log_q_over_p).mean()
    for noise in torch.autograd.grad(integral, moved):
        assert noise.abs().max() < 0.05


def test_the_density_phase_reaches_no_other_network(digits, small):
    model = small("fgm")
    loss = model.loss("density", Batch(digits.images())).value
    others = [*model.encoder.parameters(), *model.decoder.parameters()]
    assert torch.autograd.grad(loss, others, allow_unused=True) == (None,) * len(others)


def test_pixels_are_not_clamped_in_training(small):
    torch.manual_seed(0)
    _, x, _ = small("fgm").decoder.sample_pairs(100)
    assert x.min() < -0.5
    assert x.max() > 1.5


@pytest.mark.parametrize("name", [*F_DIVERGENCES, "alpha=0.3"])
def test_every_divergence_trains_without_overflow(name, digits, small):
    """From the first step on, where the log ratio of images is hundreds of nats."""
    model = models.create("fgm", shape=(1, 8, 8), latent=2, divergence=name)
    torch.manual_seed(0)
    x = 30 * torch.rand(16, 1, 8, 8)
    for phase, part in (("density", "density"), ("joint", "encoder"), ("joint", "decoder")):
        loss = model.loss(phase, Batch(x)).value
        assert loss.isfinite()
        for gradient in torch.autograd.grad(loss, list(model.get_submodule(part).parameters())):
            assert gradient.isfinite().all()
    model = small("fgm", divergence=name)
    history = fit(model, digits, steps=3, batch_size=7, device="cpu", progress=False)
    assert set(history.terms) >= {"density/loss", "joint/loss", "density/E_P f'"}


# ---- the density ---------------------------------------------------------------------------------


def test_the_normaliser_of_the_density():
    torch.manual_seed(0)
    density = DensityEstimator("mlp", (2,)).double()
    density.body = nn.Linear(2, 1).double()
    with torch.no_grad():
        density.mean.copy_(torch.tensor([0.5, -1.0]))
        density.log_var.copy_(torch.tensor([0.2, -0.4]))
        density.body.weight.copy_(torch.tensor([[0.3, -0.7]]))
        density.body.bias.fill_(0.9)
    # E exp(w'x + b) of a normal.
    w, variance = density.body.weight[0], density.log_var.exp()
    wanted = 0.9 + w @ density.mean + (w.square() * variance).sum() / 2
    assert density.log_normaliser(200_000).item() == pytest.approx(wanted.item(), abs=0.01)
    x = torch.randn(7, 2).double()
    base = Normal(density.mean, variance.sqrt()).log_prob(x).sum(1)
    assert torch.allclose(density(x), base + x @ w + 0.9)


def test_the_generators_own_density_is_exact_for_linear_networks():
    model = linear_fgm()
    x = torch.linspace(-2, 3, 11, dtype=torch.float64)[:, None]
    wanted = Normal(double(B), double((W**2 + NOISE**2) ** 0.5)).log_prob(x[:, 0])
    torch.manual_seed(0)
    assert torch.allclose(model.log_model_density(x, 20_000), wanted, atol=0.03)
    assert torch.allclose(
        torch.logsumexp(model.log_weights(x, 20_000), 0) - math.log(20_000), wanted, atol=0.3
    )
    # ELBO = log p(x) - KL(q || posterior).
    precision = 1 + W**2 / NOISE**2
    posterior = Normal(W * (x - B) / NOISE**2 / precision, precision**-0.5)
    below = kl_divergence(Normal(A * x + C, double(SPREAD)), posterior)[:, 0]
    elbo = torch.stack([model.elbo(x) for _ in range(4000)]).mean(0)
    assert torch.allclose(elbo, wanted - below, atol=0.15)


def test_an_inference_network_that_is_far_off_does_not_make_data_missing():
    model = linear_fgm(a=0.0, c=7.0)
    x = torch.linspace(-2, 3, 11, dtype=torch.float64)[:, None]
    wanted = Normal(double(B), double((W**2 + NOISE**2) ** 0.5)).log_prob(x[:, 0])
    torch.manual_seed(0)
    assert torch.allclose(model.log_model_density(x, 20_000), wanted, atol=0.1)
    alone = torch.logsumexp(model.log_weights(x, 20_000), 0) - math.log(20_000)
    assert (alone < wanted - 1).all()


# ---- data that the generator misses --------------------------------------------------------------


@pytest.fixture
def collapsed():
    """A ring of eight modes and a generator that makes one of them, with the exact density."""
    ring = data.toy("ring")
    model = models.create("fgm", shape=(2,), latent=2)
    model.density = ExactDensity(lambda x: ring.log_density(x).float())
    with torch.no_grad():
        for parameter in model.decoder.body.parameters():
            parameter.zero_()
        model.decoder.body[-1].bias.copy_(ring.centres[3])
        model.decoder.log_var.fill_(2 * math.log(0.1))
    x, mode = ring.sample_with_modes(500, torch.Generator().manual_seed(0))
    return model, x.float(), mode


def test_exactly_the_data_of_the_dropped_modes_are_missed(collapsed):
    model, x, mode = collapsed
    found = model.missed(x, quantile=0.0)
    assert torch.equal(found.mask, mode != 3)
    # The one mode that is made gets eight times its share.
    there = found.log_model[mode == 3] - found.log_density[mode == 3]
    assert torch.allclose(there, torch.tensor(math.log(8.0)), atol=0.03)
    assert not model.missed(x, margin=1e9).mask.any()


def test_rare_data_are_not_called_missed(collapsed):
    model, x, mode = collapsed
    outliers = 1.25 * data.toy("ring").centres[:3].float()  # five deviations off three modes
    everything = torch.cat([x, outliers])
    assert model.missed(everything, quantile=0.0).mask[-3:].all()
    mask = model.missed(everything, quantile=0.1).mask
    assert not mask[-3:].any()
    assert (mask[:-3] & (mode != 3)).sum() > 0.8 * (mode != 3).sum()


def test_nothing_is_missed_by_a_generator_that_is_right():
    model = linear_fgm()
    right = Normal(double(B), double((W**2 + NOISE**2) ** 0.5))
    model.density = ExactDensity(lambda x: right.log_prob(x[:, 0]))
    torch.manual_seed(0)
    assert not model.missed(right.sample((500, 1))).mask.any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"margin": -1.0}, "margin is -1"),
        ({"margin": math.nan}, "margin is nan"),
        ({"quantile": 1.0}, "quantile is 1"),
        ({"quantile": -0.1}, "quantile is -0.1"),
        ({"k": 0}, "k is 0"),
    ],
)
def test_bad_arguments_of_missed_are_one_sentence(options, words, collapsed):
    model, x, _ = collapsed
    with pytest.raises(UnigenError, match=words):
        model.missed(x, **options)


# ---- the rest ------------------------------------------------------------------------------------


def test_sampling_inference_and_likelihood(digits, small):
    model = small("fgm")
    x = digits.images()
    assert model.sample(5).shape == (5, 1, 4, 4)
    assert (model.sample(5) >= 0).all()
    assert model.posterior(x).mean.shape == (21, 3)
    assert model.log_likelihood(x).shape == (21,)
    assert not model.log_likelihood(x).requires_grad
    assert torch.equal(model.log_likelihood(x), model.density(x))
    assert model.elbo(x).shape == model.log_model_density(x, 1).shape == (21,)
    assert model.log_weights(x, 4).shape == (4, 21)


def test_points_are_drawn_with_their_noise():
    model = models.create("fgm", shape=(2,), latent=2)
    with torch.no_grad():
        for parameter in model.decoder.body.parameters():
            parameter.zero_()
        model.decoder.log_var.fill_(2 * math.log(0.3))
    torch.manual_seed(0)
    assert model.sample(4000).std().item() == pytest.approx(0.3, abs=0.01)


def test_it_survives_a_checkpoint(digits, small, tmp_path):
    model = small("fgm", divergence="alpha=0.5")
    fit(model, digits, steps=2, batch_size=7, out=tmp_path, device="cpu", progress=False)
    again, _ = load_model(tmp_path)
    assert again.divergence.name == "alpha=0.5"
    assert torch.equal(again.log_likelihood(digits.images()), model.log_likelihood(digits.images()))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"divergence": "tv"}, "no f-divergence 'tv'"),
        ({"likelihood": "bernoulli"}, "no likelihood 'bernoulli' for f-GM"),
        ({"latent": 0}, "latent is 0"),
        ({"network": "unet"}, "no network 'unet'"),
    ],
)
def test_bad_options_are_one_sentence(options, words):
    with pytest.raises(UnigenError, match=words):
        models.create("fgm", **{"shape": (2,), **options})
