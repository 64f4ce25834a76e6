"""The adversary activated M2 on tables: two pools, two judges."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from tests.exact.test_svae_in_finite_world import ALPHA, RHO, SEEDS, TOLERANCE, gradients
from tests.exact.test_svae_in_finite_world import tables as svae_tables
from unigen_edu.declarations import Batch
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.conditional import SemiSupervisedWorld
from unigen_edu.exact.conditional_networks import ConditionalTableDiscriminator
from unigen_edu.exact.networks import TableDiscriminator
from unigen_edu.exact.tables import kl_p_q
from unigen_edu.models.aasvae import AASVAE


class TableAASVAE(AASVAE):
    """An AASVAE whose samples are listed; their weights stay differentiable in theta."""

    name = "aasvae-in-tables"
    p_lab_c: Tensor

    def dreams(self, batch: Batch) -> Batch:
        p_x_given_z = self.decoder.logits.softmax(-1)  # (C, Z, X)
        p_g = torch.einsum("z,czx->cx", self.encoder.p_z, p_x_given_z)
        n_c, n_x = p_g.shape
        if batch.label is None:
            return Batch(torch.arange(n_x), weight=p_g.mean(0))
        label = torch.arange(n_c).repeat_interleave(n_x)
        weight = (self.p_lab_c[:, None] * p_g).flatten()
        return Batch(torch.arange(n_x).repeat(n_c), label, weight)


def tables(world: SemiSupervisedWorld) -> tuple[AASVAE, Batch]:
    like, batch = svae_tables(world)
    model = TableAASVAE(
        shape=(2,),
        likelihood="gaussian",
        latent=1,
        classes=world.p_lab.shape[0],
        alpha=ALPHA,
        rho=RHO,
    )
    model.encoder, model.decoder, model.classifier = like.encoder, like.decoder, like.classifier
    model.discriminator = TableDiscriminator(world.phi_u)
    model.pair_discriminator = ConditionalTableDiscriminator(world.phi_l)
    model.p_lab_c = world.p_lab.sum(1)
    return model, batch


@pytest.mark.parametrize("seed", SEEDS)
def test_the_discriminator_phase_reduces_two_kls_of_posteriors(seed):
    world = SemiSupervisedWorld.random(seed)
    model, batch = tables(world)
    loss = model.loss("discriminator", batch)
    moved = [*model.discriminator.parameters(), *model.pair_discriminator.parameters()]
    phi_u, phi_l = torch.autograd.grad(loss.value, moved)
    value = 0.5 * (world.p_data @ softplus(-world.phi_u) + world.p_x() @ softplus(world.phi_u))
    fakes = world.generated_pairs()
    pairs = world.p_lab * softplus(-world.phi_l) + fakes * softplus(world.phi_l)
    assert gap(loss.value, value + 0.5 * pairs.sum()) < TOLERANCE

    def reduced(phi: Tensor, data: Tensor, generated: Tensor, best: Tensor) -> Tensor:
        q, p = phi.sigmoid(), best
        kl = kl_p_q(torch.stack([1 - p, p]), torch.stack([1 - q, q]), dim=0)
        return ((data + generated) / 2 * kl).sum()

    best_u, best_l = world.optimal_discriminators()
    right = gradient(lambda phi: reduced(phi, world.p_data, world.p_x(), best_u), world.phi_u)
    assert gap(phi_u, right) < TOLERANCE
    right = gradient(lambda phi: reduced(phi, world.p_lab, fakes, best_l), world.phi_l)
    assert gap(phi_l, right) < TOLERANCE
    model, batch = tables(world.with_discriminators(best_u, best_l))
    loss = model.loss("discriminator", batch)
    moved = [*model.discriminator.parameters(), *model.pair_discriminator.parameters()]
    for phi in torch.autograd.grad(loss.value, moved):
        assert phi.abs().max() < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_the_variational_phase_is_m2_with_what_the_judges_believe(seed):
    world = SemiSupervisedWorld.random(seed)
    loss, theta, eta, psi = gradients(*tables(world))
    assert gap(loss.value, world.activated_m2(ALPHA, RHO)) < TOLERANCE
    believed_u, believed_l = world.believed()
    z_u, z_l = believed_u.sum(), believed_l.sum()

    def reduced(**moved: Tensor) -> Tensor:
        unlabelled = world.unlabelled_kl(**moved, p_x=believed_u / z_u)
        labelled = world.labelled_kl(ALPHA, RHO, **moved, p_xc=believed_l / z_l)
        return z_u * unlabelled + z_l * labelled

    assert gap(theta, gradient(lambda t: reduced(theta=t), world.theta0)) < TOLERANCE
    assert gap(eta, gradient(lambda e: reduced(eta=e), world.eta0)) < TOLERANCE
    assert gap(psi, gradient(lambda p: reduced(psi=p), world.psi0)) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_judges_leave_half_of_m2(seed):
    world = SemiSupervisedWorld.random(seed)
    wanted, *of_m2 = gradients(*svae_tables(world))
    best_u, best_l = world.optimal_discriminators()
    loss, *found = gradients(*tables(world.with_discriminators(best_u, best_l)))
    assert gap(loss.value, 0.5 * wanted.value) < TOLERANCE
    for left, right in zip(found, of_m2, strict=True):
        assert gap(left, 0.5 * right) < TOLERANCE
    # Judged by the best function of x alone, pairs with a wrong label pass.
    p_lab_x, fake_x = world.p_lab.sum(0), world.generated_pairs().sum(0)
    blind = (p_lab_x / (p_lab_x + fake_x)).expand_as(world.p_lab)
    loss, *found = gradients(*tables(world.with_discriminators(best_u, blind)))
    assert gap(loss.value, 0.5 * wanted.value) > 1e-4
    for left, right in zip(found, of_m2, strict=True):
        multiple = (left * right).sum() / right.square().sum()
        assert gap(left, multiple * right) > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_labels_of_the_images_are_not_used(seed):
    world = SemiSupervisedWorld.random(seed)
    model, batch = tables(world)
    wanted = model.loss("variational", batch).value
    told = Batch(batch.x, torch.zeros_like(batch.x), batch.weight, batch.other)
    assert gap(model.loss("variational", told).value, wanted) < TOLERANCE


def test_the_judges_are_no_parameters_of_the_variational_loss():
    model, batch = tables(SemiSupervisedWorld.random(0))
    loss = model.loss("variational", batch)
    moved = [*model.discriminator.parameters(), *model.pair_discriminator.parameters()]
    assert torch.autograd.grad(loss.value, moved, allow_unused=True) == (None, None)
