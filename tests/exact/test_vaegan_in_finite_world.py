"""The VAE/GAN's own loss code on tables: each phase has the gradient of the divergence it claims.

And it has no other: the networks that a phase does not move get no gradient that could be applied
by mistake, which is what the paper asks for.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unigen_edu.declarations import Batch
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.joint import VAEGANWorld
from unigen_edu.exact.networks import TableEncoder
from unigen_edu.exact.pair_networks import TableFeatureDiscriminator, TablePairGenerator
from unigen_edu.exact.tables import expectation, jsd_weighted, kl_p_q, normalise, table
from unigen_edu.models.vaegan import VAEGAN

SEEDS = (0, 1, 2)
TOLERANCE = 1e-10


@pytest.fixture(params=SEEDS)
def world(request) -> VAEGANWorld:
    return VAEGANWorld.random(request.param)


def in_world(world: VAEGANWorld, objective: str = "non-saturating") -> tuple[VAEGAN, Batch]:
    model = VAEGAN(shape=(2,), latent=1, gamma=world.gamma, objective=objective)
    model.encoder = TableEncoder(world.eta0, world.p_z)
    model.decoder = TablePairGenerator(world.theta0, world.p_z)
    model.discriminator = TableFeatureDiscriminator(world.features, world.head)
    return model, Batch(torch.arange(len(world.p_data)), weight=world.p_data)


def phase_gradient(world: VAEGANWorld, phase: str, **options: str) -> Tensor:
    """The gradient of the model's loss in the logits of the network that the phase moves."""
    model, batch = in_world(world, **options)
    return torch.autograd.grad(
        model.loss(phase, batch).value, model.get_submodule(phase).get_parameter("logits")
    )[0]


# ---- encoder -----------------------------------------------------------------------------------


def test_the_encoder_phase_is_variational_inference_of_z_from_the_features(world):
    model, batch = in_world(world)
    loss = model.encoder_loss(batch)
    evidence = expectation(world.p_data, world.log_feature_evidence)
    assert gap(loss.value, world.encoder_gap() - evidence) < TOLERANCE
    found = phase_gradient(world, "encoder")
    assert gap(found, gradient(world.encoder_gap, world.eta0)) < TOLERANCE

    def other_way_round(eta: Tensor) -> Tensor:
        kl = kl_p_q(world.feature_posterior, world.q_z_given_x(eta))
        return expectation(world.p_data, kl)

    assert gap(found, gradient(other_way_round, world.eta0)) > 1e-4


def test_the_encoder_phase_has_neither_gamma_nor_the_game(world):
    found = phase_gradient(world, "encoder")
    assert gap(found, phase_gradient(replace(world, gamma=3 * world.gamma), "encoder")) == 0

    def with_the_game(eta: Tensor) -> Tensor:
        a = world.a @ world.p_x_given_z().T  # E of the logit over x' given z
        sent = expectation(world.p_data[:, None] * world.q_z_given_x(eta), -a.expand(5, -1))
        return world.encoder_gap(eta) + sent

    assert gap(found, gradient(with_the_game, world.eta0)) > 1e-4


def test_the_encoder_rests_at_the_posterior_of_the_features(world):
    exact = replace(world, eta0=world.feature_posterior.log())
    assert phase_gradient(exact, "encoder").abs().max() < TOLERANCE
    model, batch = in_world(exact)
    evidence = expectation(world.p_data, world.log_feature_evidence)
    assert gap(model.encoder_loss(batch).value, -evidence) < TOLERANCE


# ---- decoder -----------------------------------------------------------------------------------


def test_the_decoder_phase_is_lemma_1_with_the_similarity_as_a_score(world):
    model, batch = in_world(world)
    loss = model.decoder_loss(batch)
    data_term = expectation(world.p_data, torch.nn.functional.softplus(world.a)) / 3
    assert gap(loss.value, world.loss() - data_term) < TOLERANCE
    found = phase_gradient(world, "decoder")
    claim = gradient(
        lambda t: world.kl_term(t) - world.jsd_y(t) - world.source_information(t), world.theta0
    )
    assert gap(found, claim) < TOLERANCE
    # Each term that could be forgotten is really there.
    assert gap(found, gradient(world.kl_term, world.theta0)) > 1e-4
    two_terms = gradient(lambda t: world.kl_term(t) - world.jsd_y(t), world.theta0)
    assert gap(found, two_terms) > 1e-4
    information = gradient(world.source_information, world.theta0)
    assert gap(found - two_terms, -information) < TOLERANCE


