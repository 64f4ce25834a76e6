"""`fit` is the loop of the book: the same numbers, resumable to the bit, and it fails loudly."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.waiting import operations_that_wait
from unigen_edu import checkpoints, models, training
from unigen_edu.checkpoints import parameter_checksum
from unigen_edu.data import Dataset
from unigen_edu.declarations import Batch, Loss, Model
from unigen_edu.errors import UnigenError
from unigen_edu.models.gan import GAN
from unigen_edu.models.iwgan import IWGAN
from unigen_edu.models.vae import VAE
from unigen_edu.training import History, Interrupted, fit, pick_device

ALL = ("gan", "iwgan", "vae")
INF, NAN = float("inf"), float("nan")
QUIET: dict[str, Any] = {"device": "cpu", "progress": False, "batch_size": 8}

on_cuda = pytest.param(
    "cuda",
    marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
)
on_mps = pytest.param(
    "mps",
    marks=pytest.mark.skipif(
        not torch.backends.mps.is_available(), reason="there is no MPS device"
    ),
)
EVERY_DEVICE = ("cpu", on_cuda, on_mps)


def one_sentence(caught: pytest.ExceptionInfo[BaseException]) -> str:
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert len(message) < 400
    return message


def same_run(left: History, right: History) -> None:
    """Everything but the times."""
    assert left.steps == right.steps
    assert left.terms == right.terms


class Trace(Dataset):
    """A data set that writes down which samples were asked for."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.asked: list[list[int]] = []

    def images(self, idx: Any = None) -> Tensor:
        if isinstance(idx, Tensor):
            self.asked.append(idx.tolist())
        return super().images(idx)


# ---- the numbers ---------------------------------------------------------------------------------


def plain_gan(model: GAN, images: list[Tensor], d_lr: float = 5e-4) -> None:
    """The loop as a textbook prints it: backward, zero_grad, Adam as PyTorch sets it up."""
    d_steps = torch.optim.Adam(model.discriminator.parameters(), lr=d_lr, betas=(0.5, 0.999))
    g_steps = torch.optim.Adam(model.generator.parameters(), lr=5e-4, betas=(0.5, 0.999))
    k = getattr(model, "k", 1)
    for x in images:
        z = torch.randn(len(x) * k, 3, dtype=torch.float64)
        fakes = model.generator(z)
        model.zero_grad()
        real = torch.log(torch.sigmoid(model.discriminator(x))).mean()
        first = fakes[::k].detach()
        fake = torch.log(1 - torch.sigmoid(model.discriminator(first))).mean()
        (-(real + fake) / 2).backward()
        d_steps.step()
        model.zero_grad()
        d = torch.sigmoid(model.discriminator(fakes)).reshape(len(x), k)
        ratio = (d / (1 - d)).detach()  # q^r(0|x) / q(0|x)
        weights = ratio / ratio.sum(1, keepdim=True)
        (-(weights * torch.log(d)).sum() / len(x) / 2).backward()
        g_steps.step()


def plain_vae(model: VAE, images: list[Tensor]) -> None:
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for x in images:
        optimiser.zero_grad()
        mean, log_var = model.encoder.body(x).chunk(2, 1)
        z = mean + torch.exp(log_var / 2) * torch.randn(len(x), 3, dtype=torch.float64)
        x_hat = torch.sigmoid(model.decoder.body(z))
        loss = F.binary_cross_entropy(x_hat, x, reduction="sum")
        loss = loss - 0.5 * (1 + log_var - mean**2 - log_var.exp()).sum()
        (loss / len(x)).backward()
        optimiser.step()


