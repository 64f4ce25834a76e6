"""`fit`: the one training loop.

It alternates a model's declared phases. Everything that would make the host wait for the device
stays outside the step: data and random numbers live on the device, the recorded numbers are summed
there, and non-finite values are flagged there. The host reads them every `log_every` steps.

Same seed, same device, same number of threads: same numbers. A run that was stopped and resumed has
the same parameters, to the bit, as one that was not. Several processes that `torchrun` started have
the parameters of one process with the same batch, up to rounding (`distributed.py`).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from unigen_edu import checkpoints
from unigen_edu.checkpoints import parameter_checksum
from unigen_edu.data import Dataset
from unigen_edu.declarations import NEEDS, Batch, Loss, Model, check_images
from unigen_edu.distributed import ALONE, Processes, one_batch, started_by_torchrun, together
from unigen_edu.errors import NotFinite, UnigenError
from unigen_edu.graphs import Graphed, check_graph

__all__ = ["History", "Interrupted", "fit", "parameter_checksum", "pick_device"]

Watch = Callable[[Model, int], dict[str, float] | None]

NOTHING_KEPT = "no checkpoint had been written"


@dataclass
class History:
    """What a run recorded.

    Attributes:
        steps: the step at the end of each logging interval.
        terms: "<phase>/<term>" -> mean over each interval, aligned with `steps`.
        watched_steps, watched: numbers returned by `watch`, and when.
        seconds: training time without `watch` and set-up, over all parts of a resumed run.
        images_per_second: real images consumed per second of training.
    """

    seed: int
    device: str
    batch_size: int
    steps: list[int] = field(default_factory=list)
    terms: dict[str, list[float]] = field(default_factory=dict)
    watched_steps: list[int] = field(default_factory=list)
    watched: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    images_per_second: float = 0.0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> History:
        return cls(**json.loads(text))


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal, after a checkpoint of the last whole step was written."""

    def __init__(self, step: int, checkpoint: Path):
        super().__init__(f"stopped after step {step}; the checkpoint is {checkpoint}")
        self.step = step
        self.checkpoint = checkpoint

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.step, self.checkpoint)  # so that it can leave another process


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """ "auto" is the GPU if there is one; otherwise cpu, cuda, cuda:1, mps.

    Raises:
        UnigenError: the device is unknown or not present on this machine.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if str(device) == "auto":
        device = next((name for name, there in available.items() if there), "cpu")
    if str(device) == "cuda" and started_by_torchrun():
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"  # one GPU for each process
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = torch.device("meta")
    if chosen.type not in ("cpu", "cuda", "mps"):
        raise UnigenError(f"There is no device '{device}'; choose one of: auto, cpu, cuda, mps.")
    too_high = chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count()
    if not available.get(chosen.type, True) or too_high:
        raise UnigenError(
            f"This machine has no device '{device}' that PyTorch can use: "
            "use device='cpu', or see what 'unigen doctor' finds."
        )
    return chosen


def fit(
    model: Model,
    data: Dataset,
    *,
    steps: int,
    batch_size: int = 64,
    seed: int = 0,
    lr: float | Mapping[str, float] | None = None,
    betas: tuple[float, float] | None = None,
    device: str | torch.device = "auto",
    out: str | Path | None = None,
    resume: bool = True,
    checkpoint_seconds: float = 30.0,
    log_every: int = 50,
    progress: bool = True,
    watch: Watch | None = None,
    watch_every: int | None = None,
    compile: bool = False,
    precision: str = "float32",
    graph: bool = False,
) -> History:
    """Train `model` on `data` by alternating its phases, one Adam for each.

    Args:
        model: moved to `device` and trained in place, in the precision that it has. On a CPU its
            convolutions keep the memory format "channels last" afterwards: what they make is to be
            reshaped with `reshape` or `flatten`, and not with `view`.
        data: real samples; it is kept on the device as a whole.
        steps: number of steps in all; each runs every phase once, in the declared order.
        batch_size: real samples per step, over all processes; every epoch visits them in a new
            order and drops the last, smaller batch.
        seed: of the order of the data and of all random numbers in training (not of the
            initial parameters, which the model already has).
        lr: step size of Adam, the same for all phases, or by phase ({"discriminator": 2e-3}; the
            others keep the default). Default: 5e-4 for a game of two players, 1e-3 otherwise.
        betas: of Adam. Default: (0.5, 0.999) for a game of two players, (0.9, 0.999) otherwise.
        device: "auto", "cpu", "cuda", "mps".
        out: folder for `checkpoint.safetensors`; None keeps nothing on disk.
        resume: continue from the checkpoint in `out` if there is one of this very run.
        checkpoint_seconds: time between checkpoints; one is also written at the end, and when the
            run is interrupted.
        log_every: steps per logging interval.
        progress: show a progress bar.
        watch: called as `watch(model, step)` before the first step, every `watch_every` steps and
            after the last, in evaluation mode, without gradient, in the precision of the parameters
            and with random numbers of its own, so that looking does not change the run. A returned
            dict goes to the history. With several processes the first one looks.
        compile: let `torch.compile` fuse the whole step, all phases and Adam included: a minute or
            two at the start, often faster steps after. With a PyTorch that does not follow
            gradients into the step, or several processes: only the networks, or the loss of a
            single phase.
        precision: "float32" (rather: that of the parameters), or "bf16": matrix products and
            convolutions in bfloat16, everything else, the parameters and Adam in float32.
        graph: capture the whole step, batch and optimisers included, as one CUDA graph and replay
            it: for small networks, of which the host cannot launch the kernels fast enough. The
            numbers are the same for a loss that is the same operations in every step, as all of
            this package are: what Python counts or replaces in one stays as it was in the fourth.

    Returns:
        The history of the run, including the part before it was resumed.

    Raises:
        UnigenError: bad arguments, data that do not fit the model, a folder that cannot be
            written, a checkpoint of another run, processes that were started for different runs, a
            step that cannot be compiled.
        NotFinite: a loss, gradient or parameter that is not finite; a `UnigenError` as well.
        Interrupted: on Ctrl-C or SIGTERM with `out` given, after a checkpoint was written.
        NotCaptured: the device would not capture a step; a `UnigenError` as well.
    """
    run = prepare(
        model, data, steps=steps, batch_size=batch_size, seed=seed, lr=lr, betas=betas,
        device=device, out=out, log_every=log_every, watch=watch, watch_every=watch_every,
        precision=precision,
    )  # fmt: skip
    data, target, path = run.data, run.device, run.path
    processes = together(target)
    if graph:
        check_graph(target, processes)
    model.to(target).train()
    if target.type == "cpu":
        # Where convolutions are faster with the channels of a pixel side by side.
        model.to(memory_format=torch.channels_last)
    optimisers = _optimisers(model, run.lr, run.betas, target, graph)
    whole = compile and processes.world == 1 and can_compile_steps(target)
    history = History(seed=seed, device=str(target), batch_size=batch_size)

    with (
        own_random_numbers(stream_seed(seed, "noise"), target),
        repeatable_convolutions(target),
        in_precision(precision, model, target),
        _compiled_parts(model, enabled=compile and not whole),
        one_batch(processes, model),
    ):
        if processes.world > 1:
            start = parameter_checksum(model)
            processes.check_same({**run.about, "steps": steps, "parameters at the start": start})
            processes.share(batch_size)
        log = DeviceLog([phase.name for phase in model.phases], target, processes)
        progress = progress and processes.rank == 0
        first = 0
        if path is not None and resume and processes.from_first(path.exists()):
            first, history = _restore(run, model, optimisers, log, steps)
        kept = f"the last good checkpoint is {path} (step {first})" if first else NOTHING_KEPT

        def save(step: int) -> None:
            nonlocal kept
            log.raise_if_not_finite(kept)  # a checkpoint is always a good one
            _raise_if_parameters_not_finite(model, step, kept)
            if path is not None:
                # The random numbers are those of the whole batch: one checkpoint is that of all,
                # whatever their number.
                state = _state(model, optimisers, log, target)
                if processes.rank == 0:
                    about = {**run.about, "step": step, "history": history.to_json()}
                    checkpoints.save(path, state, about)
                kept = f"the last good checkpoint is {path} (step {step})"

        def look(step: int) -> None:
            if watch is None:
                return
            if processes.rank == 0:
                look_at(watch, model, step, history, seed, target)
            history.watched_steps, history.watched = processes.from_first(
                (history.watched_steps, history.watched)
            )

        bar = tqdm(total=steps, initial=first, desc=model.name, unit="step", disable=not progress)
        with stop_requests(enabled=path is not None) as stop, bar:
            if first == 0:
                look(0)
            dtype = next(model.parameters()).dtype
            rows = _rows(data, batch_size, seed, first, processes)
            log.begin_after(first)

            one_step: Callable[[Batch], Record]
            if whole:
                one_step = _CompiledStep(model, optimisers)
            else:
                one_step = partial(_step, model, optimisers=optimisers, processes=processes)

            def take_step(*of_batch: Tensor) -> None:
                log.add(one_step(_batch(data, of_batch, dtype)))

            take = Graphed(take_step) if graph else take_step
            started = saved = time.perf_counter()
            unread = 0
            for step in range(first + 1, steps + 1):
                try:
                    take(*next(rows))
                except UnigenError:
                    if whole and stop.requested:  # Ctrl-C has ended the compiler as well
                        raise KeyboardInterrupt from None
                    raise
                if whole and step == first + 1 < steps:  # it was compiled, which is no training
                    synchronise(target)
                    started = time.perf_counter()
                log.count += 1
                unread += 1
                at_end = step == steps
                looking = watch_every is not None and step % watch_every == 0
                if step % log_every == 0 or at_end:
                    numbers = log.read(reset=step % log_every == 0)
                    history.seconds += time.perf_counter() - started
                    log.raise_if_not_finite(kept)
                    means = {name: float(mean) for name, mean in numbers.items()}
                    record_interval(history, step, means, log_every)
                    bar.update(unread)
                    bar.set_postfix({k: f"{v[-1]:.3g}" for k, v in history.terms.items()
                                     if k.endswith("/loss")}, refresh=False)  # fmt: skip
                    started, unread = time.perf_counter(), 0
                if looking or (at_end and watch is not None):
                    synchronise(target)
                    history.seconds += time.perf_counter() - started
                    look(step)
                    started = time.perf_counter()
                due = path is not None and time.perf_counter() - saved > checkpoint_seconds
                stopping = stop.requested
                if processes.world > 1:  # they agree on it, at steps that all of them know
                    agreeing = path is not None and (step % log_every == 0 or at_end)
                    due = agreeing and processes.any(due)
                    stopping = agreeing and processes.any(stopping)
                if stopping or due or at_end:
                    synchronise(target)
                    history.seconds += time.perf_counter() - started
                    save(step)
                    started = saved = time.perf_counter()
                    if stopping and not at_end:
                        assert path is not None
                        raise Interrupted(step, path)
    history.images_per_second = steps * batch_size / max(history.seconds, 1e-9)
    model.eval()
    return history


@dataclass(frozen=True)
class Run:
    """A run whose arguments were found good, with what was left open filled in.

    Attributes:
        data: on `device`.
        path: of the checkpoint, or None.
        about: what makes this run this run; a checkpoint keeps it.
    """

    data: Dataset
    device: torch.device
    batch_size: int
    lr: dict[str, float]
    betas: tuple[float, float]
    path: Path | None
    about: dict[str, Any]


def prepare(
    model: Model,
    data: Dataset,
    *,
    steps: int,
    batch_size: int = 64,
    seed: int = 0,
    lr: float | Mapping[str, float] | None = None,
    betas: tuple[float, float] | None = None,
    device: str | torch.device = "auto",
    out: str | Path | None = None,
    resume: bool = True,
    checkpoint_seconds: float = 30.0,
    log_every: int = 50,
    watch: Watch | None = None,
    watch_every: int | None = None,
    precision: str = "float32",
) -> Run:
    """Check the arguments of `fit` and move the data; raises the sentences that `fit` documents."""
    lr_of = step_sizes(model, lr)
    betas = betas if betas is not None else decay_rates(model)
    check_arguments(model, data, steps, batch_size, seed, log_every, watch, watch_every)
    check_adam(lr_of, betas)
    check_precision(precision, model)
    # Bytes become numbers in [0, 1]; only numbers that came as such can lie outside.
    for part in (data, data.other):
        if part is not None:
            check_images(part.x if part.x.is_floating_point() else part.images([0]), model.shape)
    target = pick_device(device)
    # A bare "cuda" means the current GPU: data and parameters must name the same one.
    if target.type == "cuda" and target.index is None:
        target = torch.device("cuda", torch.cuda.current_device())
    path = checkpoints.prepare_folder(out) / checkpoints.FILE if out is not None else None
    about = {
        "model": model.name,
        "config": model.config,
        "data": data.fingerprint if path is not None else data.name,
        "device": target.type,
        "batch_size": batch_size,
        "seed": seed,
        "lr": lr_of if isinstance(lr, Mapping) else next(iter(lr_of.values())),
        "betas": list(betas),
        "log_every": log_every,
        "precision": precision,
    }
    return Run(data.to(target), target, batch_size, lr_of, betas, path, about)


def check_arguments(
    model: Model,
    data: Dataset,
    steps: int,
    batch_size: int,
    seed: int,
    log_every: int,
    watch: Watch | None,
    watch_every: int | None,
) -> None:
    if not 0 <= seed < 2**63:
        raise UnigenError(f"seed is {seed}, but it must be a whole number from 0 to 2^63 - 1.")
    if steps < 1:
        raise UnigenError(f"steps is {steps}, but training needs at least 1 step.")
    if batch_size < 1:
        raise UnigenError(f"batch_size is {batch_size}, but a batch needs at least 1 sample.")
    if batch_size > len(data):
        raise UnigenError(
            f"batch_size is {batch_size}, but '{data.name}' has only {len(data)} samples: "
            f"use a batch_size of at most {len(data)}."
        )
    has = {
        "label": data.labels is not None,
        "other": data.other is not None,
        "other label": data.other is not None and data.other.labels is not None,
        "sequence": data.alphabet is not None,
    }
    for need in sorted(model.needs):
        if not has[need]:
            raise UnigenError(
                f"The model '{model.name}' needs {NEEDS[need]}, which '{data.name}' does not have: "
                f"try '{model.default_data}'."
            )
    classes = model.config.get("classes")
    for need, labelled in (("label", data), ("other label", data.other)):
        if classes is not None and need in model.needs and labelled is not None:
            _check_labels(labelled, classes)
    if log_every < 1 or (watch_every is not None and watch_every < 1):
        raise UnigenError("log_every and watch_every count steps and must be at least 1.")
    if watch is None and watch_every is not None:
        raise UnigenError("watch_every was given without watch: pass the function to call.")
    for phase in model.phases:
        for part in phase.moves:
            if not hasattr(model, part):
                raise UnigenError(
                    f"Phase '{phase.name}' of '{model.name}' moves '{part}', which the model "
                    "does not have: name one of its submodules."
                )


def _check_labels(data: Dataset, classes: int) -> None:
    """Raise one sentence if a label is no class of the model: a network would not notice."""
    assert data.labels is not None
    low, high = int(data.labels.min()), int(data.labels.max())
    if low < 0 or high >= classes:
        raise UnigenError(
            f"'{data.name}' has labels from {low} to {high}, but the model was built for {classes} "
            f"classes: build it with classes={high + 1}."
        )


def decay_rates(model: Model | type[Model]) -> tuple[float, float]:
    """Adam's decay rates by default: those of DCGAN for a game, those of Adam's paper otherwise."""
    return (0.5, 0.999) if model.is_game() else (0.9, 0.999)


def step_sizes(
    model: Model | type[Model], lr: float | Mapping[str, float] | None
) -> dict[str, float]:
    """Adam's step size of each phase, in the order of the phases; see `fit`."""
    default = 5e-4 if model.is_game() else 1e-3
    names = [phase.name for phase in model.phases]
    if not isinstance(lr, Mapping):
        return dict.fromkeys(names, default if lr is None else lr)
    for name in lr:
        if name not in names:
            raise UnigenError(
                f"lr names the phase '{name}', but {model.name} has: {', '.join(names)}."
            )
    return {name: lr.get(name, default) for name in names}


