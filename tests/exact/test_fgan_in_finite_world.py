"""f-GAN's own loss code on tables, for every f: each phase has the gradient that it declares.

P is the data and Q = p_theta the model. Nothing of the losses is written again here: the two sides
are `model.loss` with table networks, and D_f of tables.
"""

import pytest
import torch

from unigen_edu.declarations import Batch
from unigen_edu.divergences import F_DIVERGENCES, f_divergence
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.importance import FiniteNoiseWorld
from unigen_edu.exact.networks import (
    FiniteNoiseDiscriminator,
    FiniteNoiseGenerator,
    TableDiscriminator,
    TableGenerator,
)
from unigen_edu.models.fgan import FGAN
from unigen_edu.models.gan import GAN

TOLERANCE = 1e-10
NAMES = [*F_DIVERGENCES, "alpha=0.3", "alpha=3", "alpha=-2", "js=0.3"]
SYMMETRIC = ("js", "gan", "hellinger", "jeffreys")

# f'' of the second is f'' of the first divided by u: see `FGAN`. Weighted sums of D_f.
TRICK = {
    "kl": {"reverse-kl": 1.0},
    "reverse-kl": {"neyman": 0.5},
    "js": {"softened-reverse-kl": 1.0},
    "gan": {"softened-reverse-kl": 1.0},
    "hellinger": {"alpha=-0.5": 0.5},
    "pearson": {"kl": 2.0},
    "neyman": {"alpha=-2": 2.0},
    "jeffreys": {"reverse-kl": 1.0, "neyman": 0.5},
    "softened-reverse-kl": {"neyman": 0.5, "softened-reverse-kl": -1.0},
    "alpha=0.3": {"alpha=-0.7": 1.0},
    "alpha=3": {"alpha=2": 1.0},
    "alpha=-2": {"alpha=-3": 1.0},
}


@pytest.fixture(params=[0, 1, 2])
def world(request):
    return GANWorld.random(request.param)


def table_fgan(world, log_ratio, name="js", objective="minimax"):
    """f-GAN whose generator is p_theta0 and whose discriminator says `log_ratio`."""
    model = FGAN(shape=(2,), latent=1, divergence=name, objective=objective)
    model.generator = TableGenerator(world.theta0)
    model.discriminator = TableDiscriminator(log_ratio)
    return model, Batch(torch.arange(world.p_data.shape[0]), weight=world.p_data)


def phase_gradient(model, phase, batch):
    loss = model.loss(phase, batch)
    (parameter,) = model.get_submodule(phase).parameters()
    return loss.value.detach(), torch.autograd.grad(loss.value, parameter)[0]


def true_log_ratio(world):
    return (world.p_data / world.p_g()).log()


@pytest.mark.parametrize("name", NAMES)
def test_the_discriminator_phase_closes_the_gap_of_the_bound(name, world):
    f = f_divergence(name)
    model, batch = table_fgan(world, world.phi0, name)
    loss, grad = phase_gradient(model, "discriminator", batch)
    p, q = world.p_data, world.p_g()
    assert gap(-loss, f.divergence(p, q) - f.gap(p, q, world.phi0)) < TOLERANCE
    assert gap(grad, gradient(lambda l: f.gap(p, q, l), world.phi0)) < TOLERANCE
    assert grad.abs().max() > 1e-3
    # Data and model exchanged.
    assert gap(grad, gradient(lambda l: f.gap(q, p, l), world.phi0)) > 1e-4
    best, batch = table_fgan(world, true_log_ratio(world), name)
    loss, grad = phase_gradient(best, "discriminator", batch)
    assert gap(-loss, f.divergence(p, q)) < TOLERANCE
    assert grad.abs().max() < TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_phase_for_any_discriminator(name, world):
    """At theta_0 it descends D_f(p^ || p_theta), where p^ = e^l p_theta0 need not sum to one."""
    f = f_divergence(name)
    model, batch = table_fgan(world, world.phi0, name)
    _, grad = phase_gradient(model, "generator", batch)
    believed = world.phi0.exp() * world.p_g().detach()

    def target(theta):
        return f.divergence(believed, world.p_g(theta))

    assert gap(grad, gradient(target, world.theta0)) < TOLERANCE
    # Not the other way round, and not towards the data themselves.
    if name not in SYMMETRIC:
        other_way = gradient(lambda t: f.divergence(world.p_g(t), believed), world.theta0)
        assert gap(grad, other_way) > 1e-4
    to_data = gradient(lambda t: f.divergence(world.p_data, world.p_g(t)), world.theta0)
    assert gap(grad, to_data) > 1e-4
    # It is an identity at theta_0: elsewhere the frozen l no longer belongs to p^.
    theta = world.other_theta()
    score = f.model_term(world.phi0)
    elsewhere = gradient(lambda t: -(world.p_g(t) * score).sum(), theta)
    assert gap(elsewhere, gradient(target, theta)) > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_phase_at_the_true_ratio_descends_the_divergence(name, world):
    f = f_divergence(name)
    model, batch = table_fgan(world, true_log_ratio(world), name)
    _, grad = phase_gradient(model, "generator", batch)

    def data_first(theta):
        return f.divergence(world.p_data, world.p_g(theta))

    def model_first(theta):
        return f.divergence(world.p_g(theta), world.p_data)

    assert gap(grad, gradient(data_first, world.theta0)) < TOLERANCE
    if name not in SYMMETRIC:
        assert gap(grad, gradient(model_first, world.theta0)) > 1e-4


