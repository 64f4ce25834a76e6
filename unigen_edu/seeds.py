"""`fit_seeds`: one model with many seeds in one call, for a mean and a spread.

Every seed gets the parameters that a run of `fit` by itself would give it. Two ways lead there:

* `processes`: runs side by side, one thread each. Best on a CPU. On Linux the processes are copies
  of this one, which need not import torch again.
* `stack`: all seeds as one model whose parameters have one axis more (`torch.func`). A step of ten
  small networks costs a GPU little more than a step of one. Best on a GPU.
"""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from tqdm.auto import tqdm

from unigen_edu import checkpoints, models
from unigen_edu.data import Dataset
from unigen_edu.declarations import Batch, Model
from unigen_edu.errors import NotFinite, UnigenError
from unigen_edu.graphs import Graphed, check_graph
from unigen_edu.noise import Recorded, Replayed, Request, drawn_by
from unigen_edu.training import (
    NOTHING_KEPT,
    DeviceLog,
    History,
    Interrupted,
    Measured,
    Run,
    Stop,
    Watch,
    fit,
    in_precision,
    laid_out_like,
    look_at,
    own_random_numbers,
    pick_device,
    prepare,
    record_interval,
    record_of,
    repeatable_convolutions,
    restore_tensors,
    rows_of_steps,
    stop_requests,
    stream_seed,
    synchronise,
)

__all__ = ["SeedRun", "fit_seeds"]

THREADS = Path("/proc/self/task")  # of this process, on Linux


class SeedRun(NamedTuple):
    """One seed of `fit_seeds`: the trained model, on the CPU and in evaluation mode."""

    seed: int
    model: Model
    history: History


def fit_seeds(
    name: str,
    data: Dataset,
    *,
    seeds: Sequence[int] = tuple(range(10)),
    steps: int,
    options: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "auto",
    method: str = "auto",
    processes: int | None = None,
    out: str | Path | None = None,
    progress: bool = True,
    **settings: Any,
) -> list[SeedRun]:
    """Train `models.create(name, seed=s)` with `fit(..., seed=s)` for every s in `seeds`.

    Args:
        name: of the model; see `models.names()`.
        data: as for `fit`.
        seeds: each stands for the initial parameters, the order of the data and all noise.
        steps: of each run.
        options: of the model's constructor; `shape` is that of the data unless it is given.
        dtype: precision of the parameters.
        device: as for `fit`.
        method: "processes" (CPU only), "stack", or "auto": a stack on a GPU, else processes.
        processes: how many run side by side; default as many as there are CPU cores. This
            process is one of them.
        out: folder; each seed keeps its checkpoints in `out/seed<s>`, from which the same call
            continues, by either method. None keeps nothing on disk.
        progress: show a progress bar.
        settings: further arguments of `fit`: batch_size, lr, betas, precision, graph, log_every,
            watch, watch_every, resume, checkpoint_seconds. With precision "bf16" a stack rounds
            the same products as `fit`, but keeps what stands between them in float32.

    Returns:
        The runs, in the order of `seeds`.

    Raises:
        UnigenError: bad arguments, as for `fit`; the sentence names the seed if there is one.
        Interrupted: on Ctrl-C or SIGTERM with `out` given, after checkpoints were written.
    """
    seeds = list(seeds)
    if not seeds or len(set(seeds)) != len(seeds):
        raise UnigenError(f"seeds are {seeds}, but they must be different numbers, at least one.")
    if method not in ("auto", "processes", "stack"):
        raise UnigenError(f"There is no method '{method}'; choose one of: auto, processes, stack.")
    if processes is not None and processes < 1:
        raise UnigenError(f"processes is {processes}, but at least 1 must do the work.")
    if "compile" in settings:
        raise UnigenError("fit_seeds has no setting 'compile': use fit, seed by seed.")
    target = pick_device(device)
    if settings.get("graph"):
        check_graph(target)
    if method == "auto":
        method = "processes" if target.type == "cpu" else "stack"
    if method == "processes" and target.type != "cpu":
        raise UnigenError(
            f"Runs side by side would share the device '{target}': use method='stack' there."
        )
    job = _Job(
        name=name,
        options={"shape": data.shape, **(options or {})},
        dtype=dtype,
        data=data.to("cpu") if method == "processes" else data,
        steps=steps,
        device=target,
        out=None if out is None else Path(out),
        settings=settings,
    )
    job.check(seeds)
    if method == "stack":
        return _as_stack(job, seeds, progress)
    count = min(processes or os.cpu_count() or 1, len(seeds))
    return _side_by_side(job, seeds, count, progress)


