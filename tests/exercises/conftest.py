"""A small runner for exercises: the cells and the test files of otter, without its processes.

Grading one notebook with otter takes about seven seconds of computing, most of it imports. There
are about ninety answers to try, so they are executed here in one process, against the same test
files. tests/test_grading.py shows that the two agree.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch

from unigen_edu import exercises

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HOME = exercises.find_home()


@dataclass
class Outcome:
    """What the tests of each question said."""

    scores: dict[str, float] = field(default_factory=dict)
    messages: dict[str, list[str]] = field(default_factory=dict)  # of the failed public tests
    hidden_failures: dict[str, int] = field(default_factory=dict)


def code_cells(notebook: Path) -> list[dict[str, Any]]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [
        {"source": "".join(c["source"]), "tags": c["metadata"].get("tags", [])}
        for c in cells
        if c["cell_type"] == "code"
    ]


def checked_question(cell: Mapping[str, Any]) -> str | None:
    found = re.fullmatch(r'grader\.check\("(\w+)"\)', cell["source"].strip())
    return found.group(1) if found else None


class Runner:
    """Executes the reference once, and another answer from where the reference then stood.

    Cells tagged ``figure`` are drawn once only: they read nothing that students write.
    """

    def __init__(self, name: str, folder: Path, key: bytes) -> None:
        self.built = exercises.build(name, folder, key=key)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from otter.nbmeta_config import NBMetadataConfig
            from otter.test_files import create_test_file

        tests = sorted((self.built.key.parent / "tests").glob("*.py"))
        self.tests = {t.stem: create_test_file(str(t), NBMetadataConfig()) for t in tests}
        self.cells = [c for c in code_cells(self.built.key) if "setup" not in c["tags"]]
        self.answer_cell = self._answer_cells()  # question -> index
        self._before: dict[str, dict[str, Any]] = {}  # question -> environment before its answer
        question_at = {index: question for question, index in self.answer_cell.items()}
        self.reference, environment = Outcome(), dict[str, Any]()
        for index, cell in enumerate(self.cells):
            if index in question_at:
                self._before[question_at[index]] = dict(environment)
            self._run(cell, environment, self.reference)
        plt.close("all")

    def _answer_cells(self) -> dict[str, int]:
        found: dict[str, int] = {}
        last = -1
        for index, cell in enumerate(self.cells):
            if "otter_assign_solution_cell" in cell["tags"]:
                last = index
            question = checked_question(cell)
            if question is not None:
                found[question] = last
        return found

    def _run(self, cell: dict[str, Any], environment: dict[str, Any], outcome: Outcome) -> None:
        """Execute a cell; where a question is checked, run all its tests, as otter does."""
        question = checked_question(cell)
        if question is None:
            execute(cell["source"], environment)
            return
        test = self.tests[question]
        with contextlib.redirect_stdout(io.StringIO()):
            test.run(environment)
        outcome.scores[question] = test.score
        failed = [result for result in test.test_case_results if not result.passed]
        outcome.messages[question] = [r.message for r in failed if not r.test_case.hidden]
        outcome.hidden_failures[question] = sum(r.test_case.hidden for r in failed)

    def source(self, question: str) -> str:
        """The reference answer."""
        return self.cells[self.answer_cell[question]]["source"]

    def public_only(self, question: str) -> bool:
        """Whether every test of a question can be seen by students."""
        return all(not case.hidden for case in self.tests[question].test_cases)

    def stub(self) -> Outcome:
        """The student's notebook as it is handed out; raises if one of its cells does."""
        outcome, environment = Outcome(), dict[str, Any]()
        for cell in code_cells(self.built.student / f"{self.built.name}.ipynb"):
            if "setup" not in cell["tags"]:
                self._run(cell, environment, outcome)
        return outcome

    def wanted_names(self, question: str) -> set[str]:
        """What the tests of a question ask for."""
        cases = self.tests[question].test_cases
        return {name for c in cases for name in inspect.signature(c.body.test_func).parameters}

    def filled(self, question: str, code: str) -> str:
        """The code of a listed answer with the values that this course's key gives its question."""
        return exercises.fill(code, self.built.values[question], True, f"answer to {question}")

    def alone(self, question: str, code: str, **names: Any) -> float:
        """The score of one question with this answer, which sees ``names``; no other is asked."""
        environment, outcome = {**self._before[question], **names}, Outcome()
        execute(code, environment)
        check = next(cell for cell in self.cells if checked_question(cell) == question)
        self._run(check, environment, outcome)
        return outcome.scores[question]

    def with_answer(self, question: str, code: str) -> Outcome:
        """The reference's notebook as far as this question, which is answered in another way."""
        environment, outcome = dict(self._before[question]), Outcome()
        start = self.answer_cell[question] + 1
        for cell in [{"source": self.filled(question, code), "tags": []}, *self.cells[start:]]:
            if "figure" not in cell["tags"]:
                with contextlib.suppress(Exception):  # an error ends a cell, not the notebook
                    self._run(cell, environment, outcome)
            if question in outcome.scores:
                break
        return outcome

    def with_answers(self, answers: Mapping[str, str]) -> Outcome:
        """The whole notebook, with these answers (question -> code), else the reference's."""
        environment, outcome = dict[str, Any](), Outcome()
        replaced = {self.answer_cell[q]: self.filled(q, code) for q, code in answers.items()}
        for index, cell in enumerate(self.cells):
            if "figure" not in cell["tags"]:
                written = {**cell, "source": replaced.get(index, cell["source"])}
                with contextlib.suppress(Exception):
                    self._run(written, environment, outcome)
        return outcome


