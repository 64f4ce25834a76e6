"""Draws may come from elsewhere: a share of the batch, or a list; by default they are torch's."""

from __future__ import annotations

import torch

from unigen_edu import noise

LIKE = torch.zeros((), dtype=torch.float64)


def seeded(draw):
    torch.manual_seed(4)
    return draw()


def test_by_default_the_draws_are_those_of_torch():
    found = seeded(lambda: noise.normal(3, 2, like=LIKE))
    assert torch.equal(found, seeded(lambda: torch.randn(3, 2, dtype=torch.float64)))
    found = seeded(lambda: noise.uniform(5, like=LIKE.float()))
    assert torch.equal(found, seeded(lambda: torch.rand(5)))


def test_the_shares_of_two_processes_are_the_draws_of_one():
    whole = seeded(lambda: noise.normal(3, 8, 2, like=LIKE, batch_dim=1))
    parts = []
    for rank in (0, 1):
        with noise.drawn_by(noise.Share(rank, 2)):
            parts.append(seeded(lambda: noise.normal(3, 4, 2, like=LIKE, batch_dim=1)))
    assert torch.equal(torch.cat(parts, 1), whole)


def test_after_their_share_all_processes_stand_at_the_same_point_of_the_stream():
    ends = []
    for rank in (0, 1):
        with noise.drawn_by(noise.Share(rank, 2)):
            seeded(lambda: noise.uniform(6, like=LIKE))
            ends.append(torch.rand(()))
    assert ends[0] == ends[1]


def test_what_was_recorded_can_be_drawn_again_and_replayed():
    source = noise.Recorded()
    with noise.drawn_by(source):
        first = seeded(lambda: (noise.normal(2, like=LIKE), noise.uniform(3, like=LIKE)))
    generator = torch.Generator().manual_seed(4)
    again = [request.draw(generator) for request in source.requests]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    with noise.drawn_by(noise.Replayed(again)):
        assert noise.normal(2, like=LIKE) is again[0]
        assert noise.uniform(3, like=LIKE) is again[1]


def test_the_source_of_before_comes_back_after_an_error():
    try:
        with noise.drawn_by(noise.Replayed([])):
            noise.normal(2, like=LIKE)
    except IndexError:
        pass
    assert noise.normal(2, like=LIKE).shape == (2,)


def test_bernoulli_has_its_probability_and_no_gradient():
    p = torch.tensor([0.0, 0.2, 1.0]).repeat(20_000, 1).requires_grad_()
    torch.manual_seed(0)
    found = noise.bernoulli(p)
    assert not found.requires_grad
    assert set(found.unique().tolist()) == {0.0, 1.0}
    mean = found.mean(0)
    assert (mean[0], mean[2]) == (0.0, 1.0)
    assert abs(mean[1] - 0.2) < 4 * (0.16 / 20_000) ** 0.5


def test_pools_that_stand_together_are_split_one_by_one():
    with noise.pools(2):
        whole = seeded(lambda: noise.normal(3, 8, like=LIKE, batch_dim=1))
    parts = []
    for rank in (0, 1):
        with noise.drawn_by(noise.Share(rank, 2)), noise.pools(2):
            parts.append(seeded(lambda: noise.normal(3, 4, like=LIKE, batch_dim=1)))
    first = torch.cat([part[:, :2] for part in parts], 1)
    second = torch.cat([part[:, 2:] for part in parts], 1)
    assert torch.equal(torch.cat([first, second], 1), whole)
