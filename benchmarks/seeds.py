"""Time of `fit_seeds` beside the same runs one after another, and of the speed options of `fit`.

    python benchmarks/seeds.py --data mnist-mini ring            # GANs and VAEs, on the CPU
    python benchmarks/seeds.py --device cuda --seeds 10 --steps 1000
    python benchmarks/seeds.py --options                         # --compile and --precision bf16

in turn     `fit`, seed by seed, with the threads that torch takes by default.
one thread  The same with one thread, which for small networks is often the faster.
fit_seeds   All seeds in one call, from call to return: processes on a CPU, a stack on a GPU.
graph       On an NVIDIA GPU: the same, each step of the stack launched as one CUDA graph; and
            "graph, bf16" with products in bfloat16.

With `--options` it is one run of `fit`, plain and with its options, and seconds are those of its
second half: what a run compiles, or captures, it does in the first.

The ways alternate over the rounds; a ratio is the median of the ratios within a round. With it goes
what the machine allows: the matrix products that two processes do together over those that one does
in the same time. It is 2 for two whole cores, and near 1 where they share their arithmetic units,
as the two threads of one core do.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from throughput import ROOT, provenance

from unigen_edu import data, models
from unigen_edu.seeds import fit_seeds
from unigen_edu.training import fit, pick_device, synchronise


def compare(ways: dict[str, Callable[[], float | None]], rounds: int, base: str) -> dict[str, Any]:
    """Seconds of each way in each round, from call to return unless it returns its own, and the
    median ratio to `base` within a round."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    names = list(ways)
    for i in range(rounds):
        for way in names[i % len(names) :] + names[: i % len(names)]:
            started = time.perf_counter()
            own = ways[way]()
            seconds[way].append(time.perf_counter() - started if own is None else own)
    ratios = {
        f"{way}_over_{base.replace(' ', '_')}": round(
            statistics.median(a / b for a, b in zip(seconds[way], seconds[base], strict=True)), 3
        )
        for way in ways
        if way != base
    }
    return {"seconds": {w: [round(s, 3) for s in found] for w, found in seconds.items()}, **ratios}


PRODUCTS = """
import time, torch
torch.set_num_threads(1)
a = torch.randn(512, 512)
for _ in range(100):
    a @ a
started, count = time.perf_counter(), 0
while time.perf_counter() - started < 3:
    a @ a
    count += 1
print(count)
"""


def products(processes: int) -> int:
    """Matrix products (512 x 512, float32, one thread) that processes do together in 3 seconds."""
    command = [sys.executable, "-c", PRODUCTS]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    return sum(int(process.communicate()[0]) for process in started)


def gain_of_a_second_process(rounds: int) -> float:
    """Matrix products of two processes over those of one, median over rounds: 1 to 2."""
    return round(statistics.median(products(2) / products(1) for _ in range(rounds)), 3)


def main() -> int:
    parser = argparse.ArgumentParser(description="Time of fit_seeds and of runs one after another.")
    parser.add_argument("--models", nargs="+", default=["gan", "vae"])
    parser.add_argument("--data", nargs="+", default=["mnist-mini"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--network", default="mlp")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, mps")
    parser.add_argument("--options", action="store_true", help="compare --compile and bf16 instead")
    parser.add_argument("--out", type=Path, help="JSON to write; default in results/")
    given = parser.parse_args()
    # Compilers beside this process would still be busy when the clock starts.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    device = pick_device(given.device)
    threads = torch.get_num_threads()
    settings: dict[str, Any] = {
        "steps": given.steps, "batch_size": given.batch_size, "device": device, "progress": False
    }  # fmt: skip

    def options_on(name: str, source: data.Dataset) -> dict[str, Any]:
        if len(source.shape) == 3:
            return {"network": given.network}
        return {"likelihood": "gaussian"} if "likelihood" in models.options(name) else {}

    def in_turn(name: str, source: data.Dataset, count: int, seeds: int, **more: Any) -> None:
        torch.set_num_threads(count)
        for seed in range(seeds):
            model = models.create(name, seed=seed, shape=source.shape, **options_on(name, source))
            fit(model, source, seed=seed, **settings, **more)
        synchronise(device)
        torch.set_num_threads(threads)

    def second_half(name: str, source: data.Dataset, **more: Any) -> float:
        at: dict[int, float] = {}

        def look(model: models.Model, step: int) -> None:
            at[step] = time.perf_counter()

        steps = given.steps
        model = models.create(name, seed=0, shape=source.shape, **options_on(name, source))
        both = {**settings, "steps": 2 * steps}
        fit(model, source, **both, watch=look, watch_every=steps, **more)
        return at[2 * steps] - at[steps]

    def at_once(name: str, source: data.Dataset, **more: Any) -> None:
        options = options_on(name, source)
        fit_seeds(name, source, seeds=range(given.seeds), options=options, **settings, **more)

    found = {}
    machine = {}
    if device.type == "cpu" and not given.options:
        gain = gain_of_a_second_process(given.rounds)
        machine["matrix_products_of_two_processes_over_one"] = gain
        print(f"two processes do {gain:.2f} times the matrix products of one", flush=True)
    for name, of in itertools.product(given.models, given.data):
        source = data.load(of, "train", device=device)
        if given.options:
            half = partial(second_half, name, source)
            ways: dict[str, Callable[[], float | None]] = {
                "plain": half,
                "compile": partial(half, compile=True),
                "bf16": partial(half, precision="bf16"),
                "compile, bf16": partial(half, compile=True, precision="bf16"),
            }
            if device.type == "cuda":
                ways["graph"] = partial(half, graph=True)
                ways["graph, compile"] = partial(half, graph=True, compile=True)
            base = "plain"
        else:
            one = partial(in_turn, name, source)
            ways = {
                "in turn": partial(one, threads, given.seeds),
                "one thread": partial(one, 1, given.seeds),
                "fit_seeds": partial(at_once, name, source),
            }
            if device.type == "cuda":
                ways["graph"] = partial(at_once, name, source, graph=True)
                ways["graph, bf16"] = partial(at_once, name, source, graph=True, precision="bf16")
            base = "in turn"
        found[f"{name}, {of}"] = compared = compare(ways, given.rounds, base)
        shown = {k: v for k, v in compared.items() if k != "seconds"}
        print(f"{name:<6} {of:<12} {shown}", flush=True)
    what = "options" if given.options else "seeds"
    out = given.out or ROOT / "results" / f"benchmark_{what}_{device.type}.json"
    kept = {
        k: v
        for k, v in vars(given).items()
        if k not in ("out", "models", "data", "device", "options")
    }
    if given.options:
        kept["steps_before_the_clock"] = given.steps
        del kept["seeds"]
    content = {**provenance(device), **machine, "settings": kept, "models": found}
    out.write_text(json.dumps(content, indent=2) + "\n")
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
