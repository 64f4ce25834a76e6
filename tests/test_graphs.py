"""`graph=True` changes who launches a step, and nothing else."""

from __future__ import annotations

import gc
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from tests import twin
from unigen_edu import data, experiments, graphs, models, seeds, training
from unigen_edu.checkpoints import parameter_checksum
from unigen_edu.cli import main
from unigen_edu.declarations import Batch, Loss
from unigen_edu.errors import NotFinite
from unigen_edu.models.vae import VAE
from unigen_edu.seeds import fit_seeds
from unigen_edu.training import fit

STEPS = graphs.WARM_UP + 4  # of which the last three are replayed
SETTINGS = {"steps": STEPS, "batch_size": 8, "log_every": 3, "progress": False}


@pytest.fixture
def on_twin(monkeypatch) -> list[str]:
    """Runs on the CPU are recorded and replayed; says what was captured."""
    captured: list[str] = []

    def capture(work, generators, stream):
        captured.append(str(len(generators)))
        return twin.capture(work, generators, stream)

    monkeypatch.setattr(graphs, "capture", capture)
    for module in (training, seeds):
        monkeypatch.setattr(module, "check_graph", lambda *_: None)
    return captured


def of(name, **options):
    """A data set for the model, and the model's options on it."""
    dataset = data.load(models.get(name).default_data, "train")
    if "shape" in models.options(name):
        options["shape"] = dataset.shape
    return dataset, options


@pytest.mark.parametrize("name", models.names())
def test_a_replayed_run_is_the_run(name, on_twin):
    dataset, options = of(name)

    def trained(**settings):
        model = models.create(name, seed=0, **options)
        history = fit(model, dataset, device="cpu", **SETTINGS, **settings)
        return parameter_checksum(model), history.terms, history.steps

    assert trained(graph=True) == trained()
    assert on_twin == ["0"]


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", models.names())
def test_a_replayed_stack_is_the_stack(name, precision, on_twin):
    dataset, options = of(name)

    def trained(**settings):
        runs = fit_seeds(
            name, dataset, seeds=(3, 8), options=options, method="stack", device="cpu",
            precision=precision, **SETTINGS, **settings,
        )  # fmt: skip
        return [(parameter_checksum(run.model), run.history.terms) for run in runs]

    assert trained(graph=True) == trained()
    assert on_twin == ["2"]  # the streams of noise of the two


class Counts(VAE):
    """Its loss depends on a number that the host counts."""

    steps = 0

    def variational_loss(self, batch: Batch) -> Loss:
        self.steps += 1
        value, terms = super().variational_loss(batch)
        return Loss(value * self.steps, terms)


class Moves(VAE):
    """Its loss depends on a tensor that is new in each step."""

    def variational_loss(self, batch: Batch) -> Loss:
        before = getattr(self, "mean", torch.zeros(()))
        self.mean = 0.5 * before + batch.x.mean()
        value, terms = super().variational_loss(batch)
        return Loss(value * self.mean, terms)


@pytest.mark.parametrize("model_class", [Counts, Moves])
def test_the_twin_finds_what_a_graph_would_get_wrong(model_class, on_twin, digits):
    def trained(**settings):
        torch.manual_seed(0)
        model = model_class(shape=digits.shape, latent=3)
        fit(model, digits, device="cpu", **SETTINGS, **settings)
        return parameter_checksum(model)

    assert trained(graph=True) != trained()


def test_a_replayed_run_is_continued_and_watched(on_twin, digits, tmp_path):
    def trained(*parts: int, **settings):
        model = models.create("gan", seed=0, shape=digits.shape, latent=3)
        for steps in parts:
            history = fit(
                model, digits, device="cpu", out=settings.pop("out", None) or tmp_path / "a",
                watch=lambda m, s: {"w": float(next(m.parameters()).sum()) + float(torch.rand(()))},
                watch_every=2, **SETTINGS | {"steps": steps}, **settings,
            )  # fmt: skip
        return parameter_checksum(model), history.terms, history.watched

    assert trained(6, 12, graph=True) == trained(12, out=tmp_path / "b")


