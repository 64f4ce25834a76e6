"""What students get is what the source gives, runs anywhere, and tells no secret."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from unigen_edu import exercises

HOME = exercises.find_home()
KINDS = {"derive", "implement", "diagnose", "interpret"}


def student_folder(exercise):
    return HOME / exercise / "student"


def cells(path, cell_type="code"):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == cell_type]


def source_cells(exercise):
    """The code of the source, with the values that the repository's notebooks have."""
    notebook = json.loads((HOME / exercise / exercises.SOURCE).read_text(encoding="utf-8"))
    exercises.keyed(notebook, exercises.OPEN_KEY, exercise)
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]


def student_files(exercise):
    folder = student_folder(exercise)
    return [folder / f"{exercise}.ipynb", *sorted((folder / "tests").glob("*.py"))]


def test_committed_student_version_is_what_the_source_gives(exercise):
    assert exercises.out_of_date(exercise) == []


def test_stale_student_version_is_noticed(exercise, tmp_path):
    home = tmp_path / "exercises"
    source = home / exercise / exercises.SOURCE
    source.parent.mkdir(parents=True)
    text = (HOME / exercise / exercises.SOURCE).read_text(encoding="utf-8")
    source.write_text(text, encoding="utf-8")
    exercises.generate(exercise, home)
    assert exercises.out_of_date(exercise, home) == []
    for file in student_files(exercise):  # generating twice gives the same bytes
        again = home / file.relative_to(HOME)
        assert again.read_bytes() == file.read_bytes()

    source.write_text(text.replace("## Done", "## The end"), encoding="utf-8")
    assert exercises.out_of_date(exercise, home) == [f"{exercise}.ipynb"]
    (home / exercise / "student" / "tests" / "q1.py").unlink()
    assert exercises.out_of_date(exercise, home) == [f"{exercise}.ipynb", "tests/q1.py"]


def test_no_solution_and_no_hidden_test_reaches_students(exercise):
    secret, public, hidden_names = set(), set(), set()
    for source in source_cells(exercise):
        if re.match(r"#\s*HIDDEN", source):
            (function,) = (n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef))
            hidden_names.add(function.name)
            secret.update(re.findall(r'assert .*, f?("[^"]+")', source))
            continue
        inside = False
        for line in source.splitlines():
            if "# END SOLUTION" in line:
                inside = False
            answer = inside or line.rstrip().endswith("# SOLUTION")
            (secret if answer else public).add(line.removesuffix("# SOLUTION").strip())
            if "# BEGIN SOLUTION" in line:
                inside = True
    secret -= public  # such as the first line of a dictionary that the stub has too
    assert len(hidden_names) >= 5
    assert len(secret) > 20
    # A short line of a reference may also occur by chance inside a longer one.
    for file in student_files(exercise):
        text = file.read_text(encoding="utf-8")
        code = "\n".join(cells(file)) if file.suffix == ".ipynb" else text
        lines = {line.strip() for line in code.splitlines()}
        found = [s for s in secret if len(s) > 4 and (s in lines or (len(s) > 12 and s in code))]
        found += [name for name in hidden_names if name in code]
        assert found == [], file
        assert "BEGIN SOLUTION" not in text
        assert "hidden=True" not in text
    assert not list(student_folder(exercise).rglob("*.zip"))


def test_headers_say_the_points_minutes_kind_and_goal(exercise, runners):
    points = runners(exercise).built.points
    prose = "\n".join(cells(student_folder(exercise) / f"{exercise}.ipynb", "markdown"))
    headers = re.findall(
        r"^## Question (\d+) ·.*?(\d+) points · (\d+) minutes\n\n\*([\w ]+)\. Goal (\d)",
        prose,
        re.MULTILINE,
    )
    assert {f"q{number}": float(worth) for number, worth, *_ in headers} == points
    rows = re.findall(r"^\| (\d) \| ([\w ]+):.*\| (\d) \| (\d+) \| (\d+) \|$", prose, re.MULTILINE)
    minutes = [int(row[2]) for row in headers]
    assert [(n, kind.lower(), goal, worth, time) for n, worth, time, kind, goal in headers] == [
        (n, kind, goal, worth, time) for n, kind, goal, worth, time in rows
    ]  # the table at the top and the headers agree
    assert f"{sum(points.values()):g} points, about {sum(minutes)} minutes" in prose
    assert {kind for *_, text, _ in headers for kind in KINDS if kind in text.lower()} == KINDS