@pytest.mark.parametrize(("name", "d_lr"), [*((name, None) for name in ALL), ("iwgan", 2e-3)])
def test_fit_is_the_plain_loop(name, d_lr, digits, small):
    data = Trace(digits.x, digits.labels)
    fitted = small(name).double()
    start = {key: value.clone() for key, value in fitted.state_dict().items()}
    lr = None if d_lr is None else {"discriminator": d_lr}
    fit(fitted, data, steps=5, seed=3, lr=lr, **QUIET)

    plain = small(name).double()
    plain.load_state_dict(start)
    plain.train()
    images = [digits.x[index].double() / 255 for index in data.asked]
    # float32 images are what a data set hands out; keep their rounding.
    images = [x.float().double() for x in images]
    torch.manual_seed(training.stream_seed(3, "noise"))
    if name == "vae":
        plain_vae(plain, images)
    else:
        plain_gan(plain, images, d_lr or 5e-4)

    moved = 0.0
    for key, value in plain.state_dict().items():
        assert torch.allclose(fitted.state_dict()[key].double(), value.double(), atol=1e-12, rtol=0)
        moved = max(moved, float((value - start[key]).abs().max()))
    assert moved > 1e-3


class OnlyDiscriminator(GAN):
    phases = GAN.phases[:1]


class OnlyGenerator(GAN):
    phases = GAN.phases[1:]


class OnlyGeneratorWeighted(IWGAN):
    phases = IWGAN.phases[1:]


@pytest.mark.parametrize("model_class", [OnlyDiscriminator, OnlyGenerator, OnlyGeneratorWeighted])
def test_a_phase_moves_what_it_declares_and_nothing_else(model_class, digits):
    torch.manual_seed(0)
    model = model_class(shape=(1, 4, 4), latent=3)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    fit(model, digits, steps=3, **QUIET)
    for name, value in model.named_parameters():
        declared = name.split(".")[0] in model.phases[0].moves
        assert torch.equal(value, before[name]) is not declared, name
        assert value.grad is None


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(digits, small):
    def run(seed: int) -> tuple[str, History]:
        torch.manual_seed(run_number := len(found))  # whatever the caller did before
        torch.rand(run_number + 1)
        model = small("gan")
        history = fit(model, digits, steps=6, seed=seed, log_every=2, **QUIET)
        return parameter_checksum(model), history

    found: list[tuple[str, History]] = []
    for seed in (0, 0, 1):
        found.append(run(seed))
    assert found[0][0] == found[1][0] != found[2][0]
    same_run(found[0][1], found[1][1])
    assert found[0][1].terms != found[2][1].terms


def test_the_first_noise_is_no_function_of_the_first_weights(digits):
    # With one seed for both, normal draws are a known function of the uniform ones (Box-Muller).
    seen: list[Tensor] = []

    class Peek(GAN):
        def generated(self, batch: Batch) -> Any:
            sample = super().generated(batch)
            seen.append(sample.value.detach().clone())
            return sample

    torch.manual_seed(0)
    model = Peek(shape=(2,), latent=64)
    points = Dataset(torch.zeros(8, 2), name="points")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        from_the_same_bits = model.generator(torch.randn(8, 64)).detach()
    fit(model, points, steps=1, seed=0, **QUIET)
    assert (seen[0] - from_the_same_bits).abs().max() > 1e-3


@pytest.mark.usefixtures("nobody_else_is_hit")
def test_the_callers_random_numbers_are_left_alone(digits, small, tmp_path):
    failing = Breaks(shape=(1, 4, 4), latent=3, at=1)
    state = torch.get_rng_state()

    def interrupt(model: Model, step: int) -> None:
        torch.rand(3)
        os.kill(os.getpid(), signal.SIGINT)

    fit(small("vae"), digits, steps=2, **QUIET)
    with pytest.raises(Interrupted):
        fit(small("gan"), digits, steps=9, watch=interrupt, out=tmp_path, **QUIET)
    with pytest.raises(UnigenError):
        fit(failing, digits, steps=3, **QUIET)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_epoch_visits_each_sample_at_most_once_and_in_a_new_order(digits):
    class Labelled(VAE):
        def variational_loss(self, batch: Batch) -> Loss:
            assert torch.equal(batch.x, digits.images(batch.label))
            return super().variational_loss(batch)

    data = Trace(digits.x, digits.labels)
    fit(Labelled(shape=(1, 4, 4), latent=3), data, steps=6, seed=0, **QUIET)
    epochs = [data.asked[2 * i] + data.asked[2 * i + 1] for i in range(3)]
    for epoch in epochs:
        assert len(epoch) == len(set(epoch)) == 16  # 21 samples: two whole batches of 8
        assert set(epoch) <= set(range(21))
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert len({frozenset(epoch) for epoch in epochs}) > 1  # the rest changes from epoch to epoch


