r"""Predictability minimisation: a code whose units cannot be told from one another.

Graphical model: an encoder makes a code c = (c_1, ..., c_L) of x, each unit between 0 and 1, and a
decoder p_psi(x|c) reads it. For each unit a predictor P_i guesses c_i from the other units c_{-i}.
Predictors make their error small, the encoder makes the same error large. In the unified view c_i
plays the domain y, and c_{-i} the observation that a discriminator judges.

    predictor    sum_i E (c_i - P_i(c_{-i}))^2                          (eq-cycles-predictor)
    encoder      -E log p_psi(x|c) - lambda sum_i E (c_i - P_i(c_{-i}))^2
                                                                    (eq-cycles-unpredictable)

With m_i = E[c_i|c_{-i}], for every encoder and all predictors,

    E (c_i - P_i)^2 = E Var(c_i|c_{-i}) + E (m_i - P_i)^2                   (eq-cycles-variance)

and E Var(c_i|c_{-i}) = Var c_i - Var m_i: the encoder makes units independent *and* lively. A unit
that never changes is predictable. The largest value is 1/4: independent units, 0 or 1 as by a coin.

score="log" replaces the square by -log q(c_i|c_{-i}), the discriminator's score. For binary units

    E log q(c_i|c_{-i}) = I(c_i; c_{-i}) - H(c_i) - E KL(p(c_i|c_{-i}) || q(c_i|c_{-i}))

(eq-cycles-log-score). This is not Lemma 1: p(y) = p_theta(c_i) moves with the encoder, and the
encoder descends the predictors' objective (minimax). With units that are not binary, -log q is
largest where all units rest at 1/2; then only the decoder keeps the code alive.

The error sums over units, log p sums over pixels, and the average is over the batch.

Paper: Schmidhuber 1992. Left out: a separate term for the variance of single units, which the
squared error already contains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unigen_edu.declarations import (
    Batch,
    Factor,
    Loss,
    Model,
    Phase,
    Sample,
    Variable,
    check_choice,
    check_count,
    check_strength,
    expect,
)
from unigen_edu.errors import UnigenError
from unigen_edu.networks import Decoder, evaluating, to_features
from unigen_edu.noise import uniform

# How many times as far as the encoder a step moves the predictors. They must stay near their best
# guesses: an encoder that outruns them learns codes that are not yet predicted, not unpredictable.
LEAD = 50.0


class UnitEncoder(nn.Module):
    """c = sigmoid(network(x)): a deterministic code, one number between 0 and 1 per unit.

    Batch normalisation keeps the units off the flat ends of the sigmoid, to which the first steps
    of either loss would drive them all together.
    """

    def __init__(self, kind: str, shape: Sequence[int], units: int):
        super().__init__()
        features = to_features(kind, shape, units)
        # Normalisation takes any bias off again. Its gradient would be rounding error alone, which
        # Adam would blow up to whole steps.
        list(features.modules())[-1].register_parameter("bias", None)
        self.body = nn.Sequential(features, nn.BatchNorm1d(units))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, *shape) -> c (B, units)."""
        if self.training and len(x) < 2:
            raise UnigenError(
                "Batch normalisation has nothing to average over a single image: "
                "train with a batch_size of at least 2."
            )
        return torch.sigmoid(self.body(x))

    def sample(self, x: Tensor) -> Sample:
        """The one code of each x, on an axis of draws: value (1, B, units)."""
        return Sample(self(x).unsqueeze(0))


class Predictors(nn.Module):
    """One small network for each unit, which sees all units but its own.

    The parameters are stored divided by LEAD: a step of Adam moves each stored number by about the
    step size, and so what the network makes of it LEAD times as far.
    """

    def __init__(self, units: int, hidden: int):
        super().__init__()

        def parameter(*shape: int, n_in: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape).uniform_(-1, 1) / (math.sqrt(n_in) * LEAD))

        self.w1 = parameter(units, units, hidden, n_in=units)  # (unit, others, hidden)
        self.b1 = parameter(units, hidden, n_in=units)
        self.w2 = parameter(units, hidden, n_in=hidden)
        self.b2 = parameter(units, n_in=hidden)
        self.register_buffer("others", (1.0 - torch.eye(units))[:, :, None], persistent=False)

    def forward(self, c: Tensor) -> Tensor:
        """c (*batch, units) -> guesses (*batch, units); the one for c_i does not depend on c_i."""
        w1 = LEAD * self.w1 * self.others  # type: ignore[operator]
        hidden = torch.einsum("...j,ijh->...ih", c - 0.5, w1) + LEAD * self.b1
        return (F.leaky_relu(hidden, 0.2) * (LEAD * self.w2)).sum(-1) + LEAD * self.b2


