"""A training step as one CUDA graph.

A step of a small network is a hundred short kernels, and the host needs longer to launch them than
the device to run them. A graph is captured once and launched as a whole. What it reads and writes
stays at the same addresses, so everything that a step keeps must be written in place, and nothing
that differs from step to step may come from the host but through the tensors that are handed in.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from unigen_edu.distributed import Processes
from unigen_edu.errors import UnigenError

__all__ = ["Graphed", "check_graph"]

# Calls before the capture: libraries choose their kernels and Adam makes its moments.
WARM_UP = 3


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
    for generator in generators:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        work()
    return graph.replay


class Graphed:
    """`work(*inputs)`, again and again, with inputs of the same shapes: the fourth time it is
    captured, and from then on replayed.

    Args:
        work: of tensors on the device; leaves what it found out in tensors that it writes in place.
        generators: as for `capture`.
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
            self.stream = self.stream or torch.cuda.Stream()
            self.stream.wait_stream(usual)
            with torch.cuda.stream(self.stream):
                self.work(*self.inputs)
            usual.wait_stream(self.stream)

    def captured(self) -> Callable[[], None]:
        try:
            return capture(lambda: self.work(*self.inputs), self.generators, self.stream)
        except RuntimeError as error:
            raise UnigenError(
                f"The training step could not be captured as a CUDA graph "
                f"({str(error).splitlines()[0]}): leave out graph=True or --graph."
            ) from error
