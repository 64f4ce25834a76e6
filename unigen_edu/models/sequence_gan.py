r"""GAN of sequences: tokens are drawn, not computed.

Graphical model: that of the GAN, without z. The generator is a chain
p_theta(x|y=0) = prod_t p_theta(x_t|x_<t); its noise is in the draws of the tokens. Discriminator
and discriminator phase are the GAN's. What changes is how the generator's gradient is had: x is
discrete, so there is no derivative of a(x) by x to pass back.

With the cost c(x) = softplus(-a(x)) = -log D(x), both estimators are of the gradient of the GAN's
-L_theta = 1/2 E_{p_theta(x|y=0)} c(x) (eq-lemma1-theta):

    score-function   1/2 E [(c(x) - b) grad log p_theta(x)]                (eq-sequences-score)
    gumbel-softmax   1/2 E [grad_x c(x) . d x_relaxed / d theta]           (eq-sequences-relaxed)

The first is unbiased for any baseline b that does not depend on the draw it is used for, because
E grad log p_theta(x) = 0. Here b is the mean cost of the *other* draws of the batch. At theta_0 it
has the gradient of Lemma 1 (eq-lemma1-gradient). The second follows the path through
straight-through one-hot vectors: less noise, but a biased gradient, which is that of no objective.

Log-probabilities sum over the tokens of a sequence; costs are averaged over the batch.

Paper: Yu et al. 2017 (the score function), Kusner and Hernandez-Lobato 2016 (the relaxation). Left
out: pretraining by maximum likelihood, and rewards for unfinished sequences by roll-outs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unigen_edu.declarations import (
    P_Y,
    Batch,
    Factor,
    Loss,
    Model,
    Phase,
    Sample,
    Variable,
    check_choice,
    check_count,
    expect,
)
from unigen_edu.distributed import whole_batch_mean
from unigen_edu.errors import UnigenError
from unigen_edu.models.gan import GAN
from unigen_edu.recurrent import Reader, Writer, check_sequences

ESTIMATORS = ("score-function", "gumbel-softmax")


class SequenceGenerator(nn.Module):
    """p_theta(x|y=0) of sequences: a `Writer` without a code."""

    def __init__(self, vocabulary: int, length: int, hidden: int):
        super().__init__()
        self.writer = Writer(vocabulary, length, hidden, latent=0)

    def sample(self, n: int) -> Sample:
        """n draws, without gradient: value (n, T) int64."""
        return Sample(self.writer.sample(self._no_code(n)))

    def relaxed_sample(self, n: int, temperature: float) -> Sample:
        """n draws as one-hot vectors with the gradient of a softmax: value (n, T, V)."""
        return Sample(self.writer.relaxed_sample(self._no_code(n), temperature))

    def log_prob(self, x: Tensor) -> Tensor:
        """log p_theta(x|y=0), summed over tokens: x (n, T) int64 -> (n,), in nats."""
        return self.writer.log_prob(x, self._no_code(len(x)))

    def _no_code(self, n: int) -> Tensor:
        return next(self.parameters()).new_zeros(n, 0)


class SequenceDiscriminator(nn.Module):
    """q_phi(y=1|x) = sigmoid(a(x)): the network returns the logit a."""

    def __init__(self, vocabulary: int, hidden: int):
        super().__init__()
        self.reader = Reader(vocabulary, hidden, outputs=1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T) int64, or (B, T, V) one-hot -> logits (B,)."""
        return self.reader(x).squeeze(-1)


