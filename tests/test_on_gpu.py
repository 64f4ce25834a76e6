"""The slices in which everything that wants a GPU is done."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from unigen_edu import cli, experiments

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("on_gpu", ROOT / "tools" / "on_gpu.py")
on_gpu = importlib.util.module_from_spec(spec)
sys.modules["on_gpu"] = on_gpu
spec.loader.exec_module(on_gpu)
Stage = on_gpu.Stage

# Counts to three, half a second each, and keeps where it is when it is asked to stop.
COUNTS = """
import pathlib, signal, sys, time
at = pathlib.Path("runs/reproduce/at")
at.parent.mkdir(parents=True, exist_ok=True)
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
for i in range(int(at.read_text()) if at.exists() else 0, 3):
    time.sleep(0.5)
    at.write_text(str(i + 1))
    if stop:
        sys.exit(9)
at.unlink()
pathlib.Path("results").mkdir(exist_ok=True)
pathlib.Path("results/counted").write_text("3")
"""


def says(text, *, status=0):
    return (sys.executable, "-c", f"print({text!r}, flush=True); raise SystemExit({status})")


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(on_gpu, "GRACE", 0.5)


def test_what_is_done_is_not_done_again(tmp_path, capfd):
    wanted = [Stage("a", says("first")), Stage("b", says("second"), minutes=5)]
    assert on_gpu.run(wanted, None, tmp_path) == 0
    assert [line for line in capfd.readouterr().out.split("\n") if line in ("first", "second")] == [
        "first", "second"
    ]  # fmt: skip
    assert on_gpu.run(wanted, None, tmp_path) == 0
    assert capfd.readouterr().out == ""


def test_a_failure_leaves_the_rest_to_be_done_and_is_tried_again(tmp_path, capfd):
    wanted = [Stage("a", says("", status=2)), Stage("b", says("second"))]
    assert on_gpu.run(wanted, None, tmp_path) == 1
    out = capfd.readouterr().out
    assert "a: failed with status 2" in out
    assert "second" in out
    assert on_gpu.run(wanted, None, tmp_path) == 1
    out = capfd.readouterr().out
    assert "a: failed" in out
    assert "second" not in out


@pytest.mark.usefixtures("quick")
def test_a_slice_ends_in_time_and_the_next_one_goes_on(tmp_path, capfd):
    root, kept = tmp_path / "root", tmp_path / "kept"
    wanted = [Stage("count", (sys.executable, "-c", COUNTS)), Stage("long", says("x"), minutes=8)]
    assert on_gpu.run(wanted, 1.2 / 60, root, kept) == 3  # two counts and half a second of grace
    assert "goes on with: count, long." in capfd.readouterr().out
    at = kept / "runs" / "reproduce" / "at"
    assert at.read_text() == (root / "runs" / "reproduce" / "at").read_text()
    assert at.read_text() in ("1", "2")
    assert on_gpu.run(wanted, 0.5, root, kept) == 3  # minutes: enough for one and not the other
    assert "goes on with: long." in capfd.readouterr().out
    assert not at.exists()  # unfinished work that was finished
    assert (kept / "results" / "counted").read_text() == "3"
    assert (kept / "build" / "gpu" / "count.done").exists()
    assert on_gpu.run(wanted, None, root, kept) == 0


@pytest.mark.usefixtures("quick")
def test_a_command_that_does_not_stop_is_killed(tmp_path):
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    wanted = [Stage("deaf", (sys.executable, "-c", deaf))]
    assert on_gpu.run(wanted, 1.5 / 60, tmp_path) == 3


def test_the_commands_are_ones_that_exist():
    found = on_gpu.stages()
    assert len({stage.name for stage in found}) == len(found)
    known = {comparison.name for comparison in experiments.COMPARISONS}
    tables = [stage for stage in found if stage.name.startswith("table-")]
    assert {stage.command[4] for stage in tables} == known
    parser = cli._parser()
    for stage in tables:
        given = parser.parse_args(stage.command[3:])
        assert (given.scale, given.device) == ("paper", "cuda")
    for stage in found:
        if stage.command[1].endswith(".py"):
            assert (ROOT / stage.command[1]).exists()
    chapters = [stage for stage in found if stage.name.startswith("chapter-")]
    assert len(chapters) == len(list((ROOT / "book").glob("[0-9][0-9]_*.ipynb"))) == 20
    notebook = json.loads((ROOT / "book" / f"{chapters[0].command[-1]}.ipynb").read_text())
    assert any('SCALE = "quick"' in "".join(cell["source"]) for cell in notebook["cells"])