def test_terms_are_means_over_the_interval(digits, small):
    each = fit(small("gan"), digits, steps=7, log_every=1, **QUIET)
    some = fit(small("gan"), digits, steps=7, log_every=3, **QUIET)
    assert each.steps == [1, 2, 3, 4, 5, 6, 7]
    assert some.steps == [3, 6, 7]
    assert set(some.terms) == {
        "discriminator/loss",
        "discriminator/D(data)",
        "discriminator/D(generated)",
        "discriminator/gradient norm",
        "generator/loss",
        "generator/gradient norm",
    }
    for name, values in each.terms.items():
        means = [sum(values[:3]) / 3, sum(values[3:6]) / 3, values[6]]
        assert some.terms[name] == pytest.approx(means, rel=1e-6)


def test_the_gradient_norm_is_that_of_the_moved_parameters(digits, small):
    model = small("vae")
    twin = small("vae")
    history = fit(model, Dataset(digits.x[:8]), steps=1, seed=5, **QUIET)
    generator = torch.Generator().manual_seed(training.stream_seed(5, "order"))
    order = torch.randperm(8, generator=generator)
    torch.manual_seed(training.stream_seed(5, "noise"))
    twin.loss("variational", Batch(digits.images(order))).value.backward()
    norm = torch.cat([p.grad.flatten() for p in twin.parameters()]).norm()
    assert history.terms["variational/gradient norm"] == pytest.approx([float(norm)], rel=1e-5)


def test_history_counts_images_and_survives_json(digits, small):
    history = fit(small("vae"), digits, steps=4, **QUIET)
    assert history.images_per_second == pytest.approx(4 * 8 / history.seconds)
    assert History.from_json(history.to_json()) == history
    assert (history.seed, history.device, history.batch_size) == (0, "cpu", 8)


@pytest.mark.parametrize("name", ["gan", "vae"])
def test_adam_pairs_each_gradient_with_its_own_parameter(name):
    # On the CPU, fused Adam pairs the wrong elements when the strides of the two differ, as they
    # do for a convolution whose weight is stored with two axes exchanged.
    def turned(model: Model) -> Model:
        for parameter in model.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.transpose(0, 1).contiguous().transpose(0, 1)
        return model

    x = torch.randint(0, 256, (16, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    data = Dataset(x.to(torch.uint8))
    plain = models.create(name, network="conv", latent=3).double()
    other = turned(models.create(name, network="conv", latent=3).double())
    fit(plain, data, steps=2, **QUIET)
    fit(other, data, steps=2, **QUIET)
    for left, right in zip(plain.parameters(), other.parameters(), strict=True):
        assert torch.allclose(left, right, atol=1e-9, rtol=0)


# ---- watching ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_watching_does_not_change_the_run(name, digits, small):
    seen: list[int] = []

    def watch(model: Model, step: int) -> dict[str, float]:
        seen.append(step)
        assert not model.training
        assert not torch.is_grad_enabled()
        return {"mean": model.sample(2).mean(), "draw": torch.rand(()).item()}

    alone, watched, again = small(name), small(name), small(name)
    quiet = fit(alone, digits, steps=5, log_every=2, **QUIET)
    history = fit(watched, digits, steps=5, log_every=2, watch=watch, watch_every=2, **QUIET)
    assert parameter_checksum(alone) == parameter_checksum(watched)
    same_run(quiet, history)
    assert seen == history.watched_steps == [0, 2, 4, 5]
    assert len(set(history.watched["draw"])) == 4
    repeat = fit(again, digits, steps=5, watch=watch, watch_every=2, **QUIET)
    assert repeat.watched == history.watched
    assert not watched.training


# ---- stopping and going on -----------------------------------------------------------------------


@pytest.fixture
def nobody_else_is_hit():
    """Turn a signal that `fit` lets through into a failure; unhandled, it would end pytest."""

    def missed(number: int, frame: object) -> None:
        raise AssertionError(f"signal {number} was not caught by fit")

    before = {s: signal.signal(s, missed) for s in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def kill_at(step: int, number: int):
    def watch(model: Model, now: int) -> dict[str, float]:
        if now == step:
            os.kill(os.getpid(), number)
        return {"step": now}

    return watch


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(),
    reason="signals reach the main thread only",
)
@pytest.mark.usefixtures("nobody_else_is_hit")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ALL)
def test_a_stopped_run_goes_on_to_the_same_bits(name, number, digits, small, tmp_path):
    options = {**QUIET, "steps": 9, "log_every": 2, "watch_every": 3}
    whole = small(name)
    never = fit(whole, digits, watch=kill_at(-1, number), **options)

    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted, match="after step 3") as caught:
        fit(small(name), digits, watch=kill_at(3, number), out=tmp_path, **options)
    assert caught.value.step == checkpoints.step_of(caught.value.checkpoint) == 3
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers

    other_start = small(name, **{}).requires_grad_(True)
    with torch.no_grad():  # what the model was before does not matter
        for parameter in other_start.parameters():
            parameter.zero_()
    history = fit(other_start, digits, watch=kill_at(-1, number), out=tmp_path, **options)
    assert parameter_checksum(other_start) == parameter_checksum(whole)
    same_run(history, never)
    assert history.watched == never.watched
    assert history.watched_steps == [0, 3, 6, 9]