@dataclass
class _Job:
    """What all seeds have in common."""

    name: str
    options: dict[str, Any]
    dtype: torch.dtype
    data: Dataset
    steps: int
    device: torch.device
    out: Path | None
    settings: dict[str, Any]

    def model(self, seed: int) -> Model:
        return models.create(self.name, seed=seed, **self.options).to(self.dtype)

    def folder(self, seed: int) -> Path | None:
        return None if self.out is None else checkpoints.prepare_folder(self.out) / f"seed{seed}"

    def prepared(self, seed: int, model: Model) -> Run:
        allowed = {k: v for k, v in self.settings.items() if k not in ("progress", "graph")}
        return prepare(
            model, self.data, steps=self.steps, seed=seed, device=self.device,
            out=self.folder(seed), **allowed,
        )  # fmt: skip

    def check(self, seeds: Sequence[int]) -> None:
        """Find what is wrong with the arguments before anything is started."""
        for seed in seeds:
            self.prepared(seed, self.model(seeds[0]))

    def run(self, seed: int, progress: bool = False) -> SeedRun:
        model = self.model(seed)
        history = fit(
            model, self.data, steps=self.steps, seed=seed, device=self.device,
            out=self.folder(seed), progress=progress, **self.settings,
        )  # fmt: skip
        return SeedRun(seed, model.cpu(), history)


# ---- side by side --------------------------------------------------------------------------------


