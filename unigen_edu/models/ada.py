r"""Adversarial domain adaptation: features that do not tell where an image comes from.

Graphical model: a domain indicator y chooses where the image x comes from, y = 1 the source, whose
images have labels c, and y = 0 the target, whose images have none. The encoder makes a feature of
either, f ~ p_theta(f|x), here a function f = E(x); so each domain has a law of features,

    p_theta(f|y) = E_{p(x|y)} p_theta(f|x).

The discriminator q_phi(y|f) infers the domain from the feature, the classifier q_omega(c|f) the
label. If the domains look alike in f, and the labels of the source can be read from f, then they
can be read for the target, too: that is the hope, and no theorem without more assumptions.

With a(f) the logit of D(f) = q_phi(y=1|f), uniform p(y) and `softplus(-a) = -log D`:

    discriminator  -L_phi = 1/2 E_source softplus(-a) + 1/2 E_target softplus(a)  (eq-domains-phi)
    classifier     1/2 E_source[-log q_omega(c|f)]                         (eq-domains-classifier)
    encoder        lambda { 1/2 E_source softplus(a) + 1/2 E_target softplus(-a) }
                   + 1/2 E_source[-log q_omega(c|f)]                             (eq-domains-theta)

This is the GAN with features in place of images, with two differences. Both domains pass through
theta, so the source's term is not the constant that a GAN's data term is. And the labels of the
source divide y = 1 into one domain for each c; the gradient of the encoder's loss at theta_0 is
that of Lemma 1 for all of them (eq-domains-gradient), with

    q^r(f|y=1,c) prop. to q_omega(c|f) q^r(y=1|f)^lambda p_0(f),   q^r(f|y=0) ... q^r(y=0|f)^lambda,

and I(f; y,c) = JSD + 1/2 I(f; c|y=1) in place of the JSD. The factors 1/2 are p(y).

Papers: Ganin et al. 2016 for the game, Tzeng et al. 2017 for the flipped labels (their
"confusion" of a GAN kind). Left out: a schedule for lambda, dropout and batch normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unigen_edu.data import Dataset
from unigen_edu.declarations import (
    P_Y,
    Batch,
    Factor,
    Loss,
    Model,
    Phase,
    Sample,
    Variable,
    check_count,
    check_strength,
    constant,
    expect,
)
from unigen_edu.densities import categorical_log_prob
from unigen_edu.errors import UnigenError
from unigen_edu.networks import Classifier, Discriminator, to_features


class FeatureEncoder(nn.Module):
    """p_theta(f|x): one feature for each image, f = E(x)."""

    def __init__(self, kind: str, shape: Sequence[int], features: int):
        super().__init__()
        self.body = to_features(kind, shape, features)

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Sample:
        """Features (B, features) of images x (B, *shape), with the images' weights (B,)."""
        return Sample(self.body(x), weight)


