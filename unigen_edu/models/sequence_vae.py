r"""Variational autoencoder of sequences.

Graphical model: that of the VAE. Only p_theta(x|z) is new. It is a chain: each token depends on z
*and* on all tokens before it,

    log p_theta(x|z) = sum_t log p_theta(x_t | x_<t, z)                    (eq-sequences-chain)

and the loss is the VAE's: -ELBO, or, with its options, beta times a KL above `free_bits`
(eq-sequences-elbo). It sums over tokens and latent coordinates and averages over the batch.

The trap is *posterior collapse*. A chain can write every x without a code. For every code that says
something, KL(q_eta(z|x) || p(z)) > 0 must be paid back by a better reconstruction. If it is not,
q_eta(z|x) falls to p(z), and then z is noise that the decoder learns to ignore. The bound does not
tell: a chain without a code can reach the same log p(x). What tells is the KL itself, and whether x
can be rebuilt from z. Three guards are at hand, and each changes what is trained (`elbo` and
`log_weights` are those of the model itself): `word_dropout` hides tokens from the decoder, which
must ask z instead (Bowman et al. 2016); `free_bits` make the first nats of each coordinate free
(Kingma et al. 2016); `beta` below 1 makes all of them cheap.

Paper: Bowman et al. 2016. Left out: schedules that raise beta in the course of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from unigen_edu.declarations import Factor, Model, Phase, Variable, check_count
from unigen_edu.densities import DiagonalNormal
from unigen_edu.models.vae import VAE, check_amount
from unigen_edu.noise import normal
from unigen_edu.recurrent import Reader, Writer, check_sequences


class SequenceEncoder(nn.Module):
    """q_eta(z|x): a Gaussian with diagonal covariance for each sequence."""

    def __init__(self, vocabulary: int, hidden: int, latent: int):
        super().__init__()
        self.reader = Reader(vocabulary, hidden, 2 * latent)

    def forward(self, x: Tensor) -> DiagonalNormal:
        """x (B, T) int64 -> q(.|x), mean and log-variance (B, latent) each."""
        mean, log_var = self.reader(x).chunk(2, -1)
        return DiagonalNormal(mean, log_var)


class SequenceVAE(VAE):
    """VAE + a decoder that is a chain.

    Args:
        shape: (T,), the length of a sequence.
        vocabulary: number of different tokens, at least 2.
        latent: number of latent coordinates, at least 1.
        hidden: size of the recurrent states, at least 1.
        word_dropout: probability with which a token is hidden from the decoder in training, at most
            0.95: without dropout, as `elbo` and `sample` are, the decoder must know its tokens.
        beta, free_bits: as for `VAE`.
    """

    encoder: SequenceEncoder  # type: ignore[assignment]
    decoder: Writer  # type: ignore[assignment]

    name = "sequence-vae"
    title = "Variational autoencoder of sequences"
    paper = "bowman2016generating"
    chapter = "19_sequences"
    needs = frozenset({"sequence"})
    default_data = "number-names"
    variables: ClassVar[tuple[Variable, ...]] = (
        Variable("z", r"\mathbf{z}", "latent code", observed=False),
        Variable("x", r"x_{1:T}", "sequence of tokens", observed=True),
        Variable("y", "y", "domain: 0 generated, 1 data", observed=True),
    )
    factors: ClassVar[tuple[Factor, ...]] = (
        Factor(
            r"p_\theta(x_{1:T}\mid\mathbf{z},y)",
            "x",
            ("z", "y"),
            "generative",
            "decoder",
        ),
        Factor(r"q_\eta(\mathbf{z}\mid x_{1:T})", "z", ("x",), "inference", "encoder"),
        Factor(r"q_*(y\mid x_{1:T})", "y", ("x",), "adversarial", None),
    )
    phases: ClassVar[tuple[Phase, ...]] = (
        Phase(
            "variational",
            moves=("encoder", "decoder"),
            reduces=r"\mathrm{KL}\big(p_{data}(x_{1:T})\,q_\eta(\mathbf{z}\mid x_{1:T})\,\|\,"
            r"p_\theta(x_{1:T},\mathbf{z})\big)",
            direction="p_theta in the second slot, q_eta in the first: covers the data",
            equation="eq-sequences-elbo",
        ),
    )

    def __init__(
        self,
        shape: Sequence[int] = (8,),
        vocabulary: int = 32,
        latent: int = 16,
        hidden: int = 64,
        word_dropout: float = 0.0,
        beta: float = 1.0,
        free_bits: float = 0.0,
    ):
        check_sequences(shape, vocabulary)
        check_count("latent", latent, "it counts the coordinates of a code")
        check_count("hidden", hidden, "it counts the entries of a recurrent state")
        check_amount("word_dropout", word_dropout, "it is a probability", 0.95)
        check_amount("beta", beta, "it multiplies the KL", 1000.0)
        check_amount("free_bits", free_bits, "it counts nats of one latent coordinate", 10.0)
        Model.__init__(
            self,
            shape=tuple(shape),
            vocabulary=vocabulary,
            latent=latent,
            hidden=hidden,
            word_dropout=word_dropout,
            beta=beta,
            free_bits=free_bits,
        )
        self.latent = latent
        self.beta = beta
        self.free_bits = free_bits
        self.encoder = SequenceEncoder(vocabulary, hidden, latent)
        self.decoder = Writer(vocabulary, shape[0], hidden, latent, word_dropout)

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """What the mean code of each x is read as: (B, T) -> (B, T) int64, likeliest tokens."""
        return self.decoder.most_likely(self.encoder(x).mean)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """`n` draws from p_theta(x): (n, T) int64."""
        z = normal(n, self.latent, like=next(self.parameters()))
        return self.decoder.sample(z)