def check_adam(lr_of: Mapping[str, float], betas: tuple[float, float]) -> None:
    for lr in lr_of.values():
        if not (math.isfinite(lr) and lr > 0):
            raise UnigenError(f"lr is {lr:g}, but Adam needs a step size above 0, such as 1e-3.")
    if not all(0.0 <= beta < 1.0 for beta in betas):
        raise UnigenError(
            f"betas are {betas}, but each of Adam's decay rates must be at least 0 and below 1."
        )


def check_precision(precision: str, model: Model) -> None:
    if precision not in ("float32", "bf16"):
        raise UnigenError(f"There is no precision '{precision}'; choose one of: float32, bf16.")
    dtype = next(model.parameters()).dtype
    if precision == "bf16" and dtype != torch.float32:
        raise UnigenError(
            f"precision='bf16' is for parameters in float32, but these are in {dtype}: "
            "convert the model with .float(), or leave the precision alone."
        )


@contextmanager
def in_precision(precision: str, model: nn.Module, device: torch.device) -> Iterator[None]:
    """Networks in bfloat16 where that is safe; their outputs, and so the losses, in float32."""
    if precision == "float32":
        yield
        return

    def as_parameters(module: nn.Module, inputs: Any, output: Any) -> Any:
        return output.float() if isinstance(output, Tensor) else output

    hooks = [m.register_forward_hook(as_parameters) for m in _outermost(model)]
    try:
        # Without its cache, which would keep the parameters as they were before the first step.
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def can_compile_steps(device: torch.device) -> bool:
    """Whether this PyTorch's `torch.compile` follows a step into its gradients."""
    import torch._dynamo as dynamo  # seconds, which only those who compile pay

    return device.type in ("cpu", "cuda") and hasattr(dynamo.config, "trace_autograd_ops")


