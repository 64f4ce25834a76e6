"""The semi-supervised adversarial autoencoder on tables: two judges multiply into one score."""

import pytest
import torch

from unigen_edu.declarations import Batch, Sample
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.code_networks import (
    PairCodeWorld,
    TablePairDecoder,
    TablePairEncoder,
    TablePartDiscriminator,
)
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.tables import generator_from, normalise, random_distribution
from unigen_edu.models.aae_semi import AAESemi

SEEDS = (0, 1, 2)
TOLERANCE = 1e-10


def in_world(world: PairCodeWorld, labelled: torch.Tensor | None = None) -> tuple[AAESemi, Batch]:
    """labelled: (X, C), the joint law of images and labels in the labelled set."""
    n_x, n_z, n_c = len(world.p_data), len(world.p_z), len(world.p_c)
    model = AAESemi(
        shape=(2,), latent=1, likelihood="gaussian", strength=world.strength, classes=n_c
    )
    model.encoder = TablePairEncoder(world.theta0, n_z)
    model.decoder = TablePairDecoder(world.decoder.log(), n_c)
    model.discriminator = TablePartDiscriminator(world.phi_z)
    model.class_discriminator = TablePartDiscriminator(world.phi_c)
    model.prior = lambda n: Sample(torch.arange(n_z)[:, None], world.p_z)
    model.class_prior = lambda n: Sample(torch.arange(n_c)[:, None], world.p_c)
    other = None
    if labelled is not None:
        x, label = torch.cartesian_prod(torch.arange(n_x), torch.arange(n_c)).unbind(1)
        other = Batch(x, label, weight=labelled.flatten())
    return model, Batch(torch.arange(n_x), weight=world.p_data, other=other)


def phase_gradient(model: AAESemi, phase: str, batch: Batch, of: str) -> torch.Tensor:
    (parameter,) = model.get_submodule(of).parameters()
    return torch.autograd.grad(model.loss(phase, batch).value, parameter)[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_world_is_lemma_1_with_pairs(seed):
    world = PairCodeWorld.random(seed)
    assert gap(world.p_x_given_domain().sum(-1), torch.ones(5).double()) < TOLERANCE
    whole = world.jsd_y() + 0.5 * world.code_information()
    assert gap(world.jsd_term(), whole) < TOLERANCE  # I(code; (y, x)) by the chain rule


@pytest.mark.parametrize("seed", SEEDS)
def test_the_encoder_phase_is_form_a_with_the_product_of_two_judges(seed):
    world = PairCodeWorld.random(seed)
    model, batch = in_world(world)
    found = phase_gradient(model, "encoder", batch, "encoder")

    def claim(theta, share=0.5):
        return world.kl_term(theta) - world.jsd_y(theta) - share * world.code_information(theta)

    assert gap(found, gradient(claim, world.theta0)) < TOLERANCE
    assert gap(found, gradient(lambda t: claim(t, 0.0), world.theta0)) > 1e-4
    for judge in ("discriminator", "class_discriminator"):  # each of them counts
        model, batch = in_world(world)
        getattr(model, judge).logits.data.zero_()
        assert gap(found, phase_gradient(model, "encoder", batch, "encoder")) > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_each_discriminator_phase_sees_its_part_of_the_code(seed):
    world = PairCodeWorld.random(seed)
    model, batch = in_world(world)
    codes = world.aggregated().reshape(len(world.p_z), len(world.p_c))
    for phase, prior, aggregated, phi in (
        ("discriminator", world.p_z, codes.sum(1), world.phi_z),
        ("class_discriminator", world.p_c, codes.sum(0), world.phi_c),
    ):
        gan = GANWorld.from_tables(prior, aggregated, D=torch.sigmoid(phi))
        found = phase_gradient(model, phase, batch, phase)
        assert gap(found, gradient(gan.discriminator_gap, phi)) < TOLERANCE
        swapped = GANWorld.from_tables(aggregated, prior, D=torch.sigmoid(phi))
        assert gap(found, gradient(swapped.discriminator_gap, phi)) > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_the_decoder_phase_reduces_the_kl_from_the_encoders_posterior(seed):
    world = PairCodeWorld.random(seed)
    model, batch = in_world(world)
    joint = (world.p_data[:, None] * world.p_code_given_x()).T  # (Z C, X)
    posterior = normalise(joint)

    def claim(logits):
        return (joint * (posterior.log() - logits.log_softmax(-1))).sum()

    found = phase_gradient(model, "decoder", batch, "decoder")
    assert gap(found, gradient(claim, world.decoder.log())) < TOLERANCE
    model, batch = in_world(world)
    model.decoder = TablePairDecoder(posterior.log(), len(world.p_c))
    assert phase_gradient(model, "decoder", batch, "decoder").abs().max() < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_the_supervised_phase_reduces_the_kl_from_the_labels(seed):
    """E_{p_lab(x)} KL(p_lab(c|x) || p_theta(c|x)), which does not move the style."""
    world = PairCodeWorld.random(seed)
    n_x, n_z, n_c = len(world.p_data), len(world.p_z), len(world.p_c)
    g = generator_from(100 + seed)
    labelled = random_distribution(n_x * n_c, generator=g).reshape(n_x, n_c)
    model, batch = in_world(world, labelled)
    p_c_given_x = normalise(labelled)

    def claim(theta):
        log_q = theta[:, n_z:].log_softmax(-1)
        return (labelled * (p_c_given_x.log() - log_q)).sum()

    def reversed_claim(theta):
        log_q = theta[:, n_z:].log_softmax(-1)
        return (labelled.sum(1)[:, None] * log_q.exp() * (log_q - p_c_given_x.log())).sum()

    found = phase_gradient(model, "supervised", batch, "encoder")
    assert gap(found, gradient(claim, world.theta0)) < TOLERANCE
    assert gap(found, gradient(reversed_claim, world.theta0)) > 1e-4
    assert found[:, :n_z].abs().max() == 0.0
