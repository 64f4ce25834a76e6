"""The AAVAE's own loss code on tables: what the adversary adds to a VAE, and when it adds nothing.

Only the drawing of samples is replaced: a table lists every image with its probability p_g(x). The
probabilities are left *differentiable* in theta, so that the model's own freezing is put to the
test.
"""

import dataclasses

import pytest
import torch
from torch import Tensor

from unigen_edu.declarations import Batch, Loss
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.networks import TableDecoder, TableDiscriminator, TableEncoder
from unigen_edu.exact.tables import entropy, expectation, kl_p_q
from unigen_edu.exact.vae import VAEWorld
from unigen_edu.exact.vae_networks import Provenance
from unigen_edu.models.aavae import AAVAE, together
from unigen_edu.models.vae import VAE

SEEDS = (0, 1, 2)
TOLERANCE = 1e-10


class TableAAVAE(AAVAE):
    """An AAVAE whose samples are listed; `made_by` are the decoder's logits theta_0, if others."""

    name = "aavae-in-tables"
    made_by: Tensor | None = None

    def dreams(self, batch: Batch) -> Batch:
        theta_0 = self.decoder.logits if self.made_by is None else self.made_by
        p_g = self.encoder.p_z @ theta_0.softmax(-1)
        return Batch(torch.arange(len(p_g)), weight=p_g)


def tables(world: VAEWorld, model_class: type[VAE] = TableAAVAE) -> tuple[VAE, Batch]:
    model = model_class(shape=(2,), likelihood="gaussian", latent=1)
    model.encoder = TableEncoder(world.eta0, world.p_z_given_y[0])
    model.decoder = TableDecoder(world.theta0)
    if model_class is not VAE:
        model.discriminator = TableDiscriminator(world.phi0)
    return model, Batch(torch.arange(world.p_data.shape[0]), weight=world.p_data)


def gradients(model: VAE, batch: Batch) -> tuple[Loss, Tensor, Tensor]:
    """The variational loss, and its gradients in theta and eta."""
    loss = model.loss("variational", batch)
    moved = [*model.decoder.parameters(), *model.encoder.parameters()]
    return loss, *torch.autograd.grad(loss.value, moved)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_discriminator_phase_reduces_the_kl_of_the_posteriors(seed):
    world = VAEWorld.random(seed)
    model, batch = tables(world)
    loss = model.loss("discriminator", batch)
    (phi,) = torch.autograd.grad(loss.value, list(model.discriminator.parameters()))
    gan = GANWorld.from_tables(p_data=world.p_data, p_g=world.p_g(), D=world.D)
    assert gap(loss.value, -gan.discriminator_objective()) < TOLERANCE
    assert gap(phi, gradient(gan.discriminator_gap, gan.phi0)) < TOLERANCE
    assert phi.abs().max() > 1e-3
    assert gap(loss.terms["D(data)"], world.p_data @ world.D) < TOLERANCE
    assert gap(loss.terms["D(generated)"], world.p_g() @ world.D) < TOLERANCE
    model, batch = tables(world.with_optimal_discriminator())
    loss = model.loss("discriminator", batch)
    (phi,) = torch.autograd.grad(loss.value, list(model.discriminator.parameters()))
    assert phi.abs().max() < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_the_variational_phase_is_the_first_line_of_equation_6(seed):
    """For any D, at theta_0 also the second line, in which p_theta is in the second slot."""
    world = VAEWorld.random(seed)
    loss, theta, eta = gradients(*tables(world))
    assert gap(loss.value, world.weighted_vae_loss()) < TOLERANCE
    assert gap(theta, gradient(world.line1, world.theta0)) < TOLERANCE
    assert gap(eta, gradient(lambda e: world.line1(eta=e), world.eta0)) < TOLERANCE
    assert gap(theta, gradient(world.line2, world.theta0)) < TOLERANCE
    assert gap(eta, gradient(lambda e: world.line2(eta=e), world.eta0)) < TOLERANCE
    assert gap(loss.terms["weight of data"], world.p_data @ world.D) < TOLERANCE
    assert gap(loss.terms["weight of samples"], world.p_g() @ world.D) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_away_from_theta_0_it_is_the_first_line_only(seed):
    """The samples were made by theta_0; the model has moved since."""
    world = VAEWorld.random(seed)
    moved = world.other_theta()
    model, batch = tables(world)
    model.decoder, model.made_by = TableDecoder(moved), world.theta0
    _, theta, _ = gradients(model, batch)
    assert gap(theta, gradient(world.line1, moved)) < TOLERANCE
    assert gap(theta, gradient(world.line2, moved)) > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_the_phase_reduces_one_kl_with_what_D_believes_in_place_of_the_data(seed):
    """What the declaration of the phase says: Z_0 KL(q^r(x|0) q_eta(z|x) || p_theta(x, z))."""
    world = VAEWorld.random(seed)
    believed = world.p_0 * world.D
    z_0 = believed.sum()
    target = believed / z_0  # q^r(x|y=0)

    def reduced(theta: Tensor, eta: Tensor) -> Tensor:
        joint = target[:, None] * world.q_z_given_x(eta)
        return z_0 * kl_p_q(joint.flatten(), world.p_xz(theta).flatten())

    loss, theta, eta = gradients(*tables(world))
    assert gap(loss.value, reduced(world.theta0, world.eta0) + z_0 * entropy(target)) < TOLERANCE
    assert gap(theta, gradient(lambda t: reduced(t, world.eta0), world.theta0)) < TOLERANCE
    assert gap(eta, gradient(lambda e: reduced(world.theta0, e), world.eta0)) < TOLERANCE
    # With the data in place of q^r(x|0) it would be the VAE.
    assert gap(theta, z_0 * gradient(world.joint_kl, world.theta0)) > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_told_or_optimal_the_adversary_leaves_half_of_the_vae(seed):
    world = VAEWorld.random(seed)
    vae, theta_vae, eta_vae = gradients(*tables(world, VAE))

    told, batch = tables(world)
    told.discriminator = Provenance()
    loss, theta, eta = gradients(told, batch)
    assert gap(loss.value, 0.5 * vae.value) < TOLERANCE
    assert gap(theta, 0.5 * theta_vae) < TOLERANCE
    assert gap(eta, 0.5 * eta_vae) < TOLERANCE
    assert gap(loss.terms["weight of data"], 1.0) < TOLERANCE
    assert loss.terms["weight of samples"] == 0

    best = world.with_optimal_discriminator()
    loss, theta, eta = gradients(*tables(best))
    assert gap(loss.value, 0.5 * vae.value) < TOLERANCE
    assert gap(theta, 0.5 * theta_vae) < TOLERANCE
    assert gap(eta, 0.5 * eta_vae) < TOLERANCE
    # Here samples are *not* filtered out: they stand in for data.
    assert 0.01 < loss.terms["weight of samples"] < 0.99
    total = loss.terms["weight of data"] + loss.terms["weight of samples"]
    assert gap(total, 1.0) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("other", ["constant", "random", "too sure", "reversed"])
