"""Images per second of `fit` beside the loops of public projects, on the projects' own networks.

    python benchmarks/peers.py --pytorch-gan ~/PyTorch-GAN --pytorch-examples ~/examples
    pip install pythae && python benchmarks/peers.py --only pythae-vae pythae-iwae-5

Nothing of a project is kept here. Its own script runs, from a checkout that you name, with the
settings that it has by default; a clock in `DataLoader` starts after some batches, stops after some
more and ends the script. pythae is a package, so a few lines call its own trainer. `fit` then
trains a model of `unigen_edu` whose networks are made of the very layers of the project, on the
same images (MNIST, from `UNIGEN_DATA`) with the same batch size, timed between the same two steps.

Every round of a pair runs in a process of its own, so that no pair leaves anything to another; who
goes first alternates (the project's loop runs a few steps before, for its networks), and so does
the order of the ways of `fit`, every two rounds. The ratio is the median of those within a process.

Differences that remain: images of 32 pixels are made by the projects' loaders one at a time, and
beforehand for `fit`; `fit` draws images in [0, 1] where some projects have [-1, 1]; its adversarial
autoencoder has a likelihood where PyTorch-GAN has an absolute error; its InfoGAN recognises codes
with a network of its own where PyTorch-GAN shares all layers but the last with the discriminator,
so `fit` moves more parameters there. "bf16" is `fit` with what enters the products of a step
rounded to bfloat16 (`precision="bf16"`), for which many processors have instructions; the
parameters and Adam stay in float32, as the projects have everything. "compiled" is `fit` with the
whole step, Adam included, in one compiled function, once it is compiled. "joined" is `fit` on a
model whose generator has each doubling of the image in one layer with the convolution that follows,
with the same weights and the same function of them (`UpsampledConvolution`).
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.metadata
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.utils.data
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))
from throughput import ROOT, provenance

from unigen_edu import data, models
from unigen_edu.data import Dataset
from unigen_edu.declarations import Model
from unigen_edu.training import fit

WARM_UP = 20  # steps before the clock starts
MOST_STEPS = 400  # within the first epoch of every loop

Namespace = dict[str, Any]


class Finished(BaseException):
    """The clock has what it needs; no `except Exception` of a project catches it."""


class Clock:
    """Counts the batches that a project's loop takes, and the seconds from one to another."""

    def __init__(self, warm_up: int, steps: int):
        self.first, self.last = warm_up, warm_up + steps
        self.taken = 0
        self.started = self.seconds = 0.0

    def tick(self) -> None:
        if self.taken == self.first:
            self.started = time.perf_counter()
        if self.taken == self.last:
            self.seconds = time.perf_counter() - self.started
            raise Finished
        self.taken += 1

    @contextlib.contextmanager
    def in_loaders(self) -> Iterator[None]:
        """Within, every `DataLoader` asks the clock before it hands out a batch."""
        loader: Any = torch.utils.data.DataLoader
        original = loader.__iter__

        def ticking(self_: Any) -> Iterator[Any]:
            for batch in original(self_):
                self.tick()
                yield batch

        loader.__iter__ = ticking
        try:
            yield
        finally:
            loader.__iter__ = original


def run_script(script: Path, folder: Path, clock: Clock) -> Namespace:
    """Run a project's script in `folder` until the clock ends it; returns its names."""
    names: Namespace = {"__name__": "__main__", "__file__": str(script)}
    code = compile(script.read_text(encoding="utf-8"), str(script), "exec")
    folder.mkdir(parents=True, exist_ok=True)
    arguments, before = sys.argv, Path.cwd()
    sys.argv = [script.name]
    os.chdir(folder)
    try:
        with clock.in_loaders(), contextlib.redirect_stdout(io.StringIO()):
            exec(code, names)
    except Finished:
        pass
    finally:
        sys.argv = arguments
        os.chdir(before)
    return names


# ---- the same networks ---------------------------------------------------------------------------


