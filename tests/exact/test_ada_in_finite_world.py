"""The losses of domain adaptation, run on tables: each phase reduces the divergence it declares.

A model is built, its networks are replaced by tables, and `model.loss(phase, batch)` is
differentiated. The other side comes from `EncodedDomains`.
"""

import dataclasses

import pytest
import torch

from unigen_edu.declarations import Batch, Model
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.domain_networks import (
    TableClassifier,
    TableFeatureEncoder,
    adaptation_batch,
    labelled_adaptation,
)
from unigen_edu.exact.domains import DomainWorld, EncodedDomains
from unigen_edu.exact.networks import TableDiscriminator
from unigen_edu.exact.tables import (
    entropy,
    expectation,
    generator_from,
    jsd_weighted,
    kl_p_q,
    mixture,
    mutual_information,
    normalise,
    posterior,
)
from unigen_edu.models.ada import ADA
from unigen_edu.models.ada_reversal import ReversalADA
from unigen_edu.models.adda import ADDA, OffsetEncoder

SEEDS = (0, 1, 2)
TOLERANCE = 1e-12
FAR = 1e-4
STRENGTH = 0.7


class Task:
    """A model on tables, and the terms of its divergences as functions of theta."""

    def __init__(self, seed: int, model: ADA, optimal: bool = False):
        self.model = model
        self.world, self.p_c, self.p_x_given_c, self.classifier = labelled_adaptation(seed)
        if optimal:
            self.world = self.world.with_optimal_discriminator()
        self.theta0 = self.world.theta0
        self.phi0 = self.world.a[0].logit()  # D(f) = q^r(y=0|f)
        model.encoder = TableFeatureEncoder(self.theta0)
        model.discriminator = TableDiscriminator(self.phi0)
        model.classifier = TableClassifier(self.classifier)
        if isinstance(model, ADDA):
            model.target_encoder = OffsetEncoder(model.encoder, model.rate)
        self.batch = adaptation_batch(self.world, self.p_c, self.p_x_given_c)

    def gradient_of_phase(self, phase: str, of: str) -> torch.Tensor:
        loss = self.model.loss(phase, self.batch)
        (parameter,) = self.model.get_submodule(of).parameters()
        return torch.autograd.grad(loss.value, parameter)[0]

    def labelled(self, strength: float) -> EncodedDomains:
        """Target, (source, 0), (source, 1), ...: what Lemma 1 says of all of them."""
        scored = dataclasses.replace(self.world, a=self.world.a**strength)
        return scored.with_labels(self.p_c, self.p_x_given_c, self.classifier.softmax(-1).T)

    def p_cf(self, theta: torch.Tensor | None = None) -> torch.Tensor:
        """p_theta(c, f|y=1).  (C, F)"""
        encoder = (self.theta0 if theta is None else theta).softmax(-1)
        return self.p_c[:, None] * (self.p_x_given_c @ encoder)

    def label_kl(self, theta=None, logits=None) -> torch.Tensor:
        """E_{p_theta(f|y=1)} KL(p_theta(c|f) || q(c|f))."""
        joint = self.p_cf(theta)
        q = (self.classifier if logits is None else logits).softmax(-1).T
        return expectation(joint.sum(0), kl_p_q(normalise(joint, dim=0), q, dim=0))

    def label_information(self, theta=None) -> torch.Tensor:
        """I_theta(f; c|y=1)."""
        return mutual_information(self.p_cf(theta))


# ---- discriminator and classifier ----------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("form", [ADA, ReversalADA, ADDA])
def test_the_discriminator_phase_reduces_the_kl_of_the_posteriors(form, seed):
    task = Task(seed, form(shape=(2,)))
    grad = task.gradient_of_phase("discriminator", "discriminator")
    laws = task.world.p_x_given_domain()
    true = posterior(task.world.p_y, laws)  # p(y|f), row 0 the target

    def kl(phi):
        q = torch.stack([(-phi).sigmoid(), phi.sigmoid()])
        return expectation(task.world.p_0, kl_p_q(true, q, dim=0))

    assert gap(grad, gradient(kl, task.phi0)) < TOLERANCE
    assert grad.abs().max() > 1e-3
    swapped = gradient(lambda phi: kl(-phi), task.phi0)
    assert gap(grad, swapped) > FAR
    loss = task.model.loss("discriminator", task.batch)
    assert gap(loss.terms["D(source)"], laws[1] @ task.phi0.sigmoid()) < TOLERANCE
    assert gap(loss.terms["D(target)"], laws[0] @ task.phi0.sigmoid()) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("form", [ADA, ReversalADA])