def test_the_identity_behind_it_holds_at_every_decoder(world):
    noise = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    theta = world.theta0 + 0.7 * noise
    assert gap(world.loss(theta), world.star(theta)) < TOLERANCE
    assert gap(world.jsd_term(theta), world.jsd_y(theta) + world.source_information(theta)) < 1e-12
    away = replace(world, theta0=theta)
    left = phase_gradient(away, "decoder")
    assert gap(left, gradient(away.lemma1, theta)) < TOLERANCE  # theta0 is where the world stands
    assert gap(left, gradient(world.lemma1, theta)) > 1e-4  # and not where it stood before


def test_with_uniform_domains_the_jsd_is_another(world):
    """Two sources against one: p(y=0) = 2/3, not the 1/2 of the GAN."""
    found = phase_gradient(world, "decoder")

    def unweighted(theta: Tensor) -> Tensor:
        jsd = jsd_weighted(table([0.5, 0.5]), world.p_x_given_y(theta))
        return world.kl_term(theta) - jsd - world.source_information(theta)

    assert gap(found, gradient(unweighted, world.theta0)) > 1e-4


def test_the_decoder_phase_knows_the_image_that_it_should_reconstruct(world):
    """With images and reconstructions paired at random, the gradient is another one."""
    found = phase_gradient(world, "decoder")

    def shuffled(theta: Tensor) -> Tensor:
        pairs = world.p_data[:, None] * (world.p_data @ world.p_reconstruction(theta))
        matched = world.p_data[:, None] * world.p_reconstruction(theta)
        difference = expectation(pairs - matched, world.log_similarity)
        return world.loss(theta) - world.gamma / 3 * difference

    assert gap(found, gradient(world.loss, world.theta0)) < TOLERANCE
    assert gap(found, gradient(shuffled, world.theta0)) > 1e-4


def test_without_similarity_at_the_optimal_discriminator_the_decoder_seeks_the_data(world):
    """D* = p_data / (p_data + p_g + p_rec) and gamma = 0: KL(p_theta(x) || p_data)."""
    laws = world.p_x_given_y()
    best_a = (world.p_data / (2 * laws[0])).log()
    best = replace(
        world, features=best_a[:, None], head=torch.ones(1, dtype=torch.float64), gamma=1e-14
    )
    p_rec = world.p_data @ world.p_reconstruction()
    d = world.p_data / (world.p_data + world.p_g() + p_rec)
    assert gap(best.as_gan().optimal_discriminator(), d) < TOLERANCE
    assert gap(best.as_gan().D, d) < TOLERANCE
    found = phase_gradient(best, "decoder")

    def kl_x_data(theta: Tensor) -> Tensor:
        return kl_p_q(table([2 / 3, 1 / 3]) @ world.p_x_given_y(theta), world.p_data)

    assert gap(found, gradient(kl_x_data, world.theta0)) < TOLERANCE


def test_the_papers_decoder_is_another_game(world):
    model, batch = in_world(world, objective="minimax")
    assert gap(model.decoder_loss(batch).value, world.minimax_loss()) < TOLERANCE
    found = phase_gradient(world, "decoder", objective="minimax")
    assert gap(found, gradient(world.minimax_loss, world.theta0)) < TOLERANCE
    claim = gradient(
        lambda t: world.kl_term(t) - world.jsd_y(t) - world.source_information(t), world.theta0
    )
    assert gap(found, claim) > 1e-4


def test_the_papers_game_descends_the_jsd_at_the_optimal_discriminator(world):
    best_a = (world.p_data / (2 * world.p_x_given_y()[0])).log()
    best = replace(
        world, features=best_a[:, None], head=torch.ones(1, dtype=torch.float64), gamma=1e-14
    )
    found = phase_gradient(best, "decoder", objective="minimax")
    assert gap(found, gradient(world.jsd_y, world.theta0)) < TOLERANCE
    assert gap(found, phase_gradient(best, "decoder")) > 1e-4


# ---- discriminator -----------------------------------------------------------------------------


