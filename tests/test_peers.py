"""The benchmark beside other projects: it changes no function, and favours no way by its place."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from types import ModuleType, SimpleNamespace

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


@pytest.mark.parametrize("name", ["gan", "dcgan"])
def test_no_way_has_a_place_of_its_own(peers, monkeypatch, capsys, name):
    order: list[str] = []
    ways = peers.ways_of(peers.PAIRS[name])

    def theirs(pair, checkout, steps):
        if steps:  # not the few that only make its networks
            order.append("theirs")
        return 1.0, {}

    def ours(pair, names, steps, **options):
        order.extend(way for way, chosen in ways.items() if chosen == options)
        return 2.0

    monkeypatch.setattr(peers, "theirs", theirs)
    monkeypatch.setattr(peers, "ours", ours)
    places = dict.fromkeys(ways, 0)
    apart = dict.fromkeys(ways, 0)
    for number in range(4):
        order.clear()
        monkeypatch.setattr(sys, "argv", ["peers.py", "--only", name, "--round", str(number)])
        assert peers.main() == 0
        assert json.loads(capsys.readouterr().out) == {"theirs": 1.0} | dict.fromkeys(ways, 2.0)
        assert sorted(order) == sorted([*ways, "theirs"])
        at = order.index("theirs")
        assert at == (0 if number % 2 else len(ways))
        for way in ways:
            apart[way] += abs(order.index(way) - at)
            places[way] += order.index(way)
    assert len(set(places.values())) == len(set(apart.values())) == 1


def test_every_round_has_its_number(peers, monkeypatch, tmp_path):
    numbers = []

    def run(command, **_):
        numbers.append(command[command.index("--round") + 1])
        rates = dict.fromkeys(["theirs", *peers.ways_of(peers.PAIRS["gan"])], 1.0)
        return subprocess.CompletedProcess(command, 0, stdout=json.dumps(rates))

    (tmp_path / "implementations" / "gan").mkdir(parents=True)
    (tmp_path / "implementations" / "gan" / "gan.py").touch()
    monkeypatch.setattr(peers, "provenance", lambda device: {})
    monkeypatch.setattr(peers, "version", lambda pair, checkout: "1")
    monkeypatch.setattr(peers, "subprocess", SimpleNamespace(run=run, PIPE=subprocess.PIPE))
    out = tmp_path / "found.json"
    arguments = ["--pytorch-gan", str(tmp_path), "--only", "gan", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["peers.py", *arguments])
    assert peers.main() == 0
    assert numbers == ["0", "1", "2", "3"]
    assert set(json.loads(out.read_text())["pairs"]["gan"]["over_theirs"].values()) == {1.0}
