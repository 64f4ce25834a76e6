"""Domain adaptation against numbers by hand, PyTorch's own losses and a gradient reversal layer."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unigen_edu import data, models
from unigen_edu.data import Dataset
from unigen_edu.declarations import Batch, Sample
from unigen_edu.errors import UnigenError
from unigen_edu.models.ada import ADA
from unigen_edu.models.ada_reversal import ReversalADA
from unigen_edu.models.adda import ADDA, OffsetEncoder
from unigen_edu.training import fit

FORMS = (ADA, ReversalADA, ADDA)


class Linear(nn.Module):
    """f = W x."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Sample:
        return Sample(x @ self.weight.T, weight)


@pytest.fixture
def by_hand(line):
    """f = x, D(f) = sigmoid(f), and logits (0, f) for the two labels."""

    def build(form=ADA, **options):
        model = form(shape=(1,), classes=2, features=1, **options)
        model.encoder = Linear(torch.ones(1, 1, dtype=torch.float64))
        model.discriminator = line()
        model.classifier = Linear(torch.tensor([[0.0], [1.0]], dtype=torch.float64))
        model.classifier.forward = lambda f: f @ model.classifier.weight.T
        return model

    return build


# D(source) = 1/2, 3/4 and D(target) = 1/4, 1/2; the label's probability is 1/2, then 1/4.
SOURCE = torch.tensor([[0.0], [log(3.0)]], dtype=torch.float64)
TARGET = torch.tensor([[-log(3.0)], [0.0]], dtype=torch.float64)
BATCH = Batch(SOURCE, label=torch.tensor([1, 0]), other=Batch(TARGET))


def fresh() -> Batch:
    return Batch(BATCH.x, BATCH.label, other=Batch(TARGET))


def test_the_discriminators_loss_by_hand(by_hand):
    loss = by_hand().loss("discriminator", fresh())
    # 1/2 mean(log 2, log 4/3) twice
    assert loss.value.item() == pytest.approx(0.5 * log(8 / 3), abs=1e-12)
    assert loss.terms["D(source)"].item() == pytest.approx(5 / 8, abs=1e-12)
    assert loss.terms["D(target)"].item() == pytest.approx(3 / 8, abs=1e-12)


def test_the_classifiers_loss_by_hand(by_hand):
    loss = by_hand().loss("classifier", fresh())
    assert loss.value.item() == pytest.approx(0.5 * 0.5 * (log(2) + log(4)), abs=1e-12)


@pytest.mark.parametrize(
    ("form", "adversarial"),
    [
        (ADA, 1.5 * log(2)),  # 1/2 mean(-log 1/2, -log 1/4) twice
        (ReversalADA, -0.5 * log(8 / 3)),
    ],
)
def test_the_encoders_loss_by_hand(form, adversarial, by_hand):
    loss = by_hand(form, strength=0.3).loss("encoder", fresh())
    labels = 0.75 * log(2)
    assert loss.terms["adversarial"].item() == pytest.approx(adversarial, abs=1e-12)
    assert loss.terms["labels"].item() == pytest.approx(labels, abs=1e-12)
    assert loss.value.item() == pytest.approx(0.3 * adversarial + labels, abs=1e-12)


def test_the_losses_of_adda_by_hand(by_hand):
    model = by_hand(ADDA, rate=0.5)
    model.target_encoder = OffsetEncoder(model.encoder, 0.5)
    # 1/2 mean(-log 1/4, -log 1/2)
    assert model.loss("target", fresh()).value.item() == pytest.approx(0.75 * log(2), abs=1e-12)
    assert model.loss("source", fresh()).value.item() == pytest.approx(0.75 * log(2), abs=1e-12)


# ---- independent losses and gradients ------------------------------------------------------------


@pytest.fixture
def task() -> Batch:
    torch.manual_seed(0)
    source, target = torch.randn(2, 7, 3, dtype=torch.float64)
    return Batch(source, label=torch.randint(0, 4, (7,)), other=Batch(target + 0.5))


def points(form, **options) -> ADA:
    torch.manual_seed(1)
    return form(shape=(3,), classes=4, features=5, **options).double()


def flat(gradients) -> Tensor:
    return torch.cat([g.flatten() for g in gradients])


def grad_of(loss: Tensor, part: nn.Module) -> Tensor:
    return flat(torch.autograd.grad(loss, list(part.parameters()), retain_graph=True))


def test_the_losses_are_pytorchs_cross_entropies(task):
    model = points(ADA, strength=0.3)
    f = model.encoder(torch.cat([task.x, task.other.x])).value
    logits, is_source = model.discriminator(f), torch.cat([torch.ones(7), torch.zeros(7)]).double()
    domains = F.binary_cross_entropy_with_logits(logits, is_source)
    flipped = F.binary_cross_entropy_with_logits(logits, 1 - is_source)
    labels = 0.5 * F.cross_entropy(model.classifier(f[:7]), task.label)
    for phase, right in (
        ("discriminator", domains),
        ("classifier", labels),
        ("encoder", 0.3 * flipped + labels),
    ):
        assert torch.allclose(model.loss(phase, task).value, right, atol=1e-12, rtol=0)


