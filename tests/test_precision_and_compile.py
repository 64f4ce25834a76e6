"""`compile` and `precision` change how the networks are computed, and nothing else."""

from __future__ import annotations

import os
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from unigen_edu import checkpoints, data, models, training
from unigen_edu.cli import main
from unigen_edu.declarations import Batch, Loss
from unigen_edu.errors import NotFinite, UnigenError
from unigen_edu.models.vae import VAE
from unigen_edu.seeds import fit_seeds
from unigen_edu.training import fit, parameter_checksum

# torch's own compiler looks at the gradient of an output and is warned about it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute"),
    pytest.mark.compiles,
]

SETTINGS = {"steps": 6, "batch_size": 8, "device": "cpu", "progress": False, "log_every": 2}


def trained(name, digits, dtype=torch.float32, **settings):
    model = models.create(name, seed=0, shape=digits.shape, latent=3).to(dtype)
    return model, fit(model, digits, seed=0, **SETTINGS, **settings)


def largest_gap(a: nn.Module, b: nn.Module) -> float:
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return max((x.double() - y.double()).abs().max().item() for x, y in pairs)


@pytest.fixture
def captured(monkeypatch) -> list[str]:
    """Compiled graphs run as they were captured, without a C++ compiler; what was compiled."""
    found: list[str] = []
    real = torch.compile

    def compile_eagerly(what, **options: object):
        owner = getattr(what, "__self__", None)
        found.append(what.__name__ if owner is None else type(owner).__name__)
        # With decompositions, as in the compiler: "aot_eager" keeps views that do not fit.
        given = {"backend": "aot_eager_decomp_partition", "dynamic": options.get("dynamic")}
        whole = options.get("fullgraph", found[-1] == "_Loss")
        return real(what, **given, fullgraph=whole)

    monkeypatch.setattr(torch, "compile", compile_eagerly)
    yield found
    torch._dynamo.reset()


@pytest.fixture
def parts(monkeypatch) -> None:
    """A PyTorch that cannot compile whole steps."""
    monkeypatch.setattr(training, "can_compile_steps", lambda device: False)


whole_steps = pytest.mark.skipif(
    not training.can_compile_steps(torch.device("cpu")),
    reason="this PyTorch compiles no whole steps",
)


def on_its_data(name: str, **settings: object) -> tuple[nn.Module, dict[str, list[float]]]:
    """A model in float64, trained for a few steps on the data that it trains on by default."""
    of = models.get(name)
    dataset = data.load(of.default_data, "train")
    options = {"shape": dataset.shape} if "shape" in models.options(name) else {}
    model = models.create(name, seed=0, **options).double()
    lr = {phase.name: 1e-3 / (1 + i) for i, phase in enumerate(model.phases)}
    history = fit(model, dataset, seed=0, lr=lr, **SETTINGS | {"steps": 3}, **settings)
    return model, history.terms


def assert_same(found, wanted, gap: float = 1e-9) -> None:
    (compiled, terms), (plain, plain_terms) = found, wanted
    assert largest_gap(compiled, plain) < gap
    assert terms.keys() == plain_terms.keys()
    for term, values in plain_terms.items():
        assert terms[term] == pytest.approx(values, abs=1e-9, rel=1e-9)


@whole_steps
@pytest.mark.parametrize("name", models.names())
def test_a_step_is_compiled_whole(name, captured):
    # "Whole": nothing of it may be left to Python, or the compiler would say so.
    found = on_its_data(name, compile=True)
    assert captured == ["_whole_step"]
    # Adam's first steps are of size 1e-3 whatever the gradient: rounding of one that is almost zero
    # comes back many times as large.
    some_are = name in ("cyclegan", "predictability")
    assert_same(found, on_its_data(name), gap=1e-8 if some_are else 1e-9)
    assert all(module._compiled_call_impl is None for module in found[0].modules())


class Choosing(VAE):
    """What its loss does depends on a number, which a compiler cannot know."""

    def variational_loss(self, batch: Batch) -> Loss:
        loss = super().variational_loss(batch)
        return loss if loss.value > 0 else Loss(-loss.value, loss.terms)


@whole_steps
def test_a_step_that_cannot_be_compiled_is_said_so(digits, captured):
    model = Choosing(digits.shape)
    with pytest.raises(UnigenError, match=r"'vae' could not be compiled \(.*: leave out compile"):
        fit(model, digits, seed=0, **SETTINGS, compile=True)


@whole_steps
def test_the_loss_says_itself_what_is_wrong_with_it(digits, captured):
    one = SETTINGS | {"batch_size": 1}
    with pytest.raises(UnigenError, match="Batch normalisation has nothing to average over"):
        fit(models.create("gan", shape=digits.shape), digits, seed=0, **one, compile=True)


