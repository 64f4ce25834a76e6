"""The Helmholtz machine against its delta rules, worked out by hand, and against enumeration."""

from __future__ import annotations

import itertools
import re
from math import log

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli

from unigen_edu import metrics, models
from unigen_edu.declarations import Batch
from unigen_edu.errors import UnigenError
from unigen_edu.models.helmholtz import BeliefNet, Helmholtz, Layers

PIXELS = 6
B = 4


@pytest.fixture
def machine() -> Helmholtz:
    """Three layers of causes above six pixels, in float64."""
    torch.manual_seed(0)
    model = Helmholtz(shape=(1, 2, 3), layers=(4, 3, 2)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return model


def bits(*shape: int) -> Tensor:
    return torch.randint(0, 2, shape).double()


def delta_rule(layer: torch.nn.Linear, child: Tensor, parent: Tensor) -> dict[str, Tensor]:
    """Hinton et al.: Delta w = parent (child - p), here descended: its negative, averaged."""
    weight = torch.zeros_like(layer.weight)
    bias = torch.zeros(len(weight), dtype=torch.float64)
    for s, drawn in zip(parent, child, strict=True):
        p = 1 / (1 + torch.exp(-(layer.weight.detach() @ s)))
        if layer.bias is not None:
            p = 1 / (1 + torch.exp(-(layer.weight.detach() @ s + layer.bias.detach())))
        weight -= torch.outer(drawn - p, s) / len(parent)
        bias -= (drawn - p) / len(parent)
    return {"weight": weight} if layer.bias is None else {"weight": weight, "bias": bias}


def distance_to_delta_rules(loss: Tensor, net: BeliefNet, chain: list[Tensor]) -> float:
    """The largest difference of an entry of a gradient from that of the delta rule."""
    named = dict(net.named_parameters())
    found = dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))
    wanted = {
        f"layers.{i}.{name}": value
        for i, layer in enumerate(net.layers)
        for name, value in delta_rule(layer, chain[i + 1], chain[i]).items()
    }
    assert found.keys() == wanted.keys()
    assert all(value.abs().max() > 1e-3 for value in wanted.values())
    return max(float((found[name] - value).abs().max()) for name, value in wanted.items())


# ---- the two phases ------------------------------------------------------------------------------


def test_waking_follows_the_delta_rule_in_every_layer(machine, monkeypatch):
    x, h = bits(B, PIXELS), [bits(1, B, n) for n in (4, 3, 2)]
    monkeypatch.setattr(machine.recognition, "sample", lambda given: Layers(tuple(h)))
    loss = machine.loss("wake", Batch(x.reshape(B, 1, 2, 3)))
    on = torch.ones(B, 1, dtype=torch.float64)
    chain = [on, h[2][0], h[1][0], h[0][0], x]
    assert distance_to_delta_rules(loss.value, machine.generative, chain) < 1e-12


def test_sleeping_follows_the_delta_rule_in_every_layer(machine, monkeypatch):
    x, h = bits(1, B, PIXELS), [bits(1, B, n) for n in (4, 3, 2)]
    monkeypatch.setattr(machine.generative, "sample", lambda given: Layers((*h[::-1], x)))
    loss = machine.loss("sleep", Batch(torch.zeros(B, 1, 2, 3).double()))
    chain = [x[0], h[0][0], h[1][0], h[2][0]]
    assert distance_to_delta_rules(loss.value, machine.recognition, chain) < 1e-12


@pytest.mark.parametrize("phase", ["wake", "sleep"])
def test_a_phase_leaves_the_other_network_alone(machine, phase):
    other = machine.recognition if phase == "wake" else machine.generative
    loss = machine.loss(phase, Batch(bits(B, 1, 2, 3)))
    found = torch.autograd.grad(loss.value, list(other.parameters()), allow_unused=True)
    assert all(gradient is None for gradient in found)