def test_convolutions_go_on_to_the_same_bits(tmp_path):
    x = torch.randint(0, 256, (16, 1, 28, 28), generator=torch.Generator().manual_seed(1))
    digits = Dataset(x.to(torch.uint8))

    def model() -> Model:
        return models.create("gan", seed=0, network="conv", latent=3)

    whole = model()
    fit(whole, digits, steps=6, **QUIET)
    fit(model(), digits, steps=3, out=tmp_path, **QUIET)
    resumed = model()
    fit(resumed, digits, steps=6, out=tmp_path, **QUIET)
    assert parameter_checksum(resumed) == parameter_checksum(whole)
    # The case is not empty: moments have another layout in the file than beside their parameter.
    assert any(p.dim() == 4 and not p.is_contiguous() for p in whole.parameters())


@pytest.mark.usefixtures("nobody_else_is_hit")
def test_a_second_interrupt_stops_at_once(digits, small, tmp_path):
    def twice(model: Model, step: int) -> None:
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("the second interrupt was ignored")

    with pytest.raises(KeyboardInterrupt) as caught:
        fit(small("gan"), digits, steps=4, watch=twice, watch_every=2, out=tmp_path, **QUIET)
    assert not isinstance(caught.value, Interrupted)
    assert not (tmp_path / checkpoints.FILE).exists()


KILLED = """
import os, signal, sys
import torch
from unigen_edu import models
from unigen_edu.data import Dataset
from unigen_edu.training import fit

torch.set_num_threads(1)
x = torch.randint(0, 256, (21, 1, 4, 4), generator=torch.Generator().manual_seed(1))
data = Dataset(x.to(torch.uint8), torch.arange(21), name="digits")

def watch(model, step):
    if step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

fit(models.create("gan", shape=(1, 4, 4), latent=3), data, steps=9, log_every=2, watch=watch,
    watch_every=1, checkpoint_seconds=0.0, out=sys.argv[1], device="cpu", batch_size=8,
    progress=False)
"""


def test_a_killed_run_goes_on_to_the_same_bits(digits, small, tmp_path):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert checkpoints.step_of(tmp_path / checkpoints.FILE) == 4

    whole, resumed = small("gan"), small("gan")
    never = fit(whole, digits, steps=9, log_every=2, **QUIET)
    history = fit(resumed, digits, steps=9, log_every=2, out=tmp_path, **QUIET)
    assert parameter_checksum(resumed) == parameter_checksum(whole)
    same_run(history, never)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("log_every", [4, 6, 50])
def test_an_extended_run_is_a_long_run(name, log_every, digits, small, tmp_path):
    whole, extended = small(name), small(name)
    long = fit(whole, digits, steps=10, log_every=log_every, **QUIET)
    fit(extended, digits, steps=6, log_every=log_every, out=tmp_path, **QUIET)
    history = fit(extended, digits, steps=10, log_every=log_every, out=tmp_path, **QUIET)
    assert parameter_checksum(extended) == parameter_checksum(whole)
    same_run(history, long)


