"""What the benchmark beside other projects does to their networks changes no function."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest
import torch
import unigen_book
from torch import nn


@pytest.fixture
def peers(monkeypatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [*sys.path])  # the script puts its folder there
    path = unigen_book.ROOT / "benchmarks" / "peers.py"
    spec = importlib.util.spec_from_file_location("peers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "peers", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_joined_upsampling_is_the_same_function_of_the_same_weights(peers, layout):
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.Upsample(scale_factor=2),
        nn.Conv2d(3, 4, 3, padding=1), nn.LeakyReLU(0.2), nn.Upsample(scale_factor=2),
        nn.Conv2d(4, 1, 3, padding=1), nn.Tanh(),
    ).double()  # fmt: skip
    joined = peers.joined_upsampling(layers).double().to(memory_format=layout)
    assert not any(isinstance(layer, nn.Upsample) for layer in joined)
    x = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    made, wanted = joined(x), layers(x)
    torch.testing.assert_close(made, wanted, rtol=1e-12, atol=1e-13)
    # Through the shared weights, and at the borders as well as inside.
    parameters = list(layers.parameters())
    weight = torch.randn_like(wanted)
    found = torch.autograd.grad((made * weight).sum(), parameters)
    for one, other in zip(
        found, torch.autograd.grad((wanted * weight).sum(), parameters), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
