"""Many seeds in one call: each gets the parameters of a run by itself, by either method."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from unigen_edu import checkpoints, data, models
from unigen_edu import seeds as seeds_module
from unigen_edu.checkpoints import parameter_checksum
from unigen_edu.data import Dataset
from unigen_edu.errors import UnigenError
from unigen_edu.seeds import _not_taken, fit_seeds
from unigen_edu.training import Interrupted, fit

SEEDS = (3, 8)
SETTINGS = {"batch_size": 7, "log_every": 2, "progress": False, "device": "cpu"}
SMALL = {"latent": 3}
PRODUCTS = (torch.ops.aten.mm, torch.ops.aten.bmm, torch.ops.aten.addmm, torch.ops.aten.baddbmm)


@pytest.fixture(params=["copied", "started"])
def workers(request, monkeypatch):
    """Processes that are copies of this one, or new ones."""
    if request.param == "copied" and not seeds_module._may_copy():
        pytest.skip("this machine takes no copies of processes")
    monkeypatch.setattr(seeds_module, "_may_copy", lambda: request.param == "copied")
    return request.param


def alone(name, dataset, seed, dtype=torch.float64, steps=5, **settings):
    model = models.create(name, seed=seed, shape=dataset.shape, **SMALL).to(dtype)
    history = fit(model, dataset, seed=seed, steps=steps, **SETTINGS, **settings)
    return model, history


def largest_gap(a: torch.nn.Module, b: torch.nn.Module) -> float:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return max((x.double() - y.double()).abs().max().item() for x, y in pairs)


@pytest.mark.parametrize(
    ("name", "lr"),
    [
        *((name, None) for name in ("gan", "vae", "iwgan", "aae", "infogan")),
        ("gan", {"discriminator": 2e-3}),
    ],
)
def test_every_seed_of_a_stack_is_the_run_by_itself(name, lr, digits):
    runs = fit_seeds(
        name, digits, seeds=SEEDS, steps=5, options=SMALL, dtype=torch.float64, method="stack",
        lr=lr, **SETTINGS,
    )  # fmt: skip
    assert [run.seed for run in runs] == list(SEEDS)
    for run in runs:
        model, history = alone(name, digits, run.seed, lr=lr)
        assert largest_gap(run.model, model) < 1e-9
        assert run.history.steps == history.steps == [2, 4, 5]
        for term, values in history.terms.items():
            assert run.history.terms[term] == pytest.approx(values, abs=1e-9)
        assert not run.model.training
    assert largest_gap(runs[0].model, runs[1].model) > 1e-3


@pytest.mark.parametrize("name", ["gan", "vae", "aae"])
def test_a_stack_in_bf16_rounds_products_only(name, digits):
    products: set[torch.dtype] = set()

    class Note(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function.overloadpacket in PRODUCTS:
                products.update(x.dtype for x in args if isinstance(x, torch.Tensor))
            return function(*args, **(kwargs or {}))

    def first_losses(precision: str) -> list[float]:
        runs = fit_seeds(
            name, digits, seeds=SEEDS, steps=1, options=SMALL, method="stack",
            precision=precision, **SETTINGS | {"log_every": 1},
        )  # fmt: skip
        assert {p.dtype for run in runs for p in run.model.parameters()} == {torch.float32}
        first = runs[0].model.phases[0].name  # before any update
        return [run.history.terms[f"{first}/loss"][0] for run in runs]

    wanted = first_losses("float32")
    with Note():
        rounded = first_losses("bf16")
    assert products == {torch.bfloat16}
    assert rounded == pytest.approx(wanted, rel=1e-2)
    assert rounded != wanted


@pytest.mark.parametrize("name", ["gan", "vae"])
def test_convolutions_stack_in_bf16(name):
    images = data.load("mnist-mini", "test").subset(slice(0, 64))

    def first_losses(precision: str) -> list[float]:
        runs = fit_seeds(
            name, images, seeds=SEEDS, steps=1, options={"network": "conv"}, method="stack",
            precision=precision, **SETTINGS | {"log_every": 1},
        )  # fmt: skip
        first = runs[0].model.phases[0].name
        return [run.history.terms[f"{first}/loss"][0] for run in runs]

    rounded, wanted = first_losses("bf16"), first_losses("float32")
    assert rounded == pytest.approx(wanted, rel=1e-2)
    assert rounded != wanted


@pytest.mark.parametrize("threads", [[], ["python", "pt_autograd_0"]])
def test_where_autograd_has_threads_no_copies_are_taken(threads, monkeypatch, tmp_path):
    if sys.platform != "linux" or torch.accelerator.is_available():
        pytest.skip("this machine takes no copies of processes")
    for i, name in enumerate(threads):
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / "comm").write_text(f"{name}\n")
    monkeypatch.setattr(seeds_module, "THREADS", tmp_path)
    assert seeds_module._may_copy() is (not threads)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("name", ["gan", "vae", "iwgan"])
def test_every_seed_of_a_stack_on_a_gpu_is_the_run_by_itself(name, digits):
    on_gpu = {**SETTINGS, "device": "cuda"}
    runs = fit_seeds(
        name, digits, seeds=SEEDS, steps=5, options=SMALL, dtype=torch.float64, **on_gpu
    )
    for run in runs:
        model = models.create(name, seed=run.seed, shape=digits.shape, **SMALL).double()
        fit(model, digits, seed=run.seed, steps=5, **on_gpu)
        assert largest_gap(run.model, model.cpu()) < 1e-9


@pytest.mark.usefixtures("workers")
def test_runs_side_by_side_are_bit_identical_to_runs_by_themselves(digits):
    def watch(model, step):  # found in no module, as in a notebook
        return {"w": float(next(model.parameters()).sum()), "noise": float(torch.randn(()))}

    settings = {"watch": watch, "watch_every": 2}
    before = torch.get_rng_state()
    runs = fit_seeds(
        "iwgan", digits, seeds=(4, 0, 1), steps=3, options=SMALL, processes=2, **settings,
        **SETTINGS,
    )  # fmt: skip
    assert torch.equal(torch.get_rng_state(), before)
    assert [run.seed for run in runs] == [4, 0, 1]
    for run in runs:
        model, history = alone("iwgan", digits, run.seed, torch.float32, steps=3, **settings)
        assert parameter_checksum(run.model) == parameter_checksum(model)
        assert run.history.terms == history.terms
        assert run.history.watched == history.watched
        assert run.history.watched_steps == [0, 2, 3]


@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_batch_normalisation_and_convolutions_stack(network):
    digits = data.load("mnist-mini", "test").subset(slice(0, 64))
    options = {"network": network, "latent": 4}
    runs = fit_seeds(
        "gan", digits, seeds=SEEDS, steps=3, options=options, dtype=torch.float64, method="stack",
        **SETTINGS,
    )  # fmt: skip
    for run in runs:
        model = models.create("gan", seed=run.seed, **options).double()
        fit(model, digits, seed=run.seed, steps=3, **SETTINGS)
        assert largest_gap(run.model, model) < 1e-9  # running averages included


def test_a_watch_sees_each_seed_of_a_stack(digits):
    def watch(model, step):
        return {"w": float(next(model.parameters()).sum()), "noise": float(torch.randn(()))}

    runs = fit_seeds(
        "vae", digits, seeds=SEEDS, steps=4, options=SMALL, dtype=torch.float64, method="stack",
        watch=watch, watch_every=2, **SETTINGS,
    )  # fmt: skip
    for run in runs:
        _, history = alone("vae", digits, run.seed, steps=4, watch=watch, watch_every=2)
        assert run.history.watched_steps == history.watched_steps == [0, 2, 4]
        for name, values in history.watched.items():
            assert run.history.watched[name] == pytest.approx(values, abs=1e-9)


@pytest.mark.parametrize("name", ["gan", "aae"])  # phases in the order of the alphabet, and not
@pytest.mark.parametrize(("first", "then"), [("stack", "processes"), ("processes", "stack")])
def test_what_one_method_left_the_other_continues(first, then, name, digits, tmp_path):
    def run(steps, method):
        return fit_seeds(
            name, digits, seeds=SEEDS, steps=steps, options=SMALL, dtype=torch.float64,
            method=method, processes=1, out=tmp_path, **SETTINGS,
        )  # fmt: skip

    run(3, first)
    assert checkpoints.step_of(tmp_path / "seed8" / checkpoints.FILE) == 3
    for found in run(5, then):
        model, history = alone(name, digits, found.seed)
        assert largest_gap(found.model, model) < 1e-9
        assert found.history.steps == history.steps == [2, 4, 5]
        for term, values in history.terms.items():  # of an interval that one began and one ended
            assert found.history.terms[term] == pytest.approx(values, abs=1e-9)


def test_a_stopped_stack_goes_on(digits, tmp_path):
    asked = []

    def stop(model, step):
        if step == 2 and not asked:
            asked.append(step)
            os.kill(os.getpid(), signal.SIGINT)

    arguments = {
        "seeds": SEEDS, "steps": 5, "options": SMALL, "dtype": torch.float64, "method": "stack",
        "out": tmp_path, **SETTINGS,
    }  # fmt: skip
    with pytest.raises(Interrupted) as stopped:
        fit_seeds("gan", digits, watch=stop, watch_every=1, **arguments)
    assert stopped.value.step == 2
    for run in fit_seeds("gan", digits, **arguments):
        assert largest_gap(run.model, alone("gan", digits, run.seed)[0]) < 1e-9


TWO_PROCESSES = """
import os, pathlib, signal, sys, time
import torch
from unigen_edu import seeds
from unigen_edu.data import Dataset
from unigen_edu.training import Interrupted

