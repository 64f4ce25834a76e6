"""The models' own loss code, run on tables: its gradient is that of the divergence it claims.

Nothing of the losses is written again here. A model is built, its networks are replaced by tables,
and `model.loss(phase, batch)` is differentiated. The other side comes from the finite worlds.
"""

import math

import pytest
import torch

from unigen_edu.declarations import Batch, Loss, Model
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.importance import FiniteNoiseWorld, ImportanceWorld, iwae_bound
from unigen_edu.exact.networks import (
    FiniteNoiseDiscriminator,
    FiniteNoiseGenerator,
    TableDecoder,
    TableDiscriminator,
    TableEncoder,
    TableGenerator,
)
from unigen_edu.exact.vae import VAEWorld
from unigen_edu.models.gan import GAN
from unigen_edu.models.iwgan import IWGAN
from unigen_edu.models.vae import VAE

SEEDS = (0, 1, 2)
TOLERANCE = 1e-12


def table_gan(world: GANWorld, model: GAN) -> tuple[GAN, Batch]:
    model.generator = TableGenerator(world.theta0)
    model.discriminator = TableDiscriminator(world.phi0)
    return model, Batch(torch.arange(world.p_data.shape[0]), weight=world.p_data)


def noise_gan(world: FiniteNoiseWorld, model: GAN) -> tuple[GAN, Batch]:
    model.generator = FiniteNoiseGenerator(world)
    model.discriminator = FiniteNoiseDiscriminator(world)
    return model, Batch(torch.zeros(1, dtype=torch.float64))


def table_vae(world: VAEWorld) -> tuple[VAE, Batch]:
    model = VAE(shape=(2,), likelihood="gaussian", latent=1)
    model.encoder = TableEncoder(world.eta0, world.p_z_given_y[0])
    model.decoder = TableDecoder(world.theta0)
    return model, Batch(torch.arange(world.p_data.shape[0]), weight=world.p_data)


def phase_gradient(model: Model, phase: str, batch: Batch, of: str) -> tuple[Loss, torch.Tensor]:
    """The model's loss, and its gradient in the one parameter of the submodule named `of`."""
    loss = model.loss(phase, batch)
    (parameter,) = model.get_submodule(of).parameters()
    return loss, torch.autograd.grad(loss.value, parameter)[0]


# ---- GAN ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_the_discriminator_phase_reduces_the_kl_of_the_posteriors(seed):
    world = GANWorld.random(seed)
    model, batch = table_gan(world, GAN(shape=(2,), latent=1))
    loss, grad = phase_gradient(model, "discriminator", batch, "discriminator")
    assert gap(loss.value, -world.discriminator_objective()) < TOLERANCE
    assert gap(grad, gradient(world.discriminator_gap, world.phi0)) < TOLERANCE
    assert grad.abs().max() > 1e-3
    assert gap(loss.terms["D(data)"], world.p_data @ world.D) < TOLERANCE
    assert gap(loss.terms["D(generated)"], world.p_g() @ world.D) < TOLERANCE


def test_the_discriminator_phase_rests_at_the_true_posterior():
    world = GANWorld.random(0).with_optimal_discriminator()
    model, batch = table_gan(world, GAN(shape=(2,), latent=1))
    _, grad = phase_gradient(model, "discriminator", batch, "discriminator")
    assert grad.abs().max() < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_the_generator_phase_is_lemma_1(seed):
    world = GANWorld.random(seed)
    model, batch = table_gan(world, GAN(shape=(2,), latent=1))
    loss, grad = phase_gradient(model, "generator", batch, "generator")
    assert gap(loss.value, 0.5 * world.non_saturating_loss()) < TOLERANCE
    assert gap(grad, gradient(world.lemma1, world.theta0)) < 1e-10
    # p(y) = 1/2 is in the loss: without it the two sides differ by a factor of two.
    assert gap(2 * grad, gradient(world.lemma1, world.theta0)) > 1e-4
    # The KL alone is not enough.
    assert gap(grad, gradient(world.kl_term, world.theta0)) > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_the_generator_phase_at_the_optimal_discriminator(seed):
    world = GANWorld.random(seed).with_optimal_discriminator()
    model, batch = table_gan(world, GAN(shape=(2,), latent=1))
    _, grad = phase_gradient(model, "generator", batch, "generator")
    assert gap(grad, gradient(world.kl_x_data, world.theta0)) < 1e-10


