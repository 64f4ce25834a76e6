"""A course: the exercises drawn from a lecturer's secret key. `unigen course new FOLDER`.

    FOLDER/students/   to be handed out: the notebooks and their public tests, nothing else
    FOLDER/staff/      to be kept: the tests with the hidden ones, the answer keys, an archive for
                       Gradescope for each exercise, and course.toml, which `unigen grade --course`
                       reads

The sources of the exercises are open, solutions included. What is secret is the key: it draws the
worlds, shapes, seeds and numbers of this course, so that only a right answer is right in it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unigen_edu import exercises
from unigen_edu.errors import UnigenError

__all__ = ["Course", "Exercise", "load", "new", "of_build"]

CONFIGURATION = "course.toml"
SHORTEST_KEY = 16  # bytes
SECONDS, MEMORY = 60.0, 4.0  # what a submission may use unless course.toml says otherwise


@dataclass(frozen=True)
class Exercise:
    """What grading needs of an exercise.  ``points``: question -> points, in order."""

    name: str
    points: Mapping[str, float]
    tests: Path  # folder of otter's test files, hidden tests included


@dataclass(frozen=True)
class Course:
    """The folder ``staff`` of a course, read."""

    folder: Path
    exercises: Mapping[str, Exercise]
    seconds: float
    memory: float


def of_build(built: exercises.Built) -> Exercise:
    """What grading needs of an exercise that has just been built."""
    return Exercise(built.name, built.points, built.key.parent / "tests")


def read_key(path: Path) -> bytes:
    """The key in a file, without the white space around it; long enough not to be guessed."""
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise UnigenError(
            f"the key file {path} cannot be read ({error.strerror}): write a long random word into "
            "it, for example with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        ) from None
    if len(key) < SHORTEST_KEY:
        raise UnigenError(
            f"the key in {path} has {len(key)} bytes, and a short key can be guessed: give at "
            f"least {SHORTEST_KEY}."
        )
    return key


def new(
    folder: Path,
    key: bytes,
    *,
    names: Sequence[str] = (),
    repository: str = "",
    home: Path | None = None,
) -> list[Exercise]:
    """Write a course into ``folder``, which must be new or empty, and return its exercises.

    ``names``: of the exercises, all unless given. ``repository``: where ``students/`` will be
    published, for the notebooks to fetch their public tests from; GitHub addresses also give Colab
    and Binder links. Nothing is left behind if one of the exercises cannot be built.
    """
    home = exercises.find_home() if home is None else home
    there = exercises.names(home)
    unknown = [name for name in names if name not in there]
    if unknown:
        raise UnigenError(
            f"there is no exercise {unknown[0]!r}; choose some of: {', '.join(there)}."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UnigenError(f"{folder} is not empty: a course is written into a new folder.")
    if not folder.parent.is_dir():
        raise UnigenError(f"the folder {folder.parent} does not exist: create it first.")
    repository = repository.rstrip("/").removesuffix(".git")
    if repository and not re.fullmatch(r"https://[\w.-]+(/[\w.-]+)+", repository):
        raise UnigenError(
            f"{repository!r} is no address of a repository: give one like "
            "https://github.com/you/your-course."
        )
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        made = Path(temporary) / "course"
        found = [
            _write_exercise(name, made, key, repository, home, Path(temporary) / "build")
            for name in (names or there)
        ]
        (made / "students" / "README.md").write_text(_students_readme(found), encoding="utf-8")
        (made / "students" / "requirements.txt").write_text(_requirements(home), encoding="utf-8")
        text = _configuration(found, key)
        (made / "staff" / CONFIGURATION).write_text(text, encoding="utf-8")
        (made / "staff").chmod(0o700)
        if folder.exists():
            folder.rmdir()
        made.rename(folder)
    return [Exercise(e.name, e.points, folder / "staff" / "tests" / e.name) for e in found]


def _write_exercise(
    name: str, made: Path, key: bytes, repository: str, home: Path, work: Path
) -> Exercise:
    """Build one exercise and put its parts where they belong in the course."""
    built = exercises.build(name, work / name, home, key)
    student = made / "students" / name
    shutil.copytree(built.student, student)
    _set_address(student / f"{name}.ipynb", name, repository)
    tests = made / "staff" / "tests" / name
    shutil.copytree(built.key.parent / "tests", tests)
    keys = made / "staff" / "answer_keys"
    keys.mkdir(exist_ok=True)
    shutil.copyfile(built.key, keys / f"{name}.ipynb")
    exercise = Exercise(name, built.points, tests)
    archive = made / "staff" / "gradescope" / f"{name}.zip"
    archive.parent.mkdir(exist_ok=True)
    _write_archive(archive, exercise, home)
    return exercise


def _set_address(path: Path, name: str, repository: str) -> None:
    """Let a notebook fetch its public tests from the course, not from the book."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    where = f"{name}/{name}.ipynb"
    slug = repository.removeprefix("https://github.com/")
    links = {
        "colab": f"https://colab.research.google.com/github/{slug}/blob/main/{where}",
        "mybinder": f"https://mybinder.org/v2/gh/{slug}/main?urlpath=lab/tree/{where}",
    }
    changed = 0
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if text.startswith("# Run this cell first."):
            line = f'COURSE, TESTS = "{repository}", "{name}/tests"'
            text, changed = re.subn(r"^COURSE, TESTS = .*$", line, text, flags=re.MULTILINE)
        elif cell["cell_type"] == "markdown" and "colab.research.google.com" in text:
            if slug != repository:
                for host, link in links.items():
                    text = re.sub(rf"https://{host}[^)]*", link, text)
            else:  # not on GitHub, or not known yet: no link is better than a wrong one
                text = re.sub(r"\n\[Open in Colab\].*\n", "\n", text)
        cell["source"] = text.splitlines(keepends=True)
    if changed != 1:
        raise UnigenError(f"{name}: its first cell does not say where its tests are.")
    path.write_text(exercises.as_json(notebook), encoding="utf-8")


