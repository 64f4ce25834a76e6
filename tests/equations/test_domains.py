"""Chapter 6: every labelled equation of domain adaptation, on random tables.

Laws of features, targets and information are written out here with plain sums; the losses are those
of the package's models, run on tables, or autograd's derivatives of plain sums.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unigen_edu import models
from unigen_edu.exact.checks import gradient
from unigen_edu.exact.domain_networks import (
    TableClassifier,
    TableFeatureEncoder,
    adaptation_batch,
    labelled_adaptation,
)
from unigen_edu.exact.domains import EncodedDomains
from unigen_edu.exact.networks import TableDiscriminator
from unigen_edu.exact.tables import generator_from, random_distribution
from unigen_edu.models.adda import OffsetEncoder

SEEDS = range(4)
STRENGTH = 0.7


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p.log() - q.log())).sum()


def information(joint: Tensor) -> Tensor:
    """I of a joint table, over both axes."""
    return (joint * (joint / (joint.sum(0) * joint.sum(1, keepdim=True))).log()).sum()


def entropy(p: Tensor) -> Tensor:
    return -(p * p.log()).sum()


class Task:
    """Two domains, labels in the source, a discriminator and a classifier, all as tables."""

    def __init__(self, seed: int):
        world, self.p_c, self.p_x_given_c, self.logits = labelled_adaptation(seed)
        self.p_x_target, self.theta0 = world.p_w_given_y[0], world.theta0
        self.a = world.a[0].logit()  # logit of D(f) = q(y=1|f)
        self.world = world
        self.q_c = self.logits.softmax(-1).T  # q_omega(c|f): (C, F)

    def target_law(self, theta: Tensor) -> Tensor:
        return self.p_x_target @ theta.softmax(-1)

    def source_cf(self, theta: Tensor) -> Tensor:
        """p_theta(c, f|y=1): (C, F)"""
        return self.p_c[:, None] * (self.p_x_given_c @ theta.softmax(-1))

    def source_law(self, theta: Tensor) -> Tensor:
        return self.source_cf(theta).sum(0)

    def laws(self, theta: Tensor) -> Tensor:
        return torch.stack([self.target_law(theta), self.source_law(theta)])

    def joint(self, theta: Tensor) -> Tensor:
        """p(y) p_theta(f|y)."""
        return 0.5 * self.laws(theta)

    @property
    def p_0(self) -> Tensor:
        return self.joint(self.theta0).sum(0)

    def posterior(self, score: Tensor) -> Tensor:
        return score * self.p_0 / (score * self.p_0).sum()

    def cross_entropy(self, theta: Tensor) -> Tensor:
        """E_source[-log q_omega(c|f)]."""
        return -(self.source_cf(theta) * self.q_c.log()).sum()

    def flipped(self, theta: Tensor, D: Tensor | None = None) -> Tensor:
        """-E log q^r(y|f)."""
        D = self.a.sigmoid() if D is None else D
        target, source = self.laws(theta)
        return -0.5 * (target * D.log()).sum() - 0.5 * (source * (1 - D).log()).sum()

    def reversed(self, theta: Tensor, D: Tensor | None = None) -> Tensor:
        """E log q(y|f)."""
        D = self.a.sigmoid() if D is None else D
        target, source = self.laws(theta)
        return 0.5 * (target * (1 - D).log()).sum() + 0.5 * (source * D.log()).sum()

    @property
    def best_D(self) -> Tensor:
        target, source = self.laws(self.theta0)
        return source / (source + target)

    def model(self, name: str, **options):
        """The package's model with tables for networks, and its batch."""
        model = models.create(name, shape=(2,), **options)
        model.encoder = TableFeatureEncoder(self.theta0)
        model.discriminator = TableDiscriminator(self.a)
        model.classifier = TableClassifier(self.logits)
        if name == "adda":
            model.target_encoder = OffsetEncoder(model.encoder, model.rate)
        return model, adaptation_batch(self.world, self.p_c, self.p_x_given_c)


TASKS = [Task(seed) for seed in SEEDS]
MANY = [EncodedDomains.random(seed, n_y=2 + seed) for seed in SEEDS]


def gradient_of_phase(task: Task, name: str, phase: str, part: str, **options) -> Tensor:
    model, batch = task.model(name, **options)
    (parameter,) = model.get_submodule(part).parameters()
    return torch.autograd.grad(model.loss(phase, batch).value, parameter)[0]


# ---- discriminator and classifier ----------------------------------------------------------------