def test_the_classifier_phase_reduces_the_kl_of_the_labels(form, seed):
    task = Task(seed, form(shape=(2,)))
    grad = task.gradient_of_phase("classifier", "classifier")
    right = gradient(lambda logits: 0.5 * task.label_kl(logits=logits), task.classifier)
    assert gap(grad, right) < TOLERANCE
    assert grad.abs().max() > 1e-3
    # p(c|f) is that of the source; with labels that belong to nobody it is another.
    task.batch.label = task.batch.label.flip(0)
    assert gap(task.gradient_of_phase("classifier", "classifier"), right) > FAR


# ---- the encoder: flipped labels -----------------------------------------------------------------


@pytest.mark.parametrize("strength", [1.0, STRENGTH])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_encoder_phase_is_lemma_1_with_labels(seed, strength):
    task = Task(seed, ADA(shape=(2,), strength=strength))
    world = task.labelled(strength)
    loss = task.model.loss("encoder", task.batch)
    assert gap(loss.value, world.loss()) < TOLERANCE
    assert gap(loss.value, world.star()) < TOLERANCE  # the global identity, at theta_0
    grad = task.gradient_of_phase("encoder", "encoder")
    assert gap(grad, gradient(world.lemma1, task.theta0)) < 1e-10

    # The declared form: the subtracted information is JSD + 1/2 I(f; c|y=1).
    def without_labels(theta):
        return world.kl_term(theta) - task.world.jsd_term(theta)

    def declared(theta):
        return without_labels(theta) - 0.5 * task.label_information(theta)

    assert gap(grad, gradient(declared, task.theta0)) < 1e-10
    assert gap(grad, gradient(without_labels, task.theta0)) > FAR
    assert gap(grad, gradient(world.kl_term, task.theta0)) > FAR
    assert gap(2 * grad, gradient(world.lemma1, task.theta0)) > FAR  # p(y) is in the loss


@pytest.mark.parametrize("seed", SEEDS)
def test_the_sources_term_is_not_the_constant_of_a_gan(seed):
    """Lemma 1 verbatim with both domains; without y = 1, which a GAN may drop, it is false."""
    task = Task(seed, ADA(shape=(2,), strength=1.0))
    source, target = task.model.source(task.batch), task.model.target(task.batch)
    (theta,) = task.model.encoder.parameters()
    (grad,) = torch.autograd.grad(task.model.adversarial(source, target), theta)
    assert gap(grad, gradient(task.world.lemma1, task.theta0)) < 1e-10
    data_term = gradient(task.world.data_term, task.theta0)
    assert data_term.abs().max() > FAR
    assert gap(grad - data_term, gradient(task.world.lemma1, task.theta0)) > FAR


# ---- the encoder: gradient reversal --------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_the_encoder_phase_of_reversal_has_the_signs_reversed(seed):
    task = Task(seed, ReversalADA(shape=(2,), strength=STRENGTH))
    grad = task.gradient_of_phase("encoder", "encoder")

    def labels(theta):  # the cross-entropy of the labels, by its two divergences
        return 0.5 * (task.label_kl(theta) - task.label_information(theta) + entropy(task.p_c))

    def declared(theta):
        return STRENGTH * task.world.reversal_potential(theta) + labels(theta)

    assert gap(grad, gradient(declared, task.theta0)) < 1e-10
    loss = task.model.loss("encoder", task.batch)
    right = STRENGTH * task.world.reversal_objective() + labels(task.theta0)
    assert gap(loss.value, right) < TOLERANCE

    def flipped(theta):
        return STRENGTH * task.world.lemma1(theta) + labels(theta)

    assert gap(grad, gradient(flipped, task.theta0)) > FAR


@pytest.mark.parametrize("seed", SEEDS)
def test_reversal_is_the_minimax_game(seed):
    """Its adversarial gradient is minus that of the discriminator's own loss, by autograd."""
    task = Task(seed, ReversalADA(shape=(2,)))
    source, target = task.model.source(task.batch), task.model.target(task.batch)
    (theta,) = task.model.encoder.parameters()
    (own,) = torch.autograd.grad(task.model.adversarial(source, target), theta, retain_graph=True)
    opponents_loss = -task.model.domain_log_score(source, target, flipped=False)
    # It is what the discriminator descends, whose phase holds the features constant.
    assert gap(opponents_loss, task.model.discriminator_loss(task.batch).value) < TOLERANCE
    (opponents,) = torch.autograd.grad(opponents_loss, theta)
    assert gap(own, -opponents) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_at_the_optimal_discriminator_reversal_descends_the_jsd(seed):
    for form, right in ((ReversalADA, True), (ADA, False)):
        task = Task(seed, form(shape=(2,)), optimal=True)
        source, target = task.model.source(task.batch), task.model.target(task.batch)
        (theta,) = task.model.encoder.parameters()
        (grad,) = torch.autograd.grad(task.model.adversarial(source, target), theta)
        difference = gap(grad, gradient(task.world.jsd_term, task.theta0))
        assert (difference < 1e-10) if right else (difference > FAR)


