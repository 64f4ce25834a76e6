r"""CycleGAN: two domains without pairs, a translator each way, and a cycle that must close.

Graphical model: x is an image of domain A, z an image of domain B, and two translators connect
them, G with p_theta(x|z) and F with q_eta(z|x). It is two systems that share their networks:

    half 1   z ~ p_B is a code, G makes x from it, a discriminator compares x with the data of A,
             and F must recognise the code in x: an InfoGAN;
    half 2   x ~ p_A is the code, F makes z, a discriminator compares z with the data of B, and G
             must give x back: an adversarial autoencoder, that is, InfoGAN with x and z exchanged.

y = 0 marks what was translated, y = 1 data. With a_A, a_B the logits of the discriminators,
`softplus(-a) = -log D` and uniform p(y):

    discriminators  1/2 E_{p_A} softplus(-a_A(x)) + 1/2 E_{p_B} softplus(a_A(G(z)))
                  + 1/2 E_{p_B} softplus(-a_B(z)) + 1/2 E_{p_A} softplus(a_B(F(x)))  (eq-cycles-phi)
    translators     1/2 E_{p_B}[ softplus(-a_A(G(z))) - lambda log q_eta(z|G(z)) ]
                  + 1/2 E_{p_A}[ softplus(-a_B(F(x))) - lambda log p_theta(x|F(x)) ]
                                                                                   (eq-cycles-theta)

At theta_0 the gradient in theta of the last two lines is that of InfoGAN for half 1, and from half
2 one term more, lambda/2 times a KL in which p_theta, as recogniser, stands in the second slot
(eq-cycles-gradient). The same holds for eta with the halves exchanged.

Is the cycle loss a log-likelihood? A translator that recognises is a Laplace distribution around
its output: -log q_eta(z|x) = ||z - F(x)||_1 + D log 2, summed over the D coordinates, with the
scale fixed at 1. So lambda times the L1 error is, up to a constant, minus the log of q_eta^lambda,
and also of a Laplace of scale 1/lambda. (On a bounded range such as [0, 1] the normaliser of the
Laplace depends on F(x); the paper and this model take it as constant.)

Paper: Zhu et al. 2017. Left out: least squares in place of log D, the buffer of old translations,
the identity loss, patches, instance normalisation and residual blocks.
"""

from __future__ import annotations

import math
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
    check_strength,
    constant,
    expect,
)
from unigen_edu.densities import laplace_log_prob
from unigen_edu.errors import UnigenError
from unigen_edu.models.ada import second_domain
from unigen_edu.networks import Discriminator, _mlp, check_network


def _block(layer: nn.Module, width: int) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(width), nn.LeakyReLU(0.2, inplace=True))


