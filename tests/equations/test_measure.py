"""The fixture `measure` and its record, driven in a pytest of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import equation_registry as registry
import pytest

GOOD = """
import math, pytest, torch

@pytest.mark.equation("eq-demo-first")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_first(measure, seed):
    left = torch.tensor([1.0, math.inf], dtype=torch.float64)
    assert measure("eq-demo-first", left, left + 1e-12)

@pytest.mark.equation("eq-demo-second")
def test_second(measure):
    assert measure("eq-demo-second", 1.0, 2.0, relation="<=")
    assert measure("eq-demo-second", 1.0, 2.0, tolerance=0.5, relation="!=")
"""


@pytest.fixture
def run(tmp_path: Path):
    """Run a test file in a copy of this folder; returns (exit code, output, record or None)."""
    folder = tmp_path / "tests" / "equations"
    folder.mkdir(parents=True)
    for name in ("conftest.py", "equation_registry.py"):
        (folder / name).write_text((registry.CHECKS / name).read_text(encoding="utf-8"))
    (folder / "definitions").mkdir()
    (folder / "definitions" / "demo.toml").write_text('eq-demo-third = "defines a third letter"\n')
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\npythonpath = tests/equations\naddopts = --import-mode=importlib\n"
        "markers =\n    equation(*labels): demo\n"
    )

    def run(source: str, *options: str) -> tuple[int, str, dict | None]:
        (folder / "test_demo.py").write_text(source)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
        alone = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        done = subprocess.run(
            command, cwd=tmp_path, env=alone, capture_output=True, text=True, timeout=120
        )
        record = tmp_path / "build" / "equations.json"
        found = json.loads(record.read_text()) if record.exists() else None
        return done.returncode, done.stdout, found

    return run


@pytest.mark.parametrize("options", [(), ("-n2",)])
@pytest.mark.parametrize("where", ["tests", "tests/equations"])
def test_the_record_holds_every_check_however_many_workers_ran_them(run, where, options):
    code, output, record = run(GOOD, where, *options)
    assert code == 0, output
    assert set(record) == {"eq-demo-first", "eq-demo-second", "eq-demo-third"}
    assert record["eq-demo-first"]["comparisons"] == 3
    assert record["eq-demo-first"]["error"] == pytest.approx(1e-12, rel=1e-3, abs=0)
    assert record["eq-demo-first"]["tests"] == ["test_demo.py::test_first"]
    assert record["eq-demo-second"]["error"] == 0.0
    assert record["eq-demo-third"]["kind"] == "definition"


def test_a_run_of_some_checks_leaves_the_record_alone_and_a_failed_one_removes_it(run):
    run(GOOD, "tests")
    code, _, record = run(GOOD, "tests", "-k", "second")
    assert code == 0
    assert len(record) == 3
    code, output, record = run(GOOD.replace("1e-12", "1e-9"), "tests")
    assert code == 1
    assert "eq-demo-first: off by 1.000e-09, more than 1e-10" in output
    assert record is None


def test_a_worker_that_crashes_leaves_no_record_behind(run):
    # Another takes its place and goes on: its record would lack what the first had measured.
    crash = "\n\ndef test_crash():\n    import os\n    os._exit(1)\n"
    code, output, record = run(GOOD + crash, "tests", "-n1")
    assert code == 1
    assert "crashed while running" in output
    assert record is None


def test_a_check_that_checks_nothing_or_something_false_fails(run):
    says = {
        'assert measure("eq-demo-a", float("nan"), float("nan"))': "off by nan",
        'assert measure("eq-demo-a", 2.0, 1.0, relation="<=")': "off by 1.000e+00",
        'assert measure("eq-demo-a", 1.0, 1.0, relation="!=")': "differ by only 0.000e+00",
        'assert measure("eq-demo-a", [1.0, 2.0], [1.0, 2.0, 3.0])': "shapes (2,) and (3,)",
        'assert measure("eq-demo-a", [], [])': "a side is empty",
        'assert measure("eq-demo-b", 1.0, 1.0)': (
            'mark this test with @pytest.mark.equation("eq-demo-b")'
        ),
        "pass": "marked with eq-demo-a, but measured nothing for it",
        'measure("eq-demo-a", 1.0, 3.0)': "not asserted, and false: eq-demo-a: off by 2.000e+00",
    }
    tests = (
        f'@pytest.mark.equation("eq-demo-a")\ndef test_{i}(measure):\n    {body}\n'
        for i, body in enumerate(says)
    )
    code, output, record = run("import pytest\n\n" + "\n".join(tests), "tests")
    assert code == 1
    assert record is None
    *_, last = output.strip().splitlines()
    # The last two pass and then fail in teardown: one measured nothing, one did not assert.
    assert "6 failed, 2 passed" in last
    assert "2 errors" in last
    for sentence in says.values():
        assert sentence in output
