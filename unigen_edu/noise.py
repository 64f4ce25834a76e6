"""Where a model's random numbers come from.

Models draw with `normal` and `uniform` and say which axis counts the samples. Alone, that is
`torch.randn` and `torch.rand`. Training at size puts another source behind the same two calls:

* `Share`: several processes split a batch. Each draws the numbers of the whole batch, from the same
  stream, and keeps its part. So the parameters are those of one process with the whole batch.
* `Recorded` and `Replayed`: several seeds are trained as one stack. The numbers of each seed are
  drawn from its own stream, and handed to the stacked computation. So the parameters of each seed
  are those of a run by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

Law = Literal["normal", "uniform"]

__all__ = [
    "Recorded",
    "Replayed",
    "Request",
    "Share",
    "bernoulli",
    "drawn_by",
    "normal",
    "pools",
    "uniform",
]


class Request(NamedTuple):
    """One call: what was asked for."""

    law: Law
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    batch_dim: int

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        """Fresh numbers from `generator`, or from the device's default one."""
        make = torch.randn if self.law == "normal" else torch.rand
        return make(self.shape, generator=generator, dtype=self.dtype, device=self.device)


class Source(Protocol):
    def draw(self, request: Request) -> Tensor: ...


class _Default:
    def draw(self, request: Request) -> Tensor:
        return request.draw()


@dataclass(frozen=True)
class Share:
    """The part of process `rank` of `world` of the numbers of the whole batch."""

    rank: int
    world: int

    def draw(self, request: Request) -> Tensor:
        shape = list(request.shape)
        size = shape[request.batch_dim]
        shape[request.batch_dim] = size * self.world
        whole = request._replace(shape=tuple(shape)).draw()
        return whole.narrow(request.batch_dim, self.rank * size, size)


@dataclass
class Recorded:
    """Draws as usual and keeps what was asked for, in order."""

    requests: list[Request] = field(default_factory=list)

    def draw(self, request: Request) -> Tensor:
        self.requests.append(request)
        return request.draw()


@dataclass
class Replayed:
    """Hands out given tensors in order."""

    values: Sequence[Tensor]
    used: int = 0

    def draw(self, request: Request) -> Tensor:
        value = self.values[self.used]
        self.used += 1
        return value


@dataclass(frozen=True)
class _Pools:
    """Draws for several pools of one size that stand behind one another on the batch axis."""

    source: Source
    count: int

    def draw(self, request: Request) -> Tensor:
        axis = request.batch_dim
        shape = list(request.shape)
        shape[axis] //= self.count
        one = request._replace(shape=tuple(shape))
        return torch.cat([self.source.draw(one) for _ in range(self.count)], axis)


_sources: list[Source] = [_Default()]


@contextmanager
def drawn_by(source: Source) -> Iterator[None]:
    """Let `source` answer the draws made inside."""
    _sources.append(source)
    try:
        yield
    finally:
        _sources.pop()


@contextmanager
def pools(count: int) -> Iterator[None]:
    """Inside, a batch is `count` batches of one size, one after the other.

    Say so when pools of data are passed through a network together: processes that split the
    batches hold a part of each, not the first or the second half of the whole.
    """
    with drawn_by(_Pools(_sources[-1], count)):
        yield


def normal(*shape: int, like: Tensor, batch_dim: int = 0) -> Tensor:
    """Independent standard normal numbers of `shape`, with the dtype and device of `like`.

    Args:
        batch_dim: the axis that counts the samples of the batch (or a multiple of them, the draws
            of one sample standing together). It is the axis that several processes would split.
    """
    return _sources[-1].draw(Request("normal", shape, like.dtype, like.device, batch_dim))


def uniform(*shape: int, like: Tensor, batch_dim: int = 0) -> Tensor:
    """Independent numbers, uniform in [0, 1); arguments as for `normal`."""
    return _sources[-1].draw(Request("uniform", shape, like.dtype, like.device, batch_dim))


def bernoulli(p: Tensor, batch_dim: int = 0) -> Tensor:
    """0 or 1 with probability `p` of 1, without gradient: same shape and dtype as `p`."""
    return (uniform(*p.shape, like=p, batch_dim=batch_dim) < p).to(p.dtype)