class NearAndFar(nn.Module):
    """Images to images of the same size, the sum of two maps.

    near: a pixel sees its neighbours, 3x3 twice at full size. far: it sees its place and the whole,
    14x14-7x7-7x7-14x14-28x28 (8x8 for 32x32).
    """

    def __init__(self, channels: int, width: int = 16):
        super().__init__()
        w = width
        self.near = nn.Sequential(
            _block(nn.Conv2d(channels, w, 3, padding=1), w),
            nn.Conv2d(w, channels, 3, padding=1),
        )
        self.far = nn.Sequential(
            _block(nn.Conv2d(channels, w, 4, stride=2, padding=1), w),
            _block(nn.Conv2d(w, 2 * w, 4, stride=2, padding=1), 2 * w),
            _block(nn.Conv2d(2 * w, 2 * w, 3, padding=1), 2 * w),
            _block(nn.ConvTranspose2d(2 * w, w, 4, stride=2, padding=1), w),
            nn.ConvTranspose2d(w, channels, 4, stride=2, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), without a last activation."""
        return self.near(z) + self.far(z)


def translation(kind: str, shape: Sequence[int]) -> nn.Module:
    """Network from samples (B, *shape) to samples of the same shape; images leave in [0, 1].

    mlp: pixels-512-pixels (points: 64-64). conv: `NearAndFar`. Images pass batch normalisation:
    without it the first steps make one grey picture of all of them, and stay there.
    """
    check_network(kind, shape)
    size = math.prod(shape)
    if len(shape) == 1:
        return _mlp((size, 64, 64, size))
    if kind == "conv":
        return nn.Sequential(NearAndFar(shape[0]), nn.Sigmoid())
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(size, 512),
        nn.BatchNorm1d(512),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Linear(512, size),
        nn.Unflatten(1, tuple(shape)),
        nn.Sigmoid(),
    )


class Translator(nn.Module):
    """A map G between domains, and as a recogniser the Laplace distribution around G(z)."""

    def __init__(self, kind: str, shape: Sequence[int]):
        super().__init__()
        self.shape = tuple(shape)
        self.body = translation(kind, shape)

    def forward(self, z: Tensor) -> Tensor:
        """(B, *shape) of one domain -> (B, *shape) of the other."""
        if self.training and len(z) < 2 and len(self.shape) == 3:
            raise UnigenError(
                "Batch normalisation has nothing to average over a single image: train with a "
                "batch_size of at least 2."
            )
        return self.body(z)

    def translate(self, batch: Batch) -> Sample:
        """A batch in the other domain, with the weights of the batch: value (..., B, *shape)."""
        return Sample(self(batch.x), batch.weight)

    def log_prob(self, x: Tensor, z: Tensor) -> Tensor:
        """log Laplace(x; G(z), 1), summed over the event: x and z (B, *shape) -> (B,), in nats."""
        return laplace_log_prob(x, self(z), x.new_zeros(()))


class CycleGAN(Model):
    """CycleGAN with the non-saturating loss.

    Args:
        shape: of one sample, (C, H, W) or (dimensions,), of both domains.
        network: "mlp" or "conv", of the translators. On images use "conv": both match the laws and
            close the cycle, but only "conv" finds the pairs (chapter 9 shows it).
        strength: weight of the cycle's L1 error *averaged* over the D coordinates, as the paper
            gives it; lambda = strength / D. 0 is two GANs that know nothing of each other.
    """

    name = "cyclegan"
    title = "CycleGAN"
    paper = "zhu2017unpaired"
    chapter = "09_cycles"
    needs = frozenset({"other"})
    default_data = "mnist-mini+mnist-mini/inverted"
    variables: ClassVar[tuple[Variable, ...]] = (
        Variable("z", r"\mathbf{z}", "image of domain B", observed=True),
        Variable("x", r"\mathbf{x}", "image of domain A", observed=True),
        Variable("y", "y", "0 translated, 1 data", observed=True),
    )
    factors: ClassVar[tuple[Factor, ...]] = (
        Factor(r"p_\theta(\mathbf{x}\mid\mathbf{z},y)", "x", ("z", "y"), "generative", "to_a"),
        Factor(r"q_\eta(\mathbf{z}\mid\mathbf{x},y)", "z", ("x", "y"), "inference", "to_b"),
        Factor(r"q_\phi(y\mid\mathbf{x})", "y", ("x",), "adversarial", "discriminator_a"),
        Factor(r"q_\psi(y\mid\mathbf{z})", "y", ("z",), "adversarial", "discriminator_b"),
    )
    phases: ClassVar[tuple[Phase, ...]] = (
        Phase(
            "discriminators",
            moves=("discriminator_a", "discriminator_b"),
            reduces=r"\mathbb{E}_{p_{\theta_0}(\mathbf{x})}\,\mathrm{KL}\big(p_{\theta_0}"
            r"(y\mid\mathbf{x})\,\|\,q_\phi(y\mid\mathbf{x})\big)+\mathbb{E}_{q_{\eta_0}(\mathbf{z})}"
            r"\,\mathrm{KL}\big(q_{\eta_0}(y\mid\mathbf{z})\,\|\,q_\psi(y\mid\mathbf{z})\big)",
            direction="q_phi and q_psi in the second slot, on data and translations: sleep steps",
            equation="eq-cycles-phi-kl",
        ),
        Phase(
            "translators",
            moves=("to_a", "to_b"),
            reduces=r"\Big\{\mathbb{E}_{p(\mathbf{z},y)}\,\mathrm{KL}\big(p_\theta(\mathbf{x}\mid"
            r"\mathbf{z},y)\,\|\,q^r(\mathbf{x}\mid\mathbf{z},y)\big)-\mathrm{JSD}_\theta"
            r"-\tfrac12 I_\theta(\mathbf{x};\mathbf{z})+\tfrac\lambda2\,\mathbb{E}_{q_{\eta_0}"
            r"(\mathbf{z}\mid y=0)}\,\mathrm{KL}\big(q_{\eta_0}(\mathbf{x}\mid\mathbf{z})\,\|\,"
            r"p_\theta(\mathbf{x}\mid\mathbf{z})\big)\Big\}+\{\theta,\mathbf{x},A\leftrightarrow"
            r"\eta,\mathbf{z},B\}",
            direction="each translator twice: as generator in the first slot, at theta_0, "
            "and as recogniser of the other's code in the second",
            equation="eq-cycles-gradient",
        ),
    )

    def __init__(
        self, shape: Sequence[int] = (1, 28, 28), network: str = "conv", strength: float = 10.0
    ):
        check_strength(strength, "the cycle's error")
        super().__init__(shape=tuple(shape), network=network, strength=strength)
        self.exponent = strength / math.prod(shape)  # lambda
        self.to_a = Translator(network, shape)
        self.to_b = Translator(network, shape)
        # Judges of the whole image; those of `conv` are no better here and cost four times as much.
        self.discriminator_a = Discriminator("mlp", shape)
        self.discriminator_b = Discriminator("mlp", shape)

    def in_a(self, batch: Batch) -> Sample:
        """G(z) for the images of B, made once a step: value (B, *shape)."""
        return batch.once("in A", lambda: self.to_a.translate(second_domain(batch)))

    def in_b(self, batch: Batch) -> Sample:
        """F(x) for the images of A, made once a step: value (B, *shape)."""
        return batch.once("in B", lambda: self.to_b.translate(batch))

    def discriminators_loss(self, batch: Batch) -> Loss:
        """How badly both tell data from translations (eq-cycles-phi), in nats."""
        in_a, in_b = constant(self.in_a(batch)), constant(self.in_b(batch))
        of_a = self.cross_entropy(self.discriminator_a, batch, in_a)
        of_b = self.cross_entropy(self.discriminator_b, second_domain(batch), in_b)
        value = of_a + of_b
        return Loss(value, {"loss": value.detach(), "A": of_a.detach(), "B": of_b.detach()})

    def cross_entropy(self, discriminator: nn.Module, data: Batch, made: Sample) -> Tensor:
        """-E log q(y|.) of one discriminator on data and translations: (), in nats."""
        of_data = expect(F.softplus(-discriminator(data.x)), data.weight)
        of_made = expect(F.softplus(discriminator(made.value)), made.weight)
        return P_Y * of_data + P_Y * of_made

    def translators_loss(self, batch: Batch) -> Loss:
        """Both halves, adversary and cycle (eq-cycles-theta), in nats."""
        a, b = batch, second_domain(batch)
        fool_a, cycle_b = self.translation(b, self.in_a(batch), self.discriminator_a, self.to_b)
        fool_b, cycle_a = self.translation(a, self.in_b(batch), self.discriminator_b, self.to_a)
        value = P_Y * (fool_a + self.exponent * cycle_b) + P_Y * (fool_b + self.exponent * cycle_a)
        terms = {
            "loss": value,
            "-log D(A)": fool_a,
            "-log D(B)": fool_b,
            "-log p(x|F(x))": cycle_a,
            "-log q(z|G(z))": cycle_b,
        }
        return Loss(value, {name: term.detach() for name, term in terms.items()})

    def translation(
        self, code: Batch, made: Sample, discriminator: nn.Module, recogniser: Translator
    ) -> tuple[Tensor, Tensor]:
        """-E log D(made) and -E log p(code|made), as of an InfoGAN: () each, in nats."""
        adversarial = expect(F.softplus(-discriminator(made.value)), made.weight)
        cycle = -expect(recogniser.log_prob(code.x, made.value), made.weight)
        return adversarial, cycle

    @torch.no_grad()
    def picture(self, test_set: Dataset, n: int) -> Tensor:
        """Fours of x, F(x), z, G(z), at most n images in all; points: translations into A alone."""
        if test_set.other is None:
            raise UnigenError("CycleGAN translates: it needs a test set of two domains.")
        fours = max(1, min(n // 4, len(test_set), len(test_set.other)))
        at = torch.randperm(min(len(test_set), len(test_set.other)))
        if len(self.shape) == 1:
            return self.to_a(test_set.other.images(at[:n]))
        x, z = test_set.images(at[:fours]), test_set.other.images(at[-fours:])
        return torch.stack([x, self.to_b(x), z, self.to_a(z)], 1).flatten(0, 1)

    @torch.no_grad()
    def own_metrics(self, test_set: Dataset) -> dict[str, float]:
        """Mean absolute errors per coordinate, on a test set of two domains; {} for a single one.

        cycle_error_a, cycle_error_b: of G(F(x)) against x and of F(G(z)) against z. They say that
        the maps are inverse to each other, not that they are right.
        pairing_error_to_a, pairing_error_to_b: of G(z) against the true x and of F(x) against the
        true z, where B is a known transform of A, so that images of one index are a pair.
        pairing_error_identity: of z against x, what a map that changes nothing would have.
        """
        if test_set.other is None:
            return {}
        names = ["cycle_error_a", "cycle_error_b"]
        first, paired = test_set.name.partition("+")[0], test_set.other.name
        if paired.partition("/")[0] == first and len(test_set) == len(test_set.other):
            names += ["pairing_error_to_a", "pairing_error_to_b", "pairing_error_identity"]
        n = min(len(test_set), len(test_set.other))
        sums = torch.zeros(len(names), dtype=torch.float64)
        for start in range(0, n, 500):
            at = slice(start, min(start + 500, n))
            x, z = test_set.images(at), test_set.other.images(at)
            in_a, in_b = self.to_a(z), self.to_b(x)
            compared = [(self.to_a(in_b), x), (self.to_b(in_a), z), (in_a, x), (in_b, z), (z, x)]
            for i in range(len(names)):
                found, true = compared[i]
                sums[i] += (found - true).abs().flatten(1).mean(1).sum().cpu()
        return dict(zip(names, (sums / n).tolist(), strict=True))