@pytest.mark.parametrize("seed", SEEDS)
def test_the_minimax_generator_reduces_the_jsd_at_the_optimal_discriminator(seed):
    world = GANWorld.random(seed)
    model, batch = table_gan(world, GAN(shape=(2,), latent=1, objective="minimax"))
    _, grad = phase_gradient(model, "generator", batch, "generator")
    right = gradient(lambda theta: world.discriminator_objective(theta=theta), world.theta0)
    assert gap(grad, right) < TOLERANCE
    best = world.with_optimal_discriminator()
    model, batch = table_gan(best, GAN(shape=(2,), latent=1, objective="minimax"))
    _, grad = phase_gradient(model, "generator", batch, "generator")
    assert gap(grad, gradient(world.jsd_term, world.theta0)) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_the_path_gradient_of_the_generator_phase(seed):
    world = FiniteNoiseWorld.random(seed)
    model, batch = noise_gan(world, GAN(shape=(2,), latent=1))
    _, grad = phase_gradient(model, "generator", batch, "generator")
    assert gap(grad, -0.5 * world.gan_gradient()) < TOLERANCE


def test_one_batch_serves_both_phases_and_the_discriminator_phase_leaves_the_generator_alone():
    world = FiniteNoiseWorld.random(0)
    model, batch = noise_gan(world, GAN(shape=(2,), latent=1))
    # The values x(z, theta) are detached, the weights p(z) have no parameter: no path to theta.
    assert not model.loss("discriminator", batch).value.requires_grad
    _, grad = phase_gradient(model, "generator", batch, "generator")
    assert gap(grad, -0.5 * world.gan_gradient()) < TOLERANCE


# ---- VAE ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_the_variational_phase_is_the_joint_kl(seed):
    world = VAEWorld.random(seed)
    model, batch = table_vae(world)
    loss = model.loss("variational", batch)
    assert gap(loss.value, world.vae_loss()) < TOLERANCE
    assert gap(loss.value, world.joint_kl() + world.data_entropy()) < TOLERANCE
    assert gap(model.elbo(batch.x), world.elbo()) < TOLERANCE
    _, theta_grad = phase_gradient(model, "variational", batch, "decoder")
    _, eta_grad = phase_gradient(model, "variational", batch, "encoder")
    assert gap(theta_grad, gradient(world.joint_kl, world.theta0)) < TOLERANCE
    right = gradient(lambda eta: world.joint_kl(eta=eta), world.eta0)
    assert gap(eta_grad, right) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_the_variational_phase_is_lemma_2(seed):
    """Half of it is the gradient of the first line of eq. (6), for the perfect judge and for D*."""
    world = VAEWorld.random(seed)
    model, batch = table_vae(world)
    _, theta_grad = phase_gradient(model, "variational", batch, "decoder")
    _, eta_grad = phase_gradient(model, "variational", batch, "encoder")
    perfect = world.provenance
    line1_theta = gradient(lambda theta: world.line1(theta, judge=perfect), world.theta0)
    line1_eta = gradient(lambda eta: world.line1(eta=eta, judge=perfect), world.eta0)
    assert gap(0.5 * theta_grad, line1_theta) < TOLERANCE
    assert gap(0.5 * eta_grad, line1_eta) < TOLERANCE
    best = world.with_optimal_discriminator()
    assert gap(0.5 * theta_grad, gradient(best.line1, world.theta0)) < TOLERANCE
    assert gap(0.5 * theta_grad, gradient(world.line1, world.theta0)) > 1e-4  # any other D


