"""The importance weighted conditional GAN on tables: groups of one class, and what mixing does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from unigen_edu.declarations import Batch, Loss, Sample
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.conditional_networks import (
    ConditionalNoiseDiscriminator,
    ConditionalNoiseGenerator,
    ConditionalTableDiscriminator,
    ConditionalTableGenerator,
)
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.importance import (
    ConditionalImportanceWorld,
    FiniteNoiseWorld,
    group_law,
    groups,
    self_normalised_mean,
)
from unigen_edu.exact.networks import TableDiscriminator, TableGenerator
from unigen_edu.exact.tables import generator_from, random_distribution
from unigen_edu.models.iwcgan import IWCGAN
from unigen_edu.models.iwgan import IWGAN

SEEDS = (0, 1, 2)
TOLERANCE = 1e-10


def table_iwcgan(world: ConditionalImportanceWorld, k: int) -> tuple[IWCGAN, Batch]:
    """The model with tables, and a batch with a row for each group of each class."""
    n_c, n_x = world.a.shape
    model = IWCGAN(shape=(2,), latent=1, k=k, classes=n_c)
    model.generator = ConditionalTableGenerator(world.p_g_given_c.log(), world.p_c)
    model.discriminator = ConditionalTableDiscriminator(world.a)
    label = torch.arange(n_c).repeat_interleave(n_x**k)
    return model, Batch(torch.zeros_like(label), label)


class Mixed(IWCGAN):
    """The mistake: each draw of a group has a label of its own. Pairs (x, c) are the states."""

    def groups(self, batch: Batch) -> Sample:
        p_c, p_g = self.generator.p_c, self.generator.laws()
        joint = (p_c[:, None] * p_g).flatten()
        return Sample(groups(len(joint), self.k), group_law(joint, self.k))

    def group_logits(self, x: Tensor, batch: Batch) -> Tensor:
        return self.discriminator.logits.flatten()[x]


def mixed(world: ConditionalImportanceWorld, k: int) -> tuple[IWCGAN, Batch]:
    right, batch = table_iwcgan(world, k)
    model = Mixed(shape=(2,), latent=1, k=k, classes=world.a.shape[0])
    model.generator, model.discriminator = right.generator, right.discriminator
    return model, batch


def generator_step(model: IWCGAN, batch: Batch) -> tuple[Loss, Tensor]:
    loss = model.loss("generator", batch)
    (parameter,) = model.generator.parameters()
    return loss, torch.autograd.grad(loss.value, parameter)[0]


def noise_iwcgan(worlds: tuple[FiniteNoiseWorld, ...], p_c: Tensor, k: int) -> tuple[IWCGAN, Batch]:
    model = IWCGAN(shape=(2,), latent=1, k=k, classes=len(worlds))
    model.generator = ConditionalNoiseGenerator(worlds, p_c)
    model.discriminator = ConditionalNoiseDiscriminator(worlds)
    label = torch.arange(len(worlds)).repeat_interleave(len(worlds[0].p_z) ** k)
    return model, Batch(torch.zeros(len(label), dtype=torch.float64), label)


# ---- groups of one class -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_generator_phase_is_equation_7_in_every_class(seed, k):
    worlds = tuple(FiniteNoiseWorld.random(10 * seed + c, n_z=3) for c in range(2))
    p_c = random_distribution(2, generator=generator_from(500 + seed))
    loss, grad = generator_step(*noise_iwcgan(worlds, p_c, k))
    values = torch.stack([0.5 * world.surrogate(k) for world in worlds])
    assert gap(loss.value, p_c @ values) < TOLERANCE
    right = p_c[:, None] * torch.stack([-0.5 * world.eq7(k) for world in worlds])
    assert gap(grad, right) < TOLERANCE
    assert 1 - TOLERANCE <= loss.terms["effective draws"] <= k + TOLERANCE
    if k > 1:
        gan = p_c[:, None] * torch.stack([-0.5 * world.gan_gradient() for world in worlds])
        assert gap(grad, gan) > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_generator_phase_on_a_table(seed, k):
    """The value is p(y=0) E_c of the weighted mean of -log D within the class."""
    world = ConditionalImportanceWorld.random(seed)
    loss, grad = generator_step(*table_iwcgan(world, k))
    value = 0.5 * world.weighted_mean_within(-logsigmoid(world.a), k)
    assert gap(loss.value, value) < TOLERANCE

    def of_class(c: int, theta: Tensor) -> Tensor:
        p, a = theta.softmax(-1), world.a[c]
        return self_normalised_mean(p, a.exp(), -logsigmoid(a), k)

    theta0 = world.p_g_given_c.log()
    right = torch.stack(
        [
            0.5 * world.p_c[c] * gradient(lambda t, c=c: of_class(c, t), theta0[c])
            for c in range(len(theta0))
        ]
    )
    assert gap(grad, right) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_one_class_is_the_iwgan(seed):
    world = GANWorld.random(seed, n_x=3)
    one = ConditionalImportanceWorld(
        torch.ones(1, dtype=torch.float64), world.p_g()[None], world.phi0[None]
    )
    loss, grad = generator_step(*table_iwcgan(one, 2))
    plain = IWGAN(shape=(2,), latent=1, k=2)
    plain.generator = TableGenerator(world.theta0)
    plain.discriminator = TableDiscriminator(world.phi0)
    wanted = plain.loss("generator", Batch(torch.arange(3), weight=world.p_data))
    right = torch.autograd.grad(wanted.value, plain.generator.logits)[0]
    assert gap(loss.value, wanted.value) < TOLERANCE
    assert gap(grad[0], right) < TOLERANCE


@pytest.mark.parametrize("k", [1, 2])
def test_the_discriminator_phase_does_not_see_the_groups(k):
    """It judges the first draw of each group: whatever k is, the law of the pair is p(c) p_g."""
    world = ConditionalImportanceWorld.random(1)
    model, batch = table_iwcgan(world, k)
    n_c, n_x = world.a.shape
    p_data = random_distribution(n_c, n_x, generator=generator_from(7))
    first = groups(n_x, k)[:, 0].repeat(n_c)  # the data: the first of k independent data points
    weight = (world.p_c[:, None] * group_law(p_data, k)).flatten()
    loss = model.loss("discriminator", Batch(first, batch.label, weight))
    per_class = (p_data * softplus(-world.a) + world.p_g_given_c * softplus(world.a)).sum(1)
    assert gap(loss.value, 0.5 * world.p_c @ per_class) < TOLERANCE


# ---- groups of mixed classes ---------------------------------------------------------------------


def class_shares(model: IWCGAN, batch: Batch, n_c: int) -> Tensor:
    """Share of the normalised weights that falls to each class, from the model's own pieces."""
    x, weight = model.groups(batch)
    w = model.group_logits(x, batch).softmax(1)
    if isinstance(model, Mixed):
        label = x // (model.generator.logits.shape[1])
    else:
        label = batch.label[:, None].expand_as(x)
    one_hot = (label[..., None] == torch.arange(n_c)).double()
    return (weight[:, None, None] * w[..., None] * one_hot).sum((0, 1)).detach()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k", [2, 3])