def _students_readme(found: Sequence[Exercise]) -> str:
    rows = "".join(
        f"| [{e.name}]({e.name}/{e.name}.ipynb) | {len(e.points)} | {sum(e.points.values()):g} |\n"
        for e in found
    )
    return (
        "# Exercises\n\n| exercise | questions | points |\n|---|---|---|\n" + rows + "\n"
        "Install once with `pip install -r requirements.txt`, or open a notebook in Colab, where "
        "its first cell installs what is missing. Keep each notebook beside its folder `tests`. "
        "Replace the dots, run the check below each question, save, and hand in the notebook.\n\n"
        "A check asks your answer in one small world and says what a wrong answer looks like. The "
        "grader asks the same questions in other worlds. The numbers are drawn for this course.\n"
    )


def _parse(text: str) -> dict[str, Any]:
    """A TOML text, read; Python has had a reader of its own since 3.11."""
    exercises.require_otter()
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def _requirements(home: Path) -> str:
    pyproject = _parse((home.parent / "pyproject.toml").read_text(encoding="utf-8"))
    repository = pyproject["project"]["urls"]["Repository"]
    return f"unigen-edu[grade] @ git+{repository}\njupyterlab\n"


def _configuration(found: Sequence[Exercise], key: bytes) -> str:
    lines = [
        "# Written by `unigen course new`; the limits and the points are yours to change.",
        f'key_fingerprint = "{hashlib.sha256(b"fingerprint of " + key).hexdigest()[:12]}"',
        "",
        "[limits]  # of one submission",
        f"seconds = {SECONDS}  # of computing",
        f"memory = {MEMORY}  # GiB",
    ]
    for exercise in found:
        lines += ["", f'[exercises."{exercise.name}"]']
        lines += [f"{question} = {points:g}" for question, points in exercise.points.items()]
    return "\n".join(lines) + "\n"