@pytest.mark.parametrize("k", [1, 2, 3])
def test_log_weights_give_the_importance_weighted_bound(k):
    world = VAEWorld.random(0)
    model, batch = table_vae(world)
    posterior = model.encoder(batch.x)
    weight = posterior.sample(k).weight
    log_w = model.log_weights(batch.x, k)  # (k, groups, X), or (groups, X) for k = 1
    log_w = log_w[None] if k == 1 else log_w
    bound = (weight * (log_w.logsumexp(0) - math.log(k))).sum(0)
    assert gap(bound, iwae_bound(world, k)) < TOLERANCE
    assert (bound <= world.p_g().log() + TOLERANCE).all()


# ---- IWGAN -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_weighted_generator_phase_is_equation_7(seed, k):
    """Path gradients: the loss is p(y=0) times the surrogate, its gradient -p(y=0) * Eq. (7)."""
    world = FiniteNoiseWorld.random(seed)
    model, batch = noise_gan(world, IWGAN(shape=(2,), latent=1, k=k))
    loss, grad = phase_gradient(model, "generator", batch, "generator")
    assert gap(loss.value, 0.5 * world.surrogate(k)) < TOLERANCE
    assert gap(grad, -0.5 * world.eq7(k)) < TOLERANCE
    assert 1 - TOLERANCE <= loss.terms["effective draws"] <= k + TOLERANCE
    if k > 1:
        assert gap(grad, -0.5 * world.gan_gradient()) > 1e-4
        undetached = gradient(lambda t: world.surrogate(k, t, detach=False), world.theta0)
        assert gap(grad, 0.5 * undetached) > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_draws_that_are_weighed_alike_give_the_gans_step(seed, k):
    """`power=0` is the control of an experiment: on average the GAN's step, whatever k."""
    world = FiniteNoiseWorld.random(seed)
    model, batch = noise_gan(world, IWGAN(shape=(2,), latent=1, k=k, power=0))
    loss, grad = phase_gradient(model, "generator", batch, "generator")
    assert gap(grad, -0.5 * world.gan_gradient()) < TOLERANCE
    assert gap(loss.terms["effective draws"], torch.tensor(float(k))) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_weighted_generator_phase_on_a_table(seed, k):
    """With tables theta moves the law of the groups: the loss is p(y=0) * F_k, exactly.

    F_k = E_{x_1..k ~ p_theta} sum_i w~_i (-log D(x_i)), an objective. Its gradient contains how
    the shares w~ change as the draws change, which Eq. (7) leaves out; for k = 1 there is nothing
    to leave out and the gradient is that of Lemma 1.
    """
    world = ImportanceWorld.random(seed)
    model, batch = table_gan(world.gan, IWGAN(shape=(2,), latent=1, k=k))
    loss, grad = phase_gradient(model, "generator", batch, "generator")
    assert gap(loss.value, 0.5 * world.weighted_loss(k)) < TOLERANCE
    right = gradient(lambda theta: world.weighted_loss(k, theta), world.gan.theta0)
    assert gap(grad, 0.5 * right) < TOLERANCE
    lemma1 = gradient(world.gan.lemma1, world.gan.theta0)
    if k == 1:
        assert gap(grad, lemma1) < 1e-10
    else:
        assert gap(grad, lemma1) > 1e-4


@pytest.mark.parametrize("k", [1, 2])
def test_the_discriminator_phase_does_not_see_the_groups(k):
    """The discriminator judges one draw of each group: its law is p_g whatever k is."""
    world = GANWorld.random(1)
    model, batch = table_gan(world, IWGAN(shape=(2,), latent=1, k=k))
    loss, grad = phase_gradient(model, "discriminator", batch, "discriminator")
    assert gap(loss.value, -world.discriminator_objective()) < TOLERANCE
    assert gap(grad, gradient(world.discriminator_gap, world.phi0)) < TOLERANCE
