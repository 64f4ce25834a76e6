"""Helmholtz machines so small that every state of every unit can be listed.

`HelmholtzWorld` has the laws of both networks as tables, built from the parameters alone, and the
divergences of the two phases. `EnumeratedBeliefNet` stands in for a network of the model: it has
the same parameters and log-probabilities, but returns *every* state with its probability.
Axis order of every table: (x, h), h running over all states (h_1, ..., h_L), h_1 slowest.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor
from torch.nn.utils import vector_to_parameters

from unigen_edu.exact.tables import (
    entropy,
    expectation,
    generator_from,
    kl_p_q,
    normalise,
    random_distribution,
    table,
)
from unigen_edu.models.helmholtz import BeliefNet, Helmholtz, Layers

__all__ = ["EnumeratedBeliefNet", "HelmholtzWorld", "binary_states"]


def binary_states(units: int) -> Tensor:
    """All states of `units` binary units, counting up in binary.  (2^units, units)"""
    return table(list(product((0.0, 1.0), repeat=units)))


class EnumeratedBeliefNet(BeliefNet):
    """A sigmoid belief network that returns all states, with differentiable probabilities."""

    @classmethod
    def of(cls, net: BeliefNet, parameters: Tensor) -> EnumeratedBeliefNet:
        """In the form of `net`, with the flat `parameters` in the order of `net.parameters()`."""
        copy = cls(net.sizes, net.root).double()
        vector_to_parameters(parameters.detach().clone(), copy.parameters())
        return copy

    def sample(self, given: Tensor, k: int = 1) -> Layers:
        """given (B, units) -> states (S, B, units) of each layer, weight (S, B); k is ignored."""
        states: list[Tensor] = []
        last, weight = given[None], torch.ones(1, given.shape[0], dtype=given.dtype)
        for layer in self.layers:
            on = torch.sigmoid(layer(last))  # (S, B, n)
            child = binary_states(on.shape[-1])[:, None, None]  # (2^n, 1, 1, n)
            p = (child * on + (1 - child) * (1 - on)).prod(-1)  # (2^n, S, B)
            count = p.shape[0]
            states = [state.repeat(count, 1, 1) for state in states]
            last = child.expand(count, *on.shape).flatten(0, 1)
            states.append(last)
            weight = (p * weight).flatten(0, 1)
        return Layers(tuple(states), weight)


@dataclass(frozen=True, eq=False)
class HelmholtzWorld:
    """A Helmholtz machine on 2^D states of x.

    Attributes:
        sizes: (D, n_1, ..., n_L) units of x and of the layers of causes.
        p_data: (2^D,).
        theta0, eta0: flat parameters of the generative and of the recognition network, layer by
            layer in the direction of drawing; weights (n_out, n_in) before biases (n_out,), and for
            the top layer of the generative network only n_L biases.
    """

    sizes: tuple[int, ...]
    p_data: Tensor
    theta0: Tensor
    eta0: Tensor

    @classmethod
    def random(cls, seed: int, sizes: tuple[int, ...] = (3, 2, 2)) -> HelmholtzWorld:
        """A random world with full support, a function of ``seed`` alone."""
        g = generator_from(seed)
        pairs = sum(n_in * n_out for n_in, n_out in pairwise(sizes))
        return cls(
            sizes=sizes,
            p_data=random_distribution(2 ** sizes[0], generator=g),
            theta0=torch.randn(pairs + sum(sizes), generator=g, dtype=torch.float64),
            eta0=torch.randn(pairs + sum(sizes[1:]), generator=g, dtype=torch.float64),
        )

    @property
    def x(self) -> Tensor:
        """All images.  (2^D, D)"""
        return binary_states(self.sizes[0])

    def model(self) -> Helmholtz:
        """The model of the package with this world's parameters, drawing every state."""
        model = Helmholtz(shape=(1, 1, self.sizes[0]), layers=self.sizes[1:])
        model.generative = EnumeratedBeliefNet.of(model.generative, self.theta0)
        model.recognition = EnumeratedBeliefNet.of(model.recognition, self.eta0)
        return model

    # ---- laws ----------------------------------------------------------------------------------

    def p_xh(self, theta: Tensor | None = None) -> Tensor:
        """p_theta(x, h).  (X, H)"""
        flat = self.theta0 if theta is None else theta
        top = self.sizes[-1]
        law = _layer_law(flat.new_zeros(top, 1), flat[:top])[0]
        down = tuple(reversed(self.sizes))
        for conditional in _conditionals(flat[top:], down):
            law = law[..., None] * conditional
        return law.permute(*reversed(range(law.dim()))).flatten(1)

    def q_h_given_x(self, eta: Tensor | None = None) -> Tensor:
        """q_eta(h|x).  (X, H)"""
        law = torch.ones(2 ** self.sizes[0], dtype=torch.float64)
        for conditional in _conditionals(self.eta0 if eta is None else eta, self.sizes):
            law = law[..., None] * conditional
        return law.flatten(1)

    def p_x(self, theta: Tensor | None = None) -> Tensor:
        """p_theta(x), the law of dreams.  (X,)"""
        return self.p_xh(theta).sum(1)

    def p_h_given_x(self, theta: Tensor | None = None) -> Tensor:
        """The true posterior p_theta(h|x).  (X, H)"""
        return normalise(self.p_xh(theta))

    # ---- wake ----------------------------------------------------------------------------------

    def wake_loss(self, theta: Tensor | None = None, eta: Tensor | None = None) -> Tensor:
        """-E_{p_data q_eta} log p_theta(x, h).  Scalar."""
        inferred = self.p_data[:, None] * self.q_h_given_x(eta)
        return -expectation(inferred, self.p_xh(theta).log())

    def wake_kl(self, theta: Tensor | None = None, eta: Tensor | None = None) -> Tensor:
        """KL(p_data(x) q_eta(h|x) || p_theta(x, h)).  Scalar."""
        inferred = self.p_data[:, None] * self.q_h_given_x(eta)
        return kl_p_q(inferred.flatten(), self.p_xh(theta).flatten())

    def elbo(self, theta: Tensor | None = None, eta: Tensor | None = None) -> Tensor:
        """E_q log p_theta(x, h) + H(q_eta(h|x)) of each x.  (X,)"""
        q = self.q_h_given_x(eta)
        return expectation(q, self.p_xh(theta).log(), dim=1) + entropy(q)

    def variational_gap(self, theta: Tensor | None = None, eta: Tensor | None = None) -> Tensor:
        """E_{p_data} KL(q_eta(h|x) || p_theta(h|x)): what a VAE's encoder reduces.  Scalar."""
        kl = kl_p_q(self.q_h_given_x(eta), self.p_h_given_x(theta))
        return expectation(self.p_data, kl)

    # ---- sleep ---------------------------------------------------------------------------------

    def sleep_loss(self, theta: Tensor | None = None, eta: Tensor | None = None) -> Tensor:
        """-E_{p_theta(x, h)} log q_eta(h|x).  Scalar."""
        return -expectation(self.p_xh(theta), self.q_h_given_x(eta).log())

    def sleep_kl(self, theta: Tensor | None = None, eta: Tensor | None = None) -> Tensor:
        """E_{p_theta(x)} KL(p_theta(h|x) || q_eta(h|x)).  Scalar."""
        kl = kl_p_q(self.p_h_given_x(theta), self.q_h_given_x(eta))
        return expectation(self.p_x(theta), kl)

    def sleep_kl_on_data(self, theta: Tensor | None = None, eta: Tensor | None = None) -> Tensor:
        """E_{p_data} KL(p_theta(h|x) || q_eta(h|x)): the direction of sleep, real x.  Scalar."""
        kl = kl_p_q(self.p_h_given_x(theta), self.q_h_given_x(eta))
        return expectation(self.p_data, kl)

    def cause_entropy_given_x(self, theta: Tensor | None = None) -> Tensor:
        """H_theta(h|x) over dreams: sleep_loss = sleep_kl + this.  Scalar."""
        return expectation(self.p_x(theta), entropy(self.p_h_given_x(theta)))


def _layer_law(weight: Tensor, bias: Tensor) -> Tensor:
    """p(child|parent) of one layer: weight (n_out, n_in) -> (2^n_in, 2^n_out)"""
    on = torch.sigmoid(binary_states(weight.shape[1]) @ weight.T + bias)  # (2^n_in, n_out)
    law = torch.ones(on.shape[0], 1, dtype=on.dtype)
    for p in on.unbind(1):  # one unit at a time: off, then on
        law = torch.stack([law * (1 - p)[:, None], law * p[:, None]], -1).flatten(1)
    return law


def _conditionals(flat: Tensor, sizes: tuple[int, ...]) -> list[Tensor]:
    """The tables p(child|parent) of a chain of layers, from its flat parameters."""
    found, at = [], 0
    for n_in, n_out in pairwise(sizes):
        weight = flat[at : at + n_in * n_out].reshape(n_out, n_in)
        at += n_in * n_out
        found.append(_layer_law(weight, flat[at : at + n_out]))
        at += n_out
    return found
