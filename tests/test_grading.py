"""`unigen grade` on a class in which nearly everything goes wrong.

A tiny exercise without torch stands in for a real one, so that a grading takes a few seconds.
tests/exercises/test_against_otter.py grades the real ones.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unigen_edu import exercises, grading
from unigen_edu.errors import UnigenError
from unigen_edu.grading import Grade, Limits, grade_path, grade_submissions

CONFIG = """# ASSIGNMENT CONFIG
name: {name}
init_cell: false
export_cell: false
run_tests: false
tests:
  files: true
  ok_format: false
"""


def cell(kind, source):
    made = {"cell_type": kind, "id": f"{abs(hash(source)):x}"[:8], "metadata": {}, "source": source}
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def notebook(cells, **metadata):
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def mini_source(name):
    cells = [cell("raw", CONFIG.format(name=name))]
    for question, points, answer in (("q1", 2, 3), ("q2", 1, 4), ("q10", 3, 5)):
        test = f"def {{}}_{question}({question}):\n    assert {question} == {answer}, 'no'"
        cells += [
            cell(
                "raw", f"# BEGIN QUESTION\nname: {question}\npoints: {points}\nall_or_nothing: true"
            ),
            cell("markdown", f"What is {question}?"),
            cell("raw", "# BEGIN SOLUTION"),
            cell("code", f"{question} = {answer}  # SOLUTION"),
            cell("raw", "# END SOLUTION"),
            cell("raw", "# BEGIN TESTS"),
            cell(
                "code", f"def public_{question}({question}):\n    assert {question} != ..., 'dots'"
            ),
            cell("code", "# HIDDEN\n" + test.format("hidden")),
            cell("raw", "# END TESTS"),
            cell("raw", "# END QUESTION"),
        ]
    return notebook(cells, kernelspec={"name": "python3", "display_name": "", "language": "python"})


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder of exercises with a single one, 00_mini: q1, q2 and q10, 6 points."""
    home = tmp_path_factory.mktemp("exercises")
    (home / "00_mini").mkdir()
    (home / "00_mini" / exercises.SOURCE).write_text(json.dumps(mini_source("00_mini")))
    return home


def submission(*sources, **metadata):
    metadata = metadata or {"otter": {"assignment_name": "00_mini"}}
    return json.dumps(notebook([cell("code", source) for source in sources], **metadata))


RIGHT = ("q1 = 3", "q2 = 4", "q10 = 5")


def rows_of(path):
    with Path(path).open(newline="", encoding="utf-8") as stream:
        return {row["student"]: row for row in csv.DictReader(stream)}


LOOK_AROUND = f"""
import os
from pathlib import Path
stray = [p.name for p in Path.cwd().rglob("*") if p.name == "left_behind"]
stray += ["home"] * (Path.home() == Path("{Path.home()}"))
stray += [p.name for p in Path.home().iterdir() if p.name == "left_behind"]
secrets = [name for name in os.environ if "SECRET" in name]
Path("left_behind").touch()
(Path.home() / "left_behind").touch()
"""
TOO_SLOW = (
    "it did not finish in 6 s of computing or 18 s on the clock: look for a loop or a wait that "
    "never ends."
)
THERE = "(there are 00_mini)."
# student: points for q1, q2, q10 and in all, then the reason
EXPECTED = {
    "ann": ("2", "1", "3", "6", ""),
    "ben": ("2", "0", "0", "2", ""),
    "cleo": ("", "", "", "", TOO_SLOW),
    "dan": ("", "", "", "", "its Python died while it ran: out of memory, exit() or a crash."),
    "eve": ("2", "1", "0", "3", ""),
    "fay": ("2", "1", "3", "6", ""),
    "gus": ("", "", "", "", "it is no notebook: its JSON breaks at line 1, column 12; "
            "ask for the file again."),
    "hal": ("", "", "", "", "the file is empty."),
    "ida": ("", "", "", "", f"it is for exercise '99_other', which is not here {THERE}"),
    "jim": ("", "", "", "", "it does not say which exercise it is: its metadata has no name of an "
            f"exercise {THERE}"),
    "kai": ("", "", "", "", "it is no notebook: it is not text in UTF-8."),
    "lea": ("", "", "", "", "it is no Jupyter notebook: it has no list of cells."),
}  # fmt: skip