class PredictabilityMinimisation(Model):
    """An autoencoder whose units play against one predictor each.

    Args:
        shape: of one sample, (C, H, W) or (dimensions,).
        network: "mlp" or "conv", of the encoder and the decoder.
        latent: number of units, at least 2.
        strength: lambda, nats of log p(x|c) that one unit of squared error is worth; from 0 (an
            autoencoder without a game).
        score: "squared" (the paper) or "log" (the one of a discriminator).
        hidden: number of hidden units of each predictor, at least 1.
    """

    name = "predictability"
    title = "Predictability minimisation"
    paper = "schmidhuber1992learning"
    chapter = "09_cycles"
    variables: ClassVar[tuple[Variable, ...]] = (
        Variable("others", r"\mathbf{c}_{-i}", "the other units", observed=False),
        Variable("unit", "c_i", "one unit of the code", observed=False),
        Variable("x", r"\mathbf{x}", "image", observed=True),
    )
    factors: ClassVar[tuple[Factor, ...]] = (
        Factor(r"p_\theta(c_i\mid\mathbf{x})", "unit", ("x",), "inference", "encoder"),
        Factor(
            r"p_\theta(\mathbf{c}_{-i}\mid\mathbf{x})", "others", ("x",), "inference", "encoder"
        ),
        Factor(
            r"p_\psi(\mathbf{x}\mid c_i,\mathbf{c}_{-i})",
            "x",
            ("unit", "others"),
            "generative",
            "decoder",
        ),
        Factor(r"q_\phi(c_i\mid\mathbf{c}_{-i})", "unit", ("others",), "adversarial", "predictor"),
    )
    phases: ClassVar[tuple[Phase, ...]] = (
        Phase(
            "predictor",
            moves=("predictor",),
            reduces=r"\textstyle\sum_i\mathbb{E}\big(\mathbb{E}_\theta[c_i\mid\mathbf{c}_{-i}]"
            r"-P_{\phi,i}(\mathbf{c}_{-i})\big)^2",
            direction="the predictor aims at the mean of c_i given the others, as a discriminator "
            "aims at the posterior of y",
            equation="eq-cycles-predictor",
        ),
        Phase(
            "encoder",
            moves=("encoder", "decoder"),
            reduces=r"\textstyle-\mathbb{E}\log p_\psi(\mathbf{x}\mid\mathbf{c})-\lambda\sum_i"
            r"\Big[\mathbb{E}\,\mathrm{Var}_\theta(c_i\mid\mathbf{c}_{-i})+\mathbb{E}\big("
            r"\mathbb{E}_\theta[c_i\mid\mathbf{c}_{-i}]-P_{\phi_0,i}(\mathbf{c}_{-i})\big)^2\Big]",
            direction="p_theta raises what its predictors lower (minimax), and p_theta(c_i) moves",
            equation="eq-cycles-unpredictable",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "mlp",
        latent: int = 16,
        strength: float = 25.0,
        score: str = "squared",
        hidden: int = 16,
    ):
        check_count("latent", latent, "it counts the units of a code")
        if latent < 2:
            raise UnigenError(
                "latent is 1, but a unit is predicted from the others: give at least 2."
            )
        check_count("hidden", hidden, "it counts the hidden units of a predictor")
        check_strength(strength, "the error of the predictors")
        check_choice("score", score, ("squared", "log"))
        super().__init__(
            shape=tuple(shape),
            network=network,
            latent=latent,
            strength=strength,
            score=score,
            hidden=hidden,
        )
        self.latent = latent
        self.strength = strength
        self.score = score
        self.encoder = UnitEncoder(network, shape, latent)
        likelihood = "bernoulli" if len(shape) == 3 else "gaussian"
        self.decoder = Decoder(network, shape, latent, likelihood)
        self.predictor = Predictors(latent, hidden)

    def code(self, batch: Batch) -> Sample:
        """The code of each data point, made once a step: value (k, B, units)."""
        return batch.once("code", lambda: self.encoder.sample(batch.x))

    def error(self, c: Tensor) -> Tensor:
        """What the predictors lose on codes c (k, B, units), summed over units: (k, B)."""
        guess = self.predictor(c)
        if self.score == "log":
            return (F.softplus(guess) - c * guess).sum(-1)  # guess is the logit of q(c_i=1|c_{-i})
        return (c - guess).square().sum(-1)

    def predictor_loss(self, batch: Batch) -> Loss:
        """How badly units are predicted from the others (eq-cycles-predictor)."""
        c, weight = self.code(batch)
        value = expect(expect(self.error(c.detach()), weight, dim=0), batch.weight)
        return Loss(value, {"loss": value.detach(), "error": value.detach() / self.latent})

    def encoder_loss(self, batch: Batch) -> Loss:
        """-E log p(x|c) - lambda times the predictors' loss (eq-cycles-unpredictable)."""
        c, weight = self.code(batch)
        error = expect(expect(self.error(c), weight, dim=0), batch.weight)
        log_p = expect(expect(self.decoder.log_prob(batch.x, c), weight, dim=0), batch.weight)
        value = -log_p - self.strength * error
        return Loss(value, {"loss": value.detach(), "reconstruction": -log_p.detach()})

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """The code of each x, normalised by running averages: (B, units) between 0 and 1."""
        with evaluating(self.encoder):
            return self.encoder(x)

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Means of p(x|c) at the codes of x: (B, *shape)."""
        return self.decoder(self.encode(x))

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Means of p(x|c) at codes of fair coins, the law of a code that won: (n, *shape)."""
        like = next(self.parameters())
        return self.decoder((uniform(n, self.latent, like=like) < 0.5).to(like.dtype))