@pytest.mark.equation("eq-domains-phi", "eq-domains-phi-kl")
def test_the_discriminators_loss_and_what_it_reduces(measure):
    for t in TASKS:
        joint, D = t.joint(t.theta0), t.a.sigmoid()
        q = torch.stack([1 - D, D])
        stated = -(joint * q.log()).sum()
        target, source = t.laws(t.theta0)
        code_form = 0.5 * (source * F.softplus(-t.a)).sum() + 0.5 * (target * F.softplus(t.a)).sum()
        assert measure("eq-domains-phi", stated, code_form)
        model, batch = t.model("ada")
        assert measure("eq-domains-phi", model.loss("discriminator", batch).value, stated)
        true = joint / joint.sum(0)
        gap = sum(p * kl(true[:, f], q[:, f]) for f, p in enumerate(joint.sum(0)))
        entropy_y = entropy(joint.sum(1))
        assert measure("eq-domains-phi-kl", stated, entropy_y - information(joint) + gap)
    # Any p(y): the same with unequal domains.
    for w in (EncodedDomains.adaptation(seed) for seed in SEEDS):
        joint = w.p_y[:, None] * w.p_x_given_domain()
        q, true = w.a.flip(0), joint / joint.sum(0)
        gap = (joint.sum(0) * (true * (true / q).log()).sum(0)).sum()
        stated = entropy(w.p_y) - information(joint) + gap
        assert measure("eq-domains-phi-kl", -(joint * q.log()).sum(), stated)


@pytest.mark.equation("eq-domains-classifier", "eq-domains-source")
def test_the_classifiers_loss_and_the_source_phase(measure):
    for t in TASKS:
        model, batch = t.model("ada")
        adda, batch_adda = t.model("adda")
        joint = t.source_cf(t.theta0)
        p_f = joint.sum(0)
        fit = sum(p * kl(joint[:, f] / p, t.q_c[:, f]) for f, p in enumerate(p_f))
        left = sum(p * entropy(joint[:, f] / p) for f, p in enumerate(p_f))
        classifier = model.loss("classifier", batch).value
        assert measure("eq-domains-classifier", classifier, 0.5 * fit + 0.5 * left)
        stated = 0.5 * (fit - information(joint) + entropy(t.p_c))
        assert measure("eq-domains-source", adda.loss("source", batch_adda).value, stated)
        assert measure("eq-domains-source", 0.5 * t.cross_entropy(t.theta0), stated)


# ---- the encoder's loss --------------------------------------------------------------------------


@pytest.mark.equation("eq-domains-theta")
def test_the_encoders_loss(measure):
    for t in TASKS:
        stated = STRENGTH * t.flipped(t.theta0) + 0.5 * t.cross_entropy(t.theta0)
        target, source = t.laws(t.theta0)
        softplus = (source * F.softplus(t.a)).sum() + (target * F.softplus(-t.a)).sum()
        code_form = STRENGTH * 0.5 * softplus + 0.5 * t.cross_entropy(t.theta0)
        model, batch = t.model("ada", strength=STRENGTH)
        assert measure("eq-domains-theta", stated, code_form)
        assert measure("eq-domains-theta", model.loss("encoder", batch).value, stated)


@pytest.mark.equation("eq-domains-slopes")
def test_slopes_in_the_logit(measure):
    a = torch.linspace(-9, 9, 37, dtype=torch.float64)
    D = 1 / (1 + (-a).exp())
    for loss, slope in (
        (lambda a: F.softplus(a), D),
        (lambda a: F.softplus(-a), D - 1),
        (lambda a: torch.sigmoid(a).log(), 1 - D),
        (lambda a: torch.sigmoid(-a).log(), -D),
    ):
        assert measure("eq-domains-slopes", gradient(lambda a, f=loss: f(a).sum(), a), slope)


# ---- many domains --------------------------------------------------------------------------------


