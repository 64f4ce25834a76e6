r"""f-divergences D_f(P || Q) = E_Q f(p/q), with everything that f-GAN and f-GM need of f.

A divergence is kept in the **log domain**: its functions take l = log(p/q). The two quantities of
the variational bound V = E_P f'(r) - E_Q f*(f'(r)) are computed from l directly. Going through
t = f'(r) and then f*(t) would lose all digits where f* has a pole.

The order of arguments is that of f-GAN: P is the data and Q the model, so "kl" is
KL(data || model) and "reverse-kl" is KL(model || data).

A divergence is chosen by name: one of `F_DIVERGENCES`, or of two families, "alpha=0.5" and
"js=0.3". One of your own needs f alone:

    divergences.register("my-kl", lambda u: u * u.log() - u + 1)

Its derivative comes from autograd, and convexity and f(1) = 0 are checked once, here. Total
variation is not among them: its f is made of two straight lines, so f'(r) tells only which of p
and q is larger, and no gradient reaches a log ratio.

Sources: Nowozin, Cseke and Tomioka (2016), f-GAN; Shannon et al. (2020) for
"softened-reverse-kl"; Amari (1985) for the alpha family.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from unigen_edu.declarations import expect
from unigen_edu.errors import UnigenError

__all__ = ["F_DIVERGENCES", "FDivergence", "f_divergence", "register"]

Function = Callable[[Tensor], Tensor]
LOG2 = math.log(2.0)

# The guard keeps every term below e^30 = 1e13: its square still fits into float32.
LARGEST_LOG_TERM = 30.0
# A divergence given as f alone computes r f'(r) - f(r) by subtraction, in float64: up to
# |log r| = 20 at least six digits are left.
LARGEST_LOG_RATIO_OF_F_ALONE = 20.0


@dataclass(frozen=True)
class FDivergence:
    """One strictly convex f with f(1) = 0 (except "gan", whose f(1) = -log 4).

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
        limit: the guard keeps |l| below it; infinite where the terms grow linearly in l.
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
    limit: float

    def divergence(self, p: Tensor, q: Tensor) -> Tensor:
        """D_f(P || Q) of two tables with full support, summed over the last axis."""
        return (q * self.f(p / q)).sum(-1)

    def bound(self, p: Tensor, q: Tensor, v: Tensor) -> Tensor:
        """f-GAN's lower bound E_P g(v) - E_Q f*(g(v)) of two tables for any real v."""
        t = self.output(v)
        return (p * t).sum(-1) - (q * self.conjugate(t)).sum(-1)

    def gap(self, p: Tensor, q: Tensor, log_r: Tensor) -> Tensor:
        """D_f - V = E_Q [f(u) - f(r) - f'(r) (u - r)] >= 0, u = p/q, of two tables.

        The integrand is the Bregman divergence of f: how far the tangent at r lies below f at u.
        """
        u, r = p / q, log_r.exp()
        return (q * (self.f(u) - self.f(r) - self.derivative(r) * (u - r))).sum(-1)

    def guard(self, log_r: Tensor) -> Tensor:
        """l bent into (-limit, limit), so that no term overflows: the same shape as `log_r`.

        The identity up to 0.8 `limit`; beyond, strictly increasing with a slope that falls from 1
        and never reaches 0. Used in *both* terms it turns a valid bound into a valid bound, which
        is looser only where |l| > 0.8 `limit`. Used in one term alone it would not be a bound.
        """
        if math.isinf(self.limit):
            return log_r
        width = 0.2 * self.limit
        excess = (log_r.abs() - 0.8 * self.limit).clamp(min=0.0)
        bent = log_r.sign() * (self.limit - width * width / (width + excess))
        return torch.where(excess > 0.0, bent, log_r)

    def data_value(self, log_r: Tensor) -> Tensor:
        """f'(r) behind the guard: what E_P averages in V. Same shape as `log_r`."""
        return self.data_term(self.guard(log_r))

    def model_value(self, log_r: Tensor) -> Tensor:
        """f*(f'(r)) behind the guard: what E_Q averages in V. Same shape as `log_r`."""
        return self.model_term(self.guard(log_r))

    def variational_bound(
        self,
        log_r_p: Tensor,
        log_r_q: Tensor,
        weight_p: Tensor | None = None,
        weight_q: Tensor | None = None,
    ) -> Tensor:
        """V = E_P f'(r) - E_Q f*(f'(r)) <= D_f(P || Q), with equality at r = p/q.  Scalar.

        Args:
            log_r_p, log_r_q: any estimate of log p/q at draws of P and at draws of Q.
            weight_p, weight_q: None for draws, probabilities for tables (see `expect`).
        """
        return expect(self.data_value(log_r_p), weight_p) - expect(
            self.model_value(log_r_q), weight_q
        )


