"""The importance weighted conditional GAN: weights within groups of one label."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unigen_edu import models
from unigen_edu.declarations import Batch, Sample
from unigen_edu.errors import UnigenError
from unigen_edu.models.cgan import CGAN
from unigen_edu.models.iwcgan import IWCGAN
from unigen_edu.models.iwgan import IWGAN

B, K, CLASSES = 4, 3, 2
LABEL = torch.tensor([1, 0, 1, 1])
SLOPES = torch.tensor([1.7, -0.6], dtype=torch.float64)
OFFSETS = torch.tensor([-0.4, 2.0], dtype=torch.float64)


class Groups(nn.Module):
    def __init__(self, values: Tensor):
        super().__init__()
        self.values = nn.Parameter(values)

    def sample_groups(self, n: int, k: int, label: Tensor) -> Sample:
        assert (n, k) == self.values.shape[:2]
        assert torch.equal(label, LABEL)
        return Sample(self.values)


class LinePerLabel(nn.Module):
    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        return SLOPES[label] * x.squeeze(-1) + OFFSETS[label]


def points() -> Tensor:
    return torch.randn(B, K, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def model_on(x: Tensor, model_class: type[IWCGAN] = IWCGAN) -> IWCGAN:
    model = model_class(shape=(1,), k=K, classes=CLASSES)
    model.generator, model.discriminator = Groups(x), LinePerLabel()
    return model


def equation_7(x: Tensor) -> Tensor:
    """E sum_i w~_i grad log D(x_i, c) for each draw, written out with loops."""
    found = torch.zeros_like(x)
    for b, c in enumerate(LABEL.tolist()):
        d = [1 / (1 + torch.exp(-(SLOPES[c] * x[b, i, 0] + OFFSETS[c]))) for i in range(K)]
        w = [value / (1 - value) for value in d]
        for i in range(K):
            found[b, i, 0] = w[i] / sum(w) * (1 - d[i]) * SLOPES[c] / B
    return found


def error(model_class: type[IWCGAN]) -> float:
    model = model_on(points(), model_class)
    loss = model.loss("generator", Batch(torch.zeros(B, 1, dtype=torch.float64), LABEL))
    (found,) = torch.autograd.grad(loss.value, model.generator.values)
    return float((found + 0.5 * equation_7(points())).abs().max())


class LabelsOfAnotherOrder(IWCGAN):
    def group_logits(self, x: Tensor, batch: Batch) -> Tensor:
        label = batch.label.repeat(self.k)  # c_0 c_1 .. c_0 c_1 .., where groups stand together
        return self.discriminator(x.flatten(0, 1), label).unflatten(0, (-1, self.k))


class WeightsOfTheWholeBatch(IWCGAN):
    def generator_loss(self, batch: Batch):
        x, _ = self.groups(batch)
        a = self.group_logits(x, batch)
        w = torch.softmax(a.detach().flatten(), 0).unflatten(0, a.shape)
        loss = super().generator_loss(batch)
        return loss._replace(value=0.5 * (w * F.softplus(-a)).sum())


def test_the_generators_gradient_is_equation_7_within_each_label():
    assert error(IWCGAN) < 1e-12


@pytest.mark.parametrize("mutant", [LabelsOfAnotherOrder, WeightsOfTheWholeBatch])
def test_near_misses_are_told_apart(mutant):
    assert error(mutant) > 1e-3


def test_a_shift_of_a_class_does_not_move_its_weights(monkeypatch):
    batch = Batch(torch.zeros(B, 1, dtype=torch.float64), LABEL)
    model = model_on(points())
    before = model.loss("generator", batch).terms["effective draws"]
    monkeypatch.setitem(globals(), "OFFSETS", OFFSETS + torch.tensor([3.0, -2.0]))
    after = model.loss("generator", batch)
    assert torch.allclose(before, after.terms["effective draws"], atol=1e-12)


def test_one_draw_is_the_conditional_gan_to_the_bit(digits):
    options = {"shape": (1, 4, 4), "latent": 3, "classes": 21}
    plain, weighted = CGAN(**options), IWCGAN(k=1, **options)
    weighted.load_state_dict(plain.state_dict())
    found = []
    for model in (plain, weighted):
        batch = Batch(digits.images(), digits.labels)
        torch.manual_seed(0)
        for phase in ("discriminator", "generator"):
            loss = model.loss(phase, batch)
            moved = list(model.get_submodule(phase).parameters())
            found.append([loss.value, *torch.autograd.grad(loss.value, moved)])
    for left, right in zip(found[0] + found[1], found[2] + found[3], strict=True):
        assert torch.equal(left, right)


def test_one_class_is_the_iwgan(digits):
    options = {"shape": (1, 4, 4), "latent": 3, "k": 3}
    plain, conditional = IWGAN(**options).double(), IWCGAN(classes=1, **options).double()
    state = plain.state_dict()
    first = "generator.body.0.weight"
    state[first] = torch.cat([state[first], torch.zeros(len(state[first]), 1).double()], 1)
    conditional.load_state_dict(state)
    x = digits.images().double()
    values = []
    for model, label in ((plain, None), (conditional, torch.zeros(len(x), dtype=torch.int64))):
        torch.manual_seed(1)
        batch = Batch(x, label)
        values += [model.loss(phase, batch).value for phase in ("discriminator", "generator")]
    assert torch.allclose(values[0], values[2], atol=1e-12)
    assert torch.allclose(values[1], values[3], atol=1e-12)


def test_the_discriminator_judges_the_first_draw_of_each_group(digits, small):
    model = small("iwcgan", k=3, classes=21)
    batch = Batch(digits.images(), digits.labels)
    groups = model.groups(batch).value
    assert groups.shape == (21, 3, 1, 4, 4)
    a_data = model.discriminator(batch.x, digits.labels)
    a_g = model.discriminator(groups[:, 0], digits.labels)
    wanted = -0.5 * (torch.sigmoid(a_data).log().mean() + (1 - torch.sigmoid(a_g)).log().mean())
    assert torch.allclose(model.loss("discriminator", batch).value, wanted, atol=1e-6)


def test_options():
    assert models.options("iwcgan") == {
        "shape": (1, 28, 28),
        "network": "mlp",
        "latent": 64,
        "k": 5,
        "classes": 10,
    }
    model = models.create("iwcgan", k=2, classes=3, latent=4)
    assert model.config == {
        "shape": (1, 28, 28), "network": "mlp", "latent": 4, "classes": 3, "k": 2
    }  # fmt: skip
    with pytest.raises(UnigenError, match="k is 0"):
        models.create("iwcgan", k=0)
    with pytest.raises(UnigenError, match="no option of 'iwcgan' 'objective'"):
        models.create("iwcgan", objective="minimax")
