"""The VAE against the one case that is solved: linear networks and Gaussian noise (pPCA)."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from unigen_edu.declarations import Batch, Sample
from unigen_edu.densities import DiagonalNormal
from unigen_edu.models.vae import VAE

D, Q, B = 5, 2, 6
SIGMA_2 = 0.3


def linear_vae(w: Tensor, mu: Tensor, encoder_mean: Tensor, log_var: Tensor) -> VAE:
    """x = w z + mu + noise, q(z|x) = N(encoder_mean (x - mu), exp(log_var)): w (D, Q)."""
    model = VAE(shape=(D,), latent=Q, likelihood="gaussian").double()
    model.decoder.body = nn.Linear(Q, D).double()
    model.encoder.body = nn.Linear(D, 2 * Q).double()
    with torch.no_grad():
        model.decoder.body.weight.copy_(w)
        model.decoder.body.bias.copy_(mu)
        model.decoder.log_var.fill_(log(SIGMA_2))
        model.encoder.body.weight.zero_()
        model.encoder.body.weight[:Q] = encoder_mean
        model.encoder.body.bias[:Q] = -encoder_mean @ mu
        model.encoder.body.bias[Q:] = log_var
    return model


@pytest.fixture
def world() -> dict[str, Tensor]:
    torch.manual_seed(0)
    w = torch.randn(D, Q, dtype=torch.float64)
    w[:, 1] += 0.8 * w[:, 0]  # columns far from orthogonal
    mu = torch.randn(D, dtype=torch.float64)
    x = torch.randn(B, D, dtype=torch.float64) + mu
    m = w.T @ w + SIGMA_2 * torch.eye(Q, dtype=torch.float64)
    evidence = MultivariateNormal(mu, w @ w.T + SIGMA_2 * torch.eye(D, dtype=torch.float64))
    return {"w": w, "mu": mu, "x": x, "M": m, "log_p": evidence.log_prob(x)}


def with_orthogonal_columns(world: dict[str, Tensor]) -> dict[str, Tensor]:
    w = torch.linalg.qr(world["w"]).Q * torch.tensor([1.5, 0.7], dtype=torch.float64)
    m = w.T @ w + SIGMA_2 * torch.eye(Q, dtype=torch.float64)
    law = MultivariateNormal(world["mu"], w @ w.T + SIGMA_2 * torch.eye(D, dtype=torch.float64))
    return {**world, "w": w, "M": m, "log_p": law.log_prob(world["x"])}


def with_exact_mean(world: dict[str, Tensor]) -> VAE:
    """Posterior mean exactly; the best diagonal variance, sigma^2 / M_ii."""
    mean = torch.linalg.solve(world["M"], world["w"].T)
    return linear_vae(world["w"], world["mu"], mean, (SIGMA_2 / world["M"].diag()).log())


@pytest.fixture
def sigma_points(monkeypatch):
    """Replace draws by 2 Q points whose average is exact for every quadratic function."""

    def sample(self: DiagonalNormal, k: int = 1) -> Sample:
        directions = torch.eye(Q, dtype=torch.float64) * Q**0.5
        noise = torch.cat([directions, -directions])[:, None, :]
        return Sample(self.mean + torch.exp(0.5 * self.log_var) * noise)

    monkeypatch.setattr(DiagonalNormal, "sample", sample)


# ---- the bound -----------------------------------------------------------------------------------


def test_with_the_exact_posterior_every_draw_gives_the_evidence(world):
    world = with_orthogonal_columns(world)
    log_w = with_exact_mean(world).log_weights(world["x"], 7)
    assert log_w.shape == (7, B)
    assert torch.allclose(log_w, world["log_p"].expand(7, B), atol=1e-10, rtol=0)


def test_with_the_exact_posterior_the_elbo_is_the_evidence(world, sigma_points):
    world = with_orthogonal_columns(world)
    elbo = with_exact_mean(world).elbo(world["x"])
    assert elbo.shape == (B,)
    assert torch.allclose(elbo, world["log_p"], atol=1e-10, rtol=0)


def test_the_best_diagonal_encoder_misses_the_evidence_by_the_known_gap(world, sigma_points):
    gap = 0.5 * (world["M"].diag().log().sum() - world["M"].logdet())
    assert gap > 0.01
    elbo = with_exact_mean(world).elbo(world["x"])
    assert torch.allclose(elbo, world["log_p"] - gap, atol=1e-10, rtol=0)


def test_the_elbo_of_any_encoder(world, sigma_points):
    w, mu, x = world["w"], world["mu"], world["x"]
    mean = torch.randn(Q, D, dtype=torch.float64)
    log_var = torch.randn(Q, dtype=torch.float64)
    m, s = (x - mu) @ mean.T, log_var.exp()
    residual = (x - mu - m @ w.T).square().sum(1) + (w.square() @ s).sum()
    log_likelihood = -0.5 * (D * log(2 * torch.pi * SIGMA_2) + residual / SIGMA_2)
    kl_q_p = 0.5 * (s.sum() + m.square().sum(1) - Q - log_var.sum())
    model = linear_vae(w, mu, mean, log_var)
    found = model.elbo_terms(x)
    assert torch.allclose(found[0], log_likelihood, atol=1e-10, rtol=0)
    assert torch.allclose(found[1], kl_q_p, atol=1e-10, rtol=0)
    assert torch.allclose(model.elbo(x), log_likelihood - kl_q_p, atol=1e-10, rtol=0)
    # log p(x) - ELBO = KL(q(z|x) || p(z|x)) >= 0
    posterior = MultivariateNormal(
        torch.linalg.solve(world["M"], w.T @ (x - mu).T).T, SIGMA_2 * torch.linalg.inv(world["M"])
    )
    gap = kl_divergence(MultivariateNormal(m, torch.diag(s)), posterior)
    assert torch.allclose(world["log_p"] - model.elbo(x), gap, atol=1e-9, rtol=0)


def test_one_draw_estimates_the_elbo_without_bias(world):
    model = with_exact_mean(world)
    gap = 0.5 * (world["M"].diag().log().sum() - world["M"].logdet())
    torch.manual_seed(0)
    with torch.no_grad():
        draws = model.elbo(world["x"][:1].expand(4000, D))
    error = draws.mean() - (world["log_p"][0] - gap)
    assert error.abs() < 4 * draws.std() / 4000**0.5


def test_the_importance_weighted_bound_grows_with_k_and_stays_below(world):
    mean = 0.7 * torch.linalg.solve(world["M"], world["w"].T)  # a poor encoder
    model = linear_vae(world["w"], world["mu"], mean, torch.zeros(Q, dtype=torch.float64))
    torch.manual_seed(0)
    with torch.no_grad():
        bounds = {}
        for k in (1, 4, 32):
            log_w = model.log_weights(world["x"].repeat(3000, 1), k)
            bounds[k] = (torch.logsumexp(log_w, 0) - log(k)).reshape(3000, B).mean(0)
        many = torch.logsumexp(model.log_weights(world["x"], 100_000), 0) - log(100_000)
    assert (bounds[1] + 0.05 < bounds[4]).all()
    assert (bounds[4] + 0.05 < bounds[32]).all()
    assert (bounds[32] < world["log_p"]).all()
    assert torch.allclose(many, world["log_p"], atol=0.1)


def test_log_weights_average_to_the_elbo(world, sigma_points):
    mean = torch.randn(Q, D, dtype=torch.float64)
    model = linear_vae(world["w"], world["mu"], mean, torch.randn(Q, dtype=torch.float64))
    found = model.log_weights(world["x"], 1).mean(0)
    assert torch.allclose(found, model.elbo(world["x"]), atol=1e-10, rtol=0)


# ---- the loss ------------------------------------------------------------------------------------


def test_the_loss_is_minus_the_mean_elbo(digits, small):
    model = small("vae")
    x = digits.images()
    torch.manual_seed(0)
    elbo = model.elbo(x)
    torch.manual_seed(0)
    loss = model.loss("variational", Batch(x))
    assert torch.allclose(loss.value, -elbo.mean())
    parts = loss.terms["reconstruction"] + loss.terms["KL(q||p)"]
    assert torch.allclose(parts, loss.value)
    assert loss.terms["reconstruction"] > 0


def test_the_kl_term_is_that_of_torch(digits, small):
    model = small("vae")
    q = model.encoder(digits.images())
    wanted = kl_divergence(Normal(q.mean, torch.exp(q.log_var / 2)), Normal(0.0, 1.0))
    found = model.loss("variational", Batch(digits.images())).terms["KL(q||p)"]
    assert found.item() == pytest.approx(wanted.sum(1).mean().item(), rel=1e-5)
    assert found > 0


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 5, 2)])
def test_pixels_are_summed_and_images_are_averaged(shape, batch):
    class Undecided(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return torch.zeros(len(z), *shape, dtype=z.dtype)

    # In float64: a new encoder's KL is a small difference of numbers near 1.
    model = VAE(shape=shape, latent=3).double()
    model.decoder.body = Undecided()
    pixels = shape[0] * shape[1] * shape[2]
    x = torch.rand(batch, *shape, dtype=torch.float64)
    terms = model.loss("variational", Batch(x)).terms
    assert terms["reconstruction"].item() == pytest.approx(pixels * log(2), rel=1e-6)
    one = model.loss("variational", Batch(x[:1])).terms["KL(q||p)"]
    many = model.loss("variational", Batch(x[:1].expand(batch, *shape))).terms["KL(q||p)"]
    assert torch.allclose(one, many)


def test_both_networks_get_a_gradient(digits, small):
    model = small("vae")
    loss = model.loss("variational", Batch(digits.images())).value
    for gradient in torch.autograd.grad(loss, list(model.parameters())):
        assert gradient.abs().max() > 0


def test_training_reaches_the_evidence_of_the_best_linear_model():
    # Data from a known model: the trained bound must come within noise of the true evidence, and
    # can exceed it on average by no more than what fitting the sample explains.
    from unigen_edu.data import Dataset
    from unigen_edu.training import fit

    torch.manual_seed(0)
    w = torch.linalg.qr(torch.randn(D, Q)).Q * torch.tensor([2.0, 1.0])
    x = torch.randn(2000, Q) @ w.T + SIGMA_2**0.5 * torch.randn(2000, D)
    covariance = x.T @ x / len(x)
    values = torch.linalg.eigvalsh(covariance.double()).flip(0)
    noise = values[Q:].mean()
    # Tipping and Bishop: the largest likelihood that any model of this family reaches.
    best = -0.5 * (D * log(2 * torch.pi) + values[:Q].log().sum() + (D - Q) * noise.log() + D)

    model = VAE(shape=(D,), latent=Q, likelihood="gaussian")
    model.decoder.body, model.encoder.body = nn.Linear(Q, D), nn.Linear(D, 2 * Q)
    fit(model, Dataset(x), steps=700, batch_size=200, lr=1e-2, device="cpu", progress=False)
    with torch.no_grad():
        reached = torch.stack([model.elbo(x).mean() for _ in range(50)]).mean().double()
    assert reached < best + 0.01
    assert reached > best - 0.05


def test_samples_are_the_decoders_means(digits, small):
    model = small("vae")
    torch.manual_seed(0)
    x = model.sample(4)
    torch.manual_seed(0)
    assert torch.equal(x, torch.sigmoid(model.decoder.body(torch.randn(4, 3))))
    assert ((x > 0.01) & (x < 0.99)).any()  # grey, not drawn


@pytest.mark.parametrize("k", [0, -1, 1.5])
def test_a_bound_needs_a_draw(k, digits, small):
    with pytest.raises(ValueError, match="k is"):
        small("vae").log_weights(digits.images(), k)


# ---- beta and free bits --------------------------------------------------------------------------


def test_beta_multiplies_the_kl_and_nothing_else(digits, small):
    x = digits.images()
    for beta in (0.0, 0.5, 1.0, 784.0):
        model = small("vae", beta=beta)
        torch.manual_seed(0)
        value, terms = model.loss("variational", Batch(x))
        wanted = terms["reconstruction"] + beta * terms["KL(q||p)"]
        assert torch.allclose(value, wanted, rtol=1e-6)
        torch.manual_seed(0)
        elbo = model.elbo(x).mean()  # what is reported is the ELBO, whatever beta is
        assert torch.allclose(elbo, -terms["reconstruction"] - terms["KL(q||p)"], rtol=1e-6)


def test_a_mean_over_pixels_is_a_beta_as_large_as_the_image(digits, small):
    # What chapter 10 says of a famous mistake: dividing the reconstruction by the number of pixels
    # is, up to a factor, a VAE with that beta.
    model = small("vae", beta=16.0)
    x = digits.images()
    torch.manual_seed(0)
    q = model.encoder(x)
    mistaken = (q.kl_q_p() - model.decoder.log_prob(x, q.sample().value)[0] / 16).mean()
    torch.manual_seed(0)
    assert torch.allclose(model.loss("variational", Batch(x)).value, 16 * mistaken, rtol=1e-6)


def with_coordinates(mean: list[list[float]], free_bits: float, beta: float = 1.0) -> VAE:
    """A VAE for points; the encoder answers N(mean_i, I) to the i-th, so KL_ij = mean_ij^2/2."""

    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = nn.Parameter(torch.tensor(mean))

        def forward(self, x: Tensor) -> DiagonalNormal:
            return DiagonalNormal(self.mean, torch.zeros_like(self.mean))

    model = VAE(
        shape=(2,), latent=len(mean[0]), likelihood="gaussian", free_bits=free_bits, beta=beta
    )
    model.encoder = Fixed()
    return model


def test_free_bits_by_hand():
    # KL of the coordinates: (0.5, 0, 2) and (0, 0, 4.5); batch means 0.25, 0, 3.25.
    mean = [[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]]
    model = with_coordinates(mean, free_bits=0.5, beta=2.0)
    value, terms = model.loss("variational", Batch(torch.zeros(2, 2)))
    assert terms["KL(q||p)"].item() == pytest.approx(3.5)
    price = (value - terms["reconstruction"]).item()
    assert price == pytest.approx(2.0 * (0.5 + 0.5 + 3.25), rel=1e-5)
    # Clamping each image by itself would charge 0.5 + 0.5 + 2 and 0.5 + 0.5 + 4.5, on average 4.25
    # as well; so compare where the two differ: only the mean of the first coordinate counts.
    model = with_coordinates(mean, free_bits=0.2)
    value, terms = model.loss("variational", Batch(torch.zeros(2, 2)))
    price = (value - terms["reconstruction"]).item()
    assert price == pytest.approx(0.25 + 0.2 + 3.25, rel=1e-5)  # per image: 0.35 + 0.2 + 3.25


def test_a_coordinate_below_its_free_bits_is_not_pushed():
    mean = [[1.0, 0.1, 2.0], [0.0, 0.1, 3.0]]
    model = with_coordinates(mean, free_bits=0.5)
    q = model.encoder(torch.zeros(2, 2))
    price = model.price_above_free_bits(q, None)
    (push,) = torch.autograd.grad(price, model.encoder.mean)
    assert torch.equal(push[:, :2], torch.zeros(2, 2))
    assert torch.allclose(push[:, 2], torch.tensor([1.0, 1.5]))  # mean / B


def test_weights_of_a_finite_world_reach_the_free_bits():
    mean = [[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]]
    model = with_coordinates(mean, free_bits=0.2)
    weight = torch.tensor([0.9, 0.1])
    value, terms = model.loss("variational", Batch(torch.zeros(2, 2), weight=weight))
    price = (value - terms["reconstruction"]).item()
    assert price == pytest.approx(0.45 + 0.2 + (0.9 * 2 + 0.1 * 4.5), rel=1e-5)


def test_without_the_options_nothing_has_changed(digits, small):
    plain, spelled_out = small("vae"), small("vae", beta=1.0, free_bits=0.0)
    assert plain.config == spelled_out.config
    assert set(plain.config) == {"shape", "network", "latent", "likelihood"}
    model, x = small("vae"), digits.images()
    torch.manual_seed(0)
    log_likelihood, kl_q_p = model.elbo_terms(x)
    torch.manual_seed(0)
    value = model.loss("variational", Batch(x)).value
    assert torch.equal(value, -log_likelihood.mean() + kl_q_p.mean())  # to the bit


def test_used_options_are_kept_with_the_model(small):
    from unigen_edu import models

    config = small("vae", beta=4, free_bits=0.25).config
    assert config["beta"] == 4
    assert config["free_bits"] == 0.25
    assert models.create("vae", **config).free_bits == 0.25


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("beta", -0.1),
        ("beta", 1001),
        ("beta", float("nan")),
        ("beta", "1"),
        ("beta", True),
        ("free_bits", -1e-9),
        ("free_bits", 11.0),
        ("free_bits", float("inf")),
        ("free_bits", None),
    ],
)
def test_options_out_of_range_are_one_sentence(option, value, small):
    with pytest.raises(ValueError, match=f"{option} is .*: give a number from 0 to") as caught:
        small("vae", **{option: value})
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_free_bits_keep_coordinates_in_use():
    # Points along one line need one coordinate; the others are given up unless they cost nothing.
    from unigen_edu.data import Dataset
    from unigen_edu.training import fit

    torch.manual_seed(0)
    x = torch.randn(1000, 1) * torch.tensor([2.0, 1.0]) + 0.3 * torch.randn(1000, 2)
    in_use = {}
    for free_bits in (0.0, 0.5):
        torch.manual_seed(1)
        model = VAE(shape=(2,), latent=4, likelihood="gaussian", free_bits=free_bits)
        fit(model, Dataset(x), steps=200, batch_size=100, lr=5e-3, device="cpu", progress=False)
        with torch.no_grad():
            kl = model.encoder(x).kl_q_p_by_coordinate().mean(0)
        in_use[free_bits] = int((kl > 0.3).sum())
    assert in_use[0.0] < 4
    assert in_use[0.5] == 4
