"""M2: sums over classes against torch.distributions, bounds by brute force, and its classifier."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from unigen_edu import metrics, models
from unigen_edu.data import Dataset
from unigen_edu.declarations import Batch
from unigen_edu.errors import UnigenError
from unigen_edu.models.svae import SVAE
from unigen_edu.training import fit

CLASSES = 3


@pytest.fixture
def model(small) -> SVAE:
    made = small("svae", classes=CLASSES, alpha=2.0, rho=0.7)
    assert isinstance(made, SVAE)
    return made.double()


@pytest.fixture
def batch(digits) -> Batch:
    x = digits.images().double()
    return Batch(x[:12], other=Batch(x[12:], torch.arange(9) % CLASSES))


@pytest.fixture
def fixed_noise(monkeypatch):
    """Every code is the mean of its posterior, so that two computations can be compared."""
    from unigen_edu.declarations import Sample
    from unigen_edu.densities import DiagonalNormal

    def sample(self: DiagonalNormal, k: int = 1) -> Sample:
        return Sample(self.mean.expand(k, *self.mean.shape))

    monkeypatch.setattr(DiagonalNormal, "sample", sample)


def test_the_unlabelled_bound_is_the_sum_over_classes(model, batch, fixed_noise):
    x = batch.x
    law = Categorical(logits=model.classifier(x))
    total = law.entropy()
    for c in range(CLASSES):
        label = torch.full((len(x),), c)
        log_likelihood, kl_q_p = model.elbo_terms(x, label)
        pair = log_likelihood - kl_q_p - log(CLASSES)
        assert torch.allclose(model.pair_bounds(x)[c], pair, atol=1e-10, rtol=0)
        total = total + law.probs[:, c] * pair
    assert torch.allclose(model.elbo(x), total, atol=1e-10, rtol=0)


def test_the_loss_is_the_sum_of_its_three_parts(model, batch, fixed_noise):
    loss = model.loss("variational", batch)
    other = batch.other
    law = Categorical(logits=model.classifier(other.x))
    cross_entropy = -law.log_prob(other.label).mean()
    pairs = -(model.elbo(other.x, other.label) - log(CLASSES)).mean()
    unlabelled = -model.elbo(batch.x).mean()
    wanted = unlabelled + 0.7 * pairs + 2.0 * cross_entropy
    assert torch.allclose(loss.value, wanted, atol=1e-10)
    for name, value in (("U", unlabelled), ("L", pairs), ("-log q(c|x)", cross_entropy)):
        assert torch.allclose(loss.terms[name], value, atol=1e-10)


def test_a_certain_classifier_gives_the_bound_of_its_class(model, batch, fixed_noise):
    x = batch.x
    model.classifier.body[-1].weight.data.zero_()
    model.classifier.body[-1].bias.data = torch.tensor([0.0, 500.0, 0.0], dtype=torch.float64)
    wanted = model.elbo(x, torch.ones(len(x), dtype=torch.int64)) - log(CLASSES)
    elbo = model.elbo(x)
    assert torch.allclose(elbo, wanted, atol=1e-10)
    gradients = torch.autograd.grad(elbo.sum(), list(model.parameters()), allow_unused=True)
    assert all(g is None or g.isfinite().all() for g in gradients)


def linear_world() -> tuple[SVAE, MixtureSameFamily]:
    """p(x) is a mixture of Gaussians with one code, and every posterior is in the family."""
    torch.manual_seed(0)
    d, sigma_2 = 3, 0.4
    w = torch.randn(d, 1, dtype=torch.float64)
    mu = 2 * torch.randn(CLASSES, d, dtype=torch.float64)
    model = SVAE(shape=(d,), latent=1, likelihood="gaussian", classes=CLASSES).double()

    class Exact(nn.Module):
        def __init__(self, weight, bias):
            super().__init__()
            self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

        def forward(self, x):
            return x @ self.weight.T + self.bias

    zeros = torch.zeros(d, dtype=torch.float64)
    model.decoder.body = Exact(torch.cat([w, mu.T], 1), zeros)
    model.decoder.log_var.data.fill_(log(sigma_2))
    m = (w.T @ w).squeeze() + sigma_2
    rows = torch.stack([w[:, 0] / m, zeros])
    bias = torch.stack([torch.stack([-mu[c] @ w[:, 0] / m, (sigma_2 / m).log()]) for c in range(3)])
    model.encoder.body = Exact(rows.repeat(CLASSES, 1), bias.flatten())
    covariance = (w @ w.T + sigma_2 * torch.eye(d, dtype=torch.float64)).expand(CLASSES, d, d)
    even = Categorical(torch.ones(CLASSES, dtype=torch.float64))
    parts = MultivariateNormal(mu, covariance)

    class Posterior(nn.Module):
        def forward(self, x):
            return parts.log_prob(x[:, None])

    model.classifier.body = Posterior()
    return model, MixtureSameFamily(even, parts)


def test_with_exact_posteriors_every_draw_gives_the_evidence():
    model, law = linear_world()
    x = law.sample((50,))
    # A draw of log p(x,z,c)/q(z|x,c) is exact; the KL in closed form leaves noise in the bound.
    assert torch.allclose(model.log_weights(x, 4), law.log_prob(x).expand(4, 50), atol=1e-10)
    torch.manual_seed(0)
    with torch.no_grad():
        bound = model.elbo(x.repeat(3000, 1)).reshape(3000, 50)
    error = bound.mean(0) - law.log_prob(x)
    assert (error.abs() < 5 * bound.std(0) / 3000**0.5 + 1e-12).all()
    assert model.elbo(x).shape == (50,)


def test_with_a_poor_classifier_the_bound_falls_and_the_weights_do_not():
    model, law = linear_world()
    x = law.sample((50,))
    right = Categorical(logits=model.classifier(x))
    model.classifier.body = nn.Linear(3, CLASSES).double()
    with torch.no_grad():
        model.classifier.body.weight.zero_()
        model.classifier.body.bias.zero_()
        assert torch.allclose(model.log_weights(x, 2), law.log_prob(x).expand(2, 50), atol=1e-10)
        bound = model.elbo(x.repeat(3000, 1)).reshape(3000, 50).mean(0)
    even = torch.full_like(right.probs, 1 / CLASSES)
    slack = (even * (even / right.probs).log()).sum(1)
    assert torch.allclose(law.log_prob(x) - bound, slack, atol=0.15)


def test_labelled_images_teach_the_classifier_through_alpha_only(model, batch):
    options = {"shape": (1, 4, 4), "latent": 3, "classes": CLASSES, "rho": 0.7}
    silent = models.create("svae", alpha=0.0, **options).double()
    silent.load_state_dict(model.state_dict())
    found = []
    for each in (model, silent):
        torch.manual_seed(0)
        loss = each.loss("variational", batch)
        moved = list(each.classifier.parameters())
        found.append(torch.autograd.grad(loss.value, moved))
    cross_entropy = model.cross_entropy(batch.other.x, batch.other.label).mean()
    taught = torch.autograd.grad(cross_entropy, list(model.classifier.parameters()))
    for with_alpha, without, lesson in zip(*found, taught, strict=True):
        assert torch.allclose(with_alpha - without, 2.0 * lesson, atol=1e-9)
        assert lesson.abs().max() > 0


def test_it_learns_to_tell_two_blobs_apart_from_two_labels():
    """One label per blob; a thousand points without. Supervision alone cuts in the wrong place."""
    torch.manual_seed(0)
    label = torch.arange(1000) % 2
    centre = torch.tensor([[-2.0, 0.0], [2.0, 0.0]])
    x = centre[label] + 0.5 * torch.randn(1000, 2)
    known = Dataset(torch.tensor([[-1.8, 1.0], [0.9, -1.0]]), torch.tensor([0, 1]), num_classes=2)
    data = Dataset(x, name="blobs", num_classes=2, other=known)
    model = models.create("svae", shape=(2,), latent=1, likelihood="gaussian", classes=2, alpha=5.0)
    fit(model, data, steps=100, batch_size=100, lr=1e-2, device="cpu", progress=False)
    found = model.own_metrics(Dataset(x, label))
    assert found["test_error"] < 0.01


def test_own_metrics_count_wrong_classes(model, digits):
    labels = torch.arange(21) % CLASSES
    guess = model.classify(digits.images().double()).argmax(1)
    model.float()
    found = model.own_metrics(Dataset(digits.x, labels))
    assert found == {"test_error": pytest.approx((guess != labels).double().mean().item())}
    assert model.own_metrics(Dataset(digits.x)) == {}
    assert torch.allclose(model.classify(digits.images()).exp().sum(1), torch.ones(21))


def test_metrics_take_the_bound_on_p_of_x(digits, small):
    model = small("svae", classes=CLASSES)
    below = metrics.elbo(model, digits, seed=0).value
    tighter = metrics.iwae_bound(model, digits, 20, seed=0).value
    assert tighter > below


def test_samples_have_the_labels_asked_for(small):
    model = small("svae", classes=3)
    torch.manual_seed(0)
    x = model.sample(6)
    torch.manual_seed(0)
    assert torch.equal(model.sample(6, torch.arange(6) % 3), x)


def test_bad_input_is_one_sentence(digits, small):
    with pytest.raises(UnigenError, match=r"needs some labelled images .* try 'mnist-mini\+100'"):
        fit(small("svae"), digits, steps=1, batch_size=4, progress=False)
    for batch in (Batch(digits.images()), Batch(digits.images(), other=Batch(digits.images()))):
        with pytest.raises(UnigenError, match=r"needs labelled images in batch\.other"):
            small("svae").loss("variational", batch)
    known = Dataset(digits.x, digits.labels, name="known")
    data = Dataset(digits.x, name="part", other=known)
    with pytest.raises(UnigenError, match="'known' has labels from 0 to 20"):
        fit(small("svae"), data, steps=1, batch_size=4, progress=False)
    for alpha in (-1.0, float("nan"), 1e7, "much", True):
        with pytest.raises(UnigenError, match="alpha is ") as caught:
            models.create("svae", alpha=alpha)
        assert str(caught.value).endswith("give a number from 0 to 1e+06.")
    with pytest.raises(UnigenError, match=r"rho is -0\.1"):
        models.create("svae", rho=-0.1)
    with pytest.raises(UnigenError, match="k is 0"):
        small("svae").log_weights(digits.images(), 0)
