"""Shapes, ranges and densities of the networks, and one sentence for what they cannot do."""

from __future__ import annotations

import pytest
import torch
from torch import distributions as D
from torch import nn

from unigen_edu.errors import UnigenError
from unigen_edu.networks import Decoder, Discriminator, Encoder, Generator, check_network

IMAGES = [
    ("mlp", (1, 28, 28)),
    ("mlp", (3, 32, 32)),
    ("mlp", (1, 16, 16)),
    ("mlp", (2, 3, 5)),
    ("conv", (1, 28, 28)),
    ("conv", (3, 32, 32)),
    ("conv", (2, 28, 28)),
]
POINTS = [("mlp", (2,)), ("mlp", (1,)), ("mlp", (7,))]
L = 6


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(("kind", "shape"), IMAGES + POINTS)
def test_shapes(kind, shape):
    x = torch.rand(4, *shape)
    generator = Generator(kind, shape, L)
    assert generator.noise(4).shape == (4, L)
    assert generator.sample(4).value.shape == (4, *shape)
    assert generator.sample(4).weight is None
    assert generator.sample_groups(4, 3).value.shape == (4, 3, *shape)
    assert Discriminator(kind, shape)(x).shape == (4,)
    q = Encoder(kind, shape, L)(x)
    assert q.mean.shape == q.log_var.shape == (4, L)
    for likelihood in ("bernoulli", "gaussian"):
        decoder = Decoder(kind, shape, L, likelihood)
        z = torch.randn(3, 4, L)
        assert decoder(z).shape == (3, 4, *shape)
        assert decoder(z[0]).shape == (4, *shape)
        assert decoder.log_prob(x, z).shape == (3, 4)
        assert decoder.sample(z).shape == (3, 4, *shape)


@pytest.mark.parametrize(("kind", "shape"), IMAGES)
def test_images_lie_in_the_unit_interval(kind, shape):
    generator = Generator(kind, shape, L)
    for wide in (generator(10 * generator.noise(8)), Decoder(kind, shape, L, "gaussian")(
            50 * torch.randn(8, L))):  # fmt: skip
        assert (wide >= 0).all()
        assert (wide <= 1).all()
        assert wide.std() > 0
    draw = Decoder(kind, shape, L, "gaussian").sample(torch.randn(8, L))
    assert draw.min() == 0  # with a standard deviation of 1, many draws meet the bounds
    assert draw.max() == 1
    assert Decoder(kind, shape, L, "bernoulli").sample(torch.randn(8, L)).unique().tolist() == [
        0,
        1,
    ]


def test_points_are_not_bounded():
    decoder = Decoder("mlp", (2,), L, "gaussian")
    assert decoder(1e3 * torch.randn(64, L)).abs().max() > 1
    assert decoder.sample(torch.randn(512, L)).abs().max() > 1
    assert Generator("mlp", (2,), L)(1e3 * torch.randn(64, L)).abs().max() > 1


@pytest.mark.parametrize(("kind", "shape"), [*IMAGES[:2], IMAGES[4], POINTS[0]])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_decoders_density_has_axes_k_and_b_in_that_order(kind, shape, likelihood):
    decoder = Decoder(kind, shape, L, likelihood).double()
    if likelihood == "gaussian":
        decoder.log_var.data.fill_(-1.3)
    x = torch.rand(4, *shape, dtype=torch.float64).round()
    z = torch.randn(3, 4, L, dtype=torch.float64)
    found = decoder.log_prob(x, z)
    for i in range(3):
        for b in range(4):
            mean = decoder(z[i, b : b + 1])[0]  # one code at a time
            if likelihood == "gaussian":
                law: D.Distribution = D.Normal(mean, torch.exp(0.5 * decoder.log_var))
            else:
                law = D.Bernoulli(torch.sigmoid(decoder.body(z[i, b : b + 1])[0]))
            wanted = law.log_prob(x[b]).sum()
            assert torch.allclose(found[i, b], wanted, atol=1e-9, rtol=1e-9)
    assert found.std() > 0


def test_rows_of_a_pixel_grid_keep_their_places():
    # A height that differs from the width shows a transposed or flattened axis.
    shape = (2, 3, 5)
    decoder = Decoder("mlp", shape, L, "bernoulli")
    z = torch.randn(4, L)
    flat = decoder.body[:-1](z)
    assert flat.std() > 1e-2
    for c in range(2):
        for row in range(3):
            for column in range(5):
                pixel = torch.sigmoid(flat[:, c * 15 + row * 5 + column])
                assert torch.allclose(decoder(z)[:, c, row, column], pixel, atol=1e-6)


def test_groups_are_consecutive_draws_of_one_batch():
    generator = Generator("mlp", (1, 4, 4), L)
    torch.manual_seed(5)
    groups = generator.sample_groups(4, 3).value
    torch.manual_seed(5)
    assert torch.equal(groups.reshape(12, 1, 4, 4), generator.sample(12).value)


@pytest.mark.parametrize("network", [Discriminator, Encoder])
@pytest.mark.parametrize(("kind", "shape"), [IMAGES[0], IMAGES[4], POINTS[0]])
def test_each_image_is_judged_by_itself(network, kind, shape):
    net = network(kind, shape) if network is Discriminator else network(kind, shape, L)
    x = torch.rand(4, *shape)
    x_other = torch.cat([x[:1], torch.rand(3, *shape)])

    def judge(images: torch.Tensor) -> torch.Tensor:
        found = net(images)
        return found if network is Discriminator else found.mean

    assert net.training
    assert torch.allclose(judge(x)[0], judge(x_other)[0], atol=1e-6)
    assert not torch.allclose(judge(x)[1], judge(x_other)[1], atol=1e-6)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules())


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_only_a_generator_of_images_normalises(kind):
    def normalises(net: nn.Module) -> bool:
        return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules())

    assert normalises(Generator(kind, (1, 28, 28), L))
    assert not normalises(Decoder(kind, (1, 28, 28), L, "bernoulli"))
    assert not normalises(Generator("mlp", (2,), L))


def test_one_generated_image_cannot_be_normalised_in_training():
    generator = Generator("mlp", (1, 4, 4), L)
    with pytest.raises(UnigenError, match="at least 2"):
        generator.sample(1)
    assert generator.eval().sample(1).value.shape == (1, 1, 4, 4)
    assert Generator("mlp", (2,), L).sample(1).value.shape == (1, 2)


@pytest.mark.parametrize(
    ("kind", "shape", "words"),
    [
        ("transformer", (1, 28, 28), "no network 'transformer'; choose one of: mlp, conv"),
        ("conv", (1, 16, 16), "28x28 or 32x32"),
        ("conv", (1, 28, 32), "28x28 or 32x32"),
        ("conv", (2,), "28x28 or 32x32"),
        ("mlp", (28, 28), "are not supported"),
        ("mlp", (), "are not supported"),
        ("mlp", (1, 0, 28), "are not supported"),
    ],
)
def test_bad_input_is_one_sentence(kind, shape, words):
    makers = [
        lambda: check_network(kind, shape),
        lambda: Generator(kind, shape, L),
        lambda: Discriminator(kind, shape),
        lambda: Encoder(kind, shape, L),
        lambda: Decoder(kind, shape, L, "bernoulli"),
    ]
    for make in makers:
        with pytest.raises(UnigenError, match=words) as caught:
            make()
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith(".")
