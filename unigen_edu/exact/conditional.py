"""Finite worlds with a class c: part of what is seen, or missing and summed out.

`SemiSupervisedWorld` is "M2" of Kingma et al. as tables. Unlabelled x come from p_data(x), labelled
pairs (x, c) from p_lab(x, c); the two need not agree.

    p_theta(x, z, c) = p(c) p(z) p_theta(x|z, c),   p(c) = 1/C,   p_theta(x|z, c) = softmax(theta)
    q_eta(z|x, c) = softmax(eta),   q_psi(c|x) = softmax(psi)

For its adversary-activated form two discriminators D_U(x) and D_L(x, c) are there as well.
Axis order of every table: (c, x, z), as far as present; theta is (c, z, x).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unigen_edu.errors import UnigenError
from unigen_edu.exact.tables import (
    check_distribution,
    expectation,
    generator_from,
    kl_p_q,
    random_distribution,
)

__all__ = ["SemiSupervisedWorld"]


@dataclass(frozen=True, eq=False)
class SemiSupervisedWorld:
    """Images with and without a class, a decoder, an encoder, a classifier, two discriminators.

    p_data: (X,).  p_lab: (C, X), sums to one as a whole.  p_z: (Z,).  theta0: (C, Z, X).
    eta0: (C, X, Z).  psi0: (X, C).  phi_u: (X,) logits of D_U.  phi_l: (C, X) logits of D_L.
    """

    p_data: Tensor
    p_lab: Tensor
    p_z: Tensor
    theta0: Tensor
    eta0: Tensor
    psi0: Tensor
    phi_u: Tensor
    phi_l: Tensor

    def __post_init__(self) -> None:
        check_distribution("p_data", self.p_data)
        check_distribution("p_lab", self.p_lab.flatten())
        check_distribution("p_z", self.p_z)
        n_c, n_x = self.p_lab.shape
        n_z = self.p_z.shape[0]
        expected = {
            "p_data": (n_x,),
            "theta0": (n_c, n_z, n_x),
            "eta0": (n_c, n_x, n_z),
            "psi0": (n_x, n_c),
            "phi_u": (n_x,),
            "phi_l": (n_c, n_x),
        }
        for name, shape in expected.items():
            found = getattr(self, name)
            if found.shape != shape or found.dtype != torch.float64:
                raise UnigenError(
                    f"{name} must be a float64 table of shape {shape}, "
                    f"not {found.dtype} of shape {tuple(found.shape)}."
                )

    @classmethod
    def random(cls, seed: int, n_c: int = 3, n_x: int = 5, n_z: int = 2) -> SemiSupervisedWorld:
        """A random world with full support, a function of ``seed`` alone."""
        g = generator_from(seed)

        def logits(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g, dtype=torch.float64)

        return cls(
            p_data=random_distribution(n_x, generator=g),
            p_lab=random_distribution(n_c * n_x, generator=g).reshape(n_c, n_x),
            p_z=random_distribution(n_z, generator=g),
            theta0=logits(n_c, n_z, n_x),
            eta0=logits(n_c, n_x, n_z),
            psi0=logits(n_x, n_c),
            phi_u=logits(n_x),
            phi_l=logits(n_c, n_x),
        )

    @property
    def log_p_c(self) -> float:
        """log p(c) = -log C."""
        return -math.log(self.p_lab.shape[0])

    # ---- the generative side: functions of theta -----------------------------------------------

    def p_xzc(self, theta: Tensor | None = None) -> Tensor:
        """p(c) p(z) p_theta(x|z, c).  (C, X, Z)"""
        p_x = (self.theta0 if theta is None else theta).softmax(-1)  # (C, Z, X)
        return math.exp(self.log_p_c) * (self.p_z[:, None] * p_x).transpose(1, 2)

    def p_xc(self, theta: Tensor | None = None) -> Tensor:
        """p_theta(x, c).  (C, X)"""
        return self.p_xzc(theta).sum(2)

    def p_x(self, theta: Tensor | None = None) -> Tensor:
        """p_theta(x), what the model makes.  (X,)"""
        return self.p_xc(theta).sum(0)

    def p_c_given_x(self, theta: Tensor | None = None) -> Tensor:
        """The true posterior p_theta(c|x).  (X, C)"""
        return (self.p_xc(theta) / self.p_x(theta)).T

    def p_z_given_xc(self, theta: Tensor | None = None) -> Tensor:
        """The true posterior p_theta(z|x, c).  (C, X, Z)"""
        joint = self.p_xzc(theta)
        return joint / joint.sum(2, keepdim=True)

    # ---- the inference side --------------------------------------------------------------------

    def q_z(self, eta: Tensor | None = None) -> Tensor:
        """q_eta(z|x, c).  (C, X, Z)"""
        return (self.eta0 if eta is None else eta).softmax(-1)

    def q_c(self, psi: Tensor | None = None) -> Tensor:
        """q_psi(c|x).  (X, C)"""
        return (self.psi0 if psi is None else psi).softmax(-1)

    # ---- bounds --------------------------------------------------------------------------------

    def pair_bound(self, theta: Tensor | None = None, eta: Tensor | None = None) -> Tensor:
        """-L(x, c) = E_q log p_theta(x, z, c) - log q_eta(z|x, c) <= log p_theta(x, c).  (C, X)"""
        q = self.q_z(eta)
        return expectation(q, self.p_xzc(theta).log() - q.log(), dim=-1)

    def unlabelled_bound(
        self, theta: Tensor | None = None, eta: Tensor | None = None, psi: Tensor | None = None
    ) -> Tensor:
        """-U(x), by brute force over (c, z): E_q log p_theta(x,z,c) / q(z,c|x) <= log p(x): (X,)"""
        q = self.q_c(psi).T[..., None] * self.q_z(eta)  # q(c|x) q(z|x, c), (C, X, Z)
        return (q * (self.p_xzc(theta).log() - q.log())).sum((0, 2))

    def slack(self) -> Tensor:
        """KL(q(c|x) || p(c|x)) + E_q KL(q(z|x,c) || p(z|x,c)) = log p(x) + U(x).  (X,)"""
        of_class = kl_p_q(self.q_c(), self.p_c_given_x())
        of_code = kl_p_q(self.q_z(), self.p_z_given_xc()).T  # (X, C)
        return of_class + expectation(self.q_c(), of_code, dim=-1)

    # ---- objectives ----------------------------------------------------------------------------

    def cross_entropy(self, psi: Tensor | None = None) -> Tensor:
        """-log q_psi(c|x).  (C, X)"""
        return -self.q_c(psi).log().T

    def m2(
        self,
        alpha: float,
        rho: float,
        theta: Tensor | None = None,
        eta: Tensor | None = None,
        psi: Tensor | None = None,
    ) -> Tensor:
        """E_pdata U + E_plab [rho L + alpha (-log q(c|x))] (minimised).  Scalar."""
        unlabelled = -expectation(self.p_data, self.unlabelled_bound(theta, eta, psi))
        cost = -rho * self.pair_bound(theta, eta) + alpha * self.cross_entropy(psi)
        return unlabelled + expectation(self.p_lab, cost)

    def unlabelled_kl(
        self,
        theta: Tensor | None = None,
        eta: Tensor | None = None,
        psi: Tensor | None = None,
        p_x: Tensor | None = None,
    ) -> Tensor:
        """KL(p_data(x) q(z, c|x) || p_theta(x, z, c)); ``p_x`` replaces p_data.  Scalar."""
        p = self.p_data if p_x is None else p_x
        joint = p[:, None] * self.q_c(psi).T[..., None] * self.q_z(eta)
        return kl_p_q(joint.flatten(), self.p_xzc(theta).flatten())

    def labelled_kl(
        self,
        alpha: float,
        rho: float,
        theta: Tensor | None = None,
        eta: Tensor | None = None,
        psi: Tensor | None = None,
        p_xc: Tensor | None = None,
    ) -> Tensor:
        """rho KL(p_lab q(z|x,c) || p_theta) + alpha E_plab KL(p_lab(c|x) || q(c|x)).  Scalar.

        ``p_xc`` replaces p_lab.
        """
        p = self.p_lab if p_xc is None else p_xc
        joint = kl_p_q((p[..., None] * self.q_z(eta)).flatten(), self.p_xzc(theta).flatten())
        classifier = kl_p_q((p / p.sum(0)).T, self.q_c(psi))
        return rho * joint + alpha * expectation(p.sum(0), classifier)

    # ---- the adversary -------------------------------------------------------------------------

    @property
    def D_U(self) -> Tensor:
        """D_U(x).  (X,)"""
        return self.phi_u.sigmoid()

    @property
    def D_L(self) -> Tensor:
        """D_L(x, c).  (C, X)"""
        return self.phi_l.sigmoid()

    def generated_pairs(self) -> Tensor:
        """p_lab(c) p_theta0(x|c): samples with the classes of the labelled images.  (C, X)"""
        p_x_given_c = self.p_xc() / self.p_xc().sum(1, keepdim=True)
        return self.p_lab.sum(1, keepdim=True) * p_x_given_c

    def optimal_discriminators(self) -> tuple[Tensor, Tensor]:
        """D_U*(x) and D_L*(x, c) at theta0.  (X,), (C, X)"""
        return (
            self.p_data / (self.p_data + self.p_x()),
            self.p_lab / (self.p_lab + self.generated_pairs()),
        )

    def with_discriminators(self, D_U: Tensor, D_L: Tensor) -> SemiSupervisedWorld:
        """The same world judged by others."""
        return dataclasses.replace(self, phi_u=torch.logit(D_U), phi_l=torch.logit(D_L))

    def activated_m2(
        self,
        alpha: float,
        rho: float,
        theta: Tensor | None = None,
        eta: Tensor | None = None,
        psi: Tensor | None = None,
    ) -> Tensor:
        """E_mU [D_U U] + E_mL [D_L (rho L + alpha (-log q(c|x)))], m and D frozen: a scalar.

        m_U = (p_data + p_theta0(x))/2, m_L = (p_lab + `generated_pairs`)/2.
        """
        m_u = (self.p_data + self.p_x()) / 2
        m_l = (self.p_lab + self.generated_pairs()) / 2
        unlabelled = -expectation(m_u * self.D_U, self.unlabelled_bound(theta, eta, psi))
        cost = -rho * self.pair_bound(theta, eta) + alpha * self.cross_entropy(psi)
        return unlabelled + expectation(m_l * self.D_L, cost)

    def believed(self) -> tuple[Tensor, Tensor]:
        """m_U D_U and m_L D_L, what the discriminators take for data.  (X,), (C, X)"""
        return (
            self.D_U * (self.p_data + self.p_x()) / 2,
            self.D_L * (self.p_lab + self.generated_pairs()) / 2,
        )
