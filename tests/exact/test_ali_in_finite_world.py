"""ALI's own loss code on tables: Lemma 1 over pairs, with parameters on both sides."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unigen_edu.declarations import Batch
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.joint import PairWorld
from unigen_edu.exact.networks import TableEncoder
from unigen_edu.exact.pair_networks import TablePairDiscriminator, TablePairGenerator
from unigen_edu.exact.tables import mutual_information
from unigen_edu.models.ali import ALI

SEEDS = (0, 1, 2)
TOLERANCE = 1e-10


@pytest.fixture(params=SEEDS)
def world(request) -> PairWorld:
    return PairWorld.random(request.param)


def in_world(world: PairWorld) -> tuple[ALI, Batch]:
    model = ALI(shape=(2,), latent=1)
    generator, encoder = world.split()
    model.generator = TablePairGenerator(generator, world.p_z)
    model.encoder = TableEncoder(encoder, world.p_z)
    model.discriminator = TablePairDiscriminator(world.phi0)
    return model, Batch(torch.arange(len(world.p_data)), weight=world.p_data)


def joint_gradient(world: PairWorld) -> Tensor:
    """The gradient of the model's joint phase in both networks, flat like the world's theta0."""
    model, batch = in_world(world)
    moved = [model.generator.logits, model.encoder.logits]
    found = torch.autograd.grad(model.joint_loss(batch).value, moved)
    return torch.cat([part.flatten() for part in found])


# ---- discriminator -----------------------------------------------------------------------------


def test_the_discriminator_phase_is_that_of_a_gan_over_pairs(world):
    model, batch = in_world(world)
    loss = model.discriminator_loss(batch)
    gan = world.as_gan()
    assert gap(loss.value, -gan.discriminator_objective()) < TOLERANCE
    found = torch.autograd.grad(loss.value, model.discriminator.logits)[0]
    assert gap(found.flatten(), gradient(gan.discriminator_gap, gan.phi0)) < TOLERANCE
    assert found.abs().max() > 1e-3
    assert gap(loss.terms["D(inferred)"], gan.p_data @ gan.D) < TOLERANCE
    assert gap(loss.terms["D(generated)"], gan.p_g() @ gan.D) < TOLERANCE


def test_the_discriminator_phase_rests_at_the_true_posterior_of_the_pair(world):
    best = world.with_optimal_discriminator()
    model, batch = in_world(best)
    loss = model.discriminator_loss(batch).value
    found = torch.autograd.grad(loss, model.discriminator.logits)[0]
    assert found.abs().max() < TOLERANCE
    assert gap(loss, torch.tensor(2.0).double().log() - world.jsd_term()) < TOLERANCE


def test_with_the_pairs_broken_up_the_discriminator_learns_another_posterior(world):
    """The product of the marginals has the same images and the same codes, and another law."""
    model, batch = in_world(world)
    found = torch.autograd.grad(model.discriminator_loss(batch).value, model.discriminator.logits)[
        0
    ].flatten()
    gan = world.as_gan()
    shuffled_inferred = world.inferred().sum(1)[:, None] * world.inferred().sum(0)
    shuffled_generated = world.generated().sum(1)[:, None] * world.generated().sum(0)
    broken = type(gan)(
        shuffled_inferred.flatten(), shuffled_generated.flatten().log(), gan.phi0, gan.p_y
    )
    assert gap(found, gradient(broken.discriminator_gap, gan.phi0)) > 1e-4


# ---- generator and encoder ---------------------------------------------------------------------


def test_the_joint_phase_is_lemma_1_with_parameters_on_both_sides(world):
    model, batch = in_world(world)
    loss = model.joint_loss(batch)
    assert gap(loss.value, world.loss()) < TOLERANCE
    assert gap(loss.value, -world.as_gan().generator_objective()) < TOLERANCE
    found = joint_gradient(world)
    assert gap(found, gradient(world.lemma1, world.theta0)) < TOLERANCE
    assert gap(found, gradient(world.kl_term, world.theta0)) > 1e-4  # the JSD is not optional
    assert gap(2 * found, gradient(world.lemma1, world.theta0)) > 1e-4  # nor is p(y) = 1/2


def test_the_term_that_is_constant_for_a_gan_is_the_encoders(world):
    generator, encoder = world.split(joint_gradient(world))
    assert encoder.abs().max() > 1e-3
    d = world.phi0.sigmoid()

    def inferred_half(theta: Tensor) -> Tensor:
        return -0.5 * (world.inferred(theta) * (1 - d).log()).sum()

    def generated_half(theta: Tensor) -> Tensor:
        return -0.5 * (world.generated(theta) * d.log()).sum()

    # The y = 1 half alone moves the encoder, the y = 0 half alone the generator.
    assert gap(encoder, world.split(gradient(inferred_half, world.theta0))[1]) < TOLERANCE
    assert gap(generator, world.split(gradient(generated_half, world.theta0))[0]) < TOLERANCE
    model, batch = in_world(world)
    loss = model.joint_loss(batch)
    assert gap(loss.terms["encoder"], inferred_half(world.theta0)) < TOLERANCE
    assert gap(loss.terms["generator"], generated_half(world.theta0)) < TOLERANCE


def test_the_identity_behind_it_holds_at_every_pair_of_networks(world):
    theta = world.other_theta()
    assert gap(world.loss(theta), world.star(theta)) < TOLERANCE
    left, right = gradient(world.loss, theta), gradient(world.lemma1, theta)
    assert gap(left, right) > 1e-4  # the target was frozen elsewhere
    assert gap(left - right, -gradient(world.prior_shift, theta)) < TOLERANCE


def test_flipped_labels_are_not_the_reversed_game(world):
    """Gradient reversal ascends the discriminator's loss: another field, which saturates."""
    gan = world.as_gan()

    def reversed_game(theta: Tensor) -> Tensor:
        laws = world.p_x_given_domain(theta)
        return 0.5 * (laws * gan.log_q_y_given_x()).sum()

    found = joint_gradient(world)
    assert gap(found, gradient(reversed_game, world.theta0)) > 1e-4
    one_side = world.split(found)[0], torch.zeros_like(world.split(found)[1])
    assert gap(found, torch.cat([part.flatten() for part in one_side])) > 1e-4


