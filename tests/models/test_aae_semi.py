"""The semi-supervised adversarial autoencoder: two judges and a supervised phase, by hand."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unigen_edu import models
from unigen_edu.checkpoints import parameter_checksum
from unigen_edu.data import Dataset
from unigen_edu.declarations import Batch
from unigen_edu.densities import DiagonalNormal
from unigen_edu.errors import UnigenError
from unigen_edu.models.aae import AAE, PointMass
from unigen_edu.models.aae_semi import StyleAndClass, StyleAndClassEncoder
from unigen_edu.training import fit


@pytest.fixture
def semi(small):
    def build(**options):
        return small("aae-semi", **{"classes": 4, **options})

    return build


@pytest.fixture
def batch(digits) -> Batch:
    labelled = Batch(digits.images(slice(0, 6)), torch.tensor([0, 1, 2, 3, 0, 1]))
    return Batch(digits.images(), other=labelled)


# ---- the code ------------------------------------------------------------------------------------


@pytest.mark.parametrize("posterior", ["deterministic", "gaussian"])
def test_a_code_is_a_style_and_a_point_of_the_simplex(posterior, batch, semi):
    model = semi(posterior=posterior)
    law = model.encoder(batch.x)
    code = law.sample().value
    assert code.shape == (1, 21, 7)
    z, c = model.style(code), model.class_of(code)
    assert z.shape == (1, 21, 3)
    assert torch.equal(c[0], law.logits.softmax(-1))
    assert torch.allclose(c.sum(-1), torch.ones(1, 21))
    assert torch.equal(law.mean[:, :3], law.style.mean)
    assert torch.equal(z[0], law.style.mean) == (posterior == "deterministic")
    kind = {"deterministic": PointMass, "gaussian": DiagonalNormal}[posterior]
    assert isinstance(law.style, kind)


def test_the_encoders_outputs_are_cut_in_order():
    net = StyleAndClassEncoder("mlp", (2,), latent=2, classes=3, posterior="gaussian")
    net.body = nn.Identity()
    law = net(torch.arange(7.0).unsqueeze(0))
    assert law.style.mean.tolist() == [[0.0, 1.0]]
    assert law.style.log_var.tolist() == [[2.0, 3.0]]
    assert law.logits.tolist() == [[4.0, 5.0, 6.0]]


def test_the_class_prior_is_uniform_over_one_hot_vectors(semi):
    torch.manual_seed(0)
    n = 20_000
    c = semi().class_prior(n).value
    assert c.shape == (n, 4)
    assert torch.equal(c.sum(1), torch.ones(n))
    assert set(c.unique().tolist()) == {0.0, 1.0}
    assert (c.mean(0) - 0.25).abs().max() < 5 * math.sqrt(3 / 16 / n)


# ---- losses --------------------------------------------------------------------------------------


def test_the_supervised_loss_is_the_cross_entropy_of_the_labelled_images(batch, semi):
    model = semi()
    loss = model.loss("supervised", batch)
    logits = model.encoder(batch.other.x).logits
    assert loss.value.item() == pytest.approx(F.cross_entropy(logits, batch.other.label).item())


def test_the_class_gradient_is_the_delta_rule():
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([0, 2, 1, 1, 0])
    law = StyleAndClass(PointMass(torch.zeros(5, 1)), logits)
    (found,) = torch.autograd.grad(-law.log_prob_class(label).mean(), logits)
    expected = (logits.softmax(-1) - F.one_hot(label, 3)) / 5
    assert torch.allclose(found, expected, atol=1e-12, rtol=0)


def test_the_encoders_loss_is_the_sum_of_its_parts(batch, semi):
    model = semi(strength=0.3)
    loss = model.loss("encoder", batch)
    code = model.encoder(batch.x).mean
    d_z = torch.sigmoid(model.discriminator(code[:, :3]))
    d_c = torch.sigmoid(model.class_discriminator(code[:, 3:]))
    x_hat = model.decoder(code)
    error = F.binary_cross_entropy(x_hat, batch.x, reduction="none").sum((1, 2, 3)).mean()
    parts = {
        "-log D(z)": -d_z.log().mean().item(),
        "-log D(c)": -d_c.log().mean().item(),
        "-log q(x|z)": error.item(),
    }
    total = 0.5 * (parts["-log D(z)"] + parts["-log D(c)"] + 0.3 * parts["-log q(x|z)"])
    found = {name: term.item() for name, term in loss.terms.items()}
    assert found == pytest.approx({"loss": total, **parts}, rel=1e-5)


@pytest.mark.parametrize(
    ("phase", "judge", "part"),
    [
        ("discriminator", "discriminator", slice(0, 3)),
        ("class_discriminator", "class_discriminator", slice(3, 7)),
    ],
)
def test_each_judge_sees_its_part_of_the_code(phase, judge, part, batch, semi):
    model = semi()
    seen = []
    getattr(model, judge).register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    loss = model.loss(phase, batch)
    real, made = seen
    assert real.shape == (21, part.stop - part.start)
    code = model.encoder(batch.x).mean[:, part]
    assert torch.equal(made[0], code)
    a_real, a_made = getattr(model, judge)(real), getattr(model, judge)(code)
    target = torch.cat([torch.ones(21), torch.zeros(21)])
    expected = F.binary_cross_entropy_with_logits(torch.cat([a_real, a_made]), target)
    assert loss.value.item() == pytest.approx(expected.item(), rel=1e-5)


def test_each_phase_leaves_the_other_networks_alone(batch, semi):
    model = semi()
    parts = {m for phase in model.phases for m in phase.moves}
    for phase in model.phases:
        if phase.name == "encoder":  # goes through all of them
            continue
        value = model.loss(phase.name, batch).value
        for part in parts:
            found = torch.autograd.grad(
                value, list(getattr(model, part).parameters()), retain_graph=True, allow_unused=True
            )
            touched = any(g is not None for g in found)
            assert touched == (part in phase.moves), f"{phase.name} and {part}"


def test_labels_move_nothing_but_the_supervised_phase(batch, semi):
    model = semi()
    batch.label = torch.zeros(21, dtype=torch.int64)
    with_labels = [model.loss(p.name, batch).value for p in model.phases if p.name == "decoder"]
    batch.label = None
    without = [model.loss(p.name, batch).value for p in model.phases if p.name == "decoder"]
    assert with_labels == without


def test_the_supervised_phase_without_labels_is_one_sentence(digits, semi):
    for batch in (
        Batch(digits.images()),
        Batch(digits.images(), other=Batch(digits.images())),
    ):
        with pytest.raises(UnigenError, match="needs labelled images in batch"):
            semi().loss("supervised", batch)


# ---- what it is for ------------------------------------------------------------------------------


def test_classes_can_be_chosen_and_otherwise_take_turns(semi):
    model = semi()
    seen = []
    model.decoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = model.sample(6)
    assert x.shape == (6, 1, 4, 4)
    assert not x.requires_grad
    assert seen[0][:, 3:].argmax(1).tolist() == [0, 1, 2, 3, 0, 1]
    model.sample(2, label=torch.tensor([3, 3]))
    assert seen[1][:, 3:].tolist() == [[0, 0, 0, 1]] * 2
    assert not torch.equal(seen[1][0, :3], seen[1][1, :3])  # a style for each


def test_own_metrics_count_the_wrong_guesses(digits, semi):
    model = semi()
    label = torch.arange(21) % 4
    guess = label.clone()
    guess[:3] = (guess[:3] + 1) % 4
    # 1 where the guess is, the style from the prior
    law = StyleAndClass(PointMass(torch.randn(21, 3)), F.one_hot(guess, 4).float())
    model.encoder.forward = lambda x: law
    found = model.own_metrics(Dataset(digits.x, label))
    assert found["test_error"] == pytest.approx(3 / 21)
    assert set(found) == {"unexplained_variance", "codes_vs_prior", "test_error"}
    assert "test_error" not in model.own_metrics(Dataset(digits.x))
    assert torch.allclose(model.classify(digits.images()).exp().sum(1), torch.ones(21))


def test_it_is_an_aae_that_says_what_it_needs(digits, semi):
    model = semi()
    assert isinstance(model, AAE)
    with pytest.raises(UnigenError, match="'aae-semi' needs some labelled images"):
        fit(model, digits, steps=1, batch_size=4, device="cpu", progress=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": 1}, "classes is 1"),
        ({"classes": 0}, "classes is 0"),
        ({"posterior": "laplace"}, "no posterior 'laplace'"),
    ],
)
def test_bad_options_are_one_sentence(options, words):
    with pytest.raises(UnigenError, match=re.escape(words)) as caught:
        models.create("aae-semi", **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value)[-1] in ".?"


def test_the_config_builds_the_same_model(semi):
    model = semi(posterior="gaussian", strength=0.3, seed=4)
    again = models.create("aae-semi", seed=4, **model.config)
    assert parameter_checksum(again) == parameter_checksum(model)


def test_a_step_of_training_moves_every_network():
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (12, 1, 28, 28), generator=g).to(torch.uint8)
    labelled = Dataset(x[8:], torch.arange(4), num_classes=4)
    data = Dataset(x[:8], other=labelled)
    model = models.create("aae-semi", network="conv", latent=2, classes=4)
    before = {n: p.clone() for n, p in model.named_parameters()}
    fit(model, data, steps=1, batch_size=8, device="cpu", progress=False)
    still = [n for n, p in model.named_parameters() if torch.equal(p, before[n])]
    assert still == []
