"""Importance weighting in a finite world: every group of k draws is enumerated.

Two quantities do all the work, for draws i = 1..k from p with weights w:

    `log_mean_bound`        E log (1/k) sum_i w_i              the bound, grows with k to log E_p w
    `self_normalised_mean`  E sum_i w~_i f_i, w~ = w / sum w   what a weighted gradient averages

`ImportanceWorld` puts them on a `GANWorld`; there a gradient is the exact one, of a function of
theta. Equation (7) of the paper needs x to move with theta (a path gradient), so
`FiniteNoiseWorld` has real x(z, theta) with finitely many z.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from unigen_edu.errors import UnigenError
from unigen_edu.exact.checks import gradient, jacobian
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.tables import (
    check_distribution,
    expectation,
    generator_from,
    random_distribution,
    table,
)
from unigen_edu.exact.vae import VAEWorld

__all__ = [
    "ConditionalImportanceWorld",
    "FiniteNoiseWorld",
    "ImportanceWorld",
    "effective_sample_size",
    "group_law",
    "groups",
    "iwae_bound",
    "iwae_weights",
    "log_mean_bound",
    "log_mean_bound_by_counts",
    "logit_curl",
    "logit_field",
    "multisets",
    "normalised_weights",
    "self_normalised_mean",
    "self_normalised_mean_by_counts",
]

LARGEST_ENUMERATION = 2_000_000


# ---- enumeration -------------------------------------------------------------------------------


def groups(n: int, k: int) -> Tensor:
    """All n^k ordered groups of k states, as indices.  (n^k, k) int64"""
    if k < 1:
        raise UnigenError(f"a group needs k >= 1 draws, not {k}.")
    if n**k > LARGEST_ENUMERATION:
        raise UnigenError(
            f"{n}^{k} groups are too many to list: use the _by_counts functions or a smaller k."
        )
    return torch.cartesian_prod(*[torch.arange(n)] * k).reshape(-1, k)


def group_law(p: Tensor, k: int) -> Tensor:
    """p(x_1)...p(x_k) for each group in `groups`, differentiable.  (..., n) -> (..., n^k)"""
    return p[..., groups(p.shape[-1], k)].prod(-1)


def multisets(n: int, k: int) -> tuple[Tensor, Tensor]:
    """All ways to count k draws among n states: counts (M, n), log multinomial coefficients (M,).

    M = C(n+k-1, k) grows slowly with k, so this reaches k = 100 for n = 3.
    """
    bars = torch.tensor(list(combinations(range(n + k - 1), n - 1)), dtype=torch.float64)
    bars = bars.reshape(-1, n - 1)
    left = torch.full((bars.shape[0], 1), -1.0, dtype=torch.float64)
    right = torch.full((bars.shape[0], 1), n + k - 1.0, dtype=torch.float64)
    counts = torch.diff(torch.cat([left, bars, right], dim=1), dim=1) - 1
    log_coefficient = torch.lgamma(table(k + 1.0)) - torch.lgamma(counts + 1).sum(-1)
    return counts, log_coefficient


# ---- the two quantities ------------------------------------------------------------------------


def normalised_weights(w: Tensor) -> Tensor:
    """w~_i = w_i / sum_j w_j over the last axis, the k axis."""
    return w / w.sum(-1, keepdim=True)


def effective_sample_size(w: Tensor) -> Tensor:
    """1 / sum_i w~_i^2 over the last axis: k for equal weights, 1 if one weight has it all."""
    return 1 / normalised_weights(w).square().sum(-1)


def log_mean_bound(p: Tensor, w: Tensor, k: int) -> Tensor:
    """L_k = E log (1/k) sum_i w(x_i), x_i ~ p independent.  p, w: (..., n) -> (...)

    Nondecreasing in k, at most log E_p w, and -> log E_p w.
    """
    return expectation(group_law(p, k), w[..., groups(p.shape[-1], k)].mean(-1).log(), dim=-1)


def log_mean_bound_by_counts(p: Tensor, w: Tensor, k: int) -> Tensor:
    """`log_mean_bound` for one distribution p, w: (n,) > 0, by counts: reaches large k.  Scalar."""
    counts, log_coefficient = multisets(p.shape[0], k)
    law = (log_coefficient + counts @ p.log()).exp()
    return expectation(law, (counts @ w / k).log())


def self_normalised_mean(p: Tensor, w: Tensor, f: Tensor, k: int) -> Tensor:
    """E sum_i w~_i f(x_i), x_i ~ p independent.  p, w: (n,), f: (n, ...) -> (...)"""
    index = groups(p.shape[0], k)
    shares = normalised_weights(w[index])
    return torch.einsum("g,gi,gi...->...", group_law(p, k), shares, f[index])


def self_normalised_mean_by_counts(p: Tensor, w: Tensor, f: Tensor, k: int) -> Tensor:
    """`self_normalised_mean` by counts: reaches large k.  p, w: (n,) > 0, f: (n, ...) -> (...)"""
    counts, log_coefficient = multisets(p.shape[0], k)
    law = (log_coefficient + counts @ p.log()).exp()
    shares = normalised_weights(counts * w)
    return torch.einsum("m,mn,n...->...", law, shares, f)


# ---- the importance weighted autoencoder -------------------------------------------------------


def iwae_weights(world: VAEWorld, theta: Tensor | None = None, eta: Tensor | None = None) -> Tensor:
    """w(x, z) = p_theta(x, z) / q_eta(z|x).  (X, Z)"""
    return world.p_xz(theta) / world.q_z_given_x(eta)


def iwae_bound(
    world: VAEWorld, k: int, theta: Tensor | None = None, eta: Tensor | None = None
) -> Tensor:
    """L_k(x) = E_{z_i ~ q_eta(z|x)} log (1/k) sum_i p_theta(x, z_i) / q_eta(z_i|x).  (X,)"""
    return log_mean_bound(world.q_z_given_x(eta), iwae_weights(world, theta, eta), k)


# ---- importance weights on a GAN ---------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ImportanceWorld:
    """A `GANWorld` whose generator is read as the proposal of the posterior q^r(x|y).

    The evidence q^r(y) = E_{p_0} q^r(y|x) = Z_y is frozen: it contains no theta.
    """

    gan: GANWorld

    @classmethod
    def random(
        cls, seed: int, n_x: int = 4, p_y: tuple[float, float] | Tensor = (0.5, 0.5)
    ) -> ImportanceWorld:
        """A random world with full support, a function of ``seed`` alone."""
        return cls(GANWorld.random(seed, n_x=n_x, p_y=p_y))

    def proposal(self, theta: Tensor | None = None, y: int = 0) -> Tensor:
        """p_theta(x|y), where the k draws come from.  (X,)"""
        return self.gan.p_x_given_y(theta)[y]

    def weights(self, theta: Tensor | None = None, y: int = 0) -> Tensor:
        """The exact weight w(x) = q^r(y|x) p_0(x) / p_theta(x|y); its mean is Z_y.  (X,)"""
        return self.gan.q_r[y] * self.gan.p_0 / self.proposal(theta, y)

    def weights_by_bayes(self, y: int = 0) -> Tensor:
        """The same at theta0, by Bayes' rule: p(y) q^r(y|x) / p_theta0(y|x).  (X,)"""
        return self.gan.p_y[y] * self.gan.q_r[y] / self.gan.p_y_given_x()[y]

    def plug_in_weights(self, y: int = 0) -> Tensor:
        """The printed weight q^r(y|x) / q(y|x), e^a for y = 0; exact/p(y) only if D = D*.  (X,)"""
        return (self.gan.log_q_r[y] - self.gan.log_q_y_given_x()[y]).exp()

    def bound(
        self, k: int, theta: Tensor | None = None, y: int = 0, weights: Tensor | None = None
    ) -> Tensor:
        """L_k(y) = E log (1/k) sum_i w_i, x_i ~ p_theta(x|y); exact weights by default.  Scalar."""
        w = self.weights(theta, y) if weights is None else weights
        return log_mean_bound(self.proposal(theta, y), w, k)

    def bound_by_counts(self, k: int, theta: Tensor | None = None, y: int = 0) -> Tensor:
        """`bound` with exact weights for large k.  Scalar."""
        return log_mean_bound_by_counts(self.proposal(theta, y), self.weights(theta, y), k)

    def log_evidence(self, y: int = 0) -> Tensor:
        """log Z_y, the ceiling of `bound` with exact weights.  Scalar."""
        return self.gan.Z[y].log()

    def bound_gradient(self, k: int, y: int = 0) -> Tensor:
        """grad_theta L_k(y) at theta0, exact weights: proposal *and* weights move.  (X,)"""
        return gradient(lambda theta: self.bound(k, theta, y), self.gan.theta0)

    def chi2_term(self, theta: Tensor | None = None, y: int = 0) -> Tensor:
        """chi^2(q^r(x|y) || p_theta(x|y)) = sum q^2/p - 1; k (log Z_y - L_k) -> half of it."""
        return (self.gan.q_r_x_given_y[y].square() / self.proposal(theta, y)).sum() - 1

    def gan_step(self, theta: Tensor | None = None, y: int = 0) -> Tensor:
        """E_{p_theta(x|y)} log q^r(y|x): the part of L_1(y) that a GAN keeps.  Scalar."""
        return expectation(self.proposal(theta, y), self.gan.log_q_r[y])

    def to_prior(self, theta: Tensor | None = None, y: int = 0) -> Tensor:
        """KL(p_theta(x|y) || p_0): the part of -L_1(y) that a GAN drops.  Scalar."""
        return self.gan_step(theta, y) - self.bound(1, theta, y)

    def weighted_loss(self, k: int, theta: Tensor | None = None) -> Tensor:
        """F_k = E_{x_1..k ~ p_theta(x|0)} sum_i w~_i (-log D(x_i)), w~ the plug-in shares.  Scalar.

        In a table world theta moves the law of the groups, so the gradient of this number is what
        the weighted loss gives. It equals that of Eq. (7) for k = 1 only; see `FiniteNoiseWorld`.
        """
        loss = -logsigmoid(self.gan.phi0)
        return self_normalised_mean(self.proposal(theta), self.plug_in_weights(), loss, k)


