"""A training step as one CUDA graph.

A step of a small network is a hundred or more short kernels, and the host may well need longer to
launch them than the device to run them. A graph is captured once and launched as a whole. (The step
of a stack of seeds needs a few launches beside it, which set the random numbers of each seed.)

What a graph reads and writes stays at the same addresses, so everything that a step keeps must be
written in place. And nothing of Python runs in a replay: numbers that it counts, attributes that it
replaces and choices that it makes stay as they were at the capture.
"""

from __future__ import annotations

import functools
import gc
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

from unigen_edu.distributed import Processes
from unigen_edu.errors import UnigenError

__all__ = ["Graphed", "NotCaptured", "check_graph"]

# Calls before the capture: libraries choose their kernels and Adam makes its moments.
WARM_UP = 3


class NotCaptured(UnigenError):
    """The device would not capture a step. It may do no more work for this process."""


def check_graph(device: torch.device, processes: Processes | None = None) -> None:
    """Raise one sentence where a step cannot be captured."""
    if device.type != "cuda":
        raise UnigenError(
            f"A CUDA graph needs a CUDA device, but this run is on '{device}': leave out "
            "graph=True or --graph."
        )
    if processes is not None and processes.world > 1:
        raise UnigenError(
            "A CUDA graph is of a single process: leave out graph=True or --graph under torchrun."
        )


def capture(
    work: Callable[[], None],
    generators: Sequence[torch.Generator],
    stream: torch.cuda.Stream | None,
) -> Callable[[], None]:
    """Capture the work, which is not done by that; returns what does it, each time it is called.

    Args:
        generators: those that `work` draws from, beside the default one.
        stream: to capture on, of the device of the work.
    """
    graph = torch.cuda.CUDAGraph()
    if torch.__version__ < (2, 14):  # type: ignore[operator]  # later ones find out
        for generator in generators:
            graph.register_generator_state(generator)
    with (
        _nothing_collected(),
        torch.cuda.stream(stream),
        torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
    ):
        work()
    return graph.replay


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """What Python frees inside, an older graph say, would spoil the capture."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@functools.cache
def _stream_beside(index: int) -> torch.cuda.Stream:
    """One for all captures on a device: libraries keep a workspace for each stream."""
    return torch.cuda.Stream(index)


class Graphed:
    """`work(*inputs)`, again and again, with inputs of the same shapes: the fourth time it is
    captured, and from then on replayed.

    Args:
        work: of tensors on the device; leaves what it found out in tensors that it writes in place.
        generators: those that `work` draws from, beside the default one.

    Raises:
        NotCaptured: the device would not capture the work.
    """

    def __init__(self, work: Callable[..., None], generators: Sequence[torch.Generator] = ()):
        self.work = work
        self.generators = generators
        self.calls = 0
        self.inputs: list[Tensor] = []
        self.stream: torch.cuda.Stream | None = None
        self.replay: Callable[[], None] | None = None

    def __call__(self, *inputs: Tensor) -> None:
        if not self.inputs:
            self.inputs = [given.clone() for given in inputs]
        device = self.inputs[0].device
        # Streams are of the current device, which need not be that of the run.
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            for own, given in zip(self.inputs, inputs, strict=True):
                own.copy_(given)
            if self.calls < WARM_UP:
                self.warm_up()
            else:
                if self.replay is None:
                    self.replay = self.captured()
                self.replay()
        self.calls += 1

    def warm_up(self) -> None:
        """On a stream beside the usual one, where the capture will be."""
        with warnings.catch_warnings():
            # Adam was told of the capture, and warns of every step before it.
            warnings.filterwarnings("ignore", message="This instance was constructed with captur")
            if self.inputs[0].device.type != "cuda":
                self.work(*self.inputs)
                return
            usual = torch.cuda.current_stream()
            self.stream = _stream_beside(torch.cuda.current_device())
            self.stream.wait_stream(usual)
            with torch.cuda.stream(self.stream):
                self.work(*self.inputs)
            usual.wait_stream(self.stream)

    def captured(self) -> Callable[[], None]:
        try:
            return capture(lambda: self.work(*self.inputs), self.generators, self.stream)
        except RuntimeError as error:
            # What ended the capture stands behind what the end of the capture complains about.
            cause: BaseException = error
            while isinstance(cause.__context__, RuntimeError):
                cause = cause.__context__
            if isinstance(cause, torch.OutOfMemoryError) or "captur" not in str(cause):
                raise cause from None
            raise NotCaptured(
                f"The training step could not be captured as a CUDA graph "
                f"({str(cause).splitlines()[0]}): start Python anew and leave out graph=True or "
                "--graph."
            ) from cause
