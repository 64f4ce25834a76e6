"""Run learning checks over all seeds and mutants, and keep what came out in results/learning/.

python -m tests.learning.record [CHECK ...]      all of them, or those named
python -m tests.learning.record --table          print the recorded table
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from tests.learning.learning_check import SEEDS, LearningCheck, all_checks
from unigen_edu import __version__

FOLDER = Path(__file__).parents[2] / "results" / "learning"


def record(check: LearningCheck) -> dict[str, Any]:
    """The check on every seed, with and without each mutant."""

    def over_seeds(mutant: str | None) -> tuple[list[float | None], list[float]]:
        results = [check.run(seed, mutant) for seed in SEEDS]
        values = [r.value if math.isfinite(r.value) else None for r in results]
        return values, [round(r.seconds, 2) for r in results]

    values, seconds = over_seeds(None)
    mutants: dict[str, list[float | None]] = {}
    for name in check.mutants:
        try:
            mutants[name] = over_seeds(name)[0]
        except ValueError as error:  # not finite: `fit` stopped the run
            mutants[name] = [None] * len(SEEDS)
            print(f"  {name}: {error}")
    return {
        "model": check.model,
        "form": check.form,
        "metric": check.metric,
        "data": check.data,
        "options": dict(check.options),
        "steps": check.steps,
        "batch_size": check.batch_size,
        "higher_is_better": check.higher_is_better,
        "seeds": list(SEEDS),
        "values": values,
        "mutants": mutants,
        "seconds": seconds,
        "device": f"cpu, {torch.get_num_threads()} thread",
        "machine": platform.machine(),
        "torch": torch.__version__,
        "unigen_edu": __version__,
        "commit": commit(),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def commit() -> str:
    """The commit that the run was made at, marked if the code had changed since."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, cwd=FOLDER.parents[1], check=True
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "unigen_edu", "tests/learning")
    return git("rev-parse", "HEAD") + (" with changes" if changed else "")


def best_mutant(found: dict[str, Any]) -> tuple[str, float]:
    """The broken loss that came closest to passing, and its best seed."""
    sign = 1.0 if found["higher_is_better"] else -1.0

    def best(values: list[float | None]) -> float:
        return max((sign * v for v in values if v is not None), default=-math.inf)

    name = max(found["mutants"], key=lambda mutant: best(found["mutants"][mutant]))
    return name, sign * best(found["mutants"][name])


def row(check: LearningCheck, found: dict[str, Any]) -> str:
    values = [v for v in found["values"] if v is not None]
    name, closest = best_mutant(found)
    model = found["model"] + (f" ({found['form']})" if found["form"] else "")
    side = ">" if found["higher_is_better"] else "<"
    spread = statistics.stdev(values) if len(values) > 1 else math.nan
    return (
        f"| {model} | {found['metric']} | {statistics.mean(values):.4g} ± {spread:.2g} "
        f"| {side} {check.threshold:.4g} | {name}: {closest:.4g} "
        f"| {statistics.mean(found['seconds']):.1f} |"
    )


def table() -> str:
    head = (
        "| Model | Metric | Mean ± sd | Threshold | Best mutant | Seconds |\n"
        "|---|---|---|---|---|---|"
    )
    rows = (
        row(check, json.loads((FOLDER / f"{key}.json").read_text()))
        for key, check in all_checks().items()
        if (FOLDER / f"{key}.json").exists()
    )
    return "\n".join([head, *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("checks", nargs="*", help="keys of checks, or names of models")
    parser.add_argument("--table", action="store_true", help="print what is recorded and stop")
    given = parser.parse_args()
    if given.table:
        print(table())
        return
    torch.set_num_threads(1)
    known = all_checks()
    chosen = [c for c in known.values() if not given.checks or {c.key, c.model} & {*given.checks}]
    if not chosen:
        parser.error(f"no such check; the checks are {', '.join(known)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for check in chosen:
        found = record(check)
        (FOLDER / f"{check.key}.json").write_text(json.dumps(found, indent=2) + "\n")
        print(row(check, found), flush=True)


if __name__ == "__main__":
    main()
