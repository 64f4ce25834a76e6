"""InfoGAN's own loss code on tables: each phase has the gradient of the divergence it claims."""

from dataclasses import replace

import pytest
import torch

from unigen_edu.declarations import Batch
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.code_networks import TableCodedGenerator, TableRecogniser
from unigen_edu.exact.codes import CodeWorld
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.networks import TableDiscriminator
from unigen_edu.models.infogan import InfoGAN

SEEDS = (0, 1, 2)
TOLERANCE = 1e-10


def in_world(world: CodeWorld) -> tuple[InfoGAN, Batch]:
    model = InfoGAN(shape=(2,), latent=1, categories=3, continuous=0, strength=world.strength)
    model.generator = TableCodedGenerator(world.theta0, world.p_z_given_y[0])
    model.discriminator = TableDiscriminator(world.phi0)
    model.recogniser = TableRecogniser(world.recogniser[0].T.log())
    return model, Batch(torch.arange(len(world.p_data)), weight=world.p_data)


def phase_gradient(model: InfoGAN, phase: str, batch: Batch, of: str) -> torch.Tensor:
    (parameter,) = model.get_submodule(of).parameters()
    return torch.autograd.grad(model.loss(phase, batch).value, parameter)[0]


@pytest.mark.parametrize("strength", [0.7, 1.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_generator_phase_is_form_a(seed, strength):
    """E KL - JSD - I(x; c|y), with lambda in the target; none of the three may be left out."""
    world = CodeWorld.random(seed, strength=strength)
    model, batch = in_world(world)
    loss = model.generator_loss(batch)
    assert gap(loss.value, 0.5 * world.infogan_loss()) < TOLERANCE
    found = phase_gradient(model, "generator", batch, "generator")
    claim = gradient(
        lambda t: world.kl_term(t) - world.jsd_y(t) - world.code_information(t), world.theta0
    )
    assert gap(found, claim) < TOLERANCE
    printed = gradient(lambda t: world.kl_term(t) - world.jsd_y(t), world.theta0)
    assert gap(found, printed) > 1e-4  # what the two-term formula would give
    assert gap(found, printed - gradient(world.code_information, world.theta0)) < TOLERANCE
    assert gap(found, gradient(world.kl_term, world.theta0)) > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_the_generator_phase_in_its_other_forms(seed):
    world = CodeWorld.random(seed)
    model, batch = in_world(world)
    found = phase_gradient(model, "generator", batch, "generator")
    form_b = gradient(lambda t: world.kl_term_b(t) - world.jsd_y(t), world.theta0)
    assert gap(found, form_b) < TOLERANCE  # the code's posterior moved into the target
    form_c = gradient(
        lambda t: world.kl_term_c(t) - world.jsd_y(t) - world.code_information(t), world.theta0
    )
    assert gap(found, form_c) < TOLERANCE  # one KL over x and c together


def test_the_two_term_formula_is_right_if_the_image_tells_the_code():
    world = CodeWorld.blocks(0)
    model, batch = in_world(world)
    value = model.generator_loss(batch).value
    (theta,) = model.generator.parameters()
    found = torch.autograd.grad(value, theta)[0]
    printed = gradient(lambda t: world.kl_term(t) - world.jsd_y(t), world.theta0)
    assert gap(found, printed) < TOLERANCE
    assert found.abs().max() > 1e-3


@pytest.mark.parametrize("seed", SEEDS)
def test_strength_zero_is_the_gan(seed):
    world = replace(CodeWorld.random(seed), strength=0.0)
    model, batch = in_world(world)
    found = phase_gradient(model, "generator", batch, "generator")
    form_a = gradient(
        lambda t: world.kl_term(t) - world.jsd_y(t) - world.code_information(t), world.theta0
    )
    # The GAN of the marginal p_g(x), as a function of the same logits.
    p_c = world.p_z_given_y[0]
    gan = GANWorld.from_tables(
        world.p_data, p_c @ world.theta0.softmax(-1), D=torch.sigmoid(world.phi0)
    )

    def lemma1(theta):
        return gan.lemma1((p_c @ theta.softmax(-1)).log())

    assert gap(found, gradient(lemma1, world.theta0)) < TOLERANCE
    assert gap(found, form_a) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_the_code_phase_is_a_sleep_step(seed):
    """E_{p_theta0(x|y=0)} KL(p_theta0(c|x) || q_eta(c|x)): on dreams, q in the second slot."""
    world = CodeWorld.random(seed)
    model, batch = in_world(world)
    found = phase_gradient(model, "code", batch, "recogniser")
    p_x = world.p_x_given_y()[0]
    posterior = world.p_z_given_xy()[0].T  # (X, C)

    def claim(logits):
        log_q = logits.log_softmax(-1)
        return (p_x[:, None] * posterior * (posterior.log() - log_q)).sum()

    def reversed_claim(logits):
        log_q = logits.log_softmax(-1)
        return (p_x[:, None] * log_q.exp() * (log_q - posterior.log())).sum()

    def on_data(logits):
        log_q = logits.log_softmax(-1)
        return (world.p_data[:, None] * posterior * (posterior.log() - log_q)).sum()

    at = world.recogniser[0].T.log()
    assert gap(found, gradient(claim, at)) < TOLERANCE
    assert gap(found, gradient(reversed_claim, at)) > 1e-4
    assert gap(found, gradient(on_data, at)) > 1e-4
    model.recogniser = TableRecogniser(posterior.log())
    rest = phase_gradient(model, "code", batch, "recogniser")
    assert rest.abs().max() < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_the_code_phase_bounds_the_information(seed):
    world = CodeWorld.random(seed)
    model, batch = in_world(world)
    p_c = world.p_z_given_y[0]
    entropy = -(p_c * p_c.log()).sum()
    information = 2 * world.code_information()  # p(y=0) = 1/2
    assert entropy - model.code_loss(batch).value < information
    model.recogniser = TableRecogniser(world.p_z_given_xy()[0].T.log())
    assert gap(entropy - model.code_loss(batch).value, information) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_the_discriminator_phase_is_the_gans(seed):
    world = CodeWorld.random(seed)
    model, batch = in_world(world)
    gan = GANWorld.from_tables(world.p_data, world.p_x_given_y()[0], D=torch.sigmoid(world.phi0))
    found = phase_gradient(model, "discriminator", batch, "discriminator")
    assert gap(found, gradient(gan.discriminator_gap, world.phi0)) < TOLERANCE
    assert found.abs().max() > 1e-3