def test_waking_sees_binary_pixels_drawn_from_the_grey_ones(machine, monkeypatch):
    seen = []
    drawn = machine.recognition.sample

    def watch(given: Tensor) -> Layers:
        seen.append(given)
        return drawn(given)

    monkeypatch.setattr(machine.recognition, "sample", watch)
    machine.loss("wake", Batch(torch.full((500, 1, 2, 3), 0.3, dtype=torch.float64)))
    assert set(seen[0].unique().tolist()) == {0.0, 1.0}
    assert seen[0].mean().item() == pytest.approx(0.3, abs=0.04)  # 4.8 sd


def test_sleeping_uses_as_many_dreams_as_the_batch_has_images_and_no_image(machine):
    batches = [Batch(torch.zeros(B, 1, 2, 3).double()), Batch(torch.ones(B, 1, 2, 3).double())]
    losses = []
    for batch in batches:
        torch.manual_seed(3)
        losses.append(machine.loss("sleep", batch).value)
    assert torch.equal(*losses)
    sizes = []
    sample = machine.generative.sample
    machine.generative.sample = lambda given: sizes.append(len(given)) or sample(given)
    machine.loss("sleep", batches[0])
    assert sizes == [B]


# ---- laws ----------------------------------------------------------------------------------------


def test_log_probabilities_are_those_of_torch(machine):
    x, h = bits(B, PIXELS), [bits(2, B, n) for n in (4, 3, 2)]
    down, up = machine.generative.layers, machine.recognition.layers

    def log_prob(child: Tensor, logits: Tensor) -> Tensor:
        return Bernoulli(logits=logits).log_prob(child).sum(-1)

    log_p = log_prob(h[2], down[0].weight.squeeze(1)) + log_prob(h[1], down[1](h[2]))
    log_p = log_p + log_prob(h[0], down[2](h[1])) + log_prob(x.expand(2, B, PIXELS), down[3](h[0]))
    log_q = log_prob(h[0], up[0](x)) + log_prob(h[1], up[1](h[0])) + log_prob(h[2], up[2](h[1]))
    assert machine.log_p(x, h).shape == machine.log_q(h, x).shape == (2, B)
    assert torch.allclose(machine.log_p(x, h), log_p, atol=1e-12, rtol=0)
    assert torch.allclose(machine.log_q(h, x), log_q, atol=1e-12, rtol=0)


@pytest.mark.parametrize("root", [True, False])
def test_draws_follow_the_law_whose_logarithm_is_given(root):
    torch.manual_seed(2)
    net = BeliefNet((1 if root else 2, 2, 1, 2), root=root).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(1.5 * torch.randn_like(parameter))
    given = torch.ones(1, 1).double() if root else torch.tensor([[1.0, 0.0]]).double()
    every = torch.tensor(list(itertools.product((0.0, 1.0), repeat=5))).double()
    states = tuple(s[:, None] for s in every.split((2, 1, 2), -1))
    law = net.log_prob(states, given.expand(32, 1, -1)).squeeze(1).exp()
    assert law.sum().item() == pytest.approx(1.0, abs=1e-12)
    n = 40_000
    drawn = torch.cat(net.sample(given, n).states, -1).squeeze(1)
    place = (drawn @ torch.tensor([16.0, 8.0, 4.0, 2.0, 1.0]).double()).long()
    frequency = torch.bincount(place, minlength=32) / n
    assert ((frequency - law).abs() < 5 * (law * (1 - law) / n).sqrt() + 1e-9).all()


def test_extreme_logits_stay_finite(machine):
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.mul_(1e4)
    for phase in ("wake", "sleep"):
        loss = machine.loss(phase, Batch(bits(B, 1, 2, 3)))
        moved = machine.generative if phase == "wake" else machine.recognition
        assert torch.isfinite(loss.value)
        for gradient in torch.autograd.grad(loss.value, list(moved.parameters())):
            assert torch.isfinite(gradient).all()


