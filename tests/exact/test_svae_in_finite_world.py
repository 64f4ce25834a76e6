"""The semi-supervised VAE's own loss code on tables: the class is summed out, exactly."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from unigen_edu.declarations import Batch, Loss
from unigen_edu.errors import UnigenError
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.conditional import SemiSupervisedWorld
from unigen_edu.exact.conditional_networks import (
    ConditionalTableDecoder,
    ConditionalTableEncoder,
    TableClassifier,
)
from unigen_edu.exact.networks import TableDecoder, TableEncoder
from unigen_edu.models.svae import SVAE
from unigen_edu.models.vae import VAE

SEEDS = (0, 1, 2)
TOLERANCE = 1e-10
ALPHA, RHO = 0.7, 0.4


def tables(world: SemiSupervisedWorld, alpha: float = ALPHA) -> tuple[SVAE, Batch]:
    n_c, n_x = world.p_lab.shape
    model = SVAE(shape=(2,), likelihood="gaussian", latent=1, classes=n_c, alpha=alpha, rho=RHO)
    model.encoder = ConditionalTableEncoder(world.eta0, world.p_z)
    model.decoder = ConditionalTableDecoder(world.theta0)
    model.classifier = TableClassifier(world.psi0)
    label = torch.arange(n_c).repeat_interleave(n_x)
    other = Batch(torch.arange(n_x).repeat(n_c), label, world.p_lab.flatten())
    return model, Batch(torch.arange(n_x), weight=world.p_data, other=other)


def gradients(model: SVAE, batch: Batch) -> tuple[Loss, Tensor, Tensor, Tensor]:
    """The loss, and its gradients in theta, eta and psi."""
    loss = model.loss("variational", batch)
    parts = (model.decoder, model.encoder, model.classifier)
    moved = [p for part in parts for p in part.parameters()]
    return loss, *torch.autograd.grad(loss.value, moved)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_phase_reduces_three_divergences(seed):
    world = SemiSupervisedWorld.random(seed)
    loss, theta, eta, psi = gradients(*tables(world))
    assert gap(loss.value, world.m2(ALPHA, RHO)) < TOLERANCE

    def reduced(**moved: Tensor) -> Tensor:
        return world.unlabelled_kl(**moved) + world.labelled_kl(ALPHA, RHO, **moved)

    assert gap(theta, gradient(lambda t: reduced(theta=t), world.theta0)) < TOLERANCE
    assert gap(eta, gradient(lambda e: reduced(eta=e), world.eta0)) < TOLERANCE
    assert gap(psi, gradient(lambda p: reduced(psi=p), world.psi0)) < TOLERANCE
    # All three are needed.
    assert gap(theta, gradient(lambda t: world.unlabelled_kl(theta=t), world.theta0)) > 1e-4
    assert gap(psi, gradient(lambda p: world.unlabelled_kl(psi=p), world.psi0)) > 1e-4
    # The constant between the two: entropies of the data and of the labels.
    p_lab_x = world.p_lab.sum(0)
    entropy_of_labels = -(world.p_lab * (world.p_lab / p_lab_x).log()).sum()
    constant = (
        -(world.p_data * world.p_data.log()).sum()
        - RHO * (world.p_lab * world.p_lab.log()).sum()
        + ALPHA * entropy_of_labels
    )
    assert gap(loss.value, reduced() + constant) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_the_unlabelled_bound(seed):
    world = SemiSupervisedWorld.random(seed)
    model, batch = tables(world)
    elbo = model.elbo(batch.x)
    assert gap(elbo, world.unlabelled_bound()) < TOLERANCE
    assert gap(world.p_x().log() - elbo, world.slack()) < TOLERANCE
    assert (elbo <= world.p_x().log()).all()
    assert (world.slack() > 1e-3).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_bound_is_the_evidence_at_the_true_posteriors(seed):
    world = SemiSupervisedWorld.random(seed)
    exact = dataclasses.replace(
        world, eta0=world.p_z_given_xc().log(), psi0=world.p_c_given_x().log()
    )
    model, batch = tables(exact)
    assert gap(model.elbo(batch.x), exact.p_x().log()) < TOLERANCE
    pairs = torch.stack([model.pair_bound(batch.x, torch.full_like(batch.x, c)) for c in range(3)])
    assert gap(pairs, exact.p_xc().log()) < TOLERANCE
    assert gap(model.pair_bounds(batch.x), exact.p_xc().log()) < TOLERANCE
    # With the true q(z|x, c) the best classifier is the posterior of the class, and no other.
    only_codes = dataclasses.replace(world, eta0=world.p_z_given_xc().log())
    at_posterior = gradient(
        lambda psi: only_codes.p_data @ only_codes.unlabelled_bound(psi=psi),
        world.p_c_given_x().log(),
    )
    assert at_posterior.abs().max() < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_all_classes_at_once_are_the_classes_one_by_one(seed):
    world = SemiSupervisedWorld.random(seed)
    model, batch = tables(world)
    one_by_one = [model.pair_bound(batch.x, torch.full_like(batch.x, c)) for c in range(3)]
    assert gap(model.pair_bounds(batch.x), torch.stack(one_by_one)) < TOLERANCE
    assert gap(model.pair_bounds(batch.x), world.pair_bound()) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("c", [0, 1, 2])
def test_the_weights_of_one_class_have_the_mean_p_of_x_given_c(seed, c):
    world = SemiSupervisedWorld.random(seed)
    model, batch = tables(world)
    label = torch.full_like(batch.x, c)
    weight = model.encoder(batch.x, label).sample().weight  # (Z, X)
    mean = (weight * model.log_weights(batch.x, 1, label).exp()).sum(0)
    assert gap(mean, 3 * world.p_xc()[c]) < TOLERANCE  # p(c) = 1/3


@pytest.mark.parametrize("seed", SEEDS)
def test_the_class_is_summed_out_of_the_weights(seed):
    """A row of the table is one draw for each class: here, the same code for all of them."""
    world = SemiSupervisedWorld.random(seed)
    model, batch = tables(world)
    log_w = model.log_weights(batch.x, 1)  # (Z, X), after the sum over classes
    ratio = world.p_xzc() / world.q_z()  # (C, X, Z)
    assert gap(log_w, ratio.sum(0).log().T) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_without_alpha_labels_teach_the_classifier_nothing(seed):
    world = SemiSupervisedWorld.random(seed)
    model, batch = tables(world, alpha=0.0)
    _, _, _, psi = gradients(model, batch)
    alone = gradient(lambda p: -world.p_data @ world.unlabelled_bound(psi=p), world.psi0)
    assert gap(psi, alone) < TOLERANCE
    _, _, _, psi = gradients(*tables(world))
    assert gap(psi, alone) > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mistake", ["no entropy", "no prior", "mean over classes"])
def test_near_misses_are_told_apart(seed, mistake):
    world = SemiSupervisedWorld.random(seed)
    model, batch = tables(world)
    pairs, q = model.pair_bounds(batch.x), world.q_c().T
    wrong = {
        "no entropy": (q * pairs).sum(0),
        "no prior": (q * (pairs + math.log(3) - q.log())).sum(0),
        "mean over classes": (q * (pairs - q.log())).mean(0),
    }[mistake]
    assert gap(model.elbo(batch.x), wrong) > 1e-3
    if mistake == "no prior":  # of all mistakes this one leaves every gradient right
        assert gap(model.elbo(batch.x) + math.log(3), wrong) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_with_one_class_the_unlabelled_part_is_the_vae(seed):
    world = SemiSupervisedWorld.random(seed, n_c=1)
    model, batch = tables(world)
    vae = VAE(shape=(2,), likelihood="gaussian", latent=1)
    vae.encoder = TableEncoder(world.eta0[0], world.p_z)
    vae.decoder = TableDecoder(world.theta0[0])
    assert gap(model.elbo(batch.x), vae.elbo(batch.x)) < TOLERANCE
    loss, theta, eta, psi = gradients(model, batch)
    both = Batch(batch.x, weight=world.p_data + RHO * world.p_lab[0])  # labelled ones too
    wanted = vae.loss("variational", both)
    moved = [*vae.decoder.parameters(), *vae.encoder.parameters()]
    right = torch.autograd.grad(wanted.value, moved)
    assert gap(loss.value, wanted.value) < TOLERANCE
    assert gap(theta[0], right[0]) < TOLERANCE
    assert gap(eta[0], right[1]) < TOLERANCE
    assert psi.abs().max() < TOLERANCE


def test_tables_that_do_not_fit_are_one_sentence():
    world = SemiSupervisedWorld.random(0)
    with pytest.raises(UnigenError, match=r"eta0 must be a float64 table of shape \(3, 5, 2\)"):
        dataclasses.replace(world, eta0=world.eta0[:, :3])
    with pytest.raises(UnigenError, match="needs a label"):
        ConditionalTableDecoder(world.theta0).log_prob(torch.tensor([0]), torch.tensor([0]))
