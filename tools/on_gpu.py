"""Do on a GPU what waits for one: checks, measurements of speed, the tables, the longer runs.

    python tools/on_gpu.py                              # all of it, however long it takes
    python tools/on_gpu.py --minutes 9                  # what fits into nine minutes
    python tools/on_gpu.py --minutes 9 --keep KEPT      # ... and keeps a copy of it in KEPT

A GPU is often lent for minutes. When the time is over, what runs is asked to stop (SIGTERM) and
leaves its checkpoints; the same call goes on from there, on a fresh machine too if it is given the
same KEPT. Every command can be given by hand as well; they are printed. MNIST and the other data
come from UNIGEN_DATA, or are downloaded.

Exit status: 0 everything is done; 3 the time is over; 1 a command failed, which the next call tries
again. (A table with a seed that diverged counts as failed, for good: its record says why.)
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
KEPT = ("results", "runs/reproduce", "build/gpu")  # what commands write, in the checkout
GRACE = 60.0  # seconds for a command to write its checkpoints, and for copying
DONE, FAILED, TIME_OVER = 0, 1, 3


@dataclass(frozen=True)
class Stage:
    """One command.

    Attributes:
        name: of the file that says it is done.
        command: arguments, the program first.
        minutes: how long it should take, if it cannot be continued: it is not begun with less time
            left. None: it continues where it was stopped, and finds out itself what is done.
        needs: name of a stage that has to be done before.
    """

    name: str
    command: tuple[str, ...]
    minutes: float | None = None
    needs: str = ""


def stages(device: str = "cuda") -> list[Stage]:
    """What is to be done, in order: what others build on first."""
    from unigen_edu.experiments import COMPARISONS

    python = sys.executable
    on = ("--device", device)
    found = [
        Stage(
            "checks",
            (python, "-m", "pytest", "-q", "tests/test_training.py", "tests/test_seeds.py"),
            minutes=7,
        ),
        Stage(
            "checks-compiled",
            (python, "-m", "pytest", "-q", "tests/test_precision_and_compile.py"),
            minutes=9,
        ),
        Stage(
            "graphs",
            (python, "-m", "pytest", "-q", "tests/test_graphs.py", "-k", "cuda_graph"),
            minutes=7,
        ),
        Stage(
            "speed-mlp",
            (python, "benchmarks/throughput.py", *on, "--steps", "2000"),
            minutes=7,
            needs="graphs",
        ),
        Stage(
            "speed-conv",
            (python, "benchmarks/throughput.py", *on, "--steps", "2000", "--network", "conv",
             "--models", "gan",
             "--out", f"results/benchmark_{device}_conv.json"),
            minutes=7,
            needs="graphs",
        ),
        Stage("speed-seeds", (python, "benchmarks/seeds.py", *on), minutes=7, needs="graphs"),
        Stage(
            "speed-seeds-conv",
            (python, "benchmarks/seeds.py", *on, "--network", "conv", "--models", "gan",
             "--out", f"results/benchmark_seeds_{device}_conv.json"),
            minutes=7,
            needs="graphs",
        ),
        Stage(
            "speed-options",
            (python, "benchmarks/seeds.py", *on, "--options"),
            minutes=7,
            needs="graphs",
        ),
    ]  # fmt: skip
    for comparison in COMPARISONS:
        found.append(
            Stage(
                f"table-{comparison.table}-{comparison.name}",
                (python, "-m", "unigen_edu", "reproduce", comparison.name, "--scale", "paper",
                 *on, "--graph", "--quiet"),
                needs="graphs",
            )
        )  # fmt: skip
    for notebook in sorted((ROOT / "book").glob("[0-9][0-9]_*.ipynb")):
        longer = (python, "tools/longer_runs.py", "--scale", "full", notebook.stem)
        found.append(Stage(f"chapter-{notebook.stem}", longer, minutes=7))
    return found


def run(
    wanted: Sequence[Stage], minutes: float | None, root: Path = ROOT, keep: Path | None = None
) -> int:
    """Run what is not done yet; returns the exit status.

    Args:
        wanted: in order.
        minutes: of this call; None takes what it needs.
        root: of the checkout. The stages that are done are noted in its `build/gpu`.
        keep: folder with a copy of what is below `KEPT`: put into the checkout first, and brought
            up to date after each stage.
    """
    copy = None if keep is None else _Copy(root, keep)
    noted = root / "build" / "gpu"
    noted.mkdir(parents=True, exist_ok=True)
    end = None if minutes is None else time.monotonic() + 60 * minutes
    failed: list[str] = []
    waiting: list[str] = []
    for stage in wanted:
        if (noted / f"{stage.name}.done").exists():
            continue
        if stage.needs and not (noted / f"{stage.needs}.done").exists():
            waiting.append(stage.name)
            continue
        left = None if end is None else end - time.monotonic() - GRACE
        if left is not None and left <= _seconds_needed(stage, noted):
            waiting.append(stage.name)
            continue
        print(f"{stage.name}: {' '.join(stage.command)}", flush=True)
        started = time.monotonic()
        status = _run(stage.command, root, left)
        spent = time.monotonic() - started
        took = f"{spent / 60:.1f} min"
        if status is None:
            if stage.minutes is not None:  # it will not be begun with as little time again
                (noted / f"{stage.name}.longer").write_text(f"{spent:.0f}\n")
            print(f"{stage.name}: stopped after {took}", flush=True)
            waiting.append(stage.name)
        elif status == 0:
            if stage.minutes is not None:
                (noted / f"{stage.name}.done").write_text(f"{took}\n")
            print(f"{stage.name}: done in {took}", flush=True)
        else:
            failed.append(stage.name)
            print(f"{stage.name}: failed with status {status} after {took}", flush=True)
        if copy is not None:
            copy.update()
    if waiting:
        print(f"Not done yet; the same call goes on with: {', '.join(waiting)}.")
    if failed:
        print(f"Failed, and tried again by the next call: {', '.join(failed)}.")
    return FAILED if failed else TIME_OVER if waiting else DONE


def _seconds_needed(stage: Stage, noted: Path) -> float:
    """What must be left for it to begin; more than it had when it was stopped."""
    if stage.minutes is None:
        return 0.0
    longer = noted / f"{stage.name}.longer"
    had = float(longer.read_text()) if longer.exists() else 0.0
    return max(60 * stage.minutes, 1.2 * had)


def _run(command: Sequence[str], root: Path, seconds: float | None) -> int | None:
    """Exit status of a command; None if it was stopped because the time was over."""
    process = subprocess.Popen(command, cwd=root, start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        _stop(process)
        return None
    except BaseException:
        _stop(process)
        raise


def _stop(process: subprocess.Popen[Any]) -> None:
    """Ask it to write its checkpoints and leave; then end it with all that it has started."""
    process.terminate()
    try:
        process.wait(GRACE / 2)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class _Copy:
    """A copy of what commands write, in a folder that outlives the machine."""

    def __init__(self, root: Path, keep: Path):
        self.root, self.keep = root, keep
        for path in self._files(keep):
            target = root / path
            if not target.exists():
                self._copy(keep / path, target)
        self.seen = {path: (root / path).stat().st_mtime for path in self._files(root)}

    def update(self) -> None:
        """Copy what was written since the last time; forget what a command has deleted since."""
        now = {path: (self.root / path).stat().st_mtime for path in self._files(self.root)}
        for path in self.seen.keys() - now.keys():
            (self.keep / path).unlink(missing_ok=True)
        for path, written in now.items():
            if self.seen.get(path) != written or not (self.keep / path).exists():
                self._copy(self.root / path, self.keep / path)
        self.seen = now

    @staticmethod
    def _files(folder: Path) -> list[Path]:
        found = [path for part in KEPT for path in (folder / part).rglob("*") if path.is_file()]
        return [path.relative_to(folder) for path in found]

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, help="length of this slice; default all it takes")
    parser.add_argument("--device", default="cuda", help="default: %(default)s")
    parser.add_argument("--only", default="", help="stages whose names begin so, as in 'table-A'")
    parser.add_argument("--keep", type=Path, help="folder for a copy of what is written")
    parser.add_argument("--list", action="store_true", help="print the commands and stop")
    given = parser.parse_args()
    wanted = [stage for stage in stages(given.device) if stage.name.startswith(given.only)]
    if not wanted:
        parser.error(f"no stage begins with '{given.only}'; --list shows them")
    if given.list:
        for stage in wanted:
            print(f"{stage.name:<32} {' '.join(stage.command)}")
        return DONE
    if given.minutes is not None and 60 * given.minutes <= GRACE:
        parser.error(f"--minutes is {given.minutes:g}, but a slice needs more than {GRACE / 60:g}")
    from unigen_edu.errors import UnigenError
    from unigen_edu.training import pick_device

    try:
        if pick_device(given.device).type == "cpu":
            parser.error("this is for a GPU; the commands of --list run on a CPU as well, by hand")
    except UnigenError as error:
        parser.error(str(error))
    # A classifier that is trained at its first use belongs to the records that it scores.
    os.environ.setdefault("UNIGEN_CLASSIFIERS", str(ROOT / "build" / "gpu" / "classifiers"))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what runs is to be stopped then
    return run(wanted, given.minutes, keep=given.keep)


if __name__ == "__main__":
    sys.exit(main())