def test_the_step_that_was_not_finite_is_named_in_a_replay(on_twin):
    points = data.Dataset(torch.randn(64, 2))
    points.x[46] = 1e30  # the sample of the sixth step, which is a replay
    messages = []
    for graph in (False, True):
        model = models.create("vae", seed=0, shape=(2,), latent=2, likelihood="gaussian")
        with pytest.raises(NotFinite) as caught:
            fit(model, points, device="cpu", graph=graph, lr=1e-3,
                **SETTINGS | {"batch_size": 1, "steps": 20, "log_every": 20})  # fmt: skip
        messages.append(str(caught.value))
    assert "at step 6;" in messages[0]
    assert messages[0] == messages[1]


@pytest.mark.parametrize(
    ("inside", "raised", "words"),
    [
        (
            RuntimeError("operation not permitted when stream is capturing\nand much more"),
            graphs.NotCaptured,
            r"not permitted when stream is capturing\).*leave out graph=True",
        ),
        (torch.OutOfMemoryError("while capturing"), torch.OutOfMemoryError, "while capturing"),
        (RuntimeError("shapes do not fit"), RuntimeError, "shapes do not fit"),
    ],
)
def test_why_a_step_was_not_captured_is_said(inside, raised, words, digits, monkeypatch):
    class Capture:
        """As `torch.cuda.graph`: the end of a capture that failed complains too."""

        def __init__(self, graph, **options):
            pass

        def __enter__(self):
            assert not gc.isenabled()

        def __exit__(self, *failed):
            raise RuntimeError("capture failed due to a previous error")

    def fails(*inputs):
        if calls:
            raise inside

    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=None))
    monkeypatch.setattr(torch.cuda, "graph", Capture)
    calls: list[int] = []
    work = graphs.Graphed(fails)
    for _ in range(graphs.WARM_UP):
        work(torch.ones(1))
    calls.append(1)
    with pytest.raises(raised, match=words) as caught:
        work(torch.ones(1))
    assert type(caught.value) is raised
    assert gc.isenabled()
    if raised is graphs.NotCaptured:
        assert "\n" not in str(caught.value)


ON_RING = ("--data", "ring", "--steps", "2")


