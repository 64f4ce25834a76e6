r"""f-divergences D_f(P || Q) = E_Q f(p/q), with everything that f-GAN and f-GM need of f.

A divergence is kept in the **log domain**: its functions take l = log(p/q). The two quantities of
the variational bound V = E_P f'(r) - E_Q f*(f'(r)) are computed from l directly. Going through
t = f'(r) and then f*(t) would lose all digits where f* has a pole.

The order of arguments is that of f-GAN: P is the data and Q the model, so "kl" is
KL(data || model) and "reverse-kl" is KL(model || data).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from unigen_edu.errors import UnigenError

Function = Callable[[Tensor], Tensor]
LOG2 = math.log(2.0)


@dataclass(frozen=True)
class FDivergence:
    """One convex f with f(1) = 0 (except "gan", whose f(1) = -log 4).

    Attributes:
        name: as typed: "js".
        tex: f(u) in TeX.
        equals: what D_f(P || Q) is, in TeX.
        f: f(u), u > 0.
        derivative: f'(u), u > 0.
        conjugate: f*(t), for t < `conjugate_below`.
        conjugate_below: supremum of the domain of f*.
        output: g_f(v), a strictly increasing map of the real line into the domain of f*.
        optimal_output: v* with g_f(v*) = f'(r), as a function of l = log r.
        data_term: f'(e^l), as a function of l.
        model_term: f*(f'(e^l)) = r f'(r) - f(r), as a function of l.
    """

    name: str
    tex: str
    equals: str
    f: Function
    derivative: Function
    conjugate: Function
    conjugate_below: float
    output: Function
    optimal_output: Function
    data_term: Function
    model_term: Function

    def divergence(self, p: Tensor, q: Tensor) -> Tensor:
        """D_f(P || Q) of two tables with full support, summed over the last axis."""
        return (q * self.f(p / q)).sum(-1)

    def bound(self, p: Tensor, q: Tensor, v: Tensor) -> Tensor:
        """f-GAN's lower bound E_P g(v) - E_Q f*(g(v)) of two tables for any real v."""
        t = self.output(v)
        return (p * t).sum(-1) - (q * self.conjugate(t)).sum(-1)


def _xlogx(u: Tensor) -> Tensor:
    return torch.xlogy(u, u)


def _conjugate_pearson(t: Tensor) -> Tensor:
    # With u >= 0 the supremum is at u = 0 for t <= -2.
    return torch.where(t >= -2.0, t.square() / 4 + t, -torch.ones_like(t))


def _identity(v: Tensor) -> Tensor:
    return v


_ALL = (
    FDivergence(
        name="kl",
        tex=r"u\log u",
        equals=r"\mathrm{KL}(P\,\|\,Q)",
        f=_xlogx,
        derivative=lambda u: 1 + u.log(),
        conjugate=lambda t: torch.exp(t - 1),
        conjugate_below=math.inf,
        output=_identity,
        optimal_output=lambda log_r: 1 + log_r,
        data_term=lambda log_r: 1 + log_r,
        model_term=torch.exp,
    ),
    FDivergence(
        name="reverse-kl",
        tex=r"-\log u",
        equals=r"\mathrm{KL}(Q\,\|\,P)",
        f=lambda u: -u.log(),
        derivative=lambda u: -1 / u,
        conjugate=lambda t: -1 - torch.log(-t),
        conjugate_below=0.0,
        output=lambda v: -torch.exp(-v),
        optimal_output=_identity,
        data_term=lambda log_r: -torch.exp(-log_r),
        model_term=lambda log_r: log_r - 1,
    ),
    FDivergence(
        name="js",
        tex=r"u\log u-(u+1)\log\tfrac{u+1}{2}",
        equals=r"2\,\mathrm{JSD}(P, Q)",
        f=lambda u: _xlogx(u) - (u + 1) * torch.log((u + 1) / 2),
        derivative=lambda u: torch.log(2 * u / (1 + u)),
        conjugate=lambda t: -torch.log(2 - t.exp()),
        conjugate_below=LOG2,
        output=lambda v: LOG2 + F.logsigmoid(v),
        optimal_output=_identity,
        data_term=lambda log_r: LOG2 + F.logsigmoid(log_r),
        model_term=lambda log_r: -LOG2 - F.logsigmoid(-log_r),
    ),
    FDivergence(
        name="gan",
        tex=r"u\log u-(u+1)\log(u+1)",
        equals=r"2\,\mathrm{JSD}(P, Q)-\log 4",
        f=lambda u: _xlogx(u) - (u + 1) * torch.log1p(u),
        derivative=lambda u: torch.log(u / (1 + u)),
        conjugate=lambda t: -torch.log(-torch.expm1(t)),
        conjugate_below=0.0,
        output=F.logsigmoid,
        optimal_output=_identity,
        data_term=F.logsigmoid,
        model_term=lambda log_r: -F.logsigmoid(-log_r),
    ),
    FDivergence(
        name="hellinger",
        tex=r"(\sqrt u-1)^2",
        equals=r"\sum(\sqrt P-\sqrt Q)^2",
        f=lambda u: (u.sqrt() - 1).square(),
        derivative=lambda u: 1 - u.rsqrt(),
        conjugate=lambda t: t / (1 - t),
        conjugate_below=1.0,
        output=lambda v: -torch.expm1(-v),
        optimal_output=lambda log_r: log_r / 2,
        data_term=lambda log_r: -torch.expm1(-log_r / 2),
        model_term=lambda log_r: torch.expm1(log_r / 2),
    ),
    FDivergence(
        name="pearson",
        tex=r"(u-1)^2",
        equals=r"\sum(P-Q)^2/Q",
        f=lambda u: (u - 1).square(),
        derivative=lambda u: 2 * (u - 1),
        conjugate=_conjugate_pearson,
        conjugate_below=math.inf,
        output=_identity,
        optimal_output=lambda log_r: 2 * torch.expm1(log_r),
        data_term=lambda log_r: 2 * torch.expm1(log_r),
        model_term=lambda log_r: torch.expm1(2 * log_r),
    ),
    FDivergence(
        name="neyman",
        tex=r"(1-u)^2/u",
        equals=r"\sum(P-Q)^2/P",
        f=lambda u: (1 - u).square() / u,
        derivative=lambda u: 1 - u.pow(-2),
        conjugate=lambda t: 2 - 2 * torch.sqrt(1 - t),
        conjugate_below=1.0,
        output=lambda v: -torch.expm1(-v),
        optimal_output=lambda log_r: 2 * log_r,
        data_term=lambda log_r: -torch.expm1(-2 * log_r),
        model_term=lambda log_r: -2 * torch.expm1(-log_r),
    ),
)

F_DIVERGENCES: dict[str, FDivergence] = {divergence.name: divergence for divergence in _ALL}


def f_divergence(name: str) -> FDivergence:
    """The f-divergence called `name`; unknown names raise a sentence that lists the valid ones."""
    if name not in F_DIVERGENCES:
        valid = ", ".join(F_DIVERGENCES)
        raise UnigenError(f"There is no f-divergence '{name}'; choose one of: {valid}.")
    return F_DIVERGENCES[name]
