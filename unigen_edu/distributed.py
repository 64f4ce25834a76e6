"""Several processes, on one machine or many, that train one model as one process would.

Every process holds the whole model and sees its share of each batch; gradients are averaged before
each step of Adam. Random numbers and the order of the data are those of the whole batch, of which a
process takes its part (`noise.Share`), and batch normalisation averages over all parts. So the
parameters are those of one process with the same `batch_size`, up to rounding.

    torchrun --nproc-per-node 4 -m unigen_edu train iwgan --data mnist --batch-size 256
"""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from unigen_edu.errors import UnigenError
from unigen_edu.noise import Share, drawn_by

__all__ = [
    "ALONE",
    "Processes",
    "is_first",
    "one_batch",
    "started_by_torchrun",
    "together",
    "whole_batch_mean",
]


def started_by_torchrun() -> bool:
    """Whether this is one of several processes that were started together."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first() -> bool:
    """Whether this process speaks and writes for all: it has rank 0, or is alone."""
    return int(os.environ.get("RANK", "0")) == 0


@dataclass(frozen=True)
class Processes:
    """The processes that train together; with `world` 1, this one alone and nothing to do."""

    rank: int = 0
    world: int = 1
    device: torch.device | None = None

    def share(self, batch_size: int, what: str = "batch_size") -> int:
        """Samples of a batch that fall to this process.

        Raises:
            UnigenError: the batch cannot be split evenly.
        """
        if batch_size % self.world:
            raise UnigenError(
                f"{what} is {batch_size}, which {self.world} processes cannot split evenly: "
                f"use a multiple of {self.world}."
            )
        return batch_size // self.world

    def average(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Gradients averaged over the processes, in one message."""
        if self.world == 1:
            return list(gradients)
        flat = torch.cat([g.reshape(-1) for g in gradients])
        dist.all_reduce(flat)
        flat /= self.world
        parts = flat.split([g.numel() for g in gradients])
        return [part.view(g.shape) for part, g in zip(parts, gradients, strict=True)]

    def average_number(self, value: Tensor) -> Tensor:
        """A recorded number averaged over the processes."""
        if self.world > 1:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.world
        return value

    def largest(self, value: Tensor) -> Tensor:
        """Elementwise maximum over the processes."""
        if self.world > 1:
            value = value.clone()
            dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return value

    def any(self, flag: bool) -> bool:
        """Whether any process says so. The host waits here."""
        if self.world == 1:
            return flag
        return bool(self.largest(torch.tensor(int(flag), device=self.device)).item())

    def from_first(self, thing: Any) -> Any:
        """What rank 0 has, on every process."""
        if self.world == 1:
            return thing
        box = [thing]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def check_same(self, run: dict[str, Any]) -> None:
        """Raise one sentence unless every process was started for the same run."""
        mine = {key: json.dumps(value) for key, value in run.items()}
        everyone: list[Any] = [None] * self.world
        dist.all_gather_object(everyone, mine)
        for rank, theirs in enumerate(everyone):
            for key, value in everyone[0].items():
                if theirs.get(key) != value:
                    raise UnigenError(
                        f"The processes were started for different runs ({key} is {value} in "
                        f"process 0 and {theirs.get(key)} in process {rank}): start all of them "
                        "with the same command."
                    )


ALONE = Processes()
_splitting: list[Processes] = [ALONE]  # who shares the batch that is trained on now


def together(device: torch.device) -> Processes:
    """The processes that torchrun started, joined until Python ends; or this one alone."""
    if not dist.is_available() or not (started_by_torchrun() or dist.is_initialized()):
        return ALONE
    if not dist.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(minutes=10))
        # Not after each run: leaving and joining again is a race between the processes.
        atexit.register(dist.destroy_process_group)
    return Processes(dist.get_rank(), dist.get_world_size(), device)


@contextmanager
def one_batch(processes: Processes, model: nn.Module) -> Iterator[None]:
    """Noise and batch normalisation of the whole batch while the parts are trained."""
    if processes.world == 1:
        yield
        return
    with ExitStack() as stack:
        stack.enter_context(drawn_by(Share(processes.rank, processes.world)))
        _splitting.append(processes)
        stack.callback(_splitting.pop)
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                stack.enter_context(_synchronised(module, processes.world))
        yield


def whole_batch_mean(value: Tensor) -> tuple[Tensor, int]:
    """Mean of `value` (n,) over the whole batch, without gradient, and the size of that batch.

    For the few losses that compare a sample with the rest of its batch.
    """
    mean = value.detach().mean()
    world = _splitting[-1].world
    if world > 1:
        dist.all_reduce(mean)
        mean /= world
    return mean, len(value) * world


class _SumOverProcesses(torch.autograd.Function):
    """The sum of what all processes hold; each part feels the gradient of every process's loss."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


@contextmanager
def _synchronised(norm: _BatchNorm, world: int) -> Iterator[None]:
    """Statistics over all processes, with gradient: PyTorch's own version wants a GPU."""
    alone = norm.forward

    def forward(x: Tensor) -> Tensor:
        if not norm.training:
            return alone(x)
        axes = [axis for axis in range(x.dim()) if axis != 1]
        moments = torch.stack([x.mean(axes), x.square().mean(axes)])
        mean, square = (_SumOverProcesses.apply(moments) / world).unbind()
        var = (square - mean.square()).clamp_min(0)
        if norm.track_running_stats:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            assert norm.momentum is not None
            assert norm.num_batches_tracked is not None
            count = x.numel() // x.shape[1] * world
            with torch.no_grad():
                norm.num_batches_tracked.add_(1)
                norm.running_mean.lerp_(mean, norm.momentum)
                norm.running_var.lerp_(var * (count / (count - 1)), norm.momentum)
        shape = [1, -1, *[1] * (x.dim() - 2)]
        scale = torch.rsqrt(var + norm.eps)
        y = (x - mean.view(shape)) * scale.view(shape)
        return y * norm.weight.view(shape) + norm.bias.view(shape)

    norm.forward = forward  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        del norm.forward
