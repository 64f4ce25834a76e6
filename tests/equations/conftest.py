"""The fixture `measure`, and the record of what it measured in `build/equations.json`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import equation_registry as registry
import pytest
import torch

Relation = Literal["==", "<=", "!="]

_records: list[dict[str, Any]] = []
_failed = False
_partial = False


def compare(left: Any, right: Any, relation: Relation = "==") -> float:
    """How far apart two sides are: the largest |left - right|, or the largest excess for "<=".

    Tensors, arrays or numbers, of one shape (a scalar goes with any shape). Equal infinities are 0
    apart. NaN on either side is NaN, which no tolerance admits.
    """
    a, b = (torch.as_tensor(side, dtype=torch.float64).detach().cpu() for side in (left, right))
    if a.shape != b.shape and a.numel() > 1 and b.numel() > 1:
        raise AssertionError(f"the sides have shapes {tuple(a.shape)} and {tuple(b.shape)}")
    if a.numel() == 0 or b.numel() == 0:
        raise AssertionError("a side is empty, so nothing would be compared")
    apart = torch.where(a == b, 0.0, a - b)
    return float(apart.clamp(min=0).max() if relation == "<=" else apart.abs().max())


@dataclass(frozen=True)
class Comparison:
    """How far apart two sides of an equation are; true if that is as it should be."""

    label: str
    gap: float
    tolerance: float
    relation: Relation

    def __bool__(self) -> bool:
        # In this form NaN satisfies neither.
        return self.gap > self.tolerance if self.relation == "!=" else self.gap <= self.tolerance

    def __repr__(self) -> str:
        if self:
            return f"{self.label}: as claimed"
        if self.relation == "!=":
            return f"{self.label}: the sides differ by only {self.gap:.3e}"
        return f"{self.label}: off by {self.gap:.3e}, more than {self.tolerance:.0e}"


@pytest.fixture
def measure(request: pytest.FixtureRequest) -> Iterator[Callable[..., Comparison]]:
    """Compare the two sides of a labelled equation, and record how far they are apart.

    `assert measure(label, left, right, tolerance=1e-10, relation="==")`: the `Comparison` is true
    if the relation holds. One that does not fails the test even where nobody asserts it. The
    relation may be "<=" for an inequality, or "!=" for a claim that the sides differ by more than
    `tolerance`. The label must be one of those in the test's `equation` mark, and a test that ends
    without having measured each of its labels fails.
    """
    labels = {a for mark in request.node.iter_markers("equation") for a in mark.args}
    seen: set[str] = set()
    broken: list[Comparison] = []

    def check(
        label: str, left: Any, right: Any, tolerance: float = 1e-10, relation: Relation = "=="
    ) -> Comparison:
        if label not in labels:
            raise AssertionError(f'mark this test with @pytest.mark.equation("{label}")')
        seen.add(label)
        found = Comparison(label, compare(left, right, relation), tolerance, relation)
        if not found:
            broken.append(found)
        _records.append(
            {
                "label": label,
                "test": f"{request.node.path.name}::{request.node.originalname}",
                "relation": relation,
                "error": found.gap,
                "tolerance": tolerance,
            }
        )
        return found

    yield check
    report = getattr(request.node, "_equation_call", None)
    passed = report is not None and report.passed
    if broken and passed:
        pytest.fail(f"not asserted, and false: {'; '.join(map(repr, broken))}")
    missed = labels - seen
    if missed and passed:
        pytest.fail(f"marked with {', '.join(sorted(missed))}, but measured nothing for it")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    global _failed
    report = yield
    if report.when == "call":
        item._equation_call = report  # type: ignore[attr-defined]
    _failed = _failed or (_is_check(item) and report.failed)
    return report


def _is_check(item: pytest.Item) -> bool:
    return item.get_closest_marker("equation") is not None


def pytest_deselected(items: list[pytest.Item]) -> None:
    global _partial
    _partial = _partial or any(_is_check(item) for item in items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """A run of some of the checks must not overwrite the record of all of them."""
    global _partial
    run = {item.path.name for item in session.items if _is_check(item)}
    checks = {t.split("::")[0] for tests in registry.labels_in_checks().values() for t in tests}
    some = any("::" in argument for argument in session.config.args)
    _partial = _partial or some or run != checks


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the record, once every worker of a parallel run has handed in its part."""
    # The process that hands out the tests to workers has run none itself.
    hands_out = getattr(session.config.option, "numprocesses", None) and not hasattr(
        session.config, "workerinput"
    )
    if _partial or hands_out or session.config.option.collectonly:
        return
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    # They are numbered from 0. A higher one replaces one that crashed with all it had measured.
    replaces = worker != "main" and int(worker.removeprefix("gw")) >= workers
    write_part(registry.RESULT, run, worker, workers, _records, _failed or replaces)


def write_part(
    target: Path, run: str, worker: str, workers: int, records: list[dict[str, Any]], failed: bool
) -> None:
    """Hand in one worker's records; the last of `workers` writes `target`.

    A run in which a check failed removes `target`: the book must not show the numbers of an
    earlier run beside an equation that does not hold.
    """
    parts = target.parent / f".equations-{run}"
    parts.mkdir(parents=True, exist_ok=True)
    draft = parts / f"{worker}.draft"
    draft.write_text(json.dumps({"records": records, "failed": failed}), encoding="utf-8")
    draft.rename(parts / f"{worker}.json")
    done = sorted(parts.glob("*.json"))
    if len(done) < workers:
        return
    try:
        handed_in = [json.loads(part.read_text(encoding="utf-8")) for part in done]
    except FileNotFoundError:
        return  # another worker was last too, and has tidied up
    if any(part["failed"] for part in handed_in):
        target.unlink(missing_ok=True)
    else:
        measured = [record for part in handed_in for record in part["records"]]
        index = registry.result(measured, registry.definitions())
        draft = parts / "equations"
        draft.write_text(json.dumps(index, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        draft.replace(target)
    shutil.rmtree(parts, ignore_errors=True)
