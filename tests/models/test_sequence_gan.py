"""The GAN of sequences: its score-function gradient against a delta rule written by hand."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch import Tensor, nn

from unigen_edu import models
from unigen_edu.declarations import Batch, Sample
from unigen_edu.errors import UnigenError
from unigen_edu.models.sequence_gan import SequenceGAN, advantage

V = 3


class OneToken(nn.Module):
    """A generator of sequences of one token, p = softmax(logits), whose draws are given."""

    def __init__(self, logits: Tensor, drawn: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits)
        self.drawn = drawn

    def sample(self, n: int) -> Sample:
        assert n == len(self.drawn)
        return Sample(self.drawn)

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.distributions.Categorical(logits=self.logits).log_prob(x[:, 0])


class Costs(nn.Module):
    """a(x) of each token."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[x[:, 0]]


@pytest.fixture
def by_hand() -> SequenceGAN:
    """D(x) = 1/2, 1/4, 3/4 of the three tokens; the draws are 0, 0, 1, 2."""
    model = SequenceGAN(shape=(1,), vocabulary=V, hidden=2)
    logits = torch.tensor([0.2, -0.5, 0.9], dtype=torch.float64)
    model.generator = OneToken(logits, torch.tensor([[0], [0], [1], [2]]))
    model.discriminator = Costs(torch.tensor([0.0, -log(3.0), log(3.0)], dtype=torch.float64))
    return model


BATCH = torch.tensor([[0], [1], [1], [2]])


def test_the_discriminators_loss_by_hand(by_hand):
    loss = by_hand.loss("discriminator", Batch(BATCH))
    # data: -log D of 1/2, 1/4, 1/4, 3/4; generated: -log(1-D) of 1/2, 1/2, 1/4, 3/4
    data = log(2) + 2 * log(4) + log(4 / 3)
    generated = 2 * log(2) + log(4 / 3) + log(4)
    assert loss.value.item() == pytest.approx(0.5 * (data + generated) / 4, abs=1e-12)
    assert loss.terms["D(data)"].item() == pytest.approx(7 / 16)
    assert loss.terms["D(generated)"].item() == pytest.approx(1 / 2)


def test_the_generators_loss_and_its_delta_rule_by_hand(by_hand):
    """d/dl_v of 1/2 mean_i (c_i - b_i) log p(x_i) is 1/2 mean_i (c_i - b_i) (1[x_i = v] - p_v)."""
    loss = by_hand.loss("generator", Batch(BATCH))
    cost = [log(2), log(2), log(4), log(4 / 3)]
    assert loss.value.item() == pytest.approx(0.5 * sum(cost) / 4, abs=1e-12)
    p = by_hand.generator.logits.detach().softmax(0)
    wanted = torch.zeros(V, dtype=torch.float64)
    for i, token in enumerate([0, 0, 1, 2]):
        others = (sum(cost) - cost[i]) / 3
        drawn = torch.tensor([float(v == token) for v in range(V)], dtype=torch.float64)
        wanted += 0.5 / 4 * (cost[i] - others) * (drawn - p)
    found = torch.autograd.grad(loss.value, by_hand.generator.logits)[0]
    assert torch.allclose(found, wanted, atol=1e-14, rtol=0)
    assert wanted.abs().max() > 0.01


def test_a_constant_cost_moves_nothing(by_hand):
    by_hand.discriminator.logits.data.fill_(-7.0)
    loss = by_hand.loss("generator", Batch(BATCH)).value
    found = torch.autograd.grad(loss, by_hand.generator.logits)[0]
    assert found.abs().max() < 1e-15


def test_costs_are_finite_for_a_certain_discriminator(by_hand):
    by_hand.discriminator.logits.data = torch.tensor([-1e4, 1e4, 0.0], dtype=torch.float64)
    for phase, network in (("discriminator", "discriminator"), ("generator", "generator")):
        loss = by_hand.loss(phase, Batch(BATCH)).value
        found = torch.autograd.grad(loss, by_hand.get_submodule(network).logits)[0]
        assert loss.isfinite()
        assert found.isfinite().all()


def test_the_advantage_leaves_its_own_cost_out_of_the_baseline():
    cost = torch.tensor([1.0, 4.0, 7.0, 0.0])
    others = torch.tensor([11 / 3, 8 / 3, 5 / 3, 4.0])
    assert torch.allclose(advantage(cost), cost - others)
    assert torch.equal(advantage(cost[:1]), cost[:1])  # alone: nothing to compare with
    weight = torch.tensor([0.1, 0.2, 0.3, 0.4])
    assert torch.allclose(advantage(cost, weight), cost - 3.0)


def names(n: int) -> Tensor:
    return torch.randint(0, 4, (n, 5), generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=["score-function", "gumbel-softmax"])
def model(request) -> SequenceGAN:
    return models.create(
        "sequence-gan", shape=(5,), vocabulary=4, hidden=6, estimator=request.param
    )


def test_each_phase_moves_its_own_player_only(model):
    batch = Batch(names(9))
    loss = model.loss("discriminator", batch).value
    found = torch.autograd.grad(loss, list(model.generator.parameters()), allow_unused=True)
    assert all(g is None for g in found)
    loss = model.loss("generator", batch).value
    found = torch.autograd.grad(loss, list(model.generator.parameters()))
    assert all(g.isfinite().all() for g in found)
    assert max(float(g.abs().max()) for g in found) > 0


def test_both_estimators_report_the_same_loss(model):
    """The value is the mean cost of exact draws in both; only the gradients differ."""
    torch.manual_seed(0)
    value = model.loss("generator", Batch(names(9))).value
    torch.manual_seed(0)
    x = model.generator.sample(9).value
    cost = torch.nn.functional.softplus(-model.discriminator(x)).mean()
    assert value.item() == pytest.approx(0.5 * cost.item(), rel=1e-5)


def test_the_draws_serve_both_phases(model):
    batch = Batch(names(9))
    model.loss("discriminator", batch)
    first = model.generated(batch).value
    model.loss("generator", batch)
    assert torch.equal(model.generated(batch).value, first)
    assert first.shape == (9, 5)


def test_samples_are_tokens(model):
    torch.manual_seed(0)
    x = model.sample(50)
    assert x.shape == (50, 5)
    assert x.dtype == torch.int64
    assert set(x.unique().tolist()) == {0, 1, 2, 3}
    assert not x.requires_grad
    torch.manual_seed(0)
    assert torch.equal(model.sample(50), x)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": (1, 28, 28)}, r"not samples of shape \(1, 28, 28\)"),
        ({"vocabulary": 1}, "vocabulary is 1"),
        ({"hidden": 0}, "hidden is 0"),
        ({"estimator": "reinforce"}, "no estimator 'reinforce'; choose one of: score-function, gu"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"latent": 3}, "no option of 'sequence-gan' 'latent'"),
    ],
)
def test_bad_options_are_one_sentence(options, words):
    with pytest.raises(UnigenError, match=words) as caught:
        models.create("sequence-gan", **options)
    assert "\n" not in str(caught.value)
