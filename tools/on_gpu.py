"""Do on a GPU what waits for one: checks, measurements of speed, the tables, the longer runs.

    python tools/on_gpu.py                              # all of it, however long it takes
    python tools/on_gpu.py --minutes 9                  # what fits into nine minutes
    python tools/on_gpu.py --minutes 9 --copy-to KEPT   # ... and copies what it wrote to KEPT

A GPU is often lent for minutes. When the time is over, what runs is asked to stop (SIGTERM) and
leaves its checkpoints; the same call goes on from there. If the next slice runs on a fresh machine,
put the content of KEPT back into the checkout first. Every command can be given by hand as well;
they are printed. MNIST and the other data come from UNIGEN_DATA, or are downloaded.

Exit status: 0 everything is done; 3 the time is over; 1 a command failed, which the next call tries
again.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KEPT = ("results", "runs/reproduce", "build/gpu")  # what commands write, in the checkout
GRACE = 60.0  # seconds for a command to write its checkpoints
DONE, FAILED, TIME_OVER = 0, 1, 3


@dataclass(frozen=True)
class Stage:
    """One command.

    Attributes:
        name: of the file that says it is done.
        command: arguments, the program first.
        minutes: how long it takes at most, if it cannot be continued: it is not begun with less
            time left. None: it continues where it was stopped.
    """

    name: str
    command: tuple[str, ...]
    minutes: float | None = None


def stages(device: str = "cuda") -> list[Stage]:
    """What is to be done, in order: what others build on first."""
    from unigen_edu.experiments import COMPARISONS

    python = sys.executable
    on = ("--device", device)
    found = [
        Stage(
            "checks",
            (python, "-m", "pytest", "-q", "tests/test_training.py", "tests/test_seeds.py",
             "tests/test_precision_and_compile.py"),
            minutes=8,
        ),
        Stage("speed-mlp", (python, "benchmarks/throughput.py", *on), minutes=8),
        Stage(
            "speed-conv",
            (python, "benchmarks/throughput.py", *on, "--network", "conv", "--models", "gan",
             "--out", f"results/benchmark_{device}_conv.json"),
            minutes=8,
        ),
        Stage("speed-seeds", (python, "benchmarks/seeds.py", *on), minutes=8),
        Stage("speed-options", (python, "benchmarks/seeds.py", *on, "--options"), minutes=8),
    ]  # fmt: skip
    for comparison in COMPARISONS:
        found.append(
            Stage(
                f"table-{comparison.table}-{comparison.name}",
                (python, "-m", "unigen_edu", "reproduce", comparison.name, "--scale", "paper",
                 *on, "--quiet"),
            )
        )  # fmt: skip
    for notebook in sorted((ROOT / "book").glob("[0-9][0-9]_*.ipynb")):
        longer = (python, "tools/longer_runs.py", "--scale", "full", notebook.stem)
        found.append(Stage(f"chapter-{notebook.stem}", longer, minutes=8))
    return found


def run(
    wanted: Sequence[Stage], minutes: float | None, root: Path = ROOT, copy_to: Path | None = None
) -> int:
    """Run what is not done yet; returns the exit status.

    Args:
        wanted: in order.
        minutes: of this call; None takes what it needs.
        root: of the checkout. The stages that are done are noted in its `build/gpu`.
        copy_to: folder that gets a copy of every file which was written below `KEPT`.
    """
    noted = root / "build" / "gpu"
    noted.mkdir(parents=True, exist_ok=True)
    began = time.time()
    end = None if minutes is None else time.monotonic() + 60 * minutes
    failed: list[str] = []
    waiting: list[str] = []
    for stage in wanted:
        if (noted / f"{stage.name}.done").exists():
            continue
        left = None if end is None else end - time.monotonic()
        needed = GRACE if stage.minutes is None else 60 * stage.minutes
        if left is not None and left < needed:
            waiting.append(stage.name)
            continue
        print(f"{stage.name}: {' '.join(stage.command)}", flush=True)
        started = time.monotonic()
        status = _run(stage.command, root, None if left is None else left - GRACE)
        took = f"{(time.monotonic() - started) / 60:.1f} min"
        if status is None:
            print(f"{stage.name}: stopped after {took}", flush=True)
            waiting.append(stage.name)
        elif status == 0:
            (noted / f"{stage.name}.done").write_text(f"{took}\n")
            print(f"{stage.name}: done in {took}", flush=True)
        else:
            failed.append(stage.name)
            print(f"{stage.name}: failed with status {status} after {took}", flush=True)
        if copy_to is not None:
            _copy_written(root, copy_to, began)
    if waiting:
        print(f"The time is over; the same call goes on with: {', '.join(waiting)}.")
    if failed:
        print(f"Failed, and tried again by the next call: {', '.join(failed)}.")
    return FAILED if failed else TIME_OVER if waiting else DONE


def _run(command: Sequence[str], root: Path, seconds: float | None) -> int | None:
    """Exit status of a command; None if it was stopped because the time was over."""
    process = subprocess.Popen(command, cwd=root)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return None
    except BaseException:  # Ctrl-C reaches the command too, which then writes its checkpoints
        process.wait()
        raise


def _copy_written(root: Path, copy_to: Path, since: float) -> None:
    """Copy what was written after `since`; what a command has deleted is deleted there as well."""
    for part in KEPT:
        for copied in sorted((copy_to / part).rglob("*"), reverse=True):
            if copied.is_file() and not (root / copied.relative_to(copy_to)).exists():
                copied.unlink()
        for path in (root / part).rglob("*"):
            if path.is_file() and path.stat().st_mtime >= since - 1:
                target = copy_to / path.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, help="length of this slice; default all it takes")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", default="", help="stages whose names begin so, as in 'table-A'")
    parser.add_argument("--copy-to", type=Path, help="folder that gets a copy of what was written")
    parser.add_argument("--list", action="store_true", help="print the commands and stop")
    given = parser.parse_args()
    wanted = [stage for stage in stages(given.device) if stage.name.startswith(given.only)]
    if not wanted:
        parser.error(f"no stage begins with '{given.only}'; --list shows them")
    if given.list:
        for stage in wanted:
            print(f"{stage.name:<32} {' '.join(stage.command)}")
        return DONE
    if given.minutes is not None and given.minutes <= GRACE / 60:
        parser.error(f"--minutes is {given.minutes:g}, but a slice needs more than {GRACE / 60:g}")
    return run(wanted, given.minutes, copy_to=given.copy_to)


if __name__ == "__main__":
    sys.exit(main())