def side_by_side(first: nn.Linear, second: nn.Linear) -> nn.Linear:
    """One layer with the outputs of both, as `Encoder` has for mean and log-variance."""
    both = nn.Linear(first.in_features, first.out_features + second.out_features)
    with torch.no_grad():
        both.weight.copy_(torch.cat([first.weight, second.weight]))
        both.bias.copy_(torch.cat([first.bias, second.bias]))
    return both


def gan(names: Namespace) -> Model:
    generator, discriminator = names["generator"], names["discriminator"]
    model: Any = models.create("gan", latent=100)
    model.generator.body = nn.Sequential(*generator.model[:-1], nn.Unflatten(1, (1, 28, 28)))
    model.discriminator.body = nn.Sequential(nn.Flatten(), *discriminator.model[:-1])
    return model


def aae(names: Namespace) -> Model:
    encoder, decoder = names["encoder"], names["decoder"]
    model: Any = models.create("aae", shape=(1, 32, 32), latent=10, posterior="gaussian")
    last = side_by_side(encoder.mu, encoder.logvar)
    model.encoder.body = nn.Sequential(nn.Flatten(), *encoder.model, last)
    model.decoder.body = nn.Sequential(*decoder.model[:-1], nn.Unflatten(1, (1, 32, 32)))
    model.discriminator.body = nn.Sequential(*names["discriminator"].model[:-1])
    return model


def convolutional_generator(generator: nn.Module) -> nn.Sequential:
    """The layers of PyTorch-GAN's generators of 32x32 images, without the last activation."""
    first, *rest = generator.conv_blocks[:-1]  # type: ignore[index]
    return nn.Sequential(generator.l1, nn.Unflatten(1, (128, 8, 8)), first, *rest)


