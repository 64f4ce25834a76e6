r"""Semi-supervised adversarial autoencoder: part of the code is a class, and a few labels name it.

Graphical model: the adversarial autoencoder's, its code split into a style z and a class c, which
do not share a discriminator: q_phi(y|z) compares styles with N(0, I), q_psi(y|c) compares classes
with one-hot draws of equal probability. The encoder makes both, z = f(x) and the probabilities
c = softmax(l(x)); the decoder reads both. A few labelled images (`batch.other`) say which class is
which.

    discriminator        as in the AAE, on styles                             (eq-codes-aae-phi)
    class_discriminator  the same, on classes                         (eq-conditional-aae-class)
    encoder              1/2 E [ -log D(z) - log D(c) - lambda log q_eta(x|z,c) ]
                                                                    (eq-conditional-aae-encoder)
    decoder              E [ -log q_eta(x|z,c) ]                          (eq-codes-aae-decoder)
    supervised           E_labelled [ -log q_theta(c|x) ], q_theta = softmax(l(x))
                                                                 (eq-conditional-aae-supervised)

The encoder's gradient is that of the AAE with q_phi^r(y|z) q_psi^r(y|c) in the place of one judge:
Lemma 1 asks of the scores only that they are positive.

Paper: Makhzani et al. 2016, section 5. Left out: the unsupervised variant, which has no last phase.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from unigen_edu.data import Dataset
from unigen_edu.declarations import (
    Batch,
    Factor,
    Loss,
    Phase,
    Sample,
    Variable,
    check_count,
    expect,
)
from unigen_edu.densities import DiagonalNormal, categorical_log_prob
from unigen_edu.errors import UnigenError
from unigen_edu.models.aae import AAE, PointMass
from unigen_edu.networks import Decoder, Discriminator, to_features
from unigen_edu.noise import uniform


class StyleAndClass:
    """The law of (z, c) for a batch of x: a law of styles, and one vector of class probabilities.

    style: codes (B, L).  logits: (B, K) of the class.
    """

    def __init__(self, style: PointMass | DiagonalNormal, logits: Tensor):
        self.style = style
        self.logits = logits

    @property
    def mean(self) -> Tensor:
        """(B, L + K): the mean style, and the class probabilities beside it."""
        return torch.cat([self.style.mean, self.logits.softmax(-1)], -1)

    def sample(self) -> Sample:
        """One style for each x, and the class probabilities beside it: value (1, B, L + K)."""
        z = self.style.sample().value
        return Sample(torch.cat([z, self.logits.softmax(-1).expand(len(z), -1, -1)], -1))

    def log_prob_class(self, label: Tensor) -> Tensor:
        """log q(c|x) of the label: (B,) int64 -> (B,), in nats."""
        return categorical_log_prob(label, self.logits)


class StyleAndClassEncoder(nn.Module):
    """One network for style and class: what tells digits apart serves both."""

    def __init__(self, kind: str, shape: Sequence[int], latent: int, classes: int, posterior: str):
        super().__init__()
        self.sizes = (latent if posterior == "deterministic" else 2 * latent, classes)
        self.gaussian = posterior == "gaussian"
        self.body = to_features(kind, shape, sum(self.sizes))

    def forward(self, x: Tensor) -> StyleAndClass:
        """x (B, *shape) -> the law of (z, c)."""
        style, logits = self.body(x).split(self.sizes, -1)
        law = DiagonalNormal(*style.chunk(2, -1)) if self.gaussian else PointMass(style)
        return StyleAndClass(law, logits)


class AAESemi(AAE):
    """AAE + a class in the code + a discriminator for it + a supervised phase.

    Args:
        shape, network, posterior, likelihood, strength: as for `AAE`.
        latent: coordinates of the style, at least 1.
        classes: number of classes, at least 2.
    """

    name = "aae-semi"
    title = "Semi-supervised adversarial autoencoder"
    chapter = "17_conditional"
    needs = frozenset({"other label"})
    default_data = "mnist-mini+100"
    variables: ClassVar[tuple[Variable, ...]] = (
        *AAE.variables[:1],
        Variable("z", r"\mathbf{z}", "style", observed=False),
        Variable("c", "c", "class", observed=False),
        AAE.variables[2],
    )
    factors: ClassVar[tuple[Factor, ...]] = (
        Factor(r"p_\theta(\mathbf{z}\mid\mathbf{x},y)", "z", ("x", "y"), "generative", "encoder"),
        Factor(r"p_\theta(c\mid\mathbf{x},y)", "c", ("x", "y"), "generative", "encoder"),
        Factor(r"q_\eta(\mathbf{x}\mid\mathbf{z},c)", "x", ("z", "c"), "inference", "decoder"),
        AAE.factors[2],
        Factor(r"q_\psi(y\mid c)", "y", ("c",), "adversarial", "class_discriminator"),
    )
    phases: ClassVar[tuple[Phase, ...]] = (
        AAE.phases[0],
        Phase(
            "class_discriminator",
            moves=("class_discriminator",),
            reduces=r"\mathbb{E}_{p_{\theta_0}(c)}\,"
            r"\mathrm{KL}\big(p_{\theta_0}(y\mid c)\,\|\,q_\psi(y\mid c)\big)",
            direction="q_psi in the second slot, on classes of both domains: a sleep step",
            equation="eq-conditional-aae-class",
        ),
        Phase(
            "encoder",
            moves=("encoder",),
            reduces=r"\mathbb{E}_{p(\mathbf{x},y)}\,\mathrm{KL}\big(p_\theta(\mathbf{z},c\mid"
            r"\mathbf{x},y)\,\|\,q^r(\mathbf{z},c\mid\mathbf{x},y)\big)-\mathrm{JSD}_\theta"
            r"-\tfrac12 I_\theta(\mathbf{x};\mathbf{z},c)",
            direction="p_theta in the first slot, at theta_0; the target multiplies two judges",
            equation="eq-conditional-aae-encoder",
        ),
        Phase(
            "decoder",
            moves=("decoder",),
            reduces=r"\mathbb{E}_{p_{\theta_0}(\mathbf{z},c\mid y=0)}\,\mathrm{KL}\big("
            r"p_{\theta_0}(\mathbf{x}\mid\mathbf{z},c)\,\|\,q_\eta(\mathbf{x}\mid\mathbf{z},c)\big)",
            direction="q_eta in the second slot, on the codes of the data",
            equation="eq-codes-aae-decoder",
        ),
        Phase(
            "supervised",
            moves=("encoder",),
            reduces=r"\mathbb{E}_{p_{lab}(\mathbf{x})}\,\mathrm{KL}\big(p_{lab}(c\mid\mathbf{x})"
            r"\,\|\,p_\theta(c\mid\mathbf{x},y{=}0)\big)",
            direction="p_theta in the second slot, on labelled images",
            equation="eq-conditional-aae-supervised",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "mlp",
        latent: int = 8,
        posterior: str = "deterministic",
        likelihood: str = "bernoulli",
        strength: float = 0.1,
        classes: int = 10,
    ):
        check_count("classes", classes, "it counts the classes that a code can name")
        if classes < 2:
            raise UnigenError(
                "classes is 1, but a class that never differs tells nothing: use the model 'aae'."
            )
        super().__init__(shape, network, latent, posterior, likelihood, strength)
        self.config["classes"] = classes
        self.classes = classes
        self.encoder = StyleAndClassEncoder(network, shape, latent, classes, posterior)
        self.decoder = Decoder(network, shape, latent + classes, likelihood)
        self.class_discriminator = Discriminator("mlp", (classes,))

    def class_prior(self, n: int) -> Sample:
        """n one-hot classes of equal probability: value (n, classes)."""
        like = next(self.parameters())
        drawn = (uniform(n, like=like) * self.classes).long().clamp(max=self.classes - 1)
        return Sample(self.one_hot(drawn))

    def one_hot(self, label: Tensor) -> Tensor:
        """(n,) int64 -> (n, classes), with the precision of the parameters."""
        like = next(self.parameters())
        return (label.unsqueeze(-1) == torch.arange(self.classes, device=label.device)).to(like)

    def style(self, code: Tensor) -> Tensor:
        """z of a code (z, c): (..., latent + classes) -> (..., latent)."""
        return code[..., : self.latent]

    def class_of(self, code: Tensor) -> Tensor:
        """c of a code (z, c): (..., latent + classes) -> (..., classes)."""
        return code[..., self.latent :]

    def judged(self, code: Tensor) -> dict[str, Tensor]:
        """The logits of both discriminators: (1, B, latent + classes) -> (1, B) each."""
        return {
            "-log D(z)": self.discriminator(self.style(code)),
            "-log D(c)": self.class_discriminator(self.class_of(code)),
        }

    def class_discriminator_loss(self, batch: Batch) -> Loss:
        """How badly q_psi(y|c) tells classes from one-hot draws (eq-conditional-aae-class)."""
        code, weight = self.codes(batch)
        classes = Sample(self.class_of(code), weight)
        prior = self.class_prior(len(batch))
        return self.tell_apart(self.class_discriminator, prior, classes, batch)

    def supervised_loss(self, batch: Batch) -> Loss:
        """E[-log q(c|x)] of the labelled images in nats (eq-conditional-aae-supervised)."""
        labelled = batch.other
        if labelled is None or labelled.label is None:
            raise UnigenError(
                "The supervised phase needs labelled images in batch.other: "
                "train with data such as 'mnist-mini+100'."
            )
        log_q = self.encoder(labelled.x).log_prob_class(labelled.label)
        value = -expect(log_q, labelled.weight)
        return Loss(value, {"loss": value.detach()})

    @torch.no_grad()
    def classify(self, x: Tensor) -> Tensor:
        """log q(c|x): (B, *shape) -> (B, classes)."""
        return self.encoder(x).logits.log_softmax(-1)

    @torch.no_grad()
    def sample(self, n: int, label: Tensor | None = None) -> Tensor:
        """Means of q(x|z,c) at styles from the prior: (n, *shape).

        label: (n,) int64; None: the classes take turns, 0, 1, ..., 0, 1, ...
        """
        z = self.prior(n).value
        label = torch.arange(n, device=z.device) % self.classes if label is None else label
        return self.decoder(torch.cat([z, self.one_hot(label)], -1))

    @torch.no_grad()
    def own_metrics(self, test_set: Dataset) -> dict[str, float]:
        """Those of the AAE, for the style; test_error: share of images whose class is wrong."""
        found = super().own_metrics(test_set)
        if test_set.labels is not None:
            starts = range(0, len(test_set), 1000)
            guess = [self.classify(test_set.images(slice(at, at + 1000))) for at in starts]
            wrong = torch.cat(guess).argmax(1) != test_set.labels
            found["test_error"] = wrong.double().mean().item()
        return found