def _identity(v: Tensor) -> Tensor:
    return v


def _xlogx(u: Tensor) -> Tensor:
    return torch.xlogy(u, u)


def _conjugate_pearson(t: Tensor) -> Tensor:
    # With u >= 0 the supremum is at u = 0 for t <= -2.
    return torch.where(t >= -2.0, t.square() / 4 + t, -torch.ones_like(t))


def _conjugate_by_search(f: Function, data_term: Function, reach: float) -> Function:
    """f*(t) = t r - f(r) at the r with f'(r) = t, found by bisection on |log r| <= reach."""

    def conjugate(t: Tensor) -> Tensor:
        with torch.no_grad():
            low = torch.full_like(t, -reach)
            high = torch.full_like(t, reach)
            for _ in range(80):
                middle = (low + high) / 2
                below = data_term(middle) < t
                low, high = torch.where(below, middle, low), torch.where(below, high, middle)
            r = ((low + high) / 2).exp()
        # At the supremum the derivative by r vanishes: a constant r gives the right gradient, r.
        return t * r - f(r)

    return conjugate


def _jeffreys_f(u: Tensor) -> Tensor:
    return (u - 1) * u.log()


def _jeffreys_data(log_r: Tensor) -> Tensor:
    return log_r - torch.expm1(-log_r)


def _softened_f(u: Tensor) -> Tensor:
    return (1 + u) * (torch.log1p(u) - LOG2 - u.log())


def _softened_data(log_r: Tensor) -> Tensor:
    return -LOG2 - F.logsigmoid(log_r) - torch.exp(-log_r)


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
        limit=LARGEST_LOG_TERM,
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
        limit=LARGEST_LOG_TERM,
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
        limit=math.inf,
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
        limit=math.inf,
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
        limit=2 * LARGEST_LOG_TERM,
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
        limit=LARGEST_LOG_TERM / 2,
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
        limit=LARGEST_LOG_TERM / 2,
    ),
    FDivergence(
        name="jeffreys",
        tex=r"(u-1)\log u",
        equals=r"\mathrm{KL}(P\,\|\,Q)+\mathrm{KL}(Q\,\|\,P)",
        f=_jeffreys_f,
        derivative=lambda u: u.log() + 1 - 1 / u,
        conjugate=_conjugate_by_search(_jeffreys_f, _jeffreys_data, LARGEST_LOG_TERM),
        conjugate_below=math.inf,
        output=_jeffreys_data,
        optimal_output=_identity,
        data_term=_jeffreys_data,
        model_term=lambda log_r: log_r + torch.expm1(log_r),
        limit=LARGEST_LOG_TERM,
    ),
    # What the non-saturating GAN descends when its discriminator is optimal.
    FDivergence(
        name="softened-reverse-kl",
        tex=r"(1+u)\log\tfrac{1+u}{2u}",
        equals=r"2\,\mathrm{KL}\big(\tfrac12(P+Q)\,\|\,P\big)",
        f=_softened_f,
        derivative=lambda u: torch.log((1 + u) / (2 * u)) - 1 / u,
        conjugate=_conjugate_by_search(_softened_f, _softened_data, LARGEST_LOG_TERM),
        conjugate_below=-LOG2,
        output=_softened_data,
        optimal_output=_identity,
        data_term=_softened_data,
        model_term=lambda log_r: LOG2 + F.logsigmoid(log_r) - 1,
        limit=LARGEST_LOG_TERM,
    ),
)

F_DIVERGENCES: dict[str, FDivergence] = {divergence.name: divergence for divergence in _ALL}


# ---- families ------------------------------------------------------------------------------------


def _alpha(a: float) -> FDivergence:
    r"""Amari's alpha-divergence: "kl" is its limit at 1 and "reverse-kl" its limit at 0.

    In the log domain it is as simple as can be: f'(r) = (r^(a-1) - 1) / (a-1) and
    f*(f'(r)) = (r^a - 1) / a.
    """
    if not -10.0 <= a <= 10.0 or a in (0.0, 1.0):
        raise UnigenError(
            f"alpha is {a:g}, but it must lie between -10 and 10 and be neither 0 nor 1: "
            "these two limits are called 'reverse-kl' and 'kl'."
        )

    def f(u: Tensor) -> Tensor:
        return (u.pow(a) - 1 - a * (u - 1)) / (a * (a - 1))

    def data_term(log_r: Tensor) -> Tensor:
        return torch.expm1((a - 1) * log_r) / (a - 1)

    def conjugate(t: Tensor) -> Tensor:
        # r^(a-1) = 1 + (a-1) t. For a > 1 it cannot be negative: the supremum is then at r = 0.
        power = (1 + (a - 1) * t).clamp(min=0.0)
        return (power.pow(a / (a - 1)) - 1) / a

    return FDivergence(
        name=f"alpha={a:g}",
        tex=r"\frac{u^\alpha-1-\alpha(u-1)}{\alpha(\alpha-1)},\ \alpha=" + f"{a:g}",
        equals=r"\frac{1}{\alpha(\alpha-1)}\big(\sum P^\alpha Q^{1-\alpha}-1\big)",
        f=f,
        derivative=lambda u: (u.pow(a - 1) - 1) / (a - 1),
        conjugate=conjugate,
        conjugate_below=1 / (1 - a) if a < 1 else math.inf,
        output=data_term,
        optimal_output=_identity,
        data_term=data_term,
        model_term=lambda log_r: torch.expm1(a * log_r) / a,
        limit=LARGEST_LOG_TERM / max(abs(a), abs(a - 1)),
    )


