"""Distributions as tables: every probability a number, every expectation a sum.

All tables are float64. The last axis is the variable, the axes before it are what it is
conditioned on: ``p_x_given_y[y, x]`` = p(x|y). Logarithms are natural, so everything is in nats.
The convention 0 log 0 = 0 holds for values *and* for autograd (no NaN gradients).
"""

from __future__ import annotations

import torch
from torch import Tensor

from unigen_edu.errors import UnigenError

__all__ = [
    "check_distribution",
    "conditional_entropy",
    "entropy",
    "expectation",
    "generator_from",
    "jeffreys_p_q",
    "jsd",
    "jsd_weighted",
    "kl_p_q",
    "log_table",
    "mixture",
    "mutual_information",
    "normalise",
    "p_log_q",
    "posterior",
    "random_distribution",
    "table",
]


def table(values: object) -> Tensor:
    """Turn nested lists (or a tensor) into a float64 table."""
    return torch.as_tensor(values, dtype=torch.float64)


def generator_from(seed: int) -> torch.Generator:
    """A fresh random generator, so that a world is a function of its seed."""
    return torch.Generator().manual_seed(seed)


def normalise(positive: Tensor, dim: int = -1) -> Tensor:
    """Divide a nonnegative table by its sum over ``dim``."""
    return positive / positive.sum(dim, keepdim=True)


def random_distribution(*shape: int, generator: torch.Generator, spread: float = 1.0) -> Tensor:
    """Random strictly positive distributions over the last axis; softmax of ``spread`` * N(0, 1).

    ``random_distribution(2, 5, generator=g)`` is a table p(x|y) of shape (2, 5).
    """
    logits = spread * torch.randn(*shape, generator=generator, dtype=torch.float64)
    return logits.softmax(-1)


def check_distribution(name: str, p: Tensor, dim: int = -1) -> None:
    """Raise `UnigenError` unless ``p`` is float64, nonnegative and sums to one over ``dim``."""
    if p.dtype != torch.float64:
        raise UnigenError(f"{name} is {p.dtype}: exact worlds are float64, pass {name}.double().")
    if bool((p < 0).any()):
        raise UnigenError(f"{name} has a negative entry: probabilities must be >= 0.")
    gap = float((p.sum(dim) - 1).abs().max())
    if not gap <= 1e-9:
        raise UnigenError(f"{name} does not sum to 1 (off by {gap:.1e}): use normalise({name}).")


def log_table(p: Tensor) -> Tensor:
    """log p, with log 0 = -inf as a value and a zero gradient there."""
    support = p > 0
    return torch.where(support, torch.where(support, p, 1.0).log(), float("-inf"))


def p_log_q(p: Tensor, q: Tensor) -> Tensor:
    """Elementwise p log q, with 0 log q = 0 even where q = 0."""
    support = p > 0
    return torch.where(support, p * torch.where(support, q, 1.0).log(), 0.0)


def expectation(p: Tensor, value: Tensor, dim: int | None = None) -> Tensor:
    """E_p[value] = sum p * value, over all axes or over ``dim``; states with p = 0 never count."""
    impossible = (p == 0) & ~value.isfinite()
    summand = p * torch.where(impossible, 0.0, value)
    return summand.sum() if dim is None else summand.sum(dim)


def mixture(p_y: Tensor, p_x_given_y: Tensor) -> Tensor:
    """p(x) = sum_y p(y) p(x|y).  p_y: (Y,), p_x_given_y: (Y, ...) -> (...)."""
    return torch.tensordot(p_y, p_x_given_y, dims=1)


def posterior(p_y: Tensor, p_x_given_y: Tensor) -> Tensor:
    """Bayes' rule p(y|x) = p(y) p(x|y) / p(x).  p_y: (Y,), p_x_given_y: (Y, X) -> (Y, X)

    An x that cannot occur tells nothing: there the posterior is p(y).
    """
    joint = p_y[:, None] * p_x_given_y
    p_x = joint.sum(0)
    possible = p_x > 0
    return torch.where(possible, joint / torch.where(possible, p_x, 1.0), p_y[:, None])


def entropy(p: Tensor, dim: int = -1) -> Tensor:
    """H(p) = -sum p log p over ``dim``."""
    return -p_log_q(p, p).sum(dim)


def conditional_entropy(joint: Tensor) -> Tensor:
    """H(a|b) = H(a, b) - H(b) of a joint table joint[a, b]."""
    return entropy(joint.flatten()) - entropy(joint.sum(0))


def kl_p_q(p: Tensor, q: Tensor, dim: int = -1) -> Tensor:
    """KL(p||q) = sum p (log p - log q) over ``dim``; +inf where p > 0 = q."""
    return (p_log_q(p, p) - p_log_q(p, q)).sum(dim)


def jeffreys_p_q(p: Tensor, q: Tensor, dim: int = -1) -> Tensor:
    """Jeffreys' symmetric divergence KL(p||q) + KL(q||p)."""
    return kl_p_q(p, q, dim) + kl_p_q(q, p, dim)


def jsd_weighted(p_y: Tensor, p_x_given_y: Tensor) -> Tensor:
    """JSD with weights p(y): sum_y p(y) KL(p(x|y) || p(x)).  p_y: (Y,), p_x_given_y: (Y, X)."""
    p_x = mixture(p_y, p_x_given_y)
    return expectation(p_y, kl_p_q(p_x_given_y, p_x.expand_as(p_x_given_y)))


def jsd(p: Tensor, q: Tensor) -> Tensor:
    """JSD(p, q) with equal weights: KL(p||m)/2 + KL(q||m)/2, m = (p + q)/2.  At most log 2."""
    return jsd_weighted(table([0.5, 0.5]), torch.stack([p, q]))


def mutual_information(joint: Tensor) -> Tensor:
    """I(a; b) = KL(p(a, b) || p(a) p(b)) of a joint table joint[a, b]."""
    product = joint.sum(1)[:, None] * joint.sum(0)[None, :]
    return kl_p_q(joint.flatten(), product.flatten())
