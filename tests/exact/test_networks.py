"""Table networks: every state once, with its probability, in the shapes the models expect."""

from itertools import product

import pytest
import torch

from unigen_edu.declarations import expect
from unigen_edu.errors import UnigenError
from unigen_edu.exact.checks import gap
from unigen_edu.exact.importance import FiniteNoiseWorld
from unigen_edu.exact.networks import (
    FiniteNoiseDiscriminator,
    FiniteNoiseGenerator,
    TableDecoder,
    TableDiscriminator,
    TableEncoder,
    TableGenerator,
)
from unigen_edu.exact.tables import kl_p_q, table
from unigen_edu.exact.vae import VAEWorld


def test_table_generator():
    generator = TableGenerator(table([0.2, 0.8]).log())
    value, weight = generator.sample(64)
    assert value.tolist() == [0, 1]
    assert gap(weight, table([0.2, 0.8])) <= 1e-10, "weights"
    value, weight = generator.sample_groups(64, 2)
    assert value.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert gap(weight, table([0.04, 0.16, 0.16, 0.64])) <= 1e-10, "group weights"
    assert weight.requires_grad


def test_table_discriminator_reads_its_table():
    discriminator = TableDiscriminator(table([3.0, 5.0, 7.0]))
    assert (
        gap(discriminator(torch.tensor([[2, 0], [1, 1]])), table([[7.0, 3.0], [5.0, 5.0]])) <= 1e-10
    ), "logits"


def test_finite_noise_networks():
    world = FiniteNoiseWorld.random(0)
    generator, discriminator = FiniteNoiseGenerator(world), FiniteNoiseDiscriminator(world)
    value, weight = generator.sample(64)
    assert gap(value, world.x()) <= 1e-10, "values"
    assert gap(discriminator(value), world.a()) <= 1e-10, "logits"
    assert value.requires_grad
    assert not weight.requires_grad
    groups, weight = generator.sample_groups(64, 2)
    assert groups.shape == (16, 2)
    assert gap(groups[1], world.x()[[0, 1]]) <= 1e-10, "first of the second group"
    assert gap(weight.reshape(4, 4), world.p_z[:, None] * world.p_z) <= 1e-10, "group weights"


@pytest.mark.parametrize("k", [1, 2])
def test_table_posterior(k):
    world = VAEWorld.random(0, n_x=4, n_z=3)
    encoder = TableEncoder(world.eta0, world.p_z_given_y[0])
    x = torch.tensor([2, 0, 2])
    q = encoder(x)
    value, weight = q.sample(k)
    assert value.shape == ((3, 3) if k == 1 else (2, 9, 3))
    assert weight.shape == (3**k, 3)
    assert gap(weight.sum(0), torch.ones(3).double()) <= 1e-10, "weights sum to one"
    rows = world.q_z_given_x()[x]
    for b in range(3):
        for i, codes in enumerate(product(range(3), repeat=k)):
            found = value[i, b].tolist() if k == 1 else value[:, i, b].tolist()
            assert found == (codes[0] if k == 1 else list(codes))
            assert gap(weight[i, b], rows[b, list(codes)].prod()) <= 1e-10, "weight"
    assert gap(q.log_prob(value).exp().reshape(k, -1, 3).prod(0), weight) <= 1e-10, "log q"
    assert gap(q.log_prior(value), world.p_z_given_y[0].log()[value]) <= 1e-10, "log p"
    assert gap(q.kl_q_p(), kl_p_q(rows, world.p_z_given_y[0].expand(3, -1))) <= 1e-10, "KL"
    if k == 1:
        mean = expect(q.log_prob(value) - q.log_prior(value), weight, dim=0)
        assert gap(q.kl_q_p(), mean) <= 1e-10, "KL as an expectation"


def test_table_decoder_reads_row_z_column_x():
    decoder = TableDecoder(table([[0.1, 0.9], [0.3, 0.7], [0.6, 0.4]]).log())
    log_p = decoder.log_prob(torch.tensor([1, 0]), torch.tensor([[0, 2], [1, 1]]))
    assert gap(log_p.exp(), table([[0.9, 0.6], [0.7, 0.3]])) <= 1e-10, "p(x|z)"


def test_a_table_of_the_wrong_rank_is_refused():
    with pytest.raises(UnigenError, match="logits must have 2 axes, not 1"):
        TableDecoder(table([1.0, 2.0]))
