r"""Helmholtz machine, trained by the wake-sleep algorithm.

Graphical model: layers of binary units h_L -> ... -> h_1 -> x. The generative network runs down,
p_theta(x, h) = p(h_L) p(h_{L-1}|h_L) ... p(x|h_1); the recognition network runs up,
q_eta(h|x) = q(h_1|x) q(h_2|h_1) ... q(h_L|h_{L-1}). Both are sigmoid belief networks: given the
layer before, the units of a layer are independent, each on with probability sigmoid(w s + b).

    wake    -E_{p_data(x) q_eta(h|x)} log p_theta(x, h)            (eq-wakesleep-wake)
    sleep   -E_{p_theta(x, h)} log q_eta(h|x)                      (eq-wakesleep-sleep)

Each phase takes the draws of the other network as given, so no gradient flows through a draw. For
a unit with input s and probability p, the gradient of its log-probability is the *delta rule*
(drawn - p) s (eq-wakesleep-delta): local, the same for every layer, awake or asleep.

Wake descends the gradient of KL(p_data q_eta || p_theta), which is that of the negative ELBO. Sleep
does not: its KL has q_eta in the second slot, on dreams. In general no function has both as its
gradient.

Log-probabilities sum over the units of all layers; the average is over the batch. Grey pixels are
read as probabilities: each step draws binary pixels from them.

Paper: Hinton et al. 1995; Dayan et al. 1995. Left out: connections that skip a layer or join units
of one layer, and units that are not binary.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unigen_edu.declarations import Batch, Factor, Loss, Model, Phase, Variable, check_count, expect
from unigen_edu.densities import bernoulli_log_prob
from unigen_edu.errors import UnigenError
from unigen_edu.noise import bernoulli, uniform


class Layers(NamedTuple):
    """States of all layers in the order in which they are drawn: each (k, B, units).

    `weight` is None for draws; (k, B) if the k states are all there are, with their probabilities.
    """

    states: tuple[Tensor, ...]
    weight: Tensor | None = None


class BeliefNet(nn.Module):
    """Sigmoid belief network over a chain of layers, each drawn given the one before it.

    Args:
        sizes: units of the given layer, then of each layer that is drawn.
        root: the given layer is one unit that is always on; its weights are the biases of the next.
    """

    def __init__(self, sizes: Sequence[int], root: bool = False):
        super().__init__()
        self.sizes = tuple(sizes)
        self.root = root
        self.layers = nn.ModuleList(
            nn.Linear(n_in, n_out, bias=i > 0 or not root)
            for i, (n_in, n_out) in enumerate(pairwise(sizes))
        )

    def sample(self, given: Tensor, k: int = 1) -> Layers:
        """k draws of all layers for each row of `given` (B, units)."""
        noise = uniform(k, given.shape[0], sum(self.sizes[1:]), like=given, batch_dim=1)
        state, states = given.expand(k, *given.shape), []
        for layer, u in zip(self.layers, noise.split(self.sizes[1:], -1), strict=True):
            state = (u < torch.sigmoid(layer(state))).to(u.dtype)
            states.append(state)
        return Layers(tuple(states))

    def log_prob(self, states: Sequence[Tensor], given: Tensor) -> Tensor:
        """Log-probability of all drawn layers, summed over their units: (k, B), in nats."""
        batch_dims = states[0].dim() - 1
        total = torch.zeros(states[0].shape[:-1], dtype=given.dtype, device=given.device)
        for layer, state, parent in zip(self.layers, states, (given, *states[:-1]), strict=True):
            total = total + bernoulli_log_prob(state, layer(parent), batch_dims)
        return total


class Helmholtz(Model):
    """Helmholtz machine with two or more layers of binary units.

    Args:
        shape: of one image, (C, H, W). Pixels are binary, or probabilities of being on.
        layers: number of units of h_1, ..., h_L, from the layer next to the pixels to the top.
    """

    name = "helmholtz"
    title = "Helmholtz machine"
    paper = "hinton1995wake"
    chapter = "03_wake_sleep"
    variables = (
        Variable("h2", r"\mathbf{h}_2", "upper causes", observed=False),
        Variable("h1", r"\mathbf{h}_1", "lower causes", observed=False),
        Variable("x", r"\mathbf{x}", "binary image", observed=True),
    )
    factors = (
        Factor(
            r"p_\theta(\mathbf{h}_1\mid\mathbf{h}_2)", "h1", ("h2",), "generative", "generative"
        ),
        Factor(r"p_\theta(\mathbf{x}\mid\mathbf{h}_1)", "x", ("h1",), "generative", "generative"),
        Factor(r"q_\eta(\mathbf{h}_1\mid\mathbf{x})", "h1", ("x",), "inference", "recognition"),
        Factor(r"q_\eta(\mathbf{h}_2\mid\mathbf{h}_1)", "h2", ("h1",), "inference", "recognition"),
    )
    phases = (
        Phase(
            "wake",
            moves=("generative",),
            reduces=r"\mathrm{KL}\big(p_{data}(\mathbf{x})\,q_\eta(\mathbf{h}\mid\mathbf{x})\,\|\,"
            r"p_\theta(\mathbf{x},\mathbf{h})\big)",
            direction="p_theta in the second slot, on causes inferred from data: covers the data",
            equation="eq-wakesleep-wake",
        ),
        Phase(
            "sleep",
            moves=("recognition",),
            reduces=r"\mathbb{E}_{p_\theta(\mathbf{x})}\,\mathrm{KL}\big("
            r"p_\theta(\mathbf{h}\mid\mathbf{x})\,\|\,q_\eta(\mathbf{h}\mid\mathbf{x})\big)",
            direction="q_eta in the second slot, on dreams: the ELBO has it in the first, on data",
            equation="eq-wakesleep-sleep",
        ),
    )

    def __init__(self, shape: Sequence[int] = (1, 28, 28), layers: Sequence[int] = (200, 50)):
        if len(shape) != 3:
            raise UnigenError(
                "The Helmholtz machine's units are binary: use images (channels, height, width), "
                f"not samples of shape {tuple(shape)}."
            )
        if not isinstance(layers, (list, tuple)) or len(layers) < 2:
            raise UnigenError(
                f"layers is {layers!r}, but a Helmholtz machine has at least two layers of causes: "
                "give their sizes from bottom to top, such as (200, 50)."
            )
        for units in layers:
            check_count("A size in layers", units, "it counts the units of a layer")
        super().__init__(shape=tuple(shape), layers=tuple(layers))
        pixels = prod(self.shape)
        self.generative = BeliefNet((1, *reversed(layers), pixels), root=True)
        self.recognition = BeliefNet((pixels, *layers))

    def log_p(self, x: Tensor, h: Sequence[Tensor]) -> Tensor:
        """log p_theta(x, h): x (B, pixels), h = (h_1, ..., h_L) each (k, B, units) -> (k, B)."""
        return self.generative.log_prob((*reversed(h), x), self._always_on(1)[0])

    def log_q(self, h: Sequence[Tensor], x: Tensor) -> Tensor:
        """log q_eta(h|x): shapes as for `log_p` -> (k, B)."""
        return self.recognition.log_prob(h, x)

    def wake_loss(self, batch: Batch) -> Loss:
        """-E log p_theta(x, h), x from the data and h from q_eta (eq-wakesleep-wake), in nats."""
        with torch.no_grad():  # the recognition network is only a source of causes
            x = bernoulli(batch.x).flatten(1)
            h, weight = self.recognition.sample(x)
        value = -expect(expect(self.log_p(x, h), weight, dim=0), batch.weight)
        return Loss(value, {"loss": value.detach()})

    def sleep_loss(self, batch: Batch) -> Loss:
        """-E log q_eta(h|x), both dreamed by p_theta (eq-wakesleep-sleep), in nats."""
        with torch.no_grad():  # the generative network is only a source of dreams
            (*h_down, x), weight = self.generative.sample(self._always_on(len(batch)))
        value = -expect(expect(self.log_q(h_down[::-1], x), weight, dim=0))
        return Loss(value, {"loss": value.detach()})

    def elbo(self, x: Tensor) -> Tensor:
        """One-draw estimate of the evidence lower bound of each binary x: (B,), in nats."""
        return self.log_weights(x, 1)[0]

    def log_weights(self, x: Tensor, k: int) -> Tensor:
        """log w_i = log p(x, h_i) - log q(h_i|x) for k draws from q(h|x): (k, B), in nats."""
        check_count("k", k, "it counts the draws of the importance weighted bound")
        x = x.flatten(1)
        h = self.recognition.sample(x, k).states
        return self.log_p(x, h) - self.log_q(h, x)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Means of p(x|h_1), h_1 dreamed (what pictures show): (n, *shape)."""
        *h, _ = self.generative.sample(self._always_on(n)).states
        return self._mean(h[-1][0])

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Means of p(x|h_1) for one draw of h_1 from q(h_1|x): (B, *shape)."""
        return self._mean(self.recognition.sample(x.flatten(1)).states[0][0])

    def _mean(self, h_1: Tensor) -> Tensor:
        return torch.sigmoid(self.generative.layers[-1](h_1)).unflatten(-1, self.shape)

    def _always_on(self, n: int) -> Tensor:
        like = next(self.parameters())
        return torch.ones(n, 1, dtype=like.dtype, device=like.device)
