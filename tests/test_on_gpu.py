"""The slices in which everything that wants a GPU is done."""

from __future__ import annotations

import argparse
import importlib.util
import json
import runpy
import sys
import time
from pathlib import Path

import pytest

from unigen_edu import cli, experiments

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("on_gpu", ROOT / "tools" / "on_gpu.py")
on_gpu = importlib.util.module_from_spec(spec)
sys.modules["on_gpu"] = on_gpu
spec.loader.exec_module(on_gpu)
Stage = on_gpu.Stage

# Counts for six seconds, and keeps where it is when it is asked to stop.
COUNTS = """
import pathlib, signal, sys, time
at = pathlib.Path("runs/reproduce/at")
at.parent.mkdir(parents=True, exist_ok=True)
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
for i in range(int(at.read_text()) if at.exists() else 0, 24):
    time.sleep(0.25)
    at.write_text(str(i + 1))
    if stop:
        sys.exit(9)
at.unlink()
pathlib.Path("results").mkdir(exist_ok=True)
pathlib.Path("results/counted").write_text("24")
"""


def says(text, *, status=0):
    return (sys.executable, "-c", f"print({text!r}, flush=True); raise SystemExit({status})")


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(on_gpu, "GRACE", 0.5)


def test_what_is_done_is_not_done_again(tmp_path, capfd):
    # The second cannot be continued, so what is noted counts; the first finds out by itself.
    wanted = [Stage("a", says("first")), Stage("b", says("second"), minutes=5)]
    assert on_gpu.run(wanted, None, tmp_path) == 0
    assert said(capfd) == ["first", "second"]
    assert on_gpu.run(wanted, None, tmp_path) == 0
    assert said(capfd) == ["first"]


def test_what_needs_a_stage_waits_until_it_is_done(tmp_path, capfd):
    first = Stage("a", says("first", status=2), minutes=1)
    second = Stage("b", says("second"), minutes=1, needs="a")
    assert on_gpu.run([first, second], None, tmp_path) == 1
    assert said(capfd) == ["first"]
    assert on_gpu.run([Stage("a", says("first"), minutes=1), second], None, tmp_path) == 0
    assert said(capfd) == ["first", "second"]


def test_a_failure_leaves_the_rest_to_be_done_and_is_tried_again(tmp_path, capfd):
    wanted = [Stage("a", says("first", status=2), minutes=1), Stage("b", says("second"), minutes=1)]
    assert on_gpu.run(wanted, None, tmp_path) == 1
    assert said(capfd) == ["first", "second"]
    assert on_gpu.run(wanted, None, tmp_path) == 1
    assert said(capfd) == ["first"]


def said(capfd) -> list[str]:
    return [line for line in capfd.readouterr().out.split("\n") if line in ("first", "second")]


@pytest.mark.usefixtures("quick")
def test_a_slice_ends_in_time_and_the_next_one_goes_on_elsewhere(tmp_path, capfd):
    one, other, kept = (tmp_path / name for name in ("one", "other", "kept"))
    (kept / "results").mkdir(parents=True)
    (kept / "results" / "of-before").write_text("7")
    for root in (one, other):
        root.mkdir()
    wanted = [Stage("count", (sys.executable, "-c", COUNTS)), Stage("long", says("x"), minutes=8)]
    assert on_gpu.run(wanted, 4 / 60, one, kept) == 3
    assert "goes on with: count, long." in capfd.readouterr().out
    at = Path("runs/reproduce/at")
    assert (kept / at).read_text() == (one / at).read_text()
    assert 1 <= int((kept / at).read_text()) < 24
    assert on_gpu.run(wanted, 0.5, other, kept) == 3  # enough for one and not for the other
    assert "goes on with: long." in capfd.readouterr().out
    assert (other / "results" / "of-before").read_text() == "7"
    assert not (kept / at).exists()  # unfinished work that was finished
    assert (kept / "results" / "counted").read_text() == "24"
    assert (kept / "results" / "of-before").read_text() == "7"
    assert on_gpu.run(wanted, None, other, kept) == 0
    assert (kept / "build" / "gpu" / "long.done").exists()


@pytest.mark.usefixtures("quick")
def test_a_command_that_does_not_stop_is_killed_with_all_that_it_started(tmp_path):
    deaf = (
        "import pathlib, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "pathlib.Path('child').write_text(str(child.pid))\n"
        "time.sleep(600)"
    )
    wanted = [Stage("deaf", (sys.executable, "-c", deaf))]
    assert on_gpu.run(wanted, 5 / 60, tmp_path) == 3
    child = int((tmp_path / "child").read_text())
    end = time.monotonic() + 30  # the signal was sent to it; its death may take a moment
    while alive(child):
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(process: int) -> bool:
    """Whether it runs; as a zombie it may stay until somebody asks for it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.usefixtures("quick")
def test_what_was_cut_off_waits_for_a_longer_slice_and_holds_nothing_up(tmp_path, capfd):
    slow = (sys.executable, "-c", "import time; time.sleep(600)")
    wanted = [Stage("slow", slow, minutes=0.5 / 60), Stage("b", says("second"), minutes=0.1 / 60)]
    assert on_gpu.run(wanted, 4 / 60, tmp_path) == 3
    assert said(capfd) == []
    assert on_gpu.run(wanted, 4 / 60, tmp_path) == 3
    assert said(capfd) == ["second"]


def test_without_a_gpu_nothing_is_run(monkeypatch, capsys):
    for device in ("cpu", "cuda:99"):
        monkeypatch.setattr(sys, "argv", ["on_gpu.py", "--device", device])
        with pytest.raises(SystemExit) as refused:
            on_gpu.main()
        assert refused.value.code == 2
    assert "this is for a GPU" in capsys.readouterr().err


class Understood(Exception):
    """A script has taken its arguments."""


SCRIPTS = [stage for stage in on_gpu.stages() if stage.command[1].endswith(".py")]


@pytest.mark.parametrize("stage", SCRIPTS, ids=lambda stage: stage.name)
def test_the_scripts_understand_their_arguments(stage, monkeypatch):
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(self, *given, **named):
        parse(self, *given, **named)
        raise Understood

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    monkeypatch.setattr(sys, "argv", list(stage.command[1:]))
    monkeypatch.setattr(sys, "path", [str((ROOT / stage.command[1]).parent), *sys.path])
    with pytest.raises(Understood):
        runpy.run_path(str(ROOT / stage.command[1]), run_name="__main__")


def test_the_commands_are_ones_that_exist():
    found = on_gpu.stages()
    assert len({stage.name for stage in found}) == len(found)
    known = {comparison.name for comparison in experiments.COMPARISONS}
    tables = [stage for stage in found if stage.name.startswith("table-")]
    assert {stage.command[4] for stage in tables} == known
    parser = cli._parser()
    names = {stage.name for stage in found}
    assert all(stage.needs in names for stage in found if stage.needs)
    assert all(stage.needs == "graphs" for stage in tables)
    for stage in tables:
        given = parser.parse_args(stage.command[3:])
        assert (given.scale, given.device, given.graph) == ("paper", "cuda", True)
    chapters = [stage for stage in found if stage.name.startswith("chapter-")]
    assert len(chapters) == len(list((ROOT / "book").glob("[0-9][0-9]_*.ipynb"))) == 20
    notebook = json.loads((ROOT / "book" / f"{chapters[0].command[-1]}.ipynb").read_text())
    assert any('SCALE = "quick"' in "".join(cell["source"]) for cell in notebook["cells"])