@pytest.mark.parametrize("name", sorted(TRICK))
def test_the_non_saturating_trick_descends_another_divergence(name, world):
    def mixed(p, theta):
        parts = TRICK[name].items()
        return sum(c * f_divergence(h).divergence(p, world.p_g(theta)) for h, c in parts)

    for log_ratio in (true_log_ratio(world), world.phi0):
        model, batch = table_fgan(world, log_ratio, name, "non-saturating")
        _, grad = phase_gradient(model, "generator", batch)
        believed = log_ratio.exp() * world.p_g().detach()
        right = gradient(lambda t, p=believed: mixed(p, t), world.theta0)
        assert gap(grad, right) < TOLERANCE
        own = gradient(
            lambda t, p=believed: f_divergence(name).divergence(p, world.p_g(t)), world.theta0
        )
        assert gap(grad, own) > 1e-4


@pytest.mark.parametrize("objective", ["minimax", "non-saturating"])
def test_with_the_gans_f_it_is_the_gan(objective, world):
    """Twice the GAN of Lemma 1, whose losses carry p(y) = 1/2; js differs by a constant."""
    gan = GAN(shape=(2,), latent=1, objective=objective)
    gan.generator, gan.discriminator = TableGenerator(world.theta0), TableDiscriminator(world.phi0)
    for phase in ("discriminator", "generator"):
        for name in ("gan", "js"):
            fgan, batch = table_fgan(world, world.phi0, name, objective)
            loss, grad = phase_gradient(fgan, phase, batch)
            gan_loss, gan_grad = phase_gradient(gan, phase, Batch(batch.x, weight=batch.weight))
            assert gap(grad, 2 * gan_grad) < TOLERANCE
            if name == "gan":
                assert gap(loss, 2 * gan_loss) < TOLERANCE
    lemma1 = gradient(world.lemma1, world.theta0)
    same = gap(grad, 2 * lemma1) < TOLERANCE
    assert same == (objective == "non-saturating")


@pytest.mark.parametrize("name", ["kl", "pearson", "softened-reverse-kl"])
@pytest.mark.parametrize("objective", ["minimax", "non-saturating"])
def test_the_path_gradient_of_the_generator_phase(name, objective):
    world = FiniteNoiseWorld.random(0)
    model = FGAN(shape=(2,), latent=1, divergence=name, objective=objective)
    model.generator, model.discriminator = (
        FiniteNoiseGenerator(world),
        FiniteNoiseDiscriminator(world),
    )
    batch = Batch(torch.zeros(1, dtype=torch.float64))
    _, grad = phase_gradient(model, "generator", batch)
    f = f_divergence(name)
    score = f.model_term if objective == "minimax" else f.data_term

    def loss(theta):
        return -(world.p_z * score(world.logit(world.x(theta)))).sum()

    assert gap(grad, gradient(loss, world.theta0)) < TOLERANCE
    assert not model.loss("discriminator", batch).value.requires_grad  # x_g is detached
