"""The Helmholtz machine of sequences: each phase a sum of log-probabilities of given draws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli

from unigen_edu import models
from unigen_edu.declarations import Batch
from unigen_edu.errors import UnigenError
from unigen_edu.models.sequence_helmholtz import BernoulliCauses, Dream, SequenceHelmholtz

SIZES = {"shape": (5,), "vocabulary": 4, "latent": 3, "hidden": 6}


@pytest.fixture
def model() -> SequenceHelmholtz:
    found = models.create("sequence-helmholtz", **SIZES)
    torch.manual_seed(0)
    found.generative.bias.data = torch.randn(3)
    return found


def names(n: int) -> Tensor:
    return torch.randint(0, 4, (n, 5), generator=torch.Generator().manual_seed(0))


def test_causes_are_torchs_bernoulli():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, dtype=torch.float64)
    q = BernoulliCauses(logits.requires_grad_())
    h, weight = q.sample(20_000)
    assert weight is None
    assert h.shape == (20_000, 2, 3)
    assert not h.requires_grad
    p = torch.sigmoid(logits)
    assert ((h.mean(0) - p).abs() < 5 * (p * (1 - p) / 20_000).sqrt()).all()
    assert torch.allclose(q.log_prob(h), Bernoulli(logits=logits).log_prob(h).sum(-1), atol=1e-12)
    assert torch.allclose(q.log_prob(h[0]), Bernoulli(logits=logits).log_prob(h[0]).sum(-1))


def test_the_joint_is_the_prior_times_the_chain(model):
    x = names(4)
    h = torch.tensor([[0.0, 0, 1], [1, 1, 0], [0, 0, 0], [1, 0, 1]])
    prior = Bernoulli(logits=model.generative.bias).log_prob(h).sum(1)
    wanted = prior + model.generative.writer.log_prob(x, h)
    assert torch.allclose(model.generative.log_prob(x, h), wanted, atol=1e-5)


def test_the_phases_of_given_draws(model, monkeypatch):
    """Wake scores the data with causes of q; sleep scores causes of the dream: nothing else."""
    x = names(6)
    torch.manual_seed(3)
    loss = model.loss("wake", Batch(x))
    torch.manual_seed(3)
    h = model.recognition(x).sample().value
    assert loss.value.item() == pytest.approx(-model.generative.log_prob(x, h).mean().item())

    dream = Dream(torch.tensor([[1.0, 0, 0], [1, 1, 0]]), names(2))
    monkeypatch.setattr(model.generative, "sample", lambda n: dream)
    loss = model.loss("sleep", Batch(x))
    q = Bernoulli(logits=model.recognition.reader(dream.x))
    assert loss.value.item() == pytest.approx(-q.log_prob(dream.h).sum(1).mean().item(), rel=1e-5)


def test_the_delta_rules_of_the_biases(model, monkeypatch):
    """-d/db log p(h) = p - h, and -d/d logit of the recognition network = q - h."""
    x = names(6)
    torch.manual_seed(3)
    loss = model.loss("wake", Batch(x)).value
    torch.manual_seed(3)
    h = model.recognition(x).sample().value[0]
    (found,) = torch.autograd.grad(loss, [model.generative.bias])
    p = torch.sigmoid(model.generative.bias.detach())
    assert torch.allclose(found, (p - h).mean(0), atol=1e-6)

    dream = model.generative.sample(6)
    monkeypatch.setattr(model.generative, "sample", lambda n: dream)
    loss = model.loss("sleep", Batch(x)).value
    (found,) = torch.autograd.grad(loss, [model.recognition.reader.head.bias])
    q = torch.sigmoid(model.recognition.reader(dream.x)).detach()
    assert torch.allclose(found, (q - dream.h).mean(0), atol=1e-6)


def test_each_phase_moves_its_own_network_only(model):
    for phase, moved, still in (
        ("wake", model.generative, model.recognition),
        ("sleep", model.recognition, model.generative),
    ):
        loss = model.loss(phase, Batch(names(6))).value
        other = torch.autograd.grad(
            loss, list(still.parameters()), allow_unused=True, retain_graph=True
        )
        assert all(g is None for g in other)
        for gradient in torch.autograd.grad(loss, list(moved.parameters())):
            assert gradient.abs().max() > 0


def test_tokens_are_summed_and_sequences_are_averaged(model):
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    for n in (1, 7):
        wake = model.loss("wake", Batch(names(n))).value
        assert wake.item() == pytest.approx(5 * math.log(4) + 3 * math.log(2), rel=1e-6)
        sleep = model.loss("sleep", Batch(names(n))).value
        assert sleep.item() == pytest.approx(3 * math.log(2), rel=1e-6)


def test_the_evidence_of_all_sequences_sums_to_one():
    model = models.create("sequence-helmholtz", shape=(3,), vocabulary=2, latent=2, hidden=4)
    every = torch.cartesian_prod(*[torch.arange(2)] * 3)
    torch.manual_seed(0)
    with torch.no_grad():
        log_w = model.log_weights(every, 3000)
        assert log_w.shape == (3000, 8)
        log_p = log_w.logsumexp(0) - math.log(3000)
        elbo = torch.stack([model.elbo(every) for _ in range(300)]).mean(0)
    assert log_p.exp().sum().item() == pytest.approx(1.0, abs=0.02)
    assert (elbo < log_p + 0.05).all()


def test_dreams_are_causes_and_tokens(model):
    torch.manual_seed(0)
    h, x, weight = model.generative.sample(4000)
    assert weight is None
    assert x.dtype == torch.int64
    assert x.shape == (4000, 5)
    assert set(h.unique().tolist()) == {0.0, 1.0}
    p = torch.sigmoid(model.generative.bias.detach())
    assert ((h.mean(0) - p).abs() < 5 * (p * (1 - p) / 4000).sqrt()).all()
    torch.manual_seed(0)
    assert torch.equal(model.sample(4000), x)


def test_reconstructions_are_read_off_the_likeliest_causes(model):
    for parameter in model.parameters():
        parameter.data *= 10  # so that the writer listens to the causes
    x = names(6)
    h = (torch.sigmoid(model.recognition.reader(x)) > 0.5).float()
    assert torch.equal(model.reconstruct(x), model.generative.writer.most_likely(h))
    assert not torch.equal(model.reconstruct(x), model.generative.writer.most_likely(1 - h))


def test_the_model_is_made_again_from_its_config(model):
    again = models.create("sequence-helmholtz", **model.config)
    assert again.config == model.config
    assert [p.shape for p in again.parameters()] == [p.shape for p in model.parameters()]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": (1, 28, 28)}, "give shape="),
        ({"vocabulary": 1}, "vocabulary is 1"),
        ({"latent": 0}, "latent is 0"),
        ({"hidden": 0}, "hidden is 0"),
        ({"chain": "no"}, "chain is 'no'"),
        ({"layers": (3, 2)}, "no option of 'sequence-helmholtz' 'layers'"),
    ],
)
def test_bad_options_are_one_sentence(options, words):
    with pytest.raises(UnigenError, match=words) as caught:
        models.create("sequence-helmholtz", **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("k", [0, 1.5])
def test_a_bound_needs_a_draw(model, k):
    with pytest.raises(UnigenError, match="k is"):
        model.log_weights(names(2), k)