class _CompiledStep:
    """`_step` with one compiled function: batch in, numbers to record out.

    Adam is written out, for PyTorch's own compiled operation rounds the corrections of the first
    steps. The count of the steps, and these corrections, stay outside of the compiled function.
    """

    def __init__(self, model: Model, optimisers: Mapping[str, torch.optim.Adam]):
        self.model = model
        self.moved: dict[str, list[nn.Parameter]] = {}
        self.moments: dict[str, list[tuple[Tensor, Tensor]]] = {}
        self.eps: dict[str, float] = {}
        of_model = next(model.parameters())
        self.step = torch.zeros((), dtype=torch.float32, device=of_model.device)
        lr = []
        for phase, optimiser in optimisers.items():
            (group,) = optimiser.param_groups
            moved = self.moved[phase] = group["params"]
            self.betas: tuple[float, float] = group["betas"]  # of all phases
            for parameter in moved:
                state = optimiser.state[parameter]
                if state:
                    self.step.copy_(state["step"])
                else:
                    state["exp_avg"] = torch.zeros_like(parameter)
                    state["exp_avg_sq"] = torch.zeros_like(parameter)
                state["step"] = self.step  # counted once
            states = [optimiser.state[parameter] for parameter in moved]
            self.moments[phase] = [(s["exp_avg"], s["exp_avg_sq"]) for s in states]
            self.eps[phase] = group["eps"]
            lr.append(group["lr"])
        self.lr = of_model.new_tensor(lr, dtype=torch.float64)  # (phases,)
        self.decay = of_model.new_tensor(self.betas, dtype=torch.float64)
        self.left = torch.ones_like(self.decay)  # 1 - beta_1^t and 1 - beta_2^t
        # The corrections: lr / (1 - beta_1^t) of each phase, and 1 / sqrt(1 - beta_2^t).
        self.rates = torch.empty_like(self.lr, dtype=of_model.dtype)
        self.over_root = torch.empty_like(self.rates[0])
        # With torch's own random numbers in the order of the program, so that the run is the one
        # without compilation.
        options: dict[str, Any] = {"fallback_random": True}
        if torch.__version__ < (2, 15):  # type: ignore[operator]  # later ones keep the order
            options |= {"reorder_for_locality": False, "reorder_for_peak_memory": False}
        # A function of its own for each run, for PyTorch takes the steps of further models for new
        # versions of the first and gives up after eight. Not for batches of any size: draws of an
        # unknown number cannot be compiled. And nothing is left to Python: what phases share would
        # be lost between two parts.
        own = FunctionType(_whole_step.__code__.replace(), _whole_step.__globals__)
        self.compiled = torch.compile(own, dynamic=False, fullgraph=True, options=options)

    def __call__(self, batch: Batch) -> Record:
        import torch._dynamo as dynamo

        other = batch.other
        of_other = (None, None) if other is None else (other.x, other.label)
        failures = (dynamo.exc.TorchDynamoException, dynamo.exc.FailOnRecompileLimitHit)
        try:
            self.correct()
            with dynamo.config.patch(trace_autograd_ops=True):
                found: Record = self.compiled(self, batch.x, batch.label, *of_other)
            return found
        except failures as error:
            why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        for phase in self.model.phases:  # the loss may have something to say, compiled or not
            loss = self.model.loss(phase.name, batch)
            torch.autograd.grad(loss.value, self.moved[phase.name])
        raise UnigenError(
            f"The training step of '{self.model.name}' could not be compiled ({why}): leave out "
            "compile=True or --compile."
        )

    def correct(self) -> None:
        """The corrections of the next step.

        Compiled into Adam's loops, they would be taken anew for every few parameters.
        """
        torch.pow(self.decay, self.step.add_(1), out=self.left)
        self.left.neg_().add_(1)
        torch.div(self.lr, self.left[0], out=self.rates)
        torch.rsqrt(self.left[1], out=self.over_root)

    def move(self, phase: str, gradients: Sequence[Tensor], rate: Tensor) -> None:
        """Adam's step (Kingma and Ba 2015, algorithm 1); ``rate``: lr / (1 - beta_1^t)."""
        beta_1, beta_2 = self.betas
        for parameter, (mean, square), gradient in zip(
            self.moved[phase], self.moments[phase], gradients, strict=True
        ):
            mean.lerp_(gradient, 1.0 - beta_1)
            square.mul_(beta_2).addcmul_(gradient, gradient, value=1.0 - beta_2)
            parameter.sub_(rate * mean / (square.sqrt() * self.over_root + self.eps[phase]))