class ADA(Model):
    """Adversarial domain adaptation with flipped labels.

    Args:
        shape: of one sample, (C, H, W) or (dimensions,), of both domains.
        network: "mlp" or "conv", for the encoder.
        classes: number of labels, at least 1.
        features: number of coordinates of f, at least 1.
        strength: lambda, the exponent of q^r(y|f); 0 is a classifier of the source alone.
    """

    name = "ada"
    title = "Adversarial domain adaptation"
    paper = "tzeng2017adversarial"
    chapter = "06_domain_adaptation"
    needs = frozenset({"label", "other"})
    default_data = "mnist-mini+mnist-mini/coloured"
    variables: ClassVar[tuple[Variable, ...]] = (
        Variable("x", r"\mathbf{x}", "image", observed=True),
        Variable("f", r"\mathbf{f}", "feature", observed=False),
        Variable("c", "c", "label, known in the source", observed=True),
        Variable("y", "y", "domain: 0 target, 1 source", observed=True),
    )
    factors: ClassVar[tuple[Factor, ...]] = (
        Factor(r"p(\mathbf{x},c\mid y)", "x", ("y",), "generative", None),
        Factor(r"p_\theta(\mathbf{f}\mid\mathbf{x})", "f", ("x",), "generative", "encoder"),
        Factor(r"q_\omega(c\mid\mathbf{f})", "c", ("f",), "inference", "classifier"),
        Factor(r"q_\phi(y\mid\mathbf{f})", "y", ("f",), "adversarial", "discriminator"),
    )
    phases: ClassVar[tuple[Phase, ...]] = (
        Phase(
            "discriminator",
            moves=("discriminator",),
            reduces=r"\mathbb{E}_{p_{\theta_0}(\mathbf{f})}\,\mathrm{KL}\big(p_{\theta_0}"
            r"(y\mid\mathbf{f})\,\|\,q_\phi(y\mid\mathbf{f})\big)",
            direction="q_phi in the second slot, on features of both domains: a sleep step",
            equation="eq-domains-phi-kl",
        ),
        Phase(
            "classifier",
            moves=("classifier",),
            reduces=r"\tfrac12\,\mathbb{E}_{p_{\theta_0}(\mathbf{f}\mid y=1)}\,\mathrm{KL}\big("
            r"p_{\theta_0}(c\mid\mathbf{f},y{=}1)\,\|\,q_\omega(c\mid\mathbf{f})\big)",
            direction="q_omega in the second slot, on features of the source",
            equation="eq-domains-classifier",
        ),
        Phase(
            "encoder",
            moves=("encoder",),
            reduces=r"\mathbb{E}_{p(y,c)}\,\mathrm{KL}\big(p_\theta(\mathbf{f}\mid y,c)\,\|\,"
            r"q^r(\mathbf{f}\mid y,c)\big)-\mathrm{JSD}_\theta"
            r"-\tfrac12 I_\theta(\mathbf{f};c\mid y{=}1)",
            direction="p_theta in the first slot, under y=0 and y=1 alike, at theta_0; "
            "the label c divides the source only",
            equation="eq-domains-gradient",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "mlp",
        classes: int = 10,
        features: int = 64,
        strength: float = 1.0,
    ):
        check_count("classes", classes, "it counts the labels of the source")
        check_count("features", features, "it counts the coordinates of a feature")
        check_strength(strength, "the discriminator's verdict")
        super().__init__(
            shape=tuple(shape),
            network=network,
            classes=classes,
            features=features,
            strength=strength,
        )
        self.strength = strength
        self.encoder = FeatureEncoder(network, shape, features)
        self.classifier = Classifier("mlp", (features,), classes)
        self.discriminator = Discriminator("mlp", (features,))

    # ---- the two laws of features --------------------------------------------------------------

    def source(self, batch: Batch) -> Sample:
        """Features of the source, p_theta(f|y=1), made once a step: value (B, features)."""
        return batch.once("source", lambda: self.encoder(batch.x, batch.weight))

    def target(self, batch: Batch) -> Sample:
        """Features of the target, p_theta(f|y=0), made once a step: value (B', features)."""
        images = second_domain(batch)
        return batch.once("target", lambda: self.encoder(images.x, images.weight))

    # ---- the terms -----------------------------------------------------------------------------

    def domain_log_score(self, source: Sample, target: Sample, flipped: bool) -> Tensor:
        """E log q_phi(y|f) over both domains, or E log q^r(y|f) if `flipped`: (), in nats."""
        sign = -1.0 if flipped else 1.0
        log_q_source = -expect(F.softplus(-sign * self.discriminator(source.value)), source.weight)
        log_q_target = -expect(F.softplus(sign * self.discriminator(target.value)), target.weight)
        return P_Y * log_q_source + P_Y * log_q_target

    def label_log_score(self, source: Sample, label: Tensor) -> Tensor:
        """p(y=1) E log q_omega(c|f) over the source: (), in nats."""
        logits = self.classifier(source.value)  # (..., B, classes)
        log_q = categorical_log_prob(label.expand(logits.shape[:-1]), logits)
        return P_Y * expect(log_q, source.weight)

    def adversarial(self, source: Sample, target: Sample) -> Tensor:
        """What the encoder descends to deceive the discriminator: -E log q^r(y|f)."""
        return -self.domain_log_score(source, target, flipped=True)

    # ---- the phases ----------------------------------------------------------------------------

    def discriminator_loss(self, batch: Batch) -> Loss:
        """-L_phi: how badly q_phi(y|f) tells the domains apart (eq-domains-phi), in nats."""
        source, target = constant(self.source(batch)), constant(self.target(batch))
        value = -self.domain_log_score(source, target, flipped=False)
        with torch.no_grad():
            d_source = expect(torch.sigmoid(self.discriminator(source.value)), source.weight)
            d_target = expect(torch.sigmoid(self.discriminator(target.value)), target.weight)
        return Loss(value, {"loss": value.detach(), "D(source)": d_source, "D(target)": d_target})

    def classifier_loss(self, batch: Batch) -> Loss:
        """Half the cross-entropy of the source's labels (eq-domains-classifier), in nats."""
        value = -self.label_log_score(constant(self.source(batch)), known_label(batch))
        return Loss(value, {"loss": value.detach()})

    def encoder_loss(self, batch: Batch) -> Loss:
        """lambda * adversarial + half the cross-entropy of the labels (eq-domains-theta)."""
        source, target = self.source(batch), self.target(batch)
        adversarial = self.adversarial(source, target)
        task = -self.label_log_score(source, known_label(batch))
        value = self.strength * adversarial + task
        terms = {"loss": value, "adversarial": adversarial, "labels": task}
        return Loss(value, {name: term.detach() for name, term in terms.items()})

    # ---- use -----------------------------------------------------------------------------------

    def source_features(self, x: Tensor) -> Tensor:
        """Features of images of the source: x (B, *shape) -> (B, features)."""
        return self.encoder(x).value

    def target_features(self, x: Tensor) -> Tensor:
        """Features of images of the target: x (B, *shape) -> (B, features)."""
        return self.encoder(x).value

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """The likeliest label of images of the *target*: x (B, *shape) -> (B,) int64."""
        return self.classifier(self.target_features(x)).argmax(-1)

    @torch.no_grad()
    def picture(self, test_set: Dataset, n: int) -> Tensor:
        """n images of the target, in the order of the labels that the model reads from them."""
        target = test_set.other or test_set
        x = target.images(torch.randperm(len(target))[:n])
        return x[self.predict(x).argsort(stable=True)]

    @torch.no_grad()
    def own_metrics(self, test_set: Dataset) -> dict[str, float]:
        """source_accuracy and target_accuracy, as far as the two domains of `test_set` have labels.

        The share of images whose likeliest label is the true one. A `test_set` of a single domain
        is a target.
        """
        readers = {"target": (test_set.other or test_set, self.target_features)}
        if test_set.other is not None:
            readers["source"] = (test_set, self.source_features)
        found = {}
        for name, (images, features) in sorted(readers.items()):
            if images.labels is not None:
                right = 0
                for start in range(0, len(images), 500):
                    at = slice(start, start + 500)
                    guess = self.classifier(features(images.images(at))).argmax(-1)
                    right += int((guess == images.labels[at]).sum())
                found[f"{name}_accuracy"] = right / len(images)
        return found


def second_domain(batch: Batch) -> Batch:
    """The images of the second domain, or one sentence."""
    if batch.other is None:
        raise UnigenError(
            "This batch has one domain only: give Batch(..., other=) the images of the target."
        )
    return batch.other


def known_label(batch: Batch) -> Tensor:
    """The labels of the source: (B,) int64."""
    if batch.label is None:
        raise UnigenError("The images of the source have no labels: give Batch(..., label=).")
    return batch.label