@whole_steps
def test_a_compiled_run_is_continued_compiled_or_not(tmp_path, digits, captured):
    def after(*parts, out):
        model = models.create("gan", seed=0, shape=digits.shape).double()
        for steps, compile in parts:
            history = fit(
                model, digits, seed=0, out=tmp_path / out, compile=compile,
                **SETTINGS | {"steps": steps},
            )  # fmt: skip
        return model, history.terms

    at_once = after((6, True), out="a")
    in_two = after((3, True), (6, True), out="b")
    assert parameter_checksum(in_two[0]) == parameter_checksum(at_once[0])
    assert in_two[1] == at_once[1]
    assert_same(after((3, True), (6, False), out="c"), at_once)
    assert_same(after((3, False), (6, True), out="d"), at_once)


@whole_steps
def test_every_run_of_a_process_is_compiled(captured):
    # PyTorch takes the steps of further models for new versions of the first, and gives up early.
    ring = data.load("ring", "train")

    def compiled() -> int:
        return torch._dynamo.utils.counters["stats"]["unique_graphs"]

    before = compiled()
    with torch._dynamo.config.patch(recompile_limit=1):
        for size in (4, 5, 6):
            model = models.create("gan", seed=0, shape=(2,), latent=2)
            fit(model, ring, seed=0, **SETTINGS | {"batch_size": size}, compile=True)
    assert compiled() - before == 3


class Counting(VAE):
    """Its loss changes from step to step, by a number of Python's."""

    seen = 0

    def variational_loss(self, batch: Batch) -> Loss:
        self.seen += 1
        loss = super().variational_loss(batch)
        return Loss(loss.value * min(1.0, self.seen / 100), loss.terms)


@whole_steps
def test_a_step_is_not_compiled_again_and_again(digits, captured):
    with (
        torch._dynamo.config.patch(recompile_limit=2),
        pytest.raises(UnigenError, match="could not be compiled"),
    ):
        fit(Counting(digits.shape), digits, seed=0, **SETTINGS, compile=True)


@whole_steps
def test_who_stops_a_compiler_is_not_told_about_compiling(digits, captured, monkeypatch, tmp_path):
    def stopped(self: object, batch: Batch) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        raise UnigenError("The training step of 'vae' could not be compiled.")

    monkeypatch.setattr(training._CompiledStep, "__call__", stopped)
    with pytest.raises(KeyboardInterrupt):
        trained("vae", digits, compile=True, out=tmp_path)


@whole_steps
@pytest.mark.parametrize("options", [{"precision": "bf16"}, {"network": "conv"}])
@pytest.mark.parametrize("name", ["gan", "aae"])
def test_rounded_products_and_convolutions_are_compiled_too(name, options, captured):
    images = data.load("mnist-mini", "train")

    def terms(**settings: object) -> dict[str, list[float]]:
        network = options.get("network", "mlp")
        model = models.create(name, seed=0, network=network)
        precision = options.get("precision", "float32")
        settings |= {"watch": lambda model, step: None, "watch_every": 2}
        return fit(model, images, **SETTINGS, precision=precision, **settings).terms

    compiled, plain = terms(compile=True), terms()
    assert captured == ["_whole_step"]
    for term, values in plain.items():
        assert compiled[term] == pytest.approx(values, rel=0.02, abs=1e-3)


@whole_steps
def test_a_compiled_step_says_what_was_not_finite(digits, captured):
    model = models.create("gan", seed=0, shape=digits.shape)
    with torch.no_grad():
        model.generator.body[-2].bias.fill_(float("nan"))
    with pytest.raises(NotFinite, match="'discriminator' was not finite at step 1"):
        fit(model, digits, seed=0, **SETTINGS, compile=True)


@pytest.mark.parametrize("name", ["gan", "vae"])
def test_compiled_networks_learn_the_same_parameters(name, digits, captured, parts):
    compiled, history = trained(name, digits, torch.float64, compile=True)
    plain, wanted = trained(name, digits, torch.float64)
    assert captured
    assert "_whole_step" not in captured
    assert largest_gap(compiled, plain) < 1e-9
    for term, values in wanted.terms.items():
        assert history.terms[term] == pytest.approx(values, abs=1e-9)
    # Afterwards the model is an ordinary one again: same names, nothing left to compile.
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    assert all(module._compiled_call_impl is None for module in compiled.modules())
    assert "loss" not in vars(compiled)


ONE_PHASE = sorted(name for name in models.names() if len(models.get(name).phases) == 1)


@pytest.mark.parametrize("name", ONE_PHASE)
def test_or_the_only_loss_of_a_step(name, captured, parts):
    found = on_its_data(name, compile=True)
    assert captured == ["_Loss"]
    assert_same(found, on_its_data(name))


