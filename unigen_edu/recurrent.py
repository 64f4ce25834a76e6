"""Networks that read and write sequences of tokens.

A token is a number 0, ..., V-1 or, for a network, a one-hot vector of V entries. A `Reader` turns a
sequence into features. A `Writer` is an autoregressive distribution p(x|c) = prod_t p(x_t|x_<t, c)
over sequences of a fixed length T; what ends a text early is a token like any other.

The recurrent cell is written out in linear layers. torch's own GRU is one fused call, but
`torch.vmap` cannot batch it over models on a GPU, and at the lengths and sizes of the book it is no
faster on a CPU. One cell serves reading, writing and scoring alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from unigen_edu.densities import categorical_log_prob
from unigen_edu.errors import UnigenError
from unigen_edu.noise import bernoulli, uniform

__all__ = ["GRU", "Reader", "Writer", "check_sequences", "gumbel_noise", "one_hot"]


def check_sequences(shape: Sequence[int], vocabulary: int) -> None:
    """Raise one sentence unless `shape` is (T,) with T >= 1 and there are at least two tokens."""
    if len(shape) != 1 or shape[0] < 1:
        raise UnigenError(
            f"This model makes sequences of tokens, not samples of shape {tuple(shape)}: "
            "give shape=(length,), or use data such as 'number-names'."
        )
    if isinstance(vocabulary, bool) or not isinstance(vocabulary, int) or vocabulary < 2:
        raise UnigenError(
            f"vocabulary is {vocabulary!r}, but it counts the different tokens: "
            "give a whole number of at least 2."
        )


def one_hot(tokens: Tensor, vocabulary: int, dtype: torch.dtype) -> Tensor:
    """(*batch,) int64 -> (*batch, vocabulary) of zeros with a one."""
    places = torch.arange(vocabulary, device=tokens.device)
    return (tokens.unsqueeze(-1) == places).to(dtype)


def gumbel_noise(like: Tensor) -> Tensor:
    """Independent draws of -log(-log u), u uniform on (0, 1), of the shape of `like`.

    `(logits + noise).argmax(-1)` is a draw from softmax(logits): the Gumbel-max trick.
    """
    u = uniform(*like.shape, like=like)
    return -torch.log(-torch.log(u.clamp_min(torch.finfo(u.dtype).tiny)))


class GRU(nn.Module):
    """Gated recurrent unit: h' = u h + (1 - u) tanh(a + r b), with gates r, u in (0, 1).

    What the input adds comes from `from_input`, what the state adds from `from_state`; both in the
    order reset, update, new. The same function as `torch.nn.GRUCell` (Cho et al. 2014).
    """

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        self.hidden = hidden
        self.from_input = nn.Linear(inputs, 3 * hidden)
        self.from_state = nn.Linear(hidden, 3 * hidden)

    def forward(self, pushed: Tensor, h: Tensor) -> Tensor:
        """pushed = from_input(input) (*batch, 3 hidden), state h (*batch, hidden) -> next state."""
        sizes = [2 * self.hidden, self.hidden]
        gates_x, new_x = pushed.split(sizes, -1)
        gates_h, new_h = self.from_state(h).split(sizes, -1)
        reset, update = torch.sigmoid(gates_x + gates_h).chunk(2, -1)
        new = torch.tanh(torch.addcmul(new_x, reset, new_h))
        return torch.lerp(new, h, update)


class Reader(nn.Module):
    """From a sequence to features: the last state of a GRU that reads from left to right."""

    def __init__(self, vocabulary: int, hidden: int, outputs: int):
        super().__init__()
        self.vocabulary = vocabulary
        self.cell = GRU(vocabulary, hidden)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T) int64, or (B, T, V) one-hot or relaxed -> (B, outputs)."""
        weight = self.head.weight
        steps = x if x.is_floating_point() else one_hot(x, self.vocabulary, weight.dtype)
        h = weight.new_zeros(len(x), self.cell.hidden)
        for pushed in self.cell.from_input(steps).unbind(1):
            h = self.cell(pushed, h)
        return self.head(h)