if sys.argv[2] == "started":
    seeds._may_copy = lambda: False
x = torch.randint(0, 256, (21, 1, 4, 4), generator=torch.Generator().manual_seed(1))
digits = Dataset(x.to(torch.uint8), torch.arange(21), name="digits")
parent = os.getpid()
folder = pathlib.Path(sys.argv[1])

def run(watch, steps):
    seeds.fit_seeds("gan", digits, seeds=(0, 1), steps=steps, options={"latent": 3}, processes=2,
                    out=folder, batch_size=7, progress=False, device="cpu", watch=watch,
                    watch_every=3)
"""

STOPPED = """
def watch(model, step):
    if os.getpid() != parent:
        (folder / "other").touch()  # so far it has come: what stops it now is met by a checkpoint
    elif step == 3:
        while not (folder / "other").exists():
            time.sleep(0.02)
        os.kill(parent, signal.SIGINT)

try:
    run(watch, steps=2000)
except Interrupted as stopped:
    print(f"stopped at {stopped.step}")
"""


def test_an_interrupt_reaches_the_other_processes_and_they_keep_their_work(workers, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", TWO_PROCESSES + STOPPED, str(tmp_path), workers],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "stopped at 3\n"
    assert done.stderr == ""
    kept = [checkpoints.step_of(path) for path in tmp_path.glob(f"seed*/{checkpoints.FILE}")]
    assert len(kept) == 2
    assert 3 in kept  # of this process, whichever seed it took
    assert max(kept) < 2000


STOPPED_WHILE_WAITING = """
def watch(model, step):
    if os.getpid() == parent:
        while not (folder / "other").exists():
            time.sleep(0.02)
        if step == 300:
            (folder / "done").touch()
        return
    (folder / "other").touch()
    if step == 3:
        while not (folder / "done").exists():
            time.sleep(0.02)
        time.sleep(0.5)  # now the first process only waits for this one
        os.kill(parent, signal.SIGTERM)
    time.sleep(0.02)

