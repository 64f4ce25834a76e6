"""The VAE/GAN's losses by hand, against torch.distributions, and on linear networks."""

from __future__ import annotations

import re
from math import inf, log, nan, pi

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from unigen_edu import models
from unigen_edu.declarations import Batch, Sample
from unigen_edu.densities import DiagonalNormal
from unigen_edu.errors import UnigenError
from unigen_edu.models.vaegan import VAEGAN, FeatureDiscriminator

LOG3 = log(3.0)
# With a(x) = f(x) = x: D(data) = 1/2, 3/4; D(reconstructed) = 1/4, 1/2; D(generated) = 1/2, 1/10.
X = torch.tensor([[0.0], [LOG3]], dtype=torch.float64)
X_R = torch.tensor([[-LOG3], [0.0]], dtype=torch.float64)
X_G = torch.tensor([[0.0], [-log(9.0)]], dtype=torch.float64)


class Posterior(DiagonalNormal):
    """A Gaussian whose one draw has the noise 1 in every coordinate."""

    def sample(self, k: int = 1) -> Sample:
        return Sample((self.mean + torch.exp(0.5 * self.log_var)).expand(k, *self.mean.shape))


class LinearEncoder(nn.Module):
    def __init__(self, slope: Tensor, log_var: Tensor):
        super().__init__()
        self.slope, self.log_var = nn.Parameter(slope), nn.Parameter(log_var)

    def forward(self, x: Tensor) -> Posterior:
        mean = x @ self.slope.T
        return Posterior(mean, self.log_var.expand_as(mean))