def execute(code: str, environment: dict[str, Any]) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(code, "<cell>", "exec"), environment)


@dataclass(frozen=True)
class Answer:
    exercise: str
    question: str
    kind: str  # "wrong" or "right"
    name: str
    code: str
    says: str | None

    def __str__(self) -> str:
        return f"{self.exercise}-{self.question}-{self.name}"


def listed_answers(name: str) -> list[Answer]:
    listed = tomllib.loads((HOME / name / "answers.toml").read_text(encoding="utf-8"))
    return [
        Answer(name, question, kind, entry["name"], entry["code"], entry.get("says"))
        for question, kinds in listed.items()
        for kind, entries in kinds.items()
        for entry in entries
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize by exercise, and by the wrong or the right answers listed for it."""
    if "exercise" in metafunc.fixturenames:
        metafunc.parametrize("exercise", exercises.names())
    for kind in ("wrong", "right"):
        if f"{kind}_answer" in metafunc.fixturenames:
            listed = [a for name in exercises.names() for a in listed_answers(name)]
            chosen = [answer for answer in listed if answer.kind == kind]
            metafunc.parametrize(f"{kind}_answer", chosen, ids=str)
    if "blind_answer" in metafunc.fixturenames:
        listed = [a for name in exercises.names() for a in listed_answers(name)]
        chosen = [answer for answer in listed if answer.kind == "wrong" and answer.says is None]
        metafunc.parametrize("blind_answer", chosen, ids=str)


@pytest.fixture(scope="session")
def answers() -> Any:
    """answers(name) -> the answers listed for an exercise."""
    return listed_answers


@pytest.fixture(scope="session")
def runners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """runners(name, key) -> Runner, built once; the notebooks' dtype is put back at the end.

    Without a key it is the exercise as the repository holds it.
    """
    import matplotlib

    dtype, backend = torch.get_default_dtype(), matplotlib.get_backend()
    matplotlib.use("agg")
    made: dict[tuple[str, bytes], Runner] = {}

    def runner(name: str, key: bytes = exercises.OPEN_KEY) -> Runner:
        if (name, key) not in made:
            made[name, key] = Runner(name, tmp_path_factory.mktemp(name), key)
        torch.set_default_dtype(torch.float64)
        return made[name, key]

    yield runner
    torch.set_default_dtype(dtype)
    matplotlib.use(backend)


@pytest.fixture(autouse=True)
def _default_dtype() -> Iterator[None]:
    """No test leaves the notebooks' dtype behind."""
    dtype = torch.get_default_dtype()
    yield
    torch.set_default_dtype(dtype)
