"""The GAN of sequences on all sequences of a tiny alphabet: what its gradient is, exactly.

Three kinds of expectation are taken of the model's own loss code: over all sequences with their
probabilities, over all *batches* of n draws (for which the baseline matters), and over the noise of
the relaxation, on a grid.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from unigen_edu import recurrent
from unigen_edu.declarations import Batch, Loss, Sample
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.sequences import (
    ListedGenerator,
    TableSequenceDiscriminator,
    TableSequenceGenerator,
    all_sequences,
    chain_law,
    index_of,
)
from unigen_edu.models import sequence_gan
from unigen_edu.models.sequence_gan import SequenceGAN, SequenceGenerator

SEEDS = (0, 1, 2)
V, T = 3, 2
TOLERANCE = 1e-12


def random_world(seed: int, vocabulary: int = V, length: int = T) -> GANWorld:
    return GANWorld.random(seed, n_x=vocabulary**length)


def table_model(world: GANWorld, vocabulary: int = V, length: int = T) -> tuple[SequenceGAN, Batch]:
    model = SequenceGAN(shape=(length,), vocabulary=vocabulary, hidden=2)
    model.generator = TableSequenceGenerator(world.theta0, vocabulary, length)
    model.discriminator = TableSequenceDiscriminator(world.phi0, vocabulary)
    return model, Batch(all_sequences(vocabulary, length), weight=world.p_data)


def recurrent_model(seed: int, vocabulary: int = V, length: int = T) -> SequenceGAN:
    """The real networks, the generator listing what it could draw."""
    torch.manual_seed(seed)
    model = SequenceGAN(shape=(length,), vocabulary=vocabulary, hidden=3)
    model.generator = ListedGenerator(vocabulary, length, hidden=3)
    return model.double()


def phase_gradient(
    model: SequenceGAN, phase: str, batch: Batch, of: str
) -> tuple[Loss, tuple[Tensor, ...]]:
    loss = model.loss(phase, batch)
    return loss, torch.autograd.grad(loss.value, list(model.get_submodule(of).parameters()))


def flat(gradients: tuple[Tensor, ...]) -> Tensor:
    return parameters_to_vector(gradients)


# ---- all sequences -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_the_discriminator_phase_reduces_the_kl_of_the_posteriors(seed):
    world = random_world(seed)
    model, batch = table_model(world)
    loss, (grad,) = phase_gradient(model, "discriminator", batch, "discriminator")
    assert gap(loss.value, -world.discriminator_objective()) < TOLERANCE
    assert gap(grad, gradient(world.discriminator_gap, world.phi0)) < TOLERANCE
    assert grad.abs().max() > 1e-3


@pytest.mark.parametrize("seed", SEEDS)
def test_the_score_function_has_the_gradient_of_lemma_1(seed):
    world = random_world(seed)
    model, batch = table_model(world)
    loss, (grad,) = phase_gradient(model, "generator", batch, "generator")
    assert gap(loss.value, 0.5 * world.non_saturating_loss()) < TOLERANCE
    assert gap(grad, gradient(world.lemma1, world.theta0)) < 1e-10
    assert gap(grad, gradient(world.kl_term, world.theta0)) > 1e-4  # the KL alone is not enough
    assert gap(grad, -gradient(world.lemma1, world.theta0)) > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_of_a_recurrent_generator_in_all_its_parameters(seed):
    """p_theta(x) by torch's own cell; Lemma 1 in its logarithm; the chain rule by autograd."""
    model = recurrent_model(seed)
    x = all_sequences(V, T)
    no_code = torch.zeros(1, 0, dtype=torch.float64)
    parameters = list(model.generator.parameters())
    law = chain_law(model.generator.writer, no_code)[0]
    world = GANWorld(
        p_data=random_world(seed).p_data,
        theta0=law.detach().log(),
        phi0=model.discriminator(x).detach(),
        p_y=torch.tensor([0.5, 0.5], dtype=torch.float64),
    )
    loss, found = phase_gradient(model, "generator", Batch(x, weight=world.p_data), "generator")
    right = torch.autograd.grad(world.lemma1(law.log()), parameters)
    assert gap(loss.value, 0.5 * world.non_saturating_loss()) < TOLERANCE
    assert gap(flat(found), flat(right)) < 1e-10
    assert flat(found).abs().max() > 1e-4