def test_any_other_adversary_does_not(seed, other):
    world = VAEWorld.random(seed)
    best = world.optimal_discriminator()
    D = {
        "constant": torch.full_like(best, 0.5),
        "random": world.D,
        "too sure": torch.sigmoid(2 * torch.logit(best)),
        "reversed": 1 - best,
    }[other]
    _, theta_vae, eta_vae = gradients(*tables(world, VAE))
    loss, theta, eta = gradients(*tables(world.with_discriminator(D)))
    # Not even its direction: compare with the multiple of the VAE's gradient that fits best.
    for found, vae in ((theta, theta_vae), (eta, eta_vae)):
        multiple = (found * vae).sum() / vae.square().sum()
        assert gap(found, multiple * vae) > 1e-4
    assert gap(loss.value, 0.5 * world.vae_loss()) > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_a_constant_adversary_halves_the_way_to_the_data(seed):
    """The fit of a flexible decoder under a constant D: p_{t+1} = (p_t + p_data) / 2."""
    world = VAEWorld.random(seed, n_z=1)  # one code: the decoder is any distribution
    world = world.with_discriminator(torch.full_like(world.p_data, 0.5))
    half_way = (world.p_g() + world.p_data) / 2
    model, batch = tables(world)
    model.decoder, model.made_by = TableDecoder(half_way.log()[None]), world.theta0
    _, theta, _ = gradients(model, batch)
    assert theta.abs().max() < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_samples_that_are_not_frozen_add_a_score_term(seed, monkeypatch):
    world = VAEWorld.random(seed)
    _, frozen_theta, _ = gradients(*tables(world))
    monkeypatch.setattr("unigen_edu.models.aavae.frozen", lambda pool: pool)
    _, theta, _ = gradients(*tables(world))
    cost = -world.D * world.elbo()
    score = gradient(lambda t: 0.5 * expectation(world.p_g(t), cost), world.theta0)
    assert gap(theta, frozen_theta + score) < TOLERANCE
    assert score.abs().max() > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_the_adversarys_objective_is_the_opposite_of_the_autoencoders(seed):
    """D is no parameter of the variational loss, and for a reason.

    Were q^r chosen to reduce the first line of eq. (6), it would become the *posterior*
    p(y=0|x) when the bound is tight: the logit of D with the opposite sign.
    """
    world = VAEWorld.random(seed)
    world = dataclasses.replace(
        world,
        eta0=world.p_z_given_x().log(),  # tight bounds in both domains
        q_z_given_x_1=world.p_z_given_y[1].expand_as(world.q_z_given_x_1).clone(),
    )
    model, batch = tables(world)
    loss = model.loss("variational", batch)
    assert torch.autograd.grad(
        loss.value, list(model.discriminator.parameters()), allow_unused=True
    ) == (None,)

    def line1_of(logits: Tensor) -> Tensor:
        return world.line1(judge=world.judged_by(logits.sigmoid()))

    upside_down = torch.logit(1 - world.optimal_discriminator())
    assert gradient(line1_of, upside_down).abs().max() < TOLERANCE
    assert line1_of(upside_down) < line1_of(-upside_down) - 1e-4


def test_pools_are_put_together_with_their_labels():
    data = Batch(torch.arange(3), torch.tensor([5, 6, 7]))
    generated = Batch(torch.arange(2), torch.tensor([8, 9]))
    both = together(data, generated)
    assert both.x.tolist() == [0, 1, 2, 0, 1]
    assert both.label.tolist() == [5, 6, 7, 8, 9]
    assert together(data, Batch(torch.arange(2))).label is None