def _whole_step(
    step: _CompiledStep,
    x: Tensor,
    label: Tensor | None,
    other_x: Tensor | None,
    other_label: Tensor | None,
) -> Record:
    other = None if other_x is None else Batch(other_x, other_label)
    batch = Batch(x, label, other=other)
    recorded = []
    for phase, rate in zip(step.model.phases, step.rates.unbind(), strict=True):
        loss = step.model.loss(phase.name, batch)
        gradients = torch.autograd.grad(loss.value, step.moved[phase.name])
        with torch.no_grad():
            # In one pass over the gradients with Adam, which `_foreach_norm` would not be.
            norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
            recorded.append(Measured(phase.name, loss.terms, loss.value.detach(), norm))
            step.move(phase.name, gradients, rate)
    return record_of(recorded)


@contextmanager
def _compiled_parts(model: Model, enabled: bool) -> Iterator[None]:
    """Compile in place while inside; names and values of parameters stay.

    The loss as a whole, draws included, if it is the only one of a step. Phases share draws, and
    the way back of the first phase would free the compiled graph in which the draws were made: of
    a model that has several phases, the networks are compiled.
    """
    if not enabled:
        yield
        return
    if len(model.phases) == 1:
        # With torch's own random numbers, so that the run is the one without compilation.
        whole = _Loss(model)
        # Not for batches of any size: draws of an unknown number cannot be compiled.
        whole.compile(dynamic=False, options={"fallback_random": True})
        own = vars(model).get("loss")
        vars(model)["loss"] = whole  # beside the submodules, of which it is none
        try:
            yield
        finally:
            del vars(model)["loss"]
            if own is not None:
                vars(model)["loss"] = own
        return
    parts = _outermost(model)
    for part in parts:
        part.compile()
    try:
        yield
    finally:
        for part in parts:
            part._compiled_call_impl = None