def _weighted_js(w: float) -> FDivergence:
    """JSD with weights p(y=1) = w on P and p(y=0) = 1 - w on Q; "js" is twice that of w = 1/2."""
    if not 0.0 < w < 1.0:
        raise UnigenError(f"The weight of 'js={w:g}' is a probability: it must lie within (0, 1).")
    prior = math.log(w / (1 - w))  # the posterior of y = 1 is sigmoid(log r + prior)

    def f(u: Tensor) -> Tensor:
        mixture = 1 - w + w * u
        return w * _xlogx(u) - mixture * mixture.log()

    def data_term(log_r: Tensor) -> Tensor:
        return w * (F.logsigmoid(log_r + prior) - math.log(w))

    def conjugate(t: Tensor) -> Tensor:
        return (1 - w) * (math.log(1 - w) - torch.log1p(-w * torch.exp(t / w)))

    return FDivergence(
        name=f"js={w:g}",
        tex=r"w u\log u-(wu+1-w)\log(wu+1-w),\ w=" + f"{w:g}",
        equals=r"w\,\mathrm{KL}(P\,\|\,M)+(1-w)\,\mathrm{KL}(Q\,\|\,M),\ M=wP+(1-w)Q",
        f=f,
        derivative=lambda u: w * torch.log(u / (1 - w + w * u)),
        conjugate=conjugate,
        conjugate_below=-w * math.log(w),
        output=data_term,
        optimal_output=_identity,
        data_term=data_term,
        model_term=lambda log_r: (1 - w) * (math.log(1 - w) - F.logsigmoid(-log_r - prior)),
        limit=math.inf,
    )


_FAMILIES: dict[str, Callable[[float], FDivergence]] = {"alpha": _alpha, "js": _weighted_js}


# ---- f alone -------------------------------------------------------------------------------------


def _from_f(name: str, f: Function, tex: str, equals: str) -> FDivergence:
    """Everything that an `FDivergence` needs, from f: its derivative is autograd's."""
    # f is elementwise, so the gradient of its sum holds f' of each element; `torch.func` keeps the
    # result differentiable, which training needs.
    derivative: Function = torch.func.grad(lambda u: f(u).sum())

    def ratio(log_r: Tensor) -> Tensor:
        # Apple's GPUs have no float64.
        exact = log_r if log_r.device.type == "mps" else log_r.double()
        return exact.exp()

    def data_term(log_r: Tensor) -> Tensor:
        return derivative(ratio(log_r)).to(log_r.dtype)

    def model_term(log_r: Tensor) -> Tensor:
        r = ratio(log_r)
        return (r * derivative(r) - f(r)).to(log_r.dtype)

    _check(name, f, derivative)
    limit = _reach(name, data_term, model_term)
    return FDivergence(
        name=name,
        tex=tex,
        equals=equals,
        f=f,
        derivative=derivative,
        conjugate=_conjugate_by_search(f, data_term, limit),
        conjugate_below=data_term(torch.tensor(limit, dtype=torch.float64)).item(),
        output=data_term,
        optimal_output=_identity,
        data_term=data_term,
        model_term=model_term,
        limit=limit,
    )


