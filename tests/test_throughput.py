"""The benchmark of `fit` beside other loops, on this machine's CPU and with few steps."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

import pytest
import torch

from unigen_edu import data

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def throughput():
    path = ROOT / "benchmarks" / "throughput.py"
    spec = importlib.util.spec_from_file_location("throughput", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["throughput"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["throughput"]


@pytest.mark.parametrize("name", ["gan", "vae", "iwgan"])
@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_every_loop_trains_either_network(name, network, throughput):
    source = data.load("mnist-mini", "train")
    found = throughput.measure(name, source, 2, 2, 4, torch.device("cpu"), network)
    assert set(found["images_per_second"]) == {"plain", "tight", "fit"}
    assert all(len(of_round) == 2 for of_round in found["rounds"].values())
    rounds = zip(found["rounds"]["fit"], found["rounds"]["plain"], strict=True)
    first, second = (fit / plain for fit, plain in rounds)
    assert found["fit_over_plain"] == pytest.approx((first + second) / 2, abs=1e-3)
    wanted = {"gan": 2.0, "vae": 1.5}.get(name) if network == "mlp" else None
    assert found["target_over_plain"] == wanted


def test_only_operations_are_summed(throughput):
    cpu = torch.device("cpu")
    a = torch.randn(512, 512)

    def busy():
        for _ in range(20):
            a @ a

    waits = throughput.seconds_of_kernels(lambda: (time.sleep(0.5), a + a), cpu)
    assert 0 < waits < 0.25
    assert throughput.seconds_of_kernels(busy, cpu) > waits
