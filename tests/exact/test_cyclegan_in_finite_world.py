"""CycleGAN's own loss code on tables: two InfoGANs, and each translator's second role."""

import dataclasses
import math

import pytest
import torch

from unigen_edu.declarations import Batch
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.codes import CycleWorld
from unigen_edu.exact.cycle_networks import TableTranslator
from unigen_edu.exact.networks import TableDiscriminator
from unigen_edu.exact.tables import expectation, kl_p_q, mutual_information, normalise, posterior
from unigen_edu.models.cyclegan import CycleGAN

SEEDS = (0, 1, 2)
TOLERANCE = 1e-12
FAR = 1e-4
UNIFORM = torch.full((2,), 0.5, dtype=torch.float64)


def on_tables(world: CycleWorld) -> tuple[CycleGAN, Batch]:
    model = CycleGAN(shape=(2,), network="mlp", strength=2 * world.strength)  # lambda = strength/D
    model.to_a, model.to_b = TableTranslator(world.g0), TableTranslator(world.f0)
    model.discriminator_a = TableDiscriminator(world.phi_a)
    model.discriminator_b = TableDiscriminator(world.phi_b)
    b = Batch(torch.arange(len(world.p_b)), weight=world.p_b)
    return model, Batch(torch.arange(len(world.p_a)), weight=world.p_a, other=b)


def gradient_of_phase(model: CycleGAN, phase: str, batch: Batch, of: str) -> torch.Tensor:
    (parameter,) = model.get_submodule(of).parameters()
    return torch.autograd.grad(model.loss(phase, batch).value, parameter)[0]


def recogniser_kl(world: CycleWorld, of: str):
    """E KL(true posterior of the code || the map as its recogniser), as a function of the map."""
    joint = world.to_b() if of == "to_a" else world.to_a()  # (code, made)

    def kl(logits: torch.Tensor) -> torch.Tensor:
        # axis 0 the code: the recogniser of row "made" is a distribution over codes
        return expectation(
            joint.sum(0), kl_p_q(normalise(joint, dim=0), logits.softmax(-1).T, dim=0)
        )

    return kl


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("side", ["a", "b"])
def test_the_discriminators_phase_reduces_the_kl_of_the_posteriors(side, seed):
    world = CycleWorld.random(seed)
    model, batch = on_tables(world)
    found = gradient_of_phase(model, "discriminators", batch, f"discriminator_{side}")
    made, data = (
        (world.to_a().sum(0), world.p_a) if side == "a" else (world.to_b().sum(0), world.p_b)
    )
    laws = torch.stack([made, data])
    true, law = posterior(UNIFORM, laws), UNIFORM @ laws

    def kl(phi):
        return expectation(law, kl_p_q(true, torch.stack([-phi, phi]).sigmoid(), dim=0))

    phi0 = world.phi_a if side == "a" else world.phi_b
    assert gap(found, gradient(kl, phi0)) < TOLERANCE
    assert gap(found, gradient(lambda phi: kl(-phi), phi0)) > FAR


@pytest.mark.parametrize("strength", [0.0, 0.7])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_loss_is_half_the_papers(seed, strength):
    world = dataclasses.replace(CycleWorld.random(seed), strength=strength)
    model, batch = on_tables(world)
    loss = model.loss("translators", batch)
    assert gap(loss.value, 0.5 * world.loss()) < TOLERANCE
    if strength:
        assert gap(strength * loss.terms["-log q(z|G(z))"], world.cycle_g()) < TOLERANCE
        assert gap(strength * loss.terms["-log p(x|F(x))"], world.cycle_f()) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("of", ["to_a", "to_b"])