def _check(name: str, f: Function, derivative: Function) -> None:
    """One sentence unless f is elementwise, differentiable, strictly convex at 1, and f(1) = 0."""
    u = torch.linspace(-5.0, 5.0, 201, dtype=torch.float64).exp()
    try:
        value, slope = f(u), derivative(u)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise UnigenError(
            f"f of '{name}' could not be evaluated and differentiated ({reason}): write it with "
            "elementwise torch functions of a tensor u, without 'if' (use torch.where)."
        ) from error
    # A function that looks at its neighbours gives other numbers for a part of u.
    elementwise = isinstance(value, Tensor) and value.shape == u.shape
    if not elementwise or not torch.allclose(f(u[::7]), value[::7], equal_nan=True):
        raise UnigenError(
            f"f of '{name}' must return one number for each element of u by itself, in a tensor of "
            "the same shape: do not sum or average in it."
        )
    for what, numbers in (("f(u)", value), ("f'(u)", slope)):
        if not bool(numbers.isfinite().all()):
            where = u[~numbers.isfinite()][0].item()
            raise UnigenError(
                f"{what} of '{name}' is not finite at u = {where:.3g}: f must be defined and "
                "differentiable for every u > 0."
            )
    at_one = f(torch.ones(1, dtype=torch.float64)).item()
    if abs(at_one) > 1e-9:
        raise UnigenError(
            f"f(1) of '{name}' is {at_one:.6g}, but equal distributions must have divergence 0: "
            "subtract that number from f."
        )
    rise = slope.diff()
    falls = rise < -1e-9 * (1 + slope[1:].abs())
    if bool(falls.any()):
        at = int(falls.nonzero()[0])
        raise UnigenError(
            f"f of '{name}' is not convex: its slope falls from {slope[at].item():.4g} at "
            f"u = {u[at].item():.3g} to {slope[at + 1].item():.4g} at u = {u[at + 1].item():.3g}."
        )
    near_one = (u > 0.5) & (u < 2.0)
    flat = near_one[1:] & (rise < 1e-9)
    if bool(flat.any()):
        raise UnigenError(
            f"f of '{name}' has a straight piece at u = {u[1:][flat][0].item():.3g}: it must be "
            "strictly convex around u = 1, or no gradient reaches the log ratio."
        )


def _reach(name: str, data_term: Function, model_term: Function) -> float:
    """The largest |l| for which both terms stay below e^30."""
    reached = 0.0
    for size in torch.arange(0.5, LARGEST_LOG_RATIO_OF_F_ALONE + 0.25, 0.5, dtype=torch.float64):
        log_r = torch.stack([-size, size])
        terms = torch.cat([data_term(log_r), model_term(log_r)])
        if not bool((terms.abs() < math.exp(LARGEST_LOG_TERM)).all()):
            break
        reached = size.item()
    if reached < 2.0:
        raise UnigenError(
            f"f of '{name}' grows so fast that its terms pass 1e13 at |log r| = {reached + 0.5:g}: "
            "no training could use it."
        )
    return reached


def register(
    name: str, f: Function, *, tex: str = "f(u)", equals: str = "D_f(P, Q)"
) -> FDivergence:
    """Make a divergence of your own from f alone, and let models find it by `name`.

    A checkpoint keeps the name only: register the same f before you load one. A second call with
    the same name replaces the first, so that a notebook's cell can be run again.

    Args:
        name: how models will call it; not that of a built-in divergence.
        f: elementwise torch function of u > 0, convex, with f(1) = 0.
        tex: f(u) in TeX, for tables. equals: what D_f is, in TeX.

    Raises:
        UnigenError: the name is taken, or f is no generator of a divergence.
    """
    if not isinstance(name, str) or not name.strip() or "=" in name:
        raise UnigenError(f"{name!r} cannot name a divergence: give a short text without '='.")
    if any(name == built_in.name for built_in in _ALL) or name in _FAMILIES:
        raise UnigenError(f"'{name}' is a built-in divergence: choose another name for your own.")
    if not callable(f):
        raise UnigenError(f"f of '{name}' must be a function of a tensor u, not {f!r}.")
    F_DIVERGENCES[name] = _from_f(name, f, tex, equals)
    return F_DIVERGENCES[name]


def f_divergence(name: str | FDivergence) -> FDivergence:
    """The f-divergence called `name`: "kl", "alpha=0.5", or one that was registered.

    A registered `FDivergence` stands for its own name.

    Raises:
        UnigenError: there is none of that name, or a family's number is missing or out of range.
    """
    if isinstance(name, FDivergence):
        known = f_divergence(name.name)
        if "=" not in name.name and known is not name:
            raise UnigenError(
                f"Another f-divergence is registered as '{name.name}': register this one under a "
                "name of its own."
            )
        return known
    if name in F_DIVERGENCES:
        return F_DIVERGENCES[name]
    family, _, number = str(name).partition("=")
    if family in _FAMILIES:
        try:
            parameter = float(number)
        except ValueError:
            raise UnigenError(
                f"'{name}' names a family of divergences: give its number, as in '{family}=0.3'."
            ) from None
        return _FAMILIES[family](parameter)
    valid = ", ".join([*F_DIVERGENCES, "alpha=A", "js=W"])
    raise UnigenError(
        f"There is no f-divergence '{name}'; choose one of: {valid}; one of your own must be "
        "registered first, with divergences.register(name, f)."
    )
