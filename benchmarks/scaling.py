"""How time and memory of training grow with steps, batch, data, draws and seeds.

    python benchmarks/scaling.py                 # about ten minutes on two cores
    python benchmarks/scaling.py --axes steps k --rounds 1 --out /tmp/scaling.json

Every point is a training in a process of its own, which reports the seconds of its call of `fit`
(or `fit_seeds`) and the most memory that it held, Python and torch included (of several processes,
the first). A small training before it is not counted. The points of a round are measured in turn,
so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from throughput import ROOT, provenance

from unigen_edu import data, models
from unigen_edu.data import Dataset
from unigen_edu.seeds import fit_seeds
from unigen_edu.training import fit

# What a point is where its axis does not say otherwise.
BASE: dict[str, Any] = {
    "model": "gan", "steps": 100, "batch": 64, "images": 10_000, "k": 1, "seeds": 1
}  # fmt: skip
AXES: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "steps": ({}, (50, 100, 200, 400)),
    "batch": ({}, (16, 32, 64, 128, 256, 512)),
    "images": ({}, (1_000, 10_000, 100_000, 1_000_000)),
    "k": ({"model": "iwgan"}, (1, 2, 5, 10, 20)),
    "seeds": ({}, (1, 2, 4, 8)),
}


def repeated(images: int) -> Dataset:
    """The shipped digits, repeated until there are `images` of them."""
    mini = data.load("mnist-mini", "train")
    x = torch.empty(images, *mini.shape, dtype=torch.uint8)
    for at in range(0, images, len(mini)):
        x[at : at + len(mini)] = mini.x[: images - at]
    return Dataset(x, name=f"mnist-mini, {images} images")


def point(settings: dict[str, Any]) -> dict[str, float]:
    """Seconds of one training in this process, and the most megabytes it held."""
    source = repeated(settings["images"])
    options = {"k": settings["k"]} if settings["model"] == "iwgan" else {}
    common: dict[str, Any] = {
        "batch_size": settings["batch"], "device": "cpu", "progress": False
    }  # fmt: skip
    fit(models.create(settings["model"], **options), source, steps=10, **common)
    started = time.perf_counter()
    if settings["axis"] == "seeds":
        fit_seeds(
            settings["model"], source, seeds=range(settings["seeds"]), steps=settings["steps"],
            options=options, **common,
        )  # fmt: skip
    else:
        model = models.create(settings["model"], **options)
        fit(model, source, steps=settings["steps"], **common)
    seconds = time.perf_counter() - started
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"seconds": round(seconds, 3), "megabytes": round(peak / 1e6, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description="Time and memory of training, along five axes.")
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON; default results/benchmark_scaling.json")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.point:
        print(json.dumps(point(json.loads(given.point))))
        return 0
    if given.out is None and set(given.axes) != set(AXES):
        parser.error("some axes alone do not make the record: name another file with --out")
    out = given.out or ROOT / "results" / "benchmark_scaling.json"
    plan = [
        (axis, value, {**BASE, **about, axis: value, "axis": axis})
        for axis in given.axes
        for about, values in [AXES[axis]]
        for value in values
    ]
    found: dict[str, dict[str, list[dict[str, float]]]] = {axis: {} for axis in given.axes}
    for number in range(given.rounds):
        for axis, value, settings in plan:
            command = [sys.executable, __file__, "--point", json.dumps(settings)]
            said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            if said.returncode:
                return said.returncode  # it has said why
            measured = json.loads(said.stdout.splitlines()[-1])
            found[axis].setdefault(str(value), []).append(measured)
            print(f"round {number + 1}: {axis} {value}: {measured}", flush=True)
    medians = {
        axis: {
            value: {
                key: statistics.median(m[key] for m in measured) for key in ("seconds", "megabytes")
            }
            for value, measured in values.items()
        }
        for axis, values in found.items()
    }
    record = {
        **provenance(torch.device("cpu")),
        "settings": {"base": BASE, "rounds": given.rounds},
        "medians": medians,
        "rounds": found,
    }
    out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