class Writer(nn.Module):
    """p(x|c): in every step a GRU sees the token before and the code c, and gives the next token.

    Args:
        vocabulary: V.
        length: T.
        hidden: size of the state.
        latent: coordinates of the code c; 0 for p(x), without a code.
        word_dropout: in training, the probability with which each token before is hidden.
        chain: False hides all tokens, always: then p(x|c) = prod_t p(x_t|c), and what the tokens
            have in common must come from the code.
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        hidden: int,
        latent: int,
        word_dropout: float = 0.0,
        chain: bool = True,
    ):
        super().__init__()
        self.vocabulary = vocabulary
        self.length = length
        self.latent = latent
        self.word_dropout = word_dropout
        self.chain = chain
        self.cell = GRU(vocabulary + latent, hidden)
        self.head = nn.Linear(hidden, vocabulary)

    def log_prob(self, x: Tensor, c: Tensor) -> Tensor:
        """log p(x|c) summed over tokens: x (B, T) int64, c (*k, B, latent) -> (*k, B), in nats."""
        tokens = one_hot(x, self.vocabulary, c.dtype)
        # Token t is told the token t-1, never itself. Before the first there is a row of zeros.
        before = torch.cat([torch.zeros_like(tokens[:, :1]), tokens[:, :-1]], 1)
        logits = self.logits(before, c)
        return categorical_log_prob(x.expand(logits.shape[:-1]), logits).sum(-1)

    def logits(self, before: Tensor, c: Tensor) -> Tensor:
        """Of all tokens, each given the one before and c: before (B, T, V) -> (*k, B, T, V)."""
        if not self.chain:
            before = torch.zeros_like(before)
        elif self.training and self.word_dropout > 0:
            before = before * bernoulli(torch.full_like(before[..., :1], 1.0 - self.word_dropout))
        batch = c.shape[:-1]
        seen = torch.cat(
            [
                before.expand(*batch, self.length, self.vocabulary),
                c.unsqueeze(-2).expand(*batch, self.length, self.latent),
            ],
            -1,
        )
        h = c.new_zeros(*batch, self.cell.hidden)
        states = []
        for pushed in self.cell.from_input(seen).unbind(-2):
            h = self.cell(pushed, h)
            states.append(h)
        return self.head(torch.stack(states, -2))

    @torch.no_grad()
    def sample(self, c: Tensor) -> Tensor:
        """One draw of x for each code: (n, latent) -> (n, T) int64."""
        return self._write(c, gumbel_noise).argmax(-1)

    @torch.no_grad()
    def most_likely(self, c: Tensor) -> Tensor:
        """The likeliest token in every step, given those before: (n, latent) -> (n, T) int64."""
        return self._write(c, torch.zeros_like).argmax(-1)

    def relaxed_sample(self, c: Tensor, temperature: float) -> Tensor:
        """Draws as one-hot vectors that carry the gradient of a softmax: (n, T, V).

        The straight-through Gumbel-softmax (Jang et al. 2017): the value is an exact draw, its
        derivative is replaced by that of softmax((logits + noise) / temperature). So expectations
        of values are right and their gradients are biased.
        """
        return self._write(c, gumbel_noise, temperature)

    def _write(
        self, c: Tensor, noise: Callable[[Tensor], Tensor], temperature: float | None = None
    ) -> Tensor:
        h = c.new_zeros(len(c), self.cell.hidden)
        token = c.new_zeros(len(c), self.vocabulary)
        written = []
        for _ in range(self.length):
            before = token if self.chain else torch.zeros_like(token)
            h = self.cell(self.cell.from_input(torch.cat([before, c], -1)), h)
            logits = self.head(h)
            perturbed = logits + noise(logits)
            token = one_hot(perturbed.argmax(-1), self.vocabulary, c.dtype)
            if temperature is not None:
                soft = torch.softmax(perturbed / temperature, -1)
                token = token + (soft - soft.detach())
            written.append(token)
        return torch.stack(written, 1)
