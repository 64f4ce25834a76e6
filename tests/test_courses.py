"""`unigen course new`: what students get, what staff keep, and what a key changes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.grading_mini import NAME, RIGHT, SEED, cell, source, submission
from unigen_edu import cli, courses, exercises
from unigen_edu.errors import UnigenError
from unigen_edu.grading import grade_path

KEY = b"a long and secret word of this year"
ROOT = exercises.find_home().parent
(BOOK,) = re.findall(r'^Repository = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
LINKS = (
    "# A\n\n[Open in Colab](https://colab.research.google.com/github/the/book/x.ipynb) · "
    "[Open in Binder](https://mybinder.org/v2/gh/the/book/main)\n\nText."
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A repository with one exercise, as complete as a course needs it."""
    root = tmp_path_factory.mktemp("repository")
    home = root / "exercises"
    (home / NAME).mkdir(parents=True)
    notebook = source()
    setup = cell("code", f'EXERCISE, REPOSITORY = "{NAME}", "{BOOK}"')
    setup["metadata"] = {"tags": ["setup"]}
    notebook["cells"][1:1] = [cell("markdown", LINKS), setup]
    (home / NAME / exercises.SOURCE).write_text(json.dumps(notebook))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, root / name)
    (root / "unigen_edu").mkdir()
    (root / "unigen_edu" / "__init__.py").write_text("")
    return home


