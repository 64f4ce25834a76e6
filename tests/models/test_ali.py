"""ALI's losses by hand, and in the one case that is solved: linear networks and Gaussian noise."""

from __future__ import annotations

import re
from math import log

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from unigen_edu import models
from unigen_edu.declarations import Batch, Sample
from unigen_edu.errors import UnigenError
from unigen_edu.exact.continuous import normal_quadrature
from unigen_edu.models.ali import ALI, PairDiscriminator, Pairs

LOG3 = log(3.0)


class Codes(nn.Module):
    """An encoder whose codes are parameters: their gradient is that of each code."""

    def __init__(self, values: Tensor):
        super().__init__()
        self.values = nn.Parameter(values)

    def forward(self, x: Tensor) -> Codes:
        return self

    def sample(self, k: int = 1) -> Sample:
        return Sample(self.values[None])


class Images(nn.Module):
    """A generator whose images are parameters, made from known codes."""

    def __init__(self, values: Tensor, codes: Tensor):
        super().__init__()
        self.values, self.codes = nn.Parameter(values), codes

    def sample_pairs(self, n: int) -> Pairs:
        assert n == len(self.values)
        return Pairs(self.values, self.codes)


class Product(nn.Module):
    """a(x, z) = scale x z + offset, for points and codes on the line."""

    def __init__(self, scale: float = 1.0, offset: float = 0.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale, dtype=torch.float64))
        self.offset = nn.Parameter(torch.tensor(offset, dtype=torch.float64))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return (self.scale * x * z + self.offset).squeeze(-1)


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def by_hand(x, z, x_g, z_g, **options: float) -> tuple[ALI, Batch]:
    model = ALI(shape=(1,), latent=1)
    model.encoder, model.generator = Codes(z), Images(x_g, z_g)
    model.discriminator = Product(**options)
    return model, Batch(x)


# D(inferred) = 1/2, 3/4 and D(generated) = 1/4, 1/10. Codes in the wrong order give other numbers.
PAIRS = (column(1.0, 2.0), column(0.0, LOG3 / 2), column(-1.0, 2.0), column(LOG3, -LOG3))


def test_the_discriminators_loss_by_hand():
    model, batch = by_hand(*PAIRS)
    loss = model.loss("discriminator", batch)
    wanted = 0.25 * (log(2) + log(4 / 3)) + 0.25 * (log(4 / 3) + log(10 / 9))
    assert loss.value.item() == pytest.approx(wanted, abs=1e-12)
    assert loss.terms["D(inferred)"].item() == pytest.approx(5 / 8)
    assert loss.terms["D(generated)"].item() == pytest.approx(7 / 40)


def test_the_joint_loss_by_hand():
    model, batch = by_hand(*PAIRS)
    loss = model.loss("joint", batch)
    encoder = 0.25 * (log(2) + log(4))  # -log(1 - D) where the data are: y = 1, flipped to 0
    generator = 0.25 * (log(4) + log(10))  # -log D where samples are: y = 0, flipped to 1
    assert loss.value.item() == pytest.approx(encoder + generator, abs=1e-12)
    assert loss.terms["encoder"].item() == pytest.approx(encoder)
    assert loss.terms["generator"].item() == pytest.approx(generator)


def test_gradients_pair_by_pair():
    g = torch.Generator().manual_seed(0)
    x, z, x_g, z_g = torch.randn(4, 6, 1, generator=g, dtype=torch.float64)
    model, batch = by_hand(x, z, x_g, z_g, scale=1.7, offset=-0.4)
    d, d_g = torch.sigmoid(1.7 * x * z - 0.4), torch.sigmoid(1.7 * x_g * z_g - 0.4)
    joint = model.loss("joint", batch).value
    moved = [model.encoder.values, model.generator.values]
    codes, images = torch.autograd.grad(joint, moved)
    # d/da -log(1 - D) = D, times da/dz = 1.7 x; d/da -log D = -(1 - D), times da/dx = 1.7 z.
    assert torch.allclose(codes, 0.5 / 6 * d * 1.7 * x, atol=1e-12, rtol=0)
    assert torch.allclose(images, -0.5 / 6 * (1 - d_g) * 1.7 * z_g, atol=1e-12, rtol=0)
    value = model.loss("discriminator", batch).value
    found = torch.autograd.grad(value, [model.discriminator.scale, model.discriminator.offset])
    scale = 0.5 * (-((1 - d) * x * z).mean() + (d_g * x_g * z_g).mean())
    offset = 0.5 * (-(1 - d).mean() + d_g.mean())
    assert torch.allclose(torch.stack(found), torch.stack([scale, offset]), atol=1e-12, rtol=0)