def test_notebook_names_its_exercise_twice(exercise):
    """In the metadata, and in the first cell for editors that drop metadata."""
    path = student_folder(exercise) / f"{exercise}.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["metadata"]["otter"] == {"assignment_name": exercise}
    assert f'EXERCISE, REPOSITORY = "{exercise}", ' in cells(path)[0]
    assert all(c["outputs"] == [] for c in notebook["cells"] if c["cell_type"] == "code")


def test_addresses_are_those_of_the_project(exercise):
    pyproject = (HOME.parent / "pyproject.toml").read_text(encoding="utf-8")
    (repository,) = re.findall(r'^Repository = "(.*)"$', pyproject, re.MULTILINE)
    path = student_folder(exercise) / f"{exercise}.ipynb"
    assert f'"{repository}"' in cells(path)[0]
    slug = repository.removeprefix("https://github.com/")
    where = f"exercises/{exercise}/student/{exercise}.ipynb"
    top = cells(path, "markdown")[0]
    assert f"https://colab.research.google.com/github/{slug}/blob/main/{where}" in top
    assert f"https://mybinder.org/v2/gh/{slug}/main?urlpath=lab/tree/{where}" in top


# ---- the first cell -----------------------------------------------------------------------------


class Machine:
    """Stands in for git and pip: records what the first cell asks for, and clones by hand."""

    def __init__(self, exercise, missing, online=True):
        self.exercise, self.missing, self.online = exercise, missing, online
        self.pip: list[list[str]] = []

    def find_spec(self, name, *rest):
        return None if name in self.missing else types.SimpleNamespace(name=name)

    def run(self, command, **_):
        if command[0] == "git":
            if not self.online:
                return subprocess.CompletedProcess(command, 128)
            tests = Path(command[-1]) / "exercises" / self.exercise / "student" / "tests"
            tests.mkdir(parents=True)
            (tests / "q1.py").write_text("")
        else:
            self.pip.append(command)
        return subprocess.CompletedProcess(command, 0)


@pytest.fixture
def first_cell(monkeypatch, tmp_path):
    def run(exercise, missing, online=True, tests=False):
        machine = Machine(exercise, missing, online)
        monkeypatch.chdir(tmp_path)
        if tests:
            (tmp_path / "tests").mkdir()
        monkeypatch.setattr(importlib.util, "find_spec", machine.find_spec)
        monkeypatch.setattr(subprocess, "run", machine.run)
        otter = types.SimpleNamespace(Notebook=lambda: "a grader")
        monkeypatch.setitem(sys.modules, "otter", otter)
        environment: dict[str, object] = {}
        code = cells(student_folder(exercise) / f"{exercise}.ipynb")[0]
        exec(compile(code, "<first cell>", "exec"), environment)
        assert environment["grader"] == "a grader"
        return machine

    return run


def test_first_cell_installs_nothing_where_all_is_there(exercise, first_cell, tmp_path):
    machine = first_cell(exercise, missing=(), tests=True, online=False)
    assert machine.pip == []
    assert [p.name for p in tmp_path.iterdir()] == ["tests"]


def test_first_cell_in_colab_keeps_torch_and_numpy(exercise, first_cell, tmp_path):
    machine = first_cell(exercise, missing=("unigen_edu", "otter"))
    (command,) = machine.pip
    assert command[1:5] == ["-m", "pip", "install", "--quiet"]
    assert command[-2:] == ["./unigen-edu", "otter-grader"]
    assert "--upgrade" not in command
    pins = (tmp_path / command[command.index("--constraint") + 1]).read_text().split()
    for package in ("torch", "torchvision", "numpy"):
        assert f"{package}=={importlib.metadata.version(package)}" in pins
    assert (tmp_path / "tests" / "q1.py").exists()


def test_first_cell_fetches_missing_tests_alone(exercise, first_cell, tmp_path):
    machine = first_cell(exercise, missing=())
    assert machine.pip == []
    assert (tmp_path / "tests" / "q1.py").exists()


def test_first_cell_without_network_says_what_to_do(exercise, first_cell):
    with pytest.raises(RuntimeError, match=r"connect to the network, or download the whole folder"):
        first_cell(exercise, missing=("otter",), online=False)


# ---- the command --------------------------------------------------------------------------------


def test_command_checks_and_rejects(monkeypatch, capsys):
    assert exercises.main(["--check"]) == 0
    assert ": up to date" in capsys.readouterr().out
    monkeypatch.setattr(exercises, "out_of_date", lambda name: ["tests/q1.py"])
    assert exercises.main(["--check"]) == 1
    assert "differs: tests/q1.py" in capsys.readouterr().out
    assert exercises.main(["99_nothing"]) == 2
    assert "there is no exercise '99_nothing'" in capsys.readouterr().err