@pytest.fixture(scope="module")
def course(home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("courses") / "spring"
    courses.new(folder, KEY, repository="https://github.com/prof/spring.git", home=home)
    return folder


def files(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_students_get_notebooks_and_public_tests_only(course):
    students = course / "students"
    assert files(students) == {
        "README.md", "requirements.txt", f"{NAME}/{NAME}.ipynb",
        *(f"{NAME}/tests/{question}.py" for question in ("q1", "q2", "q10")),
    }  # fmt: skip
    seed = str(exercises.seed_of(KEY, NAME, "q10"))
    text = "".join(path.read_text() for path in students.rglob("*") if path.is_file())
    for secret in (seed, "hidden=True", "hidden_q", KEY.decode(), "return 2 * x"):
        assert secret not in text
    assert f"git+{BOOK}" in (students / "requirements.txt").read_text()
    assert f"| [{NAME}]({NAME}/{NAME}.ipynb) | 3 | 6 |" in (students / "README.md").read_text()


def test_notebooks_point_to_the_course(course):
    text = (course / "students" / NAME / f"{NAME}.ipynb").read_text()
    code = "".join("".join(c["source"]) for c in json.loads(text)["cells"])
    assert f'COURSE, TESTS = "https://github.com/prof/spring", "{NAME}/tests"' in code
    assert f'EXERCISE, REPOSITORY = "{NAME}", "{BOOK}"' in code  # the package is the book's
    where = f"{NAME}/{NAME}.ipynb"
    assert f"(https://colab.research.google.com/github/prof/spring/blob/main/{where})" in code
    assert f"(https://mybinder.org/v2/gh/prof/spring/main?urlpath=lab/tree/{where})" in code


def test_without_an_address_no_link_is_wrong(home, tmp_path):
    courses.new(tmp_path / "course", KEY, home=home)
    text = (tmp_path / "course" / "students" / NAME / f"{NAME}.ipynb").read_text()
    assert "colab" not in text.replace("in Colab it", "")
    assert r"COURSE, TESTS = \"\", " in text


def test_staff_keep_the_rest(course):
    staff = course / "staff"
    assert (staff / "tests" / NAME / "q10.py").read_text().count("hidden=True") == 1
    key = json.loads((staff / "answer_keys" / f"{NAME}.ipynb").read_text())
    answers = "".join("".join(c["source"]) for c in key["cells"])
    assert f"q10 = {exercises.seed_of(KEY, NAME, 'q10')}" in answers
    assert KEY.decode() not in (staff / "course.toml").read_text()
    assert staff.stat().st_mode & 0o077 == 0


def test_the_same_key_gives_the_same_course_and_another_key_another(home, course, tmp_path):
    address = "https://github.com/prof/spring"
    courses.new(tmp_path / "again", KEY, repository=address, home=home)
    courses.new(tmp_path / "other", KEY + b"!", repository=address, home=home)
    for path in course.rglob("*"):
        if path.is_file():
            again = tmp_path / "again" / path.relative_to(course)
            assert path.read_bytes() == again.read_bytes(), path
    tests = f"staff/tests/{NAME}/q10.py"
    assert (course / tests).read_text() != (tmp_path / "other" / tests).read_text()


@pytest.mark.slow
def test_a_course_is_graded_by_its_own_key(course, tmp_path, capsys):
    handed_in = tmp_path / "handed_in"
    handed_in.mkdir()
    (handed_in / "of_the_book.ipynb").write_text(submission(*RIGHT))
    seed = exercises.seed_of(KEY, NAME, "q10")
    assert seed != SEED
    (handed_in / "of_the_course.ipynb").write_text(submission(*RIGHT[:2], f"q10 = {seed}"))
    # The lecturer counts q2 ten times.
    staff = tmp_path / "staff"
    shutil.copytree(course / "staff", staff)
    text = (staff / "course.toml").read_text()
    (staff / "course.toml").write_text(text.replace("q2 = 1", "q2 = 10"))
    assert grade_path(handed_in, course=staff) == 0
    out = capsys.readouterr().out
    assert "of_the_book.ipynb    q1 2/2  q2 10/10  q10 0/3  total 12/15" in out
    assert "of_the_course.ipynb  q1 2/2  q2 10/10  q10 3/3  total 15/15" in out


@pytest.mark.slow
def test_the_gradescope_archive_grades_where_gradescope_puts_it(course, tmp_path):
    root = tmp_path / "autograder"
    with zipfile.ZipFile(course / "staff" / "gradescope" / f"{NAME}.zip") as archive:
        archive.extractall(root / "source")
        modes = {i.filename: i.external_attr >> 16 & 0o777 for i in archive.infolist()}
    assert modes["run_autograder"] == modes["setup.sh"] == 0o755
    assert "unigen-edu/pyproject.toml" in modes
    for script in ("setup.sh", "run_autograder"):
        assert subprocess.run(["bash", "-n", str(root / "source" / script)]).returncode == 0
    (root / "submission").mkdir()
    run = ["bash", str(root / "source" / "run_autograder"), str(root)]
    environment = {
        "UNIGEN_PYTHON": sys.executable,
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run(run, env=environment, check=True)
    result = json.loads((root / "results" / "results.json").read_text())
    assert result["score"] == 0
    assert "there is no notebook" in result["output"]

    (root / "submission" / "work.ipynb").write_text(submission(*RIGHT[:2], "q10 = ..."))
    subprocess.run(run, env=environment, check=True)
    result = json.loads((root / "results" / "results.json").read_text())
    assert result["score"] == 3
    assert [(t["name"], t["score"], t["max_score"]) for t in result["tests"]] == [
        ("q1", 2, 2), ("q2", 1, 1), ("q10", 0, 3)
    ]  # fmt: skip
    assert result["tests"][2]["output"] == "q10 still has dots in it."


# ---- bad input -----------------------------------------------------------------------------------


def test_a_course_never_overwrites_and_leaves_nothing_half_done(home, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("mine")
    with pytest.raises(UnigenError, match="is not empty: a course is written into a new folder"):
        courses.new(tmp_path / "there", KEY, home=home)
    with pytest.raises(UnigenError, match="does not exist: create it first"):
        courses.new(tmp_path / "no" / "course", KEY, home=home)
    with pytest.raises(UnigenError, match="there is no exercise '99_x'; choose some of: 00_mini"):
        courses.new(tmp_path / "course", KEY, names=["99_x"], home=home)
    with pytest.raises(UnigenError, match="is no address of a repository"):
        courses.new(tmp_path / "course", KEY, repository="my repository", home=home)
    monkeypatch.setattr(courses, "_write_archive", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        courses.new(tmp_path / "course", KEY, home=home)
    assert [p.name for p in tmp_path.iterdir()] == ["there"]


def test_keys_that_are_missing_or_short(tmp_path):
    with pytest.raises(UnigenError, match=r"cannot be read \(No such file.*write a long random"):
        courses.read_key(tmp_path / "key")
    (tmp_path / "key").write_text("secret\n")
    with pytest.raises(UnigenError, match="has 6 bytes, and a short key can be guessed"):
        courses.read_key(tmp_path / "key")
    (tmp_path / "key").write_bytes(b"  " + KEY + b"\n")
    assert courses.read_key(tmp_path / "key") == KEY


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda staff: (staff / "course.toml").unlink(), "is no course: it has no course.toml"),
        (lambda staff: (staff / "course.toml").write_text("[exercises"), "cannot be read"),
        (lambda staff: (staff / "course.toml").write_text("exercises = 3"), "cannot be read"),
        (lambda staff: shutil.rmtree(staff / "tests"), "its tests are not in"),
    ],
)
def test_a_broken_course_gets_one_sentence(course, tmp_path, change, sentence):
    staff = tmp_path / "staff"
    shutil.copytree(course / "staff", staff)
    change(staff)
    with pytest.raises(UnigenError, match=sentence):
        courses.load(staff)


def test_the_folder_above_staff_will_do(course):
    assert courses.load(course).folder == course / "staff"


def test_the_command(home, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(exercises, "find_home", lambda: home)
    (tmp_path / "key").write_bytes(KEY)
    where = str(tmp_path / "course")
    assert cli.main(["course", "new", where, "--key-file", str(tmp_path / "key")]) == 0
    assert "1 exercises, 3 questions, 6 points" in capsys.readouterr().out
    assert cli.main(["course", "new", where, "--key-file", str(tmp_path / "key")]) == 2
    assert "is not empty" in capsys.readouterr().err
