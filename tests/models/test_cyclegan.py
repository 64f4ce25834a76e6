"""CycleGAN with linear translators by hand, against PyTorch's own densities, and its errors."""

from __future__ import annotations

import itertools
from math import log

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Laplace
from torch.nn import functional as F

from unigen_edu import data, models
from unigen_edu.data import Dataset
from unigen_edu.declarations import Batch
from unigen_edu.errors import UnigenError
from unigen_edu.models.cyclegan import CycleGAN, Translator
from unigen_edu.training import fit


class LinearTranslator(Translator):
    """G(z) = M z + b."""

    def __init__(self, matrix: Tensor, offset: float = 0.0):
        super().__init__("mlp", (len(matrix),))
        self.body = nn.Linear(len(matrix), len(matrix)).double()
        with torch.no_grad():
            self.body.weight.copy_(matrix)
            self.body.bias.fill_(offset)


@pytest.fixture
def by_hand(line):
    """x = g z and z = f x in one dimension, a_A(x) = s x and a_B(z) = t z."""

    def build(g: float, f: float, s: float, t: float, strength: float) -> CycleGAN:
        model = CycleGAN(shape=(1,), network="mlp", strength=strength)
        model.to_a = LinearTranslator(column(g))
        model.to_b = LinearTranslator(column(f))
        model.discriminator_a, model.discriminator_b = line(slope=s), line(slope=t)
        return model

    return build


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def grad_of(loss: Tensor, parameter: Tensor) -> Tensor:
    return torch.autograd.grad(loss, parameter, retain_graph=True)[0]


# ---- by hand -------------------------------------------------------------------------------------


def test_the_discriminators_loss_by_hand(by_hand):
    # A: data log 3, translated 2 * -1/2 log 3.  B: data -1/2 log 3, translated log 3 / 2.
    model = by_hand(g=2.0, f=0.5, s=1.0, t=2.0, strength=1.0)
    batch = Batch(column(log(3)), other=Batch(column(-0.5 * log(3))))
    loss = model.loss("discriminators", batch)
    # D_A = 3/4 on data and 1/4 on the translation; D_B = 1/4 on data and 3/4 on the translation.
    assert loss.terms["A"].item() == pytest.approx(log(4 / 3), abs=1e-12)
    assert loss.terms["B"].item() == pytest.approx(log(4), abs=1e-12)
    assert loss.value.item() == pytest.approx(log(16 / 3), abs=1e-12)


def test_the_translators_loss_by_hand(by_hand):
    # G(z) = 2 z and F(x) = x: the cycles miss by |z| and |x|.
    model = by_hand(g=2.0, f=1.0, s=1.0, t=1.0, strength=0.3)
    batch = Batch(column(log(3)), other=Batch(column(-0.5 * log(3))))
    loss = model.loss("translators", batch)
    terms = {
        "-log D(A)": log(4),  # D_A(-log 3) = 1/4
        "-log D(B)": log(4 / 3),  # D_B(log 3) = 3/4
        "-log p(x|F(x))": log(3) + log(2),
        "-log q(z|G(z))": 0.5 * log(3) + log(2),
    }
    value = 0.5 * (log(4) + log(4 / 3)) + 0.5 * 0.3 * (1.5 * log(3) + 2 * log(2))
    assert loss.value.item() == pytest.approx(value, abs=1e-12)
    assert {n: v.item() for n, v in loss.terms.items() if n != "loss"} == pytest.approx(terms)


def test_each_translators_gradient_has_a_term_from_each_half(by_hand):
    torch.manual_seed(0)
    x, z = torch.randn(2, 6, 1, dtype=torch.float64)
    g, f, s, t, strength = 1.7, 0.4, 0.9, -0.6, 0.3
    model = by_hand(g, f, s, t, strength)
    loss = model.loss("translators", Batch(x, other=Batch(z))).value
    # d/da softplus(-a) = -(1 - sigmoid(a)); d/dg |z - f g z| = -sign(z - f g z) f z
    generate_g = -(1 - torch.sigmoid(s * g * z)) * s * z
    generate_g -= strength * torch.sign(z - f * g * z) * f * z
    recognise_g = -strength * torch.sign(x - g * f * x) * f * x
    right = 0.5 * generate_g.mean() + 0.5 * recognise_g.mean()
    found = grad_of(loss, model.to_a.body.weight).squeeze()
    assert torch.allclose(found, right, atol=1e-12, rtol=0)
    assert recognise_g.mean().abs() > 1e-3
    generate_f = -(1 - torch.sigmoid(t * f * x)) * t * x
    generate_f -= strength * torch.sign(x - g * f * x) * g * x
    recognise_f = -strength * torch.sign(z - f * g * z) * g * z
    right = 0.5 * generate_f.mean() + 0.5 * recognise_f.mean()
    assert torch.allclose(grad_of(loss, model.to_b.body.weight).squeeze(), right, atol=1e-12)


# ---- against PyTorch's densities and losses ------------------------------------------------------