def test_mixed_groups_give_each_class_another_share_of_the_step(seed, k):
    world = ConditionalImportanceWorld.random(seed)
    n_c = len(world.p_c)
    within = class_shares(*table_iwcgan(world, k), n_c)
    across = class_shares(*mixed(world, k), n_c)
    assert gap(within, world.p_c) < TOLERANCE
    assert gap(across, world.class_law(k, mixed=True)) < TOLERANCE
    assert gap(across, world.p_c) > 1e-3
    # On its way to p(c) Z_c, as k grows.
    tilted = world.tilted_class_law()
    assert gap(world.class_law(5, mixed=True), tilted) < gap(across, tilted) < gap(within, tilted)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k", [2, 3])
def test_a_shift_of_all_logits_of_a_class_moves_mixed_weights_only(seed, k):
    """Such a shift is what a discriminator learns when the classes are not equally frequent."""
    world = ConditionalImportanceWorld.random(seed)
    shifted = world.shifted(torch.tensor([1.0, -0.5], dtype=torch.float64))

    def weights(make) -> tuple[Tensor, Tensor]:
        pair = []
        for each in (world, shifted):
            model, batch = make(each, k)
            x, _ = model.groups(batch)
            pair.append(model.group_logits(x, batch).softmax(1).detach())
        return pair[0], pair[1]

    assert gap(*weights(table_iwcgan)) < TOLERANCE
    assert gap(*weights(mixed)) > 1e-3


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k", [2, 3])
def test_mixed_groups_have_another_loss_and_bound_another_number(seed, k):
    world = ConditionalImportanceWorld.random(seed)
    loss, grad = generator_step(*mixed(world, k))
    f = -logsigmoid(world.a)
    assert gap(loss.value, 0.5 * world.weighted_mean_mixed(f, k)) < TOLERANCE
    right, grad_right = generator_step(*table_iwcgan(world, k))
    assert gap(loss.value, right.value) > 1e-4
    assert gap(grad, grad_right) > 1e-4
    within_limit = world.p_c @ world.evidence_given_c().log()
    mixed_limit = (world.p_c @ world.evidence_given_c()).log()
    assert world.bound_within(k) <= within_limit + TOLERANCE
    assert world.bound_mixed(k) <= mixed_limit + TOLERANCE
    assert mixed_limit > within_limit + 1e-4  # Jensen: E log Z_c < log E Z_c


def test_for_one_draw_there_is_nothing_to_mix():
    world = ConditionalImportanceWorld.random(0)
    loss, grad = generator_step(*mixed(world, 1))
    wanted, right = generator_step(*table_iwcgan(world, 1))
    assert gap(loss.value, wanted.value) < TOLERANCE
    assert gap(grad, right) < TOLERANCE
