"""Sequences so short that all of them can be listed: V^T of them, the first token slowest.

Two kinds of stand-ins for the networks of the sequence models:

* *Tables* (`TableSequenceGenerator`, `TableSequenceDiscriminator`): a number for every sequence.
* *Listed* networks keep the parameters and the code of the real ones, but where those draw, they
  return every sequence (and every state of the causes) with its probability.

The weights of a list are numbers, through which no gradient flows: as in training, where a draw is
an integer and tells nothing about the parameters that it was drawn with. What a loss says about its
parameters it must say through log-probabilities.

`chain_law` is the other side of the checks: the law of a `Writer`, multiplied up one conditional
table after the other, with torch's own recurrent cell.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn

from unigen_edu.declarations import Sample
from unigen_edu.exact.tables import table
from unigen_edu.models.sequence_gan import SequenceGenerator
from unigen_edu.models.sequence_helmholtz import (
    BernoulliCauses,
    Dream,
    SequenceGenerative,
    SequenceRecognition,
)
from unigen_edu.recurrent import Writer

__all__ = [
    "CodebookDecoder",
    "ListedGenerative",
    "ListedGenerator",
    "ListedRecognition",
    "TableSequenceDiscriminator",
    "TableSequenceGenerator",
    "all_causes",
    "all_sequences",
    "chain_law",
    "index_of",
]


def all_sequences(vocabulary: int, length: int) -> Tensor:
    """Every sequence, counting up.  (V^T, T) int64"""
    return torch.tensor(list(product(range(vocabulary), repeat=length)), dtype=torch.int64)


def index_of(x: Tensor, vocabulary: int) -> Tensor:
    """The row of each sequence in `all_sequences`: (..., T) int64 -> (...,) int64."""
    powers = vocabulary ** torch.arange(x.shape[-1] - 1, -1, -1)
    return (x * powers).sum(-1)


def all_causes(latent: int) -> Tensor:
    """Every state of `latent` binary causes, counting up.  (2^latent, latent) float64"""
    return table(list(product((0.0, 1.0), repeat=latent)))


def chain_law(writer: Writer, c: Tensor) -> Tensor:
    """p(x|c) of every sequence, differentiable in the writer's parameters: c (C, L) -> (C, V^T)."""
    cell = writer.cell
    weights = [cell.from_input.weight, cell.from_state.weight]
    biases = [cell.from_input.bias, cell.from_state.bias]
    law = torch.ones(len(c), 1, dtype=c.dtype)
    state = torch.zeros(len(c), cell.hidden, dtype=c.dtype)  # one row for each c and beginning
    last = torch.zeros(len(c), writer.vocabulary, dtype=c.dtype)
    for _ in range(writer.length):
        beginnings = law.shape[1]
        code = c.repeat_interleave(beginnings, 0)
        state = torch.gru_cell(torch.cat([last, code], 1), state, *weights, *biases)
        p_next = writer.head(state).softmax(-1).unflatten(0, (len(c), beginnings))
        law = (law[..., None] * p_next).flatten(1)
        state = state.repeat_interleave(writer.vocabulary, 0)
        last = torch.eye(writer.vocabulary, dtype=c.dtype).repeat(len(c) * beginnings, 1)
    return law


class TableSequenceGenerator(nn.Module):
    """p_theta(x) = softmax(logits)[x] over all sequences.  logits: (V^T,)"""

    def __init__(self, logits: Tensor, vocabulary: int, length: int):
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone().double())
        self.vocabulary = vocabulary
        self.x = all_sequences(vocabulary, length)

    def sample(self, n: int) -> Sample:
        """All sequences: value (V^T, T) int64, weight (V^T,). The number n is ignored."""
        return Sample(self.x, self.logits.detach().softmax(-1))

    def log_prob(self, x: Tensor) -> Tensor:
        """log p_theta(x): (n, T) int64 -> (n,)."""
        return self.logits.log_softmax(-1)[index_of(x, self.vocabulary)]


class TableSequenceDiscriminator(nn.Module):
    """a(x) = logits[x], D(x) = sigmoid(a(x)).  logits: (V^T,)"""

    def __init__(self, logits: Tensor, vocabulary: int):
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone().double())
        self.vocabulary = vocabulary

    def forward(self, x: Tensor) -> Tensor:
        """x (n, T) int64 -> logits (n,)."""
        return self.logits[index_of(x, self.vocabulary)]


class ListedGenerator(SequenceGenerator):
    """A `SequenceGenerator` that returns all sequences instead of drawing some."""

    def sample(self, n: int) -> Sample:
        """All sequences: value (V^T, T) int64, weight p_theta(x) (V^T,). n is ignored."""
        x = all_sequences(self.writer.vocabulary, self.writer.length)
        return Sample(x, self.log_prob(x).detach().exp())


class ListedGenerative(SequenceGenerative):
    """The generative network of a `SequenceHelmholtz`, dreaming every dream."""

    def sample(self, n: int) -> Dream:
        """All pairs: h (H X, latent), x (H X, T), weight p_theta(x, h) (H X,). n is ignored."""
        h, x = all_causes(len(self.bias)), all_sequences(self.writer.vocabulary, self.writer.length)
        h, x = h.repeat_interleave(len(x), 0), x.repeat(len(h), 1)
        return Dream(h, x, self.log_prob(x, h).detach().exp())


class ListedCauses(BernoulliCauses):
    """q(h|x) that returns all states of the causes."""

    def sample(self, k: int = 1) -> Sample:
        """All states: value (2^latent, B, latent), weight q(h|x) (2^latent, B). k is ignored."""
        h = all_causes(self.logits.shape[-1])[:, None].expand(-1, *self.logits.shape)
        return Sample(h, self.log_prob(h).detach().exp())


class ListedRecognition(SequenceRecognition):
    """The recognition network of a `SequenceHelmholtz`, seeing every cause."""

    def forward(self, x: Tensor) -> BernoulliCauses:
        return ListedCauses(super().forward(x).logits)


class CodebookDecoder(nn.Module):
    """p_theta(x|z) of finitely many codes, by a real `Writer`; x and z are indices.

    codes: (Z, L), what each code z is for the writer.
    """

    def __init__(self, writer: Writer, codes: Tensor):
        super().__init__()
        self.writer = writer
        self.codes = codes
        self.x = all_sequences(writer.vocabulary, writer.length)

    def log_prob(self, x: Tensor, z: Tensor) -> Tensor:
        """log p_theta(x|z): x (B,) and z (*k, B) int64 -> (*k, B)."""
        return self.writer.log_prob(self.x[x], self.codes[z])