def test_a_finished_run_is_not_trained_again(digits, small, tmp_path):
    model = small("vae")
    history = fit(model, digits, steps=4, out=tmp_path, **QUIET)
    checksum = parameter_checksum(model)
    before = (tmp_path / checkpoints.FILE).read_bytes()
    again = fit(model, digits, steps=4, out=tmp_path, **QUIET)
    assert parameter_checksum(model) == checksum
    assert again == history
    assert (tmp_path / checkpoints.FILE).read_bytes() == before


def test_resume_false_starts_again(digits, small, tmp_path):
    first, second = small("vae"), small("vae")
    fit(first, digits, steps=4, out=tmp_path, **QUIET)
    fit(second, digits, steps=2, out=tmp_path, resume=False, **QUIET)
    fresh = small("vae")
    fit(fresh, digits, steps=2, **QUIET)
    assert parameter_checksum(second) == parameter_checksum(fresh)
    assert checkpoints.step_of(tmp_path / checkpoints.FILE) == 2


# ---- the guard -----------------------------------------------------------------------------------


class Breaks(GAN):
    """A GAN whose generator step number `at` is not finite, in its loss or in its gradient."""

    def __init__(self, at: int = 0, what: str = "loss", **options: Any):
        super().__init__(**options)
        self.calls, self.at, self.what = 0, at, what

    def generator_loss(self, batch: Batch) -> Loss:
        value, terms = super().generator_loss(batch)
        self.calls += 1
        if self.calls == self.at:
            if self.what == "loss":
                value = value * float("inf")
            else:  # d sqrt(u) at u = 0 is infinite, times 0 is NaN; the value stays what it was
                weight = next(self.generator.parameters())
                value = value + torch.sqrt((weight - weight).sum())
        return Loss(value, terms)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_value_that_is_not_finite_stops_the_run_and_spares_the_checkpoint(
    what, digits, small, tmp_path
):
    good = small("gan")
    fit(good, digits, steps=6, **QUIET)
    model = Breaks(at=7, what=what, shape=(1, 4, 4), latent=3)
    model.load_state_dict(small("gan").state_dict())
    path = tmp_path / checkpoints.FILE
    with pytest.raises(UnigenError) as caught:
        fit(model, digits, steps=20, out=tmp_path, checkpoint_seconds=0.0, **QUIET)
    message = one_sentence(caught)
    assert "phase 'generator'" in message
    assert "not finite at step 7" in message
    assert f"the last good checkpoint is {path} (step 6)" in message
    kept = small("gan")
    checkpoints.load_parameters(kept, checkpoints.load(path)[0], path)
    assert parameter_checksum(kept) == parameter_checksum(good)
    again = Breaks(at=2, what=what, shape=(1, 4, 4), latent=3)
    with pytest.raises(UnigenError, match="not finite at step 8"):  # the second after the sixth
        fit(again, digits, steps=20, out=tmp_path, **QUIET)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_the_guard_names_the_first_bad_step_when_it_looks_later(what, digits, tmp_path):
    model = Breaks(at=7, what=what, shape=(1, 4, 4), latent=3)
    with pytest.raises(UnigenError) as caught:
        fit(model, digits, steps=20, log_every=10, out=tmp_path, **QUIET)
    message = one_sentence(caught)
    # What is broken at 7 breaks the discriminator at 8: the first is the one to name.
    assert "phase 'generator' was not finite at step 7" in message
    assert "no checkpoint had been written" in message
    assert list(tmp_path.iterdir()) == []


