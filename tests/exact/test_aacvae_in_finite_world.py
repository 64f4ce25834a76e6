"""The adversary activated conditional VAE on tables: the AAVAE in every class.

As for the AAVAE, only the drawing of samples is replaced by a list, left differentiable in theta.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from tests.exact.test_cvae_in_finite_world import (
    CLASSES,
    SEEDS,
    STATES,
    TOLERANCE,
    law_of_classes,
    worlds_of,
)
from tests.exact.test_cvae_in_finite_world import tables as cvae_tables
from unigen_edu.declarations import Batch, Loss
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.conditional_networks import (
    ConditionalTableDecoder,
    ConditionalTableDiscriminator,
    ConditionalTableEncoder,
)
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.networks import TableDecoder, TableDiscriminator, TableEncoder
from unigen_edu.exact.vae import VAEWorld
from unigen_edu.models.aacvae import AACVAE
from unigen_edu.models.aavae import AAVAE
from unigen_edu.models.vae import VAE


class TableAACVAE(AACVAE):
    """An AACVAE whose samples are listed, for the classes p_c."""

    name = "aacvae-in-tables"
    p_c: Tensor

    def dreams(self, batch: Batch) -> Batch:
        p_x_given_z = self.decoder.logits.softmax(-1)  # (C, Z, X)
        p_g = torch.einsum("z,czx->cx", self.encoder.p_z, p_x_given_z)
        n_c, n_x = p_g.shape
        label = torch.arange(n_c).repeat_interleave(n_x)
        return Batch(torch.arange(n_x).repeat(n_c), label, (self.p_c[:, None] * p_g).flatten())


def tables(worlds: tuple[VAEWorld, ...], p_c: Tensor) -> tuple[AACVAE, Batch]:
    model = TableAACVAE(shape=(2,), likelihood="gaussian", latent=1, classes=len(worlds))
    model.p_c = p_c
    like, batch = cvae_tables(worlds, p_c)
    assert isinstance(like.encoder, ConditionalTableEncoder)
    assert isinstance(like.decoder, ConditionalTableDecoder)
    model.encoder, model.decoder = like.encoder, like.decoder
    model.discriminator = ConditionalTableDiscriminator(torch.stack([w.phi0 for w in worlds]))
    return model, batch


def gradients(model: VAE, batch: Batch) -> tuple[Loss, Tensor, Tensor]:
    loss = model.loss("variational", batch)
    moved = [*model.decoder.parameters(), *model.encoder.parameters()]
    return loss, *torch.autograd.grad(loss.value, moved)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_discriminator_phase_is_that_of_the_conditional_gan(seed):
    worlds, p_c = worlds_of(seed), law_of_classes(seed)
    model, batch = tables(worlds, p_c)
    loss = model.loss("discriminator", batch)
    (phi,) = torch.autograd.grad(loss.value, list(model.discriminator.parameters()))
    gans = [GANWorld.from_tables(w.p_data, w.p_g(), w.D) for w in worlds]
    values = torch.stack([-gan.discriminator_objective() for gan in gans])
    assert gap(loss.value, p_c @ values) < TOLERANCE
    right = torch.stack([gradient(gan.discriminator_gap, gan.phi0) for gan in gans])
    assert gap(phi, p_c[:, None] * right) < TOLERANCE
    assert phi.abs().max() > 1e-3


@pytest.mark.parametrize("seed", SEEDS)
def test_the_variational_phase_is_the_first_line_of_equation_6_in_every_class(seed):
    worlds, p_c = worlds_of(seed), law_of_classes(seed)
    loss, theta, eta = gradients(*tables(worlds, p_c))
    values = torch.stack([w.weighted_vae_loss() for w in worlds])
    assert gap(loss.value, p_c @ values) < TOLERANCE
    right_theta = torch.stack([gradient(w.line1, w.theta0) for w in worlds])
    right_eta = torch.stack([gradient(lambda e, w=w: w.line1(eta=e), w.eta0) for w in worlds])
    assert gap(theta, p_c[:, None, None] * right_theta) < TOLERANCE
    assert gap(eta, p_c[:, None, None] * right_eta) < TOLERANCE
    # Neither half nor all of the conditional VAE.
    _, plain, _ = gradients(*cvae_tables(worlds, p_c))
    assert gap(theta, 0.5 * plain) > 1e-4


def marginal_judge(worlds: tuple[VAEWorld, ...], p_c: Tensor) -> tuple[VAEWorld, ...]:
    """The best D that is a function of x alone, in every class."""
    p_data = p_c @ torch.stack([w.p_data for w in worlds])
    p_g = p_c @ torch.stack([w.p_g() for w in worlds])
    return tuple(w.with_discriminator(p_data / (p_data + p_g)) for w in worlds)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_judge_of_pairs_leaves_half_of_the_conditional_vae(seed):
    worlds, p_c = worlds_of(seed), law_of_classes(seed)
    wanted, theta_cvae, eta_cvae = gradients(*cvae_tables(worlds, p_c))
    best = tuple(w.with_optimal_discriminator() for w in worlds)
    loss, theta, eta = gradients(*tables(best, p_c))
    assert gap(loss.value, 0.5 * wanted.value) < TOLERANCE
    assert gap(theta, 0.5 * theta_cvae) < TOLERANCE
    assert gap(eta, 0.5 * eta_cvae) < TOLERANCE
    # The best judge of images alone does not: samples of another class pass.
    loss, theta, eta = gradients(*tables(marginal_judge(worlds, p_c), p_c))
    for found, cvae in ((theta, theta_cvae), (eta, eta_cvae)):
        multiple = (found * cvae).sum() / cvae.square().sum()
        assert gap(found, multiple * cvae) > 1e-4
    assert gap(loss.value, 0.5 * wanted.value) > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_other_labels_for_the_samples_are_told_by_the_best_judge(seed):
    """If samples had other shares of the classes, D* would know: half of the conditional VAE is
    still left, but D is then no constant for a perfect model."""
    worlds, p_c = worlds_of(seed), law_of_classes(seed)
    wanted, theta_cvae, _ = gradients(*cvae_tables(worlds, p_c))
    perfect = tuple(
        dataclasses.replace(w, theta0=w.p_data.log().expand_as(w.theta0).clone()) for w in worlds
    )
    equal = torch.full_like(p_c, 1 / CLASSES)

    def best(some: tuple[VAEWorld, ...]) -> tuple[VAEWorld, ...]:
        return tuple(
            w.with_discriminator(p * w.p_data / (p * w.p_data + w.p_g() / CLASSES))
            for w, p in zip(some, p_c, strict=True)
        )

    model, batch = tables(best(worlds), p_c)
    model.p_c = equal
    loss, theta, _ = gradients(model, batch)
    assert gap(loss.value, 0.5 * wanted.value) < TOLERANCE
    assert gap(theta, 0.5 * theta_cvae) < TOLERANCE
    spread = torch.stack([w.D for w in best(perfect)])
    assert spread.std() > 1e-2
    assert torch.stack([w.with_optimal_discriminator().D for w in perfect]).std() < TOLERANCE


@pytest.mark.parametrize("phase", ["discriminator", "variational"])
def test_with_one_class_it_is_the_aavae(phase):
    (world,) = worlds_of(0, 1)
    one = torch.ones(1, dtype=torch.float64)
    model, batch = tables((world,), one)

    class TableAAVAE(AAVAE):
        name = "aavae-in-one-class"

        def dreams(self, batch: Batch) -> Batch:
            return Batch(torch.arange(STATES), weight=world.p_g())

    plain = TableAAVAE(shape=(2,), likelihood="gaussian", latent=1)
    plain.encoder = TableEncoder(world.eta0, world.p_z_given_y[0])
    plain.decoder = TableDecoder(world.theta0)
    plain.discriminator = TableDiscriminator(world.phi0)
    found, wanted = (
        m.loss(phase, b) for m, b in ((model, batch), (plain, Batch(batch.x, weight=world.p_data)))
    )
    assert gap(found.value, wanted.value) < TOLERANCE
    for part in {"discriminator": ["discriminator"], "variational": ["encoder", "decoder"]}[phase]:
        left, right = (
            torch.autograd.grad(
                loss.value, list(m.get_submodule(part).parameters()), retain_graph=True
            )[0]
            for m, loss in ((model, found), (plain, wanted))
        )
        assert gap(left[0], right) < TOLERANCE
