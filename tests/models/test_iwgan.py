"""The IWGAN's generator step is eq. (7), and near misses of it are told apart."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from unigen_edu.declarations import Batch, Loss
from unigen_edu.errors import UnigenError
from unigen_edu.models.gan import GAN
from unigen_edu.models.iwgan import IWGAN

B, K, SLOPE, OFFSET = 3, 4, 1.7, -0.4


def points() -> torch.Tensor:
    return torch.randn(B, K, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def equation_7(x: torch.Tensor, power: float = 1.0) -> torch.Tensor:
    """E sum_i w~_i grad log D(x_i) for each draw: x (B, K, 1), written out with loops.

    w_i = q^r(y=0|x_i) / q(y=0|x_i) = D_i / (1 - D_i), and grad log D = (1 - D) grad a.
    """
    found = torch.zeros_like(x)
    for b in range(B):
        d = [1 / (1 + torch.exp(-(SLOPE * x[b, i, 0] + OFFSET))) for i in range(K)]
        w = [(value / (1 - value)) ** power for value in d]
        for i in range(K):
            found[b, i, 0] = w[i] / sum(w) * (1 - d[i]) * SLOPE / B
    return found


@pytest.fixture
def error(draws, line):
    """Largest difference of a model's generator gradient from 1/2 eq. (7), p(y) = 1/2."""

    def measure(model_class: type[IWGAN], power: float = 1.0) -> float:
        model = model_class(shape=(1,), k=K, power=power)
        model.generator = draws(points())
        model.discriminator = line(SLOPE, OFFSET)
        loss = model.loss("generator", Batch(torch.zeros(B, 1, dtype=torch.float64)))
        (found,) = torch.autograd.grad(loss.value, model.generator.values)
        return float((found + 0.5 * equation_7(points(), power)).abs().max())

    return measure


class Mutant(IWGAN):
    def generator_loss(self, batch: Batch) -> Loss:
        a = self.discriminator(self.groups(batch).value.flatten(0, 1)).unflatten(0, (-1, self.k))
        return Loss(0.5 * self.surrogate(a), {})

    def surrogate(self, a: torch.Tensor) -> torch.Tensor:
        """The right one, so that the mutants differ from it in one thing."""
        return (torch.softmax(a.detach(), 1) * F.softplus(-a)).sum(1).mean()


class SoftmaxOfProbabilities(Mutant):
    def surrogate(self, a):
        return (torch.softmax(torch.sigmoid(a).detach(), 1) * F.softplus(-a)).sum(1).mean()


class NotDetached(Mutant):
    def surrogate(self, a):
        return (torch.softmax(a, 1) * F.softplus(-a)).sum(1).mean()


class MeanOverTheGroup(Mutant):
    def surrogate(self, a):
        return (torch.softmax(a.detach(), 1) * F.softplus(-a)).mean()


class NormalisedOverTheBatch(Mutant):
    def surrogate(self, a):
        w = torch.softmax(a.detach().flatten(), 0).unflatten(0, a.shape)
        return (w * F.softplus(-a)).sum()


class NormalisedOverTheWrongAxis(Mutant):
    def surrogate(self, a):
        return (torch.softmax(a.detach(), 0) * F.softplus(-a)).sum(1).mean()


class InvertedRatio(Mutant):
    def surrogate(self, a):
        return (torch.softmax(-a.detach(), 1) * F.softplus(-a)).sum(1).mean()


class LogOfTheMeanRatio(Mutant):
    """(A) of the chapter: the gradient of E log mean e^a, which has grad a, not grad log D."""

    def surrogate(self, a):
        return -torch.logsumexp(a, 1).mean()


@pytest.mark.parametrize("model_class", [IWGAN, Mutant])
def test_the_generators_gradient_is_equation_7(model_class, error):
    assert error(model_class) < 1e-12


@pytest.mark.parametrize("power", [0, 0.5, 2.0])
def test_the_weights_are_raised_to_their_power(power, error):
    assert error(IWGAN, power) < 1e-12
    assert error(Mutant, power) > 1e-3  # it does not know the power


