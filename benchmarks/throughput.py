"""Images per second of `unigen_edu.training.fit` beside two loops on the same networks.

    python benchmarks/throughput.py                      # GAN, VAE and IWGAN on this machine's CPU
    python benchmarks/throughput.py --models gan --steps 300 --rounds 7 --device cuda --network conv

Three ways, four on an NVIDIA GPU, to do the same number of steps, on the same networks (those of
`models.create`), the same images, the same batch size and the same Adam settings:

plain   The loop of a textbook, written out below: PIL images through `ToTensor` and a `DataLoader`
        without workers, new fakes for each of the two steps of a GAN, real and generated images in
        two passes, `backward()` through everything that needs a gradient, Adam as PyTorch sets it
        up, and `.item()` on every loss at every step.
tight   No library at all: resident tensor, shuffled indices, one set of fakes a step, gradients of
        the moved parameters only, fused Adam, nothing recorded. What `fit` loses against it is the
        price of what it adds: recorded terms, gradient norms, the guard against NaN, checkpoints.
fit     `fit(model, data, ...)`, timed from call to return, its own set-up included.
graph   `fit(..., graph=True)`, likewise, on an NVIDIA GPU: each step is launched as one CUDA graph.

There the kernels are summed up as well: the share of the time of `fit` and `graph` in which the
device computes is what no launching could save. Take enough steps, `--steps 2000`, for the set-up
and the capture are part of the time.

The ways run in alternation and in a new order each round, so that a machine that slows down slows
all of them. The ratios are medians over rounds of the ratio *within* a round, once by the clock and
once by the processor time that the process was given; the second is the steadier where others use
the machine, and says nothing on a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import ToTensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from unigen_edu import data, models  # noqa: E402
from unigen_edu.data import Dataset  # noqa: E402
from unigen_edu.models.gan import GAN  # noqa: E402
from unigen_edu.models.iwgan import IWGAN  # noqa: E402
from unigen_edu.models.vae import VAE  # noqa: E402
from unigen_edu.training import fit, pick_device  # noqa: E402

# The fastest way of fit over plain: two CPU cores, and an H200.
TARGETS: dict[tuple[str, str], dict[str, float]] = {
    ("cpu", "mlp"): {"gan": 2.0, "vae": 1.5},
    ("cuda", "mlp"): {"gan": 10.0, "vae": 10.0},
    ("cuda", "conv"): {"gan": 5.0},
}
GAME: dict[str, Any] = {"lr": 5e-4, "betas": (0.5, 0.999)}  # what fit takes by default
ALONE: dict[str, Any] = {"lr": 1e-3, "betas": (0.9, 0.999)}

Loop = Callable[[Any, Dataset, int, int, torch.device], None]


# ---- the plain loop ------------------------------------------------------------------------------


class Images(torch.utils.data.Dataset):
    """One PIL image at a time, made a tensor when it is asked for: as torchvision's MNIST does."""

    def __init__(self, source: Dataset):
        self.pixels = source.x.cpu().squeeze(1).numpy()
        assert source.labels is not None
        self.labels = source.labels.tolist()
        self.transform = ToTensor()

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[i])), self.labels[i]


def plain_batches(source: Dataset, batch_size: int, steps: int) -> Iterator[Tensor]:
    loader = torch.utils.data.DataLoader(
        Images(source), batch_size=batch_size, shuffle=True, drop_last=True
    )
    done = 0
    while True:
        for x, _ in loader:
            if done == steps:
                return
            yield x
            done += 1