def test_the_translators_phase_is_what_it_declares(of, seed):
    """E KL - JSD - 1/2 I of the half in which the map generates, and lambda/2 KL of the other."""
    world = CycleWorld.random(seed)
    model, batch = on_tables(world)
    found = gradient_of_phase(model, "translators", batch, of)
    half, at = (world.half_a(), world.g0) if of == "to_a" else (world.half_b(), world.f0)
    recognise = recogniser_kl(world, of)

    def information(logits):  # I(x; z) of code and translation under y = 0
        return mutual_information(world.to_a(logits) if of == "to_a" else world.to_b(logits))

    def generate(logits):
        return half.kl_term(logits) - half.jsd_y(logits) - 0.5 * information(logits)

    def declared(logits):
        return generate(logits) + 0.5 * world.strength * recognise(logits)

    assert gap(found, gradient(declared, at)) < 1e-10
    form_a = gradient(half.lemma1, at)  # the same, with the pair (y, code) as one domain
    assert gap(found, form_a + 0.5 * world.strength * gradient(recognise, at)) < 1e-10
    assert gap(found, gradient(generate, at)) > FAR  # the second role left out
    assert gap(found, form_a) > FAR

    def two_terms(logits):  # the information left out
        return half.kl_term(logits) - half.jsd_y(logits) + 0.5 * world.strength * recognise(logits)

    assert gap(found, gradient(two_terms, at)) > FAR
    assert gap(2 * found, gradient(declared, at)) > FAR  # p(y) is in the loss


@pytest.mark.parametrize("seed", SEEDS)
def test_without_the_cycle_it_is_two_gans_with_codes_that_nobody_reads(seed):
    world = dataclasses.replace(CycleWorld.random(seed), strength=0.0)
    model, batch = on_tables(world)
    for of, half, at in (("to_a", world.half_a(), world.g0), ("to_b", world.half_b(), world.f0)):
        found = gradient_of_phase(model, "translators", batch, of)

        # The law of translations alone: G(x|z) matters through p(x|y=0) only.
        def of_marginals(logits, half=half):
            marginal = (half.p_z_given_y[0][:, None] * logits.softmax(-1)).sum(0)
            return -0.5 * expectation(marginal, torch.nn.functional.logsigmoid(half.phi0))

        assert gap(found, gradient(of_marginals, at)) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_the_two_halves_are_one_system_with_its_domains_exchanged(seed):
    """Swap A and B, with their networks: the same loss, and the gradients swap."""
    world = CycleWorld.random(seed)
    swapped = CycleWorld(
        p_a=world.p_b,
        p_b=world.p_a,
        g0=world.f0,
        f0=world.g0,
        phi_a=world.phi_b,
        phi_b=world.phi_a,
        strength=world.strength,
    )
    (model, batch), (other, other_batch) = on_tables(world), on_tables(swapped)
    for phase in ("discriminators", "translators"):
        left = model.loss(phase, batch).value
        assert gap(left, other.loss(phase, other_batch).value) < TOLERANCE
    left = gradient_of_phase(model, "translators", batch, "to_a")
    right = gradient_of_phase(other, "translators", other_batch, "to_b")
    assert gap(left, right) < TOLERANCE


def test_a_cycle_that_closes_does_not_make_the_maps_right():
    """Any one-to-one pairing of equally likely states closes the cycle and matches both laws.

    All n! pairings have the same loss, and none is better than another: what decides among them is
    the network, not the objective.
    """
    n = 3
    p, guess = torch.full((n,), 1 / n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    certain = 40.0 * torch.eye(n).double()  # softmax: the identity up to e^-40
    losses = []
    for pairing in (torch.arange(n), torch.tensor([1, 2, 0])):
        g = certain[pairing]  # z -> x = pairing[z]
        world = CycleWorld(p, p, g, g.T.clone(), guess, guess, 0.7)
        model, batch = on_tables(world)
        losses.append(model.loss("translators", batch).value)
        found = gradient_of_phase(model, "translators", batch, "to_a")
        assert found.abs().max() < 1e-10
    assert gap(losses[0], losses[1]) < TOLERANCE
    assert gap(losses[0], math.log(2.0)) < TOLERANCE  # both adversaries guess, the cycle is free