@pytest.mark.parametrize(
    "command",
    [
        ("train", "gan", *ON_RING),
        ("train", "gan", "--seeds", "2", *ON_RING),
        ("reproduce", "f-divergences"),
    ],
)
def test_a_graph_wants_cuda(command, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--device", "cpu", "--quiet", "--graph"]) == 2
    assert "A CUDA graph needs a CUDA device" in capsys.readouterr().err


def test_comparisons_are_run_with_graphs(on_twin, monkeypatch, tmp_path):
    # As on a GPU, where the seeds of an arm are a stack.
    on_a_gpu = partial(fit_seeds, method="stack")
    monkeypatch.setattr(experiments, "fit_seeds", on_a_gpu)
    monkeypatch.setattr(experiments, "check_graph", lambda *_: None)
    scale = experiments.Scale("tiny", "mnist-mini", STEPS, 8, 100, "mlp")
    comparison = experiments.Comparison(
        "one", "A", "one", (experiments.Arm("gan", {"latent": 2}),), "modes_covered",
        higher_is_better=True, data="ring",
    )  # fmt: skip
    found = []
    for graph in (True, False):
        out = tmp_path / str(graph)
        assert not experiments.reproduce(
            [comparison], scale, seeds=(0, 1), device="cpu", graph=graph, out=out,
            work=tmp_path / "work", progress=False, say=lambda _: None,
        )  # fmt: skip
        (arm,) = comparison.arms
        records = experiments.read_records(comparison, scale, arm, out)
        assert [record["graph"] for record in records] == [graph, graph]
        found.append([record["parameters_sha256"] for record in records])
    assert found[0] == found[1]
    assert on_twin == ["2"]


# ---- on a GPU ------------------------------------------------------------------------------------

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@on_gpu
@pytest.mark.parametrize("name", models.names())
def test_a_run_from_a_cuda_graph_is_the_run(name):
    dataset, options = of(name)

    def trained(graph):
        model = models.create(name, seed=0, **options)
        history = fit(model, dataset, device="cuda", graph=graph, **SETTINGS | {"steps": 20})
        return parameter_checksum(model), history.terms

    assert trained(True) == trained(False)


@on_gpu
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("name", ["gan", "vae", "iwgan"])
def test_a_stack_from_a_cuda_graph_is_the_stack(name, network, precision):
    dataset, _ = of(name)

    def trained(graph):
        runs = fit_seeds(
            name, dataset, seeds=(3, 8), options={"network": network}, device="cuda",
            precision=precision, graph=graph, **SETTINGS | {"steps": 20},
        )  # fmt: skip
        return [(parameter_checksum(run.model), run.history.terms) for run in runs]

    assert trained(True) == trained(False)


@on_gpu
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", ["gan", "vae"])
def test_a_cuda_graph_is_watched_stopped_and_continued(name, precision, tmp_path):
    images = data.load("mnist-mini", "train")

    def watch(model, step):
        return {"noise": float(torch.randn((), device="cuda"))}

    def trained(graph, *parts, out):
        model = models.create(name, seed=0, network="conv")
        for steps in parts:
            history = fit(
                model, images, device="cuda", graph=graph, precision=precision, out=out,
                checkpoint_seconds=0, watch=watch, watch_every=3, **SETTINGS | {"steps": steps},
            )  # fmt: skip
        return parameter_checksum(model), history.terms, history.watched

    alone = trained(False, 20, out=tmp_path / "a")
    assert trained(True, 20, out=tmp_path / "b") == alone
    assert trained(True, 10, 20, out=tmp_path / "c") == alone


@on_gpu
def test_a_stack_in_a_cuda_graph_is_continued(tmp_path):
    images = data.load("mnist-mini", "train")

    def trained(graph, *parts, out):
        for steps in parts:
            runs = fit_seeds(
                "gan", images, seeds=(3, 8), device="cuda", graph=graph, out=out,
                checkpoint_seconds=0, **SETTINGS | {"steps": steps},
            )  # fmt: skip
        return [(parameter_checksum(run.model), run.history.terms) for run in runs]

    assert trained(True, 10, 20, out=tmp_path / "a") == trained(False, 20, out=tmp_path / "b")


@on_gpu
@pytest.mark.compiles
@pytest.mark.filterwarnings("ignore:The .grad attribute")
@pytest.mark.parametrize("name", ["vae", "gan"])
def test_a_cuda_graph_of_a_compiled_model_is_its_run(name):
    images = data.load("mnist-mini", "train")

    def trained(graph):
        model, settings = models.create(name, seed=0), SETTINGS | {"steps": 20}
        history = fit(model, images, device="cuda", graph=graph, compile=True, **settings)
        return parameter_checksum(model), history.terms

    assert trained(True) == trained(False)


WAITS = """
import torch
from unigen_edu import data
from unigen_edu.models.vae import VAE
from unigen_edu.training import fit

class Waits(VAE):
    def variational_loss(self, batch):
        loss = super().variational_loss(batch)
        if torch.cuda.is_current_stream_capturing():
            loss.value.item()
        return loss

fit(Waits(), data.load("mnist-mini", "train"), steps=9, device="cuda", graph=True, progress=False)
"""


@on_gpu
def test_a_loss_that_waits_cannot_be_in_a_cuda_graph():
    # In a process of its own, for which the device may do no more work.
    ended = subprocess.run(
        [sys.executable, "-c", WAITS], capture_output=True, text=True, check=False
    )
    assert ended.returncode != 0
    assert "NotCaptured: The training step could not be captured" in ended.stderr
    assert "not permitted when stream is capturing" in ended.stderr