class _Loss(nn.Module):
    """A model's loss as a forward pass, which is what can be compiled."""

    def __init__(self, model: Model):
        super().__init__()
        self.loss = model.loss

    def forward(self, phase: str, batch: Batch) -> Loss:
        return self.loss(phase, batch)


def _outermost(module: nn.Module) -> list[nn.Module]:
    """The modules of torch.nn that are not inside another one of torch.nn: whole networks."""
    found = []
    for child in module.children():
        of_torch = type(child).__module__.startswith("torch.nn")
        found += [child] if of_torch and not _is_list(child) else _outermost(child)
    return found


def _is_list(module: nn.Module) -> bool:
    return isinstance(module, (nn.ModuleList, nn.ModuleDict))


def _optimisers(
    model: Model,
    lr_of: Mapping[str, float],
    betas: tuple[float, float],
    device: torch.device,
    graph: bool = False,
) -> dict[str, torch.optim.Adam]:
    found = {}
    for phase in model.phases:
        moved = [p for part in phase.moves for p in getattr(model, part).parameters()]
        # One pass over the parameters: on the CPU four times as fast as `foreach`, which MPS needs.
        fused = device.type != "mps"
        found[phase.name] = torch.optim.Adam(
            moved, lr=lr_of[phase.name], betas=betas, fused=fused, foreach=not fused,
            capturable=graph and device.type == "cuda",
        )  # fmt: skip
    return found