# ---- ADDA ----------------------------------------------------------------------------------------


class SourceAsData(DomainWorld):
    """Lemma 1 where only the target moves: theta are the logits of its encoder."""

    def __init__(self, world: EncodedDomains, theta0: torch.Tensor):
        self.world, self.theta0 = world, theta0

    def p_domain(self, theta=None):
        return self.world.p_y

    def p_x_given_domain(self, theta=None):
        encoder = (self.theta0 if theta is None else theta).softmax(-1)
        return torch.stack([self.world.p_w_given_y[0] @ encoder, self.world.p_x_given_domain()[1]])

    @property
    def scores(self):
        return self.world.a


def adda(seed: int, rate: float = 0.3) -> tuple[Task, SourceAsData]:
    """ADDA on tables in the middle of training: the offsets are not zero."""
    task = Task(seed, ADDA(shape=(2,), rate=rate))
    offset = torch.randn(task.theta0.shape, generator=generator_from(seed), dtype=torch.float64)
    with torch.no_grad():
        next(task.model.target_encoder.parameters()).copy_(offset)
    return task, SourceAsData(task.world, task.theta0 + rate * offset)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_target_phase_is_the_lemma_1_of_a_gan(seed):
    rate = 0.3
    task, world = adda(seed, rate)
    grad = task.gradient_of_phase("target", "target_encoder")
    assert gap(grad, rate * gradient(world.lemma1, world.theta0)) < 1e-10
    assert gap(grad, rate * gradient(world.kl_term, world.theta0)) > FAR
    # In ADA, where the source moves too, the same discriminator gives another field.
    assert gap(grad, rate * gradient(task.world.lemma1, task.theta0)) > FAR


@pytest.mark.parametrize("seed", SEEDS)
def test_the_target_phase_leaves_the_source_alone(seed):
    task, _ = adda(seed)
    loss = task.model.loss("target", task.batch).value
    (theta,) = task.model.encoder.parameters()
    assert torch.autograd.grad(loss, theta, allow_unused=True) == (None,)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_discriminator_of_adda_compares_two_encoders(seed):
    task, world = adda(seed)
    grad = task.gradient_of_phase("discriminator", "discriminator")
    true = posterior(world.p_domain(), world.p_x_given_domain())

    def kl(phi):
        q = torch.stack([(-phi).sigmoid(), phi.sigmoid()])
        return expectation(world.p_0, kl_p_q(true, q, dim=0))

    assert gap(grad, gradient(kl, task.phi0)) < TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_the_source_phase_is_a_kl_and_an_information(seed):
    """At every theta, not only at theta_0: it is an identity of values."""
    task, _ = adda(seed)

    def declared(theta):
        return 0.5 * (task.label_kl(theta) - task.label_information(theta))

    grad = task.gradient_of_phase("source", "encoder")
    assert gap(grad, gradient(declared, task.theta0)) < TOLERANCE
    assert gap(grad, gradient(lambda t: 0.5 * task.label_kl(t), task.theta0)) > FAR
    grad = task.gradient_of_phase("source", "classifier")
    right = gradient(lambda logits: 0.5 * task.label_kl(logits=logits), task.classifier)
    assert gap(grad, right) < TOLERANCE


# ---- what adaptation cannot know -----------------------------------------------------------------


def test_equal_laws_of_features_say_nothing_about_the_labels():
    """The adversary is content when the target's classes are exchanged.

    Two equally frequent classes; the encoder sends the target's to the wrong features. The laws of
    features agree, the JSD is zero, the source is read without an error - and the target always
    wrongly.
    """
    f_source = torch.eye(2).double()  # class c -> feature c
    f_target = f_source.flip(0)
    p_c = torch.full((2,), 0.5).double()
    laws = torch.stack([mixture(p_c, f_target), mixture(p_c, f_source)])
    assert gap(jsd_weighted(p_c, laws), 0.0) < TOLERANCE
    classifier = normalise(p_c[:, None] * f_source, dim=0).T  # p(c|f) of the source, (F, C)
    right = (p_c[:, None] * f_target * classifier.T).sum()
    assert right == 0.0
    assert (p_c[:, None] * f_source * classifier.T).sum() == 1.0


def test_a_batch_without_its_second_domain_says_so():
    model: Model = ADA(shape=(2,))
    with pytest.raises(ValueError, match="one domain only"):
        model.loss("encoder", Batch(torch.zeros(3, 2), label=torch.zeros(3, dtype=torch.int64)))