@pytest.fixture
def task() -> Batch:
    torch.manual_seed(0)
    x, z = torch.randn(2, 7, 2, dtype=torch.float64)
    return Batch(x, other=Batch(z + 0.5))


def points(**options) -> CycleGAN:
    torch.manual_seed(1)
    return CycleGAN(shape=(2,), network="mlp", **options).double()


def test_the_losses_are_pytorchs(task):
    model, x, z = points(strength=3.0), task.x, task.other.x
    in_a, in_b = model.to_a(z), model.to_b(x)

    def bce(logits: Tensor, label: float) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))

    judge_a, judge_b = model.discriminator_a, model.discriminator_b
    domains = bce(judge_a(x), 1.0) + bce(judge_a(in_a), 0.0)
    domains = domains + bce(judge_b(z), 1.0) + bce(judge_b(in_b), 0.0)
    loss = model.loss("discriminators", task).value
    assert torch.allclose(loss, 0.5 * domains, atol=1e-12, rtol=0)
    # The paper: adversary + weight * mean absolute error, and here log 2 per unit of weight.
    paper = bce(judge_a(in_a), 1.0) + bce(judge_b(in_b), 1.0)
    paper = paper + 3.0 * (F.l1_loss(model.to_b(in_a), z) + F.l1_loss(model.to_a(in_b), x))
    loss = model.loss("translators", task).value
    assert torch.allclose(loss, 0.5 * paper + 3.0 * log(2), atol=1e-12, rtol=0)


def test_a_recogniser_is_a_laplace_distribution(task):
    model, x, z = points(), task.x, task.other.x
    right = Laplace(model.to_a(z), 1.0).log_prob(x).sum(1)
    assert torch.allclose(model.to_a.log_prob(x, z), right, atol=1e-12, rtol=0)


@pytest.mark.parametrize("exponent", [0.2, 5.0])
def test_the_weight_of_the_cycle_is_one_over_the_scale_of_a_laplace(exponent, task):
    """lambda log Laplace(1) and log Laplace(1/lambda) differ by a constant: same gradients."""
    model, x, z = points(), task.x, task.other.x
    (weight, *_) = model.to_a.parameters()
    powered = exponent * model.to_a.log_prob(x, z).mean()
    sharp = Laplace(model.to_a(z), 1.0 / exponent).log_prob(x).sum(1).mean()
    assert torch.allclose(grad_of(powered, weight), grad_of(sharp, weight), atol=1e-12, rtol=0)
    assert (powered - sharp).abs() > 0.1


def test_maps_that_are_inverse_to_each_other_close_the_cycle(task):
    torch.manual_seed(2)
    matrix = torch.randn(2, 2, dtype=torch.float64)
    model = points()
    model.to_a, model.to_b = LinearTranslator(matrix), LinearTranslator(torch.linalg.inv(matrix))
    terms = model.loss("translators", task).terms
    for name in ("-log p(x|F(x))", "-log q(z|G(z))"):
        assert terms[name].item() == pytest.approx(2 * log(2), abs=1e-12)  # D log 2 and no error


def test_the_discriminators_phase_sends_no_gradient_to_the_translators(task):
    model = points()
    loss = model.loss("discriminators", task).value
    for translator in (model.to_a, model.to_b):
        found = torch.autograd.grad(
            loss, list(translator.parameters()), allow_unused=True, retain_graph=True
        )
        assert all(g is None for g in found)


def test_losses_are_finite_for_certain_discriminators(by_hand):
    model = by_hand(g=2.0, f=0.5, s=1e4, t=-1e4, strength=1.0)
    batch = Batch(column(-3.0, 5.0), other=Batch(column(4.0, -2.0)))
    for phase, part in (("discriminators", "discriminator_a"), ("translators", "to_a")):
        loss = model.loss(phase, batch).value
        assert torch.isfinite(loss)
        for parameter in getattr(model, part).parameters():
            assert torch.isfinite(grad_of(loss, parameter)).all()


# ---- networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "shape"),
    [("mlp", (2,)), ("mlp", (1, 6, 4)), ("conv", (1, 28, 28)), ("conv", (3, 32, 32))],
)
def test_translators_keep_the_shape_and_images_stay_images(network, shape):
    torch.manual_seed(0)
    model = CycleGAN(shape=shape, network=network)
    x = 3.0 * torch.rand(4, *shape)
    out = model.to_a(x)
    assert out.shape == x.shape
    if len(shape) == 3:
        assert out.min() >= 0.0
        assert out.max() <= 1.0
        assert out.std() > 0.01  # no grey picture at the start
    assert model.to_a.log_prob(x, x).shape == (4,)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_a_single_image_cannot_be_normalised(network):
    model = CycleGAN(network=network)
    x = torch.rand(1, 1, 28, 28)
    with pytest.raises(UnigenError, match="batch_size of at least 2"):
        model.loss("translators", Batch(x, other=Batch(x)))
    assert model.eval().to_a(x).shape == x.shape


# ---- errors of known pairs -----------------------------------------------------------------------


