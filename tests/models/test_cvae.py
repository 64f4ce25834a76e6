"""The conditional VAE: per label a linear model whose evidence is known, and one class."""

from __future__ import annotations

import re
from math import log

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, MultivariateNormal, Normal, kl_divergence

from unigen_edu import metrics, models
from unigen_edu.data import Dataset
from unigen_edu.declarations import Batch
from unigen_edu.errors import UnigenError
from unigen_edu.models.cvae import CVAE
from unigen_edu.models.vae import VAE
from unigen_edu.training import fit

D, Q, CLASSES = 4, 2, 3
SIGMA_2 = 0.3
LABEL = torch.tensor([2, 0, 1, 2, 1])


class Linear(nn.Module):
    """One linear map for every class, as the heads of an encoder are."""

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + self.bias


@pytest.fixture
def world() -> dict[str, Tensor]:
    """x = W z + mu_c + noise, with orthogonal columns: the posterior is a diagonal Gaussian."""
    torch.manual_seed(0)
    w = torch.linalg.qr(torch.randn(D, Q, dtype=torch.float64)).Q * torch.tensor([1.5, 0.7])
    mu = torch.randn(CLASSES, D, dtype=torch.float64)
    x = torch.randn(len(LABEL), D, dtype=torch.float64) + mu[LABEL]
    covariance = w @ w.T + SIGMA_2 * torch.eye(D, dtype=torch.float64)
    log_p = MultivariateNormal(mu[LABEL], covariance).log_prob(x)
    return {"w": w, "mu": mu, "x": x, "log_p": log_p}


def exact_model(world: dict[str, Tensor]) -> CVAE:
    """The decoder is the truth, q(z|x, c) the posterior given c."""
    model = CVAE(shape=(D,), latent=Q, likelihood="gaussian", classes=CLASSES).double()
    w, mu = world["w"], world["mu"]
    model.decoder.body = Linear(torch.cat([w, mu.T], 1), torch.zeros(D, dtype=torch.float64))
    model.decoder.log_var.data.fill_(log(SIGMA_2))
    m = (w.T @ w).diag() + SIGMA_2
    to_mean = w.T / m[:, None]
    weight = torch.cat([torch.cat([to_mean, torch.zeros_like(to_mean)])] * CLASSES)
    bias = torch.cat([torch.cat([-to_mean @ mu[c], (SIGMA_2 / m).log()]) for c in range(CLASSES)])
    model.encoder.body = Linear(weight, bias)
    return model


def test_with_the_exact_posterior_every_draw_gives_the_evidence_given_the_class(world):
    model = exact_model(world)
    log_w = model.log_weights(world["x"], 7, LABEL)
    assert log_w.shape == (7, len(LABEL))
    assert torch.allclose(log_w, world["log_p"].expand_as(log_w), atol=1e-10, rtol=0)
    wrong = model.log_weights(world["x"], 7, (LABEL + 1) % CLASSES)
    assert (wrong - world["log_p"]).abs().min() > 1e-3


def test_the_bound_of_a_poor_encoder_is_below_the_evidence(world):
    model = exact_model(world)
    model.encoder.body.bias.data += 0.3
    torch.manual_seed(0)
    with torch.no_grad():
        x, label = world["x"].repeat(4000, 1), LABEL.repeat(4000)
        elbo = model.elbo(x, label).reshape(4000, -1).mean(0)
        q = model.encoder(world["x"], LABEL)
    assert (elbo < world["log_p"] - 0.05).all()
    posterior = exact_model(world).encoder(world["x"], LABEL)
    slack = kl_divergence(
        Normal(q.mean, (q.log_var / 2).exp()),
        Normal(posterior.mean, (posterior.log_var / 2).exp()),
    ).sum(1)
    assert torch.allclose(world["log_p"] - elbo, slack, atol=0.05)