def test_models_are_compiled_one_after_another_with_batches_of_their_own_sizes(digits, captured):
    for name, size in (("vae", 8), ("vae", 5), ("iwae", 6)):
        model, plain = (models.create(name, seed=0, shape=digits.shape).double() for _ in "ab")
        settings = SETTINGS | {"steps": 2, "batch_size": size}
        fit(model, digits, seed=0, **settings, compile=True)
        fit(plain, digits, seed=0, **settings)
        assert largest_gap(model, plain) < 1e-9


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize(
    ("name", "options"), [("vae", {"likelihood": "gaussian"}), ("gan", {"objective": "minimax"})]
)
def test_the_compiler_of_this_machine_agrees(name, options):
    points, other = (models.create(name, shape=(2,), latent=2, **options).double() for _ in "ab")
    other.load_state_dict(points.state_dict())
    ring = data.load("ring", "train")
    lr = {phase.name: 1e-3 / (1 + i) for i, phase in enumerate(points.phases)}
    fit(points, ring, seed=0, lr=lr, **SETTINGS, compile=True)
    fit(other, ring, seed=0, lr=lr, **SETTINGS)
    assert largest_gap(points, other) < 1e-9
    with torch.no_grad():
        next(points.parameters()).fill_(float("nan"))
    with pytest.raises(NotFinite, match="not finite at step 1;"):
        fit(points, ring, seed=0, **SETTINGS, compile=True)


@whole_steps
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_adam_is_corrected_once_a_step():
    # The corrections belong to a step and not to its parameters: compiled into Adam's loops, they
    # would be taken anew for every vector of these.
    from torch._inductor.utils import run_and_get_code

    model, ring = models.create("gan", shape=(2,), latent=2), data.load("ring", "train")
    _, (code,) = run_and_get_code(partial(fit, model, ring, seed=0, **SETTINGS, compile=True))
    assert "lerp" in code
    assert "double" not in code  # in which the corrections are, and of a float32 model nothing else


@pytest.mark.parametrize("name", ["gan", "vae"])
def test_bf16_is_for_products_only(name, digits):
    inside: set[torch.dtype] = set()
    model = models.create(name, seed=0, shape=digits.shape, latent=3)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda m, given, made: inside.add(made.dtype))
    history = fit(model, digits, seed=0, **SETTINGS | {"log_every": 1}, precision="bf16")
    assert inside == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}

    plain = models.create(name, seed=0, shape=digits.shape, latent=3)
    wanted = fit(plain, digits, seed=0, **SETTINGS | {"log_every": 1})
    first = f"{model.phases[0].name}/loss"  # before any update; later the runs part
    assert history.terms[first][0] == pytest.approx(wanted.terms[first][0], rel=0.02)
    assert history.terms[first][0] != wanted.terms[first][0]


@pytest.mark.parametrize("name", ["aae", "vae"])
def test_a_run_in_bf16_learns_what_one_in_float32_learns(name, digits):
    settings = SETTINGS | {"steps": 60, "lr": 1e-2, "log_every": 20}
    last_phase = models.get(name).phases[-1].name

    def trained_in(precision: str) -> list[float]:
        model = models.create(name, seed=0, shape=digits.shape, latent=3)
        history = fit(model, digits, seed=0, **settings, precision=precision)
        return history.terms[f"{last_phase}/loss"]

    rounded, wanted = trained_in("bf16"), trained_in("float32")
    assert wanted[-1] < 0.9 * wanted[0]  # there is something to learn
    assert rounded == pytest.approx(wanted, rel=0.1)


@pytest.mark.parametrize("method", ["processes", "stack"])
def test_who_watches_a_run_in_bf16_sees_the_model_in_float32(method, digits):
    def watch(model, step):
        return {"mean": model.encoder(digits.images(slice(0, 8))).mean.double().sum().item()}

    def looks(precision: str) -> list[float]:
        (run,) = fit_seeds(
            "vae", digits, seeds=[0], options={"latent": 3}, method=method, watch=watch,
            precision=precision, **SETTINGS,
        )  # fmt: skip
        return run.history.watched["mean"]

    rounded, wanted = looks("bf16"), looks("float32")
    assert rounded[0] == wanted[0]  # before the first step, to the last bit
    assert rounded[-1] != wanted[-1]


def test_a_run_in_bf16_is_not_continued_in_float32(tmp_path, digits):
    trained("gan", digits, precision="bf16", out=tmp_path)
    model = models.create("gan", seed=0, shape=digits.shape, latent=3)
    with pytest.raises(ValueError, match="precision"):
        fit(model, digits, seed=0, **SETTINGS | {"steps": 9}, out=tmp_path)


def test_the_command_line_passes_both(tmp_path, monkeypatch, capsys, captured):
    monkeypatch.chdir(tmp_path)
    command = ["train", "gan", "--data", "ring", "--batch-size", "16", "--device", "cpu",
               "--quiet", "--steps", "3"]  # fmt: skip
    assert main([*command, "--compile", "--out", "compiled"]) == 0
    assert captured
    assert main([*command, "--precision", "bf16", "--out", "rounded"]) == 0
    _, about = checkpoints.load(Path("rounded") / checkpoints.FILE)
    assert about["precision"] == "bf16"
    assert main([*command, "--precision", "half"]) == 2
    assert "no precision 'half'" in capsys.readouterr().err
