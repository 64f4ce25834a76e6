"""Time of `fit_seeds` beside the same runs one after another, and of the speed options of `fit`.

    python benchmarks/seeds.py                                   # ten GANs on this machine's CPU
    python benchmarks/seeds.py --device cuda --seeds 10 --steps 1000
    python benchmarks/seeds.py --options                         # --compile and --precision bf16

in turn     `fit`, seed by seed, with the threads that torch takes by default.
one thread  The same with one thread, which for small networks is often the faster.
fit_seeds   All seeds in one call, from call to return: processes on a CPU, a stack on a GPU.

The ways alternate over the rounds; a ratio is the median of the ratios within a round. With it goes
what the machine allows: the matrix products that two processes do together over those that one does
in the same time. It is 2 for two whole cores, and near 1 where they share their arithmetic units,
as the two threads of one core do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from throughput import ROOT, provenance

from unigen_edu import data, models
from unigen_edu.seeds import fit_seeds
from unigen_edu.training import fit, pick_device, synchronise


def compare(ways: dict[str, Callable[[], None]], rounds: int, base: str) -> dict[str, Any]:
    """Seconds of each way in each round, and the median ratio to `base` within a round."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    names = list(ways)
    for i in range(rounds):
        for way in names[i % len(names) :] + names[: i % len(names)]:
            started = time.perf_counter()
            ways[way]()
            seconds[way].append(time.perf_counter() - started)
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
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--network", default="mlp")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, mps")
    parser.add_argument("--options", action="store_true", help="compare --compile and bf16 instead")
    parser.add_argument("--out", type=Path, help="JSON to write; default in results/")
    given = parser.parse_args()
    device = pick_device(given.device)
    source = data.load("mnist-mini", "train", device=device)
    threads = torch.get_num_threads()
    settings: dict[str, Any] = {
        "steps": given.steps, "batch_size": given.batch_size, "device": device, "progress": False
    }  # fmt: skip

    def in_turn(name: str, count: int, seeds: int, **more: Any) -> None:
        torch.set_num_threads(count)
        for seed in range(seeds):
            model = models.create(name, seed=seed, network=given.network)
            fit(model, source, seed=seed, **settings, **more)
        synchronise(device)
        torch.set_num_threads(threads)

    def at_once(name: str) -> None:
        fit_seeds(
            name, source, seeds=range(given.seeds), options={"network": given.network}, **settings
        )

    found = {}
    machine = {}
    if device.type == "cpu" and not given.options:
        gain = gain_of_a_second_process(given.rounds)
        machine["matrix_products_of_two_processes_over_one"] = gain
        print(f"two processes do {gain:.2f} times the matrix products of one", flush=True)
    for name in given.models:
        if given.options:
            ways: dict[str, Callable[[], None]] = {
                "plain": lambda name=name: in_turn(name, threads, 1),  # type: ignore[misc]
                "compile": lambda name=name: in_turn(name, threads, 1, compile=True),  # type: ignore[misc]
                "bf16": lambda name=name: in_turn(name, threads, 1, precision="bf16"),  # type: ignore[misc]
            }
            ways["compile"]()  # the compiler's own time is paid once, here
            found[name] = compare(ways, given.rounds, "plain")
        else:
            ways = {
                "in turn": lambda name=name: in_turn(name, threads, given.seeds),  # type: ignore[misc]
                "one thread": lambda name=name: in_turn(name, 1, given.seeds),  # type: ignore[misc]
                "fit_seeds": lambda name=name: at_once(name),  # type: ignore[misc]
            }
            found[name] = compare(ways, given.rounds, "in turn")
        shown = {k: v for k, v in found[name].items() if k != "seconds"}
        print(f"{name:<6} {shown}", flush=True)
    what = "options" if given.options else "seeds"
    out = given.out or ROOT / "results" / f"benchmark_{what}_{device.type}.json"
    kept = {k: v for k, v in vars(given).items() if k not in ("out", "models", "device", "options")}
    content = {**provenance(device), **machine, "settings": kept, "models": found}
    out.write_text(json.dumps(content, indent=2) + "\n")
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