def test_losses_are_finite_for_a_certain_discriminator():
    far = column(-1e3, 1e3)
    model, batch = by_hand(far, far, far, -far)
    for phase, parameter in (
        ("discriminator", model.discriminator.offset),
        ("joint", model.generator.values),
    ):
        loss = model.loss(phase, batch).value
        assert loss.isfinite()
        assert torch.autograd.grad(loss, parameter)[0].isfinite().all()


# ---- linear networks: every law is a Gaussian, and so every log ratio a quadratic ----------------

NODES = 60
S = 1.3  # x ~ N(0, S^2) are the data
ALPHA, BETA = 0.4, 0.6  # q(z|x) = N(ALPHA x, BETA^2)
W, TAU = 0.9, 0.5  # p(z) = N(0, 1), p(x|z) = N(W z, TAU^2)


class QuadratureEncoder(nn.Module):
    """q(z|x) = N(slope x, sd^2): all nodes of a quadrature, with their weights."""

    def __init__(self):
        super().__init__()
        self.parts = nn.Parameter(torch.tensor([ALPHA, BETA], dtype=torch.float64))

    def forward(self, x: Tensor) -> QuadratureEncoder:
        self.x = x
        return self

    def sample(self, k: int = 1) -> Sample:
        noise, weight = normal_quadrature(NODES)
        slope, sd = self.parts
        value = slope * self.x[None] + sd * noise[:, None, None]
        return Sample(value, weight[:, None].expand(NODES, len(self.x)))


class QuadratureGenerator(nn.Module):
    """p(z) p(x|z), x = slope z + sd noise: all pairs of nodes, with their weights."""

    def __init__(self):
        super().__init__()
        self.parts = nn.Parameter(torch.tensor([W, TAU], dtype=torch.float64))

    def sample_pairs(self, n: int) -> Pairs:
        noise, weight = normal_quadrature(NODES)
        slope, sd = self.parts
        z = noise.repeat_interleave(NODES)[:, None]
        x = slope * z + sd * noise.repeat(NODES)[:, None]
        return Pairs(x, z, (weight[:, None] * weight).flatten())


class Quadratic(nn.Module):
    """a(x, z) = c . (1, x^2, x z, z^2)."""

    def __init__(self, coefficients: Tensor):
        super().__init__()
        self.c = nn.Parameter(coefficients)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        x, z = torch.broadcast_tensors(x.squeeze(-1), z.squeeze(-1))
        return torch.stack([torch.ones_like(x), x * x, x * z, z * z], -1) @ self.c


def inferred_law(slope: Tensor, sd: Tensor) -> MultivariateNormal:
    """N(0, C) of (x, z), x ~ N(0, S^2) and z = slope x + sd noise."""
    c = torch.stack([torch.tensor(S * S).double(), slope * S * S, slope * S * S,
                     slope**2 * S * S + sd**2]).reshape(2, 2)  # fmt: skip
    return MultivariateNormal(torch.zeros(2, dtype=torch.float64), c)


def generated_law(slope: Tensor, sd: Tensor) -> MultivariateNormal:
    """N(0, C) of (x, z), z ~ N(0, 1) and x = slope z + sd noise."""
    one = torch.ones((), dtype=torch.float64)
    c = torch.stack([slope**2 + sd**2, slope, slope, one]).reshape(2, 2)
    return MultivariateNormal(torch.zeros(2, dtype=torch.float64), c)