def fill_class(folder):
    """Submissions, one trouble each."""
    # Looks for what others left behind and for secrets; an error ends a cell, not the notebook.
    (folder / "ann.ipynb").write_text(
        submission(LOOK_AROUND, "q1 = 3 if not stray else stray",
                   "q2 = 4 if not secrets else secrets", "raise ValueError", "q10 = 5")
    )  # fmt: skip
    (folder / "ben").mkdir()
    (folder / "ben" / "mine.ipynb").write_text(
        submission(LOOK_AROUND, "q1 = 3 if not stray else stray", "q2 = 'four'", "q10 = = 5")
    )
    (folder / "cleo.ipynb").write_text(submission("q1 = 3\nwhile True:\n    pass"))
    (folder / "dan.ipynb").write_text(submission(*RIGHT, "import os; os._exit(7)"))
    # 3 GiB is more than the limit
    (folder / "eve.ipynb").write_text(submission(*RIGHT[:2], "bytearray(3 * 2**30); q10 = 5"))
    # Metadata lost, a kernel that only this student has, a cell marked to be skipped, no ids.
    own = {"name": "my-own-kernel", "display_name": "mine", "language": "python"}
    named = 'EXERCISE, REPOSITORY = "00_mini", "https://example.org"'
    skipped = json.loads(submission(named, *RIGHT, kernelspec=own))
    skipped["cells"][1]["metadata"] = {"tags": ["otter_ignore"]}
    skipped["nbformat_minor"] = 0
    for each in skipped["cells"]:
        del each["id"]
    (folder / "fay.ipynb").write_text(json.dumps(skipped))
    (folder / "gus.ipynb").write_text('{"cells": [')
    (folder / "hal.ipynb").write_text("")
    (folder / "ida.ipynb").write_text(submission(*RIGHT, otter={"assignment_name": "99_other"}))
    (folder / "jim.ipynb").write_text(submission(*RIGHT, title="holiday photos"))
    (folder / "kai.ipynb").write_bytes(b"\x80\x81")
    (folder / "lea.ipynb").write_text('{"worksheets": []}')
    (folder / "mia.ipynb").write_text(submission(*RIGHT).replace('"code"', '"cod"'))
    (folder / "notes.txt").write_text("not a notebook")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "ann.ipynb").write_text("{}")


@pytest.mark.slow
def test_a_class_in_which_nearly_everything_goes_wrong(home, tmp_path, monkeypatch, capsys):
    folder, work = tmp_path / "class", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    fill_class(folder)
    monkeypatch.setattr("tempfile.tempdir", str(work))
    monkeypatch.setenv("SECRET_TOKEN", "of the teacher")
    assert grade_path(folder, home=home, limits=Limits(seconds=6, memory=2)) == 1
    output = capsys.readouterr().out.splitlines()

    table = folder / "grades.csv"
    header = "student,file,exercise,q1,q2,q10,total,points,reason,fingerprint"
    assert table.read_text().splitlines()[0] == header
    rows = rows_of(table)
    columns = ("q1", "q2", "q10", "total", "reason")
    assert rows.pop("mia")["reason"].startswith("it is no valid notebook: ")
    assert {name: tuple(row[c] for c in columns) for name, row in rows.items()} == EXPECTED
    assert {row["points"] for row in rows.values() if not row["reason"]} == {"6"}
    assert not list(folder.glob("*.partial"))

    assert output[0] == "Not looked at, for it is no .ipynb file: notes.txt"
    assert output[1] == "ann.ipynb       q1 2/2  q2 1/1  q10 3/3  total 6/6"
    assert output[3] == f"cleo.ipynb      not graded: {TOO_SLOW}"
    assert [line.split()[0] for line in output[1:-2]] == [row["file"] for row in rows.values()]
    assert output[-1] == f"4 of 13 graded; grades in {table}"
    assert running_jobs(work) == []
    assert not list(work.iterdir())