def test_the_discriminator_phase_reduces_the_kl_of_the_posteriors(world):
    model, batch = in_world(world)
    loss = model.discriminator_loss(batch)
    gan = world.as_gan()
    assert gap(loss.value, -gan.discriminator_objective()) < TOLERANCE
    rows, head = model.discriminator.rows, model.discriminator.head
    found = torch.autograd.grad(loss.value, [rows, head])
    assert (
        gap(found[0], gradient(lambda f: gan.discriminator_gap(f @ world.head), world.features))
        < TOLERANCE
    )
    assert (
        gap(found[1], gradient(lambda h: gan.discriminator_gap(world.features @ h), world.head))
        < TOLERANCE
    )
    made = 0.5 * (loss.terms["D(reconstructed)"] + loss.terms["D(generated)"])
    assert gap(made, world.p_x_given_y()[0] @ gan.D) < TOLERANCE
    assert gap(loss.terms["D(data)"], world.p_data @ gan.D) < TOLERANCE
    # Half the weight on data, as in the GAN, is another posterior.
    uniform = replace(gan, p_y=table([0.5, 0.5]))
    other = gradient(lambda f: uniform.discriminator_gap(f @ world.head), world.features)
    assert gap(found[0], other) > 1e-4


def test_the_similarity_would_move_the_discriminator_if_it_could(world):
    """The term that the paper keeps from the discriminator is not zero, nor is it constant."""
    model, batch = in_world(world)
    found = torch.autograd.grad(model.discriminator_loss(batch).value, model.discriminator.rows)[0]

    def leaking(features: Tensor) -> Tensor:
        moved = replace(world, features=features)
        pairs = world.p_data[:, None] * world.p_reconstruction()
        similarity = expectation(pairs, moved.log_similarity)
        return world.as_gan().discriminator_gap(moved.a) - world.gamma / 3 * similarity

    assert gap(found, gradient(leaking, world.features)) > 1e-4


# ---- who gets which gradient -------------------------------------------------------------------


def test_no_phase_but_its_own_reaches_the_encoder(world):
    model, batch = in_world(world)
    for phase in ("decoder", "discriminator"):
        found = torch.autograd.grad(
            model.loss(phase, batch).value,
            model.encoder.logits,
            retain_graph=True,
            allow_unused=True,
        )
        assert found == (None,)


def test_the_discriminator_phase_reaches_nobody_else(world):
    model, batch = in_world(world)
    model.decoder_loss(batch)  # fills the batch's cache with values that carry theta
    others = [model.encoder.logits, model.decoder.logits]
    value = model.discriminator_loss(batch).value
    assert torch.autograd.grad(value, others, allow_unused=True) == (None, None)


def test_the_three_steps_are_those_of_one_forward_pass(world):
    """As in the paper: a phase sees the draws of the step, not those of networks moved since."""
    model, batch = in_world(world)
    model.encoder_loss(batch)
    model.decoder_loss(batch)
    with torch.no_grad():
        model.encoder.logits.add_(1.0 * torch.randn_like(model.encoder.logits))
        model.decoder.logits.add_(1.0 * torch.randn_like(model.decoder.logits))
    gan = world.as_gan()
    assert gap(model.discriminator_loss(batch).value, -gan.discriminator_objective()) < TOLERANCE


# ---- the world itself --------------------------------------------------------------------------


def test_the_worlds_tables_by_brute_force(world):
    """Sums over x, z, x' written out, against the matrix products of the world."""
    n_x, n_z = len(world.p_data), len(world.p_z)
    decoder, encoder = world.p_x_given_z(), world.q_z_given_x()
    d = world.a.sigmoid()
    loss, likelihood = 0.0, torch.zeros(n_x, n_z, dtype=torch.float64)
    for made in range(n_x):
        p_g = sum(world.p_z[z] * decoder[z, made] for z in range(n_z))
        loss -= p_g * d[made].log() / 3
        loss -= world.p_data[made] * (1 - d[made]).log() / 3
        for x in range(n_x):
            law = torch.distributions.Independent(
                torch.distributions.Normal(world.features[made], 1.0), 1
            )
            log_n = law.log_prob(world.features[x])
            for z in range(n_z):
                weight = world.p_data[x] * encoder[x, z] * decoder[z, made]
                loss -= weight * (d[made].log() + world.gamma * log_n) / 3
                likelihood[x, z] += decoder[z, made] * log_n
    assert gap(world.loss(), loss) < TOLERANCE
    posterior = normalise(world.p_z * likelihood.exp())
    assert gap(world.feature_posterior, posterior) < TOLERANCE
    assert gap(world.p_domain().sum(), 1.0) < TOLERANCE
    assert gap(world.p_x_given_domain().sum(1), torch.ones(n_x + 2, dtype=torch.float64)) < 1e-12