class LinearDecoder(nn.Module):
    """x' = weight z; samples from the codes 1, -2, ..."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def given(self, z: Tensor) -> Sample:
        return Sample((z @ self.weight.T)[None])

    def sample(self, n: int) -> Sample:
        return Sample(self.codes(n) @ self.weight.T)

    def codes(self, n: int) -> Tensor:
        shape = (n, self.weight.shape[1])
        return torch.linspace(1.0, -2.0, n * shape[1], dtype=torch.float64).reshape(shape)


class FixedDecoder(nn.Module):
    """Reconstructions and samples that are parameters: their gradient is that of each image."""

    def __init__(self, reconstructions: Tensor, samples: Tensor):
        super().__init__()
        self.reconstructions = nn.Parameter(reconstructions)
        self.samples = nn.Parameter(samples)

    def given(self, z: Tensor) -> Sample:
        assert z.shape == (1, *self.reconstructions.shape)
        return Sample(self.reconstructions[None, None])

    def sample(self, n: int) -> Sample:
        assert n == len(self.samples)
        return Sample(self.samples)


class LinearFeatures(nn.Module):
    """f(x) = weight x, a(x) = head . f(x)."""

    def __init__(self, weight: Tensor, head: Tensor):
        super().__init__()
        self.weight, self.head = nn.Parameter(weight), nn.Parameter(head)

    def features(self, x: Tensor) -> Tensor:
        return x @ self.weight.T

    def judge(self, features: Tensor) -> Tensor:
        return features @ self.head

    def forward(self, x: Tensor) -> Tensor:
        return self.judge(self.features(x))


def one() -> Tensor:
    return torch.ones(1, 1, dtype=torch.float64)


def by_hand(objective: str = "non-saturating", x_r=X_R, x_g=X_G, gamma: float = 0.5) -> VAEGAN:
    model = VAEGAN(shape=(1,), latent=1, gamma=gamma, objective=objective)
    model.encoder = LinearEncoder(one().clone(), torch.tensor(log(4.0), dtype=torch.float64))
    model.decoder = FixedDecoder(x_r.clone(), x_g.clone())
    model.discriminator = LinearFeatures(one().clone(), one()[0].clone())
    return model


def linear(d: int = 3, latent: int = 2, features: int = 4, **options: float) -> VAEGAN:
    g = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    model = VAEGAN(shape=(d,), latent=latent, **options)
    model.encoder = LinearEncoder(normal(latent, d), normal(latent))
    model.decoder = LinearDecoder(normal(d, latent))
    model.discriminator = LinearFeatures(normal(features, d), normal(features))
    return model


def points(n: int = 6, d: int = 3) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def gradient(model, phase, batch, *parameters):
    return torch.autograd.grad(model.loss(phase, batch).value, parameters)


# ---- values by hand ------------------------------------------------------------------------------

# -log N(x; x', 1) for the two pairs, both at distance log 3.
MINUS_LOG_N = 0.5 * LOG3**2 + 0.5 * log(2 * pi)


def test_the_discriminators_loss_by_hand():
    loss = by_hand().loss("discriminator", Batch(X))
    data = 0.5 * (log(2) + log(4 / 3))
    reconstructed = 0.5 * (log(4 / 3) + log(2))
    generated = 0.5 * (log(2) + log(10 / 9))
    assert loss.value.item() == pytest.approx((data + reconstructed + generated) / 3, abs=1e-12)
    assert {name: term.item() for name, term in loss.terms.items()} == pytest.approx(
        {
            "loss": loss.value.item(),
            "D(data)": 5 / 8,
            "D(reconstructed)": 3 / 8,
            "D(generated)": 3 / 10,
        }
    )


@pytest.mark.parametrize(
    ("objective", "game"),
    [
        # -log D, averaged over reconstructions and over samples
        ("non-saturating", 0.5 * (log(4) + log(2)) + 0.5 * (log(2) + log(10))),
        # log(1 - D)
        ("minimax", 0.5 * (log(3 / 4) + log(1 / 2)) + 0.5 * (log(1 / 2) + log(9 / 10))),
    ],
)
def test_the_decoders_loss_by_hand(objective, game):
    loss = by_hand(objective).loss("decoder", Batch(X))
    assert loss.value.item() == pytest.approx((game + 0.5 * MINUS_LOG_N) / 3, abs=1e-12)
    assert loss.terms["similarity"].item() == pytest.approx(-MINUS_LOG_N, abs=1e-12)
    assert loss.terms["game"].item() == pytest.approx(game / 3, abs=1e-12)


def test_the_encoders_loss_by_hand():
    loss = by_hand().loss("encoder", Batch(X))
    # q = N(x, 4): KL = (4 + x^2 - 1 - log 4) / 2 for x = 0 and log 3
    kl = 0.5 * (3 - log(4)) + 0.25 * LOG3**2
    assert loss.value.item() == pytest.approx(MINUS_LOG_N + kl, abs=1e-12)
    assert loss.terms["KL(q||p)"].item() == pytest.approx(kl, abs=1e-12)


# ---- against torch.distributions -----------------------------------------------------------------


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_the_similarity_is_a_gaussian_of_the_features(network):
    model = models.create("vaegan", network=network, latent=3)
    model.decoder.eval()  # so that the images of one pass are those of another
    x = torch.rand(4, 1, 28, 28)
    batch = Batch(x)
    terms = model.loss("encoder", batch).terms
    z = model.encoded(batch).value
    made = model.decoder(z[0])
    f, f_made = model.discriminator.features(x), model.discriminator.features(made)
    assert f.shape == (4, {"mlp": 256, "conv": 64 * 7 * 7}[network])
    wanted = Independent(Normal(f_made, 1.0), 1).log_prob(f)
    assert terms["similarity"].item() == pytest.approx(wanted.mean().item(), rel=1e-5)
    q = model.posterior(batch)
    kl = kl_divergence(Normal(q.mean, torch.exp(q.log_var / 2)), Normal(0.0, 1.0)).sum(1)
    assert terms["KL(q||p)"].item() == pytest.approx(kl.mean().item(), rel=1e-4, abs=1e-6)
    assert model.loss("decoder", batch).terms["similarity"].item() == pytest.approx(
        wanted.mean().item(), rel=1e-5
    )


def test_with_linear_networks_the_encoders_optimum_is_the_evidence_of_the_features(monkeypatch):
    """f(x) = A x' + noise with x' = W z: probabilistic PCA of the features, with variance 1."""
    model, x = linear(), points()
    identity = torch.eye(4, dtype=torch.float64)
    with torch.no_grad():
        # Turn the axes of the code into those of the posterior: a diagonal encoder is then exact.
        m = model.discriminator.weight @ model.decoder.weight  # f(x') = m z
        model.decoder.weight.copy_(model.decoder.weight @ torch.linalg.eigh(m.T @ m).eigenvectors)
        m = model.discriminator.weight @ model.decoder.weight
        precision = identity[:2, :2] + m.T @ m
        f = model.discriminator.features(x)
        model.encoder.slope.copy_(torch.linalg.solve(precision, m.T @ model.discriminator.weight))
        model.encoder.log_var.copy_(-precision.diagonal().log())

    def sigma_points(self: DiagonalNormal, k: int = 1) -> Sample:
        """2 L points whose average is exact for every quadratic function."""
        directions = torch.eye(2, dtype=torch.float64) * 2**0.5
        noise = torch.cat([directions, -directions])[:, None, :]
        return Sample(self.mean + torch.exp(0.5 * self.log_var) * noise)

    monkeypatch.setattr(Posterior, "sample", sigma_points)
    evidence = MultivariateNormal(torch.zeros(4, dtype=torch.float64), m @ m.T + identity)
    loss = model.loss("encoder", Batch(x))
    assert loss.value.item() == pytest.approx(-evidence.log_prob(f).mean().item(), abs=1e-10)
    found = gradient(model, "encoder", Batch(x), model.encoder.slope, model.encoder.log_var)
    assert max(part.abs().max() for part in found) < 1e-10
    with torch.no_grad():
        model.encoder.log_var.add_(0.3)
    assert model.loss("encoder", Batch(x)).value > loss.value + 1e-3


# ---- gradients by hand ---------------------------------------------------------------------------


def test_the_encoders_gradient_is_the_delta_rule():
    model, x = linear(), points()
    q = model.encoder(x)
    sd = torch.exp(0.5 * q.log_var)
    m = model.discriminator.weight @ model.decoder.weight
    error = x @ model.discriminator.weight.T - (q.mean + sd) @ m.T  # f(x) - f(x')
    # d/dz of |f(x) - M z|^2 / 2 is -M'(f(x) - M z); KL adds the mean, and (var - 1)/2 in log var.
    d_mean = q.mean - error @ m
    d_log_var = 0.5 * (sd**2 - 1) - 0.5 * sd * (error @ m)
    found = gradient(model, "encoder", Batch(x), model.encoder.slope, model.encoder.log_var)
    assert torch.allclose(found[0], d_mean.T @ x / len(x), atol=1e-12, rtol=0)
    assert torch.allclose(found[1], d_log_var.mean(0), atol=1e-12, rtol=0)


@pytest.mark.parametrize("objective", ["non-saturating", "minimax"])
@pytest.mark.parametrize("gamma", [0.1, 2.0])
def test_the_decoders_gradient_is_the_delta_rule(gamma, objective):
    model, x = linear(gamma=gamma, objective=objective), points()
    a, head = model.discriminator.weight, model.discriminator.head
    q = model.encoder(x)
    z, z_g = q.mean + torch.exp(0.5 * q.log_var), model.decoder.codes(len(x))
    error = (x - z @ model.decoder.weight.T) @ a.T
    similarity = -(error @ a).T @ z  # of |f(x) - f(x')|^2 / 2
    game = torch.zeros_like(similarity)
    for codes in (z, z_g):
        d = torch.sigmoid(codes @ model.decoder.weight.T @ a.T @ head)
        slope = -(1 - d) if objective == "non-saturating" else -d
        game = game + (slope[:, None] * (head @ a)).T @ codes
    wanted = (gamma * similarity + game) / 3 / len(x)
    (found,) = gradient(model, "decoder", Batch(x), model.decoder.weight)
    assert torch.allclose(found, wanted, atol=1e-12, rtol=0)


def test_the_discriminators_gradient_is_the_delta_rule_without_gamma():
    for gamma in (0.1, 100.0):
        model, x = linear(gamma=gamma), points()
        q = model.encoder(x)
        z, z_g = q.mean + torch.exp(0.5 * q.log_var), model.decoder.codes(len(x))
        w = model.decoder.weight
        wanted = torch.zeros(4, 3, dtype=torch.float64)
        for images, sign in ((x, -1.0), (z @ w.T, 1.0), (z_g @ w.T, 1.0)):
            d = torch.sigmoid(model.discriminator(images))
            slope = -(1 - d) if sign < 0 else d
            outer = torch.einsum("b,f,bd->fd", slope, model.discriminator.head, images)
            wanted = wanted + outer / 3 / len(x)
        (found,) = gradient(model, "discriminator", Batch(x), model.discriminator.weight)
        assert torch.allclose(found, wanted, atol=1e-12, rtol=0)


def test_losses_are_finite_for_a_certain_discriminator():
    far = torch.tensor([[-1e3], [1e3]], dtype=torch.float64)
    for objective in ("non-saturating", "minimax"):
        model = by_hand(objective, far, far)
        for phase, parameter in (
            ("encoder", model.encoder.slope),
            ("decoder", model.decoder.samples),
            ("discriminator", model.discriminator.head),
        ):
            loss = model.loss(phase, Batch(far)).value
            assert loss.isfinite()
            found = torch.autograd.grad(loss, parameter, allow_unused=True)[0]
            assert found is None or found.isfinite().all()


# ---- who gets which gradient ---------------------------------------------------------------------


def test_each_phase_reaches_exactly_the_networks_of_the_paper(digits, small):
    model, batch = small("vaegan"), Batch(digits.images())
    networks = ("encoder", "decoder", "discriminator")
    reached = {}
    for phase in networks:
        value = model.loss(phase, batch).value
        reached[phase] = {
            network
            for network in networks
            if any(
                found is not None
                for found in torch.autograd.grad(
                    value,
                    list(model.get_submodule(network).parameters()),
                    retain_graph=True,
                    allow_unused=True,
                )
            )
        }
    # A phase moves its own network alone; what else its graph touches, it goes through.
    assert reached == {
        "encoder": {"encoder", "decoder", "discriminator"},
        "decoder": {"decoder", "discriminator"},
        "discriminator": {"discriminator"},
    }
    assert {phase.name: phase.moves for phase in model.phases} == {n: (n,) for n in networks}


def test_the_features_of_data_are_constants_of_the_first_two_phases():
    """Only f(x') carries phi there: at x' = x its gradient vanishes, though f(x) moves with phi."""
    x = points(2, 1)
    model = by_hand(x_r=x, x_g=x)
    for phase in ("encoder", "decoder"):
        assert model.loss(phase, Batch(x)).terms["similarity"].item() == pytest.approx(
            -0.5 * log(2 * pi)
        )
    shifted = by_hand(x_r=x + 1.0, x_g=x)
    log_p = shifted.similarity(Batch(x), shifted.discriminator.features((x + 1.0)[None, None]))
    (found,) = torch.autograd.grad(log_p.mean(), shifted.discriminator.weight)
    # d/dw of -(w x0 - w (x + 1))^2 / 2 with w x0 constant is (w x - w (x+1)) (x + 1) = -(x + 1).
    assert found.item() == pytest.approx(-(x + 1.0).mean().item(), abs=1e-12)


def test_all_phases_use_the_draws_of_one_forward_pass(digits, small):
    model, batch = small("vaegan"), Batch(digits.images())
    before = model.loss("discriminator", batch).value
    z = model.encoded(batch).value
    with torch.no_grad():
        for network in (model.encoder, model.decoder):
            for parameter in network.parameters():
                parameter.add_(0.1)
    assert torch.equal(model.loss("discriminator", batch).value, before)
    assert model.encoded(batch).value is z
    assert not torch.equal(model.loss("discriminator", Batch(batch.x)).value, before)


def test_there_are_as_many_reconstructions_and_samples_as_data(digits, small):
    model, batch = small("vaegan"), Batch(digits.images())
    assert model.reconstructed(batch).value.shape == (1, 1, 21, 1, 4, 4)
    assert model.generated(batch).value.shape == (21, 1, 4, 4)


# ---- the networks --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "shape"), [("mlp", (1, 5, 4)), ("conv", (3, 28, 28)), ("mlp", (2,))]
)
def test_features_are_normalised_image_by_image_and_judged_linearly(kind, shape):
    torch.manual_seed(0)
    network = FeatureDiscriminator(kind, shape)
    x = torch.rand(2, 3, *shape)
    f = network.features(x)
    assert f.shape[:2] == (2, 3)
    assert torch.allclose(f.mean(-1), torch.zeros(2, 3), atol=1e-5)
    assert torch.allclose(f.var(-1, unbiased=False), torch.ones(2, 3), atol=0.05)
    assert torch.allclose(network.features(x[1, 2]), f[1, 2], atol=1e-5)  # no batch in it
    assert torch.allclose(network(x), f @ network.head.weight[0] + network.head.bias, atol=1e-5)


# ---- what the trained model offers ---------------------------------------------------------------


def test_reconstruct_decodes_the_mean_code_of_each_image_by_itself(digits, small):
    model = small("vaegan").train()
    x = digits.images()
    found = model.reconstruct(x)
    assert model.decoder.training
    assert found.shape == x.shape
    assert not found.requires_grad
    assert torch.allclose(model.reconstruct(x[3:4]), found[3:4], atol=1e-6)
    model.eval()
    assert torch.allclose(model.decoder(model.encoder(x).mean), found, atol=1e-6)
    assert torch.equal(model.encode(x), model.encoder(x).mean)


def test_samples_are_decoded_from_the_prior(digits, small):
    model = small("vaegan").train()
    torch.manual_seed(0)
    found = model.sample(4)
    torch.manual_seed(0)
    assert torch.equal(model.eval().decoder(torch.randn(4, 3)), found)


def test_it_claims_no_bound_on_the_likelihood(small):
    assert not hasattr(small("vaegan"), "log_weights")
    assert not hasattr(small("vaegan"), "elbo")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gamma": 0}, "gamma is 0"),
        ({"gamma": -1.0}, "gamma is -1.0"),
        ({"gamma": nan}, "gamma is nan"),
        ({"gamma": inf}, "gamma is inf"),
        ({"gamma": "much"}, "gamma is 'much'"),
        ({"gamma": True}, "gamma is True"),
        ({"objective": "hinge"}, "no objective 'hinge'; choose one of: non-saturating, minimax"),
        ({"latent": 0}, "latent is 0"),
    ],
)
def test_options_out_of_range_are_one_sentence(options, words):
    with pytest.raises(UnigenError, match=re.escape(words)) as caught:
        models.create("vaegan", **options)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