# ---- equation (7) as a field -------------------------------------------------------------------


def logit_field(a: Tensor) -> Tensor:
    """Eq. (7) for one group in logit space: G_i = softmax(a)_i (1 - sigmoid(a_i)).  (k,) -> (k,)"""
    return a.softmax(-1) * torch.sigmoid(-a)


def logit_curl(a: Tensor) -> Tensor:
    """dG_i/da_j - dG_j/da_i = s_i s_j (sigmoid(a_i) - sigmoid(a_j)), s = softmax(a).  (k, k)

    Not zero, so no function of the logits has `logit_field` as its gradient.
    """
    s, d = a.softmax(-1), a.sigmoid()
    return s[:, None] * s[None, :] * (d[:, None] - d[None, :])


@dataclass(frozen=True, eq=False)
class FiniteNoiseWorld:
    """A generator with real-valued x(z, theta) and finitely many z, judged by a smooth logit a(x).

    x(z, theta) = theta_0 + theta_1 u_z + theta_2 tanh(2 u_z)
    a(x)        = c_0 + c_1 x + c_2 sin(2x)
    p_z: (Z,).  noise u: (Z,).  theta0: (3,).  coefficients c: (3,).  Only y = 0 is here: the data
    half of Eq. (7) has no theta. Gradients are path gradients, exact because z is enumerated.
    """

    p_z: Tensor
    noise: Tensor
    theta0: Tensor
    coefficients: Tensor

    def __post_init__(self) -> None:
        check_distribution("p_z", self.p_z)
        if self.noise.shape != self.p_z.shape:
            raise UnigenError("noise must have one value for each entry of p_z.")

    @classmethod
    def random(cls, seed: int, n_z: int = 4) -> FiniteNoiseWorld:
        """A random world, a function of ``seed`` alone."""
        g = generator_from(seed)
        return cls(
            p_z=random_distribution(n_z, generator=g),
            noise=1.5 * torch.randn(n_z, generator=g, dtype=torch.float64),
            theta0=torch.randn(3, generator=g, dtype=torch.float64),
            coefficients=torch.randn(3, generator=g, dtype=torch.float64),
        )

    def x(self, theta: Tensor | None = None) -> Tensor:
        """x(z, theta) for every z.  (Z,)"""
        t = self.theta0 if theta is None else theta
        return t[0] + t[1] * self.noise + t[2] * torch.tanh(2 * self.noise)

    def logit(self, x: Tensor) -> Tensor:
        """a(x), the logit of D.  Same shape as x."""
        c = self.coefficients
        return c[0] + c[1] * x + c[2] * torch.sin(2 * x)

    def a(self, theta: Tensor | None = None) -> Tensor:
        """a(x(z, theta)) for every z.  (Z,)"""
        return self.logit(self.x(theta))

    def grad_log_D(self, theta: Tensor | None = None) -> Tensor:
        """grad_theta log D(x(z, theta)) for every z.  (Z, 3)"""
        return jacobian(lambda t: logsigmoid(self.a(t)), self.theta0 if theta is None else theta)

    def grad_a(self, theta: Tensor | None = None) -> Tensor:
        """grad_theta a(x(z, theta)) for every z.  (Z, 3)"""
        return jacobian(self.a, self.theta0 if theta is None else theta)

    def gan_gradient(self, theta: Tensor | None = None) -> Tensor:
        """E_z grad log D(x(z, theta)): the non-saturating ascent direction.  (3,)"""
        return torch.einsum("z,zp->p", self.p_z, self.grad_log_D(theta))

    def eq7(self, k: int, theta: Tensor | None = None) -> Tensor:
        """Eq. (7): E_{z_1..k} sum_i w~_i grad log D(x(z_i, theta)), w = e^a; ascent.  (3,)"""
        return self_normalised_mean(self.p_z, self.a(theta).exp(), self.grad_log_D(theta), k)

    def eq7_by_counts(self, k: int, theta: Tensor | None = None) -> Tensor:
        """`eq7` for large k.  (3,)"""
        w, f = self.a(theta).exp(), self.grad_log_D(theta)
        return self_normalised_mean_by_counts(self.p_z, w, f, k)

    def eq7_limit(self, theta: Tensor | None = None) -> Tensor:
        """The limit of `eq7` as k grows: E[rho grad log D], rho = w / E w.  (3,)"""
        w = self.a(theta).exp()
        rho = w / expectation(self.p_z, w)
        return torch.einsum("z,zp->p", self.p_z * rho, self.grad_log_D(theta))

    def eq7_bias(self, theta: Tensor | None = None) -> Tensor:
        """The 1/k coefficient of `eq7`: -E[rho^2 (f - E[rho f])].  (3,)"""
        w, f = self.a(theta).exp(), self.grad_log_D(theta)
        rho = w / expectation(self.p_z, w)
        centred = f - torch.einsum("z,zp->p", self.p_z * rho, f)
        return -torch.einsum("z,zp->p", self.p_z * rho.square(), centred)

    def surrogate(self, k: int, theta: Tensor | None = None, detach: bool = True) -> Tensor:
        """The loss in code: E sum_i w~_i softplus(-a_i); its gradient is -Eq. (7).  Scalar.

        ``detach=False`` lets the gradient flow through the weights, which is wrong.
        """
        a = self.a(theta)[groups(self.p_z.shape[0], k)]
        shares = (a.detach() if detach else a).softmax(-1)
        return expectation(group_law(self.p_z, k), -(shares * logsigmoid(a)).sum(-1))

    def neighbour_a(self, k: int, theta: Tensor | None = None) -> Tensor:
        """(A) E log (1/k) sum_i e^{a_i}: a true objective, weights softmax(a), vector grad a."""
        return log_mean_bound(self.p_z, self.a(theta).exp(), k)

    def neighbour_b(self, k: int, theta: Tensor | None = None) -> Tensor:
        """(B) E log (1/k) sum_i D(x_i): a true objective, weights D/sum D, vector grad log D."""
        return log_mean_bound(self.p_z, self.a(theta).sigmoid(), k)

    def gradient_a(self, k: int, theta: Tensor | None = None) -> Tensor:
        """Gradient of (A), written out: E sum_i softmax(a)_i grad a_i.  (3,)"""
        return self_normalised_mean(self.p_z, self.a(theta).exp(), self.grad_a(theta), k)

    def gradient_b(self, k: int, theta: Tensor | None = None) -> Tensor:
        """Gradient of (B), written out: E sum_i (D_i / sum D) grad log D_i.  (3,)"""
        return self_normalised_mean(self.p_z, self.a(theta).sigmoid(), self.grad_log_D(theta), k)

    def curl(self, k: int, theta: Tensor | None = None, step: float = 1e-5) -> Tensor:
        """d eq7_i / d theta_j minus its transpose, by central differences.  (3, 3)

        Zero for a gradient field; nonzero for Eq. (7) with k > 1.
        """
        point = self.theta0 if theta is None else theta
        columns = []
        for j in range(point.numel()):
            shift = torch.zeros_like(point)
            shift[j] = step
            columns.append((self.eq7(k, point + shift) - self.eq7(k, point - shift)) / (2 * step))
        jac = torch.stack(columns, dim=1)
        return jac - jac.T


