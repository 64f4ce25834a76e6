"""The adversary activated conditional VAE: what its pools carry, and its weights by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unigen_edu import metrics, models, noise
from unigen_edu.data import Dataset
from unigen_edu.declarations import Batch
from unigen_edu.errors import UnigenError
from unigen_edu.models.aacvae import AACVAE
from unigen_edu.models.cvae import CVAE
from unigen_edu.training import fit


@pytest.fixture
def batch(digits) -> Batch:
    return Batch(digits.images(), digits.labels)


@pytest.fixture
def model(small) -> AACVAE:
    made = small("aacvae", classes=21)
    assert isinstance(made, AACVAE)
    return made


class Known(nn.Module):
    """a(x, c) given as a table of the label, whatever x is."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = logits

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        return self.logits[label]


def test_samples_have_the_labels_of_the_data_and_are_zeros_and_ones(model, batch):
    generated = model.generated(batch)
    assert torch.equal(generated.label, batch.label)
    assert generated.x.shape == batch.x.shape
    assert set(generated.x.unique().tolist()) == {0.0, 1.0}
    assert not generated.x.requires_grad
    assert model.generated(batch) is generated  # one draw serves both phases


def test_samples_are_made_with_their_label(small, batch):
    model = small("aacvae", classes=21)
    model.decoder.body[0].weight.data.zero_()  # no code, and below: the label sets every pixel
    for layer in model.decoder.body:
        if isinstance(layer, nn.Linear):
            layer.bias.data.zero_()
    first, *_, last = (layer for layer in model.decoder.body if isinstance(layer, nn.Linear))
    first.weight.data[:, 3 + 5] = 1.0
    last.weight.data.fill_(100.0)
    for layer in list(model.decoder.body)[1:-2]:
        if isinstance(layer, nn.Linear):
            layer.weight.data.fill_(0.1)
    x = model.dreams(batch).x.flatten(1)
    assert (x[5] == 1).all()  # class 5
    assert 0.3 < x[torch.arange(21) != 5].mean() < 0.7  # undecided


def test_the_losses_by_hand(model, batch):
    logits = torch.linspace(-2, 2, 21)
    model.discriminator = Known(logits)
    d = torch.sigmoid(logits)
    loss = model.loss("discriminator", batch)
    wanted = -0.5 * (d.log().mean() + (1 - d).log().mean())
    assert torch.allclose(loss.value, wanted, atol=1e-6)
    assert loss.terms["D(data)"] == pytest.approx(d.mean().item(), rel=1e-5)

    cost = torch.arange(42.0)
    model.negative_elbo = lambda pool: cost
    loss = model.loss("variational", batch)
    wanted = 0.5 * (d * cost[:21]).mean() + 0.5 * (d * cost[21:]).mean()
    assert torch.allclose(loss.value, wanted, atol=1e-4)


def test_a_judge_that_is_told_leaves_half_of_the_conditional_vae(model, batch):
    def judge(pool: Batch) -> Tensor:
        return torch.cat([torch.full((21,), torch.inf), torch.full((21,), -torch.inf)])

    model.judge = judge
    data, generated = model.observed(batch), model.generated(batch)
    torch.manual_seed(0)
    loss = model.loss("variational", batch)
    torch.manual_seed(0)
    both = torch.cat([data.x, generated.x]), torch.cat([data.label, generated.label])
    with noise.pools(2):
        elbo = CVAE.elbo(model, *both)[:21]
    assert torch.allclose(loss.value, -0.5 * elbo.mean(), rtol=1e-5)


def test_each_phase_moves_its_own_networks_only(model, batch):
    loss = model.loss("discriminator", batch).value
    rest = [*model.encoder.parameters(), *model.decoder.parameters()]
    found = torch.autograd.grad(loss, rest, allow_unused=True)
    assert found == (None,) * len(rest)
    loss = model.loss("variational", batch).value
    judge = list(model.discriminator.parameters())
    assert torch.autograd.grad(loss, judge, allow_unused=True, retain_graph=True) == (None,) * len(
        judge
    )
    for gradient in torch.autograd.grad(loss, rest):
        assert gradient.isfinite().all()


def test_it_is_a_conditional_vae_to_the_metrics(model, digits):
    assert models.get("aacvae").is_game()
    found = metrics.elbo(model, digits, seed=0).value
    assert metrics.iwae_bound(model, digits, 5, seed=0).value > found - 1
    assert model.sample(5).shape == (5, 1, 4, 4)


def test_training_needs_labels(digits, small):
    with pytest.raises(UnigenError, match="'aacvae' needs labels"):
        fit(small("aacvae"), Dataset(digits.x), steps=1, batch_size=4, progress=False)
    with pytest.raises(UnigenError, match="no label was given"):
        small("aacvae").loss("discriminator", Batch(digits.images()))
    history = fit(
        small("aacvae", classes=21), digits, steps=2, batch_size=4, device="cpu", progress=False
    )
    assert "variational/weight of samples" in history.terms
