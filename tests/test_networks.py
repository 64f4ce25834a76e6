"""Shapes, ranges and densities of the networks, and one sentence for what they cannot do."""

from __future__ import annotations

import pytest
import torch
from torch import distributions as D
from torch import nn

from unigen_edu.errors import UnigenError
from unigen_edu.networks import (
    Classifier,
    Decoder,
    Discriminator,
    Encoder,
    Generator,
    check_network,
    from_latent,
    labels_to_draw,
    to_features,
)

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


# ---- conditional networks ------------------------------------------------------------------------

C = 5
LABEL = torch.tensor([3, 0, 4, 3])


def same_parameters(left: nn.Module, right: nn.Module) -> bool:
    pairs = zip(left.parameters(), right.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(("kind", "shape"), [IMAGES[0], IMAGES[4], POINTS[0]])
def test_without_classes_the_parameters_are_those_of_the_plain_layers(kind, shape):
    for network, plain in (
        (lambda: Generator(kind, shape, L), lambda: from_latent(kind, L, shape, len(shape) == 3)),
        (lambda: Discriminator(kind, shape), lambda: to_features(kind, shape, 1)),
        (lambda: Encoder(kind, shape, L), lambda: to_features(kind, shape, 2 * L)),
        (lambda: Decoder(kind, shape, L, "bernoulli"), lambda: from_latent(kind, L, shape)),
        (lambda: Classifier(kind, shape, C), lambda: to_features(kind, shape, C)),
    ):
        torch.manual_seed(3)
        found = network()
        torch.manual_seed(3)
        assert same_parameters(found, plain())


@pytest.mark.parametrize(("kind", "shape"), IMAGES + POINTS)
def test_shapes_with_classes(kind, shape):
    x = torch.rand(4, *shape)
    generator = Generator(kind, shape, L, C)
    assert generator.noise(4).shape == (4, L)
    assert generator.sample(4, LABEL).value.shape == (4, *shape)
    assert generator.sample_groups(4, 3, LABEL).value.shape == (4, 3, *shape)
    assert Discriminator(kind, shape, C)(x, LABEL).shape == (4,)
    assert Classifier(kind, shape, C)(x).shape == (4, C)
    encoder = Encoder(kind, shape, L, C)
    assert encoder(x, LABEL).mean.shape == encoder(x, LABEL).log_var.shape == (4, L)
    assert encoder.for_each_class(x).mean.shape == (C, 4, L)
    decoder = Decoder(kind, shape, L, "gaussian", C)
    z = torch.randn(3, 4, L)
    assert decoder(z, LABEL).shape == decoder.sample(z, LABEL).shape == (3, 4, *shape)
    assert decoder.log_prob(x, z, LABEL).shape == (3, 4)


@pytest.mark.parametrize(("kind", "shape"), [IMAGES[0], IMAGES[4], POINTS[0]])
def test_the_label_enters_beside_the_code_as_a_column_of_the_first_layer(kind, shape):
    decoder = Decoder(kind, shape, L, "gaussian", C).double()
    first = decoder.body[0]
    assert first.weight.shape[1] == L + C
    plain = Decoder(kind, shape, L, "gaussian").double()
    plain.body[1:].load_state_dict(decoder.body[1:].state_dict())
    z = torch.randn(2, 4, L, dtype=torch.float64)
    for b, c in enumerate(LABEL.tolist()):
        with torch.no_grad():
            plain.body[0].weight.copy_(first.weight[:, :L])
            plain.body[0].bias.copy_(first.bias + first.weight[:, L + c])
        assert torch.allclose(decoder(z, LABEL)[:, b], plain(z)[:, b], atol=1e-12, rtol=0)


@pytest.mark.parametrize(("kind", "shape"), [IMAGES[0], IMAGES[4], POINTS[0]])
def test_the_discriminator_has_a_vector_for_each_label(kind, shape):
    """a(x, c) = <v_c, f(x)> + b_c: the projection, worked out."""
    discriminator = Discriminator(kind, shape, C).double()
    x = torch.rand(4, *shape, dtype=torch.float64)
    last = discriminator.body[-1]
    features = discriminator.body[:-1](x)
    wanted = (last.weight[LABEL] * features).sum(1) + last.bias[LABEL]
    assert torch.allclose(discriminator(x, LABEL), wanted, atol=1e-12, rtol=0)
    assert not torch.allclose(discriminator(x, (LABEL + 1) % C), wanted, atol=1e-4)
    for c in range(C):  # each image has the gradient of its own head
        (gradient,) = torch.autograd.grad(discriminator(x, LABEL).sum(), last.bias)
        assert gradient[c] == (c == LABEL).sum()


@pytest.mark.parametrize(("kind", "shape"), [IMAGES[0], IMAGES[4], POINTS[0]])
def test_all_classes_in_one_pass_are_the_classes_one_by_one(kind, shape):
    x = torch.rand(4, *shape, dtype=torch.float64)
    encoder = Encoder(kind, shape, L, C).double()
    decoder = Decoder(kind, shape, L, "gaussian", C).double()
    z = torch.randn(2, C, 4, L, dtype=torch.float64)
    q = encoder.for_each_class(x)
    log_p = decoder.log_prob(x, z, torch.arange(C)[:, None])
    assert log_p.shape == (2, C, 4)
    for c in range(C):
        label = torch.full((4,), c)
        one = encoder(x, label)
        assert torch.allclose(q.mean[c], one.mean, atol=1e-12, rtol=0)
        assert torch.allclose(q.log_var[c], one.log_var, atol=1e-12, rtol=0)
        wanted = decoder.log_prob(x, z[:, c], label)
        assert torch.allclose(log_p[:, c], wanted, atol=1e-12, rtol=1e-12)
        assert torch.allclose(q.log_prob(z)[:, c], one.log_prob(z[:, c]), atol=1e-9)
        assert torch.allclose(q.kl_q_p()[c], one.kl_q_p(), atol=1e-12)
    assert q.mean.std(0).min() > 0


def test_a_group_shares_its_label():
    generator = Generator("mlp", (1, 4, 4), L, C)
    torch.manual_seed(5)
    groups = generator.sample_groups(4, 3, LABEL).value
    torch.manual_seed(5)
    wanted = generator(generator.noise(12), torch.tensor([3, 3, 3, 0, 0, 0, 4, 4, 4, 3, 3, 3]))
    assert torch.equal(groups, wanted.unflatten(0, (4, 3)))


def test_several_networks_are_batched_with_a_label_each():
    from torch.func import functional_call, stack_module_state, vmap

    several = [Discriminator("conv", (1, 28, 28), C) for _ in range(3)]
    encoders = [Encoder("mlp", (1, 28, 28), L, C) for _ in range(3)]
    decoders = [Decoder("mlp", (1, 28, 28), L, "bernoulli", C) for _ in range(3)]
    x, label = torch.rand(3, 4, 1, 28, 28), torch.randint(C, (3, 4))
    z = torch.randn(3, 2, 4, L)
    for networks, inputs in ((several, (x, label)), (encoders, (x, label)), (decoders, (z, label))):

        def output(network: nn.Module, *given: torch.Tensor) -> torch.Tensor:
            found = network(*given)
            return found if isinstance(found, torch.Tensor) else found.mean

        def one(state, *given, network=networks[0]):
            found = functional_call(network, state, given)
            return found if isinstance(found, torch.Tensor) else found.mean

        stacked = vmap(one)(stack_module_state(networks)[0], *inputs)
        for i, network in enumerate(networks):
            wanted = output(network, *(part[i] for part in inputs))
            assert torch.allclose(stacked[i], wanted, atol=1e-5)


def test_a_label_is_given_exactly_where_there_are_classes():
    x, z = torch.rand(4, 1, 4, 4), torch.randn(4, L)
    for network, given in (
        (Generator("mlp", (1, 4, 4), L, C), z),
        (Discriminator("mlp", (1, 4, 4), C), x),
        (Encoder("mlp", (1, 4, 4), L, C), x),
        (Decoder("mlp", (1, 4, 4), L, "bernoulli", C), z),
    ):
        with pytest.raises(UnigenError, match="one of 5 classes, but no label was given") as caught:
            network(given)
        assert str(caught.value).endswith(".")
    for network, given in (
        (Generator("mlp", (1, 4, 4), L), z),
        (Discriminator("mlp", (1, 4, 4)), x),
        (Encoder("mlp", (1, 4, 4), L), x),
        (Decoder("mlp", (1, 4, 4), L, "bernoulli"), z),
    ):
        with pytest.raises(UnigenError, match="is not conditional, but a label was given"):
            network(given, LABEL)


def test_labels_to_draw():
    cpu = torch.device("cpu")
    assert labels_to_draw(7, None, 3, cpu).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert labels_to_draw(3, 2, 3, cpu).tolist() == [2, 2, 2]
    assert labels_to_draw(2, torch.tensor([1, 0]), 3, cpu).tolist() == [1, 0]
    for wrong, words in (
        (3, "from 3 to 3, but the model has 3 classes: use labels from 0 to 2"),
        (-1, "from -1 to -1"),
        (1.5, "whole number"),
        (torch.tensor([0, 1, 2]), "2 samples need one"),
        (torch.tensor([True, False]), "whole number"),
    ):
        with pytest.raises(UnigenError, match=words) as caught:
            labels_to_draw(2, wrong, 3, cpu)
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith(".")