# ---- the conditional version -------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ConditionalImportanceWorld:
    """Importance weighted conditional GAN: classes c, a generator p_g(x|c), a logit a(x, c).

    p_c: (C,).  p_g_given_c: (C, X).  a: (C, X) logits of D(x, c).
    """

    p_c: Tensor
    p_g_given_c: Tensor
    a: Tensor

    @classmethod
    def random(cls, seed: int, n_c: int = 2, n_x: int = 3) -> ConditionalImportanceWorld:
        """A random world, a function of ``seed`` alone."""
        g = generator_from(seed)
        return cls(
            p_c=random_distribution(n_c, generator=g),
            p_g_given_c=random_distribution(n_c, n_x, generator=g),
            a=torch.randn(n_c, n_x, generator=g, dtype=torch.float64),
        )

    def shifted(self, shift: Tensor) -> ConditionalImportanceWorld:
        """``shift[c]`` added to every logit of class c, as a class-prior mismatch does."""
        return ConditionalImportanceWorld(self.p_c, self.p_g_given_c, self.a + shift[:, None])

    @property
    def joint(self) -> Tensor:
        """p(c) p_g(x|c).  (C, X)"""
        return self.p_c[:, None] * self.p_g_given_c

    def evidence_given_c(self) -> Tensor:
        """Z_c = E_{p_g(x|c)} e^{a(x, c)}.  (C,)"""
        return expectation(self.p_g_given_c, self.a.exp(), dim=-1)

    def bound_within(self, k: int) -> Tensor:
        """E_c L_k(c): every group shares one class.  At most E_c log Z_c.  Scalar."""
        return expectation(self.p_c, log_mean_bound(self.p_g_given_c, self.a.exp(), k))

    def bound_mixed(self, k: int) -> Tensor:
        """L_k with classes mixed in a group.  At most log E_c Z_c, another number.  Scalar."""
        return log_mean_bound(self.joint.flatten(), self.a.exp().flatten(), k)

    def weighted_mean_within(self, f: Tensor, k: int) -> Tensor:
        """E_c E sum_i w~_i f(x_i, c), groups of one class.  f: (C, X) -> scalar"""
        per_class = [
            self_normalised_mean(p, a.exp(), values, k)
            for p, a, values in zip(self.p_g_given_c, self.a, f, strict=True)
        ]
        return expectation(self.p_c, torch.stack(per_class))

    def weighted_mean_mixed(self, f: Tensor, k: int) -> Tensor:
        """E sum_i w~_i f(x_i, c_i), classes mixed in a group.  f: (C, X) -> scalar"""
        w = self.a.exp().flatten()
        return self_normalised_mean(self.joint.flatten(), w, f.flatten(), k)

    def class_law(self, k: int, mixed: bool) -> Tensor:
        """Share of the weight that each class gets: p(c) if groups share a class.  (C,)"""
        mean = self.weighted_mean_mixed if mixed else self.weighted_mean_within
        indicators = torch.eye(self.p_c.shape[0], dtype=torch.float64)
        n_x = self.a.shape[1]
        return torch.stack([mean(row[:, None].expand(-1, n_x), k) for row in indicators])

    def tilted_class_law(self) -> Tensor:
        """The limit of the mixed class law: proportional to p(c) Z_c.  (C,)"""
        tilted = self.p_c * self.evidence_given_c()
        return tilted / tilted.sum()
