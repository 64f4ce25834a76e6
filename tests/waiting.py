"""Find the operations of a training step for which a host would have to wait for its device."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

WAITS = re.compile(
    r"aten::(_local_scalar_dense|item|is_nonzero|nonzero|equal|allclose|masked_select|unique.*|"
    r"_unique.*|bincount|repeat_interleave\.Tensor)(\.|$)"
)


class _Watch(TorchDispatchMode):
    """Lists every operation that passes, and those that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.waits: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = ".".join(filter(None, (function._schema.name, function._schema.overload_name)))
        self.seen.append(name)
        masked = False
        if "index" in name:  # a mask of booleans has to be counted first
            indices = [i for a in arguments if isinstance(a, list | tuple) for i in a]
            masked = any(isinstance(i, Tensor) and i.dtype == torch.bool for i in indices)
        if masked or WAITS.match(name):
            self.waits.append(name)
        return function(*arguments, **(options or {}))


def operations_that_wait(run: Callable[[], object]) -> list[str]:
    """Call `run` and return the names of the operations in it that make the host wait."""
    with _Watch() as watch:
        run()
    assert watch.seen, "nothing was watched: no operation passed"
    return watch.waits