def running_jobs(work):
    """Command lines of the processes of a grading whose temporary folders are made in ``work``."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if grading.MARK in process.environ() and process.cwd().startswith(str(work)):
                found.append(process.cmdline())
    return found


# ---- ends of processes --------------------------------------------------------------------------


def test_marked_processes_are_ended_even_in_sessions_of_their_own():
    import psutil

    child = "import time; time.sleep(60)"
    parent = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', "
        f"{child!r}], start_new_session=True); print(p.pid, flush=True); time.sleep(60)"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True,
        env=os.environ | {grading.MARK: "abc"},
    )  # fmt: skip
    grandchild = int(started.stdout.readline())
    grading._end_processes("another mark")
    assert started.poll() is None
    grading._end_processes("abc")
    assert started.wait(timeout=5) == -signal.SIGKILL
    started.stdout.close()
    deadline = time.monotonic() + 5
    while psutil.pid_exists(grandchild) and time.monotonic() < deadline:
        if psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE:
            break  # ended; whoever adopted it has not looked yet
        time.sleep(0.05)
    assert time.monotonic() < deadline


@pytest.mark.slow
def test_ctrl_c_twice_ends_everything_at_once(home, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "cleo.ipynb").write_text(submission("while True:\n    pass"))
    grade = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    grade += "from pathlib import Path; from unigen_edu.grading import grade_path; "
    grade += f"grade_path(Path({str(tmp_path)!r}), home=Path({str(home)!r}))"
    python = subprocess.Popen(
        [sys.executable, "-c", grade],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(work)},
    )
    deadline = time.monotonic() + 60
    while not any("ipykernel_launcher" in command for command in running_jobs(work)):
        assert python.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    python.send_signal(signal.SIGINT)
    python.send_signal(signal.SIGINT)
    _, message = python.communicate(timeout=20)
    assert "KeyboardInterrupt: stopped after 0 of 1; " in message
    assert running_jobs(work) == []
    assert not (tmp_path / "grades.csv").exists()


def test_a_wait_that_never_ends_is_cut_off_by_the_clock(home, tmp_path, monkeypatch):
    """The watcher alone: a worker that only sleeps uses no computing time."""
    sleeper = tmp_path / "python"
    sleeper.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(sleeper))
    notebook_file = tmp_path / "a.ipynb"
    notebook_file.write_text(submission(*RIGHT))
    (grade,) = grade_submissions([notebook_file], home=home, limits=Limits(seconds=1))
    assert grade.reason.startswith("it did not finish in 1 s of computing or 3 s on the clock")


# ---- the CSV ------------------------------------------------------------------------------------


@pytest.fixture
def instant(monkeypatch):
    """Grading without otter: 1 point for q1; `instant.stop_at` raises there, as Ctrl-C does."""

    class Instant:
        def __init__(self):
            self.graded, self.stop_at = [], ""

    instant = Instant()

    def run_job(job, submission, seen, exercise, stamp, limits, running):
        if submission.student == instant.stop_at:
            raise KeyboardInterrupt
        instant.graded.append(submission.student)
        scores = {**dict.fromkeys(exercise.points, 0.0), "q1": 1.0}
        return Grade(
            submission.file, submission.student, exercise.name, scores, exercise.points,
            fingerprint=stamp,
        )  # fmt: skip

    monkeypatch.setattr(grading, "_run_job", run_job)
    return instant


@pytest.fixture
def three(tmp_path):
    folder = tmp_path / "class"
    folder.mkdir()
    for number, student in enumerate(("ann", "ben", "cleo")):
        (folder / f"{student}.ipynb").write_text(submission(*RIGHT, f"mine = {number}"))
    return folder


def test_interrupted_run_continues_and_never_replaces_a_complete_table(
    home, three, instant, capsys
):
    assert grade_path(three, home=home) == 0
    table = three / "grades.csv"
    complete = table.read_text()

    instant.graded.clear()
    instant.stop_at = "cleo"
    with pytest.raises(
        KeyboardInterrupt, match=r"stopped after 2 of 3; .*grades.csv.partial keeps"
    ):
        grade_path(three, home=home, jobs=1)
    assert instant.graded == ["ann", "ben"]
    assert table.read_text() == complete
    assert rows_of(three / "grades.csv.partial").keys() == {"ann", "ben"}

    # ben hands in again: only what is finished *and* unchanged is taken over.
    (three / "ben.ipynb").write_text(submission(*RIGHT, "mine = 'new'"))
    instant.graded.clear()
    instant.stop_at = ""
    assert grade_path(three, home=home, jobs=1) == 0
    assert instant.graded == ["ben", "cleo"]
    assert rows_of(table).keys() == {"ann", "ben", "cleo"}
    assert not (three / "grades.csv.partial").exists()
    assert "ann.ipynb   q1 1/2" in capsys.readouterr().out


def test_finished_rows_are_graded_again_when_a_test_changes(home, three, instant, tmp_path):
    instant.stop_at = "cleo"
    with pytest.raises(KeyboardInterrupt):
        grade_path(three, home=home, jobs=1)
    other = tmp_path / "exercises" / "00_mini"
    other.mkdir(parents=True)
    source = (home / "00_mini" / exercises.SOURCE).read_text()
    (other / exercises.SOURCE).write_text(source.replace("q2 == 4", "q2 == 5"))
    instant.graded.clear()
    instant.stop_at = ""
    assert grade_path(three, home=other.parent, jobs=1) == 0
    assert instant.graded == ["ann", "ben", "cleo"]


def test_a_table_of_others_is_not_replaced(home, three, instant, tmp_path):
    out = tmp_path / "grades.csv"
    grade_path(three, out, home=home)
    before = out.read_text()
    with pytest.raises(UnigenError, match=r"has grades of 2 submissions that are not among these"):
        grade_path(three / "ann.ipynb", out, home=home)
    out.write_text("my,own,numbers\n1,2,3\n")
    with pytest.raises(UnigenError, match="is not a table of grades"):
        grade_path(three, out, home=home)
    assert out.read_text() == "my,own,numbers\n1,2,3\n"
    out.write_text(before)
    assert grade_path(three, out, home=home) == 0  # the same submissions: replaced
    with pytest.raises(UnigenError, match="create it first"):
        grade_path(three, tmp_path / "nowhere" / "grades.csv", home=home)


def test_one_notebook_prints_its_grade_and_writes_only_what_is_asked(home, three, instant, capsys):
    one = three / "ann.ipynb"
    assert grade_path(one, home=home) == 0
    assert capsys.readouterr().out == "ann.ipynb  q1 1/2  q2 0/1  q10 0/3  total 1/6\n"
    assert not list(three.glob("*.csv*"))
    assert grade_path(str(one), str(three / "ann.csv"), home=home) == 0
    assert rows_of(three / "ann.csv")["ann"]["total"] == "1"


# ---- bad input ----------------------------------------------------------------------------------


def test_bad_paths_and_limits(home, tmp_path):
    with pytest.raises(UnigenError, match="does not exist: name a notebook or a folder"):
        grade_path(tmp_path / "nothing", home=home)
    with pytest.raises(UnigenError, match="holds no notebook"):
        grade_path(tmp_path, home=home)
    with pytest.raises(UnigenError, match="leave no room"):
        Limits(seconds=0)


def test_without_otter_or_without_sources_the_sentence_says_what_to_install(
    home, three, monkeypatch
):
    with monkeypatch.context() as patch:
        real = importlib.util.find_spec
        patch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *a: None if name == "otter" else real(name, *a),
        )
        with pytest.raises(UnigenError, match=r'otter-grader: pip install "unigen-edu\[grade\]"'):
            grade_path(three, home=home)
    monkeypatch.setattr(exercises, "__file__", "/usr/lib/python3/unigen_edu/exercises.py")
    with pytest.raises(UnigenError, match="their sources are in the repository"):
        grade_path(three)


def test_a_score_outside_its_question_is_no_grade(home, three, monkeypatch):
    """A notebook that tampers with the results must not get a number."""

    handed_in: dict[str, float] = {}

    class Worker:
        returncode = 0

        def __init__(self, command, cwd, **_):
            (Path(cwd) / grading.RESULT).write_text(json.dumps({"scores": handed_in}))

        def wait(self, timeout=None):
            return 0

        def kill(self):
            pass

    monkeypatch.setattr(subprocess, "Popen", Worker)
    for scores, fine in (
        ({"q1": 2, "q2": 1, "q10": 3}, True),
        ({"q1": 200, "q2": 1, "q10": 3}, False),
        ({"q1": 2, "q2": 1}, False),
        ({"q1": float("nan"), "q2": 1, "q10": 3}, False),
    ):
        handed_in.clear()
        handed_in.update(scores)
        (grade,) = grade_submissions([three / "ann.ipynb"], home=home)
        assert (grade.reason == "") == fine
