"""Wake and sleep on every sequence and every cause: the gradients are those of their two KLs.

The real networks of the model run, listing what they could draw. The other side is a table: the
law of the writer multiplied up by torch's own cell, the causes by torch's own Bernoulli.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from unigen_edu.declarations import Batch, Loss
from unigen_edu.exact.checks import gap
from unigen_edu.exact.sequences import (
    ListedGenerative,
    ListedRecognition,
    all_causes,
    all_sequences,
    chain_law,
)
from unigen_edu.exact.tables import (
    entropy,
    expectation,
    generator_from,
    kl_p_q,
    normalise,
    random_distribution,
)
from unigen_edu.models.sequence_helmholtz import SequenceHelmholtz

V, T, L, HIDDEN = 2, 3, 2, 3
TOLERANCE = 1e-12


class World:
    """A model that lists, and the tables of its laws: x (X,), h (H,), joint tables (X, H)."""

    def __init__(self, seed: int):
        torch.manual_seed(seed)
        model = SequenceHelmholtz(shape=(T,), vocabulary=V, latent=L, hidden=HIDDEN)
        model.generative = ListedGenerative(V, T, HIDDEN, L, chain=True)
        model.recognition = ListedRecognition(V, HIDDEN, L)
        for parameter in model.parameters():
            parameter.data = torch.randn_like(parameter) * 0.8  # far from the start of training
        self.model = model.double()
        self.x, self.h = all_sequences(V, T), all_causes(L)
        self.p_data = random_distribution(len(self.x), generator=generator_from(seed))
        self.batch = Batch(self.x, weight=self.p_data)

    def p_xh(self) -> Tensor:
        """p_theta(x, h).  (X, H)"""
        prior = torch.distributions.Bernoulli(logits=self.model.generative.bias)
        p_h = prior.log_prob(self.h).sum(1).exp()
        return (p_h[:, None] * chain_law(self.model.generative.writer, self.h)).T

    def q_h_given_x(self) -> Tensor:
        """q_eta(h|x).  (X, H)"""
        q = torch.distributions.Bernoulli(logits=self.model.recognition(self.x).logits[:, None])
        return q.log_prob(self.h.expand(len(self.x), -1, -1)).sum(2).exp()

    def inferred(self) -> Tensor:
        return self.p_data[:, None] * self.q_h_given_x()


@pytest.fixture(params=[0, 1, 2])
def world(request) -> World:
    return World(request.param)


def derivative(value: Tensor, network: torch.nn.Module) -> Tensor:
    return parameters_to_vector(torch.autograd.grad(value, list(network.parameters())))


def phase(world: World, name: str) -> tuple[Loss, Tensor]:
    (moved,) = next(p.moves for p in world.model.phases if p.name == name)
    loss = world.model.loss(name, world.batch)
    return loss, derivative(loss.value, world.model.get_submodule(moved))


def test_the_wake_phase_is_the_kl_from_inferred_to_generated(world):
    loss, found = phase(world, "wake")
    kl = kl_p_q(world.inferred().flatten(), world.p_xh().flatten())
    assert gap(loss.value, kl + entropy(world.inferred().flatten())) < TOLERANCE
    assert gap(found, derivative(kl, world.model.generative)) < 1e-10
    assert found.abs().max() > 1e-3
    # It is not that of the posterior's KL alone: the evidence has a part in it.
    p_h_given_x = normalise(world.p_xh())
    posterior_kl = expectation(world.p_data, kl_p_q(world.q_h_given_x(), p_h_given_x))
    assert gap(found, derivative(posterior_kl, world.model.generative)) > 1e-4


def test_the_sleep_phase_is_the_kl_from_the_posterior_on_dreams(world):
    loss, found = phase(world, "sleep")
    p = world.p_xh().detach()
    p_x, posterior = p.sum(1), normalise(p)
    kl = expectation(p_x, kl_p_q(posterior, world.q_h_given_x()))
    assert gap(loss.value, kl + expectation(p_x, entropy(posterior))) < TOLERANCE
    assert gap(found, derivative(kl, world.model.recognition)) < 1e-10
    assert found.abs().max() > 1e-3
    # Neither on data, nor in the other direction (which is the ELBO's).
    on_data = expectation(world.p_data, kl_p_q(posterior, world.q_h_given_x()))
    assert gap(found, derivative(on_data, world.model.recognition)) > 1e-4
    elbo = expectation(world.p_data, kl_p_q(world.q_h_given_x(), posterior))
    assert gap(found, derivative(elbo, world.model.recognition)) > 1e-4


def test_neither_phase_reaches_the_other_network(world):
    for name, other in (("wake", "recognition"), ("sleep", "generative")):
        value = world.model.loss(name, world.batch).value
        parameters = list(world.model.get_submodule(other).parameters())
        found = torch.autograd.grad(value, parameters, allow_unused=True)
        assert found == (None,) * len(parameters)


def test_log_weights_give_the_elbo_and_the_evidence(world):
    model, x = world.model, world.x
    q, p = world.q_h_given_x(), world.p_xh()
    log_w = model.log_weights(x, 1)  # every state of the causes
    weight = q.T
    exact = (q * (p.log() - q.log())).sum(1)
    assert gap((weight * log_w).sum(0), exact) < TOLERANCE
    assert gap((weight * log_w.exp()).sum(0), p.sum(1)) < TOLERANCE
    assert (exact < p.sum(1).log() - 1e-6).all()
    bound = -kl_p_q(world.inferred().flatten(), p.flatten()) - entropy(world.p_data)
    assert gap(expectation(world.p_data, exact), bound) < TOLERANCE


def test_the_dreams_are_all_there(world):
    h, x, weight = world.model.generative.sample(5)
    assert weight is not None
    assert weight.sum().item() == pytest.approx(1.0, abs=1e-12)
    assert len(torch.cat([h, x], 1).unique(dim=0)) == 2**L * V**T
    at = (h @ torch.tensor([2.0, 1.0], dtype=h.dtype)).long() * V**T
    at = at + (x @ torch.tensor([4, 2, 1]))
    assert gap(weight, world.p_xh().T.flatten()[at]) < TOLERANCE


def test_both_phases_rest_when_the_machine_is_right():
    """A writer that ignores the causes has p(h|x) = p(h), which the recognition network can be."""
    world = World(0)
    writer, recognition = world.model.generative.writer, world.model.recognition
    writer.cell.from_input.weight.data[:, V:] = 0.0  # the columns of the code
    recognition.reader.head.weight.data.zero_()
    recognition.reader.head.bias.data.copy_(world.model.generative.bias.data)
    world.batch = Batch(world.x, weight=world.p_xh().sum(1).detach())
    for name in ("wake", "sleep"):
        _, found = phase(world, name)
        assert found.abs().max() < TOLERANCE
    # The bound is tight then, and the causes say nothing: collapse is a solution.
    assert math.isclose(
        (-world.model.log_weights(world.x, 1)[0]).mean().item(),
        -world.batch.weight.log().mean().item(),
        rel_tol=1e-12,
    )
