"""The VAE of sequences on every sequence: its ELBO is a sum, or a quadrature over the code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from unigen_edu.declarations import Batch
from unigen_edu.densities import DiagonalNormal
from unigen_edu.exact.checks import gap
from unigen_edu.exact.continuous import normal_quadrature
from unigen_edu.exact.networks import TableEncoder
from unigen_edu.exact.sequences import CodebookDecoder, all_sequences, chain_law
from unigen_edu.exact.tables import entropy, generator_from, kl_p_q, random_distribution
from unigen_edu.exact.vae_networks import QuadratureNormal
from unigen_edu.models.sequence_vae import SequenceVAE
from unigen_edu.recurrent import Writer, one_hot

V, T, Z = 2, 3, 3
TOLERANCE = 1e-12


def derivative(value: Tensor, network: torch.nn.Module) -> Tensor:
    return parameters_to_vector(torch.autograd.grad(value, list(network.parameters())))


class World:
    """Three codes, all sequences of three bits; the encoder a table, the decoder a real writer."""

    def __init__(self, seed: int, **options: float):
        g = generator_from(seed)
        torch.manual_seed(seed)
        self.p_z = random_distribution(Z, generator=g)
        self.p_data = random_distribution(V**T, generator=g)
        self.codes = torch.randn(Z, 2, generator=g, dtype=torch.float64)
        self.model = SequenceVAE(shape=(T,), vocabulary=V, latent=2, hidden=3, **options)
        writer = self.model.decoder.double()
        for parameter in writer.parameters():
            parameter.data = torch.randn_like(parameter) * 0.8
        self.model.encoder = TableEncoder(
            torch.randn(V**T, Z, generator=g, dtype=torch.float64), self.p_z
        )
        self.model.decoder = CodebookDecoder(writer, self.codes)
        self.batch = Batch(torch.arange(V**T), weight=self.p_data)

    def p_xz(self) -> Tensor:
        """p(z) p_theta(x|z).  (X, Z)"""
        return (self.p_z[:, None] * chain_law(self.model.decoder.writer, self.codes)).T

    def q_xz(self) -> Tensor:
        """p_data(x) q_eta(z|x).  (X, Z)"""
        return self.p_data[:, None] * self.model.encoder.logits.softmax(-1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_phase_is_the_joint_kl_and_the_elbo_is_the_exact_sum(seed):
    world = World(seed)
    model, loss = world.model, world.model.loss("variational", world.batch)
    joint_kl = kl_p_q(world.q_xz().flatten(), world.p_xz().flatten())
    assert gap(loss.value, joint_kl + entropy(world.p_data)) < TOLERANCE
    for network in (model.encoder, model.decoder):
        found = derivative(model.loss("variational", world.batch).value, network)
        joint_kl = kl_p_q(world.q_xz().flatten(), world.p_xz().flatten())
        assert gap(found, derivative(joint_kl, network)) < 1e-10
        assert found.abs().max() > 1e-3
        terms = model.elbo_terms(world.batch.x)
        no_kl = -(world.p_data * terms[0]).sum()
        other = torch.autograd.grad(no_kl, list(network.parameters()))
        if network is model.encoder:
            assert gap(found, parameters_to_vector(other)) > 1e-4

    q = model.encoder.logits.softmax(-1)
    exact = (q * (world.p_xz().log() - q.log())).sum(1)
    assert gap(model.elbo(world.batch.x), exact) < TOLERANCE
    assert (exact < world.p_xz().sum(1).log()).all()


def test_beta_and_word_dropout_are_other_objectives():
    plain, cheap = World(0), World(0, beta=0.5)
    cheap.model.load_state_dict(plain.model.state_dict())
    gradients = [
        derivative(w.model.loss("variational", w.batch).value, w.model.encoder)
        for w in (plain, cheap)
    ]
    assert gap(gradients[0], gradients[1]) > 1e-4
    hidden = World(0, word_dropout=0.95)
    hidden.model.load_state_dict(plain.model.state_dict())
    losses = [w.model.loss("variational", w.batch).value for w in (plain, hidden)]
    assert gap(losses[0], losses[1]) > 1e-4
    hidden.model.eval()  # a measure of the model itself, without dropout
    assert gap(plain.model.elbo(plain.batch.x), hidden.model.elbo(plain.batch.x)) < TOLERANCE


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_writer_is_a_distribution_and_a_shifted_one_is_not(seed):
    """A decoder that is told the token it has to give does not sum to one: too good to be true."""
    torch.manual_seed(seed)
    writer = Writer(V, T, hidden=3, latent=2).double()
    for parameter in writer.parameters():
        parameter.data = torch.randn_like(parameter)
    x, c = all_sequences(V, T), torch.randn(4, 2, dtype=torch.float64)
    law = chain_law(writer, c)
    log_p = writer.log_prob(x, c[:, None].expand(4, len(x), 2))
    assert gap(log_p.exp(), law) < TOLERANCE
    assert gap(log_p.exp().sum(1), torch.ones(4, dtype=torch.float64)) < TOLERANCE

    tokens = one_hot(x, V, torch.float64)
    h, states = torch.zeros(len(x), 3, dtype=torch.float64), []
    for step in tokens.unbind(1):
        h = writer.cell(writer.cell.from_input(torch.cat([step, c[:1].expand(len(x), 2)], 1)), h)
        states.append(h)
    logits = writer.head(torch.stack(states, 1))
    shifted = (logits.log_softmax(-1) * tokens).sum((1, 2)).exp()
    assert abs(shifted.sum().item() - 1.0) > 1e-2


class WideQuadrature(torch.nn.Module):
    """The model's own encoder, its Gaussians listed on the nodes of a quadrature."""

    def __init__(self, encoder: torch.nn.Module, nodes: int):
        super().__init__()
        self.encoder, self.nodes = encoder, nodes

    def forward(self, x: Tensor) -> DiagonalNormal:
        q = self.encoder(x)
        return QuadratureNormal(q.mean, q.log_var, self.nodes)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_real_encoder_bounds_the_evidence_of_a_gaussian_code(seed):
    """p(x) = integral of N(z; 0, 1) p(x|z): by quadrature in z, and by the model's weights."""
    torch.manual_seed(seed)
    model = SequenceVAE(shape=(T,), vocabulary=V, latent=1, hidden=3).double()
    x, nodes = all_sequences(V, T), 60
    z, weight = normal_quadrature(nodes)
    evidence = weight @ chain_law(model.decoder, z[:, None])  # (X,)
    assert evidence.sum().item() == pytest.approx(1.0, abs=1e-12)

    elbo = torch.distributions.Normal(0.0, 1.0)
    model.encoder = WideQuadrature(model.encoder, nodes)
    q = model.encoder(x)
    points, share = q.sample()  # (1, nodes, X, 1), (nodes, 1)
    log_w = model.log_w(x, points[0], q)
    assert gap((share * log_w.exp()).sum(0), evidence) < 1e-7
    log_q = torch.distributions.Normal(q.mean, (0.5 * q.log_var).exp())
    kl = torch.distributions.kl_divergence(log_q, elbo).sum(1)
    likelihood = torch.stack([chain_law(model.decoder, p).diagonal() for p in points[0]])
    exact = (share * likelihood.log()).sum(0) - kl
    assert gap((share * log_w).sum(0), exact) < 1e-7
    assert (exact < evidence.log()).all()