def test_the_loss_is_minus_the_mean_elbo_with_parts_of_torch(digits, small):
    model = small("cvae", classes=21)
    x, label = digits.images(), digits.labels
    torch.manual_seed(0)
    loss = model.loss("variational", Batch(x, label))
    torch.manual_seed(0)
    q = model.encoder(x, label)
    z = q.sample().value
    pixels = Bernoulli(logits=model.decoder._raw(z, label)).log_prob(x.round())
    model_pixels = model.decoder.log_prob(x.round(), z, label)
    assert torch.allclose(pixels[0].flatten(1).sum(1), model_pixels[0], atol=1e-4)
    kl = kl_divergence(Normal(q.mean, torch.exp(q.log_var / 2)), Normal(0.0, 1.0)).sum(1).mean()
    assert loss.terms["KL(q||p)"].item() == pytest.approx(kl.item(), rel=1e-4)
    reconstruction = -model.decoder.log_prob(x, z, label)[0].mean()
    assert loss.terms["reconstruction"].item() == pytest.approx(reconstruction.item(), rel=1e-4)
    assert torch.allclose(loss.value, reconstruction + kl, rtol=1e-4)


def test_one_class_is_the_vae(digits):
    options = {"shape": (1, 4, 4), "latent": 3}
    plain, conditional = VAE(**options).double(), CVAE(classes=1, **options).double()
    state = plain.state_dict()
    first = "decoder.body.0.weight"
    state[first] = torch.cat([state[first], torch.zeros(len(state[first]), 1).double()], 1)
    conditional.load_state_dict(state)
    x = digits.images().double()
    values = []
    for model, label in ((plain, None), (conditional, torch.zeros(len(x), dtype=torch.int64))):
        torch.manual_seed(1)
        values.append(model.loss("variational", Batch(x, label)).value)
    assert torch.allclose(*values, atol=1e-12)


def test_every_parameter_gets_a_gradient_from_its_classes_only(digits, small):
    model = small("cvae", classes=4)
    label = torch.arange(21) % 3  # nobody is of class 3
    loss = model.loss("variational", Batch(digits.images(), label)).value
    moved = [model.encoder.body[-1].bias, model.decoder.body[0].weight]
    head, column = torch.autograd.grad(loss, moved)
    head = head.reshape(4, -1)
    assert (head[:3].abs().max(1).values > 0).all()
    assert (column[:, 3:6].abs().max(0).values > 0).all()
    assert head[3].abs().max() == column[:, 6].abs().max() == 0


def test_samples_have_the_labels_asked_for(small):
    model = small("cvae", classes=3)
    torch.manual_seed(0)
    x = model.sample(4)
    torch.manual_seed(0)
    z = torch.randn(4, 3)
    one_hot = torch.eye(3)[[0, 1, 2, 0]]
    assert torch.equal(x, torch.sigmoid(model.decoder.body(torch.cat([z, one_hot], 1))))
    torch.manual_seed(0)
    assert not torch.equal(model.sample(4, 1), x)
    with pytest.raises(UnigenError, match="3 classes"):
        model.sample(4, torch.tensor([0, 1, 2, 3]))


def test_metrics_pass_the_labels_on(digits, small):
    model = small("cvae", classes=21)
    found = metrics.elbo(model, digits, seed=0)
    torch.manual_seed(0)
    with torch.no_grad():
        assert found.value == pytest.approx(
            model.eval().elbo(digits.images(), digits.labels).mean().item(), rel=1e-5
        )
    assert metrics.iwae_bound(model, digits, 5, seed=0).value > found.value - 1
    with pytest.raises(UnigenError, match="has no labels"):
        metrics.elbo(model, Dataset(digits.x, name="bare"))


def test_bad_input_is_one_sentence(digits, small):
    with pytest.raises(UnigenError, match="needs labels"):
        fit(small("cvae"), Dataset(digits.x), steps=1, batch_size=4, progress=False)
    with pytest.raises(UnigenError, match="no label was given"):
        small("cvae").elbo(digits.images())
    with pytest.raises(UnigenError, match="k is 0"):
        small("cvae", classes=21).log_weights(digits.images(), 0, digits.labels)
    with pytest.raises(UnigenError, match=re.escape("use likelihood='gaussian' for points")):
        models.create("cvae", shape=(2,))
    with pytest.raises(UnigenError, match="no option of 'cvae' 'beta'"):
        models.create("cvae", beta=2.0)