def recorded(norm: Any = (1.0, 1.0), loss: Any = (2.0, 2.0)) -> training.Record:
    """Of two seeds and two phases: the discriminator's loss and the generator's gradient."""
    good = torch.ones(2)
    return training.record_of(
        [
            training.Measured("discriminator", {"loss": good}, torch.tensor(loss), good),
            training.Measured("generator", {"loss": good}, good, torch.tensor(norm)),
        ]
    )


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([{"norm": (1.0, INF)}, {"norm": (NAN, NAN)}], "'generator' of seed 3 .* at step 6;"),
        ([{"norm": (1.0, INF)}, {"loss": (NAN, 1.0)}], "'generator' of seed 3 .* at step 6;"),
        ([{}, {"loss": (INF, NAN)}], "'discriminator' of seed 8 .* at step 7;"),
        ([{}, {"loss": (1.0, INF), "norm": (INF, 1.0)}], "'generator' of seed 8 .* at step 7;"),
        ([{"loss": (1.0, NAN), "norm": (1.0, NAN)}], "'discriminator' of seed 3 .* at step 6;"),
    ],
)
def test_the_guard_names_phase_seed_and_step_of_a_stack(records, words):
    log = training.DeviceLog(["discriminator", "generator"], torch.device("cpu"), seeds=(8, 3))
    log.begin_after(4)
    log.add(recorded())
    log.raise_if_not_finite("")
    for changed in records:
        log.add(recorded(**changed))
    with pytest.raises(UnigenError, match=words):
        log.raise_if_not_finite("nothing was kept")


def test_terms_that_change_within_a_run_are_refused():
    log = training.DeviceLog(["discriminator", "generator"], torch.device("cpu"), seeds=(8, 3))
    log.add(recorded())
    with pytest.raises(UnigenError, match="terms of a loss changed"):
        log.add(recorded()._replace(names={"discriminator": ["loss"], "generator": ["loss"]}))


def test_parameters_that_overflow_are_never_saved(digits, small, tmp_path):
    with pytest.raises(UnigenError, match="was not finite after step 1; no checkpoint") as caught:
        fit(small("vae"), digits, steps=1, lr=1e39, out=tmp_path, **QUIET)
    one_sentence(caught)
    assert list(tmp_path.iterdir()) == []


def test_a_fresh_run_that_fails_does_not_call_an_old_checkpoint_its_own(digits, small, tmp_path):
    fit(small("gan"), digits, steps=2, out=tmp_path, **QUIET)
    before = (tmp_path / checkpoints.FILE).read_bytes()
    with pytest.raises(UnigenError, match="no checkpoint had been written"):
        fit(Breaks(at=1, shape=(1, 4, 4), latent=3), digits, steps=2, out=tmp_path,
            resume=False, **QUIET)  # fmt: skip
    assert (tmp_path / checkpoints.FILE).read_bytes() == before


# ---- no waiting for the device -------------------------------------------------------------------


def one_step(model: Model, data: Dataset, device: str = "cpu"):
    """A function that takes a step as `fit` does, made after one that sets up Adam's state."""
    target = pick_device(device)
    model.to(target).train()
    optimisers = training._optimisers(model, training.step_sizes(model, 1e-3), (0.5, 0.999), target)
    log = training.DeviceLog([phase.name for phase in model.phases], target)
    data = data.to(target)
    rows = training._rows(data, 8, 0, 0)

    def step() -> None:
        batch = training._batch(data, next(rows), torch.float32)
        log.add(training._step(model, batch, optimisers))

    step()
    return step


@pytest.mark.parametrize("name", ALL)
def test_no_step_waits_for_the_device(name, digits, small):
    step = one_step(small(name), digits)
    assert operations_that_wait(step) == []


def test_a_loss_that_waits_is_found(digits):
    class Waits(VAE):
        def variational_loss(self, batch: Batch) -> Loss:
            loss = super().variational_loss(batch)
            loss.value.item()
            return loss

    step = one_step(Waits(shape=(1, 4, 4), latent=3), digits)
    assert operations_that_wait(step) == ["aten::_local_scalar_dense"]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("device", [on_cuda])
def test_no_step_waits_for_a_real_device(device, name, digits, small):
    step = one_step(small(name), digits, device)
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    waited = None
    try:
        step()
    except RuntimeError as error:
        waited = error
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    assert waited is None