@pytest.mark.equation("eq-domains-open", "eq-domains-split", "eq-domains-star", "eq-domains-step")
def test_the_proposition_for_many_domains(measure):
    for w in MANY:

        def laws(theta, w=w):
            return w.p_w_given_y @ theta.softmax(-1)

        p_0 = (w.p_y[:, None] * laws(w.theta0)).sum(0)
        Z = (w.a * p_0).sum(1)
        posterior = w.a * p_0 / Z[:, None]

        def loss(theta, w=w, laws=laws):
            return -(w.p_y[:, None] * laws(theta) * w.a.log()).sum()

        def kl_minus_information(theta, w=w, laws=laws, posterior=posterior):
            pulls = sum(
                pi * kl(p, q) for pi, p, q in zip(w.p_y, laws(theta), posterior, strict=True)
            )
            return pulls - information(w.p_y[:, None] * laws(theta))

        for theta in (w.theta0, w.other_theta()):
            mixture = (w.p_y[:, None] * laws(theta)).sum(0)
            for d, p in enumerate(laws(theta)):
                opened = -(p * w.a[d].log()).sum() + kl(p, p_0) + Z[d].log()
                assert measure("eq-domains-open", kl(p, posterior[d]), opened)
            average = sum(pi * kl(p, p_0) for pi, p in zip(w.p_y, laws(theta), strict=True))
            joint = w.p_y[:, None] * laws(theta)
            assert measure("eq-domains-split", average, information(joint) + kl(mixture, p_0))
            stated = kl_minus_information(theta) - kl(mixture, p_0) - (w.p_y * Z.log()).sum()
            assert measure("eq-domains-star", loss(theta), stated)
        at_0 = gradient(loss, w.theta0)
        assert measure("eq-domains-step", at_0, gradient(kl_minus_information, w.theta0))
        away = w.other_theta()
        found = gradient(loss, away)
        assert measure(
            "eq-domains-step", found, gradient(kl_minus_information, away), 1e-4, relation="!="
        )


# ---- two domains ---------------------------------------------------------------------------------


def pull(t: Task, theta: Tensor, scores: Tensor) -> Tensor:
    """E_y KL(p_theta(f|y) || posterior of scores_y), targets frozen."""
    laws = t.laws(theta)
    return 0.5 * sum(kl(laws[y], t.posterior(scores[y])) for y in (0, 1))


@pytest.mark.equation("eq-domains-two", "eq-domains-exchange")
def test_flipped_labels(measure):
    for t in TASKS:
        for D in (t.a.sigmoid(), t.best_D):
            q_r = torch.stack([D, 1 - D])
            found = gradient(lambda x, t=t, D=D: t.flipped(x, D), t.theta0)
            stated = gradient(
                lambda x, t=t, q_r=q_r: pull(t, x, q_r) - information(t.joint(x)), t.theta0
            )
            assert measure("eq-domains-two", found, stated)
        target, source = t.laws(t.theta0)
        assert measure("eq-domains-exchange", t.posterior(t.best_D), source)
        assert measure("eq-domains-exchange", t.posterior(1 - t.best_D), target)
    for w in (EncodedDomains.adaptation(seed) for seed in SEEDS):  # unequal p(y)
        assert measure(
            "eq-domains-exchange",
            w.with_optimal_discriminator().target,
            w.p_x_given_domain().flip(0),
        )


@pytest.mark.equation("eq-domains-reversal", "eq-domains-reversal-optimal")
def test_gradient_reversal(measure):
    for t in TASKS:
        D = t.a.sigmoid()
        q = torch.stack([1 - D, D])

        def stated(theta, t=t, q=q):
            potential = information(t.joint(theta)) - pull(t, theta, q)
            return STRENGTH * potential + 0.5 * t.cross_entropy(theta)

        right = gradient(stated, t.theta0)
        by_hand = gradient(
            lambda x, t=t: STRENGTH * t.reversed(x) + 0.5 * t.cross_entropy(x), t.theta0
        )
        assert measure("eq-domains-reversal", by_hand, right)
        found = gradient_of_phase(t, "ada-reversal", "encoder", "encoder", strength=STRENGTH)
        assert measure("eq-domains-reversal", found, right)
        jsd = gradient(lambda x, t=t: information(t.joint(x)), t.theta0)
        at_best = gradient(lambda x, t=t: t.reversed(x, t.best_D), t.theta0)
        assert measure("eq-domains-reversal-optimal", at_best, jsd)
        other = gradient(lambda x, t=t: t.flipped(x, t.best_D), t.theta0)
        assert measure("eq-domains-reversal-optimal", other, jsd, 1e-4, relation="!=")


