r"""Helmholtz machine of sequences, trained by the wake-sleep algorithm.

Graphical model: one layer of binary causes h and a chain below it,
p_theta(x, h) = p_theta(h) prod_t p_theta(x_t|x_<t, h); the causes are independent a priori, each on
with a probability of its own. The recognition network reads x and gives each cause a probability,
q_eta(h|x) = prod_j q_eta(h_j|x). With `chain=False` the tokens are independent given the causes.

    wake    -E_{p_data(x) q_eta(h|x)} log p_theta(x, h)            (eq-sequences-wake)
    sleep   -E_{p_theta(x, h)} log q_eta(h|x)                      (eq-sequences-sleep)

Nothing here is differentiated through a draw, so causes and tokens may both be discrete: no score
function, no relaxation. The price is that sleep learns on dreams, and that its KL has q_eta in the
second slot; no function has both phases as its gradient. A chain can write every x without causes,
and then they mean nothing; `chain=False` leaves the causes all the work.

Log-probabilities sum over tokens and causes; the average is over the batch.

Paper: Hinton et al. 1995; Dayan et al. 1995. Left out: several layers (`helmholtz` has them).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from unigen_edu.declarations import (
    Batch,
    Factor,
    Loss,
    Model,
    Phase,
    Sample,
    Variable,
    check_count,
    expect,
)
from unigen_edu.densities import bernoulli_log_prob
from unigen_edu.errors import UnigenError
from unigen_edu.noise import bernoulli
from unigen_edu.recurrent import Reader, Writer, check_sequences


class Dream(NamedTuple):
    """Causes h (n, latent) in {0, 1} and what was written of them, x (n, T) int64.

    `weight` is None for draws; (n,) if the n pairs are all there are, with their probabilities.
    """

    h: Tensor
    x: Tensor
    weight: Tensor | None = None


class BernoulliCauses:
    """q_eta(h|x) of a batch: causes independent given x, h_j on with probability sigmoid(logit_j).

    logits: (B, latent).
    """

    def __init__(self, logits: Tensor):
        self.logits = logits

    def sample(self, k: int = 1) -> Sample:
        """k draws for each x, without gradient: value (k, B, latent)."""
        p = torch.sigmoid(self.logits.detach()).expand(k, *self.logits.shape)
        return Sample(bernoulli(p, batch_dim=1))

    def log_prob(self, h: Tensor) -> Tensor:
        """log q_eta(h|x) summed over causes: h (*k, B, latent) -> (*k, B), in nats."""
        return bernoulli_log_prob(h, self.logits, batch_dims=h.dim() - 1)


class SequenceRecognition(nn.Module):
    """q_eta(h|x): reads x and gives the logit of each cause.

    Causes without meaning are a resting point of both phases: if the answers do not depend on x,
    wake teaches the writer to ignore them, and then sleep teaches the answer p(h) to every x. So
    the network starts with large weights, as a random code in which sequences differ.
    """

    def __init__(self, vocabulary: int, hidden: int, latent: int):
        super().__init__()
        self.reader = Reader(vocabulary, hidden, latent)
        with torch.no_grad():
            self.reader.cell.from_input.weight *= 8.0
            self.reader.head.weight *= 2.0

    def forward(self, x: Tensor) -> BernoulliCauses:
        """x (B, T) int64 -> q(.|x)."""
        return BernoulliCauses(self.reader(x))


class SequenceGenerative(nn.Module):
    """p_theta(x, h): a bias for each cause, and a writer that is told the causes."""

    def __init__(self, vocabulary: int, length: int, hidden: int, latent: int, chain: bool):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(latent))
        self.writer = Writer(vocabulary, length, hidden, latent, chain=chain)

    @torch.no_grad()
    def sample(self, n: int) -> Dream:
        """n dreams: first the causes, then the sequence."""
        h = bernoulli(torch.sigmoid(self.bias).expand(n, -1))
        return Dream(h, self.writer.sample(h))

    def log_prob(self, x: Tensor, h: Tensor) -> Tensor:
        """log p_theta(x, h): x (B, T) int64, h (*k, B, latent) -> (*k, B), in nats."""
        log_p_h = bernoulli_log_prob(h, self.bias, batch_dims=h.dim() - 1)
        return log_p_h + self.writer.log_prob(x, h)


class SequenceHelmholtz(Model):
    """Helmholtz machine with one layer of binary causes and a chain of tokens.

    Args:
        shape: (T,), the length of a sequence.
        vocabulary: number of different tokens, at least 2.
        latent: number of binary causes, at least 1.
        hidden: size of the recurrent states, at least 1.
        chain: whether a token depends on those before it, beside the causes.
    """

    name = "sequence-helmholtz"
    title = "Helmholtz machine of sequences"
    paper = "hinton1995wake"
    chapter = "19_sequences"
    needs = frozenset({"sequence"})
    default_data = "number-names"
    variables: ClassVar[tuple[Variable, ...]] = (
        Variable("h", r"\mathbf{h}", "binary causes", observed=False),
        Variable("x", r"x_{1:T}", "sequence of tokens", observed=True),
    )
    factors: ClassVar[tuple[Factor, ...]] = (
        Factor(r"p_\theta(\mathbf{h})", "h", (), "generative", "generative"),
        Factor(
            r"p_\theta(x_{1:T}\mid\mathbf{h})",
            "x",
            ("h",),
            "generative",
            "generative",
        ),
        Factor(r"q_\eta(\mathbf{h}\mid x_{1:T})", "h", ("x",), "inference", "recognition"),
    )
    phases: ClassVar[tuple[Phase, ...]] = (
        Phase(
            "wake",
            moves=("generative",),
            reduces=r"\mathrm{KL}\big(p_{data}(x_{1:T})\,q_\eta(\mathbf{h}\mid x_{1:T})\,\|\,"
            r"p_\theta(x_{1:T},\mathbf{h})\big)",
            direction="p_theta in the second slot, on causes inferred from data: covers the data",
            equation="eq-sequences-wake",
        ),
        Phase(
            "sleep",
            moves=("recognition",),
            reduces=r"\mathbb{E}_{p_\theta(x_{1:T})}\,\mathrm{KL}\big("
            r"p_\theta(\mathbf{h}\mid x_{1:T})\,\|\,q_\eta(\mathbf{h}\mid x_{1:T})\big)",
            direction="q_eta in the second slot, on dreams: the ELBO has it in the first, on data",
            equation="eq-sequences-sleep",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (8,),
        vocabulary: int = 32,
        latent: int = 16,
        hidden: int = 64,
        chain: bool = True,
    ):
        check_sequences(shape, vocabulary)
        check_count("latent", latent, "it counts the binary causes")
        check_count("hidden", hidden, "it counts the entries of a recurrent state")
        if not isinstance(chain, bool):
            raise UnigenError(f"chain is {chain!r}, but it is a choice: give True or False.")
        super().__init__(
            shape=tuple(shape),
            vocabulary=vocabulary,
            latent=latent,
            hidden=hidden,
            chain=chain,
        )
        self.generative = SequenceGenerative(vocabulary, shape[0], hidden, latent, chain)
        self.recognition = SequenceRecognition(vocabulary, hidden, latent)

    def wake_loss(self, batch: Batch) -> Loss:
        """-E log p_theta(x, h), x from the data and h from q_eta (eq-sequences-wake), in nats."""
        with torch.no_grad():  # the recognition network is only a source of causes
            h, weight = self.recognition(batch.x).sample()
        log_p = self.generative.log_prob(batch.x, h)
        value = -expect(expect(log_p, weight, dim=0), batch.weight)
        return Loss(value, {"loss": value.detach()})

    def sleep_loss(self, batch: Batch) -> Loss:
        """-E log q_eta(h|x), both dreamed by p_theta (eq-sequences-sleep), in nats."""
        with torch.no_grad():  # the generative network is only a source of dreams
            h, x, weight = self.generative.sample(len(batch))
        value = -expect(self.recognition(x).log_prob(h), weight)
        return Loss(value, {"loss": value.detach()})

    def elbo(self, x: Tensor) -> Tensor:
        """One-draw estimate of the evidence lower bound of each x: (B,), in nats."""
        return self.log_weights(x, 1)[0]

    def log_weights(self, x: Tensor, k: int) -> Tensor:
        """log w_i = log p(x, h_i) - log q(h_i|x) for k draws from q(h|x): (k, B), in nats."""
        check_count("k", k, "it counts the draws of the importance weighted bound")
        q = self.recognition(x)
        h = q.sample(k).value
        return self.generative.log_prob(x, h) - q.log_prob(h)

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """What the likeliest causes of each x are read as: (B, T) -> (B, T) int64."""
        h = (self.recognition(x).logits > 0).to(self.generative.bias.dtype)
        return self.generative.writer.most_likely(h)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """`n` draws from p_theta(x): (n, T) int64."""
        return self.generative.sample(n).x
