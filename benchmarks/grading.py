"""Time to grade a class: `unigen grade` on a hundred submissions, fifteen of them hostile.

    python benchmarks/grading.py                       # 100 submissions, all exercises in turn
    python benchmarks/grading.py --students 20 --hostile 3 --jobs 2

The honest ones are reference answers, notebooks as handed out, and references with one of the
listed wrong answers, of all exercises in turn, under a key of their own. Each must get exactly the
points that its answers deserve, and each hostile one no more than it deserves; the run fails
otherwise. Written: the time in all, the seconds of computing of each, and the most memory that the
grader and all its processes held together.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from throughput import ROOT, provenance

from tests.exercises.conftest import listed_answers
from tests.grading_mini import RIGHT, WRONG
from tests.test_grading_class import HOSTILE, WALLED
from unigen_edu import courses, exercises, grading, sandbox

KEY = b"the key of the class of the benchmark"
# Cells put in front of a notebook without answers, which then deserves nothing, or no grade.
HARMFUL = {
    **{
        name: [cell for cell in cells if cell not in (*RIGHT, *WRONG)]
        for name, (cells, _) in (HOSTILE | WALLED).items()
    },
    "endless loop": ["while True: pass"],
    "sudden end": ["import os; os._exit(0)"],
}


def notebook_with(path: Path, first: list[str], answers: dict[str, str] | None = None) -> str:
    """A notebook's text with cells in front, and some of its cells replaced."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        cell["source"] = (answers or {}).get(source, source)
    notebook["cells"] = [
        {"cell_type": "code", "id": f"first-{n}", "metadata": {}, "outputs": [],
         "execution_count": None, "source": code}
        for n, code in enumerate(first)
    ] + notebook["cells"]  # fmt: skip
    return json.dumps(notebook)


def fill(folder: Path, work: Path, students: int, hostile: int) -> dict[str, float | None]:
    """Write the class; returns file -> the points it deserves, None if it may have no grade."""
    from tests.exercises.conftest import Runner

    chance = random.Random(0)
    deserved: dict[str, float | None] = {}
    names = exercises.names()
    runners = {name: Runner(name, work / name, KEY) for name in names}
    harmful = list(HARMFUL.items())
    for number in range(students):
        name = names[number % len(names)]
        runner = runners[name]
        stub = runner.built.student / f"{name}.ipynb"
        total = sum(runner.built.points.values())
        file = f"student-{number:03d}.ipynb"
        if number < hostile:
            label, cells = harmful[number % len(harmful)]
            file = f"hostile-{number:03d} {label}.ipynb"
            text = notebook_with(stub, [c.replace("THE CLASS", str(folder)) for c in cells])
            deserved[file] = None
        elif number % 3 == 0:
            text = notebook_with(stub, [])
            deserved[file] = 0.0
        elif number % 3 == 1:
            text = notebook_with(runner.built.key, [])
            deserved[file] = total
        else:
            wrong = chance.choice([a for a in listed_answers(name) if a.kind == "wrong"])
            code = exercises.fill(wrong.code, runner.built.values[wrong.question], True, file)
            answers = {runner.source(wrong.question): code}
            text = notebook_with(runner.built.key, [], answers)
            deserved[file] = total - runner.built.points[wrong.question]
        (folder / file).write_text(text, encoding="utf-8")
    return deserved


class Memory:
    """The most memory that this process and all under it held, in GiB, looked at twice a second.

    What several processes share counts once.
    """

    def __init__(self) -> None:
        self.most, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.5):
            family = [me, *me.children(recursive=True)]
            held = sum(map(sandbox.share_of_memory, family))
            self.most = max(self.most, held / 2**30)

    def stop(self) -> float:
        self._stop.set()
        self._thread.join()
        return round(self.most, 2)


def main() -> int:
    parser = argparse.ArgumentParser(description="Time to grade a class.")
    parser.add_argument("--students", type=int, default=100)
    parser.add_argument("--hostile", type=int, default=15)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmark_grading.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        folder = work / "class"
        folder.mkdir()
        deserved = fill(folder, work / "built", given.students, given.hostile)
        courses.new(work / "course", KEY)
        table, memory = work / "grades.csv", Memory()
        start = time.perf_counter()
        grading.grade_path(folder, table, jobs=given.jobs, course=work / "course")
        seconds = time.perf_counter() - start
        most = memory.stop()
        with table.open(newline="", encoding="utf-8") as stream:
            rows = {row["file"]: row for row in csv.DictReader(stream)}
    wrong = []
    outcomes: dict[str, Any] = {}
    for file, points in deserved.items():
        row = rows[file]
        if points is None:
            outcomes[file.removesuffix(".ipynb")] = row["reason"] or f"{row['total']} points"
            if row["total"] not in ("", "0"):
                wrong.append(file)
        elif row["reason"] or float(row["total"]) != points:
            wrong.append(f"{file}: {row['total'] or row['reason']} and not {points:g}")
    result = {
        **provenance(torch.device("cpu")),
        "submissions": given.students,
        "hostile": given.hostile,
        "jobs": given.jobs,
        "exercises": len(exercises.names()),
        "minutes": round(seconds / 60, 2),
        "seconds_per_submission": round(seconds * given.jobs / given.students, 2),
        "most_memory_gib": most,
        "wrong": wrong,
        "hostile_outcomes": outcomes,
    }
    given.out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in result.items() if k != "versions"}, indent=2))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