@pytest.fixture
def pairs() -> Dataset:
    torch.manual_seed(0)
    x = torch.randint(0, 256, (1003, 1, 4, 4), dtype=torch.uint8)
    other = Dataset(255 - x, name="dots/inverted", split="test")
    return Dataset(x, name="dots+dots/inverted", split="test", other=other)


class Inversion(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 1.0 - x


def test_own_metrics_of_the_true_map_and_of_the_identity(pairs):
    model = CycleGAN(shape=(1, 4, 4), network="mlp")
    model.to_a = model.to_b = Inversion()
    x = pairs.images()
    identity = (1.0 - 2.0 * x).abs().mean().item()
    zeros = dict.fromkeys(
        ("cycle_error_a", "cycle_error_b", "pairing_error_to_a", "pairing_error_to_b"), 0.0
    )
    right = zeros | {"pairing_error_identity": identity}
    assert model.own_metrics(pairs) == pytest.approx(right, abs=1e-6)
    model.to_a = model.to_b = nn.Identity()  # closes the cycle, and pairs wrongly
    wrong = right | {"pairing_error_to_a": identity, "pairing_error_to_b": identity}
    assert model.own_metrics(pairs) == pytest.approx(wrong, abs=1e-6)


def test_own_metrics_tell_the_directions_apart(pairs):
    model = CycleGAN(shape=(1, 4, 4), network="mlp")
    model.to_a, model.to_b = Inversion(), nn.Identity()
    found = model.own_metrics(pairs)
    identity = found["pairing_error_identity"]
    assert found["pairing_error_to_a"] == pytest.approx(0.0, abs=1e-6)
    assert found["pairing_error_to_b"] == pytest.approx(identity, abs=1e-6)
    # G(F(x)) = 1 - x misses x, and F(G(z)) = 1 - z misses z by as much.
    assert found["cycle_error_a"] == pytest.approx(identity, abs=1e-6)
    assert found["cycle_error_b"] == pytest.approx(identity, abs=1e-6)


def test_domains_that_are_no_pairs_have_cycle_errors_only(pairs):
    model = CycleGAN(shape=(1, 4, 4), network="mlp")
    model.to_a = model.to_b = Inversion()
    for name, n in (("usps", 1003), ("dots/inverted", 900)):
        other = Dataset(pairs.other.x[:n], name=name)
        found = model.own_metrics(Dataset(pairs.x, name="dots+" + name, other=other))
        assert set(found) == {"cycle_error_a", "cycle_error_b"}
    assert model.own_metrics(Dataset(pairs.x, name="dots")) == {}


# ---- use -----------------------------------------------------------------------------------------


def test_fit_moves_both_translators_and_both_discriminators():
    torch.manual_seed(0)
    model = CycleGAN(shape=(2,), network="mlp")
    task = Dataset(torch.randn(40, 2), other=Dataset(torch.randn(30, 2) + 1.0))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    history = fit(model, task, steps=2, batch_size=8, device="cpu", progress=False)
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert "translators/-log D(A)" in history.terms


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strength": -1.0}, "strength is -1.0"),
        ({"strength": "much"}, "strength is 'much'"),
        ({"network": "unet"}, "no network 'unet'"),
        ({"network": "conv", "shape": (2,)}, "28x28 or 32x32"),
    ],
)
def test_bad_options_are_one_sentence(options, words):
    with pytest.raises(UnigenError, match=words) as caught:
        models.create("cyclegan", **options)
    assert "\n" not in str(caught.value)


def test_a_batch_must_bring_both_domains():
    model = points()
    for phase in ("discriminators", "translators"):
        with pytest.raises(UnigenError, match="one domain only"):
            model.loss(phase, Batch(torch.zeros(3, 2)))


def test_there_is_nothing_to_sample():
    with pytest.raises(UnigenError, match="no sampler"):
        points().sample(3)


def test_every_network_is_moved_by_one_phase():
    moved = list(itertools.chain.from_iterable(phase.moves for phase in CycleGAN.phases))
    assert sorted(moved) == sorted(name for name, _ in points().named_children())


def test_the_picture_shows_each_image_beside_its_translation():
    pairs = data.load("mnist-mini+mnist-mini/inverted", "test").subset(range(40))
    model = models.create("cyclegan").eval()
    torch.manual_seed(0)
    x, z_made, z, x_made = model.picture(pairs, 12).unflatten(0, (3, 4)).movedim(1, 0)
    known = pairs.images().flatten(1), pairs.other.images().flatten(1)
    for shown, domain in zip((x, z), known, strict=True):  # images of the test set, in its order
        # By differences: by products, in float32, a distance of 0 comes out as 0.01.
        apart = torch.cdist(shown.flatten(1), domain, compute_mode="donot_use_mm_for_euclid_dist")
        assert (apart.min(1).values == 0).all()
    assert torch.allclose(z_made, model.to_b(x))
    assert torch.allclose(x_made, model.to_a(z))
    with pytest.raises(UnigenError, match="a test set of two domains"):
        model.picture(data.load("mnist-mini", "test"), 12)