class Measured(NamedTuple):
    """Of one phase: the terms of its loss, the loss, and the norm of its gradient.

    Each is a number, or (S,), one for each seed of a stack.
    """

    phase: str
    terms: dict[str, Tensor]
    loss: Tensor
    norm: Tensor


class Record(NamedTuple):
    """What is kept of a step.

    Attributes:
        names: of each phase, the terms of its loss and "gradient norm".
        values: of all phases, one after another: (terms,) or (terms, S).
        finite: whether the loss and the gradient of each phase are: (phases,) or (phases, S).
    """

    names: dict[str, list[str]]
    values: Tensor
    finite: Tensor


def record_of(measured: Sequence[Measured]) -> Record:
    """The record of a step from what was measured in each phase."""
    names, values, checked = {}, [], []
    for phase, terms, loss, norm in measured:
        names[phase] = [*terms, "gradient norm"]
        values += [*terms.values(), norm]
        checked += [loss, norm]
    finite = torch.isfinite(torch.stack(checked)).unflatten(0, (-1, 2)).all(dim=1)
    return Record(names, torch.stack(values).detach(), finite)


def _step(
    model: Model,
    batch: Batch,
    optimisers: dict[str, torch.optim.Adam],
    processes: Processes = ALONE,
) -> Record:
    recorded = []
    for phase in model.phases:
        optimiser = optimisers[phase.name]
        moved = optimiser.param_groups[0]["params"]
        loss = model.loss(phase.name, batch)
        # Gradients of the moved parameters only: the generator's step goes *through* the
        # discriminator and pays nothing for the gradients of its weights.
        gradients = processes.average(torch.autograd.grad(loss.value, moved))
        # Before Adam walks through memory several times their size, gradients are in the cache.
        norm = torch.stack(torch._foreach_norm(list(gradients))).norm()
        recorded.append(Measured(phase.name, loss.terms, loss.value.detach(), norm))
        for parameter, gradient in zip(moved, gradients, strict=True):
            parameter.grad = laid_out_like(parameter, gradient)
        optimiser.step()
        for parameter in moved:
            parameter.grad = None
    return record_of(recorded)


def laid_out_like(parameter: Tensor, other: Tensor) -> Tensor:
    """A gradient or moment with the strides of its parameter, copied only where they differ.

    Fused Adam walks through all memories in step: on the CPU it would silently give an element
    the gradient, or the moments, of another one (seen in torch 2.13 and 2.15).
    """
    if other.stride() == parameter.stride():
        return other
    return torch.empty_like(parameter).copy_(other)