try:
    run(watch, steps=300)
except Interrupted as stopped:
    print("stopped", stopped.step < 300, stopped.checkpoint)
"""


def test_a_request_to_stop_reaches_those_that_are_waited_for(workers, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", TWO_PROCESSES + STOPPED_WHILE_WAITING, str(tmp_path), workers],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.startswith("stopped True")
    kept = sorted(checkpoints.step_of(path) for path in tmp_path.glob(f"seed*/{checkpoints.FILE}"))
    assert kept[0] < 300 == kept[1]


def test_one_process_needs_nothing_that_can_be_sent_to_another(digits):
    seen = []
    lock = threading.Lock()  # cannot be pickled

    def watch(model, step):
        with lock:
            seen.append(step)

    fit_seeds("gan", digits, seeds=SEEDS, processes=1, steps=2, options=SMALL,
              watch=watch, watch_every=2, **SETTINGS)  # fmt: skip
    assert seen == [0, 2, 0, 2]


def test_each_seed_is_taken_by_one_process(tmp_path):
    (tmp_path / "waiting").mkdir()
    seeds = [5, -1, 0, 12]
    for seed in seeds:
        (tmp_path / "waiting" / str(seed)).touch()
    a, b = (_not_taken(seeds, tmp_path / name) for name in "ab")
    assert [next(a), next(b), next(a), next(a)] == seeds
    assert list(b) == list(a) == []


def test_a_process_that_starts_late_leaves_its_seeds_to_the_others(digits, monkeypatch, tmp_path):
    monkeypatch.setattr(seeds_module, "_may_copy", lambda: False)
    late = tmp_path / "late"
    late.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(600)\n")
    late.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(late))
    arguments = {"steps": 2, "options": SMALL, **SETTINGS}
    found = fit_seeds("gan", digits, seeds=(3, 1), processes=2, method="processes", **arguments)
    assert [run.seed for run in found] == [3, 1]


FAILS_OR_HANGS = """
import os, sys, time
from pathlib import Path
import cloudpickle
from unigen_edu.errors import UnigenError
own, noted = Path(sys.argv[-1]), Path({noted!r})
if own.name == "1":
    (own / "outcome").write_bytes(cloudpickle.dumps(UnigenError("The first worker fails.")))
