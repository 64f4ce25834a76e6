"""beta and free bits on tables: what they add to the KL that the VAE reduces."""

import pytest
import torch

from unigen_edu.declarations import Batch
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.networks import TableDecoder, TableEncoder
from unigen_edu.exact.tables import expectation, kl_p_q, mutual_information
from unigen_edu.exact.vae import VAEWorld
from unigen_edu.models.vae import VAE

SEEDS = (0, 1, 2)
TOLERANCE = 1e-10


def tables(world: VAEWorld, **options: float) -> tuple[VAE, Batch]:
    model = VAE(shape=(2,), likelihood="gaussian", latent=1, **options)
    model.encoder = TableEncoder(world.eta0, world.p_z_given_y[0])
    model.decoder = TableDecoder(world.theta0)
    return model, Batch(torch.arange(world.p_data.shape[0]), weight=world.p_data)


def rate(world: VAEWorld, eta: torch.Tensor | None = None) -> torch.Tensor:
    """E_pdata KL(q_eta(z|x) || p(z)): what the code costs.  Scalar."""
    q = world.q_z_given_x(eta)
    return expectation(world.p_data, kl_p_q(q, world.p_z_given_y[0].expand_as(q)))


def gradients(model: VAE, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    moved = [*model.decoder.parameters(), *model.encoder.parameters()]
    theta, eta = torch.autograd.grad(model.loss("variational", batch).value, moved)
    return theta, eta


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0, 4.0])
def test_beta_adds_beta_minus_one_times_the_rate(seed, beta):
    world = VAEWorld.random(seed)
    model, batch = tables(world, beta=beta)
    loss = model.loss("variational", batch)
    wanted = world.joint_kl() + world.data_entropy() + (beta - 1) * rate(world)
    assert gap(loss.value, wanted) < TOLERANCE
    theta, eta = gradients(model, batch)
    assert gap(theta, gradient(world.joint_kl, world.theta0)) < TOLERANCE  # theta pays no rate
    right = gradient(lambda e: world.joint_kl(eta=e) + (beta - 1) * rate(world, e), world.eta0)
    assert gap(eta, right) < TOLERANCE
    if beta >= 1:  # still a bound
        assert -loss.value <= expectation(world.p_data, world.p_g().log()) + TOLERANCE
    if beta != 1:
        assert gap(eta, gradient(lambda e: world.joint_kl(eta=e), world.eta0)) > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_the_rate_is_information_plus_a_mismatch(seed):
    """E KL(q(z|x) || p(z)) = I(x; z) + KL(q(z) || p(z)): what beta presses on."""
    world = VAEWorld.random(seed)
    joint = world.q_xz()
    mismatch = kl_p_q(joint.sum(0), world.p_z_given_y[0])
    assert gap(rate(world), mutual_information(joint) + mismatch) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_free_bits_stop_the_rate_at_its_floor(seed):
    world = VAEWorld.random(seed)
    paid = rate(world).item()
    assert paid > 0.02
    below, above = 0.5 * paid, 2.0 * paid

    model, batch = tables(world, free_bits=below)
    assert gap(model.loss("variational", batch).value, world.vae_loss()) < TOLERANCE
    _, eta = gradients(model, batch)
    assert gap(eta, gradient(lambda e: world.joint_kl(eta=e), world.eta0)) < TOLERANCE

    model, batch = tables(world, free_bits=above)
    loss = model.loss("variational", batch)
    assert gap(loss.value, world.vae_loss() - paid + above) < TOLERANCE
    assert gap(loss.terms["KL(q||p)"], paid) < TOLERANCE
    _, eta = gradients(model, batch)
    no_rate = gradient(lambda e: world.joint_kl(eta=e) - rate(world, e), world.eta0)
    assert gap(eta, no_rate) < TOLERANCE
    # The floor is on the mean over images; a floor for each image would be another loss.
    q = world.q_z_given_x()
    each = kl_p_q(q, world.p_z_given_y[0].expand_as(q))
    assert each.min() < paid < each.max()
    model, batch = tables(world, free_bits=paid)
    assert gap(model.loss("variational", batch).value, world.vae_loss()) < TOLERANCE
    per_image = expectation(world.p_data, each.clamp(min=paid))
    assert gap(per_image, paid) > 1e-4