class UpsampledConvolution(nn.Module):
    """`nn.Upsample(scale_factor=2)` and a 3x3 convolution after it, as one transposed convolution.

    A doubled pixel meets two weights of the convolution in the same place, so these can be added
    first: 4 products for a pixel and a pair of channels in place of 9. The function of the image
    and of the weights is the same, and the weights are the convolution's own.
    """

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        rows = [[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
        self.register_buffer("meets", torch.tensor(rows))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        added = torch.einsum("ka,oiab,lb->iokl", self.meets, self.weight, self.meets)
        if x.is_contiguous(memory_format=torch.channels_last):
            added = added.contiguous(memory_format=torch.channels_last)
        return F.conv_transpose2d(x, added, self.bias, stride=2, padding=1)


def joined_upsampling(layers: nn.Sequential) -> nn.Sequential:
    """The same layers, with each upsampling joined to the convolution that follows."""
    found: list[nn.Module] = []
    for layer in layers:
        if found and isinstance(found[-1], nn.Upsample):
            layer = UpsampledConvolution(layer)  # type: ignore[arg-type]
            found[-1] = layer
        else:
            found.append(layer)
    return nn.Sequential(*found)


def dcgan(names: Namespace) -> Model:
    discriminator = names["discriminator"]
    model: Any = models.create("gan", shape=(1, 32, 32), latent=100)
    model.generator.body = convolutional_generator(names["generator"])
    model.discriminator.body = nn.Sequential(
        *discriminator.model, nn.Flatten(), discriminator.adv_layer[0]
    )
    return model


def infogan(names: Namespace) -> Model:
    discriminator = names["discriminator"]
    model: Any = models.create("infogan", shape=(1, 32, 32), latent=62, categories=10, continuous=2)
    model.generator.body = convolutional_generator(names["generator"])
    trunk = [*discriminator.conv_blocks, nn.Flatten()]
    model.discriminator.body = nn.Sequential(*trunk, discriminator.adv_layer[0])
    codes = side_by_side(discriminator.aux_layer[0], discriminator.latent_layer[0])
    model.recogniser.body = nn.Sequential(*copy.deepcopy(trunk), codes)
    return model


def vae(names: Namespace) -> Model:
    theirs = names["model"]
    model: Any = models.create("vae", latent=20)
    model.encoder.body = nn.Sequential(
        nn.Flatten(), theirs.fc1, nn.ReLU(), side_by_side(theirs.fc21, theirs.fc22)
    )
    model.decoder.body = nn.Sequential(
        theirs.fc3, nn.ReLU(), theirs.fc4, nn.Unflatten(1, (1, 28, 28))
    )
    return model


def pythae_networks(name: str, **options: Any) -> Callable[[Namespace], Model]:
    def build(names: Namespace) -> Model:
        theirs = names["model"]
        model: Any = models.create(name, latent=theirs.latent_dim, **options)
        model.encoder.body = nn.Sequential(
            nn.Flatten(),
            *theirs.encoder.layers,
            side_by_side(theirs.encoder.embedding, theirs.encoder.log_var),
        )
        first, (last, *_) = theirs.decoder.layers
        model.decoder.body = nn.Sequential(first, last, nn.Unflatten(1, (1, 28, 28)))
        if name == "aae":
            # Their layers end in a probability; the loss here takes the logit.
            *hidden, end = theirs.discriminator.layers
            model.discriminator.body = nn.Sequential(*hidden, end[0])
        return model

    return build


def pythae_trainer(name: str, latent: int = 10, **settings: Any) -> Callable[[Clock], Namespace]:
    """A call that trains with pythae until the clock ends it."""

    def run(clock: Clock) -> Namespace:
        from pythae import models as theirs  # type: ignore[import-not-found]
        from pythae.pipelines import TrainingPipeline  # type: ignore[import-not-found]
        from pythae.trainers import (  # type: ignore[import-not-found]
            AdversarialTrainerConfig,
            BaseTrainerConfig,
        )

        configuration = getattr(theirs, f"{name}_Config" if "_" in name else f"{name}Config")(
            input_dim=(1, 28, 28), latent_dim=latent, reconstruction_loss="bce", **settings
        )
        model = getattr(theirs, name)(configuration)
        trainer = AdversarialTrainerConfig if name == "Adversarial_AE" else BaseTrainerConfig
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            training = trainer(
                output_dir=folder, per_device_train_batch_size=64, num_epochs=1, no_cuda=True
            )
            pipeline = TrainingPipeline(training_config=training, model=model)
            images = data.load("mnist", "train").images().numpy()
            with contextlib.suppress(Finished), clock.in_loaders():
                pipeline(train_data=images)
        return {"model": model}

    return run


# ---- the pairs -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """A project's loop and the model of `unigen_edu` that is to do the same.

    Attributes:
        project: name of the project.
        build: our model, of the layers that the project's loop left behind.
        target: the ratio that `fit` should reach.
        batch_size: of the project.
        side: of the images, in pixels.
        script: within the project's checkout; "" for a package.
        train: for a package, what runs its trainer.
        compiled: `fit` is timed with `compile=True` as well.
        upsamples: the generator does, and `fit` is timed with joined upsampling as well.
    """

    project: str
    build: Callable[[Namespace], Model]
    target: float | None
    batch_size: int = 64
    side: int = 28
    script: str = ""
    train: Callable[[Clock], Namespace] | None = None
    compiled: bool = False
    upsamples: bool = False


PAIRS = {
    "gan": Pair("PyTorch-GAN", gan, 2.4, script="implementations/gan/gan.py", compiled=True),
    "aae": Pair(
        "PyTorch-GAN", aae, 2.8, side=32, script="implementations/aae/aae.py", compiled=True
    ),
    "dcgan": Pair(
        "PyTorch-GAN",
        dcgan,
        2.0,
        side=32,
        script="implementations/dcgan/dcgan.py",
        upsamples=True,
    ),
    "infogan": Pair(
        "PyTorch-GAN",
        infogan,
        1.4,
        side=32,
        script="implementations/infogan/infogan.py",
        upsamples=True,
    ),
    "vae": Pair("pytorch/examples", vae, 3.3, batch_size=128, script="vae/main.py", compiled=True),
    "pythae-vae": Pair(
        "pythae", pythae_networks("vae"), None, train=pythae_trainer("VAE"), compiled=True
    ),
    "pythae-aae": Pair(
        "pythae",
        pythae_networks("aae", posterior="gaussian"),
        None,
        train=pythae_trainer("Adversarial_AE"),
        compiled=True,
    ),
    **{
        f"pythae-iwae-{k}": Pair(
            "pythae",
            pythae_networks("iwae", k=k),
            target,
            train=pythae_trainer("IWAE", number_samples=k),
            compiled=True,
        )
        for k, target in ((5, 1.75), (10, 1.5), (50, 1.2))
    },
}


def images(side: int) -> Dataset:
    """MNIST with the size that the project gives it."""
    whole = data.load("mnist", "train")
    if side == whole.shape[-1]:
        return whole
    larger = [
        F.interpolate(part.float(), (side, side), mode="bilinear", antialias=True)
        for part in whole.x.split(10_000)
    ]
    return Dataset(torch.cat(larger).round().to(torch.uint8), whole.labels, name=f"mnist {side}")


def ours(
    pair: Pair,
    names: Namespace,
    steps: int,
    joined: bool = False,
    **options: Any,
) -> float:
    """Images per second of `fit` between two steps."""
    at: dict[int, float] = {}

    def look(model: Model, step: int) -> None:
        at[step] = time.perf_counter()

    model: Any = pair.build(names)
    if joined:
        model.generator.body = joined_upsampling(model.generator.body)
    every = WARM_UP + steps
    fit(
        model, images(pair.side), steps=every, batch_size=pair.batch_size, device="cpu",
        progress=False, watch=look, watch_every=WARM_UP, **options,
    )  # fmt: skip
    return round(steps * pair.batch_size / (at[every] - at[WARM_UP]), 1)


def theirs(pair: Pair, checkout: Path | None, steps: int) -> tuple[float, Namespace]:
    """Images per second of the project's loop, and its names."""
    clock = Clock(WARM_UP, steps)
    if pair.train is not None:
        names = pair.train(clock)
    else:
        assert checkout is not None
        with tempfile.TemporaryDirectory() as place:
            for folder in (Path(place, "data"), Path(place, "data", "mnist")):
                folder.mkdir(parents=True)  # where these scripts look for MNIST
                (folder / "MNIST").symlink_to(mnist_folder())
            inside = Path(place, *Path(pair.script).parent.parts)
            names = run_script(checkout / pair.script, inside, clock)
    return round(steps * pair.batch_size / clock.seconds, 1) if clock.seconds else 0.0, names


def mnist_folder() -> Path:
    """The files of MNIST, which the project's script would otherwise download."""
    for place in (os.environ.get("UNIGEN_DATA"), data.cache_folder()):
        if place and (Path(place).expanduser() / "MNIST" / "raw").is_dir():
            return (Path(place).expanduser() / "MNIST").resolve()
    raise SystemExit("MNIST is not on this machine: set UNIGEN_DATA to a folder with MNIST/raw.")


def ways_of(pair: Pair) -> dict[str, dict[str, Any]]:
    """The ways of `fit` that a pair is timed with, and the options of each."""
    ways: dict[str, dict[str, Any]] = {"fit": {}, "fit, bf16": {"precision": "bf16"}}
    if pair.compiled:
        ways["fit, compiled"] = {"compile": True}
        ways["fit, compiled, bf16"] = {"compile": True, "precision": "bf16"}
    if pair.upsamples:
        ways["fit, joined"] = {"joined": True}
    return ways


def one(name: str, checkout: Path | None, steps: int, number: int) -> dict[str, float]:
    """Images per second of both, in this process, in an order of round `number`'s own."""
    pair = PAIRS[name]
    torch.manual_seed(0)
    rates: dict[str, float] = {}
    # Within four rounds each way comes as early and as late as any other, and as near to theirs.
    theirs_first, reverse = number % 2 == 1, number // 2 % 2 == 1
    ways = list(ways_of(pair).items())
    # Its networks are those of a loop that was stopped after the steps that warm up.
    _, names = theirs(pair, checkout, steps=0)
    if theirs_first:
        rates["theirs"] = theirs(pair, checkout, steps)[0]
    for way, options in reversed(ways) if reverse else ways:
        rates[way] = ours(pair, names, steps, **options)
    if not theirs_first:
        rates["theirs"] = theirs(pair, checkout, steps)[0]
    return rates


def version(pair: Pair, checkout: Path | None) -> str:
    if checkout is None:
        return importlib.metadata.version(pair.project)
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description="fit beside the loops of public projects.")
    parser.add_argument("--pytorch-gan", type=Path, help="checkout of eriklindernoren/PyTorch-GAN")
    parser.add_argument("--pytorch-examples", type=Path, help="checkout of pytorch/examples")
    parser.add_argument("--only", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--steps", type=int, default=100, help="steps of each measurement")
    parser.add_argument(
        "--rounds", type=int, default=4, help="processes for each pair, best a multiple of 4"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmark_peers.json")
    parser.add_argument("--round", type=int, help=argparse.SUPPRESS)  # in a process of its own
    given = parser.parse_args()
    checkouts = {"PyTorch-GAN": given.pytorch_gan, "pytorch/examples": given.pytorch_examples}
    if given.steps % WARM_UP or not 0 < given.steps <= MOST_STEPS:
        parser.error(f"--steps must be a multiple of {WARM_UP}, at most {MOST_STEPS}")
    if given.round is not None:
        (name,) = given.only
        checkout = checkouts.get(PAIRS[name].project)
        rates = one(name, checkout, given.steps, given.round)
        print(json.dumps(rates))
        return 0

    # Pairs that are not measured now keep what was measured before; each has its own provenance.
    found: dict[str, Any] = {}
    if given.out.exists():
        found = json.loads(given.out.read_text(encoding="utf-8"))["pairs"]
    for name in given.only:
        pair = PAIRS[name]
        checkout = checkouts.get(pair.project)
        if pair.script and (checkout is None or not (checkout / pair.script).is_file()):
            option = "--pytorch-gan" if pair.project == "PyTorch-GAN" else "--pytorch-examples"
            print(f"{name}: left out; give a checkout of {pair.project} with {option}.")
            continue
        if not pair.script and importlib.util.find_spec(pair.project) is None:
            print(f"{name}: left out; pip install {pair.project}.")
            continue
        rounds: list[dict[str, float]] = []
        measured_on = provenance(torch.device("cpu"))
        for number in range(given.rounds):
            command = [sys.executable, __file__, "--only", name, "--steps", str(given.steps)]
            command += ["--round", str(number)]
            if checkout is not None:
                option = "--pytorch-gan" if pair.project == "PyTorch-GAN" else "--pytorch-examples"
                command += [option, str(checkout.resolve())]
            said = subprocess.run(
                command, stdout=subprocess.PIPE, text=True, check=False,
                # Compilers beside the process would still be starting when the clock does.
                env={
                    **os.environ,
                    "CUDA_VISIBLE_DEVICES": "",
                    "TORCHINDUCTOR_COMPILE_THREADS": "1",
                },
            )  # fmt: skip
            if said.returncode:
                return said.returncode  # it has said why
            rounds.append(json.loads(said.stdout.splitlines()[-1]))
        ways = list(ways_of(pair))
        ratios = {
            way: round(statistics.median(r[way] / r["theirs"] for r in rounds), 3) for way in ways
        }
        found[name] = {
            "project": pair.project,
            "version": version(pair, checkout),
            "batch_size": pair.batch_size,
            "images_per_second": {
                way: statistics.median(r[way] for r in rounds) for way in ("theirs", *ways)
            },
            "over_theirs": ratios,
            "target": pair.target,
            "rounds": rounds,
            "settings": {"steps": given.steps, "rounds": given.rounds, "warm_up": WARM_UP},
            **measured_on,
        }
        given.out.write_text(json.dumps({"pairs": found}, indent=2) + "\n", encoding="utf-8")
        shown = ", ".join(f"{way} {ratio:.2f}" for way, ratio in ratios.items())
        print(f"{name:<15} {shown} times {pair.project} (target {pair.target})", flush=True)
    print(given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