else:
    (own / "8").touch()  # takes a seed and never ends
draft = noted / f"{{own.name}}.draft"
draft.write_text(str(os.getpid()))
draft.rename(noted / own.name)
time.sleep(0 if own.name == "1" else 600)
"""


def test_a_failure_in_one_process_ends_the_others(digits, monkeypatch, tmp_path):
    monkeypatch.setattr(seeds_module, "_may_copy", lambda: False)
    worker = tmp_path / "worker"
    worker.write_text(f"#!{sys.executable}" + FAILS_OR_HANGS.format(noted=str(tmp_path)))
    worker.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(worker))

    def wait_for_the_others(model, step):
        until = time.monotonic() + 60
        while not all((tmp_path / name).exists() for name in "12"):
            assert time.monotonic() < until
            time.sleep(0.05)

    with pytest.raises(UnigenError, match="The first worker fails"):
        fit_seeds("gan", digits, seeds=(3, 8, 1), processes=3, steps=2, options=SMALL,
                  watch=wait_for_the_others, watch_every=1, **SETTINGS)  # fmt: skip
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "2").read_text()), 0)


@pytest.fixture
def forking():
    if not seeds_module._may_copy():
        pytest.skip("this machine takes no copies of processes")


def until(true, seconds=60.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.usefixtures("forking")
def test_a_failure_in_a_copy_ends_the_others(digits, tmp_path):
    original, lock = os.getpid(), threading.Lock()  # a lock cannot be sent to another process

    def watch(model, step):
        with lock:
            if os.getpid() != original:
                try:
                    (tmp_path / "first").touch(exist_ok=False)
                except FileExistsError:
                    (tmp_path / "second").write_text(str(os.getpid()))
                    time.sleep(600)
                until((tmp_path / "second").exists)
                raise UnigenError("The first copy fails.")
        until((tmp_path / "second").exists)

    with pytest.raises(UnigenError, match="The first copy fails"):
        fit_seeds("gan", digits, seeds=(3, 8, 1), processes=3, steps=2, options=SMALL,
                  watch=watch, watch_every=1, **SETTINGS)  # fmt: skip
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "second").read_text()), 0)


@pytest.mark.usefixtures("forking")
@pytest.mark.parametrize(
    ("how", "words"),
    [("killed", r"\(status -9\): it was killed"), ("fallen", r"\(status 1\): what it wrote above")],
)
def test_a_copy_that_dies_is_one_sentence(how, words, digits, tmp_path, capfd):
    original = os.getpid()

    def watch(model, step):
        if os.getpid() == original:
            until((tmp_path / "taken").exists)
            return
        (tmp_path / "taken").touch()
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError("a mistake in the watch")

    with pytest.raises(UnigenError, match=words):
        fit_seeds("gan", digits, seeds=(3, 8), processes=2, steps=2, options=SMALL,
                  watch=watch, watch_every=1, **SETTINGS)  # fmt: skip
    assert ("a mistake in the watch" in capfd.readouterr().err) == (how == "fallen")


@pytest.mark.usefixtures("forking")
def test_a_copy_does_not_wait_for_what_threads_of_the_original_held(digits, monkeypatch):
    # tqdm takes its lock even for bars that are not shown; a thread may hold it while we fork.
    original = os.getpid()
    held, leave = threading.Event(), threading.Event()
    start = seeds_module._Copied.start

    def hold():
        with seeds_module.tqdm.get_lock():
            held.set()
            leave.wait(60)

    def start_while_held(worker, *given):
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(60)
        start(worker, *given)
        leave.set()
        thread.join()
        copies.append(worker)

    def watch(model, step):  # leaves one seed to the copy, and does not wait for ever
        if os.getpid() == original and step == 0:
            try:
                until(lambda: any(copies[0].own.iterdir()), 20)
                until(lambda: copies[0].status(0.05) is not None, 20)
            except AssertionError:
                copies[0].process.kill()

    copies: list = []
    monkeypatch.setattr(seeds_module._Copied, "start", start_while_held)
    found = fit_seeds("gan", digits, seeds=(3, 8), processes=2, steps=2, options=SMALL,
                      watch=watch, watch_every=2, **SETTINGS)  # fmt: skip
    assert [run.seed for run in found] == [3, 8]


@pytest.mark.usefixtures("forking")
def test_in_a_daemon_new_processes_are_started(monkeypatch):
    current = type("Daemon", (), {"daemon": True})
    monkeypatch.setattr(seeds_module.multiprocessing, "current_process", lambda: current)
    assert not seeds_module._may_copy()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seeds": ()}, "at least one"),
        ({"seeds": (1, 1)}, "must be different"),
        ({"seeds": (-1,)}, "seed is -1"),
        ({"method": "threads"}, "no method 'threads'; choose one of: auto, processes, stack"),
        ({"processes": 0}, "processes is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"compile": True}, "no setting 'compile'"),
        ({"precision": "bf17"}, "no precision 'bf17'"),
        ({"options": {"latnet": 3}}, "Did you mean 'latent'?"),
        ({"batch_size": 22}, "has only 21 samples"),
    ],
)
def test_bad_arguments_are_one_sentence_before_anything_starts(change, words, digits):
    arguments = {"seeds": SEEDS, "steps": 2, "options": SMALL, **SETTINGS} | change
    with pytest.raises(UnigenError) as caught:
        fit_seeds("gan", digits, **arguments)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["stack", "processes"])
def test_the_seed_whose_loss_is_not_finite_is_named_or_stopped(method):
    points = Dataset(torch.full((20, 2), 1e30))
    with pytest.raises(UnigenError, match="was not finite at step 1") as caught:
        fit_seeds(
            "vae", points, seeds=SEEDS, steps=2, method=method, processes=1,
            options={"latent": 2, "likelihood": "gaussian"}, **SETTINGS,
        )  # fmt: skip
    assert method == "processes" or "seed 3" in str(caught.value)


def test_a_stack_that_goes_on_and_breaks_names_the_step(digits, tmp_path):
    def run(steps):
        fit_seeds("gan", digits, seeds=SEEDS, steps=steps, options=SMALL, method="stack",
                  out=tmp_path, **SETTINGS)  # fmt: skip

    run(3)
    path = tmp_path / "seed8" / checkpoints.FILE
    state, meta = checkpoints.load(path)
    next(t for name, t in state.items() if name.startswith("model.discriminator")).fill_(torch.nan)
    checkpoints.save(path, state, meta)
    with pytest.raises(UnigenError, match="'discriminator' of seed 8 was not finite at step 4"):
        run(6)
    assert checkpoints.step_of(path) == 3
