"""A twin of CUDA graphs on the CPU: operations are recorded with their tensors, and done again.

As in a graph, nothing of Python runs in a replay: what depends on the step, or is kept in new
tensors in place of old ones, comes out as it was when the step was recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Recorder(TorchDispatchMode):
    """Keeps every operation that passes: function, arguments, and what it made."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        made = function(*arguments, **(options or {}))
        self.done.append((function, arguments, options or {}, made))
        return made


def _is_view(function: Any) -> bool:
    if torch.Tag.inplace_view in function.tags:  # it changes a shape, which has stayed as well
        return True
    returned = [value.alias_info for value in function._schema.returns]
    return any(alias is not None and not alias.is_write for alias in returned)


@torch.no_grad()
def _again(done: Sequence[tuple[Any, Any, Any, Any]]) -> None:
    for function, arguments, options, made in done:
        if _is_view(function):  # of a tensor that has stayed where it was
            continue
        found = function(*arguments, **options)
        if function._schema.is_mutable:
            continue
        for old, new in zip(tree_leaves(made), tree_leaves(found), strict=True):
            if isinstance(old, Tensor):
                old.copy_(new.reshape(old.shape))


def capture(
    work: Callable[[], None], generators: Sequence[torch.Generator], stream: None
) -> Callable[[], None]:
    """As `unigen_edu.graphs.capture`, but that recording does the work, so the first replay does
    nothing."""
    with _Recorder() as recorder:
        work()
    assert recorder.done, "nothing was recorded"
    from_the_host = [f for f, *_ in recorder.done if "lift_fresh" in f._schema.name]
    assert not from_the_host, "a tensor is made of numbers of the host in a step"
    first = True

    def replay() -> None:
        nonlocal first
        if not first:
            _again(recorder.done)
        first = False

    return replay
