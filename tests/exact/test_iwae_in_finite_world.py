"""The IWAE's own loss code where every group of k codes is listed, or lies on a quadrature."""

import dataclasses

import pytest
import torch

from unigen_edu.declarations import Batch
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.continuous import GaussianIWAEWorld
from unigen_edu.exact.importance import iwae_bound
from unigen_edu.exact.networks import TableDecoder
from unigen_edu.exact.tables import entropy, expectation, kl_p_q, table
from unigen_edu.exact.vae import VAEWorld
from unigen_edu.exact.vae_networks import (
    GroupedTableEncoder,
    QuadratureEncoder,
    SineDecoder,
)
from unigen_edu.models.iwae import IWAE
from unigen_edu.models.vae import VAE

SEEDS = (0, 1, 2)
TOLERANCE = 1e-10


def tables(world: VAEWorld, model: VAE) -> tuple[VAE, Batch]:
    model.encoder = GroupedTableEncoder(world.eta0, world.p_z_given_y[0])
    model.decoder = TableDecoder(world.theta0)
    return model, Batch(torch.arange(world.p_data.shape[0]), weight=world.p_data)


def gradients(model: VAE, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the variational loss, in the parameter of the decoder and of the encoder."""
    moved = [*model.decoder.parameters(), *model.encoder.parameters()]
    theta, eta = torch.autograd.grad(model.loss("variational", batch).value, moved)
    return theta, eta


def joint_kl(world: VAEWorld, k: int, theta: torch.Tensor, eta: torch.Tensor) -> torch.Tensor:
    """KL(p_data q^(k)(z_1..k, i|x) || p^(k)(x, z_1..k, i)), by listing x, all codes and i.

    q^(k) = prod_j q(z_j|x) w~_i and p^(k) = p(x, z_i)/k prod_{j != i} q(z_j|x).
    """
    q, p = world.q_z_given_x(eta), world.p_xz(theta)  # (X, Z)
    n_x, n_z = q.shape
    first, second = [], []
    for x in range(n_x):
        for codes in torch.cartesian_prod(*[torch.arange(n_z)] * k).reshape(-1, k):
            w = p[x, codes] / q[x, codes]
            for i in range(k):
                others = torch.cat([codes[:i], codes[i + 1 :]])
                first.append(world.p_data[x] * q[x, codes].prod() * w[i] / w.sum())
                second.append(p[x, codes[i]] / k * q[x, others].prod())
    return kl_p_q(torch.stack(first), torch.stack(second))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_loss_is_the_k_code_bound(seed, k):
    world = VAEWorld.random(seed, n_x=4)
    model, batch = tables(world, IWAE(shape=(2,), likelihood="gaussian", latent=1, k=k))
    loss = model.loss("variational", batch)
    assert gap(loss.value, -expectation(world.p_data, iwae_bound(world, k))) < TOLERANCE
    assert gap(loss.terms["-ELBO"], world.vae_loss()) < TOLERANCE
    assert loss.value <= world.vae_loss() + TOLERANCE
    assert loss.value >= -expectation(world.p_data, world.p_g().log()) - TOLERANCE
    assert 1 - TOLERANCE <= loss.terms["effective draws"] <= k + TOLERANCE

    theta, eta = gradients(model, batch)
    right = gradient(lambda t: -expectation(world.p_data, iwae_bound(world, k, t)), world.theta0)
    assert gap(theta, right) < TOLERANCE
    right = gradient(lambda e: -expectation(world.p_data, iwae_bound(world, k, eta=e)), world.eta0)
    assert gap(eta, right) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_phase_reduces_one_kl_between_joints(seed, k):
    """What the declaration of the phase says, by brute force over images, codes and the index."""
    world = VAEWorld.random(seed, n_x=3)
    model, batch = tables(world, IWAE(shape=(2,), likelihood="gaussian", latent=1, k=k))
    loss = model.loss("variational", batch)
    reduced = joint_kl(world, k, world.theta0, world.eta0)
    assert gap(loss.value, reduced + entropy(world.p_data)) < TOLERANCE
    theta, eta = gradients(model, batch)
    right = gradient(lambda t: joint_kl(world, k, t, world.eta0), world.theta0)
    assert gap(theta, right) < TOLERANCE
    right = gradient(lambda e: joint_kl(world, k, world.theta0, e), world.eta0)
    assert gap(eta, right) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_one_code_is_the_vae_and_two_are_not(seed):
    world = VAEWorld.random(seed)
    vae = gradients(*tables(world, VAE(shape=(2,), likelihood="gaussian", latent=1)))
    one = gradients(*tables(world, IWAE(shape=(2,), likelihood="gaussian", latent=1, k=1)))
    two = gradients(*tables(world, IWAE(shape=(2,), likelihood="gaussian", latent=1, k=2)))
    for i in range(2):
        assert gap(one[i], vae[i]) < TOLERANCE
        assert gap(two[i], vae[i]) > 1e-4


def test_with_the_posterior_as_encoder_every_k_gives_the_evidence_and_the_encoder_rests():
    world = VAEWorld.random(0)
    world = dataclasses.replace(world, eta0=world.p_z_given_x().log())
    for k in (1, 2, 3):
        model, batch = tables(world, IWAE(shape=(2,), likelihood="gaussian", latent=1, k=k))
        loss = model.loss("variational", batch)
        assert gap(loss.value, -expectation(world.p_data, world.p_g().log())) < TOLERANCE
        theta, eta = gradients(model, batch)
        assert eta.abs().max() < TOLERANCE
        right = gradient(lambda t: -expectation(world.p_data, world.p_g(t).log()), world.theta0)
        assert gap(theta, right) < TOLERANCE


# ---- codes that move with eta --------------------------------------------------------------------


def on_quadrature(world: GaussianIWAEWorld, k: int, form: str) -> tuple[IWAE, Batch]:
    model = IWAE(shape=(1,), likelihood="gaussian", latent=1, k=k, gradient=form)
    model.encoder, model.decoder = QuadratureEncoder(world), SineDecoder(world)
    return model, Batch(world.x.reshape(1, 1))


WORLDS = {
    "of the book": GaussianIWAEWorld.example(),
    "wide encoder": GaussianIWAEWorld(table([-0.6, 0.9]), table([0.4, 0.2]), table(-0.5)),
    "narrow encoder": GaussianIWAEWorld(table([1.1, 0.3]), table([-0.3, -0.8]), table(1.2)),
}


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("k", [1, 2])
def test_both_forms_have_the_gradient_of_the_bound(name, k):
    """Tucker et al.: in expectation, w~^2 along the path is the whole gradient of the encoder."""
    world = dataclasses.replace(WORLDS[name], nodes=201)
    bound_theta = gradient(lambda t: -world.bound(k, theta=t), world.theta0)
    bound_eta = gradient(lambda e: -world.bound(k, eta=e), world.eta0)
    for form in ("standard", "doubly-reparameterised"):
        model, batch = on_quadrature(world, k, form)
        assert gap(model.loss("variational", batch).value, -world.bound(k)) < TOLERANCE
        theta, eta = gradients(model, batch)
        assert gap(theta, bound_theta) < TOLERANCE
        assert gap(eta, bound_eta) < TOLERANCE
    # The same sum, written without any network: equal at any number of nodes.
    assert gap(eta, -world.doubly_reparameterised_gradient(k)) < 1e-12
    if k > 1:
        assert gap(eta, -world.doubly_reparameterised_gradient(k, power=1)) > 1e-4


def test_both_forms_agree_for_three_codes():
    world = dataclasses.replace(GaussianIWAEWorld.example(), nodes=49)
    standard = gradients(*on_quadrature(world, 3, "standard"))
    double = gradients(*on_quadrature(world, 3, "doubly-reparameterised"))
    assert gap(standard[0], double[0]) < 1e-12  # the decoder's is the same, group by group
    assert gap(standard[1], double[1]) < 1e-8  # what the quadrature can do
    assert gap(standard[1], -world.doubly_reparameterised_gradient(3, power=1)) > 1e-4


def test_group_by_group_the_two_forms_differ():
    """They agree on average only: a term of mean zero has been taken out of the encoder's."""
    world = dataclasses.replace(GaussianIWAEWorld.example(), nodes=5)  # far too few nodes
    standard = gradients(*on_quadrature(world, 2, "standard"))
    double = gradients(*on_quadrature(world, 2, "doubly-reparameterised"))
    assert gap(standard[0], double[0]) < 1e-12
    assert gap(standard[1], double[1]) > 1e-4
