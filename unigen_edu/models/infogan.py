r"""InfoGAN: a GAN whose generator must leave a readable trace of a code.

Graphical model: the GAN's, and a code c beside the noise z. The code has one category and a few
continuous coordinates; x = G(c, z). A recogniser q_eta(c|x) reads the code from the image. Under
y = 0 the code made x; under y = 1, x is a data point and the code stands apart from it.

    discriminator   as in the GAN                                              (eq-lemma1-phi)
    generator       1/2 E_{p(c) p_theta(x|c)} [ -log D(x) - lambda log q_eta(c|x) ]
                                                                               (eq-codes-infogan)
    code            E_{p(c) p_theta0(x|c)} [ -log q_eta(c|x) ]                    (eq-codes-sleep)

The generator's gradient at theta_0 is that of E KL - JSD - I_theta(x; c|y), where the KL aims at
q^r(x|c,y), proportional to q_eta(c|x)^lambda q^r(y|x) p_theta0(x). The last term is there unless
x determines the code. The code's step is a sleep step: eta learns on dreams, whose code is known.

The recogniser has a network of its own. Papers let it share the discriminator's body to save time;
then two phases would move the same parameters, and neither would reduce the divergence it claims.

Paper: Chen et al. 2016. Their q of a continuous code is a Gaussian, as here (mean from x, one
learned scale per coordinate). Left out: several categorical codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unigen_edu.data import Dataset
from unigen_edu.declarations import (
    P_Y,
    Batch,
    Factor,
    Loss,
    Phase,
    Sample,
    Variable,
    check_count,
    check_strength,
    expect,
    from_both_sides,
)
from unigen_edu.densities import categorical_log_prob, gaussian_log_prob
from unigen_edu.errors import UnigenError
from unigen_edu.matching import matched_accuracy
from unigen_edu.models.gan import GAN
from unigen_edu.networks import Generator, beside_label, evaluating, to_features
from unigen_edu.noise import normal, uniform


class Code(NamedTuple):
    """What the recogniser is to find. category: (B,) int64. continuous: (B, m) in [-1, 1]."""

    category: Tensor
    continuous: Tensor


class CodedSample(NamedTuple):
    """Images, the codes that made them, and their probabilities (None: draws)."""

    value: Tensor  # (B, *shape)
    code: Code
    weight: Tensor | None = None


class CodedGenerator(Generator):
    """p_theta(x|c, y=0): x = G(c, z) with noise z ~ N(0, I).

    p(c): a uniform category, and continuous coordinates uniform on [-1, 1].
    """

    def __init__(
        self, kind: str, shape: Sequence[int], latent: int, categories: int, continuous: int
    ):
        super().__init__(kind, shape, latent + categories + continuous)
        self.noise_size = latent
        self.categories = categories
        self.continuous = continuous

    def codes(self, n: int) -> Code:
        """n draws from p(c)."""
        like = next(self.parameters())
        share = uniform(n, like=like)  # below 1, but a product may be rounded up
        category = (share * self.categories).long().clamp(max=self.categories - 1)
        return Code(category, 2.0 * uniform(n, self.continuous, like=like) - 1.0)

    def inputs(self, code: Code) -> Tensor:
        """Fresh noise, the continuous code and the one-hot category: (B, inputs)."""
        fresh = normal(len(code.category), self.noise_size, like=code.continuous)
        beside = torch.cat([fresh, code.continuous], 1)
        return beside_label(beside, code.category, self.categories)

    def noise(self, n: int) -> Tensor:
        """n inputs of the network, codes included: (n, inputs)."""
        return self.inputs(self.codes(n))

    def sample_with_code(self, n: int) -> CodedSample:
        """n reparameterised draws with the codes that made them."""
        code = self.codes(n)
        return CodedSample(self(self.inputs(code)), code)


class Recogniser(nn.Module):
    """q_eta(c|x): a categorical and, independent of it given x, a Gaussian."""

    def __init__(self, kind: str, shape: Sequence[int], categories: int, continuous: int):
        super().__init__()
        self.categories = categories
        self.body = to_features(kind, shape, categories + continuous)
        self.log_var = nn.Parameter(torch.zeros(continuous))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, *shape) -> logits of the category (B, K) and mean of the rest (B, m)."""
        found = self.body(x)
        return found[:, : self.categories], found[:, self.categories :]

    def log_prob(self, code: Code, x: Tensor) -> Tensor:
        """log q(c|x), summed over the parts of the code: (B,), in nats."""
        logits, mean = self(x)
        log_q_category = categorical_log_prob(code.category, logits)
        return log_q_category + gaussian_log_prob(code.continuous, mean, self.log_var)


