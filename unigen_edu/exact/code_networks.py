"""Tables that stand in for the networks of models with a code: InfoGAN, adversarial autoencoders.

As in `exact/networks.py`, a table returns every state with its probability. A code is an int64
state too. Where a code has two parts, its states are pairs (..., 2), so that the model's own
slicing takes them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from unigen_edu.declarations import Sample
from unigen_edu.exact.domains import DomainWorld
from unigen_edu.exact.networks import TableDiscriminator
from unigen_edu.exact.tables import generator_from, jsd_weighted, kl_p_q, random_distribution, table
from unigen_edu.models.infogan import Code, CodedSample

__all__ = [
    "PairCodeWorld",
    "TableCodedGenerator",
    "TablePairDecoder",
    "TablePairEncoder",
    "TablePartDiscriminator",
    "TableRecogniser",
]


class TableCodedGenerator(nn.Module):
    """p(c) p_theta(x|c), theta in the logits.  logits: (C, X), p_c: (C,)"""

    def __init__(self, logits: Tensor, p_c: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone().double())
        self.p_c = p_c

    def sample_with_code(self, n: int) -> CodedSample:
        """All pairs (c, x): value (C X,), category (C X,), weight differentiable; n is ignored."""
        n_c, n_x = self.logits.shape
        category = torch.arange(n_c).repeat_interleave(n_x)
        weight = (self.p_c[:, None] * self.logits.softmax(-1)).flatten()
        code = Code(category, torch.zeros(n_c * n_x, 0, dtype=torch.float64))
        return CodedSample(torch.arange(n_x).repeat(n_c), code, weight)


class TableRecogniser(nn.Module):
    """q_eta(c|x) = softmax(logits[x])[c].  logits: (X, C)"""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone().double())

    def log_prob(self, code: Code, x: Tensor) -> Tensor:
        """log q(c|x): categories (B,) and x (B,) int64 -> (B,)."""
        return self.logits.log_softmax(-1)[x, code.category]


# ---- codes of two parts ------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PairCodeWorld(DomainWorld):
    """Adversarial autoencoder whose code is a pair (z, c), each part with a judge of its own.

    Lemma 1 with the pairs as "x" and, as domains, the data points (y = 0) and the prior (y = 1).
    Given x, z and c are independent. A pair is the index z C + c.

    p_data: (X,).  theta0: (X, Z + C), encoder logits of z, then of c.  decoder: (Z C, X), q(x|z,c),
    frozen.  p_z: (Z,), p_c: (C,) priors.  phi_z: (Z,), phi_c: (C,) logits of the judges.
    strength: the exponent lambda of the decoder.
    """

    p_data: Tensor
    theta0: Tensor
    decoder: Tensor
    p_z: Tensor
    p_c: Tensor
    phi_z: Tensor
    phi_c: Tensor
    strength: float

    @classmethod
    def random(
        cls, seed: int, n_x: int = 4, n_z: int = 3, n_c: int = 2, strength: float = 0.7
    ) -> PairCodeWorld:
        """A random world with full support, a function of ``seed`` alone."""
        g = generator_from(seed)
        return cls(
            p_data=random_distribution(n_x, generator=g),
            theta0=torch.randn(n_x, n_z + n_c, generator=g, dtype=torch.float64),
            decoder=random_distribution(n_z * n_c, n_x, generator=g),
            p_z=random_distribution(n_z, generator=g),
            p_c=random_distribution(n_c, generator=g),
            phi_z=torch.randn(n_z, generator=g, dtype=torch.float64),
            phi_c=torch.randn(n_c, generator=g, dtype=torch.float64),
            strength=strength,
        )

    def p_code_given_x(self, theta: Tensor | None = None) -> Tensor:
        """p_theta(z, c|x) = p_theta(z|x) p_theta(c|x).  (X, Z C)"""
        logits = self.theta0 if theta is None else theta
        z, c = logits.split([len(self.p_z), len(self.p_c)], -1)
        return (z.softmax(-1)[:, :, None] * c.softmax(-1)[:, None, :]).flatten(1)

    def p_domain(self, theta: Tensor | None = None) -> Tensor:
        """Half the data points, half the prior.  (X + 1,)"""
        return torch.cat([0.5 * self.p_data, table([0.5])])

    def p_x_given_domain(self, theta: Tensor | None = None) -> Tensor:
        """p_theta(z, c|x), and p(z) p(c) in the last row.  (X + 1, Z C)"""
        prior = (self.p_z[:, None] * self.p_c).flatten()
        return torch.cat([self.p_code_given_x(theta), prior[None]])

    @property
    def scores(self) -> Tensor:
        """q(x|z, c)^lambda D(z) D(c); in the last row (1 - D(z)) (1 - D(c)).  (X + 1, Z C)"""
        log_d = (logsigmoid(self.phi_z)[:, None] + logsigmoid(self.phi_c)).flatten()
        log_rest = (logsigmoid(-self.phi_z)[:, None] + logsigmoid(-self.phi_c)).flatten()
        return torch.cat([self.decoder.T**self.strength * log_d.exp(), log_rest.exp()[None]])

    def aggregated(self, theta: Tensor | None = None) -> Tensor:
        """The law of the codes of all data, p_theta(z, c).  (Z C,)"""
        return self.p_data @ self.p_code_given_x(theta)

    def jsd_y(self, theta: Tensor | None = None) -> Tensor:
        """JSD between the codes of the data and the prior, I((z, c); y).  Scalar."""
        laws = torch.stack([self.aggregated(theta), self.p_x_given_domain(theta)[-1]])
        return jsd_weighted(table([0.5, 0.5]), laws)

    def code_information(self, theta: Tensor | None = None) -> Tensor:
        """I_theta(x; (z, c)) under the encoder.  Scalar."""
        laws = self.p_code_given_x(theta)
        return self.p_data @ kl_p_q(laws, self.aggregated(theta).expand_as(laws))


class TablePairPosterior:
    """p_theta(z, c|x) for a batch of x.  log_z: (B, Z), log_c: (B, C)."""

    def __init__(self, log_z: Tensor, log_c: Tensor):
        self.log_z = log_z
        self.log_c = log_c

    def sample(self) -> Sample:
        """All pairs: value (Z C, B, 2) int64, weight (Z C, B) differentiable."""
        (batch, n_z), n_c = self.log_z.shape, self.log_c.shape[1]
        pairs = torch.cartesian_prod(torch.arange(n_z), torch.arange(n_c))
        joint = (self.log_z[:, :, None] + self.log_c[:, None, :]).flatten(1).exp()
        return Sample(pairs[:, None].expand(-1, batch, 2), joint.T)

    def log_prob_class(self, label: Tensor) -> Tensor:
        """log p(c|x): (B,) int64 -> (B,)."""
        return self.log_c[torch.arange(len(label)), label]


class TablePairEncoder(nn.Module):
    """Encoder of a `PairCodeWorld`.  logits: (X, Z + C)"""

    def __init__(self, logits: Tensor, n_z: int):
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone().double())
        self.n_z = n_z

    def forward(self, x: Tensor) -> TablePairPosterior:
        """x: (B,) int64 states."""
        z, c = self.logits[x].tensor_split([self.n_z], -1)
        return TablePairPosterior(z.log_softmax(-1), c.log_softmax(-1))


class TablePairDecoder(nn.Module):
    """q_eta(x|z, c) = softmax(logits[z C + c])[x].  logits: (Z C, X)"""

    def __init__(self, logits: Tensor, n_c: int):
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone().double())
        self.n_c = n_c

    def log_prob(self, x: Tensor, code: Tensor) -> Tensor:
        """log q(x|z, c): x (B,) and pairs (..., B, 2) int64 -> (..., B)."""
        index = code[..., 0] * self.n_c + code[..., 1]
        return self.logits.log_softmax(-1)[index, x.expand_as(index)]


class TablePartDiscriminator(TableDiscriminator):
    """Judge of one part of a pair: states (..., 1) int64 -> logits (...).  logits: (Z,) or (C,)"""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.squeeze(-1))
