"""The adversarial autoencoder's own loss code on tables: InfoGAN with x and z exchanged."""

from dataclasses import replace

import pytest
import torch

from unigen_edu.declarations import Batch, Sample
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.codes import AdversarialAutoencoderWorld
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.networks import TableDecoder, TableDiscriminator, TableEncoder
from unigen_edu.exact.tables import mutual_information, normalise
from unigen_edu.models.aae import AAE

SEEDS = (0, 1, 2)
TOLERANCE = 1e-10


def in_world(world: AdversarialAutoencoderWorld, strength: float = 1.0) -> tuple[AAE, Batch]:
    model = AAE(shape=(2,), latent=1, likelihood="gaussian", strength=strength)
    model.encoder = TableEncoder(world.theta0, world.p_z)
    model.decoder = TableDecoder(world.decoder.log())
    model.discriminator = TableDiscriminator(world.phi0)
    model.prior = lambda n: Sample(torch.arange(len(world.p_z)), world.p_z)
    return model, Batch(torch.arange(len(world.p_data)), weight=world.p_data)


def phase_gradient(model: AAE, phase: str, batch: Batch, of: str) -> torch.Tensor:
    (parameter,) = model.get_submodule(of).parameters()
    return torch.autograd.grad(model.loss(phase, batch).value, parameter)[0]


@pytest.mark.parametrize("strength", [1.0, 0.3])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_encoder_phase_is_form_a(seed, strength):
    """E KL - JSD - 1/2 I(x; z): the information is that of the encoder, on the data's side only."""
    world = AdversarialAutoencoderWorld.random(seed)
    model, batch = in_world(world, strength)
    code = replace(world.as_code_world(), strength=strength)
    found = phase_gradient(model, "encoder", batch, "encoder")

    def information(theta):
        return mutual_information(world.joint(theta))

    printed = gradient(lambda t: code.kl_term(t) - code.jsd_y(t), world.theta0)
    extra = gradient(information, world.theta0)
    assert gap(found, printed - 0.5 * extra) < TOLERANCE
    assert gap(found, printed) > 1e-4
    assert gap(found, printed - extra) > 1e-4  # p(y=0) = 1/2 belongs there
    form_c = gradient(lambda t: code.kl_term_c(t) - code.jsd_y(t), world.theta0)
    assert gap(found, form_c - 0.5 * extra) < TOLERANCE
    form_b = gradient(lambda t: code.kl_term_b(t) - code.jsd_y(t), world.theta0)
    assert gap(found, form_b) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_the_encoder_phase_is_half_of_reconstruction_and_adversarial_loss(seed):
    world = AdversarialAutoencoderWorld.random(seed)
    model, batch = in_world(world)
    loss = model.encoder_loss(batch)
    assert gap(loss.value, 0.5 * world.loss()) < TOLERANCE
    found = phase_gradient(model, "encoder", Batch(batch.x, weight=batch.weight), "encoder")
    assert gap(found, 0.5 * gradient(world.loss, world.theta0)) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_the_discriminator_phase_compares_the_aggregated_posterior_with_the_prior(seed):
    world = AdversarialAutoencoderWorld.random(seed)
    model, batch = in_world(world)
    aggregated = world.joint().sum(0)
    gan = GANWorld.from_tables(world.p_z, aggregated, D=torch.sigmoid(world.phi0))
    found = phase_gradient(model, "discriminator", batch, "discriminator")
    assert gap(found, gradient(gan.discriminator_gap, world.phi0)) < TOLERANCE
    swapped = GANWorld.from_tables(aggregated, world.p_z, D=torch.sigmoid(world.phi0))
    assert gap(found, gradient(swapped.discriminator_gap, world.phi0)) > 1e-4
    terms = model.discriminator_loss(batch).terms
    assert gap(terms["D(prior)"], world.p_z @ torch.sigmoid(world.phi0)) < TOLERANCE
    assert gap(terms["D(codes)"], aggregated @ torch.sigmoid(world.phi0)) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_the_decoder_phase_reduces_the_kl_from_the_encoders_posterior(seed):
    """E_{q(z)} KL(p_theta0(x|z) || q_eta(x|z)), q(z) the aggregated posterior and not the prior."""
    world = AdversarialAutoencoderWorld.random(seed)
    model, batch = in_world(world)
    joint = world.joint().T  # (Z, X)
    posterior = normalise(joint)

    def claim(logits, p_z):
        log_q = logits.log_softmax(-1)
        return (p_z[:, None] * posterior * (posterior.log() - log_q)).sum()

    found = phase_gradient(model, "decoder", batch, "decoder")
    at = world.decoder.log()
    assert gap(found, gradient(lambda t: claim(t, joint.sum(1)), at)) < TOLERANCE
    assert gap(found, gradient(lambda t: claim(t, world.p_z), at)) > 1e-4
    model.decoder = TableDecoder(posterior.log())
    assert phase_gradient(model, "decoder", batch, "decoder").abs().max() < TOLERANCE
