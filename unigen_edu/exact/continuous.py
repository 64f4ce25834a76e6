"""The few facts that need a real-valued x: by quadrature, closed form or a fine grid.

Quadrature replaces a normal noise by n nodes with weights, so expectations are sums here too. They
are exact up to the quadrature error, below 1e-10 for the worlds of the book at their default nodes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from unigen_edu.exact.checks import gradient, jacobian
from unigen_edu.exact.importance import group_law, groups
from unigen_edu.exact.tables import expectation, jsd, kl_p_q, normalise, table

__all__ = [
    "GaussianGANWorld",
    "GaussianIWAEWorld",
    "MovingUniformWorld",
    "TwoBumpsWorld",
    "normal_log_density",
    "normal_quadrature",
]


def normal_quadrature(n: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights with sum_i weight_i f(node_i) = E f(noise), noise ~ N(0, 1).  (n,), (n,)

    The trapezoidal rule on [-9, 9], outside of which lies a mass of 2e-19. For smooth f its error
    falls exponentially with n; for a narrow mixture seen from a wide normal it needs far fewer
    nodes than Gauss-Hermite.
    """
    nodes = torch.linspace(-9, 9, n, dtype=torch.float64)
    return nodes, (-0.5 * nodes.square()).softmax(0)


def normal_log_density(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """log N(x; mean, exp(log_scale)^2); the arguments broadcast."""
    standard = (x - mean) * torch.exp(-log_scale)
    return -0.5 * (standard.square() + math.log(2 * math.pi)) - log_scale


Field = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class GaussianGANWorld:
    """p_g = N(theta_0, exp(theta_1)^2) against a mixture of normals, p(y) = 1/2.

    x(noise, theta) = theta_0 + exp(theta_1) noise.  theta0: (2,).
    p_data: shares, means, scales (M,) of the mixture.
    ripple: (2,); D has the logit log p_data - log p_g + ripple_0 + ripple_1 sin x, so D = D* for
    ripple = 0.  nodes: of the quadrature, per draw.
    """

    theta0: Tensor
    shares: Tensor
    means: Tensor
    scales: Tensor
    ripple: Tensor
    nodes: int = 181

    @classmethod
    def counterexample(cls, k: int = 2) -> GaussianGANWorld:
        """D = D*, and Eq. (7) moves the scale the way that *decreases* L_k: for k = 2 and k = 1."""
        if k == 2:
            theta0, shares, mean, scale = (0.77, -0.16), (0.39, 0.61), 0.58, 0.56
        else:
            theta0, shares, mean, scale = (0.83, 0.09), (0.49, 0.51), 1.47, 0.54
        return cls(
            theta0=table(theta0),
            shares=table(shares),
            means=table([-mean, mean]),
            scales=table([scale, scale]),
            ripple=table([0.0, 0.0]),
        )

    def with_ripple(self, ripple: tuple[float, float]) -> GaussianGANWorld:
        """The same world judged by another D."""
        return dataclasses.replace(self, ripple=table(ripple))

    def with_nodes(self, nodes: int) -> GaussianGANWorld:
        """The same world with another quadrature."""
        return dataclasses.replace(self, nodes=nodes)

    def log_p_data(self, x: Tensor) -> Tensor:
        """log p_data(x); same shape as x."""
        parts = normal_log_density(x[..., None], self.means, self.scales.log())
        return (parts + self.shares.log()).logsumexp(-1)

    def log_p_g(self, x: Tensor, theta: Tensor | None = None) -> Tensor:
        """log p_g(x); same shape as x."""
        t = self.theta0 if theta is None else theta
        return normal_log_density(x, t[0], t[1])

    def log_p_0(self, x: Tensor) -> Tensor:
        """log of the frozen prior (p_g + p_data) / 2."""
        return torch.logaddexp(self.log_p_g(x), self.log_p_data(x)) - math.log(2)

    def a(self, x: Tensor) -> Tensor:
        """Logit of D(x), frozen."""
        ripple = self.ripple[0] + self.ripple[1] * torch.sin(x)
        return self.log_p_data(x) - self.log_p_g(x) + ripple

    def log_w(self, x: Tensor, theta: Tensor | None = None) -> Tensor:
        """log of the exact weight q^r(0|x) p_0(x) / p_theta(x|0)."""
        return logsigmoid(self.a(x)) + self.log_p_0(x) - self.log_p_g(x, theta)

    def log_w_frozen(self, x: Tensor) -> Tensor:
        """log q^r(0|x) - log p_theta0(0|x): `log_w` as a function of x alone, up to log p(y)."""
        return logsigmoid(self.a(x)) + softplus(self.log_p_data(x) - self.log_p_g(x))

    def _draws(self, k: int) -> tuple[Tensor, Tensor]:
        """All groups of k noise nodes and their weights.  (n^k, k), (n^k,)"""
        nodes, weights = normal_quadrature(self.nodes)
        return nodes[groups(self.nodes, k)], group_law(weights, k)

    def x(self, noise: Tensor, theta: Tensor | None = None) -> Tensor:
        """x(noise, theta); same shape as noise."""
        t = self.theta0 if theta is None else theta
        return t[0] + t[1].exp() * noise

    def bound(self, k: int, theta: Tensor | None = None) -> Tensor:
        """L_k(y=0) with exact weights.  Scalar."""
        noise, weight = self._draws(k)
        log_w = self.log_w(self.x(noise, theta), theta)
        return expectation(weight, log_w.logsumexp(-1) - math.log(k))

    def bound_gradient(self, k: int) -> Tensor:
        """grad L_k(0) at theta0, by autograd through everything.  (2,)"""
        return gradient(lambda theta: self.bound(k, theta), self.theta0)

    def _weighted(self, k: int, power: int, log_share: Field, f: Field) -> Tensor:
        """E sum_i (w~_i)^power grad_theta f(x(noise_i, theta)) at theta0.  (2,)"""
        nodes, _ = normal_quadrature(self.nodes)
        grads = jacobian(lambda theta: f(self.x(nodes, theta)), self.theta0)  # (n, 2)
        _, weight = self._draws(k)
        index = groups(self.nodes, k)
        shares = log_share(self.x(nodes))[index].softmax(-1) ** power
        return torch.einsum("g,gi,gip->p", weight, shares, grads[index])

    def eq7(self, k: int) -> Tensor:
        """Eq. (7): E sum_i w~_i grad log D(x_i), w~ = softmax of the logits.  (2,)"""
        return self._weighted(k, 1, self.a, lambda x: logsigmoid(self.a(x)))

    def kept_bracket(self, k: int) -> Tensor:
        """E sum_i w~_i grad log q^r(0|x_i) with exact shares; Eq. (7) if D = D*.  (2,)"""
        return self._weighted(k, 1, self.log_w, lambda x: logsigmoid(self.a(x)))

    def dropped_bracket(self, k: int) -> Tensor:
        """E sum_i w~_i grad log(p_0(x_i) / p_theta(x_i|0)), theta in x *and* in p_theta.  (2,)"""
        nodes, _ = normal_quadrature(self.nodes)

        def log_ratio(theta: Tensor) -> Tensor:
            x = self.x(nodes, theta)
            return self.log_p_0(x) - self.log_p_g(x, theta)

        grads = jacobian(log_ratio, self.theta0)
        _, weight = self._draws(k)
        index = groups(self.nodes, k)
        shares = self.log_w(self.x(nodes))[index].softmax(-1)
        return torch.einsum("g,gi,gip->p", weight, shares, grads[index])

    def squared_weight_gradient(self, k: int) -> Tensor:
        """E sum_i w~_i^2 grad_theta[log q^r(0|x_i) - log p_theta0(0|x_i)] = grad L_k(0).  (2,)

        The doubly reparameterised form. At D = D* the bracket is the logit a, up to a constant.
        """
        return self._weighted(k, 2, self.log_w, self.log_w_frozen)

    def squared_weight_gradient_of_logit(self, k: int) -> Tensor:
        """E sum_i w~_i^2 grad a(x_i): needs no density, and is exact at D = D* only.  (2,)"""
        return self._weighted(k, 2, self.a, self.a)


@dataclass(frozen=True, eq=False)
class GaussianIWAEWorld:
    """One observation x, one latent z ~ N(0, 1), a nonlinear decoder, q(z|x) = N(eta).

    p_theta(x|z) = N(theta_0 z + theta_1 sin z, 0.7^2),  q_eta(z|x) = N(eta_0, exp(eta_1)^2).
    theta0: (2,).  eta0: (2,).  x: scalar.  nodes: of the quadrature, per draw.
    """

    theta0: Tensor
    eta0: Tensor
    x: Tensor
    nodes: int = 81

    @classmethod
    def example(cls) -> GaussianIWAEWorld:
        """The world of the tests."""
        return cls(table([0.8, 0.5]), table([0.1, -0.3]), table(0.9))

    def z(self, noise: Tensor, eta: Tensor | None = None) -> Tensor:
        """z(noise, eta); same shape as noise."""
        e = self.eta0 if eta is None else eta
        return e[0] + e[1].exp() * noise

    def log_w(self, z: Tensor, theta: Tensor | None = None, eta: Tensor | None = None) -> Tensor:
        """log p_theta(x, z) - log q_eta(z|x); same shape as z."""
        t = self.theta0 if theta is None else theta
        e = self.eta0 if eta is None else eta
        mean = t[0] * z + t[1] * torch.sin(z)
        log_p = normal_log_density(z, table(0.0), table(0.0))
        log_p = log_p + normal_log_density(self.x, mean, table(math.log(0.7)))
        return log_p - normal_log_density(z, e[0], e[1])

    def bound(self, k: int, theta: Tensor | None = None, eta: Tensor | None = None) -> Tensor:
        """L_k(x).  Scalar."""
        nodes, weights = normal_quadrature(self.nodes)
        z = self.z(nodes[groups(self.nodes, k)], eta)
        log_w = self.log_w(z, theta, eta)
        return expectation(group_law(weights, k), log_w.logsumexp(-1) - math.log(k))

    def _weighted(self, k: int, power: int, grads: Tensor) -> Tensor:
        nodes, weights = normal_quadrature(self.nodes)
        index = groups(self.nodes, k)
        shares = self.log_w(self.z(nodes))[index].softmax(-1) ** power
        return torch.einsum("g,gi,gip->p", group_law(weights, k), shares, grads[index])

    def path_gradient(self, k: int) -> Tensor:
        """grad_eta L_k = E sum_i w~_i d log w_i/d eta, eta in z *and* in q.  (2,)"""
        nodes, _ = normal_quadrature(self.nodes)
        grads = jacobian(lambda eta: self.log_w(self.z(nodes, eta), eta=eta), self.eta0)
        return self._weighted(k, 1, grads)

    def doubly_reparameterised_gradient(self, k: int, power: int = 2) -> Tensor:
        """E sum_i w~_i^2 (d log w_i/dz_i)(dz_i/d eta): the same number with power 2 only.  (2,)"""
        nodes, _ = normal_quadrature(self.nodes)
        grads = jacobian(lambda eta: self.log_w(self.z(nodes, eta)), self.eta0)
        return self._weighted(k, power, grads)


@dataclass(frozen=True)
class MovingUniformWorld:
    """p_g = U[theta, theta + 1] against p_data = U[-5, 5], D constant, theta0 = 0, p(y) = 1/2.

    The support moves, and Lemma 1 fails: the generator's loss is constant in theta, while
    E_y KL - JSD has a kink at theta0 of slopes -+ log(11)/2. All densities are piecewise constant,
    so the integrals are finite sums. Lengths are in units of x.
    """

    theta0: float = 0.0
    low: float = -5.0
    high: float = 5.0

    def _pieces(self, theta: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Lengths of the pieces, and p_g(theta), p_g(theta0), p_data on them.  (P,) each"""
        edges = table(sorted({self.low, self.high, theta, theta + 1, self.theta0, self.theta0 + 1}))
        middle = (edges[1:] + edges[:-1]) / 2

        def uniform(start: float, end: float) -> Tensor:
            return ((middle > start) & (middle < end)).double() / (end - start)

        p_g, p_g0 = uniform(theta, theta + 1), uniform(self.theta0, self.theta0 + 1)
        return edges.diff(), p_g, p_g0, uniform(self.low, self.high)

    def prior_shift(self, theta: float) -> float:
        """KL(p_theta(x) || p_0(x)); equals |theta - theta0| log(11)/2 for a shift up to 1."""
        length, p_g, p_g0, p_d = self._pieces(theta)
        return float(kl_p_q(length * (p_g + p_d) / 2, length * (p_g0 + p_d) / 2))

    def kl_term(self, theta: float) -> float:
        """E_y KL(p_theta(x|y) || q^r(x|y)), and q^r(x|y) = p_0(x) for a constant D."""
        length, p_g, p_g0, p_d = self._pieces(theta)
        p_0 = length * (p_g0 + p_d) / 2
        return float((kl_p_q(length * p_g, p_0) + kl_p_q(length * p_d, p_0)) / 2)

    def jsd_term(self, theta: float) -> float:
        """JSD(p_g, p_data)."""
        length, p_g, _, p_d = self._pieces(theta)
        return float(jsd(length * p_g, length * p_d))


@dataclass(frozen=True, eq=False)
class TwoBumpsWorld:
    """Data with two bumps, a model with one: which divergence keeps one mode, which covers both?

    x: (n,) grid.  p_data: (n,) distribution on it.
    """

    x: Tensor
    p_data: Tensor

    @classmethod
    def example(cls, n: int = 241, centre: float = 2.5, scale: float = 0.6) -> TwoBumpsWorld:
        """Two bumps of unequal mass (0.45 and 0.55) at -centre and +centre."""
        x = torch.linspace(-6, 6, n, dtype=torch.float64)
        left = torch.exp(-0.5 * ((x + centre) / scale).square())
        right = torch.exp(-0.5 * ((x - centre) / scale).square())
        return cls(x, normalise(0.45 * left + 0.55 * right))

    def bump(self, mean: float, scale: float) -> Tensor:
        """The model: a discretised normal.  (n,)"""
        return (-0.5 * ((self.x - mean) / scale).square()).softmax(-1)

    def best_fit(self, divergence: Callable[[Tensor, Tensor], Tensor]) -> tuple[float, float]:
        """The (mean, scale) that minimise ``divergence(p_data, p_g)``, by search on a grid."""
        candidates = [
            (mean / 10, scale / 10) for mean in range(-40, 41, 5) for scale in range(3, 41, 3)
        ]
        values = torch.stack([divergence(self.p_data, self.bump(*c)) for c in candidates])
        return candidates[int(values.argmin())]