def plain_gan(model: GAN, source: Dataset, steps: int, batch: int, device: torch.device) -> None:
    generator, discriminator = model.generator, model.discriminator
    optimiser_g = torch.optim.Adam(generator.parameters(), **GAME)
    optimiser_d = torch.optim.Adam(discriminator.parameters(), **GAME)
    one, zero = torch.ones(batch, device=device), torch.zeros(batch, device=device)
    losses = []
    for x in plain_batches(source, batch, steps):
        x = x.to(device)
        optimiser_d.zero_grad()
        fake = generator(torch.randn(batch, generator.latent, device=device))
        loss_d = 0.5 * (
            F.binary_cross_entropy_with_logits(discriminator(x), one)
            + F.binary_cross_entropy_with_logits(discriminator(fake.detach()), zero)
        )
        loss_d.backward()
        optimiser_d.step()

        optimiser_g.zero_grad()
        fake = generator(torch.randn(batch, generator.latent, device=device))
        loss_g = 0.5 * F.binary_cross_entropy_with_logits(discriminator(fake), one)
        loss_g.backward()
        optimiser_g.step()
        losses.append((loss_d.item(), loss_g.item()))


def plain_iwgan(
    model: IWGAN, source: Dataset, steps: int, batch: int, device: torch.device
) -> None:
    generator, discriminator, k = model.generator, model.discriminator, model.k
    optimiser_g = torch.optim.Adam(generator.parameters(), **GAME)
    optimiser_d = torch.optim.Adam(discriminator.parameters(), **GAME)
    one, zero = torch.ones(batch, device=device), torch.zeros(batch, device=device)
    losses = []
    for x in plain_batches(source, batch, steps):
        x = x.to(device)
        optimiser_d.zero_grad()
        fake = generator(torch.randn(batch, generator.latent, device=device))
        loss_d = 0.5 * (
            F.binary_cross_entropy_with_logits(discriminator(x), one)
            + F.binary_cross_entropy_with_logits(discriminator(fake.detach()), zero)
        )
        loss_d.backward()
        optimiser_d.step()

        optimiser_g.zero_grad()
        fakes = generator(torch.randn(batch * k, generator.latent, device=device))
        logits = discriminator(fakes).reshape(batch, k)
        weights = torch.softmax(logits.detach(), dim=1)
        loss_g = 0.5 * (weights * F.softplus(-logits)).sum(1).mean()
        loss_g.backward()
        optimiser_g.step()
        losses.append((loss_d.item(), loss_g.item()))


def plain_vae(model: VAE, source: Dataset, steps: int, batch: int, device: torch.device) -> None:
    encoder, decoder = model.encoder.body, model.decoder.body
    optimiser = torch.optim.Adam(model.parameters(), **ALONE)
    losses = []
    for x in plain_batches(source, batch, steps):
        x = x.to(device)
        optimiser.zero_grad()
        mean, log_var = encoder(x).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        x_hat = torch.sigmoid(decoder(z))
        reconstruction = F.binary_cross_entropy(x_hat, x, reduction="sum") / batch
        kl_q_p = -0.5 * (1 + log_var - mean.pow(2) - log_var.exp()).sum() / batch
        loss = reconstruction + kl_q_p
        loss.backward()
        optimiser.step()
        losses.append(loss.item())


# ---- the tight loop ------------------------------------------------------------------------------


def tight_batches(source: Dataset, batch: int, steps: int) -> Iterator[Tensor]:
    per_epoch = len(source) // batch
    for step in range(steps):
        i = step % per_epoch
        if i == 0:
            order = torch.randperm(len(source)).to(source.device)
        yield source.images(order[i * batch : (i + 1) * batch])


def descend(loss: Tensor, optimiser: torch.optim.Adam) -> None:
    parameters = optimiser.param_groups[0]["params"]
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimiser.step()


