"""Stand-ins for the networks of a VAE: groups of codes, an adversary who is told, quadrature."""

import math

import pytest
import torch
from torch.distributions import Normal

from unigen_edu.errors import UnigenError
from unigen_edu.exact.checks import gap
from unigen_edu.exact.continuous import GaussianIWAEWorld
from unigen_edu.exact.networks import TableEncoder
from unigen_edu.exact.tables import table
from unigen_edu.exact.vae import VAEWorld
from unigen_edu.exact.vae_networks import (
    GroupedTableEncoder,
    Provenance,
    QuadratureEncoder,
    QuadratureNormal,
    SineDecoder,
)


def test_groups_of_one_have_an_axis_for_the_one():
    world = VAEWorld.random(0, n_x=4, n_z=3)
    x = torch.tensor([2, 0])
    single = TableEncoder(world.eta0, world.p_z_given_y[0])(x)
    grouped = GroupedTableEncoder(world.eta0, world.p_z_given_y[0])(x)
    value, weight = grouped.sample(1)
    assert value.shape == (1, 3, 2)
    assert torch.equal(value[0], single.sample(1).value)
    assert gap(weight, single.sample(1).weight) <= 1e-10, "weights"
    value, weight = grouped.sample(2)
    assert value.shape == (2, 9, 2)
    assert weight.shape == (9, 2)
    assert gap(grouped.kl_q_p_by_coordinate(), single.kl_q_p()[:, None]) <= 1e-10, (
        "a table is one coordinate"
    )


def test_who_is_told_is_sure():
    logits = Provenance()(torch.zeros(6, 2))
    assert torch.sigmoid(logits).tolist() == [1, 1, 1, 0, 0, 0]
    with pytest.raises(UnigenError, match="5 images have no two halves"):
        Provenance()(torch.zeros(5))


def test_the_quadrature_is_that_of_a_normal():
    world = GaussianIWAEWorld.example()
    q = QuadratureEncoder(world)(torch.zeros(2, 1, dtype=torch.float64))
    assert isinstance(q, QuadratureNormal)
    value, weight = q.sample(2)
    assert value.shape == (2, world.nodes**2, 2, 1)
    assert weight.shape == (world.nodes**2, 1)
    mean = (weight[:, :, None] * value[0]).sum(0)
    variance = (weight[:, :, None] * (value[1] - mean).square()).sum(0)
    assert gap(mean, world.eta0[0].expand(2, 1)) <= 1e-10, "mean"
    assert gap(variance, (2 * world.eta0[1]).exp().expand(2, 1)) <= 1e-10, "variance"
    covariance = (weight[:, :, None] * (value[0] - mean) * (value[1] - mean)).sum(0)
    assert gap(covariance, torch.zeros(2, 1).double()) <= 1e-10, (
        "the codes of a group are independent"
    )
    with pytest.raises(UnigenError, match="one latent coordinate, not 2"):
        QuadratureNormal(torch.zeros(1, 2), torch.zeros(1, 2), nodes=3)


def test_the_sine_decoder_by_torch_distributions():
    world = GaussianIWAEWorld.example()
    z = table([[[0.3]], [[-1.2]]])
    found = SineDecoder(world).log_prob(world.x.reshape(1, 1), z)
    for row, code in zip(found, (0.3, -1.2), strict=True):
        normal = Normal(table(0.8 * code + 0.5 * math.sin(code)), table(0.7))
        assert gap(row, normal.log_prob(world.x).reshape(1)) <= 1e-10, "log p(x|z)"