class Reverse(torch.autograd.Function):
    """The layer of the paper: the identity forward, minus lambda times the gradient backward."""

    @staticmethod
    def forward(ctx, f, strength):
        ctx.strength = strength
        return f.view_as(f)

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.strength * gradient, None


def test_three_phases_are_one_backward_pass_through_a_gradient_reversal_layer(task):
    model = points(ReversalADA, strength=0.3)
    f = model.encoder(torch.cat([task.x, task.other.x])).value
    is_source = torch.cat([torch.ones(7), torch.zeros(7)]).double()
    domains = F.binary_cross_entropy_with_logits(
        model.discriminator(Reverse.apply(f, 0.3)), is_source
    )
    joint = domains + 0.5 * F.cross_entropy(model.classifier(f[:7]), task.label)
    for phase in ("discriminator", "classifier", "encoder"):
        part = getattr(model, phase)
        found = grad_of(model.loss(phase, task).value, part)
        assert torch.allclose(found, grad_of(joint, part), atol=1e-12, rtol=0)
        assert found.abs().max() > 1e-4
    other = points(ADA, strength=0.3)  # the same parameters, the labels flipped
    again = Batch(task.x, task.label, other=task.other)  # a batch belongs to one model
    found = grad_of(other.loss("encoder", again).value, other.encoder)
    assert not torch.allclose(found, grad_of(joint, model.encoder), atol=1e-4)


def test_flipped_labels_learn_where_reversal_saturates(by_hand):
    """A certain discriminator: reversal gives the encoder nothing, flipped labels all there is."""
    far = 20.0
    size = {}
    for form in (ADA, ReversalADA):
        model = by_hand(form)
        batch = Batch(SOURCE + far, BATCH.label, other=Batch(TARGET - far))
        source, target = model.source(batch), model.target(batch)
        adversarial = model.adversarial(source, target)
        size[form] = grad_of(adversarial, model.encoder).abs().item()
    assert size[ADA] > 1.0
    assert size[ReversalADA] < 1e-6


@pytest.mark.parametrize("form", FORMS)
def test_a_phase_that_does_not_move_the_encoder_sends_no_gradient_there(form, task):
    model = points(form)
    still = {phase.name for phase in model.phases if "encoder" not in phase.moves}
    for phase in still:
        loss = model.loss(phase, task).value
        found = torch.autograd.grad(
            loss, list(model.encoder.parameters()), allow_unused=True, retain_graph=True
        )
        assert all(g is None for g in found)


def test_no_phase_of_ada_sees_labels_of_the_target(task):
    torch.manual_seed(0)
    values = {}
    for label in (None, torch.zeros(7, dtype=torch.int64)):
        batch = Batch(task.x, task.label, other=Batch(task.other.x, label))
        model = points(ADA)
        values[label is None] = [model.loss(p.name, batch).value.item() for p in model.phases]
    assert values[True] == values[False]


# ---- ADDA's offsets ------------------------------------------------------------------------------


def test_the_targets_encoder_starts_as_the_sources_and_follows_it(task):
    model = points(ADDA)
    assert torch.equal(model.target_features(task.x), model.source_features(task.x))
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert torch.equal(model.target_features(task.x), model.source_features(task.x))


def test_the_moved_encoder_by_hand_for_a_linear_one(task):
    w, offset = torch.randn(2, 5, 3, dtype=torch.float64)
    encoder = Linear(w)
    target = OffsetEncoder(encoder, rate=0.2)
    with torch.no_grad():
        target.offsets[0].copy_(offset)
    right = task.x @ (w + 0.2 * offset).T
    assert torch.allclose(target(encoder, task.x).value, right, atol=1e-12, rtol=0)


def test_the_gradient_of_the_offsets_is_that_of_a_copy_times_the_rate(task):
    model, copy = points(ADDA, rate=0.2), points(ADDA).encoder
    logits = model.discriminator(copy(task.other.x).value)
    right = grad_of(0.5 * F.softplus(-logits).mean(), copy)
    found = grad_of(model.loss("target", task).value, model.target_encoder)
    assert torch.allclose(found, 0.2 * right, atol=1e-12, rtol=0)


# ---- use -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_losses_are_finite_for_certain_networks(form, by_hand):
    model = by_hand(form)
    if form is ADDA:
        model.target_encoder = OffsetEncoder(model.encoder, 0.1)
    batch = Batch(1e4 * SOURCE, BATCH.label, other=Batch(-1e4 * TARGET))
    for phase in model.phases:
        loss = model.loss(phase.name, batch)
        assert torch.isfinite(loss.value)
        for part in phase.moves:
            assert torch.isfinite(grad_of(loss.value, getattr(model, part))).all()