def load(folder: Path) -> Course:
    """Read the folder ``staff`` of a course. The points are those of its course.toml."""
    path = folder / CONFIGURATION
    if not path.is_file() and (folder / "staff" / CONFIGURATION).is_file():
        folder = folder / "staff"
        path = folder / CONFIGURATION
    try:
        text = _parse(path.read_text(encoding="utf-8"))
        limits = text.get("limits", {})
        found = {
            name: Exercise(
                name,
                {question: float(worth) for question, worth in points.items()},
                folder / "tests" / name,
            )
            for name, points in text["exercises"].items()
        }
        course = Course(
            folder,
            found,
            float(limits.get("seconds", SECONDS)),
            float(limits.get("memory", MEMORY)),
        )
    except OSError:
        raise UnigenError(
            f"{folder} is no course: it has no {CONFIGURATION}; name the folder 'staff' that "
            "`unigen course new` wrote."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnigenError(f"{path} cannot be read: {error}.") from None
    for exercise in course.exercises.values():
        missing = [q for q in exercise.points if not (exercise.tests / f"{q}.py").is_file()]
        if missing or not exercise.points:
            raise UnigenError(
                f"{path} lists {exercise.name} with {', '.join(missing) or 'no question'}, but its "
                f"tests are not in {exercise.tests}."
            )
    return course


# ---- Gradescope --------------------------------------------------------------------------------

SETUP = """#!/usr/bin/env bash
# Gradescope runs this once, when it builds the image.
set -euo pipefail
apt-get update -qq
apt-get install -y -qq python3 python3-pip python3-venv util-linux
python3 -m venv /opt/unigen
/opt/unigen/bin/pip install --quiet torch torchvision --index-url https://download.pytorch.org/whl/cpu
/opt/unigen/bin/pip install --quiet "/autograder/source/unigen-edu[grade]"
"""
RUN = """#!/usr/bin/env bash
# Gradescope runs this for each submission.
exec "${UNIGEN_PYTHON:-/opt/unigen/bin/python}" -m unigen_edu.gradescope "${1:-/autograder}"
"""


def _write_archive(archive: Path, exercise: Exercise, home: Path) -> None:
    """A Gradescope autograder: the keyed tests, this package, and the two scripts it asks for."""
    root = home.parent
    package = [p for p in (root / "unigen_edu").rglob("*") if p.is_file()]
    package += [root / name for name in ("pyproject.toml", "README.md", "LICENSE")]
    alone = f'[exercises."{exercise.name}"]\n' + "".join(
        f"{question} = {points:g}\n" for question, points in exercise.points.items()
    )
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:

        def add(name: str, data: bytes, mode: int = 0o644) -> None:
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # the same bytes always
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(info, data)

        add("setup.sh", SETUP.encode(), 0o755)
        add("run_autograder", RUN.encode(), 0o755)
        add(f"staff/{CONFIGURATION}", alone.encode())
        for test in sorted(exercise.tests.glob("*.py")):
            add(f"staff/tests/{exercise.name}/{test.name}", test.read_bytes())
        for path in sorted(package):
            if "__pycache__" not in path.parts and path.suffix != ".pyc":
                add(f"unigen-edu/{path.relative_to(root).as_posix()}", path.read_bytes())


def summary(found: Sequence[Exercise], folder: Path) -> str:
    """What `unigen course new` prints."""
    total = sum(sum(e.points.values()) for e in found)
    return (
        f"{len(found)} exercises, {sum(len(e.points) for e in found)} questions, {total:g} points\n"
        f"{folder / 'students'}: to be handed out\n"
        f"{folder / 'staff'}: to be kept; grade with\n"
        f"  unigen grade SUBMISSIONS --course {folder / 'staff'} --out grades.csv"
    )