def _side_by_side(job: _Job, seeds: list[int], count: int, progress: bool) -> list[SeedRun]:
    """Each process takes the next seed when it is done with one; this process is one of them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found: dict[int, SeedRun] = {}
    bar = tqdm(total=len(seeds), desc=f"{job.name}, seeds", unit="seed", disable=not progress)
    try:
        with tempfile.TemporaryDirectory() as made, bar:
            folder = Path(made)
            (folder / "waiting").mkdir()
            for seed in seeds:
                (folder / "waiting" / str(seed)).touch()
            workers: list[_Worker] = []
            try:
                kind = _Copied if _may_copy() else _Started
                for i in range(1, count):
                    workers.append(kind(job, seeds, folder / str(i), bar))
                for seed in _not_taken(seeds, folder / "0"):
                    found[seed] = job.run(seed)
                    bar.update()
                with stop_requests(enabled=job.out is not None) as stop:
                    for worker in workers:
                        found |= worker.results(stop)
            except BaseException:
                for worker in workers:
                    worker.stop()
                raise
    finally:
        torch.set_num_threads(threads)
    return [found[seed] for seed in seeds]


def _not_taken(seeds: Sequence[int], own: Path) -> Iterator[int]:
    """Take, one by one, the seeds that no other process has taken: each is a file to be moved."""
    own.mkdir(exist_ok=True)
    for seed in seeds:
        try:
            (own.parent / "waiting" / str(seed)).rename(own / str(seed))
        except FileNotFoundError:
            continue
        yield seed


class _Worker(ABC):
    """Another process that trains some of the seeds; `own` holds which, and then their results."""

    def __init__(self, job: _Job, seeds: list[int], own: Path, bar: Any):
        own.mkdir()
        self.own = own
        self.bar = bar
        self.start(job, seeds)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    @abstractmethod
    def start(self, job: _Job, seeds: list[int]) -> None:
        """Begin."""

    @abstractmethod
    def read(self) -> None:
        """Move the bar by one for each seed that is done, until the process ends."""

    @abstractmethod
    def status(self, seconds: float) -> int | None:
        """Exit status, waited for so long; None if it goes on."""

    @abstractmethod
    def terminate(self) -> None:
        """Ask the process to write its checkpoint and leave."""

    def stop(self) -> None:
        """Ask it to leave and wait until it has."""
        self.terminate()
        while self.status(60.0) is None:
            pass
        self.reader.join()

    def results(self, stop: Stop) -> dict[int, SeedRun]:
        """What it trained; to be called when no seed is waiting. A request to stop is passed on."""
        if not any(self.own.iterdir()):  # the others were done before it had started
            self.stop()
            return {}
        while (status := self.status(0.1)) is None:
            if stop.requested:
                self.stop()
        self.reader.join()
        outcome = self.own / "outcome"
        if not outcome.exists():
            why = (
                "it was killed, perhaps for want of memory; try fewer processes"
                if status < 0
                else "what it wrote above says why"
            )
            raise UnigenError(
                f"A process of fit_seeds ended without a result (status {status}): {why}."
            )
        content = cloudpickle.loads(outcome.read_bytes())
        if isinstance(content, BaseException):
            raise content
        return {run.seed: run for run in content}


def _work(job: _Job, seeds: list[int], own: Path, say: Callable[[int], Any]) -> None:
    """The life of a worker; `say` is called with each seed that is done."""
    torch.set_num_threads(1)
    outcome: Any = []
    try:
        for seed in _not_taken(seeds, own):
            outcome.append(job.run(seed))
            say(seed)
    except (UnigenError, KeyboardInterrupt) as error:
        outcome = error
    (own / "outcome").write_bytes(cloudpickle.dumps(outcome))


def _may_copy() -> bool:
    """Whether a copy of this process can train, which saves the seconds that a new one takes.

    Not where autograd keeps threads, which a copy would lack: beside a GPU, and often after
    something was compiled. Not on macOS, whose libraries forbid it.
    """
    return (
        sys.platform == "linux"
        and not torch.accelerator.is_available()
        and not _autograd_has_threads()
        and not multiprocessing.current_process().daemon  # may have no children of this kind
    )


def _autograd_has_threads() -> bool:
    """Whether it does, on Linux, where threads have names."""
    for name in THREADS.glob("*/comm"):
        with contextlib.suppress(OSError):  # a thread that has ended since
            if name.read_text(encoding="utf-8", errors="replace").startswith("pt_autograd"):
                return True
    return False


class _Copied(_Worker):
    """A copy of this process (fork). It computes with one thread, as torch's data loaders do."""

    def start(self, job: _Job, seeds: list[int]) -> None:
        context = multiprocessing.get_context("fork")
        self.done, say = context.Pipe(duplex=False)
        self.process = context.Process(
            target=self.live, args=(job, seeds, say.send_bytes), daemon=True
        )
        with warnings.catch_warnings():
            # Of locks that other threads may hold while they are copied: see `live`.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process.start()
        say.close()

    def live(self, job: _Job, seeds: list[int], say: Callable[[bytes], None]) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        tqdm.set_lock(threading.RLock())  # a thread of the original may have held the old one
        _work(job, seeds, self.own, lambda seed: say(b"%d" % seed))

    def read(self) -> None:
        with self.done, contextlib.suppress(EOFError):
            while True:
                self.done.recv_bytes()
                self.bar.update()

    def status(self, seconds: float) -> int | None:
        self.process.join(seconds)
        return self.process.exitcode

    def terminate(self) -> None:
        self.process.terminate()


class _Started(_Worker):
    """Another Python."""

    def start(self, job: _Job, seeds: list[int]) -> None:
        shared = self.own.parent / "job"
        if not shared.exists():
            # By value: a `watch` that was defined in a notebook is found in no module.
            shared.write_bytes(cloudpickle.dumps((job, seeds)))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "unigen_edu.seeds", str(self.own)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for _ in self.process.stdout:
                self.bar.update()

    def status(self, seconds: float) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(seconds)
        return None

    def terminate(self) -> None:
        self.process.terminate()


