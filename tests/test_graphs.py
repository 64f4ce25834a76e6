"""`graph=True` changes who launches a step, and nothing else."""

from __future__ import annotations

import pytest
import torch

from tests import twin
from unigen_edu import data, graphs, models, seeds, training
from unigen_edu.checkpoints import parameter_checksum
from unigen_edu.cli import main
from unigen_edu.declarations import Batch, Loss
from unigen_edu.errors import NotFinite, UnigenError
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
    points.x[33:] = 1e30  # the order of an epoch brings one of these in some step
    messages = []
    for graph in (False, True):
        model = models.create("vae", seed=0, shape=(2,), latent=2, likelihood="gaussian")
        with pytest.raises(NotFinite) as caught:
            fit(model, points, device="cpu", graph=graph, lr=1e-3,
                **SETTINGS | {"batch_size": 1, "steps": 20, "log_every": 20})  # fmt: skip
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_what_cannot_be_captured_is_one_sentence(on_twin, digits, monkeypatch, capsys):
    def fails(work, generators, stream):
        raise RuntimeError("operation not permitted when stream is capturing\nand much more")

    monkeypatch.setattr(graphs, "capture", fails)
    model = models.create("gan", shape=digits.shape, latent=3)
    with pytest.raises(UnigenError, match=r"not permitted.*leave out graph=True") as caught:
        fit(model, digits, device="cpu", graph=True, **SETTINGS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("command", [("train", "gan"), ("train", "gan", "--seeds", "2")])
def test_a_graph_wants_cuda(command, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    given = ("--data", "ring", "--steps", "2", "--device", "cpu", "--quiet", "--graph")
    assert main([*command, *given]) == 2
    assert "A CUDA graph needs a CUDA device" in capsys.readouterr().err


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