def tight_gan(model: GAN, source: Dataset, steps: int, batch: int, device: torch.device) -> None:
    generator, discriminator = model.generator, model.discriminator
    k = getattr(model, "k", 1)
    optimiser_g = torch.optim.Adam(generator.parameters(), **GAME, fused=True)
    optimiser_d = torch.optim.Adam(discriminator.parameters(), **GAME, fused=True)
    for x in tight_batches(source, batch, steps):
        fakes = generator(torch.randn(batch * k, generator.latent, device=device))
        logits = discriminator(torch.cat([x, fakes[::k].detach()]))
        loss_d = F.softplus(-logits[:batch]).mean() + F.softplus(logits[batch:]).mean()
        descend(0.5 * loss_d, optimiser_d)
        logits = discriminator(fakes).reshape(batch, k)
        weights = torch.softmax(logits.detach(), dim=1)
        descend(0.5 * (weights * F.softplus(-logits)).sum(1).mean(), optimiser_g)


def tight_vae(model: VAE, source: Dataset, steps: int, batch: int, device: torch.device) -> None:
    encoder, decoder = model.encoder.body, model.decoder.body
    optimiser = torch.optim.Adam(model.parameters(), **ALONE, fused=True)
    for x in tight_batches(source, batch, steps):
        mean, log_var = encoder(x).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        logits = decoder(z)
        reconstruction = (F.softplus(logits) - x * logits).sum() / batch
        kl_q_p = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum() / batch
        descend(reconstruction + kl_q_p, optimiser)


def fitted(
    model: Any, source: Dataset, steps: int, batch: int, device: torch.device, graph: bool = False
) -> None:
    fit(model, source, steps=steps, batch_size=batch, device=device, progress=False, graph=graph)


def graphed(model: Any, source: Dataset, steps: int, batch: int, device: torch.device) -> None:
    fitted(model, source, steps, batch, device, graph=True)


LOOPS: dict[str, dict[str, Loop]] = {
    "gan": {"plain": plain_gan, "tight": tight_gan, "fit": fitted},
    "vae": {"plain": plain_vae, "tight": tight_vae, "fit": fitted},
    "iwgan": {"plain": plain_iwgan, "tight": tight_gan, "fit": fitted},
}


# ---- measuring -----------------------------------------------------------------------------------


def images_per_second(
    loop: Loop, name: str, source: Dataset, steps: int, batch: int, device: torch.device,
    network: str = "mlp",
) -> tuple[float, float]:  # fmt: skip
    """Images per second of the clock and per second of processor time, in one run of `loop`."""
    model = models.create(name, shape=source.shape, network=network).to(device).train()
    torch.manual_seed(0)
    wait(device)
    started, spent = time.perf_counter(), time.process_time()
    loop(model, source, steps, batch, device)
    wait(device)
    elapsed, spent = time.perf_counter() - started, time.process_time() - spent
    return round(steps * batch / elapsed, 1), round(steps * batch / spent, 1)