@pytest.mark.equation("eq-domains-chain", "eq-domains-gradient")
def test_labels_make_more_domains(measure):
    for t in TASKS:
        for strength in (STRENGTH, 1.0):
            D = t.a.sigmoid()
            pi = torch.cat([torch.tensor([0.5]).double(), 0.5 * t.p_c])
            scores = torch.cat([(D**strength)[None], t.q_c * (1 - D) ** strength])

            def laws(theta, t=t):
                classes = t.source_cf(theta) / t.p_c[:, None]
                return torch.cat([t.target_law(theta)[None], classes])

            posterior = scores * t.p_0
            posterior = posterior / posterior.sum(1, keepdim=True)

            def all_information(theta, pi=pi, laws=laws):
                return information(pi[:, None] * laws(theta))

            def split(theta, t=t):
                return information(t.joint(theta)) + 0.5 * information(t.source_cf(theta))

            away = t.theta0 + 0.5 * torch.randn(
                t.theta0.shape, generator=generator_from(3), dtype=torch.float64
            )
            for theta in (t.theta0, away):
                assert measure("eq-domains-chain", all_information(theta), split(theta))

            def pulls(theta, pi=pi, laws=laws, posterior=posterior):
                terms = zip(pi, laws(theta), posterior, strict=True)
                return sum(weight * kl(p, q) for weight, p, q in terms)

            def stated(theta, pulls=pulls, split=split):
                return pulls(theta) - split(theta)

            right = gradient(stated, t.theta0)
            found = gradient_of_phase(t, "ada", "encoder", "encoder", strength=strength)
            assert measure("eq-domains-gradient", found, right)

            def without_labels(theta, t=t, pulls=pulls):
                return pulls(theta) - information(t.joint(theta))

            wrong = gradient(without_labels, t.theta0)
            assert measure("eq-domains-gradient", found, wrong, 1e-4, relation="!=")


@pytest.mark.equation("eq-domains-adda")
def test_one_domain_fixed(measure):
    rate = 0.3
    for t in TASKS:
        q_r = torch.stack([t.a.sigmoid(), 1 - t.a.sigmoid()])
        source = t.source_law(t.theta0)

        def stated(theta, t=t, q_r=q_r, source=source):
            laws = torch.stack([t.target_law(theta), source])
            pulls = 0.5 * sum(kl(laws[y], t.posterior(q_r[y])) for y in (0, 1))
            return pulls - information(0.5 * laws)

        right = gradient(stated, t.theta0)
        by_hand = gradient(
            lambda x, t=t: 0.5 * (t.target_law(x) * F.softplus(-t.a)).sum(), t.theta0
        )
        assert measure("eq-domains-adda", by_hand, right)
        found = gradient_of_phase(t, "adda", "target", "target_encoder", rate=rate)
        assert measure("eq-domains-adda", found, rate * right)  # theta is theta_0 + rate * offset


# ---- what equal features do not say --------------------------------------------------------------


def errors(joint_cf: Tensor, h: tuple[int, ...]) -> Tensor:
    """Probability that h[f] is not c, counted entry by entry."""
    C, n_f = joint_cf.shape
    return sum(
        (joint_cf[c, f] for c, f in itertools.product(range(C), range(n_f)) if h[f] != c),
        torch.zeros((), dtype=torch.float64),
    )


def total_variation(p: Tensor, q: Tensor) -> Tensor:
    return 0.5 * (p - q).abs().sum()


@pytest.mark.equation("eq-domains-shift", "eq-domains-bound", "eq-domains-pinsker")
def test_bounds_on_the_error_in_the_target(measure):
    g = generator_from(0)
    for n_c, n_f in ((2, 4), (3, 3)):
        classifiers = list(itertools.product(range(n_c), repeat=n_f))
        for spread in (0.5, 2.0, 4.0):
            for _ in range(3):
                S, T = (
                    random_distribution(n_c * n_f, generator=g, spread=spread).reshape(n_c, n_f)
                    for _ in range(2)
                )
                law_S, law_T = S.sum(0), T.sum(0)
                matched = T / law_T * law_S
                m = (law_S + law_T) / 2
                jsd = (kl(law_S, m) + kl(law_T, m)) / 2
                tv = total_variation(law_S, law_T)
                assert measure("eq-domains-pinsker", tv, (2 * jsd).sqrt(), relation="<=")
                least = min(errors(S, h) + errors(T, h) for h in classifiers)
                shift = total_variation(S.sum(1), matched.sum(1))
                for h in classifiers:
                    bound = errors(S, h) + tv + least
                    assert measure("eq-domains-bound", errors(T, h), bound, relation="<=")
                    both = errors(S, h) + errors(matched, h)
                    assert measure("eq-domains-shift", shift, both, relation="<=")
    # Both are attained: one feature per class, and a target that differs in frequencies only.
    S, T = torch.diag(torch.tensor([0.5, 0.5])).double(), torch.zeros(2, 2).double()
    T[0], T[1] = torch.tensor([0.5, 0.4]), torch.tensor([0.0, 0.1])
    assert measure("eq-domains-shift", errors(S, (0, 1)) + errors(T, (0, 1)), 0.4, 1e-6)
    assert measure("eq-domains-shift", total_variation(S.sum(1), T.sum(1)), 0.4, 1e-6)
