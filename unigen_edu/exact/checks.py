"""Say what should be equal, or must not be, and let the arithmetic answer in one line."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unigen_edu.errors import UnigenError

__all__ = ["agree", "differ", "gap", "gradient", "jacobian"]

Number = Tensor | float


def gap(left: Number, right: Number) -> float:
    """Largest absolute difference; NaN if either side has a NaN; equal infinities differ by 0."""
    a = torch.as_tensor(left, dtype=torch.float64).detach()
    b = torch.as_tensor(right, dtype=torch.float64).detach()
    if a.shape != b.shape:
        raise UnigenError(f"the two sides have shapes {tuple(a.shape)} and {tuple(b.shape)}.")
    difference = torch.where(a == b, 0.0, (a - b).abs())
    return float(difference.max()) if difference.numel() else 0.0


def agree(what: str, left: Number, right: Number, tolerance: float = 1e-10) -> None:
    """Print one line if the two sides are equal up to ``tolerance``; raise AssertionError if not.

    The line shows the tolerance, not the measured gap, so that a notebook's output never changes.
    """
    measured = gap(left, right)
    if not measured <= tolerance:
        raise AssertionError(
            f"{what}: the sides differ by {measured:.3e}, more than {tolerance:.0e}"
        )
    print(f"✓ {what}: equal to {tolerance:.0e}")


def differ(what: str, left: Number, right: Number, by: float = 1e-4) -> None:
    """Print one line if the two sides differ by more than ``by``; raise AssertionError if not."""
    measured = gap(left, right)
    if not measured > by:
        raise AssertionError(
            f"{what}: the sides differ by only {measured:.3e}, not more than {by:.0e}"
        )
    print(f"✗ {what}: not equal, as claimed")


def gradient(f: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """The gradient of the scalar function ``f`` at the float64 tensor ``at``, by autograd.

    A function that does not depend on its argument has gradient zero.
    """
    if at.dtype != torch.float64:
        raise UnigenError(f"the point is {at.dtype}: exact gradients need float64, use .double().")
    point = at.detach().clone().requires_grad_(True)
    value = f(point)
    if value.numel() != 1:
        raise UnigenError(f"gradient needs a scalar, f returned shape {tuple(value.shape)}.")
    if not value.requires_grad:
        return torch.zeros_like(point)
    (result,) = torch.autograd.grad(value.reshape(()), point, allow_unused=True)
    return torch.zeros_like(point) if result is None else result.detach()


def jacobian(f: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """J[i, j] = d f_i / d at_j of a vector function of a vector, by autograd."""
    result: Tensor = torch.autograd.functional.jacobian(f, at.detach().clone())
    return result