class SequenceGAN(GAN):
    """GAN + a generator that draws tokens.

    Args:
        shape: (T,), the length of a sequence.
        vocabulary: number of different tokens, at least 2.
        hidden: size of the recurrent states, at least 1.
        estimator: of the generator's gradient: "score-function" or "gumbel-softmax".
        temperature: of the relaxation, above 0; the score function has no use for it.
    """

    generator: SequenceGenerator  # type: ignore[assignment]
    discriminator: SequenceDiscriminator  # type: ignore[assignment]

    name = "sequence-gan"
    title = "GAN of sequences"
    paper = "yu2017seqgan"
    chapter = "19_sequences"
    needs = frozenset({"sequence"})
    default_data = "number-names"
    variables: ClassVar[tuple[Variable, ...]] = (
        Variable("x", r"x_{1:T}", "sequence of tokens", observed=True),
        Variable("y", "y", "domain: 0 generated, 1 data", observed=True),
    )
    factors: ClassVar[tuple[Factor, ...]] = (
        Factor(
            r"p_\theta(x_{1:T}\mid y)",
            "x",
            ("y",),
            "generative",
            "generator",
        ),
        Factor(r"q_\phi(y\mid x_{1:T})", "y", ("x",), "adversarial", "discriminator"),
    )
    phases: ClassVar[tuple[Phase, ...]] = (
        Phase(
            "discriminator",
            moves=("discriminator",),
            reduces=r"\mathbb{E}_{p_{\theta_0}(x_{1:T})}\,"
            r"\mathrm{KL}\big(p_{\theta_0}(y\mid x_{1:T})\,\|\,q_\phi(y\mid x_{1:T})\big)",
            direction="q_phi in the second slot, on data and dreams alike: a sleep step",
            equation="eq-lemma1-phi-kl",
        ),
        Phase(
            "generator",
            moves=("generator",),
            reduces=r"\mathbb{E}_{p(y)}\,\mathrm{KL}\big(p_\theta(x_{1:T}\mid y)\,\|\,"
            r"q^r(x_{1:T}\mid y)\big)-\mathrm{JSD}_\theta",
            direction="p_theta in the first slot, at theta_0; its gradient by the score function",
            equation="eq-sequences-score",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (8,),
        vocabulary: int = 32,
        hidden: int = 64,
        estimator: str = "score-function",
        temperature: float = 3.0,
    ):
        check_sequences(shape, vocabulary)
        check_count("hidden", hidden, "it counts the entries of a recurrent state")
        check_choice("estimator", estimator, ESTIMATORS)
        if not isinstance(temperature, (int, float)) or not 0 < temperature <= 100:
            raise UnigenError(
                f"temperature is {temperature!r}, but it divides the logits of a softmax: "
                "give a number above 0, at most 100."
            )
        Model.__init__(
            self,
            shape=tuple(shape),
            vocabulary=vocabulary,
            hidden=hidden,
            estimator=estimator,
            temperature=temperature,
        )
        self.estimator = estimator
        self.temperature = temperature
        self.generator = SequenceGenerator(vocabulary, shape[0], hidden)
        self.discriminator = SequenceDiscriminator(vocabulary, hidden)

    def generator_loss(self, batch: Batch) -> Loss:
        """-L_theta up to its term without theta (eq-lemma1-theta), with an estimated gradient."""
        if self.estimator == "gumbel-softmax":
            x, weight = self.generator.relaxed_sample(len(batch), self.temperature)
            value = P_Y * expect(F.softplus(-self.logits(x, batch)), weight)
            return Loss(value, {"loss": value.detach()})
        x, weight = self.generated(batch)
        with torch.no_grad():  # the cost is a number that comes with the draw
            cost = F.softplus(-self.logits(x, batch))
        log_p = self.generator.log_prob(x)
        # log_p - log_p.detach() is zero: the value stays the loss, the gradient is the score's.
        score = advantage(cost, weight) * (log_p - log_p.detach())
        value = P_Y * (expect(cost, weight) + expect(score, weight))
        return Loss(value, {"loss": value.detach()})

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """`n` draws from p_theta(x|y=0): (n, T) int64."""
        return self.generator.sample(n).value


def advantage(cost: Tensor, weight: Tensor | None = None) -> Tensor:
    """c_i - b_i of each draw, b_i the mean cost of the *other* draws: (n,).

    The mean over all n draws has the draw's own cost in it; that would shrink the gradient to
    (n-1)/n of what it should be, which is undone here. States that are listed with their
    probabilities have the exact mean for b.
    """
    if weight is not None:
        return cost - expect(cost, weight)
    mean, n = whole_batch_mean(cost)
    return (cost - mean) * (n / (n - 1)) if n > 1 else cost  # no other draws, no baseline