class InfoGAN(GAN):
    """GAN + a code + the recogniser that must find it in the image.

    Args:
        shape, network: as for `GAN`.
        latent: coordinates of the noise, at least 1; the code comes on top.
        categories: values of the categorical code, at least 1.
        continuous: number of continuous coordinates of the code, at least 0.
        strength: lambda, the exponent of q_eta(c|x); 0 is a GAN with a code that nobody reads.
    """

    generator: CodedGenerator
    recogniser: Recogniser

    name = "infogan"
    title = "InfoGAN"
    paper = "chen2016infogan"
    chapter = "08_codes"
    variables: ClassVar[tuple[Variable, ...]] = (
        Variable("z", r"\mathbf{z}", "noise", observed=False),
        Variable("c", r"\mathbf{c}", "code: a category and continuous coordinates", observed=False),
        Variable("x", r"\mathbf{x}", "image", observed=True),
        Variable("y", "y", "domain: 0 generated, 1 data", observed=True),
    )
    factors: ClassVar[tuple[Factor, ...]] = (
        Factor(
            r"p_\theta(\mathbf{x}\mid\mathbf{z},\mathbf{c},y)",
            "x",
            ("z", "c", "y"),
            "generative",
            "generator",
        ),
        Factor(r"q_\eta(\mathbf{c}\mid\mathbf{x})", "c", ("x",), "inference", "recogniser"),
        Factor(r"q_\phi(y\mid\mathbf{x})", "y", ("x",), "adversarial", "discriminator"),
    )
    phases: ClassVar[tuple[Phase, ...]] = (
        GAN.phases[0],
        Phase(
            "generator",
            moves=("generator",),
            reduces=r"\mathbb{E}_{p(\mathbf{c},y)}\,\mathrm{KL}\big(p_\theta(\mathbf{x}\mid"
            r"\mathbf{c},y)\,\|\,q^r(\mathbf{x}\mid\mathbf{c},y)\big)-\mathrm{JSD}_\theta"
            r"-I_\theta(\mathbf{x};\mathbf{c}\mid y)",
            direction="p_theta in the first slot, at theta_0; the target holds q_eta(c|x)^lambda",
            equation="eq-codes-infogan",
        ),
        Phase(
            "code",
            moves=("recogniser",),
            reduces=r"\mathbb{E}_{p_{\theta_0}(\mathbf{x}\mid y=0)}\,\mathrm{KL}\big(p_{\theta_0}"
            r"(\mathbf{c}\mid\mathbf{x})\,\|\,q_\eta(\mathbf{c}\mid\mathbf{x})\big)",
            direction="q_eta in the second slot, on dreams: a sleep step",
            equation="eq-codes-sleep",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "mlp",
        latent: int = 62,
        categories: int = 10,
        continuous: int = 2,
        strength: float = 1.0,
    ):
        check_count("categories", categories, "it counts the values of the categorical code")
        if isinstance(continuous, bool) or not isinstance(continuous, int) or continuous < 0:
            raise UnigenError(
                f"continuous is {continuous!r}, but it counts the continuous coordinates of the "
                "code: give a whole number of at least 0."
            )
        check_strength(strength, "log q(c|x)")
        super().__init__(shape=shape, network=network, latent=latent)
        del self.config["objective"]  # Lemma 1 extends to codes for the non-saturating loss
        self.config |= {"categories": categories, "continuous": continuous, "strength": strength}
        self.strength = strength
        self.generator = CodedGenerator(network, shape, latent, categories, continuous)
        self.recogniser = Recogniser(network, shape, categories, continuous)

    def coded(self, batch: Batch) -> CodedSample:
        """Draws from p(c) p_theta(x|c), one per data point, made once a step."""
        return batch.once("coded", lambda: self.generator.sample_with_code(len(batch)))

    def generated(self, batch: Batch) -> Sample:
        """The images of `coded`, as the discriminator sees them: value (B, *shape)."""
        x, _, weight = self.coded(batch)
        return Sample(x, weight)

    def generator_loss(self, batch: Batch) -> Loss:
        """1/2 E[-log D(x) - lambda log q(c|x)] in nats (eq-codes-infogan)."""
        x, _, weight = self.coded(batch)
        adversarial = expect(F.softplus(-self.logits(x, batch)), weight)
        recognition = self.recognition(batch, moving="generator")
        value = P_Y * (adversarial + self.strength * recognition)
        terms = {"loss": value, "-log D": adversarial, "-log q(c|x)": recognition}
        return Loss(value, {name: term.detach() for name, term in terms.items()})

    def code_loss(self, batch: Batch) -> Loss:
        """E[-log q(c|x)] in nats, on dreams of theta_0 (eq-codes-sleep)."""
        value = self.recognition(batch, moving="recogniser")  # and not the generator
        return Loss(value, {"loss": value.detach()})

    def recognition(self, batch: Batch, moving: str) -> Tensor:
        """E[-log q(c|x)] in nats, with its gradient in the "generator" or in the "recogniser".

        The phase that comes first makes it for both; the recogniser may not move in between. The
        code is a constant here: p(c) is not learned.
        """
        x, code, weight = self.coded(batch)

        def cost(images: Sample) -> Tensor:
            return -expect(self.recogniser.log_prob(code, images.value), images.weight)

        return batch.one_of_both(
            "recognition",
            ("generator", "recogniser").index(moving),
            lambda: from_both_sides(cost, Sample(x, weight), self.recogniser),
        )

    @torch.no_grad()
    def sample(self, n: int, code: Code | None = None) -> Tensor:
        """`n` draws from p_g, or from p_theta(x|c) for `n` given codes: (n, *shape)."""
        with evaluating(self.generator):
            code = self.generator.codes(n) if code is None else code
            return self.generator(self.generator.inputs(code))

    @torch.no_grad()
    def own_metrics(self, test_set: Dataset) -> dict[str, float]:
        """code_accuracy: how well the recognised category names the class of real test images.

        The categories have no names, so each is first matched with a class, one to one and as
        well as possible. Training saw no label. Empty if the test set has none.
        """
        if test_set.labels is None:
            return {}
        starts = range(0, len(test_set), 1000)
        logits = [self.recogniser(test_set.images(slice(at, at + 1000)))[0] for at in starts]
        return {"code_accuracy": matched_accuracy(torch.cat(logits).argmax(1), test_set.labels)}