@pytest.mark.parametrize("power", [-1, float("inf"), float("nan"), True, "2"])
def test_a_power_that_is_none_is_one_sentence(power):
    with pytest.raises(UnigenError, match=r"^power is .*at least 0"):
        IWGAN(shape=(1,), power=power)


@pytest.mark.parametrize(
    "mutant",
    [
        SoftmaxOfProbabilities,
        NotDetached,
        MeanOverTheGroup,
        NormalisedOverTheBatch,
        NormalisedOverTheWrongAxis,
        InvertedRatio,
        LogOfTheMeanRatio,
    ],
)
def test_near_misses_are_told_apart(mutant, error):
    assert error(mutant) > 1e-3


def test_one_draw_is_the_gan_to_the_bit(digits):
    options = {"shape": (1, 4, 4), "latent": 3}
    gan, weighted = GAN(**options), IWGAN(k=1, **options)
    weighted.load_state_dict(gan.state_dict())
    found = []
    for model in (gan, weighted):
        batch = Batch(digits.images())
        torch.manual_seed(0)
        for phase, part in (("discriminator", "discriminator"), ("generator", "generator")):
            loss = model.loss(phase, batch)
            moved = list(model.get_submodule(part).parameters())
            found.append([loss.value, *torch.autograd.grad(loss.value, moved)])
    for left, right in zip(found[0] + found[1], found[2] + found[3], strict=True):
        assert torch.equal(left, right)


def test_the_discriminator_judges_the_first_draw_of_each_group(digits, small):
    model = small("iwgan", k=3)
    batch = Batch(digits.images())
    groups = model.groups(batch).value
    assert groups.shape == (21, 3, 1, 4, 4)
    assert torch.equal(model.generated(batch).value, groups[:, 0])
    a_data = model.discriminator(batch.x)
    a_g = model.discriminator(groups[:, 0])
    wanted = -0.5 * (torch.sigmoid(a_data).log().mean() + (1 - torch.sigmoid(a_g)).log().mean())
    assert torch.allclose(model.loss("discriminator", batch).value, wanted, atol=1e-6)


def test_the_order_of_the_draws_in_a_group_does_not_matter(draws, line):
    values = []
    for order in ([0, 1, 2, 3], [2, 0, 3, 1]):
        model = IWGAN(shape=(1,), k=K)
        model.generator = draws(points()[:, order])
        model.discriminator = line(SLOPE, OFFSET)
        loss = model.loss("generator", Batch(torch.zeros(B, 1, dtype=torch.float64)))
        values.append([loss.value.item(), loss.terms["effective draws"].item()])
    assert values[0] == pytest.approx(values[1], abs=1e-12)


@pytest.mark.parametrize(
    ("group", "effective"),
    [
        ([0.0, 0.0, 0.0, 0.0], 4.0),  # equal weights
        ([-90.0, 90.0, -90.0, -90.0], 1.0),  # one draw takes all
        ([0.0, 0.0, -90.0, -90.0], 2.0),
    ],
)
def test_effective_draws(group, effective, draws, line):
    model = IWGAN(shape=(1,), k=4)
    x = torch.tensor([group, group], dtype=torch.float64).unsqueeze(-1)
    model.generator = draws(x)
    model.discriminator = line()
    loss = model.loss("generator", Batch(torch.zeros(2, 1, dtype=torch.float64)))
    assert loss.terms["effective draws"].item() == pytest.approx(effective, abs=1e-12)


def test_a_constant_discriminator_gives_no_step(draws, line):
    model = IWGAN(shape=(1,), k=K)
    model.generator = draws(points())
    model.discriminator = line(slope=0.0, offset=0.3)
    loss = model.loss("generator", Batch(torch.zeros(B, 1, dtype=torch.float64)))
    (found,) = torch.autograd.grad(loss.value, model.generator.values)
    assert torch.equal(found, torch.zeros_like(found))
    assert loss.value.item() == pytest.approx(0.5 * float(F.softplus(torch.tensor(-0.3))))