def log_ratio() -> Tensor:
    """Coefficients of log inferred - log generated: minus half the difference of precisions."""
    inferred = inferred_law(*torch.tensor([ALPHA, BETA], dtype=torch.float64))
    generated = generated_law(*torch.tensor([W, TAU], dtype=torch.float64))
    p = -0.5 * (inferred.precision_matrix - generated.precision_matrix)
    constant = -0.5 * (inferred.covariance_matrix.logdet() - generated.covariance_matrix.logdet())
    return torch.stack([constant, p[0, 0], 2 * p[0, 1], p[1, 1]])


def linear_gaussian(coefficients: Tensor) -> tuple[ALI, Batch]:
    model = ALI(shape=(1,), latent=1)
    model.encoder, model.generator = QuadratureEncoder(), QuadratureGenerator()
    model.discriminator = Quadratic(coefficients)
    nodes, weight = normal_quadrature(NODES)
    return model, Batch(S * nodes[:, None], weight=weight)


def on_a_grid() -> tuple[Tensor, float]:
    """Points (N, 2) that cover both laws, and the area of a cell."""
    axis = torch.linspace(-9.0, 9.0, 361, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis), float(axis[1] - axis[0]) ** 2


def test_the_log_ratio_is_that_of_torchs_densities():
    inferred = inferred_law(*torch.tensor([ALPHA, BETA], dtype=torch.float64))
    generated = generated_law(*torch.tensor([W, TAU], dtype=torch.float64))
    at = torch.randn(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = inferred.log_prob(at) - generated.log_prob(at)
    assert torch.allclose(Quadratic(log_ratio())(at[:, :1], at[:, 1:]), wanted, atol=1e-12)


def test_the_best_discriminator_of_gaussian_pairs_is_their_log_ratio():
    model, batch = linear_gaussian(log_ratio())
    loss = model.loss("discriminator", batch).value
    (found,) = torch.autograd.grad(loss, model.discriminator.c)
    assert found.abs().max() < 1e-6  # the quadrature's error; any wrong term gives 1e-2 or more
    at, cell = on_a_grid()
    p = inferred_law(*model.encoder.parts.detach()).log_prob(at)
    q = generated_law(*model.generator.parts.detach()).log_prob(at)
    m = torch.logaddexp(p, q) - log(2)
    jsd = 0.5 * cell * ((p - m) * p.exp() + (q - m) * q.exp()).sum()
    assert loss.item() == pytest.approx(log(2) - jsd.item(), abs=1e-6)
    # Without the term x z it sees images and codes, but no pairs: it does worse, and would move.
    blind = log_ratio()
    blind[2] = 0.0
    model, batch = linear_gaussian(blind)
    value = model.loss("discriminator", batch).value
    assert value > loss + 0.01
    assert torch.autograd.grad(value, model.discriminator.c)[0][2].abs() > 0.01


def test_at_that_discriminator_the_joint_phase_descends_two_divergences():
    """Path gradients on the line against densities on a grid: Lemma 1 over pairs, at D*.

    The generator descends KL(m || inferred) and the encoder KL(m || generated), m the mixture.
    """
    model, batch = linear_gaussian(log_ratio())
    moved = [model.encoder.parts, model.generator.parts]
    encoder, generator = torch.autograd.grad(model.loss("joint", batch).value, moved)
    at, cell = on_a_grid()
    parts = [part.detach().clone().requires_grad_() for part in moved]
    p, q = inferred_law(*parts[0]).log_prob(at), generated_law(*parts[1]).log_prob(at)
    m = torch.logaddexp(p, q) - log(2)
    to_inferred, to_generated = (cell * (m.exp() * (m - law)).sum() for law in (p, q))
    (wanted,) = torch.autograd.grad(to_inferred, parts[1], retain_graph=True)
    assert torch.allclose(generator, wanted, atol=1e-5, rtol=0)
    assert wanted.abs().min() > 1e-3
    (wanted,) = torch.autograd.grad(to_generated, parts[0], retain_graph=True)
    assert torch.allclose(encoder, wanted, atol=1e-5, rtol=0)
    assert wanted.abs().min() > 1e-3
    (other,) = torch.autograd.grad(to_inferred, parts[0])
    assert not torch.allclose(encoder, other, atol=1e-2, rtol=0)


# ---- who gets which gradient ---------------------------------------------------------------------


def reached(model: ALI, value: Tensor) -> set[str]:
    return {
        network
        for network in ("encoder", "generator", "discriminator")
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


def test_the_discriminators_step_has_no_path_to_the_other_networks(digits, small):
    model, batch = small("ali"), Batch(digits.images())
    assert reached(model, model.loss("discriminator", batch).value) == {"discriminator"}
    joint = model.loss("joint", batch).value  # with the same draws, made before
    assert reached(model, joint) == {"encoder", "generator", "discriminator"}
    assert model.phases[1].moves == ("encoder", "generator")


def test_every_parameter_of_both_networks_moves(digits, small):
    model, batch = small("ali"), Batch(digits.images())
    moved = [*model.encoder.parameters(), *model.generator.parameters()]
    found = torch.autograd.grad(model.loss("joint", batch).value, moved)
    assert all(part.isfinite().all() for part in found)
    assert all(part.abs().max() > 0 for part in found)


def test_codes_stay_with_their_images(digits, small):
    model, batch = small("ali"), Batch(digits.images())
    with torch.no_grad():
        model.encoder.body[-1].bias[3:] = -30.0  # next to no noise: the code is the mean
        z = model.inferred(batch).value
        assert z.shape == (1, 21, 3)
        assert torch.allclose(z[0], model.encode(batch.x), atol=1e-5)
        x_g, z_g, weight = model.generated(batch)
        assert weight is None
        assert torch.allclose(x_g, model.generator(z_g), atol=1e-6)


# ---- the networks --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "shape"), [("mlp", (1, 5, 4)), ("conv", (1, 28, 28)), ("mlp", (2,))]
)
def test_the_discriminator_judges_pairs_one_by_one(kind, shape):
    torch.manual_seed(0)
    network = PairDiscriminator(kind, shape, 3)
    x, z = torch.rand(4, *shape), torch.randn(2, 4, 3)
    a = network(x, z)
    assert a.shape == (2, 4)
    assert network(x, z[1]).shape == (4,)
    assert torch.allclose(network(x, z[1]), a[1], atol=1e-5)
    assert torch.allclose(network(x[2:3], z[:, 2:3]), a[:, 2:3], atol=1e-5)
    # The logit is no sum of a part for x and a part for z: such a judge would see no pairs.
    swapped = network(x.flip(0), z)
    additive = a + a.flip(1) - swapped - swapped.flip(1)
    assert additive.abs().max() > 1e-5


# ---- what the trained model offers ---------------------------------------------------------------


def test_reconstruct_generates_from_the_mean_code_of_each_image_by_itself(digits, small):
    model = small("ali").train()
    x = digits.images()
    found = model.reconstruct(x)
    assert model.generator.training
    assert found.shape == x.shape
    assert not found.requires_grad
    assert torch.allclose(model.reconstruct(x[3:4]), found[3:4], atol=1e-6)
    model.eval()
    assert torch.allclose(model.generator(model.encoder(x).mean), found, atol=1e-6)


def test_samples_are_generated_from_the_prior(digits, small):
    model = small("ali").train()
    torch.manual_seed(0)
    found = model.sample(4)
    torch.manual_seed(0)
    assert torch.equal(model.eval().generator(torch.randn(4, 3)), found)


def test_it_claims_no_bound_on_the_likelihood(small):
    assert not hasattr(small("ali"), "log_weights")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"latent": 0}, "latent is 0"),
        ({"latent": 1.5}, "latent is 1.5"),
        ({"network": "conv", "shape": (1, 16, 16)}, "28x28 or 32x32"),
        ({"objective": "minimax"}, "no option of 'ali' 'objective'"),
    ],
)
def test_options_out_of_range_are_one_sentence(options, words):
    with pytest.raises(UnigenError, match=re.escape(words)) as caught:
        models.create("ali", **options)
    assert str(caught.value)[-1] in ".?"
    assert "\n" not in str(caught.value)