def seconds_of_kernels(run: Callable[[], object], device: torch.device) -> float:
    """Sum of the durations of the kernels on the device (on a CPU: of the operations)."""
    activity = getattr(torch.profiler.ProfilerActivity, device.type.upper())
    with torch.profiler.profile(activities=[activity]) as found:
        run()
        wait(device)
    if device.type == "cpu":
        return sum(e.self_cpu_time_total for e in found.key_averages()) / 1e6
    kernels = (
        e
        for e in found.events()
        if e.device_type != torch.autograd.DeviceType.CPU
        and not getattr(e, "is_user_annotation", False)
        and not e.name.startswith(("Memcpy", "Memset"))
    )
    return sum(e.time_range.elapsed_us() for e in kernels) / 1e6


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def measure(
    name: str, source: Dataset, steps: int, rounds: int, batch: int, device: torch.device,
    network: str = "mlp",
) -> dict[str, Any]:  # fmt: skip
    """Rates of the loops in `rounds` rounds, and the medians of their ratios."""
    loops = dict(LOOPS[name])
    if device.type == "cuda":
        loops["graph"] = graphed

    def rate(way: str, steps: int) -> tuple[float, float]:
        return images_per_second(loops[way], name, source, steps, batch, device, network)

    for way in loops:
        rate(way, max(1, steps // 10))  # warm up
    rates: dict[str, list[tuple[float, float]]] = {way: [] for way in loops}
    for i in range(rounds):
        ways = list(loops)
        turn = i % len(ways)
        for way in ways[turn:] + ways[:turn]:
            rates[way].append(rate(way, steps))

    def ratio(way: str, clock: int, of: str = "fit") -> float:
        within = [f[clock] / r[clock] for f, r in zip(rates[of], rates[way], strict=True)]
        return round(statistics.median(within), 3)

    def medians(clock: int) -> dict[str, float]:
        return {way: statistics.median(r[clock] for r in found) for way, found in rates.items()}

    on_gpu: dict[str, Any] = {}
    if device.type == "cuda":
        on_gpu = {f"graph_over_{way}": ratio(way, 0, "graph") for way in ("plain", "tight", "fit")}
        share = {}
        for way in ("fit", "graph"):
            model = models.create(name, shape=source.shape, network=network).to(device)
            training = partial(loops[way], model, source, steps, batch, device)
            seconds = steps * batch / medians(0)[way]
            share[way] = round(seconds_of_kernels(training, device) / seconds, 3)
        on_gpu["share_of_kernels"] = share
    return {
        "images_per_second": medians(0),
        "fit_over_plain": ratio("plain", 0),
        "fit_over_tight": ratio("tight", 0),
        **on_gpu,
        "target_over_plain": TARGETS.get((device.type, network), {}).get(name),
        "by_processor_time": {
            "images_per_second": medians(1),
            "fit_over_plain": ratio("plain", 1),
            "fit_over_tight": ratio("tight", 1),
        },
        "rounds": {way: [by_clock for by_clock, _ in found] for way, found in rates.items()},
    }


def provenance(device: torch.device) -> dict[str, Any]:
    """What a reader needs to judge the numbers: code, machine, versions and date."""

    def git(*arguments: str) -> str | None:
        found = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return found.stdout.strip() if found.returncode == 0 else None

    changes = git("status", "--porcelain", "--", "unigen_edu", "benchmarks")
    return {
        "commit": git("rev-parse", "HEAD"),
        "uncommitted_changes": None if changes is None else bool(changes),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "device": str(device),
        "machine": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "platform": platform.platform(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        },
    }


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> int:
    parser = argparse.ArgumentParser(description="Images per second of fit and of two other loops.")
    parser.add_argument("--models", nargs="+", choices=list(LOOPS), default=list(LOOPS))
    parser.add_argument("--steps", type=int, default=150, help="steps of each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each loop")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--network", default="mlp", choices=["mlp", "conv"])
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, mps")
    parser.add_argument("--out", type=Path, help="JSON to write; default results/benchmark_*.json")
    given = parser.parse_args()

    device = pick_device(given.device)
    source = data.load("mnist-mini", "train", device=device)
    found = {}
    for name in given.models:
        found[name] = measure(
            name, source, given.steps, given.rounds, given.batch_size, device, given.network
        )
        rates = ", ".join(f"{w} {r:.0f}" for w, r in found[name]["images_per_second"].items())
        for way in ("plain", "tight"):
            by_clock = found[name][f"fit_over_{way}"]
            by_processor = found[name]["by_processor_time"][f"fit_over_{way}"]
            rates += f"; fit/{way} {by_clock:.2f} ({by_processor:.2f} by processor time)"
        if device.type == "cuda":
            share = found[name]["share_of_kernels"]
            rates += (
                f"; graph/plain {found[name]['graph_over_plain']:.2f}; share of kernels {share}"
            )
        print(f"{name:<6} images/s: {rates}", flush=True)
    settings = {
        "data": "mnist-mini",
        "network": given.network,
        "batch_size": given.batch_size,
        "steps": given.steps,
        "rounds": given.rounds,
    }
    out = given.out or ROOT / "results" / f"benchmark_{device.type}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    report = {**provenance(device), "settings": settings, "models": found}
    out.write_text(json.dumps(report, indent=2) + "\n")
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