def test_finite_differences_of_the_expected_cost():
    world = random_world(3)
    model, batch = table_model(world)
    _, (grad,) = phase_gradient(model, "generator", batch, "generator")
    step = 1e-5
    for i in range(V**T):
        sides = []
        for sign in (1, -1):
            theta = world.theta0.clone()
            theta[i] += sign * step
            moved, fresh = table_model(world.with_theta0(theta))
            sides.append(moved.loss("generator", fresh).value.item())
        assert grad[i].item() == pytest.approx((sides[0] - sides[1]) / (2 * step), abs=1e-9)


def test_without_the_score_there_is_no_gradient():
    """A draw is an integer: the cost of it tells the generator nothing by itself."""
    model, _ = table_model(random_world(0))
    x, weight = model.generator.sample(0)
    cost = F.softplus(-model.discriminator(x))
    (found,) = torch.autograd.grad((weight * cost).sum(), model.generator.logits, allow_unused=True)
    assert found is None


# ---- all batches of n draws ----------------------------------------------------------------------


class Given(torch.nn.Module):
    """The table, with the draws of a batch chosen from outside."""

    def __init__(self, inner: TableSequenceGenerator, x: Tensor):
        super().__init__()
        self.inner, self.x = inner, x

    def sample(self, n: int) -> Sample:
        assert n == len(self.x)
        return Sample(self.x)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.inner.log_prob(x)


def over_all_batches(world: GANWorld, n: int) -> tuple[Tensor, Tensor]:
    """Mean and total variance of the gradient that training takes with a batch of n draws."""
    vocabulary, length = 2, 2
    model, _ = table_model(world, vocabulary, length)
    inner, states = model.generator, all_sequences(vocabulary, length)
    p = world.p_g()
    mean, square = torch.zeros_like(p), torch.zeros((), dtype=p.dtype)
    for drawn in itertools.product(range(len(states)), repeat=n):
        at = torch.tensor(drawn)
        model.generator = Given(inner, states[at])
        _, (found,) = phase_gradient(model, "generator", Batch(states[at]), "generator")
        mean += p[at].prod() * found
        square += p[at].prod() * found.square().sum()
    return mean, square - mean.square().sum()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_estimator_is_unbiased_for_every_batch_size(seed, n):
    world = random_world(seed, 2, 2)
    mean, _ = over_all_batches(world, n)
    assert gap(mean, gradient(world.lemma1, world.theta0)) < 1e-10


@pytest.mark.parametrize("n", [2, 3])
def test_a_baseline_that_counts_the_draw_itself_shrinks_the_gradient(n, monkeypatch):
    monkeypatch.setattr(sequence_gan, "advantage", lambda cost, weight=None: cost - cost.mean())
    world = random_world(0, 2, 2)
    mean, _ = over_all_batches(world, n)
    right = gradient(world.lemma1, world.theta0)
    assert gap(mean, (n - 1) / n * right) < 1e-10
    assert gap(mean, right) > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_the_baseline_takes_noise_away_and_nothing_else(seed, monkeypatch):
    """A bad generator: the discriminator is sure of it, so all costs are large and alike."""
    world = random_world(seed, 2, 2)
    world = world.with_discriminator(torch.sigmoid(0.3 * world.phi0 - 4.0))
    mean, variance = over_all_batches(world, 3)
    monkeypatch.setattr(sequence_gan, "advantage", lambda cost, weight=None: cost)
    plain_mean, plain_variance = over_all_batches(world, 3)
    assert gap(mean, plain_mean) < 1e-10
    assert variance < 0.1 * plain_variance


