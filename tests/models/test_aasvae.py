"""The adversary activated M2: which pool has which samples, judge and cost."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unigen_edu import models
from unigen_edu.data import Dataset
from unigen_edu.declarations import Batch
from unigen_edu.errors import UnigenError
from unigen_edu.models.aasvae import AASVAE
from unigen_edu.training import fit

CLASSES = 3


@pytest.fixture
def batch(digits) -> Batch:
    x = digits.images()
    return Batch(x[:12], other=Batch(x[12:], torch.arange(9) % CLASSES))


@pytest.fixture
def model(small) -> AASVAE:
    made = small("aasvae", classes=CLASSES, alpha=2.0, rho=0.7)
    assert isinstance(made, AASVAE)
    return made


def test_samples_have_labels_where_the_data_have(model, batch):
    images = model.generated(model.images(batch))
    assert images.label is None
    assert images.x.shape == (12, 1, 4, 4)
    pairs = model.generated(batch.other)
    assert torch.equal(pairs.label, batch.other.label)
    assert pairs.x.shape == (9, 1, 4, 4)
    assert not images.x.requires_grad


def test_samples_without_a_label_are_of_every_class(model, batch):
    asked: list[Tensor] = []
    draw = model.decoder.sample

    def sample(z: Tensor, label: Tensor) -> Tensor:
        asked.append(label)
        return draw(z, label)

    model.decoder.sample = sample
    torch.manual_seed(0)
    model.dreams(Batch(torch.zeros(3000, 1, 4, 4)))
    share = torch.bincount(asked[0], minlength=CLASSES) / 3000
    assert share.shape == (CLASSES,)
    assert (share - 1 / CLASSES).abs().max() < 4 * (2 / 9 / 3000) ** 0.5
    model.dreams(batch.other)
    assert torch.equal(asked[1], batch.other.label)


def test_the_judges_and_the_costs(model, batch):
    images, pairs = Batch(batch.x), batch.other
    assert torch.equal(model.judge(images), model.discriminator(batch.x))
    assert torch.equal(model.judge(pairs), model.pair_discriminator(pairs.x, pairs.label))
    torch.manual_seed(0)
    cost = model.negative_elbo(images)
    torch.manual_seed(0)
    assert torch.equal(cost, -model.elbo(batch.x))
    torch.manual_seed(0)
    cost = model.negative_elbo(pairs)
    torch.manual_seed(0)
    bound = model.pair_bound(pairs.x, pairs.label)
    log_q = model.classify(pairs.x)[torch.arange(9), pairs.label]
    assert torch.allclose(cost, -0.7 * bound - 2.0 * log_q, rtol=1e-5)


def test_the_losses_are_sums_over_the_two_pools(model, batch):
    loss = model.loss("discriminator", batch)
    total = torch.zeros(())
    for pool in (model.images(batch), batch.other):
        data, generated = model.observed(pool), model.generated(pool)
        d_data, d_g = (torch.sigmoid(model.judge(p)) for p in (data, generated))
        total = total - 0.5 * (d_data.log().mean() + (1 - d_g).log().mean())
    assert torch.allclose(loss.value, total, atol=1e-5)

    model.negative_elbo = lambda pool: torch.arange(float(len(pool)))
    loss = model.loss("variational", batch)
    total = torch.zeros(())
    for pool in (model.images(batch), batch.other):
        data, generated = model.observed(pool), model.generated(pool)
        weight = torch.sigmoid(torch.cat([model.judge(p) for p in (data, generated)]))
        n = len(pool)
        cost = torch.arange(2.0 * n)
        total = total + 0.5 * ((weight * cost)[:n].mean() + (weight * cost)[n:].mean())
    assert torch.allclose(loss.value, total, rtol=1e-5)
    assert set(loss.terms) == {
        "loss",
        "weight of data",
        "weight of samples",
        "loss (pairs)",
        "weight of data (pairs)",
        "weight of samples (pairs)",
    }
    assert torch.equal(loss.terms["loss"], loss.value)


def test_each_phase_moves_its_own_networks_only(model, batch):
    judges = [*model.discriminator.parameters(), *model.pair_discriminator.parameters()]
    rest = [
        *model.encoder.parameters(), *model.decoder.parameters(), *model.classifier.parameters()
    ]  # fmt: skip
    for phase, mine, others in (
        ("discriminator", judges, rest),
        ("variational", rest, judges),
    ):
        loss = model.loss(phase, batch).value
        found = torch.autograd.grad(loss, others, allow_unused=True, retain_graph=True)
        assert found == (None,) * len(others)
        for gradient in torch.autograd.grad(loss, mine):
            assert gradient.isfinite().all()


def test_training_needs_labelled_images_beside_the_others(digits, small):
    with pytest.raises(UnigenError, match="'aasvae' needs some labelled images"):
        fit(small("aasvae"), digits, steps=1, batch_size=4, progress=False)
    with pytest.raises(UnigenError, match=r"needs labelled images in batch.other"):
        small("aasvae").loss("discriminator", Batch(digits.images()))
    known = Dataset(digits.x[:6], torch.arange(6) % CLASSES)
    data = Dataset(digits.x, digits.labels, name="part", other=known)
    model = small("aasvae", classes=CLASSES)
    fit(model, data, steps=2, batch_size=8, device="cpu", progress=False)
    assert set(model.own_metrics(Dataset(digits.x, digits.labels))) == {"test_error"}


def test_options():
    assert models.get("aasvae").is_game()
    assert not models.get("svae").is_game()
    assert models.options("aasvae") == models.options("svae") | {"weights": "each"}
    with pytest.raises(UnigenError, match="alpha is -1"):
        models.create("aasvae", alpha=-1)