# ---- devices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("device", [on_cuda, on_mps])
def test_runs_repeat_and_resume_on_other_devices(device, name, network, tmp_path):
    x = torch.randint(0, 256, (64, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    data = Dataset(x.to(torch.uint8), name="noise")
    options = {"batch_size": 16, "device": device, "progress": False, "log_every": 3}
    runs = [models.create(name, network=network) for _ in range(3)]
    state = training._rng_state(pick_device(device))
    fit(runs[0], data, steps=8, **options)
    fit(runs[1], data, steps=8, **options)
    fit(runs[2], data, steps=4, out=tmp_path, **options)
    fit(runs[2], data, steps=8, out=tmp_path, **options)
    assert len({parameter_checksum(model) for model in runs}) == 1
    after = training._rng_state(pick_device(device))
    assert all(torch.equal(state[name], after[name]) for name in state)


@pytest.mark.parametrize("device", [on_mps, on_cuda])
def test_a_scalar_parameter_resumes_on_other_devices(device, tmp_path):
    points = Dataset(torch.randn(32, 2, generator=torch.Generator().manual_seed(0)))
    options = {"batch_size": 8, "device": device, "progress": False, "seed": 1}
    straight, resumed = (
        models.create("vae", shape=(2,), likelihood="gaussian", latent=2, seed=0) for _ in range(2)
    )
    fit(straight, points, steps=6, **options)
    fit(resumed, points, steps=3, out=tmp_path, **options)
    fit(resumed, points, steps=6, out=tmp_path, **options)
    wanted = straight.state_dict()
    for name, value in resumed.state_dict().items():
        torch.testing.assert_close(value, wanted[name], msg=name)


def test_auto_is_a_device_that_exists():
    chosen = pick_device("auto")
    if torch.cuda.is_available():
        assert chosen.type == "cuda"
    elif torch.backends.mps.is_available():
        assert chosen.type == "mps"
    else:
        assert chosen.type == "cpu"


def test_cudnns_setting_is_given_back(digits, small):
    before = torch.backends.cudnn.deterministic
    fit(small("vae"), digits, steps=1, **QUIET)
    assert torch.backends.cudnn.deterministic is before


# ---- bad input -----------------------------------------------------------------------------------


BAD_ARGUMENTS = {
    "steps is 0": {"steps": 0},
    "steps is -3": {"steps": -3},
    "batch_size is 0": {"batch_size": 0},
    "use a batch_size of at most 21": {"batch_size": 22},
    "log_every and watch_every": {"log_every": 0},
    "without watch": {"watch_every": 2},
    "lr is 0": {"lr": 0.0},
    "lr is nan": {"lr": float("nan")},
    "lr is -1": {"lr": -1.0},
    "lr is -2": {"lr": {"generator": -2.0}},
    "lr names the phase 'critic', but gan has: discriminator, generator": {"lr": {"critic": 1e-3}},
    "each of Adam's decay rates": {"betas": (0.9, 1.0)},
    "seed is -1": {"seed": -1},
    "seed is 9223372036854775808": {"seed": 2**63},
    "no device 'tpu'; choose one of": {"device": "tpu"},
    "no device 'meta'; choose one of": {"device": "meta"},
    "no device 'cuda:99' that PyTorch can use": {"device": "cuda:99"},
}


@pytest.mark.parametrize("words", BAD_ARGUMENTS)
def test_bad_arguments_are_one_sentence(words, digits, small, tmp_path):
    model = small("gan")
    checksum = parameter_checksum(model)
    with pytest.raises(UnigenError, match=re.escape(words)) as caught:
        fit(model, digits, **{"steps": 2, **QUIET, "out": tmp_path, **BAD_ARGUMENTS[words]})
    one_sentence(caught)
    assert parameter_checksum(model) == checksum
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_missing_is_one_sentence():
    with pytest.raises(UnigenError, match="no device 'cuda' that PyTorch can use") as caught:
        pick_device("cuda")
    one_sentence(caught)


class Scaled(Dataset):
    """Images as float32, as a careless reader may have normalised them."""

    def __init__(self, x: Tensor):
        super().__init__(torch.zeros(len(x), 2), name="scaled")
        self.x = x


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: 2 * x - 1, "pixel values from -"),
        (lambda x: x * 255, "images must lie in"),
        (lambda x: x.index_fill(0, torch.tensor([20]), float("nan")), "from nan to nan"),
        (lambda x: x.index_fill(0, torch.tensor([20]), -0.5), "from -0.5 to"),
        (lambda x: x.reshape(-1, 1, 2, 8), "was built for (1, 4, 4)"),
        (lambda x: x.reshape(-1, 16), "samples of shape (16,)"),
    ],
)
def test_data_that_do_not_fit_are_one_sentence(change, words, digits, small):
    with pytest.raises(UnigenError, match=re.escape(words)) as caught:
        fit(small("gan"), Scaled(change(digits.images())), steps=1, **QUIET)
    one_sentence(caught)