class DeviceLog:
    """Sums of the recorded terms and the first non-finite step of each phase, on the device; of a
    stack, of each seed.

    All of it is written in place, so that a step can be replayed.

    Attributes:
        seeds: of a stack, whose records have a column for each; or None.
        count: of the steps in the sums, which the host counts.
    """

    def __init__(
        self,
        phases: Sequence[str],
        device: torch.device,
        processes: Processes = ALONE,
        seeds: Sequence[int] | None = None,
    ):
        self.processes = processes
        self.phases = list(phases)
        self.seeds = seeds
        self.names: dict[str, list[str]] = {}
        self.total: Tensor | None = None  # (terms,) or (terms, S), in the order of a `Record`
        self.count = 0
        self.step = torch.zeros((), dtype=torch.int64, device=device)
        columns = () if seeds is None else (len(seeds),)
        self.bad = torch.full((len(phases), *columns), -1, dtype=torch.int64, device=device)
        self.precision = torch.float32 if device.type == "mps" else torch.float64

    def begin_after(self, step: int) -> None:
        """The next step is the one after `step`."""
        self.step.fill_(step)

    def add(self, recorded: Record) -> None:
        """What a step recorded."""
        if self.names and recorded.names != self.names:
            raise UnigenError(
                f"The terms of a loss changed within a run, from {self.names} to "
                f"{recorded.names}: give every step the same."
            )
        self.names = recorded.names
        if self.total is None:
            self.total = torch.zeros_like(recorded.values, dtype=self.precision)
        self.step += 1
        self.total += recorded.values
        self.bad.copy_(torch.where(recorded.finite | (self.bad >= 0), self.bad, self.step))

    def state(self, column: int | None = None) -> dict[str, Tensor]:
        """What a checkpoint keeps of it; of a stack, what that of the seed in ``column`` does.

        The sums of each phase are views: copy them before the next step. Several processes call
        this together.
        """
        found = {"log.count": torch.tensor(self.count)}
        if self.total is not None:
            total = self.processes.average_number(self.total)
            total = total if column is None else total[:, column]
            parts = total.split([len(self.names[phase]) for phase in self.phases])
            found |= {f"log.{p}": part for p, part in zip(self.phases, parts, strict=True)}
        return found

    def restore(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Take up what the checkpoint of a run kept, or those of all seeds of a stack."""
        self.count = int(states[0]["log.count"])
        keys = [f"log.{phase}" for phase in self.phases]
        if keys[0] in states[0]:
            of_runs = [torch.cat([state[key] for key in keys]) for state in states]
            total = of_runs[0] if self.seeds is None else torch.stack(of_runs, dim=1)
            self.total = total.to(self.step.device, self.precision)

    def read(self, reset: bool) -> dict[str, Tensor]:
        """Means since the last reset, each a number or (S,), on the CPU.

        This is where the host waits for the device.
        """
        assert self.total is not None
        names = [f"{phase}/{name}" for phase in self.phases for name in self.names[phase]]
        means = self.processes.average_number(self.total).cpu().double() / self.count
        if reset:
            self.count = 0
            self.total.zero_()
        return dict(zip(names, means, strict=True))

    def raise_if_not_finite(self, kept: str) -> None:
        """Say where the first loss or gradient was that is not finite, if one was."""
        rows = self.processes.largest(self.bad).view(len(self.phases), -1).tolist()
        seeds = [None] if self.seeds is None else self.seeds
        found = [
            (step, i, phase, seed)
            for phase, row in zip(self.phases, rows, strict=True)
            for i, (seed, step) in enumerate(zip(seeds, row, strict=True))
            if step >= 0
        ]
        if not found:
            return
        step, _, phase, seed = min(found, key=lambda each: each[:2])
        whose = "" if seed is None else f" of seed {seed}"
        raise NotFinite(
            f"Training stopped: loss or gradient of phase '{phase}'{whose} was not finite at step "
            f"{step}; {kept}. Lower the learning rate or check the data."
        )


def _raise_if_parameters_not_finite(model: Model, step: int, kept: str) -> None:
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise NotFinite(
                f"Training stopped: the parameter '{name}' was not finite after step {step}; "
                f"{kept}. Lower the learning rate."
            )


def _rows(
    data: Dataset, batch_size: int, seed: int, first: int, processes: Processes = ALONE
) -> Iterator[tuple[Tensor, ...]]:
    """Positions of the samples of each step, endlessly from step `first` on, with those of the
    second stream beside them; of each, the part that falls to this process."""
    rows = rows_of_steps(data, batch_size, seed, first, "order", processes)
    if data.other is None:
        return ((index,) for index in rows)
    size = min(batch_size, len(data.other))
    processes.share(size, "the number of samples of the second kind in a batch")
    other_rows = rows_of_steps(data.other, size, seed, first, "order of the other", processes)
    return zip(rows, other_rows, strict=False)


def _batch(data: Dataset, rows: Sequence[Tensor], dtype: torch.dtype) -> Batch:
    """The samples at these positions."""
    batch = _taken(data, rows[0], dtype)
    if data.other is not None:
        batch.other = _taken(data.other, rows[1], dtype)
    return batch


def rows_of_steps(
    data: Dataset, size: int, seed: int, first: int, purpose: str, processes: Processes = ALONE
) -> Iterator[Tensor]:
    """Positions of the samples of each step. The order of an epoch depends on (seed, epoch) alone,
    so that a resumed run sees what the uninterrupted one would have seen."""
    per_epoch = len(data) // size
    part = size // processes.world
    mine = processes.rank * part
    epoch, position = divmod(first, per_epoch)
    while True:
        generator = torch.Generator().manual_seed(stream_seed(seed, purpose, epoch))
        order = torch.randperm(len(data), generator=generator).to(data.x.device)
        for i in range(position, per_epoch):
            yield order[i * size + mine : i * size + mine + part]
        epoch, position = epoch + 1, 0


def _taken(data: Dataset, index: Tensor, dtype: torch.dtype) -> Batch:
    x = data.images(index)
    labels = None if data.labels is None else data.labels[index]
    return Batch(x.to(dtype) if x.is_floating_point() else x, labels)


def record_interval(history: History, step: int, numbers: dict[str, float], log_every: int) -> None:
    # A run extended beyond its old end completes the interval that the old end had cut short.
    if history.steps and history.steps[-1] % log_every and step - history.steps[-1] < log_every:
        history.steps.pop()
        for values in history.terms.values():
            values.pop()
    history.steps.append(step)
    for name, value in numbers.items():
        history.terms.setdefault(name, []).append(value)


def look_at(
    watch: Watch, model: Model, step: int, history: History, seed: int, device: torch.device
) -> None:
    if history.watched_steps and history.watched_steps[-1] == step:
        return
    model.eval()
    with (
        torch.no_grad(),
        own_random_numbers(stream_seed(seed, "watch", step), device),
        torch.autocast(device.type, enabled=False),
    ):
        numbers = watch(model, step) or {}
    model.train()
    history.watched_steps.append(step)
    for name, value in numbers.items():
        history.watched.setdefault(name, []).append(float(value))


def stream_seed(seed: int, purpose: str, number: int = 0) -> int:
    """The seed of one stream of random numbers: streams of different purpose are unrelated.

    Seeding all of them with `seed` would make the first noise a function of the first weights,
    because both would be drawn from the same bits.
    """
    digest = hashlib.sha256(f"{seed} {purpose} {number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextmanager
def own_random_numbers(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the random numbers of the CPU and of `device`, and give the caller's back at the end."""
    state = _rng_state(device)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
    try:
        yield
    finally:
        _set_rng_state(state, device)


@contextmanager
def repeatable_convolutions(device: torch.device) -> Iterator[None]:
    """Keep cuDNN from algorithms whose sums come in another order in each run."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = before or device.type == "cuda"
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


def _rng_state(device: torch.device) -> dict[str, Tensor]:
    state = {"rng.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["rng.device"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["rng.device"] = torch.mps.get_rng_state()
    return state


def _set_rng_state(state: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["rng.cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["rng.device"], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(state["rng.device"])


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class Stop:
    """Whether somebody has asked for an end."""

    requested = False


@contextmanager
def stop_requests(enabled: bool) -> Iterator[Stop]:
    """Turn the first Ctrl-C or SIGTERM into a request that is met at the end of a step."""
    stop = Stop()
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(signum: int, frame: Any) -> None:
        stop.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C means now

    before = {s: signal.signal(s, request) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _state(
    model: Model,
    optimisers: dict[str, torch.optim.Adam],
    log: DeviceLog,
    device: torch.device,
) -> dict[str, Tensor]:
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    for phase, optimiser in optimisers.items():
        for i, parameter in enumerate(optimiser.param_groups[0]["params"]):
            for key, value in optimiser.state[parameter].items():
                state[f"adam.{phase}.{i}.{key}"] = torch.as_tensor(value)
    return {**state, **log.state(), **_rng_state(device)}


def restore_tensors(run: Run, model: Model, steps: int) -> tuple[dict[str, Tensor], int, History]:
    """Put the parameters of the checkpoint of `run` into `model`.

    Returns:
        Everything in the checkpoint (on the CPU), its step and its history.

    Raises:
        UnigenError: a checkpoint of another run, or one that is damaged or too far along.
    """
    assert run.path is not None
    state, meta = checkpoints.load(run.path)
    for key, wanted in json.loads(json.dumps(run.about)).items():
        if meta.get(key) != wanted:
            raise UnigenError(
                f"{run.path} is the checkpoint of another run ({key} is {meta.get(key)!r} there "
                f"and {wanted!r} here): choose another folder, or pass resume=False to start again."
            )
    if meta["step"] > steps:
        raise UnigenError(
            f"{run.path} was already trained for {meta['step']} steps: ask for at least that many, "
            "or choose another folder."
        )
    checkpoints.load_parameters(model, state, run.path)
    return state, meta["step"], History.from_json(meta["history"])


def _restore(
    run: Run,
    model: Model,
    optimisers: dict[str, torch.optim.Adam],
    log: DeviceLog,
    steps: int,
) -> tuple[int, History]:
    state, step, history = restore_tensors(run, model, steps)
    device = run.device
    for phase, optimiser in optimisers.items():
        for i, parameter in enumerate(optimiser.param_groups[0]["params"]):
            prefix = f"adam.{phase}.{i}."
            found = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
            # Adam keeps its step count on the CPU unless it is fused, and expects to find it there.
            step_count = found.pop("step", None)
            optimiser.state[parameter] = {
                n: laid_out_like(parameter, t.to(device)) for n, t in found.items()
            }
            if step_count is not None:
                optimiser.state[parameter]["step"] = (
                    step_count if device.type == "mps" else step_count.to(device)
                )
    log.restore([state])
    _set_rng_state({n: v for n, v in state.items() if n.startswith("rng.")}, device)
    return step, history