@pytest.mark.parametrize("form", FORMS)
def test_own_metrics_count_right_answers_in_each_domain(form):
    torch.manual_seed(0)
    model = form(shape=(2,), classes=3, features=2)
    x, x_other = torch.randn(2, 1203, 2)
    with torch.no_grad():
        answer = model.classifier(model.source_features(x)).argmax(1)
    assert torch.equal(model.predict(x), answer) or form is not ADA
    labels, half_right = answer, model.predict(x_other)
    half_right[::2] = (half_right[::2] + 1) % 3
    test_set = Dataset(x, labels, other=Dataset(x_other, half_right))
    assert model.own_metrics(test_set) == {
        "source_accuracy": 1.0,
        "target_accuracy": pytest.approx(601 / 1203),
    }
    # One domain alone is a target; without labels there is nothing to say.
    assert model.own_metrics(Dataset(x_other, half_right)) == {
        "target_accuracy": pytest.approx(601 / 1203)
    }
    assert model.own_metrics(Dataset(x_other)) == {}


def test_each_domain_is_read_with_its_own_encoder():
    torch.manual_seed(0)
    model = ADDA(shape=(2,), classes=3, features=2)
    x = torch.randn(50, 2)
    with torch.no_grad():
        for offset in model.target_encoder.offsets:
            offset.normal_(0, 20)
    answers = model.classifier(model.encoder(x).value).argmax(1)
    found = model.own_metrics(Dataset(x, answers, other=Dataset(x, answers)))
    assert found["source_accuracy"] == 1.0
    assert found["target_accuracy"] < 0.9


def test_both_halves_of_the_shipped_task_hold_every_class():
    """Domains of a set and its transform are different images of the same classes."""
    train, whole = data.load(ADA.default_data), data.load("mnist-mini")
    half = len(whole) // 2
    assert len(train) == len(train.other) == half
    assert (train.labels.bincount(minlength=10) == half // 10).all()
    assert train.other.labels is None
    assert (whole.labels[half:].bincount(minlength=10) == half // 10).all()


@pytest.mark.parametrize("form", FORMS)
def test_fit_moves_what_the_phases_name(form):
    torch.manual_seed(0)
    model = form(shape=(2,), classes=3, features=4)
    task = Dataset(
        torch.randn(40, 2), torch.arange(40) % 3, other=Dataset(torch.randn(30, 2) + 1.0)
    )
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    fit(model, task, steps=2, batch_size=8, device="cpu", progress=False)
    moved = {part for phase in model.phases for part in phase.moves}
    assert moved == {name for name, _ in model.named_children()}
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize("name", ["ada", "ada-reversal", "adda"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"features": 0}, "features is 0"),
        ({"classes": 1.5}, "classes is 1.5"),
        ({"strength": -1.0}, "strength is -1.0"),
        ({"strength": float("nan")}, "strength is nan"),
        ({"rate": 0.0}, "rate is 0.0"),
        ({"rate": 2}, "rate is 2"),
        ({"rate": True}, "rate is True"),
        ({"network": "unet"}, "no network 'unet'"),
    ],
)
def test_bad_options_are_one_sentence(name, options, words):
    (option,) = options
    if option not in models.options(name):
        words = f"no option of '{name}' '{option}'"
    with pytest.raises(UnigenError, match=words) as caught:
        models.create(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_must_bring_what_the_task_needs(form):
    model = form(shape=(2,))
    x = torch.zeros(3, 2)
    with pytest.raises(UnigenError, match="have no labels"):
        model.loss(model.phases[-1].name, Batch(x, other=Batch(x)))
    with pytest.raises(UnigenError, match="one domain only"):
        model.loss("discriminator", Batch(x, torch.zeros(3, dtype=torch.int64)))


def test_there_is_nothing_to_sample():
    with pytest.raises(UnigenError, match="no sampler"):
        ADA(shape=(2,)).sample(3)


def test_the_picture_is_of_target_images_in_the_order_of_their_labels(monkeypatch):
    pairs = data.load("mnist-mini+mnist-mini/slanted", "test").subset(range(30))
    model = models.create("ada").eval()
    # An untrained classifier may read one label from every image; this one reads how bright it is.
    monkeypatch.setattr(model, "predict", lambda x: x.flatten(1).sum(1).long() % 3)
    x = model.picture(pairs, 12)
    assert x.shape == (12, 1, 28, 28)
    read = model.predict(x)
    assert (read.diff() >= 0).all()
    assert len(read.unique()) > 1
    target = pairs.other.images().flatten(1)
    # By differences: by products, in float32, a distance of 0 comes out as 0.01.
    apart = torch.cdist(x.flatten(1), target, compute_mode="donot_use_mm_for_euclid_dist")
    assert (apart.min(1).values == 0).all()