def test_a_phase_that_moves_what_is_not_there_is_one_sentence(digits):
    class Typo(GAN):
        phases = (GAN.phases[0].__class__("discriminator", ("critic",), "", "", "eq-none"),)

    with pytest.raises(UnigenError, match="moves 'critic'") as caught:
        fit(Typo(shape=(1, 4, 4)), digits, steps=1, **QUIET)
    one_sentence(caught)


def test_one_image_is_too_few_for_batch_normalisation(digits, small):
    with pytest.raises(UnigenError, match="batch_size of at least 2") as caught:
        fit(small("gan"), digits, steps=1, **{**QUIET, "batch_size": 1})
    one_sentence(caught)


@pytest.mark.parametrize("place", ["file", "file/run", "/proc/unigen/run"])
def test_a_folder_that_cannot_be_written_is_one_sentence(place, digits, small, tmp_path):
    # A file where a folder should be stops root as well, whom no permissions stop.
    (tmp_path / "file").write_text("precious")
    seen: list[int] = []
    with pytest.raises(UnigenError, match="cannot be written") as caught:
        fit(small("gan"), digits, steps=1, out=tmp_path / place,
            watch=lambda model, step: seen.append(step), **QUIET)  # fmt: skip
    one_sentence(caught)
    assert seen == []  # before anything was trained
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize(
    ("words", "name", "options"),
    [
        ("model is 'gan' there and 'vae' here", "vae", {}),
        ("config is", "wide gan", {}),
        ("seed is 0 there and 1 here", "gan", {"seed": 1}),
        ("batch_size is 8 there and 4 here", "gan", {"batch_size": 4}),
        ("lr is 0.0005 there and 0.01 here", "gan", {"lr": 0.01}),
        ("lr is 0.0005 there and {", "gan", {"lr": {"discriminator": 0.01}}),
        ("log_every is 50 there and 5 here", "gan", {"log_every": 5}),
        ("data is 'digits:train:21:", "gan", {"data": "others"}),
        ("already trained for 4 steps", "gan", {"steps": 3}),
    ],
)
def test_the_checkpoint_of_another_run_is_left_alone(words, name, options, digits, small, tmp_path):
    fit(small("gan"), digits, steps=4, out=tmp_path, **QUIET)
    before = (tmp_path / checkpoints.FILE).read_bytes()
    model = small("gan", latent=5) if name == "wide gan" else small(name)
    data = digits
    if options.pop("data", None):
        data = Dataset(255 - digits.x, digits.labels, name="digits")
    with pytest.raises(UnigenError, match=re.escape(words)) as caught:
        fit(model, data, **{"steps": 6, "out": tmp_path, **QUIET, **options})
    one_sentence(caught)
    assert (tmp_path / checkpoints.FILE).read_bytes() == before


def flip(content: bytes) -> bytes:
    middle = len(content) // 2  # the header is at the beginning, so this is a tensor's byte
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [flip, lambda content: content[:-7], lambda content: content[:100], lambda content: b""],
    ids=["one bit", "cut by seven bytes", "cut in the header", "empty"],
)
def test_a_damaged_checkpoint_is_refused_and_kept(damage, digits, small, tmp_path):
    path = tmp_path / checkpoints.FILE
    fit(small("gan"), digits, steps=2, out=tmp_path, **QUIET)
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    model = small("gan")
    checksum = parameter_checksum(model)
    with pytest.raises(UnigenError, match="is damaged") as caught:
        fit(model, digits, steps=4, out=tmp_path, **QUIET)
    one_sentence(caught)
    assert path.read_bytes() == damaged
    assert parameter_checksum(model) == checksum


def test_paths_may_be_strings(digits, small, tmp_path):
    fit(small("vae"), digits, steps=1, out=str(tmp_path / "a" / "b"), **QUIET)
    assert (Path(tmp_path) / "a" / "b" / checkpoints.FILE).is_file()
