"""The conditional VAE's own loss code on tables: a joint KL in every class."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from unigen_edu.declarations import Batch, Loss
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.conditional_networks import ConditionalTableDecoder, ConditionalTableEncoder
from unigen_edu.exact.importance import iwae_bound
from unigen_edu.exact.networks import TableDecoder, TableEncoder
from unigen_edu.exact.tables import generator_from, random_distribution
from unigen_edu.exact.vae import VAEWorld
from unigen_edu.models.cvae import CVAE
from unigen_edu.models.vae import VAE

SEEDS = (0, 1, 2)
TOLERANCE = 1e-10
CLASSES, STATES = 3, 4


def worlds_of(seed: int, classes: int = CLASSES) -> tuple[VAEWorld, ...]:
    """One world for each class; the prior of z is shared."""
    made = [VAEWorld.random(10 * seed + c, n_x=STATES) for c in range(classes)]
    prior = made[0].p_z_given_y
    return tuple(
        VAEWorld(w.p_data, w.theta0, w.eta0, prior, w.q_z_given_x_1, w.phi0, w.p_y) for w in made
    )


def law_of_classes(seed: int) -> Tensor:
    return random_distribution(CLASSES, generator=generator_from(500 + seed))


def tables(worlds: tuple[VAEWorld, ...], p_c: Tensor) -> tuple[CVAE, Batch]:
    model = CVAE(shape=(2,), likelihood="gaussian", latent=1, classes=len(worlds))
    prior = worlds[0].p_z_given_y[0]
    model.encoder = ConditionalTableEncoder(torch.stack([w.eta0 for w in worlds]), prior)
    model.decoder = ConditionalTableDecoder(torch.stack([w.theta0 for w in worlds]))
    label = torch.arange(len(worlds)).repeat_interleave(STATES)
    weight = (p_c[:, None] * torch.stack([w.p_data for w in worlds])).flatten()
    return model, Batch(torch.arange(STATES).repeat(len(worlds)), label, weight)


def gradients(model: VAE, batch: Batch) -> tuple[Loss, Tensor, Tensor]:
    loss = model.loss("variational", batch)
    moved = [*model.decoder.parameters(), *model.encoder.parameters()]
    return loss, *torch.autograd.grad(loss.value, moved)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_variational_phase_is_the_joint_kl_of_every_class(seed):
    worlds, p_c = worlds_of(seed), law_of_classes(seed)
    loss, theta, eta = gradients(*tables(worlds, p_c))
    values = torch.stack([w.vae_loss() for w in worlds])
    assert gap(loss.value, p_c @ values) < TOLERANCE
    constant = torch.stack([w.data_entropy() for w in worlds])
    kl = torch.stack([w.joint_kl() for w in worlds])
    assert gap(loss.value, p_c @ (kl + constant)) < TOLERANCE
    right_theta = torch.stack([gradient(w.joint_kl, w.theta0) for w in worlds])
    right_eta = torch.stack([gradient(lambda e, w=w: w.joint_kl(eta=e), w.eta0) for w in worlds])
    assert gap(theta, p_c[:, None, None] * right_theta) < TOLERANCE
    assert gap(eta, p_c[:, None, None] * right_eta) < TOLERANCE
    # Not the mean over classes, and not the KL of the codes alone.
    assert gap(theta, right_theta / CLASSES) > 1e-4
    gap_only = torch.stack([gradient(w.posterior_gap, w.theta0) for w in worlds])
    assert gap(theta, p_c[:, None, None] * gap_only) > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_the_bound_is_on_log_p_of_x_given_c(seed):
    worlds, p_c = worlds_of(seed), law_of_classes(seed)
    model, batch = tables(worlds, p_c)
    elbo = model.elbo(batch.x, batch.label).reshape(CLASSES, STATES)
    log_p = torch.stack([w.p_g().log() for w in worlds])
    assert gap(elbo, torch.stack([w.elbo() for w in worlds])) < TOLERANCE
    assert (elbo <= log_p + TOLERANCE).all()
    # Labels of the neighbour give another number.
    wrong = model.elbo(batch.x, (batch.label + 1) % CLASSES).reshape(CLASSES, STATES)
    assert gap(elbo, wrong) > 1e-3


@pytest.mark.parametrize("k", [1, 2, 3])
def test_log_weights_give_the_importance_weighted_bound_of_each_class(k):
    worlds, p_c = worlds_of(0), law_of_classes(0)
    model, batch = tables(worlds, p_c)
    weight = model.encoder(batch.x, batch.label).sample(k).weight
    log_w = model.log_weights(batch.x, k, batch.label)
    log_w = log_w[None] if k == 1 else log_w
    bound = (weight * (log_w.logsumexp(0) - math.log(k))).sum(0).reshape(CLASSES, STATES)
    assert gap(bound, torch.stack([iwae_bound(w, k) for w in worlds])) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_with_one_class_it_is_the_vae(seed):
    worlds = worlds_of(seed, 1)
    loss, theta, eta = gradients(*tables(worlds, torch.ones(1, dtype=torch.float64)))
    vae = VAE(shape=(2,), likelihood="gaussian", latent=1)
    vae.encoder = TableEncoder(worlds[0].eta0, worlds[0].p_z_given_y[0])
    vae.decoder = TableDecoder(worlds[0].theta0)
    wanted, right_theta, right_eta = gradients(
        vae, Batch(torch.arange(STATES), weight=worlds[0].p_data)
    )
    assert gap(loss.value, wanted.value) < TOLERANCE
    assert gap(theta[0], right_theta) < TOLERANCE
    assert gap(eta[0], right_eta) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_a_class_need_not_be_coded(seed):
    """-log p(x|c) averages to less than -log p(x): the class is I(x; c) nats of the image."""
    worlds, p_c = worlds_of(seed), law_of_classes(seed)
    p_x_given_c = torch.stack([w.p_g() for w in worlds])
    p_x = p_c @ p_x_given_c
    given = p_c @ (p_x_given_c * p_x_given_c.log()).sum(1)
    without = (p_x * p_x.log()).sum()
    information = p_c @ (p_x_given_c * (p_x_given_c / p_x).log()).sum(1)
    assert gap(given - without, information) < TOLERANCE
    assert information > 1e-3