def test_at_the_optimal_discriminator_each_network_follows_a_divergence_of_its_own(world):
    """The generator KL(m || p_data q), the encoder KL(m || p p_theta): two functions, not one."""
    best = world.with_optimal_discriminator()
    generator, encoder = world.split(joint_gradient(best))
    to_inferred = gradient(world.mixture_to_inferred, world.theta0)
    to_generated = gradient(world.mixture_to_generated, world.theta0)
    assert gap(generator, world.split(to_inferred)[0]) < TOLERANCE
    assert gap(encoder, world.split(to_generated)[1]) < TOLERANCE
    assert gap(encoder, world.split(to_inferred)[1]) > 1e-4
    assert gap(generator, world.split(to_generated)[0]) > 1e-4


def test_no_function_has_both_as_its_gradient(world):
    """The cross derivatives of the field differ: even with D kept optimal there is no potential."""

    def field(theta: Tensor) -> Tensor:
        inferred = torch.autograd.grad(world.mixture_to_inferred(theta), theta, create_graph=True)
        generated = torch.autograd.grad(world.mixture_to_generated(theta), theta, create_graph=True)
        half = len(theta) // 2
        return torch.cat([inferred[0][:half], generated[0][half:]])

    jacobian = torch.autograd.functional.jacobian(field, world.theta0.clone().requires_grad_())
    half = len(world.theta0) // 2
    cross = jacobian[:half, half:] - jacobian[half:, :half].T
    assert cross.abs().max() > 1e-4
    # The two functions differ by E_m log(generated / inferred), whose mixed derivative this is.

    def difference(theta: Tensor) -> Tensor:
        return world.mixture_to_inferred(theta) - world.mixture_to_generated(theta)

    mixed = torch.autograd.functional.hessian(difference, world.theta0)[:half, half:]
    assert gap(cross, mixed) < TOLERANCE
    own = jacobian[:half, :half]
    assert gap(own, own.T) < TOLERANCE  # within one network it is a gradient


def test_where_the_two_laws_agree_nothing_moves_and_the_encoder_is_the_posterior(world):
    generated = world.generated()
    rested = PairWorld(
        p_data=generated.sum(1),
        p_z=world.p_z,
        theta0=torch.cat([world.split()[0].flatten(), generated.log().flatten()]),
        phi0=torch.zeros_like(world.phi0),
    )
    assert gap(rested.inferred(), rested.generated()) < TOLERANCE
    posterior = generated / generated.sum(1, keepdim=True)
    assert gap(rested.split()[1].softmax(-1), posterior) < TOLERANCE
    assert joint_gradient(rested).abs().max() < TOLERANCE
    assert gap(rested.with_optimal_discriminator().phi0, rested.phi0) < TOLERANCE


def test_to_match_pairs_is_at_least_to_match_images_and_to_match_codes(world):
    assert world.jsd_term() > world.jsd_of_images()
    assert world.jsd_term() > world.jsd_of_codes()


def test_equal_pairs_do_not_make_the_code_say_anything(world):
    """A generator with noise of its own can ignore z, and an encoder x: the pairs agree all the
    same. It is the deterministic generator of the model that makes a matched encoder an inverse."""
    ignored = torch.cat([world.p_data.log().repeat(3), world.p_z.log().repeat(4)])
    rested = replace(world, theta0=ignored)
    assert rested.jsd_term().abs() < TOLERANCE
    assert gap(mutual_information(rested.inferred()), 0.0) < TOLERANCE
    assert joint_gradient(rested.with_optimal_discriminator()).abs().max() < TOLERANCE


def test_the_worlds_tables_by_brute_force(world):
    n_x, n_z = world.phi0.shape
    generator, encoder = world.split()
    loss = 0.0
    for x in range(n_x):
        for z in range(n_z):
            d = world.phi0[x, z].sigmoid()
            p_x_given_z = generator[z].softmax(0)[x]
            q_z_given_x = encoder[x].softmax(0)[z]
            loss -= 0.5 * world.p_z[z] * p_x_given_z * d.log()
            loss -= 0.5 * world.p_data[x] * q_z_given_x * (1 - d).log()
    assert gap(world.loss(), loss) < TOLERANCE