# ---- bounds, samples -----------------------------------------------------------------------------


def evidence(machine: Helmholtz, x: Tensor) -> Tensor:
    """log p(x) by summing over all 2^9 causes: x (B, pixels) -> (B,)"""
    every = torch.tensor(list(itertools.product((0.0, 1.0), repeat=9))).double()
    h = [s[:, None].expand(-1, len(x), -1) for s in every.split((4, 3, 2), -1)]
    return torch.logsumexp(machine.log_p(x, h), 0)


def test_the_bound_grows_with_k_towards_the_evidence(machine):
    x = bits(3, 1, 2, 3)
    with torch.no_grad():
        log_p = evidence(machine, x.flatten(1))
        bound = {}
        for k in (1, 5, 50):
            log_w = machine.log_weights(x.repeat(2000, 1, 1, 1), k)
            assert log_w.shape == (k, 6000)
            bound[k] = (torch.logsumexp(log_w, 0) - log(k)).reshape(2000, 3).mean(0)
        many = torch.logsumexp(machine.log_weights(x, 200_000), 0) - log(200_000)
    assert (bound[1] + 0.05 < bound[5]).all()
    assert (bound[5] + 0.05 < bound[50]).all()
    assert (bound[50] < log_p).all()
    assert torch.allclose(many, log_p, atol=0.1)


def test_the_metrics_find_the_bound(digits):
    model = models.create("helmholtz", shape=(1, 4, 4), layers=(5, 3))
    images = digits.binarised(0)
    below, tighter = metrics.elbo(model, images), metrics.iwae_bound(model, images, 100)
    assert below.value < tighter.value < 0


def test_a_machine_that_copies_reconstructs_its_input():
    model = Helmholtz(shape=(1, 1, 4), layers=(4, 2))
    with torch.no_grad():
        for net in (model.recognition.layers[0], model.generative.layers[-1]):
            net.weight.copy_(40 * torch.eye(4))
            net.bias.fill_(-20)
    x = torch.tensor([[0.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]]).reshape(2, 1, 1, 4)
    assert torch.allclose(model.reconstruct(x), x, atol=1e-6)


def test_samples_are_the_means_of_the_lowest_layer(machine):
    torch.manual_seed(0)
    x = machine.sample(5)
    torch.manual_seed(0)
    states = machine.generative.sample(torch.ones(5, 1).double()).states
    mean = torch.sigmoid(machine.generative.layers[-1](states[-2][0]))
    assert x.shape == (5, 1, 2, 3)
    assert torch.equal(x, mean.reshape(5, 1, 2, 3))
    assert not x.requires_grad


def test_samples_have_the_mean_of_the_model(machine):
    every = torch.tensor(list(itertools.product((0.0, 1.0), repeat=PIXELS))).double()
    with torch.no_grad():
        wanted = evidence(machine, every).exp() @ every
    torch.manual_seed(0)
    found = machine.sample(20_000).flatten(1)
    assert ((found.mean(0) - wanted).abs() < 5 * found.std(0) / 20_000**0.5).all()


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": (200,)}, "layers is (200,), but a Helmholtz machine has at least two layers"),
        ({"layers": 200}, "layers is 200, but"),
        ({"layers": "200, 50"}, "layers is '200, 50', but"),
        ({"layers": (200, 0)}, "A size in layers is 0, but it counts the units of a layer"),
        ({"layers": (20.5, 3)}, "A size in layers is 20.5"),
        ({"shape": (2,)}, "use images (channels, height, width), not samples of shape (2,)"),
    ],
)
def test_options_out_of_range_are_one_sentence(options, words):
    with pytest.raises(UnigenError, match=re.escape(words)) as caught:
        models.create("helmholtz", **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("k", [0, -1, 1.5])
def test_a_bound_needs_a_draw(k, machine):
    with pytest.raises(UnigenError, match="k is"):
        machine.log_weights(bits(B, 1, 2, 3), k)
