"""The conditional GAN's own loss code on tables: Lemma 1 in every class."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unigen_edu.declarations import Batch, Loss
from unigen_edu.errors import UnigenError
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.conditional_networks import (
    ConditionalNoiseDiscriminator,
    ConditionalNoiseGenerator,
    ConditionalTableDiscriminator,
    ConditionalTableGenerator,
    state_of_row,
)
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.importance import FiniteNoiseWorld
from unigen_edu.exact.networks import TableDiscriminator, TableGenerator
from unigen_edu.exact.tables import generator_from, random_distribution
from unigen_edu.models.cgan import CGAN
from unigen_edu.models.gan import GAN

SEEDS = (0, 1, 2)
TOLERANCE = 1e-10
CLASSES, STATES = 3, 4


def law_of_classes(seed: int) -> Tensor:
    return random_distribution(CLASSES, generator=generator_from(500 + seed))


def gan_worlds(seed: int) -> tuple[GANWorld, ...]:
    """One world for each class."""
    return tuple(GANWorld.random(10 * seed + c, n_x=STATES) for c in range(CLASSES))


def pairs(p_c: Tensor, worlds: tuple[GANWorld, ...], order: Tensor | None = None) -> Batch:
    """All (x, c) with their probabilities, in any order."""
    c = torch.arange(len(worlds)).repeat_interleave(STATES)
    x = torch.arange(STATES).repeat(len(worlds))
    weight = (p_c[:, None] * torch.stack([world.p_data for world in worlds])).flatten()
    rows = torch.arange(len(c)) if order is None else order
    return Batch(x[rows], c[rows], weight[rows])


def table_cgan(
    p_c: Tensor, worlds: tuple[GANWorld, ...], objective: str = "non-saturating"
) -> CGAN:
    model = CGAN(shape=(2,), latent=1, classes=len(worlds), objective=objective)
    theta = torch.stack([world.theta0 for world in worlds])
    model.generator = ConditionalTableGenerator(theta, p_c)
    model.discriminator = ConditionalTableDiscriminator(torch.stack([w.phi0 for w in worlds]))
    return model


def phase_gradient(model: GAN, phase: str, batch: Batch) -> tuple[Loss, Tensor]:
    loss = model.loss(phase, batch)
    (parameter,) = model.get_submodule(phase).parameters()
    return loss, torch.autograd.grad(loss.value, parameter)[0]


def by_class(p_c: Tensor, parts: list[Tensor]) -> Tensor:
    """p(c) times the part of each class: what acts on the parameters of that class."""
    return p_c[:, None] * torch.stack(parts)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_discriminator_phase_reduces_the_kl_of_the_posteriors_given_the_class(seed):
    p_c, worlds = law_of_classes(seed), gan_worlds(seed)
    loss, grad = phase_gradient(table_cgan(p_c, worlds), "discriminator", pairs(p_c, worlds))
    values = torch.stack([-world.discriminator_objective() for world in worlds])
    assert gap(loss.value, p_c @ values) < TOLERANCE
    right = by_class(p_c, [gradient(w.discriminator_gap, w.phi0) for w in worlds])
    assert gap(grad, right) < TOLERANCE
    assert grad.abs().max() > 1e-3
    best = tuple(world.with_optimal_discriminator() for world in worlds)
    _, grad = phase_gradient(table_cgan(p_c, best), "discriminator", pairs(p_c, best))
    assert grad.abs().max() < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_the_generator_phase_is_lemma_1_in_every_class(seed):
    p_c, worlds = law_of_classes(seed), gan_worlds(seed)
    loss, grad = phase_gradient(table_cgan(p_c, worlds), "generator", pairs(p_c, worlds))
    values = torch.stack([0.5 * world.non_saturating_loss() for world in worlds])
    assert gap(loss.value, p_c @ values) < TOLERANCE
    right = by_class(p_c, [gradient(w.lemma1, w.theta0) for w in worlds])
    assert gap(grad, right) < TOLERANCE
    # The KL alone is not enough, nor is a mean over classes of unequal shares.
    assert gap(grad, by_class(p_c, [gradient(w.kl_term, w.theta0) for w in worlds])) > 1e-4
    equal = torch.full((CLASSES,), 1 / CLASSES, dtype=torch.float64)
    assert gap(grad, by_class(equal, [gradient(w.lemma1, w.theta0) for w in worlds])) > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_it_is_lemma_1_for_pairs_too(seed):
    """One GAN whose x is the pair (x, c): p(c) is the same in both domains and does not move."""
    p_c, worlds = law_of_classes(seed), gan_worlds(seed)
    _, grad = phase_gradient(table_cgan(p_c, worlds), "generator", pairs(p_c, worlds))
    theta0 = torch.stack([w.theta0 for w in worlds])

    def joint(theta: Tensor) -> Tensor:
        return (p_c[:, None] * theta.softmax(-1)).flatten()

    p_data = pairs(p_c, worlds).weight
    D = torch.stack([w.D for w in worlds]).flatten()
    world = GANWorld.from_tables(p_data, joint(theta0), D)
    right = gradient(lambda theta: world.lemma1(joint(theta).log()), theta0)
    assert gap(grad, right) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_minimax_reduces_the_jsd_of_each_class_at_the_best_discriminator(seed):
    p_c = law_of_classes(seed)
    worlds = tuple(world.with_optimal_discriminator() for world in gan_worlds(seed))
    model = table_cgan(p_c, worlds, "minimax")
    _, grad = phase_gradient(model, "generator", pairs(p_c, worlds))
    right = by_class(p_c, [gradient(w.jsd_term, w.theta0) for w in worlds])
    assert gap(grad, right) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_a_discriminator_that_is_not_told_the_class_compares_the_sums_over_classes(seed):
    """Its best D is that of the marginals, and exchanged classes look perfect to it."""
    p_c, worlds = law_of_classes(seed), gan_worlds(seed)
    p_c = torch.full_like(p_c, 1 / CLASSES)
    p_data = torch.stack([w.p_data for w in worlds])
    p_g = torch.stack([w.p_g() for w in worlds])
    marginal = GANWorld.from_tables(p_c @ p_data, p_c @ p_g)
    blind = table_cgan(p_c, worlds)
    blind.discriminator.logits.data = marginal.phi0.expand(CLASSES, STATES).clone()
    _, grad = phase_gradient(blind, "discriminator", pairs(p_c, worlds))
    assert grad.sum(0).abs().max() < TOLERANCE  # no better function of x alone
    assert grad.abs().max() > 1e-4  # but a better one of (x, c)

    exchanged = tuple(
        GANWorld.from_tables(worlds[c].p_data, worlds[(c + 1) % CLASSES].p_data)
        for c in range(CLASSES)
    )
    blind = table_cgan(p_c, exchanged)
    blind.discriminator.logits.data.zero_()  # the best function of x: the marginals agree
    _, grad = phase_gradient(blind, "discriminator", pairs(p_c, exchanged))
    assert grad.sum(0).abs().max() < TOLERANCE
    _, grad = phase_gradient(blind, "generator", pairs(p_c, exchanged))
    assert grad.abs().max() < TOLERANCE  # and the generator rests, each class in the wrong place
    _, grad = phase_gradient(table_cgan(p_c, exchanged), "generator", pairs(p_c, exchanged))
    assert grad.abs().max() > 1e-3


@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_of_the_rows_does_not_matter(seed):
    p_c, worlds = law_of_classes(seed), gan_worlds(seed)
    model = table_cgan(p_c, worlds)
    order = torch.randperm(CLASSES * STATES, generator=torch.Generator().manual_seed(seed))
    for phase in ("discriminator", "generator"):
        loss, grad = phase_gradient(model, phase, pairs(p_c, worlds))
        again, same = phase_gradient(model, phase, pairs(p_c, worlds, order))
        assert gap(loss.value, again.value) < TOLERANCE
        assert gap(grad, same) < TOLERANCE


@pytest.mark.parametrize("phase", ["discriminator", "generator"])
def test_with_one_class_it_is_the_gan(phase):
    world = GANWorld.random(0, n_x=STATES)
    one = torch.ones(1, dtype=torch.float64)
    loss, grad = phase_gradient(table_cgan(one, (world,)), phase, pairs(one, (world,)))
    gan = GAN(shape=(2,), latent=1)
    gan.generator = TableGenerator(world.theta0)
    gan.discriminator = TableDiscriminator(world.phi0)
    wanted, right = phase_gradient(gan, phase, Batch(torch.arange(STATES), weight=world.p_data))
    assert gap(loss.value, wanted.value) < TOLERANCE
    assert gap(grad[0], right) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_the_path_gradient_of_the_generator_phase(seed):
    p_c = law_of_classes(seed)
    worlds = tuple(FiniteNoiseWorld.random(10 * seed + c) for c in range(CLASSES))
    model = CGAN(shape=(2,), latent=1, classes=CLASSES)
    model.generator = ConditionalNoiseGenerator(worlds, p_c)
    model.discriminator = ConditionalNoiseDiscriminator(worlds)
    label = torch.arange(CLASSES).repeat_interleave(len(worlds[0].p_z))
    batch = Batch(torch.zeros(len(label), dtype=torch.float64), label)
    _, grad = phase_gradient(model, "generator", batch)
    assert gap(grad, by_class(p_c, [-0.5 * w.gan_gradient() for w in worlds])) < TOLERANCE


def test_rows_are_numbered_within_their_class():
    label = torch.tensor([1, 0, 1, 0, 0, 1])
    assert state_of_row(label, 3, 2).tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(UnigenError, match=r"\[3, 3\] rows of each class"):
        state_of_row(label, 4, 2)