# ---- the relaxation ------------------------------------------------------------------------------


def over_the_noise(model: SequenceGAN, monkeypatch, side: int = 400) -> Loss:
    """The loss averaged over a grid of the noise: two tokens of an alphabet of two.

    Of each token only the difference of its two noises matters. It is logistic, the quantile
    log(u / (1-u)) of a uniform u, of which `side` midpoints are taken.
    """
    u = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    logistic = torch.log(u / (1 - u))
    grids = [logistic.repeat_interleave(side), logistic.repeat(side)]

    def on_the_grid(like: Tensor) -> Tensor:
        first = grids.pop(0)
        return torch.stack([first, torch.zeros_like(first)], -1)

    monkeypatch.setattr(recurrent, "gumbel_noise", on_the_grid)
    return model.loss("generator", Batch(torch.zeros(side**2, 2, dtype=torch.int64)))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_the_relaxed_gradient_is_biased_though_its_value_is_right(seed, temperature, monkeypatch):
    exact = recurrent_model(seed, 2, 2)
    for parameter in exact.parameters():
        parameter.data *= 2.0  # far from uniform, so that there is something to be wrong about
    value, right = phase_gradient(exact, "generator", Batch(all_sequences(2, 2)), "generator")

    relaxed = SequenceGAN(
        shape=(2,), vocabulary=2, hidden=3, estimator="gumbel-softmax", temperature=temperature
    ).double()
    relaxed.load_state_dict(exact.state_dict())
    loss = over_the_noise(relaxed, monkeypatch)
    found = torch.autograd.grad(loss.value, list(relaxed.generator.parameters()))
    assert loss.value.item() == pytest.approx(value.value.item(), abs=1e-3)  # the grid's error
    size = flat(right).norm()
    assert (flat(found) - flat(right)).norm() > 0.1 * size
    assert size > 1e-3


def test_the_bias_by_hand_for_one_token(monkeypatch):
    """One token of two, temperature 1, a cost that is 1 for the first: the smallest case.

    With logit l the exact gradient is p (1 - p), p = sigmoid(l). The relaxed one is E[s (1 - s)],
    s = sigmoid(l + L), L logistic. At l = 0, s is uniform: 1/6 instead of 1/4.
    """
    generator = SequenceGenerator(2, 1, 1).double()
    for parameter in generator.parameters():
        torch.nn.init.zeros_(parameter)
    u = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    noise = torch.stack([torch.log(u / (1 - u)), torch.zeros_like(u)], -1)
    monkeypatch.setattr(recurrent, "gumbel_noise", lambda like: noise)
    x = generator.relaxed_sample(4000, 1.0).value
    (found,) = torch.autograd.grad(x[:, 0, 0].mean(), generator.writer.head.bias)
    assert found[0].item() == pytest.approx(1 / 6, abs=1e-6)
    p = torch.distributions.Bernoulli(logits=torch.tensor(0.0)).variance
    assert p.item() == pytest.approx(1 / 4)


def test_the_listed_law_is_the_writers_law():
    """chain_law, the loss's log_prob and the sampler are three codes for one distribution."""
    model = recurrent_model(4)
    x = all_sequences(V, T)
    law = chain_law(model.generator.writer, torch.zeros(1, 0, dtype=torch.float64))[0]
    assert gap(model.generator.log_prob(x).exp(), law) < TOLERANCE
    assert law.sum().item() == pytest.approx(1.0, abs=1e-12)
    torch.manual_seed(0)
    n = 20_000
    drawn = SequenceGenerator.sample(model.generator, n).value
    count = torch.bincount(index_of(drawn, V), minlength=V**T)
    assert ((count / n - law).abs() < 5 * (law * (1 - law) / n).sqrt()).all()
