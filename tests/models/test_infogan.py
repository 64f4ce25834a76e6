"""InfoGAN against numbers by hand and torch.distributions."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Normal

from unigen_edu import models
from unigen_edu.checkpoints import parameter_checksum
from unigen_edu.data import Dataset
from unigen_edu.declarations import Batch, Sample
from unigen_edu.errors import UnigenError
from unigen_edu.models.gan import GAN
from unigen_edu.models.infogan import Code, CodedGenerator, CodedSample, InfoGAN, Recogniser
from unigen_edu.training import fit


class CodedDraws(nn.Module):
    """Draws that are parameters, with fixed codes."""

    def __init__(self, values: torch.Tensor, category: torch.Tensor):
        super().__init__()
        self.values = nn.Parameter(values)
        self.code = Code(category, torch.zeros(len(category), 0, dtype=torch.float64))

    def sample_with_code(self, n: int) -> CodedSample:
        assert n == len(self.values)
        return CodedSample(self.values, self.code)


class Coin(nn.Module):
    """q(c=1|x) = sigmoid(slope x)."""

    def __init__(self, slope: float):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope, dtype=torch.float64))

    def log_prob(self, code: Code, x: torch.Tensor) -> torch.Tensor:
        logit = self.slope * x.squeeze(-1)
        return nn.functional.logsigmoid(torch.where(code.category == 1, logit, -logit))


X = torch.tensor([[-1.2], [0.3], [0.9], [2.0]], dtype=torch.float64)
CATEGORY = torch.tensor([0, 1, 0, 1])


@pytest.fixture
def by_hand(line):
    def build(strength: float = 0.7) -> InfoGAN:
        model = InfoGAN(shape=(1,), categories=2, continuous=0, strength=strength)
        model.generator = CodedDraws(X.clone(), CATEGORY)
        model.discriminator = line(1.7, -0.4)
        model.recogniser = Coin(1.1)
        return model

    return build


def gradient(model, phase, parameter):
    return torch.autograd.grad(model.loss(phase, Batch(X)).value, parameter)[0]


def test_the_generators_gradient_draw_by_draw(by_hand):
    model = by_hand(0.7)
    d, q1 = torch.sigmoid(1.7 * X - 0.4), torch.sigmoid(1.1 * X)
    right = CATEGORY[:, None].double()
    # d/dx -log D = -1.7 (1 - D) and d/dx -log q(c|x) = -1.1 (c - q1)
    delta = -1.7 * (1 - d) - 0.7 * 1.1 * (right - q1)
    found = gradient(model, "generator", model.generator.values)
    assert torch.allclose(found, 0.5 * delta / len(X), atol=1e-12, rtol=0)


def test_the_recognisers_gradient_by_hand(by_hand):
    model = by_hand()
    delta = -((CATEGORY.double() - torch.sigmoid(1.1 * X[:, 0])) * X[:, 0]).mean()
    assert gradient(model, "code", model.recogniser.slope).item() == pytest.approx(delta.item())


def test_values_and_terms_by_hand(by_hand):
    loss = by_hand(0.7).loss("generator", Batch(X))
    minus_log_d = sum(math.log1p(math.exp(-(1.7 * x - 0.4))) for x in X[:, 0].tolist()) / 4
    signed = (2 * CATEGORY - 1) * 1.1 * X[:, 0]
    minus_log_q = sum(math.log1p(math.exp(-s)) for s in signed.tolist()) / 4
    assert {name: term.item() for name, term in loss.terms.items()} == pytest.approx(
        {
            "loss": 0.5 * (minus_log_d + 0.7 * minus_log_q),
            "-log D": minus_log_d,
            "-log q(c|x)": minus_log_q,
        }
    )
    assert by_hand().loss("code", Batch(X)).value.item() == pytest.approx(minus_log_q)


def test_each_phase_leaves_the_other_networks_alone(digits, small):
    model = small("infogan", categories=3, continuous=1)
    paths = {"discriminator": {"discriminator"}, "code": {"recogniser"}}
    for phase, allowed in paths.items():
        value = model.loss(phase, Batch(digits.images())).value
        for part in ("generator", "discriminator", "recogniser"):
            found = torch.autograd.grad(
                value, list(getattr(model, part).parameters()), retain_graph=True, allow_unused=True
            )
            touched = any(g is not None for g in found)
            assert touched == (part in allowed), f"{phase} and {part}"


def test_every_parameter_is_moved_by_exactly_one_phase(small):
    model = small("infogan")
    moved = [id(p) for f in model.phases for m in f.moves for p in getattr(model, m).parameters()]
    assert sorted(moved) == sorted(id(p) for p in model.parameters())


def test_strength_zero_has_the_gans_generator_loss(by_hand, draws, line):
    gan = GAN(shape=(1,))
    gan.generator, gan.discriminator = draws(X.clone()), line(1.7, -0.4)
    expected = gan.loss("generator", Batch(X)).value
    assert by_hand(0.0).loss("generator", Batch(X)).value.item() == pytest.approx(expected.item())


# ---- the code ------------------------------------------------------------------------------------


def test_the_recogniser_is_a_categorical_times_a_gaussian():
    torch.manual_seed(0)
    net = Recogniser("mlp", (5,), categories=4, continuous=2).double()
    nn.init.normal_(net.log_var)
    x = torch.randn(6, 5, dtype=torch.float64)
    code = Code(torch.randint(4, (6,)), torch.rand(6, 2, dtype=torch.float64) * 2 - 1)
    logits, mean = net(x)
    expected = Categorical(logits=logits).log_prob(code.category)
    expected = expected + Normal(mean, (net.log_var / 2).exp()).log_prob(code.continuous).sum(1)
    assert torch.allclose(net.log_prob(code, x), expected, atol=1e-12, rtol=0)


def test_without_continuous_coordinates_the_code_is_its_category():
    net = Recogniser("mlp", (5,), categories=4, continuous=0)
    x, category = torch.randn(6, 5), torch.randint(4, (6,))
    code = Code(category, torch.zeros(6, 0))
    expected = Categorical(logits=net.body(x)).log_prob(category)
    assert torch.allclose(net.log_prob(code, x), expected, atol=1e-6)


def test_the_law_of_the_codes():
    torch.manual_seed(0)
    n = 40_000
    code = CodedGenerator("mlp", (2,), latent=1, categories=7, continuous=3).codes(n)
    share = torch.bincount(code.category, minlength=7) / n
    assert share.shape == (7,)
    assert (share - 1 / 7).abs().max() < 5 * math.sqrt(6 / 49 / n)
    assert code.continuous.shape == (n, 3)
    assert code.continuous.abs().max() <= 1
    assert code.continuous.mean(0).abs().max() < 5 / math.sqrt(3 * n)
    # The variance of a uniform on [-1, 1] is 1/3, and that of its square is 4/45.
    assert (code.continuous.square().mean(0) - 1 / 3).abs().max() < 5 * math.sqrt(4 / 45 / n)
    together = (code.category - 3.0) * code.continuous[:, 0]
    assert together.mean().abs() < 5 * math.sqrt(4 / 3 / n)  # Var(category) = 4


def test_the_generator_is_given_the_code_that_is_returned():
    torch.manual_seed(0)
    net = CodedGenerator("mlp", (2,), latent=3, categories=4, continuous=2)
    seen = []
    net.body.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    sample = net.sample_with_code(50)
    given = seen[0]
    assert given.shape == (50, 9)
    assert torch.equal(given[:, 3:5], sample.code.continuous)
    assert torch.equal(given[:, 5:].argmax(1), sample.code.category)
    assert torch.equal(given[:, 5:].sum(1), torch.ones(50))
    assert given[:, :3].unique().numel() == 150  # fresh noise for each


def test_images_of_a_chosen_code(small):
    model = small("infogan", categories=4, continuous=1).train()
    code = Code(torch.tensor([0, 0, 3]), torch.tensor([[0.5], [-0.5], [0.5]]))
    fixed = torch.randn(1, 3).expand(3, 3)
    model.generator.inputs = lambda c: torch.cat(
        [fixed, c.continuous, nn.functional.one_hot(c.category, 4).float()], 1
    )
    x = model.sample(3, code)
    assert x.shape == (3, 1, 4, 4)
    assert not x.requires_grad
    assert 0 <= x.min() <= x.max() <= 1
    assert not torch.allclose(x[0], x[1], atol=1e-4)  # another continuous code
    assert not torch.allclose(x[0], x[2], atol=1e-4)  # another category
    assert model.generator.training
    # By running averages: an image does not depend on its neighbours.
    one = Code(code.category[:1], code.continuous[:1])
    fixed = fixed[:1]
    assert torch.allclose(model.sample(1, one), x[:1], atol=1e-6)
    assert small("infogan").sample(5).shape == (5, 1, 4, 4)


def test_own_metrics_read_real_images(digits, small):
    model = small("infogan", categories=21)
    # Three labels, under names that are not theirs.
    labelled = Dataset(digits.x, digits.labels % 3, name="digits")
    names = nn.functional.one_hot((labelled.labels + 1) % 3, 21)
    model.recogniser.forward = lambda x: (names, x)
    assert model.own_metrics(labelled) == {"code_accuracy": 1.0}
    assert model.own_metrics(Dataset(digits.x)) == {}


# ---- construction and training -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"categories": 0}, "categories is 0"),
        ({"continuous": -1}, "continuous is -1"),
        ({"continuous": True}, "continuous is True"),
        ({"strength": -0.1}, "strength is -0.1"),
        ({"strength": math.inf}, "strength is inf"),
        ({"strength": math.nan}, "strength is nan"),
        ({"strength": "strong"}, "strength is 'strong'"),
        ({"latent": 0}, "latent is 0"),
        ({"objective": "minimax"}, "no option of 'infogan' 'objective'"),
    ],
)
def test_bad_options_are_one_sentence(options, words):
    with pytest.raises(UnigenError, match=re.escape(words)) as caught:
        models.create("infogan", **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value)[-1] in ".?"


def test_the_config_builds_the_same_model(small):
    model = small("infogan", categories=3, continuous=1, strength=0.5, seed=4)
    again = models.create("infogan", seed=4, **model.config)
    assert parameter_checksum(again) == parameter_checksum(model)
    assert again.strength == 0.5


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_a_step_of_training_moves_every_network(network):
    x = torch.randint(0, 256, (8, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    model = models.create("infogan", network=network, latent=2)
    before = {n: p.clone() for n, p in model.named_parameters()}
    fit(model, Dataset(x.to(torch.uint8)), steps=1, batch_size=8, device="cpu", progress=False)
    still = [n for n, p in model.named_parameters() if torch.equal(p, before[n])]
    assert still == []


def test_the_phases_of_a_step_share_one_draw(digits, small):
    model = small("infogan")
    batch = Batch(digits.images())
    first = model.coded(batch)
    assert model.coded(batch) is first
    assert isinstance(model.generated(batch), Sample)
    assert model.generated(batch).value is first.value
    assert len(first.value) == len(digits)
