r"""Generative adversarial network.

Graphical model: a domain indicator y chooses where x comes from. Under y = 0 the generator makes
it, x = G(z) with z ~ N(0, I); under y = 1 it is a data point. The discriminator q_phi(y|x) infers
y from x. Reversing it gives q^r(y|x) = 1 - q(y|x), the inference that the generator aims at.

With a(x) the logit of D(x) = q_phi(y=1|x), uniform p(y) and `softplus(-a) = -log D`:

    discriminator  -L_phi   = 1/2 E_{p_data} softplus(-a) + 1/2 E_{p_g} softplus(a)  (eq-lemma1-phi)
    generator      -L_theta = 1/2 E_{p_g} softplus(-a) + a term without theta      (eq-lemma1-theta)

At theta_0 the gradient of -L_theta is that of E_p(y) KL(p_theta(x|y) || q^r(x|y)) - JSD
(eq-lemma1-gradient). The factors 1/2 are p(y); they are kept so that each loss *is* the equation.

Paper: Goodfellow et al. 2014; the formulation with y is Hu et al. 2018. Left out: label
smoothing, gradient penalties and other remedies for unstable training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
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
from unigen_edu.networks import Discriminator, Generator


class GAN(Model):
    """GAN with the non-saturating loss of the paper's Lemma 1, or the minimax loss.

    Args:
        shape: of one sample, (C, H, W) or (dimensions,).
        network: "mlp" or "conv".
        latent: number of latent coordinates, at least 1.
        objective: "non-saturating" descends -E log D; "minimax" descends E log(1 - D).
    """

    name = "gan"
    title = "Generative adversarial network"
    paper = "goodfellow2014generative"
    chapter = "05_gan"
    variables: ClassVar[tuple[Variable, ...]] = (
        Variable("z", r"\mathbf{z}", "noise", observed=False),
        Variable("x", r"\mathbf{x}", "image", observed=True),
        Variable("y", "y", "domain: 0 generated, 1 data", observed=True),
    )
    factors: ClassVar[tuple[Factor, ...]] = (
        Factor(r"p_\theta(\mathbf{x}\mid\mathbf{z},y)", "x", ("z", "y"), "generative", "generator"),
        Factor(r"q_\phi(y\mid\mathbf{x})", "y", ("x",), "adversarial", "discriminator"),
    )
    phases: ClassVar[tuple[Phase, ...]] = (
        Phase(
            "discriminator",
            moves=("discriminator",),
            reduces=r"\mathbb{E}_{p_{\theta_0}(\mathbf{x})}\,"
            r"\mathrm{KL}\big(p_{\theta_0}(y\mid\mathbf{x})\,\|\,q_\phi(y\mid\mathbf{x})\big)",
            direction="q_phi in the second slot, on data and dreams alike: a sleep step",
            equation="eq-lemma1-phi-kl",
        ),
        Phase(
            "generator",
            moves=("generator",),
            reduces=r"\mathbb{E}_{p(y)}\,\mathrm{KL}\big(p_\theta(\mathbf{x}\mid y)\,\|\,"
            r"q^r(\mathbf{x}\mid y)\big)-\mathrm{JSD}_\theta",
            direction="p_theta in the first slot, at theta_0: posterior inference over x",
            equation="eq-lemma1-gradient",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "mlp",
        latent: int = 64,
        objective: str = "non-saturating",
    ):
        check_choice("objective", objective, ("non-saturating", "minimax"))
        check_count("latent", latent, "it counts the coordinates of a code")
        super().__init__(shape=tuple(shape), network=network, latent=latent, objective=objective)
        self.objective = objective
        self.generator = Generator(network, shape, latent)
        self.discriminator = Discriminator(network, shape)

    def generated(self, batch: Batch) -> Sample:
        """Draws from p_g, one per data point, made once a step: value (B, *shape)."""
        return batch.once("generated", lambda: self.generator.sample(len(batch)))

    def logits(self, x: Tensor, batch: Batch) -> Tensor:
        """a(x): x (n, *shape) -> (n,). Image i belongs to row i of the batch, modulo its length."""
        return self.discriminator(x)

    def discriminator_loss(self, batch: Batch) -> Loss:
        """-L_phi: how badly q_phi(y|x) tells data from samples (eq-lemma1-phi), in nats."""
        x_g, weight_g = self.generated(batch)
        # One pass over both halves. x_g is detached: this phase must not move the generator.
        logits = self.logits(torch.cat([batch.x, x_g.detach()]), batch)
        a_data, a_g = logits[: len(batch)], logits[len(batch) :]
        minus_log_q_data = expect(F.softplus(-a_data), batch.weight)
        minus_log_q_g = expect(F.softplus(a_g), weight_g)
        with torch.no_grad():
            d_data = expect(torch.sigmoid(a_data), batch.weight)
            d_g = expect(torch.sigmoid(a_g), weight_g)
        value = P_Y * minus_log_q_data + P_Y * minus_log_q_g
        return Loss(value, {"loss": value.detach(), "D(data)": d_data, "D(generated)": d_g})

    def generator_loss(self, batch: Batch) -> Loss:
        """-L_theta up to its term without theta (eq-lemma1-theta), or the minimax loss."""
        x_g, weight_g = self.generated(batch)
        a_g = self.logits(x_g, batch)
        if self.objective == "minimax":
            value = -P_Y * expect(F.softplus(a_g), weight_g)
        else:
            value = P_Y * expect(F.softplus(-a_g), weight_g)
        return Loss(value, {"loss": value.detach()})

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """`n` draws from p_g: (n, *shape), normalised by running averages, so independent."""
        training = self.generator.training
        self.generator.eval()
        try:
            return self.generator.sample(n).value
        finally:
            self.generator.train(training)