def _live_apart(own: Path) -> None:
    """What a `_Started` process does."""
    job, seeds = cloudpickle.loads((own.parent / "job").read_bytes())
    _work(job, seeds, own, lambda seed: print(seed, flush=True))


# ---- as one stack --------------------------------------------------------------------------------


class _Losses(nn.Module):
    """`model.loss` as a forward pass, which is what `functional_call` can call."""

    def __init__(self, model: Model):
        super().__init__()
        self.model = model

    def forward(self, phase: str, batch: Batch) -> Any:
        return self.model.loss(phase, batch)


class _Stack:
    """S models of one class as one: parameters and buffers (S, ...), noise of each seed's own."""

    def __init__(self, job: _Job, seeds: list[int]):
        self.device = job.device
        self.models = [job.model(seed).to(job.device).train() for seed in seeds]
        parameters, buffers = stack_module_state(self.models)
        self.parameters: dict[str, Tensor] = parameters
        self.buffers: dict[str, Tensor] = buffers
        self.losses = _Losses(copy.deepcopy(self.models[0]))
        self.precision: str = job.settings.get("precision", "float32")
        if self.precision == "bf16":
            # `vmap` normalises no bfloat16 with averages in float32.
            for module in self.losses.modules():
                if isinstance(module, nn.modules.batchnorm._NormBase):
                    module.register_forward_pre_hook(lambda _, given: (given[0].float(),))
        self.noise = [
            torch.Generator(job.device).manual_seed(stream_seed(seed, "noise")) for seed in seeds
        ]
        self.requests: dict[str, list[Request]] = {}
        self.shared: list[Any] = []
        self.cached: list[Tensor] = []

    def moved(self, parts: Sequence[str]) -> dict[str, Tensor]:
        """The stacked parameters of the submodules named `parts`, in the order of `fit`."""
        return {
            f"{part}.{name}": self.parameters[f"{part}.{name}"]
            for part in parts
            for name, _ in getattr(self.models[0], part).named_parameters()
        }

    def learn_requests(self, batch: Batch) -> None:
        """Run each phase once on a copy of the first model to see which noise it asks for."""
        trial = copy.deepcopy(self.models[0])
        with in_precision(self.precision, trial, self.device):
            for phase in trial.phases:
                source = Recorded()
                with drawn_by(source):
                    trial.loss(phase.name, batch)
                self.requests[phase.name] = source.requests

    def loss(self, phase: str, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Values (S,) and terms (S,) of a phase on a stacked batch.

        What the phases of a step share (`Batch.once`) leaves one call as stacked tensors and
        enters the next.
        """
        noise = [
            torch.stack([request.draw(generator) for generator in self.noise])
            for request in self.requests[phase]
        ]
        layout: list[Any] = []

        def of_one(
            parameters: dict[str, Tensor],
            buffers: dict[str, Tensor],
            given: dict[str, Tensor],
            cached: list[Tensor],
            draws: list[Tensor],
        ) -> tuple[Tensor, dict[str, Tensor], list[Tensor]]:
            own = _batch(given)
            parts = [own] if own.other is None else [own, own.other]
            leaves = iter(cached)
            for part, shape in zip(parts, self.shared, strict=False):
                part._shared = _filled(shape, leaves)
            tensors = {f"model.{name}": t for name, t in {**parameters, **buffers}.items()}
            with drawn_by(Replayed(draws)):
                value, terms = functional_call(self.losses, tensors, (phase, own))
            kept: list[Tensor] = []
            layout[:] = [_emptied(part._shared, kept) for part in parts]
            return value, terms, kept

        value, terms, self.cached = vmap(of_one)(
            self.parameters, self.buffers, batch, self.cached, noise
        )
        self.shared = list(layout)
        return value, terms

    def new_step(self) -> None:
        self.shared, self.cached = [], []

    def unstacked(self) -> list[Model]:
        """The models with their present parameters."""
        stacked = {**self.parameters, **self.buffers}
        with torch.no_grad():
            for i, model in enumerate(self.models):
                for name, tensor in model.state_dict().items():
                    tensor.copy_(stacked[name][i])
        return self.models

    @torch.no_grad()
    def take(self) -> None:
        """Copy the parameters of the models into the stack."""
        for i, model in enumerate(self.models):
            for name, tensor in model.state_dict().items():
                {**self.parameters, **self.buffers}[name][i].copy_(tensor)


def _batch(given: dict[str, Tensor]) -> Batch:
    other = None
    if "other.x" in given:
        other = Batch(given["other.x"], given.get("other.label"))
    return Batch(given["x"], given.get("label"), other=other)


def _emptied(thing: Any, leaves: list[Tensor]) -> Any:
    """`thing` with each tensor moved to `leaves` and its place marked by a number."""
    if isinstance(thing, Tensor):
        leaves.append(thing)
        return _Place(len(leaves) - 1)
    if isinstance(thing, tuple):
        inside = [_emptied(part, leaves) for part in thing]
        return type(thing)(*inside) if hasattr(thing, "_fields") else tuple(inside)
    if isinstance(thing, list):
        return [_emptied(part, leaves) for part in thing]
    if isinstance(thing, dict):
        return {key: _emptied(part, leaves) for key, part in thing.items()}
    if hasattr(thing, "__dict__"):
        copied = copy.copy(thing)
        copied.__dict__ = _emptied(thing.__dict__, leaves)
        return copied
    return thing


class _Place(int):
    """Where a tensor was."""


def _filled(thing: Any, leaves: Any) -> Any:
    """The inverse of `_emptied`; `leaves` is an iterator in the same order."""
    if isinstance(thing, _Place):
        return next(leaves)
    if isinstance(thing, tuple):
        inside = [_filled(part, leaves) for part in thing]
        return type(thing)(*inside) if hasattr(thing, "_fields") else tuple(inside)
    if isinstance(thing, list):
        return [_filled(part, leaves) for part in thing]
    if isinstance(thing, dict):
        return {key: _filled(part, leaves) for key, part in thing.items()}
    if hasattr(thing, "__dict__"):
        copied = copy.copy(thing)
        copied.__dict__ = _filled(thing.__dict__, leaves)
        return copied
    return thing


def _stacked_rows(run: Run, seeds: list[int], first: int) -> Iterator[tuple[Tensor, ...]]:
    """Positions (S, B) of the samples that every seed would see in each step, endlessly, with those
    of the second stream beside them."""

    def rows(part: Dataset, purpose: str) -> Iterator[Tensor]:
        size = min(run.batch_size, len(part))
        of_seeds = (rows_of_steps(part, size, s, first, purpose) for s in seeds)
        return (torch.stack(chosen) for chosen in zip(*of_seeds, strict=True))

    if run.data.other is None:
        return ((index,) for index in rows(run.data, "order"))
    return zip(rows(run.data, "order"), rows(run.data.other, "order of the other"), strict=False)


def _stacked_batch(data: Dataset, rows: Sequence[Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The samples at these positions."""

    def taken(part: Dataset, index: Tensor, prefix: str) -> dict[str, Tensor]:
        x = part.images(index.flatten()).unflatten(0, index.shape)
        found = {f"{prefix}x": x.to(dtype) if x.is_floating_point() else x}
        if part.labels is not None:
            found[f"{prefix}label"] = part.labels[index]
        return found

    found = taken(data, rows[0], "")
    return found if data.other is None else found | taken(data.other, rows[1], "other.")


def _as_stack(job: _Job, seeds: list[int], progress: bool) -> list[SeedRun]:
    stack = _Stack(job, seeds)
    runs = [job.prepared(seed, model) for seed, model in zip(seeds, stack.models, strict=True)]
    about = runs[0]
    watch: Watch | None = job.settings.get("watch")
    watch_every = job.settings.get("watch_every")
    log_every = job.settings.get("log_every", 50)
    graph: bool = job.settings.get("graph", False)
    checkpoint_seconds = job.settings.get("checkpoint_seconds", 30.0)
    phases = stack.models[0].phases
    moved = {phase.name: stack.moved(phase.moves) for phase in phases}
    fused = job.device.type != "mps"
    optimisers = {
        name: torch.optim.Adam(
            list(parameters.values()), lr=about.lr[name], betas=about.betas, fused=fused,
            foreach=not fused, capturable=graph and job.device.type == "cuda",
        )
        for name, parameters in moved.items()
    }  # fmt: skip
    log = DeviceLog([phase.name for phase in phases], job.device, seeds=seeds)
    histories = [History(s, str(job.device), about.batch_size) for s in seeds]
    first = 0
    if job.settings.get("resume", True):
        first, histories = _resume(runs, stack, optimisers, log, histories, job.steps)
    kept = f"the last good checkpoints are in {job.out} (step {first})" if first else NOTHING_KEPT

    def save(step: int) -> None:
        nonlocal kept
        log.raise_if_not_finite(kept)
        _raise_if_parameters_not_finite(stack, seeds, step, kept)
        if job.out is None:
            return
        stack.unstacked()
        for i, run in enumerate(runs):
            assert run.path is not None
            state = _state_of_one(stack, optimisers, log, i, seeds[i])
            run_about = {**run.about, "step": step, "history": histories[i].to_json()}
            checkpoints.save(run.path, state, run_about)
        kept = f"the last good checkpoints are in {job.out} (step {step})"

    def look(step: int) -> None:
        if watch is None:
            return
        for model, seed, history in zip(stack.unstacked(), seeds, histories, strict=True):
            look_at(watch, model, step, history, seed, job.device)

    bar = tqdm(
        total=job.steps, initial=first, desc=f"{job.name}, {len(seeds)} seeds", unit="step",
        disable=not progress,
    )  # fmt: skip
    with (
        repeatable_convolutions(job.device),
        in_precision(stack.precision, stack.losses, job.device),
        stop_requests(enabled=job.out is not None) as stop,
        bar,
    ):
        if first == 0:
            look(0)
        rows = _stacked_rows(about, seeds, first)
        log.begin_after(first)

        def take_step(*of_batch: Tensor) -> None:
            batch = _stacked_batch(about.data, of_batch, job.dtype)
            if not stack.requests:
                with own_random_numbers(0, job.device):
                    stack.learn_requests(_batch({name: t[0] for name, t in batch.items()}))
            stack.new_step()
            measured = []
            for phase in phases:
                parameters = list(moved[phase.name].values())
                value, terms = stack.loss(phase.name, batch)
                # The loss of a seed depends on its own slice alone, so the gradient of the sum
                # holds the gradient of each.
                gradients = torch.autograd.grad(value.sum(), parameters)
                norms = torch.stack([g.reshape(len(g), -1).norm(dim=1) for g in gradients])
                measured.append(Measured(phase.name, terms, value.detach(), norms.norm(dim=0)))
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.grad = laid_out_like(parameter, gradient)
                optimisers[phase.name].step()
                for parameter in parameters:
                    parameter.grad = None
            log.add(record_of(measured))

        take = Graphed(take_step, stack.noise) if graph else take_step
        started = saved = time.perf_counter()
        unread = 0

        def add_time() -> None:
            synchronise(job.device)
            spent = time.perf_counter() - started
            for history in histories:
                history.seconds += spent / len(seeds)  # a run's share of what they took together

        for step in range(first + 1, job.steps + 1):
            take(*next(rows))
            log.count += 1
            unread += 1
            at_end = step == job.steps
            looking = watch_every is not None and step % watch_every == 0
            if step % log_every == 0 or at_end:
                numbers = log.read(reset=step % log_every == 0)
                log.raise_if_not_finite(kept)
                for i, history in enumerate(histories):
                    own = {name: float(values[i]) for name, values in numbers.items()}
                    record_interval(history, step, own, log_every)
                bar.update(unread)
                unread = 0
            if looking or (at_end and watch is not None):
                add_time()
                look(step)
                started = time.perf_counter()
            due = job.out is not None and time.perf_counter() - saved > checkpoint_seconds
            if stop.requested or due or at_end:
                add_time()
                save(step)
                started = saved = time.perf_counter()
                if stop.requested and not at_end:
                    assert job.out is not None
                    raise Interrupted(step, job.out)
    for history in histories:
        history.images_per_second = job.steps * about.batch_size / max(history.seconds, 1e-9)
    trained = [model.cpu().eval() for model in stack.unstacked()]
    return [SeedRun(*run) for run in zip(seeds, trained, histories, strict=True)]


def _raise_if_parameters_not_finite(
    stack: _Stack, seeds: Sequence[int], step: int, kept: str
) -> None:
    for name, parameter in stack.parameters.items():
        good = torch.isfinite(parameter).reshape(len(parameter), -1).all(1).tolist()
        if not all(good):
            raise NotFinite(
                f"Training stopped: the parameter '{name}' of seed {seeds[good.index(False)]} was "
                f"not finite after step {step}; {kept}. Lower the learning rate."
            )


def _state_of_one(
    stack: _Stack,
    optimisers: dict[str, torch.optim.Adam],
    log: DeviceLog,
    i: int,
    seed: int,
) -> dict[str, Tensor]:
    """What `fit` would have written for this seed."""
    state = {f"model.{name}": value for name, value in stack.models[i].state_dict().items()}
    for phase, optimiser in optimisers.items():
        for j, parameter in enumerate(optimiser.param_groups[0]["params"]):
            for key, value in optimiser.state[parameter].items():
                state[f"adam.{phase}.{j}.{key}"] = value if key == "step" else value[i]
    state |= log.state(i)
    if stack.device.type == "cpu":
        state["rng.cpu"] = stack.noise[i].get_state()
    else:
        untouched = torch.Generator().manual_seed(stream_seed(seed, "noise"))
        state |= {"rng.cpu": untouched.get_state(), "rng.device": stack.noise[i].get_state()}
    return state


def _resume(
    runs: list[Run],
    stack: _Stack,
    optimisers: dict[str, torch.optim.Adam],
    log: DeviceLog,
    histories: list[History],
    steps: int,
) -> tuple[int, list[History]]:
    """Continue from the checkpoints of all seeds, if every seed has one and of the same step."""
    paths = [run.path for run in runs]
    if any(path is None or not path.exists() for path in paths):
        return 0, histories
    states, at, found = [], [], []
    for run, model in zip(runs, stack.models, strict=True):
        state, step, history = restore_tensors(run, model, steps)
        states.append(state)
        at.append(step)
        found.append(history)
    if len(set(at)) > 1:
        raise UnigenError(
            f"The checkpoints of the seeds are of different steps ({', '.join(map(str, at))}): "
            "continue with method='processes', or pass resume=False to start again."
        )
    stack.take()
    for phase, optimiser in optimisers.items():
        for j, parameter in enumerate(optimiser.param_groups[0]["params"]):
            prefix = f"adam.{phase}.{j}."
            names = [n.removeprefix(prefix) for n in states[0] if n.startswith(prefix)]
            optimiser.state[parameter] = {
                name: states[0][prefix + name].to(
                    "cpu" if stack.device.type == "mps" else stack.device
                )
                if name == "step"
                else torch.stack([s[prefix + name] for s in states]).to(stack.device)
                for name in names
            }
    log.restore(states)
    for generator, state in zip(stack.noise, states, strict=True):
        generator.set_state(state["rng.cpu" if stack.device.type == "cpu" else "rng.device"])
    return at[0], found


if __name__ == "__main__":
    _live_apart(Path(sys.argv[1]))
