"""The conditional GAN: losses by hand, whose label a generated image has, and one class."""

from __future__ import annotations

import re
from math import log

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli

from unigen_edu import models
from unigen_edu.data import Dataset
from unigen_edu.declarations import Batch, Sample
from unigen_edu.errors import UnigenError
from unigen_edu.models.cgan import CGAN
from unigen_edu.models.gan import GAN
from unigen_edu.training import fit

LABEL = torch.tensor([0, 1, 1])


class LabelledDraws(nn.Module):
    """A generator whose draws are its parameters; remembers the labels that it was asked for."""

    def __init__(self, values: Tensor):
        super().__init__()
        self.values = nn.Parameter(values)
        self.asked: list[list[int]] = []

    def sample(self, n: int, label: Tensor) -> Sample:
        assert n == len(self.values)
        self.asked.append(label.tolist())
        return Sample(self.values)


class LinePerLabel(nn.Module):
    """a(x, c) = slope_c x for points x (B, 1)."""

    def __init__(self, slopes: list[float]):
        super().__init__()
        self.slopes = nn.Parameter(torch.tensor(slopes, dtype=torch.float64))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        return self.slopes[label] * x.squeeze(-1)


def by_hand(objective: str = "non-saturating") -> tuple[CGAN, Batch]:
    model = CGAN(shape=(1,), classes=2, objective=objective)
    points = [[log(3.0)], [-log(3.0)], [0.0]]
    model.generator = LabelledDraws(torch.tensor(points, dtype=torch.float64))
    model.discriminator = LinePerLabel([1.0, -1.0])
    x = torch.tensor([[0.0], [-log(3.0)], [log(3.0)]], dtype=torch.float64)
    return model, Batch(x, LABEL)


def test_the_losses_by_hand():
    """D(data) = 1/2, 3/4, 1/4 and D(generated) = 3/4, 3/4, 1/2, with slopes 1, -1, -1."""
    model, batch = by_hand()
    loss = model.loss("discriminator", batch)
    data = (log(2) + log(4 / 3) + log(4)) / 3
    generated = (log(4) + log(4) + log(2)) / 3
    assert loss.value.item() == pytest.approx(0.5 * (data + generated), abs=1e-12)
    assert loss.terms["D(data)"].item() == pytest.approx(1 / 2)
    assert loss.terms["D(generated)"].item() == pytest.approx(2 / 3)
    loss = model.loss("generator", batch)
    assert loss.value.item() == pytest.approx(0.5 * (2 * log(4 / 3) + log(2)) / 3, abs=1e-12)
    model, batch = by_hand("minimax")
    loss = model.loss("generator", batch)
    assert loss.value.item() == pytest.approx(-0.5 * (2 * log(4) + log(2)) / 3, abs=1e-12)


def test_the_losses_are_cross_entropies_of_the_domain_given_the_label():
    model, batch = by_hand()
    slope = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
    a_data, a_g = slope * batch.x[:, 0], slope * model.generator.values[:, 0]
    log_q_data = Bernoulli(logits=a_data).log_prob(torch.ones_like(slope))
    log_q_g = Bernoulli(logits=a_g).log_prob(torch.zeros_like(slope))
    wanted = -0.5 * (log_q_data.mean() + log_q_g.mean())
    assert torch.allclose(model.loss("discriminator", batch).value, wanted, atol=1e-12)


def test_a_generated_image_has_the_label_of_its_data_point():
    model, batch = by_hand()
    for phase in ("discriminator", "generator"):
        model.loss(phase, batch)
    assert model.generator.asked == [LABEL.tolist()]  # one draw serves both phases


def test_the_label_decides_which_slope_is_trained():
    model, batch = by_hand()
    only = Batch(batch.x[:1], LABEL[:1])
    model.generator.values = nn.Parameter(model.generator.values[:1].detach())
    (gradient,) = torch.autograd.grad(
        model.loss("discriminator", only).value, list(model.discriminator.parameters())
    )
    assert gradient[0] != 0
    assert gradient[1] == 0


def test_one_class_is_the_gan(digits):
    options = {"shape": (1, 4, 4), "latent": 3}
    torch.manual_seed(0)
    gan, conditional = GAN(**options).double(), CGAN(classes=1, **options).double()
    state = gan.state_dict()
    first = "generator.body.0.weight"
    state[first] = torch.cat([state[first], torch.zeros(len(state[first]), 1).double()], 1)
    conditional.load_state_dict(state)
    x = digits.images().double()
    found = []
    for model, batch in (
        (gan, Batch(x)),
        (conditional, Batch(x, torch.zeros(len(x), dtype=torch.int64))),
    ):
        torch.manual_seed(1)
        for phase in ("discriminator", "generator"):
            loss = model.loss(phase, batch)
            moved = list(model.get_submodule(phase).parameters())[1:]
            found.append([loss.value, *torch.autograd.grad(loss.value, moved)])
    for left, right in zip(found[0] + found[1], found[2] + found[3], strict=True):
        assert torch.allclose(left, right, atol=1e-12, rtol=0)


def test_the_discriminators_step_has_no_path_to_the_generator(digits, small):
    model = small("cgan", classes=21)
    batch = Batch(digits.images(), digits.labels)
    loss = model.loss("discriminator", batch).value
    found = torch.autograd.grad(loss, list(model.generator.parameters()), allow_unused=True)
    assert found == (None,) * len(found)
    loss = model.loss("generator", batch).value
    for gradient in torch.autograd.grad(loss, list(model.generator.parameters())):
        assert gradient.isfinite().all()


def test_samples_have_the_labels_asked_for(small):
    model = small("cgan", classes=3).eval()
    torch.manual_seed(0)
    x = model.sample(6)
    assert x.shape == (6, 1, 4, 4)
    torch.manual_seed(0)
    assert torch.equal(x, model.sample(6, torch.tensor([0, 1, 2, 0, 1, 2])))
    torch.manual_seed(0)
    ones = model.sample(6, 1)
    assert torch.equal(ones[[1, 4]], x[[1, 4]])
    assert not torch.equal(ones[0], x[0])
    model.train()
    model.sample(1)  # of averages that do not need a batch
    assert model.generator.training
    with pytest.raises(UnigenError, match="3 classes: use labels from 0 to 2"):
        model.sample(2, 3)


def test_training_needs_labels_that_are_classes(digits, small):
    without = Dataset(digits.x, name="bare")
    with pytest.raises(UnigenError, match=r"'cgan' needs labels, such as .* which 'bare' does not"):
        fit(small("cgan"), without, steps=1, batch_size=4, progress=False)
    with pytest.raises(
        UnigenError,
        match=re.escape(
            "labels from 0 to 20, but the model was built for 10 classes: build it with classes=21."
        ),
    ):
        fit(small("cgan"), digits, steps=1, batch_size=4, progress=False)
    fit(small("cgan", classes=21), digits, steps=2, batch_size=4, device="cpu", progress=False)
    with pytest.raises(UnigenError, match="no label was given"):
        small("cgan").loss("discriminator", Batch(digits.images()))


@pytest.mark.parametrize("name", ["cgan", "iwcgan", "cvae", "aacvae", "svae", "aasvae"])
@pytest.mark.parametrize("classes", [0, -1, 2.0, "ten", True])
def test_classes_must_be_a_count(name, classes):
    with pytest.raises(UnigenError, match="classes is ") as caught:
        models.create(name, classes=classes)
    assert str(caught.value).endswith("give a whole number of at least 1.")
